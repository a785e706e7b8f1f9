"""Detections on demand: frames not in the store are decoded, detected and kept, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foveal.connectors.video.ring import SLOTS
from foveal.engine.catalog.videos import LiveTable, Positions
from foveal.engine.context import QueryContext
from foveal.engine.relations import (
    OBJECTS,
    Column,
    assemble,
    box_array,
    constant,
    handles,
    masks,
)
from foveal.planner.protocols import DecodeCounters, Detections

if TYPE_CHECKING:
    from foveal.planner.protocols import Image

KEEP_FRAMES = 256
KEEP_SECONDS = 5.0
"""Detections are made durable after this many frames or seconds, whichever comes first."""


def ensure(table: LiveTable, positions: Positions, context: QueryContext) -> None:
    """See to it that the detections of these frames (sorted positions) are stored.

    What was detected before a cancellation or an error is kept.

    Raises:
        QueryCanceled: 57014. OperationalError: 58030, a video fails.
    """
    missing = positions[~table.processed()[positions]]
    if not len(missing):
        return
    total, done = len(missing), 0
    context.advance("detect", 0, total)
    for i, frames in table.split(missing):
        done = _detect_video(table, i, frames, context, done, total)


def stretches(
    table: LiveTable,
    positions: Positions,
    context: QueryContext,
    *,
    columns: tuple[str, ...],
    size: int,
    wanted: Callable[[int], bool],
) -> Generator[tuple[Positions, pa.RecordBatch]]:
    """Detect frames (sorted positions, none of them stored) in one pass over each video.

    Yields every `size` of them, or what is left, with their objects: whoever has seen enough closes
    the generator, and all are stored then. A frame whose position is not `wanted` any more when its
    turn comes is passed over.

    Raises:
        QueryCanceled: 57014. OperationalError: 58030, a video fails.
    """
    for i, frames in table.split(positions):
        start = int(table.starts[i])
        found = _detections(table, i, frames, context, size, lambda n, at=start: wanted(at + n))
        with closing(found):
            for numbers, objects in found:
                frames = np.array(numbers, np.int64)
                stored = objects_table(numbers, objects)
                yield frames + start, object_batch(table, i, frames, columns, stored=stored)


def _detect_video(
    table: LiveTable, i: int, frames: Positions, context: QueryContext, done: int, total: int
) -> int:
    for numbers, _ in _detections(table, i, frames, context):
        done += len(numbers)
        context.advance("detect", done, total)
    return done


def _detections(
    table: LiveTable,
    i: int,
    frames: Positions,
    context: QueryContext,
    size: int | None = None,
    wanted: Callable[[int], bool] | None = None,
) -> Generator[tuple[list[int], list[Detections]]]:
    """Yield detected frames: their numbers, and what was found in each.

    A batch of the detector's at a time, or `size` frames. All are stored at the end, or when the
    generator is closed.
    """
    video = table.videos[i]
    counters = DecodeCounters()
    pending = _Pending(table, video.content_hash)
    batch: list[tuple[int, Image]] = []
    most = int(context.settings["batch_frames"])
    spent, calls = 0.0, 0
    told: list[int] = []
    seen: list[Detections] = []

    def flush() -> None:
        nonlocal spent, calls
        context.check()
        context.check_budget(len(batch))
        begin = time.perf_counter()
        found = table.detector.detect([picture for _, picture in batch])
        took = time.perf_counter() - begin
        spent += took
        calls += len(batch)
        context.detect_seconds += took
        context.report.detector_calls += len(batch)
        numbers = [number for number, _ in batch]
        pending.add(numbers, found)
        told.extend(numbers)
        seen.extend(found)
        batch.clear()

    try:
        _ = table.detector  # loading it is no part of its speed
        # The next batch is decoded in the child while the detector works on this one.
        ahead = max(SLOTS, most) if size is None else SLOTS
        pictures = video.read(frames, counters=counters, cancel=context.check, ahead=ahead)
        for number, picture in pictures:
            if wanted is not None and not wanted(number):
                continue
            batch.append((number, picture))
            if len(batch) < most and (size is None or len(told) + len(batch) < size):
                continue
            flush()
            if size is None or len(told) >= size:
                yield told, seen
                told, seen = [], []
        if batch:
            flush()
        if told:
            yield told, seen
    finally:
        pending.keep()
        context.counters.frames_decoded += counters.frames_decoded
        context.counters.seeks += counters.seeks
        context.counters.seconds += counters.seconds
        profiles = table.storage.profiles
        profiles.decoded(video.content_hash, table.video_facts(i), counters)
        profiles.detected(table.info.key, calls, spent)


class _Pending:
    """Detections of one video that are not durable yet."""

    def __init__(self, table: LiveTable, video_hash: str) -> None:
        self._table = table
        self._hash = video_hash
        self._frames: list[int] = []
        self._found: list[Detections] = []
        self._since = time.perf_counter()

    def add(self, frames: list[int], found: list[Detections]) -> None:
        self._frames += frames
        self._found += found
        if len(self._frames) >= KEEP_FRAMES or time.perf_counter() - self._since > KEEP_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Write them to the store."""
        if self._frames:
            self._table.storage.detections.append(
                self._hash,
                self._table.info.key,
                np.array(self._frames, np.int64),
                objects_table(self._frames, self._found),
            )
        self._frames, self._found = [], []
        self._since = time.perf_counter()


