"""GapLimitRows: rows that lie far enough apart.

Blocking; memory bound by the child's rows, or by the rows of the frames looked at where the search
can stop early.
"""

from __future__ import annotations

import pyarrow as pa

from foveal.engine.executor import Runtime
from foveal.engine.searching import FrameSearch
from foveal.engine.substrate import ArrowStream
from foveal.planner.physical import FrameScan, GapLimitRows, ObjectScan


def gap_limit_rows(node: GapLimitRows, runtime: Runtime) -> ArrowStream:
    """Return rows of the child, each at least `gap` from the others of its video.

    Where rows follow from single frames, any that lie so are as good as others, and they come by
    video and place. Else rows are taken in the child's order, each that comes too near to one
    before it is passed over. Fewer rows than asked for come with a notice.
    """
    scan = node.child.inputs[0].child if len(node.child.inputs) == 1 else None
    if node.by_frame and not runtime.describe_only and isinstance(scan, ObjectScan | FrameScan):
        search = FrameSearch(node, scan, runtime)
        found = search.rows()
        runtime.context.report.turned(node.method, search.kind)
    else:
        table = runtime.open(node.child)
        assert isinstance(table, pa.Table)
        found = _spaced(table, node)
    if found.num_rows < node.limit and not runtime.describe_only:
        runtime.context.notice(
            f"{found.num_rows} row(s) at least {node.gap:g} {node.unit} apart were found, fewer "
            f"than LIMIT {node.limit}"
        )
    return found.select(found.column_names[:-2])


def _spaced(table: pa.Table, node: GapLimitRows) -> pa.Table:
    """Return the rows that are chosen in the table's order, those before OFFSET left out.

    A row of the same frame (or instant) as one that was taken is too near.
    """
    videos = table.column(table.num_columns - 2).to_pylist()
    places = table.column(table.num_columns - 1).to_pylist()
    taken: dict[object, list[float]] = {}
    kept: list[int] = []
    for row, (video, place) in enumerate(zip(videos, places, strict=True)):
        if len(kept) >= node.limit + node.offset:
            break
        near = taken.setdefault(video, [])
        if place is None or any(abs(place - other) < node.gap for other in near):
            continue
        near.append(float(place))
        kept.append(row)
    return table.take(pa.array(kept[node.offset :], pa.int64()))
