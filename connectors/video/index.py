"""Build the frame index of a file: a pass over its packets, checked against what decoding yields.

Demuxing alone is fast but only predicts: a packet may yield no picture (damage, a cut tail, hidden
frames), and a frame marked as key may not be a place to begin. So the prediction is checked where
files go wrong (first and last group of pictures, packets marked as damaged, one group boundary by
seeking), and where a check disagrees, or the file is small, all of it is decoded.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foveal.connectors.video.damage import skipped_ranges
from foveal.connectors.video.faults import unreadable
from foveal.connectors.video.packets import NO_STAMP, PacketIndex, frame_starts
from foveal.connectors.video.reader import REORDER
from foveal.connectors.video.stream import PacketFacts, Rgb, Stream

if TYPE_CHECKING:
    import numpy.typing as npt

    from foveal.connectors.video.packets import Ints

    Flags = npt.NDArray[np.bool_]

Beat = Callable[[], None]
"""Called between packets; may raise to stop the work."""

SMALL = 256
"""Files of at most this many packets are decoded in full: certainty costs little there."""

FULL_SHARE = 0.8
"""Where the checks would decode more than this share of the file, all of it is decoded."""

_HEAD, _MIDDLE, _TAIL = range(3)

CHECKED = 32
"""Frames compared by picture on both sides of the checked boundary."""

CHECK_PIXELS = 512 * 1280 * 720
"""The boundary check is left out where it would decode more pixels than this."""


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """The demuxed packets as columns (see `PacketFacts`)."""

    pts: Ints
    dts: Ints
    pos: Ints
    size: Ints
    duration: Ints
    is_key: Flags
    is_corrupt: Flags
    is_discard: Flags

    @classmethod
    def of(cls, facts: Iterable[PacketFacts]) -> _Table:
        rows = [
            (f.pts, f.dts, f.pos, f.size, f.duration, f.is_key, f.is_corrupt, f.is_discard)
            for f in facts
        ]
        table = np.array(rows, np.int64).reshape(-1, 8).T.copy()
        keys, corrupt, discard = (table[i].astype(np.bool_) for i in (5, 6, 7))
        pts, dts, pos, size, duration = (table[i] for i in range(5))
        return cls(pts, dts, pos, size, duration, keys, corrupt, discard)

    @property
    def stamps(self) -> Ints:
        """The stamp of each packet: pts, or dts where there is none."""
        return np.where(self.pts != NO_STAMP, self.pts, self.dts)


def build_index(path: Path, *, full: bool = False, beat: Beat = lambda: None) -> PacketIndex:
    """Return the index of the file's best video stream; `full` decodes every packet for it.

    Frame n of the index is the n-th picture in presentation order, and reading it by number gives
    the same picture as reading the file straight through. What the file holds but no decoder can
    give stands in `skipped`.

    Raises:
        OperationalError: 58030, the file is no video or none of it can be decoded; 58P01, there is
            no such file.
    """
    with Stream(path) as stream:
        table = _Table.of(_beating(stream.demux(), beat))
        yields = (table.size > 0) & ~table.is_discard
        if not yields.any():
            raise unreadable(path, "it holds no pictures")
        draft = _assemble(stream, table, yields, None)
        seen = None if full else _check(stream, table, draft, yields, beat)
        through = order = None
        if seen is None:
            boundary = _boundary(draft)
            window = range(boundary[1], boundary[1] + CHECKED) if boundary else range(0)
            through = _decode(stream, draft, (0, draft.packets), beat, window)
            order = np.fromiter(through, np.int64)
            yields, full = np.isin(np.arange(draft.packets), order), True
        else:
            yields = seen
        if not yields.any():
            raise unreadable(path, "none of its pictures can be decoded")
        index = _assemble(stream, table, yields, order)
        if not _keys_hold(stream, index, through, beat):
            index = _assemble(stream, table, yields, order, begin_anywhere=False)
        rotation = _rotation(stream, index)
        turned = rotation // 90 % 2 == 1
        return replace(
            index,
            rotation=rotation,
            width=index.height if turned else index.width,
            height=index.width if turned else index.height,
            decoded_fully=full,
            skipped=skipped_ranges(
                stream,
                stamps=_joined(table.stamps, table.dts),
                lost=(table.size > 0) & ~table.is_discard & ~yields,
                shown=yields,
                sizes=table.size,
            ),
        )


def _beating(facts: Iterable[PacketFacts], beat: Beat) -> Iterable[PacketFacts]:
    for fact in facts:
        beat()
        yield fact


def _joined(stamps: Ints, dts: Ints) -> Ints:
    """Return the stamps with breaks taken out, so that a clock that starts again keeps running.

    A recording that was glued together, or a counter that wrapped, goes back in decoding time.
    """
    clock = np.where(dts != NO_STAMP, dts, stamps)
    steps = np.diff(clock)
    back = np.flatnonzero(steps < 0)
    known = bool((clock != NO_STAMP).all())
    if not len(back) or not known:
        return stamps
    usual = int(np.median(steps[steps > 0])) if (steps > 0).any() else 1
    shift = np.zeros_like(stamps)
    for place in back.tolist():
        shift[place + 1 :] += usual - int(steps[place])
    return stamps + shift


def _place(table: _Table) -> tuple[Ints, str]:
    """Return what names each packet after a seek, and of which kind it is."""
    for kind, values in (("pos", table.pos), ("dts", table.dts), ("pts", table.pts)):
        if (values != NO_STAMP).all() and np.unique(values).shape == values.shape:
            return values, kind
    return table.pos, "none"


def _assemble(
    stream: Stream,
    table: _Table,
    yields: Flags,
    order: Ints | None,
    *,
    begin_anywhere: bool = True,
) -> PacketIndex:
    """Return the index of the packets that yield a frame; `order` is how the decoder gave them."""
    context = stream.stream.codec_context
    packets = np.flatnonzero(yields) if order is None else order
    stamps = _joined(table.stamps, table.dts)
    if (table.pts[packets] != NO_STAMP).all():
        arranged = packets[np.argsort(stamps[packets], kind="stable")]
        pts = stamps[arranged]
    else:
        # Without pts the decoder's order is the only one; its frames take the stamps in turn.
        arranged = packets
        pts = np.sort(stamps[packets])
        if (pts == NO_STAMP).any():
            pts = np.arange(pts.shape[0], dtype=np.int64) * _usual_step(stream)
    # Strictly increasing: a repeated stamp moves on by one tick.
    climb = np.arange(pts.shape[0], dtype=np.int64)
    pts = np.maximum.accumulate(pts - climb) + climb
    base = stream.stream.time_base
    if base is None:
        raise unreadable(stream.path, "its stream has no time base")
    place, kind = _place(table)
    starts = np.zeros(1, np.int64)
    start_frames = np.zeros(1, np.int64)
    if begin_anywhere and kind != "none":
        number = np.full(table.size.shape[0], -1, np.int64)
        number[arranged] = np.arange(arranged.shape[0])
        keys = np.flatnonzero(table.is_key & (number >= 0))
        keys = keys[keys > 0]
        starts = np.concatenate((starts, keys))
        start_frames = np.concatenate((start_frames, number[keys]))
    frame_start, is_key = frame_starts(arranged, starts, start_frames)
    return PacketIndex(
        pts=pts,
        ts=(pts - pts[0]) * float(base),
        is_key=is_key,
        time_base=(base.numerator, base.denominator),
        width=context.width,
        height=context.height,
        codec=context.codec.canonical_name,
        frame_packet=arranged,
        frame_start=frame_start,
        packet_place=place,
        packet_pts=table.pts,
        packet_dts=table.dts,
        place_kind=kind,
    )


def _usual_step(stream: Stream) -> int:
    """Return the stamps' step of a file that has none, from its frame rate."""
    rate, base = stream.stream.average_rate, stream.stream.time_base
    return max(1, round(1 / (rate * base))) if rate and base else 1


