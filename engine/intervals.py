"""Intervals beside the values they bound: of a block's aggregates, and of a statement's result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from foveal.engine.result import Column, Result, arrow_column
from foveal.planner.bind.interval_columns import Carried
from foveal.planner.bind.interval_text import INTERVAL
from foveal.planner.physical import AggregatePlan
from foveal.reports import QueryReport

BOUNDS = pa.struct(
    [("lo", pa.float64()), ("hi", pa.float64()), ("samples", pa.int64()), ("met", pa.bool_())]
)
"""What stands beside an estimate: its interval, the frames sampled for it, whether that met the
error asked for."""


def beside(node: AggregatePlan, table: pa.Table, found: pa.Table | None) -> pa.Table:
    """Return a block's rows with a column of BOUNDS beside each aggregate, `__i0` beside `__a0`.

    `found`: the block's intervals as its operator put them on the report, aggregate by aggregate.
    """
    at = 0
    for aggregate in node.aggregates:
        name = aggregate.column.replace("__a", "__i")
        bounds: list[dict[str, object] | None] = [None] * table.num_rows
        if aggregate.kind != "other" and found is not None:
            rows = found.slice(at, table.num_rows)
            at += table.num_rows
            bounds = [
                {"lo": lo, "hi": hi, "samples": samples, "met": met}
                for lo, hi, samples, met in zip(
                    *(rows.column(n).to_pylist() for n in ("low", "high", "samples", "target_met")),
                    strict=True,
                )
            ]
        table = table.append_column(name, pa.array(bounds, BOUNDS))
    return table


def carried_result(result: Result, carried: Sequence[Carried], report: QueryReport) -> Result:
    """Return the result without its hidden columns, all rows read; their intervals are reported.

    Blocking; memory bound by the result, which is read at once so that the report is whole when
    the first row is seen.
    """
    if not any(column.name.startswith(INTERVAL) for column in result.columns):
        report.intervals = report.confidence = None
        report.estimate = report.low = report.high = None
        report.guarantee, report.target_met = "exact", True
        return result  # no value of the result is an estimate
    rows = result.fetchall()
    names = [column.name for column in result.columns]
    shown = [i for i, name in enumerate(names) if not name.startswith(INTERVAL)]
    visible = [result.columns[i] for i in shown]
    at = [(c, _place(c, visible), names.index(c.hidden)) for c in carried]
    estimated = {place for _, place, _ in at}
    keys = [(i, c) for i, c in enumerate(visible) if i not in estimated and c.name not in _FIXED]
    listed: list[dict[str, object]] = []
    kept = [tuple(row[i] for i in shown) for row in rows]
    for number, (row, values) in enumerate(zip(rows, kept, strict=True)):
        for one, place, hidden in at:
            bounds: dict[str, Any] | None = row[hidden]
            if values[place] is None or bounds is None:
                continue
            listed.append(
                {
                    **{c.name: values[i] for i, c in keys},
                    "row": number,
                    "column": visible[place].name,
                    "estimate": float(values[place]),
                    "low": bounds["lo"],
                    "high": bounds["hi"],
                    "confidence": None if bounds["lo"] is None else one.confidence,
                    "samples": bounds["samples"],
                    "target_met": bounds["met"],
                }
            )
    report.intervals = _table(listed, [c for _, c in keys])
    report.confidence = min(c.confidence for c in carried)
    if report.guarantee == "none":
        report.confidence = None  # a value that nothing bounds holds at no confidence
    report.estimate = report.low = report.high = None
    if len(listed) == 1:
        only: dict[str, Any] = listed[0]
        report.estimate, report.low, report.high = only["estimate"], only["low"], only["high"]
    return Result(result.tag, report, columns=tuple(visible), rows=kept)


_FIXED = pa.schema(
    [
        ("row", pa.int64()), ("column", pa.string()), ("estimate", pa.float64()),
        ("low", pa.float64()), ("high", pa.float64()), ("confidence", pa.float64()),
        ("samples", pa.int64()), ("target_met", pa.bool_()),
    ]
).names  # fmt: skip


def _place(carried: Carried, visible: Sequence[Column]) -> int:
    """Return the index of an approximate column among the visible ones."""
    if carried.place is not None:
        return carried.place % len(visible)
    return next(i for i, c in enumerate(visible) if c.name.lower() == carried.name)


def _table(rows: list[dict[str, object]], keys: Sequence[Column]) -> pa.Table:
    columns: dict[str, Any] = {}
    for key in keys:
        columns[key.name] = arrow_column([row[key.name] for row in rows], key.type)
    kinds = (pa.int64(), pa.string(), *[pa.float64()] * 4, pa.int64(), pa.bool_())
    for name, kind in zip(_FIXED, kinds, strict=True):
        columns[name] = pa.array([row[name] for row in rows], kind)
    return pa.table(columns)
