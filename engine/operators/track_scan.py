"""TrackScan: one row per track; every frame of the table is detected first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from foveal.engine.executor import Runtime
from foveal.engine.flow import ProducedStream
from foveal.engine.inference import track_ids
from foveal.engine.relations import TRACKS, assemble, constant
from foveal.engine.substrate import ArrowStream
from foveal.planner.physical import TrackScan


def track_scan(node: TrackScan, runtime: Runtime) -> ArrowStream:
    """Return the tracks by video and id."""
    if runtime.describe_only:
        return ProducedStream(TRACKS, lambda: iter(()), runtime.context)
    table = runtime.tables[node.table]

    def batches() -> Iterator[pa.RecordBatch]:
        for i in range(len(table.videos)):
            stored, ids = track_ids(table, i, runtime.context)
            yield _tracks_of(
                node,
                table.videos[i].name,
                table.videos[i].index.ts,
                table.info.classes,
                stored,
                ids,
            )

    return ProducedStream(TRACKS, batches, runtime.context)


def _tracks_of(
    node: TrackScan,
    video: str,
    ts: np.ndarray,
    classes: tuple[str, ...],
    stored: pa.Table,
    ids: np.ndarray,
) -> pa.RecordBatch:
    numbers = stored.column("frame").to_numpy()
    scores = stored.column("confidence").to_numpy().astype(np.float64)
    labels = stored.column("class").to_numpy()
    count = int(ids.max(initial=0))
    hits = np.bincount(ids, minlength=count + 1)[1:]
    first = np.full(count + 1, np.iinfo(np.int64).max)
    last = np.full(count + 1, -1)
    np.minimum.at(first, ids, numbers)
    np.maximum.at(last, ids, numbers)
    label = np.zeros(count + 1, np.int64)
    label[ids] = labels
    mean = np.bincount(ids, weights=scores, minlength=count + 1)[1:] / np.maximum(hits, 1)
    first, last, label = first[1:], last[1:], label[1:]
    return assemble(
        TRACKS,
        count,
        {
            "video": constant(video, count),
            "trackid": pa.array(np.arange(1, count + 1), pa.int64()),
            "class": pa.array(classes, pa.string()).take(pa.array(label, pa.int64())),
            "first_frame": pa.array(first, pa.int64()),
            "last_frame": pa.array(last, pa.int64()),
            "first_ts": pa.array(ts[first] if count else np.zeros(0), pa.float64()),
            "last_ts": pa.array(ts[last] if count else np.zeros(0), pa.float64()),
            "frames": pa.array(hits, pa.int64()),
            "confidence": pa.array(mean, pa.float64()).cast(pa.float32(), safe=False),
        },
        node.columns,
    )
