"""Thumbnails of frames in, what moves in them out: differences from each video's background.

A fixed camera sees the same scene in most frames, so the median of some frames spread over a video
is the scene without its objects, and what differs from it is what a detector would find. Source:
Piccardi, "Background subtraction techniques: a review", SMC 2004 (temporal median).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from foveal.planner.protocols import CancelCheck

Positions = npt.NDArray[np.int64]
Singles = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Thumbnails = Callable[[Positions], npt.NDArray[np.uint8]]
"""Gray pictures uint8 [n, 96, 96] of the frames at n sorted positions."""

Keeper = Callable[[str, Positions, Callable[[Positions], Singles]], Singles]
"""Gives a named embedding of frames at sorted positions, float32 [n, d]: what it has kept, and for
the others what the function computes, which it keeps from then on."""

Extras = Mapping[str, Callable[[Positions], Singles]]
"""By family, features of frames at sorted positions, float32 [n, d], that the caller offers."""

SIDE = 48
"""Pixels along a side of the pictures that differences are taken of."""
BACKGROUND_FRAMES = 101
"""Frames of a video whose median is its background. Odd, so that the median is one of them."""
MOVED = 14.0
"""Gray levels from which on a pixel counts as moved."""
MOST = 60.0
"""Gray levels that a difference counts at most."""
CHUNK = 512
"""Frames looked at at once: 18 MB of thumbnails and their differences."""


class Scene:
    """The frames of one table, at positions that count through its videos one after the other.

    Not thread-safe. Holds the thumbnails of the frames given to `keep`, and nothing else that grows
    with the number of frames.
    """

    def __init__(
        self,
        thumbnails: Thumbnails,
        times: Doubles,
        breaks: Positions,
        cancel: CancelCheck,
        keeper: Keeper | None = None,
        extras: Extras | None = None,
    ) -> None:
        """Look at nothing yet.

        `times` float64 [frames]: seconds of each frame within its video. `breaks` int64 [videos +
        1]: the first position of each video, then the number of frames. `keeper` keeps embeddings,
        `extras` gives features that are not made of thumbnails.
        """
        self.keeper = keeper
        self.extras: Extras = extras or {}
        self.times = times
        self.breaks = breaks
        self.cancel = cancel
        self._thumbnails = thumbnails
        self._kept: Positions = np.zeros(0, np.int64)
        self._pictures: npt.NDArray[np.uint8] = np.zeros((0, 96, 96), np.uint8)
        self._backgrounds: dict[int, Singles] = {}
        self._features: dict[tuple[str, bytes], Singles] = {}

    @property
    def frames(self) -> int:
        """Frames of all videos."""
        return int(self.times.shape[0])

    def videos(self, positions: Positions) -> Positions:
        """Return the video of each position, int64 [n]."""
        return np.searchsorted(self.breaks[1:], positions, side="right").astype(np.int64)

    def background_positions(self, video: int) -> Positions:
        """Return the frames whose median is a video's background."""
        return background_positions(self.breaks, video)

    def keep(self, positions: Positions) -> None:
        """Hold the thumbnails of these frames, read together with the backgrounds' in one pass."""
        videos = np.unique(self.videos(positions))
        wanted = [positions, *(self.background_positions(int(v)) for v in videos)]
        every = np.unique(np.concatenate(wanted))
        self._pictures, self._kept = self._thumbnails(every), every
        for video in videos:
            self.background(int(video))

    def pictures(self, positions: Positions) -> npt.NDArray[np.uint8]:
        """Return the thumbnails, uint8 [n, 96, 96]."""
        at = np.searchsorted(self._kept, positions)
        if len(self._kept) and bool(
            (self._kept[np.minimum(at, len(self._kept) - 1)] == positions).all()
        ):
            return self._pictures[at]
        return self._thumbnails(positions)

    def background(self, video: int) -> Singles:
        """Return the video without what moves, float32 [48, 48]."""
        found = self._backgrounds.get(video)
        if found is None:
            found = np.median(halved(self.pictures(self.background_positions(video))), axis=0)
            found = self._backgrounds[video] = found.astype(np.float32)
        return found

    def differences(self, positions: Positions) -> Singles:
        """Return the frames less their backgrounds, float32 [n, 48, 48].

        Each frame's own median is taken off, so that a change of light is no movement.
        """
        less = halved(self.pictures(positions))
        videos = self.videos(positions)
        for video in np.unique(videos):
            less[videos == video] -= self.background(int(video))
        flat = less.reshape(len(less), -1)
        middle = flat.shape[1] // 2
        flat -= np.partition(flat, middle, axis=1)[:, middle : middle + 1]
        return less

    def features(
        self, name: str, positions: Positions, compute: Callable[[Singles], Singles]
    ) -> Singles:
        """Return `compute` of the frames' differences, float32 [n, d], a chunk at a time.

        The last answers are remembered, by `name` and positions, as families share features.
        """
        key = name, positions.tobytes()
        found = self._features.get(key)
        if found is None:
            parts: list[Singles] = []
            for start in range(0, len(positions), CHUNK):
                self.cancel()
                parts.append(compute(self.differences(positions[start : start + CHUNK])))
            found = (
                np.concatenate(parts) if parts else compute(np.zeros((0, SIDE, SIDE), np.float32))
            )
            while len(self._features) >= 4:
                self._features.pop(next(iter(self._features)))
            self._features[key] = found
        return found


def background_positions(breaks: Positions, video: int) -> Positions:
    """Return the frames whose median is a video's background: spread, the same every time."""
    first, end = int(breaks[video]), int(breaks[video + 1])
    count = min(BACKGROUND_FRAMES, end - first)
    return np.unique(np.linspace(first, end - 1, count).astype(np.int64))


def halved(pictures: npt.NDArray[np.uint8]) -> Singles:
    """Return 96 x 96 pictures as float32 [n, 48, 48]: each pixel the mean of four."""
    wide = pictures.astype(np.uint16)
    rows = wide[:, 0::2] + wide[:, 1::2]
    return (rows[:, :, 0::2] + rows[:, :, 1::2]).astype(np.float32) * np.float32(0.25)


def blocks(differences: Singles, grid: int) -> Singles:
    """Return what moves in each of grid x grid blocks, float32 [n, 2 grid²], in 0..1.

    First the share of pixels that moved, then the mean difference; `grid` divides 48.
    """
    apart = np.abs(differences)
    moved = _block_means((apart > MOVED).astype(np.float32), grid)
    much = _block_means(np.minimum(apart, np.float32(MOST)), grid)
    return np.concatenate([moved, much / np.float32(MOST)], axis=1)


def _block_means(planes: Singles, grid: int) -> Singles:
    side = SIDE // grid
    cells = planes.reshape(len(planes), grid, side, grid, side)
    return cells.mean(axis=(2, 4), dtype=np.float32).reshape(len(planes), grid * grid)
