"""ObjectScan: a video table's objects, chunk by chunk; streaming, memory bound by one chunk."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from foveal.engine.catalog.videos import LiveTable, Positions
from foveal.engine.executor import Runtime
from foveal.engine.flow import ProducedStream
from foveal.engine.inference import ensure, object_batch
from foveal.engine.relations import OBJECTS
from foveal.engine.substrate import ArrowStream
from foveal.engine.tracks import all_tracks, sparse_tracks
from foveal.planner.physical import ObjectScan

CHUNK = 512
"""Frames detected between two batches: small, so that a LIMIT above stops the detector soon."""
CACHED_CHUNK = 65536
"""Frames read at once where nothing is left to detect."""


def object_scan(node: ObjectScan, runtime: Runtime) -> ArrowStream:
    """Return the objects of the selected frames, by video, frame and score."""
    if runtime.describe_only:
        return ProducedStream(OBJECTS, lambda: iter(()), runtime.context)
    positions = runtime.positions(node.table, node.conjuncts)
    table = runtime.tables[node.table]
    report = runtime.context.report
    report.frames_total += len(positions)
    report.frames_cached += int(table.processed()[positions].sum())
    return ProducedStream(
        OBJECTS, lambda: _batches(node, table, positions, runtime), runtime.context
    )


def _batches(
    node: ObjectScan, table: LiveTable, positions: Positions, runtime: Runtime
) -> Iterator[pa.RecordBatch]:
    if node.tracked:
        yield from _tracked(node, table, positions, runtime)
        return
    at = 0
    processed = table.processed()[positions]
    while at < len(positions):
        runtime.context.check()
        ahead = processed[at : at + CACHED_CHUNK]
        cached = len(ahead) if ahead.all() else int(np.argmin(ahead))
        size = cached if cached >= CHUNK else CHUNK
        chunk = positions[at : at + size]
        ensure(table, chunk, runtime.context)
        for i, frames in table.split(chunk):
            yield object_batch(table, i, frames, node.columns)
        at += size


def _tracked(
    node: ObjectScan, table: LiveTable, positions: Positions, runtime: Runtime
) -> Iterator[pa.RecordBatch]:
    for i, frames in table.split(positions):
        if node.sparse:
            yield _rows_of_tracks(node, table, i, frames, runtime)
            continue
        stored, ids = all_tracks(table, i, runtime.context)
        chosen = np.isin(stored.column("frame").to_numpy(), frames)
        yield object_batch(table, i, frames, node.columns, ids[chosen])


def _rows_of_tracks(
    node: ObjectScan, table: LiveTable, i: int, frames: Positions, runtime: Runtime
) -> pa.RecordBatch:
    """Return the rows of tracks of the wanted classes in the wanted frames, and no others."""
    found = sparse_tracks(table, i, node.sparse, runtime.context)
    wanted = np.isin(found.frame, frames)
    frame, place = found.frame[wanted], found.place[wanted]
    held = np.unique(frame)
    numbers = table.storage.detections.read(
        table.videos[i].content_hash, table.info.key, held
    ).column("frame").to_numpy()  # fmt: skip
    at = np.searchsorted(numbers, frame) + place
    ids = np.zeros(len(numbers), np.int64)
    ids[at] = found.trackid[wanted]
    batch = object_batch(table, i, held, node.columns, ids)
    return batch.filter(pa.array(ids > 0))
