"""ANALYZE VIDEO: what queries will need, paid for ahead of time: thumbnails, then detections.

Detections go from coarse to fine: wherever the work stops, the frames that are done lie spread over
all of the table, one random frame per interval. What was done before a stop is kept.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foveal.engine.catalog.videos import LiveTable, Positions
from foveal.engine.context import QueryContext
from foveal.engine.inference import ensure
from foveal.engine.thumbnails import ensure_thumbnails
from foveal.errors import OperationalError, QueryCanceled
from foveal.planner.cost import decode_sample, detect
from foveal.planner.protocols import FrameFacts
from foveal.reports import Progress

LOOK_SHARE = 0.5
"""The part of a budget of seconds that thumbnails may take, so that detections get theirs."""

FIRST = 64
"""Frames of the first pass of detections."""

GROWTH = 3
"""Each later pass takes so many times the frames done so far: few passes, for each one decodes
anew, but soon a frame in every stretch."""

SMALLEST = 8
"""A pass is not made smaller than this to fit into what is left of a budget of seconds."""


def analyze(
    table: LiveTable, seconds: float | None, calls: int | None, context: QueryContext
) -> pa.Table:
    """Fill the caches of a table until all is done or the budget is spent; say what was added.

    `seconds` of wall time or detector `calls`; with neither, every frame is looked at and detected.
    Ctrl-C ends it early like a budget does. Returns a row per video: video, frames, thumbnails,
    new_thumbnails, detected, newly_detected.

    Raises:
        OperationalError: 58030, a video fails; 53100, the disk is full. What was done is kept.
    """
    looked, detected = table.thumbnailed(), table.processed()
    # A cancelled ANALYZE answers too: nothing of DuckDB's runs that would have to be interrupted.
    context.answers_when_cancelled = True
    begun = context.elapsed
    stopped = ""
    try:
        context.limit(None if seconds is None else seconds * LOOK_SHARE, None)
        with _budgeted():
            ensure_thumbnails(table, np.arange(table.frames), context)
        context.limit(None if seconds is None else seconds - (context.elapsed - begun), None)
        with _budgeted():
            _detect(table, calls, context)
        if seconds is not None or calls is not None:
            stopped = "the BUDGET is spent"
    except QueryCanceled:
        stopped = "cancelled"
    finally:
        context.seconds_limit = None
    report = _added(table, looked, detected)
    _tell(report, stopped, table, context)
    return report


@contextmanager
def _budgeted() -> Generator[None]:
    """End the work inside when the budget of seconds is spent."""
    try:
        yield
    except OperationalError as error:
        if error.sqlstate != "53400":
            raise


def _detect(table: LiveTable, calls: int | None, context: QueryContext) -> None:
    """Detect the table's frames, coarse to fine, in passes of growing size."""
    order = coarse_to_fine(table.frames, int(context.settings["seed"]))
    done = table.processed()
    order = order[~done[order]]
    total = len(order) if calls is None else min(calls, len(order))
    begin = 0
    while begin < total:
        context.check_budget(1)
        size = min(max(FIRST, begin * GROWTH), total - begin)
        while size > SMALLEST and not _fits(table, size, context):
            size //= 2
        with _part_of(context, begin, total):
            ensure(table, np.sort(order[begin : begin + size]), context)
        begin += size


def _fits(table: LiveTable, size: int, context: QueryContext) -> bool:
    """Say whether a pass of `size` frames should end within the budget of seconds."""
    if context.seconds_limit is None:
        return True
    every = np.arange(table.frames)
    facts = FrameFacts(table.frames, 0, table.keyframes(every))
    profile = table.facts().profile
    cost = decode_sample(size, facts, profile) + detect(size, profile)
    return context.elapsed + cost <= context.seconds_limit


@contextmanager
def _part_of(context: QueryContext, before: int, total: int) -> Generator[None]:
    """Show a pass's progress as a part of all passes'."""
    told = context.progress
    if told is None:
        yield
        return
    begun = context.elapsed

    def tell(progress: Progress) -> None:
        done = before + progress.done
        spent = progress.elapsed - begun
        rest = spent * (total - done) / progress.done if progress.done else None
        told(replace(progress, done=done, total=total, remaining=rest))

    context.progress = tell
    try:
        yield
    finally:
        context.progress = told


def coarse_to_fine(frames: int, seed: int) -> npt.NDArray[np.int64]:
    """Return all of 0..frames-1 in an order whose every prefix is spread evenly.

    Level k cuts the frames into 2^k equal intervals and gives a random frame to each that has none
    yet, the intervals in bit-reversed order (van der Corput 1935). So the first n frames put one or
    two into each of 2^k equal intervals, where 2^k is the greatest power up to n.
    """
    draw = np.random.default_rng((seed, frames, 0x616E616C))
    taken = np.zeros(frames, np.bool_)
    parts: list[Positions] = []
    found, level = 0, 0
    while found < frames:
        edges = np.arange((1 << level) + 1, dtype=np.int64) * frames >> level
        before = np.concatenate(([0], np.cumsum(taken)))
        empty = np.flatnonzero((np.diff(before[edges]) == 0) & (np.diff(edges) > 0))
        empty = empty[np.argsort(_reversed_bits(empty, level), kind="stable")]
        low, high = edges[empty], edges[empty + 1]
        chosen = low + (draw.random(len(empty)) * (high - low)).astype(np.int64)
        taken[chosen] = True
        parts.append(chosen)
        found, level = found + len(chosen), level + 1
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _reversed_bits(numbers: Positions, bits: int) -> Positions:
    out = np.zeros_like(numbers)
    for i in range(bits):
        out |= (numbers >> i & 1) << (bits - 1 - i)
    return out


def _added(
    table: LiveTable, looked: npt.NDArray[np.bool_], detected: npt.NDArray[np.bool_]
) -> pa.Table:
    def per_video(mask: npt.NDArray[np.bool_]) -> pa.Array[pa.Int64Scalar]:
        counts = np.concatenate(([0], np.cumsum(mask)))
        return pa.array(np.diff(counts[table.starts]), pa.int64())

    now, known = table.thumbnailed(), table.processed()
    return pa.table(
        {
            "video": pa.array([video.name for video in table.videos], pa.string()),
            "frames": pa.array(np.diff(table.starts), pa.int64()),
            "thumbnails": per_video(now),
            "new_thumbnails": per_video(now & ~looked),
            "detected": per_video(known),
            "newly_detected": per_video(known & ~detected),
        }
    )


def _tell(report: pa.Table, stopped: str, table: LiveTable, context: QueryContext) -> None:
    """Say in a notice what was added and what is left."""
    sums = {name: int(report.column(name).to_numpy().sum()) for name in report.column_names[1:]}
    left = 2 * sums["frames"] - sums["thumbnails"] - sums["detected"]
    text = (
        f"added {sums['new_thumbnails']} thumbnails and the detections of "
        f"{sums['newly_detected']} frames; of {sums['frames']} frames {sums['thumbnails']} have "
        f"thumbnails and {sums['detected']} detections"
    )
    if left and stopped:
        text += f"; {stopped}: ANALYZE VIDEO {table.name} goes on from here"
    context.notice(text)
