"""SampleAggregate: aggregates estimated from sampled frames; every interval holds at every moment.

Blocking; memory bound by one batch of frames' objects. It ends when the tolerance is met, the
budget is spent, or the user cancels: then it returns the interval so far.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from foveal.engine.catalog.videos import LiveTable, Positions
from foveal.engine.executor import Runtime
from foveal.engine.inference import ensure, objects_at
from foveal.engine.operators.frame_groups import FrameGroups, frame_groups
from foveal.engine.operators.pixel_filter import sieved
from foveal.engine.operators.proxy_look import ProxyLook, rewrite
from foveal.engine.operators.sample_targets import per_frame, targets_of
from foveal.engine.recall import keep, question, recall
from foveal.engine.relations import OBJECTS
from foveal.engine.substrate import ArrowStream
from foveal.errors import QueryCanceled
from foveal.planner.cost import jump_seconds
from foveal.planner.estimators import (
    Costs,
    Interval,
    SamplingRun,
)
from foveal.planner.physical import SampleAggregate, SampleTracks
from foveal.planner.protocols import VideoTable

Values = npt.NDArray[np.float64]


def sample_aggregate(node: SampleAggregate, runtime: Runtime) -> ArrowStream:
    """Return a row per group: keys, then estimates as DOUBLE."""
    if runtime.describe_only:
        return empty_answer(node, runtime)
    context = runtime.context
    inputs = runtime.materialised(node.inputs)
    groups = frame_groups(runtime, node.frames, node.prefix, node.source, node.keys, inputs)
    table = runtime.tables[node.rows.table]
    asked = question(node, table, context.settings)
    if node.method == "recalled":
        kept = recall(asked, node.tolerance, table)
        if kept is not None:
            return answer(node, runtime, kept, groups)
    if node.method == "rewrite":
        return answer(node, runtime, rewrite(node, runtime, table, groups), groups)
    facts = table.facts()
    observe = _Observer(node, runtime, table, inputs)
    known = (
        table.processed()[groups.positions]
        if observe.detects
        else np.zeros(len(groups.positions), np.bool_)
    )
    known_values = observe(groups.positions[known])
    run = SamplingRun(
        targets_of(node, groups, facts, known, known_values, table, 1 - node.tolerance.confidence),
        delta=1 - node.tolerance.confidence,
        guarantee=node.guarantee,
        seed=node.seed,
        costs=costs_of(table, facts, detects=observe.detects),
        joint=context.settings["group_guarantee"] == "joint",
        temporal=node.method != "sampling",
    )
    look = ProxyLook(node, runtime, table, groups.positions)
    context.report.frames_total = len(groups.positions)
    context.report.frames_cached = int(known.sum())
    context.answers_when_cancelled = True
    try:
        look.begin(run)
        _sample(node, runtime, run, observe, look)
    finally:
        context.answers_when_cancelled = False
    intervals = run.intervals()
    keep(asked, node.tolerance, table, intervals)
    return answer(node, runtime, intervals, groups)


def _sample(
    node: SampleAggregate,
    runtime: Runtime,
    run: SamplingRun,
    observe: _Observer,
    look: ProxyLook,
) -> None:
    """Observe batch after batch until the run is finished or its time is up."""
    context, tolerance = runtime.context, node.tolerance
    begun = time.perf_counter()
    calls = context.report.detector_calls
    while True:
        tick = time.perf_counter()
        limit = None
        if tolerance.calls is not None:
            limit = tolerance.calls - (context.report.detector_calls - calls)
        if tolerance.seconds is not None:
            left = tolerance.seconds - (tick - begun)
            affordable = observe.affordable(left)
            limit = affordable if limit is None else min(limit, affordable)
        batch = run.next_batch(limit=limit) if limit is None or limit > 0 else None
        context.estimate_seconds += time.perf_counter() - tick
        if batch is None:
            run.settle()
            break
        try:
            values = observe(batch)
        except QueryCanceled:
            if context.stopped.is_set():
                raise
            # The interval so far holds; what was detected of this batch is kept for next time.
            context.cancelled.clear()
            context.notice("cancelled: the interval is what was reached by then")
            break
        tick = time.perf_counter()
        run.add(batch, values)
        context.estimate_seconds += time.perf_counter() - tick
        _tell(runtime, run)
        look.consider(run)


def _tell(runtime: Runtime, run: SamplingRun) -> None:
    """Let the progress line show the interval so far and how much is still to do."""
    context = runtime.context
    if context.progress is None:
        return
    intervals = run.intervals()
    if len(intervals) == 1:
        context.answer = (intervals[0].estimate, intervals[0].low, intervals[0].high)
    context.advance("sample", run.observed, run.observed + run.remaining())


class _Observer:
    """Looks at frames: detects what is not stored, then lets DuckDB aggregate each frame."""

    def __init__(
        self,
        node: SampleAggregate,
        runtime: Runtime,
        table: LiveTable,
        inputs: dict[str, ArrowStream],
    ) -> None:
        self._node = node
        self._runtime = runtime
        self._table = table
        self._inputs = inputs
        self.detects = type(node.rows).__name__ == "ObjectScan"
        self._name = runtime.fresh_name()
        where = " AND ".join(f"({c.text})" for c in node.predicates)
        source = node.source.sql.replace("{rows}", self._name)
        listed = ", ".join(f"({sql})::DOUBLE" for a in node.aggregates for sql in per_frame(a))
        self.width = sum(len(per_frame(a)) for a in node.aggregates)
        self._sql = (
            f"{node.prefix}SELECT video, frame, {listed} FROM {source}"
            + (f" WHERE {where}" if where else "")
            + " GROUP BY video, frame"
        )
        self._videos = pa.array([v.name for v in table.videos], pa.string())

    def affordable(self, seconds: float) -> int:
        """Return how many frames fit into `seconds`, by the table's profile."""
        profile = self._table.facts().profile
        each = profile.detect_frame + min(profile.seek, 4 * profile.decode_frame)
        return max(int(seconds / each), 0)

    def __call__(self, positions: Positions) -> Values:
        """Return float64 [frames, columns] for sorted positions."""
        out = np.zeros((len(positions), self.width))
        if not len(positions):
            return out
        if self.detects:
            ensure(self._table, positions, self._runtime.context)
        for at in range(0, len(positions), 65536):
            self._aggregate(positions[at : at + 65536], out[at : at + 65536])
        return out

    def _aggregate(self, positions: Positions, out: Values) -> None:
        table, columns = self._table, self._node.rows.columns
        if self.detects:
            rows = objects_at(table, positions, columns, self._runtime.context)
        else:
            rows = pa.Table.from_batches([table.frame_batch(positions, columns)])
        rows = sieved(rows, self._node.pixels, self._node.rows.table, self._runtime)
        found = self._runtime.query(self._sql, {**self._inputs, self._name: rows})
        if found.num_rows == 0:
            return
        video = pc.index_in(found.column(0), value_set=self._videos).to_numpy()
        places = table.starts[video] + found.column(1).to_numpy()
        at = np.searchsorted(positions, places)
        for k in range(self.width):
            column = found.column(2 + k).to_numpy(zero_copy_only=False).astype(np.float64)
            out[at, k] = np.nan_to_num(column, nan=0.0)


