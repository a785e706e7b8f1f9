"""SampleTracks: the number of distinct tracks from sampled frames; valid intervals at every moment.

Blocking; memory bound by the detections of the frames looked at. It ends when the tolerance is met,
the budget is spent, or the user cancels: then it returns the interval so far.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from foveal.engine.catalog.videos import Positions
from foveal.engine.executor import Runtime
from foveal.engine.operators.frame_groups import FrameGroups, frame_groups
from foveal.engine.operators.sample_aggregate import answer, empty_answer
from foveal.engine.substrate import ArrowStream
from foveal.engine.track_terms import TrackTerms
from foveal.errors import OperationalError, QueryCanceled
from foveal.planner.estimators import Costs, FrameGroup, Interval, MeanTarget, SamplingRun
from foveal.planner.estimators.distinct_tracks import largest
from foveal.planner.physical import SampleTracks

FIRST_BATCH = 64
"""Frames drawn at first, where a budget of calls is to be met."""


def sample_tracks(node: SampleTracks, runtime: Runtime) -> ArrowStream:
    """Return a row per group: keys, then the estimate as DOUBLE."""
    if runtime.describe_only:
        return empty_answer(node, runtime)
    context, tolerance = runtime.context, node.tolerance
    inputs = runtime.materialised(node.inputs)
    groups = frame_groups(runtime, node.frames, node.prefix, node.source, node.keys, inputs)
    table = runtime.tables[node.rows.table]
    group_of = np.full(table.frames, -1, np.int64)
    group_of[groups.positions] = groups.group
    terms = TrackTerms(table, node.classes, group_of, context)
    run = SamplingRun(
        _frame_groups(node, groups, table.starts[:-1]),
        delta=1 - tolerance.confidence,
        guarantee=node.guarantee,
        seed=node.seed,
        costs=Costs(detect=table.facts().profile.detect_frame),
        joint=context.settings["group_guarantee"] == "joint",
        temporal=False,
    )
    context.report.frames_total = len(groups.positions)
    context.report.frames_cached = int(table.processed()[groups.positions].sum())
    context.answers_when_cancelled = True
    context.limit(tolerance.seconds, tolerance.calls)
    try:
        _sample(node, runtime, run, terms)
    finally:
        context.answers_when_cancelled = False
        context.seconds_limit = context.calls_limit = None
    return answer(node, runtime, [_whole(i) for i in run.intervals()], groups)


def _sample(node: SampleTracks, runtime: Runtime, run: SamplingRun, terms: TrackTerms) -> None:
    """Observe batch after batch until the run is finished or what it may spend is spent.

    A batch that the budget cuts short is left out: the interval before it holds, whatever it
    would have shown.
    """
    context, calls = runtime.context, node.tolerance.calls
    begun = context.report.detector_calls
    while True:
        limit = None
        spent = context.report.detector_calls - begun
        if calls is not None:
            each = spent / run.observed if run.observed else calls / FIRST_BATCH
            limit = int((calls - spent) / max(each, 1.0))
            if limit < 1:
                return
        batch = run.next_batch(limit=limit)
        if batch is None:
            return
        try:
            values = terms(batch)
        except QueryCanceled:
            if context.stopped.is_set():
                raise
            context.cancelled.clear()
            context.notice("cancelled: the interval is what was reached by then")
            return
        except OperationalError as error:
            if error.sqlstate != "53400":
                raise
            return
        run.add(batch, values)
        context.advance("sample", run.observed, run.observed + run.remaining())


def _frame_groups(node: SampleTracks, groups: FrameGroups, breaks: Positions) -> list[FrameGroup]:
    found: list[FrameGroup] = []
    for g in range(groups.count):
        frames = groups.positions[groups.group == g]
        target = MeanTarget(
            upper=largest(node.max_count, node.least),
            epsilon=node.tolerance.epsilon,
            relative=node.tolerance.relative,
            scale=float(max(len(frames), 1)),
        )
        found.append(FrameGroup(frames=frames, targets=(target,), breaks=breaks))
    return found


def _whole(interval: Interval) -> Interval:
    """Return an exact interval without the rounding errors of adding up parts of tracks."""
    if interval.guarantee != "exact" or interval.estimate is None:
        return interval
    tracks = float(round(interval.estimate))
    return replace(interval, estimate=tracks, low=tracks, high=tracks)
