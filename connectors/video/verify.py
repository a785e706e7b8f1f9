"""Hold the index against the decoder: what packets truly yield, and where decoding may begin."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.connectors.video.packets import PacketIndex
from foveal.connectors.video.reader import REORDER
from foveal.connectors.video.scalers import Rgb
from foveal.connectors.video.stream import Stream
from foveal.connectors.video.table import PacketTable, StreamFacts, in_order

if TYPE_CHECKING:
    import numpy.typing as npt
    from av.video.frame import VideoFrame

    from foveal.connectors.video.packets import Ints

    Flags = npt.NDArray[np.bool_]

Beat = Callable[[], None]
"""Called between packets; may raise to stop the work."""

SMALL = 256
"""Files of at most this many packets are decoded in full: certainty costs little there."""

FULL_SHARE = 0.8
"""Where the checks would decode more than this share of the file, all of it is decoded."""

CHECKED = 32
"""Frames compared by picture behind the checked boundary."""

CHECK_PIXELS = 512 * 1280 * 720
"""The boundary check is left out where it would decode more pixels than this."""

_HEAD, _TAIL = range(2)


def decode(
    stream: Stream,
    index: PacketIndex,
    span: tuple[int, int],
    beat: Beat,
    summed: range = range(0),
) -> dict[int, int]:
    """Decode from packet `span[0]` until every frame of packets before `span[1]` had its chance.

    Return packet: checksum of its picture, in the order of the decoder; the checksum is taken of
    the packets in `summed` and 0 elsewhere.
    """
    start, stop = span
    stream.begin_at(index, start)
    out: dict[int, int] = {}
    to_rgb = Rgb(index)
    while stream.next_packet < stop + REORDER + 1:
        beat()
        frames = stream.step()
        if frames is None:
            break
        for packet, frame in frames:
            if packet >= 0:
                out.setdefault(packet, _checksum(frame, to_rgb) if packet in summed else 0)
    return out


def _checksum(frame: VideoFrame, to_rgb: Rgb) -> int:
    """Return a checksum of the frame's own planes, or of its RGB where PyAV cannot show them."""
    try:
        picture: Any = frame.to_ndarray()
    except ValueError:
        picture = to_rgb(frame)
    return zlib.crc32(np.ascontiguousarray(picture).data.cast("B"))


def check(
    stream: Stream, table: PacketTable, facts: StreamFacts, index: PacketIndex, beat: Beat
) -> Flags | None:
    """Compare the prediction with decoding where files go wrong; return what packets yield.

    Looked at are the packets before the first keyframe with the first group, and the last group.
    Losses before the first keyframe and behind the last one are taken as found. None when anything
    else disagrees or hints at damage, so that only decoding all of the file can tell.
    """
    count = index.packets
    starts = np.unique(index.frame_start)
    first_key = table.first_key
    following = starts[starts > first_key]
    head = min(int(following[0]) if len(following) else count, first_key + SMALL)
    last = int(starts[-1])
    boundary = nearest_starts(index) or (0, 0)
    cost = head + (count - last) + (boundary[1] - boundary[0])
    if count <= SMALL or cost > FULL_SHARE * count or needs_proof(stream, table):
        return None
    result = table.due
    for start, stop, side in ((0, head, _HEAD), (last, count, _TAIL)):
        out = np.fromiter(decode(stream, index, (start, stop), beat), np.int64)
        out = out[(out >= start) & (out < stop)]
        if not in_order(out, table, facts):
            return None
        came = np.isin(np.arange(count), out)
        # Leading pictures need the group before, so their absence behind a key says nothing.
        looked_at = np.zeros(count, np.bool_)
        if side == _HEAD:
            looked_at[:stop] = True
        else:
            looked_at[index.frame_packet[index.frame_start == start]] = True
        differs = (came != table.due) & looked_at
        allowed = np.zeros(count, np.bool_)
        if side == _HEAD:
            allowed[:first_key] = True
        elif came[start]:
            allowed[start:] = True
        if (differs & ~allowed).any():
            return None
        result[differs] = came[differs]
    return result


def needs_proof(stream: Stream, table: PacketTable) -> bool:
    """Say whether demuxing alone shows that seeking may not be trusted anywhere in the file.

    That is damage marked on packets, or left between them; an AVI that lacks chunks, since its
    keyframe marks are a list by chunk number; and MPEG program streams, which are cut into other
    packets after a seek.
    """
    kind, declared = stream.container.format.name, stream.stream.frames
    out_of_step = kind == "avi" and declared not in (0, table.packets)
    hurt = bool(table.is_corrupt.any()) or len(table.after_loss) > 0
    return hurt or out_of_step or kind == "mpeg"


def nearest_starts(index: PacketIndex) -> tuple[int, int] | None:
    """Return the two neighbouring starts with the fewest packets between them."""
    starts = np.unique(index.frame_start)
    if len(starts) < 2:
        return None
    pair = int(np.argmin(np.diff(starts)))
    return int(starts[pair]), int(starts[pair + 1])


def keys_hold(
    stream: Stream, index: PacketIndex, through: dict[int, int] | None, beat: Beat
) -> bool:
    """Say whether pictures read from a keyframe are those read through it, at one boundary.

    `through` are checksums of all pictures read straight through, if that was done. Streams with
    gradual refresh mark keyframes from which pictures come late or wrong: these fail here.
    """
    boundary = nearest_starts(index)
    if boundary is None:
        return True
    before, key = boundary
    window = range(key, min(key + CHECKED, index.packets))
    if through is None:
        if (key - before + 2 * CHECKED) * index.width * index.height > CHECK_PIXELS:
            return True
        through = decode(stream, index, (before, window.stop), beat, window)
    sought = decode(stream, index, (key, window.stop), beat, window)
    own = (index.frame_packet >= key) & (index.frame_start >= key)
    packets = index.frame_packet[own & (index.frame_packet < window.stop)]
    return all(through.get(packet) == sought.get(packet) for packet in packets.tolist())


def proven_starts(
    stream: Stream, index: PacketIndex, through: dict[int, int], beat: Beat
) -> PacketIndex:
    """Return the index with starts from which every single picture was seen to come out the same.

    For damaged files: what a decoder makes of a damaged picture depends on what it saw before. So
    every group is read from its own start, what differs from reading straight through is tried
    from the start before, and what still differs is read from the first packet.
    """
    index = replace(index, proven=True)
    starts = np.unique(index.frame_start)
    frame_start = index.frame_start.copy()
    for place in range(len(starts)):
        pending = np.flatnonzero(index.frame_start == starts[place])
        for back in (0, 1):
            if not len(pending) or starts[place] == 0:
                break
            begin = int(starts[max(place - back, 0)])
            frame_start[pending] = begin
            if begin == 0:
                pending = pending[:0]
                break
            packets = index.frame_packet[pending]
            span = range(int(packets.min()), int(packets.max()) + 1)
            out = decode(stream, index, (begin, span.stop), beat, span)
            same = [out.get(packet) == through[packet] for packet in packets.tolist()]
            pending = pending[~np.array(same, np.bool_)]
        frame_start[pending] = 0
    is_key = frame_start == index.frame_packet
    return replace(index, frame_start=frame_start, is_key=is_key)


def packets_in(out: dict[int, int]) -> Ints:
    """Return the packets that gave frames, in the order of the frames."""
    return np.fromiter(out, np.int64)
