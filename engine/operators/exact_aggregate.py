"""ExactAggregate: aggregates over every frame of a block, computed by DuckDB; blocking."""

from __future__ import annotations

import pyarrow as pa

from foveal.engine.executor import Runtime
from foveal.engine.operators.frame_groups import frames_sql
from foveal.engine.operators.pixel_filter import sieved
from foveal.engine.substrate import ArrowStream
from foveal.planner.logical import Aggregate
from foveal.planner.physical import ExactAggregate


def exact_aggregate(node: ExactAggregate, runtime: Runtime) -> ArrowStream:
    """Return a row per group: keys, then aggregates.

    Groups come from the frames where every key belongs to frames, so that a camera or a minute
    without any object has its row: FCOUNT and COUNT 0, the others NULL. FCOUNT divides by the
    frames of the group that satisfy the frame predicates.
    """
    # No interval can be given early here, so a budget is a limit.
    runtime.context.limit(node.tolerance.seconds, node.tolerance.calls)
    rows, frames = runtime.fresh_name(), runtime.fresh_name()
    inputs = {
        **runtime.materialised(node.inputs),
        rows: sieved(runtime.open(node.rows), node.pixels, node.rows.table, runtime),
        frames: runtime.open(node.frames),
    }
    table = runtime.query(exact_sql(node, rows, frames), inputs)
    if not runtime.describe_only:
        record(node, runtime, table)
    return table


def exact_sql(node: ExactAggregate, rows: str, frames: str) -> str:
    """Return the SQL that computes the node over relations called `rows` and `frames`."""
    where = " AND ".join(f"({c.text})" for c in node.predicates)
    source = node.source.sql.replace("{rows}", rows) + (f" WHERE {where}" if where else "")
    counted = frames_sql(node.source, frames)
    keys = list(node.keys)
    listed = "".join(f"({k.text}) AS {k.column}, " for k in keys)
    calls = ", ".join(f"{a.call} AS {a.column}" for a in node.aggregates)
    grouped = f" GROUP BY {', '.join(k.column for k in keys)}" if keys else ""
    shared = [k for k in keys if k.frame_only]
    shared_listed = "".join(f"({k.text}) AS {k.column}, " for k in shared)
    shared_grouped = f" GROUP BY {', '.join(k.column for k in shared)}" if shared else ""
    objects = f"(SELECT {listed}{calls} FROM {source}{grouped}) AS __o"
    totals = f"(SELECT {shared_listed}count(*) AS __n FROM {counted}{shared_grouped}) AS __f"
    on = " AND ".join(f"__f.{k.column} IS NOT DISTINCT FROM __o.{k.column}" for k in shared)
    from_frames = len(shared) == len(keys)
    join = (
        f"{totals} LEFT JOIN {objects} ON {on or 'true'}"
        if from_frames
        else f"{objects} LEFT JOIN {totals} ON {on or 'true'}"
    )
    owner = "__f" if from_frames else "__o"
    items = [f"{owner}.{k.column} AS {k.column}" for k in keys]
    items += [_item(a, approximate=not node.tolerance.exact) for a in node.aggregates]
    return f"{node.prefix}SELECT {', '.join(items)} FROM {join}"


def _item(aggregate: Aggregate, *, approximate: bool) -> str:
    column = f"__o.{aggregate.column}"
    if aggregate.kind == "fcount":
        # An integer over zero frames is NULL in DuckDB: no frame, no average.
        return f"coalesce({column}, 0)::DOUBLE / nullif(__f.__n, 0) AS {aggregate.column}"
    if aggregate.kind in ("count", "count_star", "count_tracks"):
        column = f"coalesce({column}, 0)"
    if approximate and aggregate.kind != "other":
        column = f"({column})::DOUBLE"  # the type must not depend on the plan that was chosen
    return f"{column} AS {aggregate.column}"


def record(node: ExactAggregate, runtime: Runtime, table: pa.Table) -> None:
    """Put the exact answers on the report, as intervals of no width."""
    report = runtime.context.report
    if node.tolerance.exact or runtime.context.settings["guarantee"] == "exact":
        return  # no estimate was made: the binder follows no interval of it to the result
    report.confidence = node.tolerance.confidence
    keys = [k.column for k in node.keys]
    parts: list[pa.Table] = []
    for aggregate in node.aggregates:
        values = table.column(aggregate.column)
        if aggregate.kind == "other":
            continue
        own = {k.source: table.column(k.column) for k in node.keys}
        part = pa.Table.from_pydict(own) if keys else None
        columns = {
            "column": pa.repeat(aggregate.source, table.num_rows),
            "estimate": values,
            "low": values,
            "high": values,
            "samples": pa.repeat(pa.scalar(0, pa.int64()), table.num_rows),
            "target_met": pa.repeat(True, table.num_rows),
        }
        for name, column in columns.items():
            part = (
                pa.Table.from_pydict({name: column})
                if part is None
                else part.append_column(name, column)
            )
        assert part is not None
        parts.append(part)
    if parts:
        report.intervals = pa.concat_tables(parts)
        if report.intervals.num_rows == 1:
            value = report.intervals.column("estimate")[0].as_py()
            report.estimate = report.low = report.high = value
