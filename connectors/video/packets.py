"""The frame index and what decoding needs besides: `PacketIndex`, its starts and its bytes."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.planner.protocols import FrameIndex

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]

NO_STAMP = -(2**63)
"""Stands for a missing pts, dts or byte position (FFmpeg's AV_NOPTS_VALUE)."""

FORMAT = 2
"""Version of the bytes that `dump` writes; part of every cache key."""

_ARRAYS = (
    "pts",
    "ts",
    "is_key",
    "frame_packet",
    "frame_start",
    "packet_place",
    "packet_pts",
    "packet_dts",
)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PacketIndex(FrameIndex):
    """A `FrameIndex` that also knows which packet holds each frame and where decoding may begin.

    A packet is named by its ordinal: its place among the packets of the video stream in file
    order. P packets, N frames.

    `frame_packet` int64 [N]: the packet that yields the frame.
    `frame_start` int64 [N]: the packet at which decoding must begin for the frame to be exact.
    `packet_place` int64 [P]: what names a packet after a seek, by `place_kind`: its byte position
    (`pos`), `dts` or `pts`, known and unique for every start; `none` where nothing does, and then
    the file is always read from its first packet.
    `packet_pts`, `packet_dts` int64 [P]: the stamps as stored, `NO_STAMP` where missing.
    `rotation`: degrees by which pictures are turned counter-clockwise (a multiple of 90).
    `decoded_fully`: the index comes from decoding every packet.
    `proven`: the file is damaged, and a picture is only known to be the same when decoding begins
    exactly at its `frame_start` (or at packet 0).
    """

    frame_packet: Ints
    frame_start: Ints
    packet_place: Ints
    packet_pts: Ints
    packet_dts: Ints
    place_kind: str
    rotation: int = 0
    decoded_fully: bool = False
    proven: bool = False

    @property
    def packets(self) -> int:
        """Number of packets of the video stream."""
        return int(self.packet_pts.shape[0])

    @property
    def picture_bytes(self) -> int:
        """Size of one RGB picture in bytes."""
        return self.width * self.height * 3


def frame_starts(frame_packet: Ints, start_packets: Ints, start_frames: Ints) -> Ints:
    """Return for each frame the packet at which decoding must begin.

    A frame that is shown before the keyframe which precedes it in the file (a leading picture of
    an open group of pictures) needs the group before; so the start must also be no later in
    presentation order. `start_packets` ascends and holds packet 0 first.
    """
    numbers = np.arange(frame_packet.shape[0], dtype=np.int64)
    place = np.searchsorted(start_packets, frame_packet, side="right") - 1
    while True:
        late = (start_frames[place] > numbers) & (place > 0)
        if not late.any():
            return start_packets[place]
        place[late] -= 1


def dump(index: PacketIndex) -> bytes:
    """Return the index as NPZ bytes (no pickle)."""
    head = {
        "format": FORMAT,
        "time_base": list(index.time_base),
        "width": index.width,
        "height": index.height,
        "codec": index.codec,
        "skipped": [list(part) for part in index.skipped],
        "place_kind": index.place_kind,
        "rotation": index.rotation,
        "decoded_fully": index.decoded_fully,
        "proven": index.proven,
    }
    arrays: dict[str, Any] = {name: getattr(index, name) for name in _ARRAYS}
    buffer = io.BytesIO()
    np.savez(buffer, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **arrays)
    return buffer.getvalue()


def load(data: bytes) -> PacketIndex:
    """Return the index that `dump` wrote.

    Raises:
        ValueError, KeyError, OSError: these are not such bytes, or are of another format.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        head = json.loads(stored["head"].tobytes())
        if head["format"] != FORMAT:
            raise ValueError(f"frame index of format {head['format']}, not {FORMAT}")
        arrays: dict[str, Any] = {name: stored[name] for name in _ARRAYS}
    first, last = head["time_base"]
    return PacketIndex(
        **arrays,
        time_base=(int(first), int(last)),
        width=int(head["width"]),
        height=int(head["height"]),
        codec=str(head["codec"]),
        skipped=tuple((float(low), float(high)) for low, high in head["skipped"]),
        place_kind=str(head["place_kind"]),
        rotation=int(head["rotation"]),
        decoded_fully=bool(head["decoded_fully"]),
        proven=bool(head["proven"]),
    )
