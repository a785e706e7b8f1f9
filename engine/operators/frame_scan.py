"""FrameScan: a video table's frames from its index; nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from foveal.engine.executor import Runtime
from foveal.engine.flow import ProducedStream
from foveal.engine.relations import FRAMES
from foveal.engine.substrate import ArrowStream
from foveal.planner.physical import FrameScan

CHUNK = 65536


def frame_scan(node: FrameScan, runtime: Runtime) -> ArrowStream:
    """Return the selected frames in order."""
    if runtime.describe_only:
        return ProducedStream(FRAMES, lambda: iter(()), runtime.context)
    positions = runtime.positions(node.table, node.conjuncts)
    table = runtime.tables[node.table]

    def batches() -> Iterator[pa.RecordBatch]:
        for at in range(0, len(positions), CHUNK):
            runtime.context.check()
            yield table.frame_batch(positions[at : at + CHUNK], node.columns)

    return ProducedStream(FRAMES, batches, runtime.context)
