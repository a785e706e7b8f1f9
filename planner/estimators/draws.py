"""One group's frames: drawn at random, observed, and fed to the estimators of all its targets."""

from __future__ import annotations

import hashlib

import numpy as np

from foveal.planner.estimators.ratio_track import RatioTrack
from foveal.planner.estimators.shuffle import Shuffle
from foveal.planner.estimators.targets import FrameGroup, Frames, Interval, Mask, MeanTarget, Values
from foveal.planner.estimators.tracks import MeanTrack


class GroupDraws:
    """Draws a group's unknown frames without replacement and keeps its answers.

    The whole order is drawn first, so an answer depends on the seed and on how many frames were
    observed, not on how they were batched.
    """

    def __init__(
        self,
        group: FrameGroup,
        place: int,
        delta: float,
        guarantee: str,
        seed: int,
        temporal: bool,
    ) -> None:
        """Start a group; `delta` is the group's, shared equally by its targets.

        Raises:
            ValueError: the group's arrays do not fit together.
        """
        size = group.frames.shape[0]
        known = group.known if group.known.shape[0] else np.zeros(size, np.bool_)
        if known.shape[0] != size or int(np.count_nonzero(known)) != group.known_values.shape[0]:
            raise ValueError("known must mark the frames of known_values")
        if size and bool((np.diff(group.frames) <= 0).any()):
            raise ValueError("frames must be ascending and unique")
        self.place = place
        self._group = group
        self._known = known
        self.rest: Frames = group.frames[~known]
        self._seed = [seed, place]
        self._order = Shuffle(self.rest.shape[0], [*self._seed, *_words(known)])
        self._places: Frames = np.arange(self.rest.shape[0])  # what _order is an order of
        self._drawn = 0  # of _order
        self._scanned = 0
        share = delta / max(len(group.targets), 1)
        self.tracks = [
            MeanTrack(target, group, self.rest, share, guarantee, temporal=temporal)
            if isinstance(target, MeanTarget)
            else RatioTrack(target, group, self.rest, share)
            for target in group.targets
        ]

    @property
    def left(self) -> int:
        """Frames not observed yet."""
        return self._places.shape[0] - self._drawn - self._scanned

    @property
    def finished(self) -> bool:
        """Every target is met, or every frame is known."""
        return self.left == 0 or all(track.finished for track in self.tracks)

    def need(self) -> int:
        """Return a forecast of the samples still needed by all targets."""
        if self.finished:
            return 0
        return min(max((track.need() for track in self.tracks), default=0), self.left)

    def worst(self) -> int:
        """Return a forecast of the samples needed should values vary as much as they can."""
        if self.finished:
            return 0
        return min(max((track.worst() for track in self.tracks), default=0), self.left)

    def upcoming(self, count: int) -> Frames:
        """Return the next `count` frames (or what is left of them) in drawn order."""
        return self.rest[self._upcoming(count)]

    def unobserved(self) -> Frames:
        """Return all frames not observed yet, ascending."""
        return self.rest[self._unseen()]

    def observe(self, count: int, values: Values) -> None:
        """Take the values [count, columns] of the next `count` frames, in drawn order."""
        places = self._upcoming(count)
        for track in self.tracks:
            track.take(places, values)
        self._drawn += count

    def worth_revealing(self) -> tuple[Frames, float]:
        """Return frames to look at for their scores, and the samples that this should save.

        Only where all targets are one: what is right for one mean may be nothing to another.
        """
        track = self.tracks[0] if len(self.tracks) == 1 else None
        if not isinstance(track, MeanTrack):
            return self.rest[:0], 0.0
        places, saved = track.worth_revealing()
        return self.rest[places], saved

    def reveal(self, frames: Frames, values: Values) -> None:
        """Take the values [n, columns] of frames that were worth revealing; draw from the others.

        The rest is drawn in a new order: uniform, whatever was seen so far.
        """
        (track,) = self.tracks
        assert isinstance(track, MeanTrack)
        places = np.searchsorted(self.rest, frames)
        left = np.zeros(self.rest.shape[0], np.bool_)
        left[self._unseen()] = True
        left[places] = False
        track.reveal(places, values)
        self._places, self._drawn = np.flatnonzero(left), 0
        self._order = Shuffle(self._places.shape[0], [*self._seed, *_words(~left)])

    def _upcoming(self, count: int) -> Frames:
        return self._places[self._order.first(self._drawn + count)[self._drawn :]]

    def _unseen(self) -> Frames:
        left = np.ones(self._places.shape[0], np.bool_)
        left[self._order.first(self._drawn)] = False
        return self._places[left]

    def use_scores(self, frames: Frames, scores: Values, column: int, honest: Mask) -> None:
        """Hand a proxy's scores of `column` to the targets that are means of it.

        Args:
            frames: int64 [n], ascending.
            scores: float64 [n].
            column: of the observed values.
            honest: bool [n]: the score was made without the value of its frame.

        Raises:
            ValueError: a frame of the group has no score.
        """
        places = np.searchsorted(frames, self._group.frames)
        inside = places < frames.shape[0]
        if not inside.all() or not np.array_equal(frames[places], self._group.frames):
            raise ValueError("every frame of the run needs a score")
        mine, marked, known = scores[places], honest[places], self._known
        for track in self.tracks:
            if isinstance(track, MeanTrack) and track.target.column == column:
                track.use_scores(mine[known], mine[~known], marked[known], marked[~known])

    def saved_by(self, r2: float) -> int:
        """Return a forecast of the samples that a proxy saves, by its share of the variance."""
        if self.finished:
            return 0
        then = [
            track.need() - (track.saved_by(r2) if isinstance(track, MeanTrack) else 0)
            for track in self.tracks
        ]
        return max(self.need() - max(then, default=0), 0)

    def scan(self, values: Values) -> None:
        """Take values [n, columns] of frames that a scan of all the rest came past."""
        for track in self.tracks:
            track.absorb(values)
        self._scanned += values.shape[0]

    def settle(self) -> None:
        """Draws ended, and not for what they showed: let every target take its last look."""
        for track in self.tracks:
            if isinstance(track, MeanTrack):
                track.settle()

    def intervals(self) -> list[Interval]:
        """Return the answer so far of each target."""
        return [track.interval(self.place, i) for i, track in enumerate(self.tracks)]


def _words(known: Mask) -> list[int]:
    """Return numbers that stand for the known frames, none where there are none.

    Known frames may have been drawn by an earlier run under the same seed. With the same random
    numbers this run's draws would follow from them; with others they are uniform whatever is known.
    """
    if not known.any():
        return []
    digest = hashlib.blake2b(np.packbits(known).tobytes(), digest_size=16).digest()
    return np.frombuffer(digest, np.uint32).tolist()