def costs_of(table: LiveTable, facts: VideoTable, *, detects: bool) -> Costs:
    """Return the prices of looking at frames: the detector, and decoding in one sorted pass."""
    profile = facts.profile
    keys = [np.flatnonzero(v.index.is_key) for v in table.videos]

    def decode(places: Positions) -> float:
        seconds = 0.0
        for i, frames in table.split(places):
            starts = keys[i]
            if not len(starts):
                starts = np.zeros(1, np.int64)
            gop = np.maximum(np.searchsorted(starts, frames, side="right") - 1, 0)
            last = np.flatnonzero(np.diff(gop, append=-1))
            decoded = float((frames[last] - starts[gop[last]] + 1).sum())
            video = facts.videos[i]
            jump = jump_seconds(profile, video.mean_gop)
            straight = float(frames[-1] - frames[0] + 1) * profile.decode_frame
            seconds += min(len(last) * jump + decoded * profile.decode_frame, straight + jump)
        return seconds

    decode_or_free: Callable[[Positions], float] = decode if detects else lambda _: 0.0
    return Costs(detect=profile.detect_frame if detects else 1e-5, decode=decode_or_free)


def empty_answer(node: SampleAggregate | SampleTracks, runtime: Runtime) -> pa.Table:
    """Return the result's columns without meaning, for a statement that is only described."""
    index = OBJECTS.empty_table()
    keys = "".join(f"({k.text}) AS {k.column}, " for k in node.keys)
    name = runtime.fresh_name()
    calls = ", ".join(f"0.0::DOUBLE AS {a.column}" for a in node.aggregates)
    source = f'{name} AS "{node.source.levels[-1][0]}"'
    return runtime.query(
        f"{node.prefix}SELECT {keys}{calls} FROM {source}",
        {**runtime.materialised(node.inputs), name: index},
    )


