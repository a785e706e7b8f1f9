"""Cheap looks: gray thumbnails of exact frames by number, straight from the decoder's scaler.

All thumbnails come from one path (a decoder that leaves deblocking out where nothing builds on it,
one scaler), so that differences between them are differences of the scene. `PATH` names it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from foveal.planner.protocols import THUMBNAIL

if TYPE_CHECKING:
    from foveal.connectors.video.packets import PacketIndex
    from foveal.connectors.video.stream import Stream
    from foveal.planner.protocols import CancelCheck, DecodeCounters, Frames, Image

PATH = f"gray{THUMBNAIL}-area-noref-1"
"""Names all that decides a thumbnail's pixels; part of the key under which they are kept."""

BATCH = 64
"""Thumbnails that are handed over together."""

BATCH_SECONDS = 0.5
"""After this long a batch is handed over as it is: a random frame may take a third of a second."""

BYTES = THUMBNAIL * THUMBNAIL
"""Size of one thumbnail."""


def read_thumbnails(
    stream: Stream,
    index: PacketIndex,
    frames: Frames,
    *,
    counters: DecodeCounters,
    cancel: CancelCheck,
) -> Iterator[tuple[Frames, Image]]:
    """Yield (frame numbers int64 [k], thumbnails uint8 [k, 96, 96]) for `frames`, ascending.

    `frames` is sorted and unique; `stream` is a rough one. Decodes what `reader.read_frames` does.

    Raises:
        UndecodableFrame: 58030, a frame does not come out of the decoder.
    """
    from foveal.connectors.video.reader import read_as
    from foveal.connectors.video.stream import Gray

    assert stream.rough
    singles = read_as(Gray(index), stream, index, frames, counters=counters, cancel=cancel)
    numbers: list[int] = []
    pictures = _empty()
    begun = time.perf_counter()
    for number, picture in singles:
        pictures[len(numbers)] = picture
        numbers.append(number)
        if len(numbers) == BATCH or time.perf_counter() - begun > BATCH_SECONDS:
            yield np.array(numbers, np.int64), pictures[: len(numbers)]
            numbers, pictures, begun = [], _empty(), time.perf_counter()
    if numbers:
        yield np.array(numbers, np.int64), pictures[: len(numbers)]


def _empty() -> Image:
    return np.empty((BATCH, THUMBNAIL, THUMBNAIL), np.uint8)