def objects_table(frames: list[int], found: list[Detections]) -> pa.Table:
    """Return detections as the store's table, a row per object, by frame, best first."""
    counts = [len(d.scores) for d in found]
    boxes = np.concatenate([d.boxes for d in found]) if found else np.zeros((0, 4), np.float32)
    ordinals = [np.arange(n, dtype=np.int32) for n in counts]
    numbers: npt.NDArray[np.int64] = np.repeat(np.array(frames, np.int64), counts)
    places: npt.NDArray[np.int32] = np.concatenate([np.zeros(0, np.int32), *ordinals])
    return pa.table(
        {
            "frame": pa.array(numbers),
            "ordinal": pa.array(places),
            "class": pa.array(
                np.concatenate([d.classes for d in found]).astype(np.int32)
                if found
                else np.zeros(0, np.int32)
            ),
            "confidence": pa.array(
                np.concatenate([d.scores for d in found]).astype(np.float32)
                if found
                else np.zeros(0, np.float32)
            ),
            **{
                name: pa.array(np.ascontiguousarray(boxes[:, k]).astype(np.float32))
                for k, name in enumerate(("xmin", "ymin", "xmax", "ymax"))
            },
        }
    )


def object_batch(
    table: LiveTable,
    i: int,
    frames: Positions,
    columns: tuple[str, ...],
    tracks: npt.NDArray[np.int64] | None = None,
    *,
    stored: pa.Table | None = None,
) -> pa.RecordBatch:
    """Return the objects relation's rows for stored frames (sorted) of video i.

    `tracks` int64, one per row of the video's frames asked for: track ids, 0 for none. `stored`:
    what the store holds of these frames, where it is at hand.
    """
    video = table.videos[i]
    if stored is None:
        stored = table.storage.detections.read(video.content_hash, table.info.key, frames)
    rows = stored.num_rows
    numbers = stored.column("frame").to_numpy()
    arrays: dict[str, Column] = {
        "video": constant(video.name, rows),
        "frame": pa.array(numbers, pa.int64()),
        "confidence": _flat(stored, "confidence"),
        **{name: _flat(stored, name) for name in ("xmin", "ymin", "xmax", "ymax")},
    }
    if "ts" in columns:
        arrays["ts"] = pa.array(video.index.ts[numbers], pa.float64())
    if "class" in columns:
        names = pa.array(table.info.classes, pa.string())
        arrays["class"] = names.take(_flat(stored, "class"))
    if "mask" in columns:
        arrays["mask"] = masks(box_array(stored))
    if "content" in columns:
        arrays["content"] = handles(str(video.path), numbers, box_array(stored))
    if "trackid" in columns and tracks is not None:
        arrays["trackid"] = pa.array(tracks, pa.int64(), mask=tracks == 0)
    return assemble(OBJECTS, rows, arrays, columns)


def objects_at(
    table: LiveTable, positions: Positions, columns: tuple[str, ...], context: QueryContext
) -> pa.Table:
    """Return the objects of the frames at sorted positions, detected first where need be."""
    ensure(table, positions, context)
    parts = [object_batch(table, i, frames, columns) for i, frames in table.split(positions)]
    return pa.Table.from_batches(parts, schema=OBJECTS)


def _flat(stored: pa.Table, name: str) -> Column:
    return stored.column(name).combine_chunks()