def answer(
    node: SampleAggregate | SampleTracks,
    runtime: Runtime,
    intervals: list[Interval],
    groups: FrameGroups,
) -> pa.Table:
    """Return the result rows, and write the intervals on the report."""
    context, report = runtime.context, runtime.context.report
    width = len(node.aggregates)
    columns: dict[str, Any] = {k.column: groups.keys.column(k.column) for k in node.keys}
    per_column: list[list[Interval]] = [[] for _ in range(width)]
    for interval in intervals:
        per_column[interval.target].append(interval)
    for aggregate, column in zip(node.aggregates, per_column, strict=True):
        columns[aggregate.column] = pa.array([i.estimate for i in column], pa.float64())
    rows = [(a, i) for a, c in zip(node.aggregates, per_column, strict=True) for i in c]
    listed: dict[str, Any] = {}
    places = pa.array([i.group for _, i in rows], pa.int64())
    for key in node.keys:
        listed[key.source] = groups.keys.column(key.column).take(cast("Any", places))
    listed["column"] = pa.array([a.source for a, _ in rows], pa.string())
    listed["estimate"] = pa.array([i.estimate for _, i in rows], pa.float64())
    listed["low"] = pa.array([i.low for _, i in rows], pa.float64())
    listed["high"] = pa.array([i.high for _, i in rows], pa.float64())
    listed["samples"] = pa.array([i.samples for _, i in rows], pa.int64())
    listed["target_met"] = pa.array([i.target_met for _, i in rows], pa.bool_())
    report.intervals = pa.table(listed)
    report.confidence = node.tolerance.confidence
    order = ("exact", "finite", "asymptotic", "none")
    worst = max((i.guarantee for i in intervals), key=order.index, default="exact")
    report.guarantee = max(report.guarantee, worst, key=order.index)
    if report.guarantee == "none":
        report.confidence = None
    report.target_met = report.target_met and all(i.target_met for i in intervals)
    if len(intervals) == 1:
        only = intervals[0]
        report.estimate, report.low, report.high = only.estimate, only.low, only.high
    promised = node.tolerance.epsilon is not None and node.method != "rewrite"
    if promised and not all(i.target_met for i in intervals):
        context.notice(
            "the error asked for was not reached: the interval says what was", severity="WARNING"
        )
    clipped = max((i for i in intervals), key=lambda i: i.clipped_bound, default=None)
    if clipped is not None and clipped.clipped:
        context.notice(
            f"{clipped.clipped} frame(s) held more than max_count = {node.max_count} objects and "
            f"count as {node.max_count}; at most {clipped.clipped_bound:.2%} of all frames do"
        )
    return pa.table(columns)
