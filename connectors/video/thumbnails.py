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
    from foveal.connectors.video.scalers import Gray
    from foveal.connectors.video.stream import Stream
    from foveal.planner.protocols import CancelCheck, DecodeCounters, Frames, Image

PATH = f"gray{THUMBNAIL}-area-noref-1"
"""Names all that decides a thumbnail's pixels; part of the key under which they are kept."""

BATCH = 64
"""Thumbnails that are handed over together."""

BATCH_SECONDS = 0.5
"""After this long a batch is handed over as it is: a random frame may take a third of a second."""

SKIP_PACKETS = 64
"""Keyframes this near are reached by reading on: a packet read costs a fiftieth of a seek."""

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

    `frames` is sorted and unique; `stream` is a rough one. Decodes what `reader.read_frames` does,
    and of keyframes nothing but themselves.

    Raises:
        UndecodableFrame: 58030, a frame does not come out of the decoder.
    """
    assert stream.rough
    numbers: list[int] = []
    pictures = _empty()
    begun = time.perf_counter()
    for number, picture in _singles(stream, index, frames, counters, cancel):
        pictures[len(numbers)] = picture
        numbers.append(number)
        if len(numbers) == BATCH or time.perf_counter() - begun > BATCH_SECONDS:
            yield np.array(numbers, np.int64), pictures[: len(numbers)]
            numbers, pictures, begun = [], _empty(), time.perf_counter()
    if numbers:
        yield np.array(numbers, np.int64), pictures[: len(numbers)]


def _singles(
    stream: Stream,
    index: PacketIndex,
    frames: Frames,
    counters: DecodeCounters,
    cancel: CancelCheck,
) -> Iterator[tuple[int, Image]]:
    from foveal.connectors.video.reader import read_as
    from foveal.connectors.video.scalers import Gray

    to_gray = Gray(index)
    done = 0
    if keyframes_alone(index, frames):
        for pair in _keyframes(to_gray, stream, index, frames, counters, cancel):
            yield pair
            done += 1
    rest = frames[done:]
    if len(rest):
        yield from read_as(to_gray, stream, index, rest, counters=counters, cancel=cancel)


def keyframes_alone(index: PacketIndex, frames: Frames) -> bool:
    """Say whether all of `frames` can be decoded from their own packets only.

    Not so where a packet holds one field of a picture, or damage was seen.
    """
    whole = index.packets == index.frames and not index.proven
    return whole and bool(index.is_key[frames].all())


def _keyframes(
    to_gray: Gray,
    stream: Stream,
    index: PacketIndex,
    frames: Frames,
    counters: DecodeCounters,
    cancel: CancelCheck,
) -> Iterator[tuple[int, Image]]:
    """Yield keyframes' thumbnails; end at the first that does not come out of its own packet.

    The frames between are read past, not decoded. Pixels are as in any other read: a keyframe
    depends on nothing before it. (FFmpeg's `skip_frame=nokey` would also drop the second field of
    an interlaced keyframe.)
    """
    clock = time.perf_counter()
    near = False
    for number in frames.tolist():
        cancel()
        start = int(index.frame_packet[number])
        near = near and 0 <= start - stream.next_packet <= SKIP_PACKETS
        if not (near and stream.skip_to(start)):
            if start > 0 or stream.next_packet > 0:
                counters.seeks += 1
            stream.begin_at(index, start)
        found = stream.alone()
        near = found is not None and found[0] == start
        if found is None or not near:
            counters.seconds += time.perf_counter() - clock
            return
        counters.frames_decoded += 1
        picture = to_gray(found[1])
        counters.seconds += time.perf_counter() - clock
        yield number, picture
        clock = time.perf_counter()


def _empty() -> Image:
    return np.empty((BATCH, THUMBNAIL, THUMBNAIL), np.uint8)
