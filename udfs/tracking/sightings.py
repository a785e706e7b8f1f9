"""What trackers see: the detections of one class in one video, frame by frame, looked at on demand.

A tracker asks for frames with `Sightings.look`. What it never asks for is never detected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveal.udfs.detectors.boxes import Floats

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Clip:
    """What trackers know of a video: `rate` in frames per second, sides in pixels."""

    frames: int
    rate: float
    width: float
    height: float


def frame_rate(ts: npt.NDArray[np.float64]) -> float:
    """Return frames per second by the median distance of `ts`; 10 where it cannot be told."""
    steps = np.diff(ts)
    middle = float(np.median(steps)) if steps.size else 0.0
    return 1.0 / middle if middle > 0 else 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Detections of one class, sorted by frame.

    `frame` int64 [n]; `place` int64 [n]: the row's place among all of its frame's detections,
    whatever their class; `boxes` float32 [n, 4]: corners; `scores` float32 [n].
    """

    frame: Ids
    place: Ids
    boxes: Floats
    scores: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Tracked:
    """The rows that belong to tracks, int64 [n] each, in no particular order.

    (`frame`, `place`) names a row as in `Rows`, (`first_frame`, `first_place`) its track's first.
    """

    frame: Ids
    place: Ids
    first_frame: Ids
    first_place: Ids


Fetch = Callable[[Ids], Rows]
"""Gives the rows of sorted frames; detects those that were not seen yet."""

_NO_ROWS = Rows(
    np.zeros(0, np.int64),
    np.zeros(0, np.int64),
    np.zeros((0, 4), np.float32),
    np.zeros(0, np.float32),
)


class Sightings:
    """The rows of the frames looked at so far.

    Attributes:
        clip: the video.
        known: bool [frames], True where a frame was looked at.
    """

    def __init__(self, clip: Clip, fetch: Fetch) -> None:
        """Know nothing yet."""
        self.clip = clip
        self.known = np.zeros(clip.frames, np.bool_)
        self._fetch = fetch
        self._rows: dict[int, Rows] = {}

    def look(self, frames: Ids) -> None:
        """See to it that these frames (any order, repeats allowed) are known."""
        asked = np.unique(frames)
        new = asked[~self.known[asked]]
        if not new.size:
            return
        rows = self._fetch(new)
        self.known[new] = True
        if not rows.frame.size:
            return
        starts = np.flatnonzero(np.diff(rows.frame, prepend=-1)).tolist()
        ends = [*starts[1:], rows.frame.size]
        for start, end in zip(starts, ends, strict=True):
            self._rows[int(rows.frame[start])] = Rows(
                rows.frame[start:end],
                rows.place[start:end],
                rows.boxes[start:end],
                rows.scores[start:end],
            )

    def at(self, frame: int) -> Rows:
        """Return the rows of a known frame."""
        return self._rows.get(frame, _NO_ROWS)

    def has(self, frame: int) -> bool:
        """Whether a known frame holds a row."""
        return frame in self._rows

    def seen_in(self) -> Ids:
        """Return the known frames that hold a row, ascending."""
        return np.array(sorted(self._rows), np.int64)


def on_grid(sightings: Sightings, step: int) -> Ids:
    """Look at every `step`-th frame; return those that hold a row, ascending."""
    grid = np.arange(0, sightings.clip.frames, step, dtype=np.int64)
    sightings.look(grid)
    return grid[[sightings.has(int(frame)) for frame in grid]] if grid.size else grid


def look_beside(sightings: Sightings, hits: Ids, step: int) -> None:
    """Look at all frames between grid frames next to each other of which one is in `hits`."""
    spread = np.arange(1 - step, step, dtype=np.int64)
    near = (hits[:, None] + spread).ravel()
    sightings.look(near[(near >= 0) & (near < sightings.clip.frames)])
