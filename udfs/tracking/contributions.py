"""What sampled frames contribute to a number of tracks: each track is followed to both its ends."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foveal.udfs.tracking.linked import Links, NotLookedAt, Point
from foveal.udfs.tracking.sightings import Ids, Sightings


class Contributions:
    """Gives for frames the sum of 1/L over their objects, L the frames that their track is seen in.

    Only frames of the same group count for L, so that the sum over a group's frames is its number
    of tracks. Frames are looked at in rounds: the drawn ones, then those around them, until every
    track that shows in a drawn frame is known from end to end.
    """

    def __init__(self, sightings: Sightings, groups: Ids) -> None:
        """Take one class in one video, and its frames' groups: int64 [frames], -1 for none."""
        self._seen = sightings
        self._links = Links(sightings)
        self._groups = groups
        self._lengths: dict[Point, dict[int, int]] = {}

    def __call__(self, frames: Ids) -> npt.NDArray[np.float64]:
        """Return float64 [n] for frames of some group."""
        out = np.zeros(frames.size)
        listed: list[int] = frames.tolist()
        pending = list(enumerate(listed))
        self._seen.look(frames)
        while pending:
            missing: list[Ids] = []
            waiting: list[tuple[int, int]] = []
            for place, frame in pending:
                before = len(missing)
                out[place] = self._sum(frame, missing)
                if len(missing) > before:
                    waiting.append((place, frame))
            if missing:
                self._seen.look(np.concatenate(missing))
            pending = waiting
        return out

    def _sum(self, frame: int, missing: list[Ids]) -> float:
        """Return a frame's sum, or add to `missing` the frames that it takes."""
        group, value = int(self._groups[frame]), 0.0
        for i in range(self._seen.at(frame).place.size):
            try:
                lengths = self._lengths_of((frame, i))
            except NotLookedAt as needed:
                missing.append(needed.frames)
                continue
            value += 1.0 / lengths[group] if lengths else 0.0
        return value

    def _lengths_of(self, point: Point) -> dict[int, int]:
        """Return in how many frames of each group the row's track is seen; none for noise."""
        if point not in self._lengths:
            rows = self._links.track(point)
            lengths: dict[int, int] = {}
            self._lengths[point] = lengths
            if rows is not None:
                groups, counts = np.unique(
                    self._groups[[frame for frame, _ in rows]], return_counts=True
                )
                lengths.update(zip(groups.tolist(), counts.tolist(), strict=True))
                self._lengths.update((row, lengths) for row in rows)
        return self._lengths[point]
