"""Exact frames by number: an index and sorted frame numbers in, pictures out, decoding little."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from foveal.connectors.video.faults import UndecodableFrame
from foveal.connectors.video.packets import PacketIndex
from foveal.connectors.video.scalers import Rgb
from foveal.connectors.video.stream import Stream

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from foveal.planner.protocols import CancelCheck, DecodeCounters, Frames, Image

SEEK_COST = 3
"""A seek costs about as much as decoding this many frames (flush, demux, refilled reordering)."""

REORDER = 16
"""How many frames a decoder may hold back: the largest reordering depth of H.264 and HEVC."""


def read_frames(
    stream: Stream,
    index: PacketIndex,
    frames: Frames,
    *,
    counters: DecodeCounters,
    cancel: CancelCheck,
) -> Iterator[tuple[int, Image]]:
    """Yield (frame number, picture uint8 RGB [H, W, 3]) for `frames` (sorted, unique), ascending.

    Raises:
        UndecodableFrame: 58030, a frame does not come out of the decoder.
    """
    yield from read_as(Rgb(index), stream, index, frames, counters=counters, cancel=cancel)


def read_as(
    convert: Callable[[VideoFrame], Image],
    stream: Stream,
    index: PacketIndex,
    frames: Frames,
    *,
    counters: DecodeCounters,
    cancel: CancelCheck,
) -> Iterator[tuple[int, Image]]:
    """Yield (frame number, what `convert` makes of it) for `frames` (sorted, unique), ascending.

    Every touched group of pictures is decoded once, up to its last wanted frame; where the next
    wanted group begins within `SEEK_COST` packets the decoder runs on instead of seeking. At most
    `REORDER` pictures are held.

    Raises:
        UndecodableFrame: 58030, a frame does not come out of the decoder.
    """
    clock = time.perf_counter()
    frame_of_packet = np.full(index.packets, -1, np.int64)
    frame_of_packet[index.frame_packet] = np.arange(index.frames)
    wanted = np.zeros(index.frames, np.bool_)
    wanted[frames] = True
    held: dict[int, Image] = {}
    last_out = -1
    fresh = False
    for number in frames.tolist():
        start = int(index.frame_start[number])
        began_late = False
        while number not in held:
            cancel()
            ahead = fresh and last_out < number and start - stream.next_packet <= SEEK_COST
            runs_on = ahead and (
                stream.began_at in (0, start) if index.proven else stream.began_at <= start
            )
            if not runs_on:
                if start > 0 or stream.next_packet > 0:
                    counters.seeks += 1
                stream.begin_at(index, start)
                fresh, last_out = True, -1
            lost = False
            while number not in held and not lost:
                cancel()
                step = stream.step()
                lost = step is None
                for packet, frame in step or ():
                    counters.frames_decoded += 1
                    which = int(frame_of_packet[packet]) if 0 <= packet < index.packets else -1
                    if which < 0:
                        continue
                    last_out = max(last_out, which)
                    if frame.is_corrupt and stream.began_at > 0 and not index.proven:
                        continue  # a start that was none: found missing below, begun earlier then
                    if wanted[which]:
                        held[which] = convert(frame)
                        wanted[which] = False
                lost = lost or last_out > number + REORDER
            if lost and number not in held:
                fresh = False
                if stream.began_at <= 0:
                    raise undecodable(stream, index, number)
                start = 0 if began_late else _start_before(index, start)
                began_late = True
        image = held.pop(number)
        counters.seconds += time.perf_counter() - clock
        yield number, image
        clock = time.perf_counter()


def _start_before(index: PacketIndex, start: int) -> int:
    starts = np.unique(index.frame_start)
    return int(starts[max(int(np.searchsorted(starts, start)) - 1, 0)])


def undecodable(stream: Stream, index: PacketIndex, number: int) -> UndecodableFrame:
    """Return the error for a frame that does not come out of the decoder."""
    return UndecodableFrame(
        f'cannot decode frame {number} of "{stream.path}", {index.ts[number]:.3f} s from its start',
        hint="the file is damaged there; run the statement again: the file is then indexed by "
        "decoding all of it, and what cannot be decoded is reported and left out",
    )
