"""GapLimitRows: the first rows that lie far enough apart; blocking, memory bound by the child."""

from __future__ import annotations

import pyarrow as pa

from foveal.engine.executor import Runtime
from foveal.engine.substrate import ArrowStream
from foveal.planner.physical import GapLimitRows


def gap_limit_rows(node: GapLimitRows, runtime: Runtime) -> ArrowStream:
    """Return the child's rows in its order, each at least `gap` from those before it.

    A row of the same frame (or instant) as one that was kept is too near unless the gap is 0.
    Fewer rows than asked for come with a notice.
    """
    table = runtime.open(node.child)
    assert isinstance(table, pa.Table)
    videos = table.column(table.num_columns - 2).to_pylist()
    places = table.column(table.num_columns - 1).to_pylist()
    kept: list[int] = []
    taken: dict[object, list[float]] = {}
    for row, (video, place) in enumerate(zip(videos, places, strict=True)):
        if len(kept) >= node.limit + node.offset:
            break
        near = taken.setdefault(video, [])
        if place is None or any(abs(place - other) < node.gap for other in near):
            continue
        near.append(place)
        kept.append(row)
    kept = kept[node.offset :]
    if len(kept) < node.limit and not runtime.describe_only:
        runtime.context.notice(
            f"{len(kept)} row(s) at least {node.gap:g} {node.unit} apart, fewer than LIMIT "
            f"{node.limit}: every frame was searched"
        )
    return table.take(pa.array(kept, pa.int64())).select(table.column_names[:-2])
