"""TrackScan: one row per track of a table, video by video; blocking per video."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from foveal.engine.catalog.videos import LiveTable
from foveal.engine.executor import Runtime
from foveal.engine.flow import ProducedStream
from foveal.engine.relations import TRACKS, assemble, constant
from foveal.engine.substrate import ArrowStream
from foveal.engine.tracks import TrackedRows, rows_of
from foveal.planner.physical import TrackScan


def track_scan(node: TrackScan, runtime: Runtime) -> ArrowStream:
    """Return the tracks by video and id."""
    if runtime.describe_only:
        return ProducedStream(TRACKS, lambda: iter(()), runtime.context)
    table = runtime.tables[node.table]

    def batches() -> Iterator[pa.RecordBatch]:
        for i in range(len(table.videos)):
            yield _tracks_of(node, table, i, rows_of(table, i, node.sparse, runtime.context))

    return ProducedStream(TRACKS, batches, runtime.context)


def _tracks_of(node: TrackScan, table: LiveTable, i: int, rows: TrackedRows) -> pa.RecordBatch:
    ids, at, place = np.unique(rows.trackid, return_index=True, return_inverse=True)
    count = ids.size
    hits = np.bincount(place, minlength=count)
    first, last = rows.frame[at], np.zeros(count, np.int64)
    np.maximum.at(last, place, rows.frame)
    ts = table.videos[i].index.ts
    columns = {
        "video": constant(table.videos[i].name, count),
        "trackid": pa.array(ids, pa.int64()),
        "class": pa.array(table.info.classes, pa.string()).take(
            pa.array(rows.label[at], pa.int64())
        ),
        "first_frame": pa.array(first, pa.int64()),
        "last_frame": pa.array(last, pa.int64()),
        "first_ts": pa.array(ts[first], pa.float64()),
        "last_ts": pa.array(ts[last], pa.float64()),
        "frames": pa.array(hits, pa.int64()),
    }
    if "confidence" in node.columns:
        scores = _scores(table, i, rows).astype(np.float64)
        mean = np.bincount(place, weights=scores, minlength=count) / np.maximum(hits, 1)
        columns["confidence"] = pa.array(mean, pa.float64()).cast(pa.float32(), safe=False)
    return assemble(TRACKS, count, columns, node.columns)


def _scores(table: LiveTable, i: int, rows: TrackedRows) -> np.ndarray:
    """Return the score of each row, float32."""
    frames = np.unique(rows.frame)
    stored = table.storage.detections.read(table.videos[i].content_hash, table.info.key, frames)
    starts = np.searchsorted(stored.column("frame").to_numpy(), rows.frame)
    return stored.column("confidence").to_numpy()[starts + rows.place]
