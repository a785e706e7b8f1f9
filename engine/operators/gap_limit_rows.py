"""GapLimitRows: the first rows that lie far enough apart.

Blocking; memory bound by the child's rows, or by one run of frames where it can stop early.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pyarrow as pa

from foveal.engine.executor import Runtime
from foveal.engine.inference import objects_at
from foveal.engine.substrate import ArrowStream
from foveal.planner.physical import FrameScan, GapLimitRows, ObjectScan

RUN = 128
"""Frames searched before the next look at the limit: few enough to stop soon."""


def gap_limit_rows(node: GapLimitRows, runtime: Runtime) -> ArrowStream:
    """Return the child's rows in its order, each at least `gap` from those before it.

    A row of the same frame (or instant) as one that was kept is too near unless the gap is 0.
    Fewer rows than asked for come with a notice.
    """
    spacing = _Spacing(node)
    kept: list[pa.Table] = []
    for table in _runs(node, runtime):
        kept.append(spacing.take(table))
        if spacing.full:
            break
    found = pa.concat_tables(kept)
    if not spacing.full and not runtime.describe_only:
        runtime.context.notice(
            f"{found.num_rows} row(s) at least {node.gap:g} {node.unit} apart were found, fewer "
            f"than LIMIT {node.limit}"
        )
    return found.select(found.column_names[:-2])


class _Spacing:
    """Chooses rows; remembers where the chosen ones lie in their video."""

    def __init__(self, node: GapLimitRows) -> None:
        self._node = node
        self._taken: dict[object, list[float]] = {}
        self._count = 0

    @property
    def full(self) -> bool:
        return self._count >= self._node.limit + self._node.offset

    def take(self, table: pa.Table) -> pa.Table:
        """Return the rows of `table` that are chosen, those before OFFSET left out."""
        videos = table.column(table.num_columns - 2).to_pylist()
        places = table.column(table.num_columns - 1).to_pylist()
        kept: list[int] = []
        for row, (video, place) in enumerate(zip(videos, places, strict=True)):
            if self.full:
                break
            near = self._taken.setdefault(video, [])
            if place is None or any(abs(place - other) < self._node.gap for other in near):
                continue
            near.append(float(place))
            self._count += 1
            if self._count > self._node.offset:
                kept.append(row)
        return table.take(pa.array(kept, pa.int64()))


def _runs(node: GapLimitRows, runtime: Runtime) -> Iterator[pa.Table]:
    """Yield the child's rows, run of frames by run of frames where that is possible."""
    scan = node.child.inputs[0].child if len(node.child.inputs) == 1 else None
    if not node.by_frame or runtime.describe_only or not isinstance(scan, ObjectScan | FrameScan):
        table = runtime.open(node.child)
        assert isinstance(table, pa.Table)
        yield table
        return
    live, context = runtime.tables[scan.table], runtime.context
    positions = runtime.positions(scan.table, scan.conjuncts)
    context.report.frames_total += len(positions)
    if isinstance(scan, ObjectScan):
        context.report.frames_cached += int(live.processed()[positions].sum())
    begun, calls = time.perf_counter(), context.report.detector_calls
    name = node.child.inputs[0].name
    for at in range(0, max(len(positions), 1), RUN):
        run = positions[at : at + RUN]
        if isinstance(scan, ObjectScan):
            left = None
            if node.calls is not None:
                left = node.calls - (context.report.detector_calls - calls)
                unseen = ~live.processed()[run]
                run = run[: len(run) if unseen.sum() <= left else _cut(unseen.tolist(), left)]
            rows = objects_at(live, run, scan.columns, context)
        else:
            left = None
            rows = pa.Table.from_batches([live.frame_batch(run, scan.columns)])
        yield runtime.query(node.child.text, {name: rows})
        spent = node.seconds is not None and time.perf_counter() - begun >= node.seconds
        if spent or (left is not None and len(run) < min(RUN, len(positions) - at)):
            searched = at + len(run)
            context.notice(
                f"the budget was spent after {searched} of {len(positions)} frames",
                severity="WARNING",
            )
            context.report.target_met = False
            return


def _cut(unseen: list[bool], left: int) -> int:
    """Return how many leading frames hold at most `left` unseen ones."""
    for place, is_unseen in enumerate(unseen):
        if is_unseen:
            if left == 0:
                return place
            left -= 1
    return len(unseen)
