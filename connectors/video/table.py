"""The demuxed packets as columns, and the frame index that follows from them. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foveal.connectors.video.packets import NO_STAMP, PacketIndex, frame_starts

if TYPE_CHECKING:
    import numpy.typing as npt

    from foveal.connectors.video.packets import Ints
    from foveal.connectors.video.stream import PacketFacts

    Flags = npt.NDArray[np.bool_]


LOSS = 256
"""Bytes between two Matroska packets beyond which packets are missing there; headers of blocks and
clusters take some tens."""


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What the container says of the stream. `rate`: frames per second, 0 if unknown."""

    time_base: tuple[int, int]
    width: int
    height: int
    codec: str
    rate: float

    @property
    def tick(self) -> float:
        """Seconds per stamp."""
        return self.time_base[0] / self.time_base[1]


@dataclass(frozen=True, slots=True, eq=False)
class PacketTable:
    """The packets of a video stream in file order; columns as in `stream.PacketFacts`."""

    pts: Ints
    dts: Ints
    pos: Ints
    size: Ints
    is_key: Flags
    is_corrupt: Flags
    is_discard: Flags
    gap: Ints

    @classmethod
    def of(cls, facts: Iterable[PacketFacts]) -> PacketTable:
        """Gather the packets."""
        rows = [
            (f.pts, f.dts, f.pos, f.size, f.is_key, f.is_corrupt, f.is_discard, f.gap)
            for f in facts
        ]
        columns = np.array(rows, np.int64).reshape(-1, 8).T.copy()
        pts, dts, pos, size = (columns[i] for i in range(4))
        key, corrupt, discard = (columns[i].astype(np.bool_) for i in range(4, 7))
        return cls(pts, dts, pos, size, key, corrupt, discard, columns[7])

    @property
    def after_loss(self) -> Ints:
        """The packets before which the container lost some."""
        return np.flatnonzero(self.gap > LOSS)

    @property
    def packets(self) -> int:
        """Number of packets."""
        return int(self.size.shape[0])

    @property
    def due(self) -> Flags:
        """Which packets should yield a picture: not the empty ones, nor those edited out."""
        return (self.size > 0) & ~self.is_discard

    @property
    def first_key(self) -> int:
        """The first packet marked as key, 0 if there is none."""
        return int(np.argmax(self.is_key))


def usual_step(table: PacketTable, facts: StreamFacts) -> int:
    """Return the usual distance of two frames in ticks, at least 1."""
    for stamps in (table.dts, np.sort(table.pts)):
        steps = np.diff(stamps[stamps != NO_STAMP])
        if (steps > 0).any():
            return max(1, round(float(np.median(steps[steps > 0]))))
    return max(1, round(1 / (facts.rate * facts.tick))) if facts.rate else 1


def timeline(table: PacketTable, facts: StreamFacts) -> Ints:
    """Return when each packet is shown, in ticks, gaps filled and breaks of the clock taken out.

    A recording that was glued together, or whose counter wrapped, goes back in decoding time: from
    there on its stamps are moved so that the clock runs on.
    """
    step = usual_step(table, facts)
    stamps = np.where(table.pts != NO_STAMP, table.pts, table.dts)
    timed = np.flatnonzero(table.dts != NO_STAMP)
    steps = np.diff(table.dts[timed])
    shift = np.zeros_like(stamps)
    for place in np.flatnonzero(steps < 0).tolist():
        shift[timed[place + 1] :] += step - int(steps[place])
    known = stamps != NO_STAMP
    if not known.any():
        return np.arange(table.packets, dtype=np.int64) * step
    stamps = np.where(known, stamps + shift, 0)
    numbers = np.arange(table.packets)
    before = np.maximum.accumulate(np.where(known, numbers, -1))
    base = np.where(before >= 0, before, int(np.argmax(known)))
    return stamps[base] + (numbers - base) * step


def place_of(table: PacketTable) -> tuple[Ints, str]:
    """Return what names packets after a seek, and its kind: the first that keyframes have.

    A value counts where no other packet has it too. Stamps are second best: some demuxers hand
    them to the wrong packet after a seek.
    """
    later_keys = table.is_key.copy()
    later_keys[table.first_key] = False
    for kind, values in (("pos", table.pos), ("dts", table.dts), ("pts", table.pts)):
        if (_unique(values) & later_keys).any():
            return values, kind
    return table.pos, "none"


def _unique(values: Ints) -> Flags:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts[which] == 1) & (values != NO_STAMP)


def in_order(order: Ints, table: PacketTable, facts: StreamFacts) -> bool:
    """Say whether frames that came in this order of packets came in order of their stamps."""
    known = (table.pts[order] != NO_STAMP).all()
    shown = timeline(table, facts)[order] if known else order
    return bool((np.diff(shown) >= 0).all())


def assemble(
    table: PacketTable,
    facts: StreamFacts,
    yields: Flags,
    order: Ints | None = None,
    *,
    begin_anywhere: bool = True,
) -> PacketIndex:
    """Return the index of the frames that the packets in `yields` give.

    `order` is the order in which a decoder gave them, where that is known: it rules, and where
    stamps contradict it the frames take the stamps in turn. Otherwise frames stand by their
    stamps. Keyframes are places to begin at unless `begin_anywhere` is False.
    """
    shown = timeline(table, facts)
    if order is None:
        packets = np.flatnonzero(yields)
        if (table.pts[packets] != NO_STAMP).all():
            order = packets[np.argsort(shown[packets], kind="stable")]
        else:
            order = packets
    # Strictly increasing: a repeated stamp moves on by one tick.
    climb = np.arange(order.shape[0], dtype=np.int64)
    pts = np.maximum.accumulate(np.sort(shown[order]) - climb) + climb
    place, kind = place_of(table)
    starts = start_frames = np.zeros(1, np.int64)
    if begin_anywhere and kind != "none":
        number = np.full(table.packets, -1, np.int64)
        number[order] = np.arange(order.shape[0])
        keys = np.flatnonzero(table.is_key & (number >= 0) & _unique(place))
        keys = keys[keys > 0]
        starts = np.concatenate((starts, keys))
        start_frames = np.concatenate((start_frames, number[keys]))
    frame_start = frame_starts(order, starts, start_frames)
    return PacketIndex(
        pts=pts,
        # Multiplied first: 19 stamps of 1/10 s are 1.9 s, not 1.9000000000000001.
        ts=(pts - pts[0]) * facts.time_base[0] / facts.time_base[1],
        is_key=frame_start == order,
        time_base=facts.time_base,
        width=facts.width,
        height=facts.height,
        codec=facts.codec,
        frame_packet=order,
        frame_start=frame_start,
        packet_place=place,
        packet_pts=table.pts,
        packet_dts=table.dts,
        place_kind=kind,
    )