def _decode(
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
                out.setdefault(packet, zlib.crc32(to_rgb(frame).data) if packet in summed else 0)
    return out


def _check(
    stream: Stream, table: _Table, index: PacketIndex, yields: Flags, beat: Beat
) -> Flags | None:
    """Compare the prediction with decoding where files go wrong; return what packets yield.

    Losses before the first keyframe and in the last group are taken as found; None when anything
    else disagrees, so that only decoding all of it can tell.
    """
    count = index.packets
    starts = np.unique(index.frame_start)
    first_key = int(np.flatnonzero(table.is_key)[0]) if table.is_key.any() else 0
    corrupt = np.flatnonzero(table.is_corrupt)
    damaged = np.unique(starts[np.searchsorted(starts, corrupt, side="right") - 1])
    head_stop = min(_next(starts, first_key, count), first_key + SMALL)
    regions = [(0, head_stop, _HEAD)]
    regions += [(int(start), _next(starts, int(start), count), _MIDDLE) for start in damaged]
    regions.append((int(starts[-1]), count, _TAIL))
    boundary = _boundary(index) or (0, 0)
    cost = sum(stop - start for start, stop, _ in regions) + boundary[1] - boundary[0]
    if count <= SMALL or cost > FULL_SHARE * count:
        return None
    # Without pts the order is the decoder's; it must be the packets' own wherever we look.
    in_order = bool((table.pts[yields] == NO_STAMP).any())
    result = yields.copy()
    for start, stop, side in regions:
        order = [p for p in _decode(stream, index, (start, stop), beat) if start <= p < stop]
        if in_order and order != sorted(order):
            return None
        came = np.zeros(count, np.bool_)
        came[order] = True
        # Leading pictures need the group before, so their absence here says nothing.
        own = np.zeros(count, np.bool_)
        own[index.frame_packet[index.frame_start == start]] = True
        if side == _HEAD:
            own[:stop] = True
        differs = (came != yields) & own
        differs[:start] = differs[stop:] = False
        forgiven = np.zeros(count, np.bool_)
        if side == _HEAD:
            forgiven[:first_key] = True
        elif side == _TAIL:
            forgiven[start:] = True
        if (differs & ~forgiven).any():
            return None
        result[differs] = came[differs]
    return result


def _next(starts: Ints, start: int, count: int) -> int:
    later = starts[starts > start]
    return int(later[0]) if len(later) else count


def _boundary(index: PacketIndex) -> tuple[int, int] | None:
    """Return the two neighbouring starts with the fewest packets between them."""
    starts = np.unique(index.frame_start)
    if len(starts) < 2:
        return None
    pair = int(np.argmin(np.diff(starts)))
    return int(starts[pair]), int(starts[pair + 1])


def _keys_hold(
    stream: Stream, index: PacketIndex, through: dict[int, int] | None, beat: Beat
) -> bool:
    """Say whether pictures read from a keyframe are those read through it, at one boundary.

    `through` are checksums of the pictures behind the boundary, if they were already read.
    """
    boundary = _boundary(index)
    if boundary is None:
        return True
    before, key = boundary
    window = range(key, min(key + CHECKED, index.packets))
    if through is None:
        if (key - before + 2 * CHECKED) * index.width * index.height > CHECK_PIXELS:
            return True
        through = _decode(stream, index, (before, window.stop), beat, window)
    sought = _decode(stream, index, (key, window.stop), beat, window)
    own = (index.frame_packet >= key) & (index.frame_start >= key)
    packets = index.frame_packet[own & (index.frame_packet < window.stop)]
    return all(through.get(packet) == sought.get(packet) for packet in packets.tolist())


def _rotation(stream: Stream, index: PacketIndex) -> int:
    """Return the turn of the first picture that its display matrix asks for, in whole quarters."""
    stream.begin_at(index, int(index.frame_start[0]))
    while (frames := stream.step()) is not None:
        for _, frame in frames:
            return round(frame.rotation / 90) * 90 % 360
    return 0
