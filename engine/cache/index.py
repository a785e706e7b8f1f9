"""Segments, and which of them holds which frame of one (video, detector), kept in memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from foveal.engine.cache.files import StoredFile, encode_table, new_file, pack_frames

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    Frames = npt.NDArray[np.int64]


Key = tuple[str, str]
"""Video content hash, detector key."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One segment: its manifest row. `frames` int64, sorted, unique. A greater id is younger."""

    id: int
    stored: StoredFile
    frames: Frames
    rows: int


@dataclass(frozen=True, slots=True, eq=False)
class MadeSegment:
    """A segment before it has a row: its file's content, and what the row will say."""

    stored: StoredFile
    content: memoryview
    frames: Frames
    packed: bytes
    rows: int


def make_segment(key: Key, frames: Frames, objects: pa.Table) -> MadeSegment:
    """Return a new segment of these frames (sorted, unique) and their objects."""
    packed = pack_frames(frames)
    # The file says itself what it is, so that a manifest could be rebuilt from the files.
    content = encode_table(
        objects,
        {
            b"foveal.video": key[0].encode(),
            b"foveal.detector": key[1].encode(),
            b"foveal.frames": packed,
        },
    )
    return MadeSegment(new_file(content), content, frames, packed, objects.num_rows)


def _no_frames() -> Frames:
    return np.empty(0, dtype=np.int64)


@dataclass(slots=True, eq=False)
class FrameIndex:
    """The segments of one (video, detector) and the owner of every frame.

    `owner` int64 [capacity]: the id of the frame's segment, 0 where the frame is not stored.
    `lost`: frames that were here and no longer are, because their segment turned out damaged.
    `data_version` and `generation` tell how much of the manifest has been read.
    """

    owner: npt.NDArray[np.int64] = field(default_factory=_no_frames)
    segments: dict[int, Segment] = field(default_factory=dict[int, Segment])
    lost: Frames = field(default_factory=_no_frames)
    last_id: int = 0
    data_version: int = -1
    generation: int = 0

    def add(self, segment: Segment) -> None:
        """Give the segment every one of its frames that has no owner: the first wins."""
        self.last_id = max(self.last_id, segment.id)
        if not segment.frames.size:
            return
        needed = int(segment.frames[-1]) + 1
        if needed > self.owner.size:
            grown = np.zeros(max(needed, self.owner.size * 3 // 2), dtype=np.int64)
            grown[: self.owner.size] = self.owner
            self.owner = grown
        self.owner[segment.frames[self.owner[segment.frames] == 0]] = segment.id
        self.segments[segment.id] = segment
        if self.lost.size:
            self.lost = np.setdiff1d(self.lost, segment.frames, assume_unique=True)

    def remove(self, segment: Segment) -> None:
        """Take a segment out; its frames have no owner until another is added."""
        if self.segments.pop(segment.id, None) is not None:
            self.owner[segment.frames[self.owner[segment.frames] == segment.id]] = 0

    def keep_only(self, ids: Collection[int]) -> None:
        """Take out all segments but these. Younger ones get the frames that they repeat."""
        kept = sorted((s for s in self.segments.values() if s.id in ids), key=lambda s: s.id)
        self.owner[:] = 0
        self.segments = {}
        for segment in kept:
            self.add(segment)

    def mark_lost(self, frames: Frames) -> None:
        """Remember those of `frames` that now have no owner: reading them is an error."""
        gone = frames[self.owners(frames) == 0]
        if gone.size:
            self.lost = np.union1d(self.lost, gone)

    def owners(self, frames: Frames) -> npt.NDArray[np.int64]:
        """Return int64 [len(frames)]: the owner of each of the sorted frames, 0 for none."""
        inside = int(np.searchsorted(frames, self.owner.size))
        owners = np.zeros(frames.size, dtype=np.int64)
        owners[:inside] = self.owner[frames[:inside]]
        return owners

    def processed(self, frames: int) -> npt.NDArray[np.bool_]:
        """Return bool [frames]: True where the frame has an owner."""
        mask = np.zeros(frames, dtype=np.bool_)
        known = min(frames, self.owner.size)
        np.not_equal(self.owner[:known], 0, out=mask[:known])
        return mask
