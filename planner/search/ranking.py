"""Labels, and scores where there are any: the probability that each frame satisfies a condition.

A condition is a list of heads, each a count that must be at least so much. A frame's place in the
ranking is the sum over heads of the probability that the head is satisfied (BlazeIt, VLDB 2020,
section 7), which ranks well also where no frame seen so far satisfies all heads.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foveal.planner.search.nearness import FLICKER, bridge, correlation_time, exceeds

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


VARIED = 5
"""Labels that must differ from the commonest value before proxies are tried at all."""


class Ranking:
    """What is known of each candidate's heads."""

    def __init__(
        self, videos: Ints, places: Floats, least: tuple[float, ...], event: float
    ) -> None:
        """Take the candidates, the heads' bounds, and how long a condition lasts (as `places`)."""
        self._videos = videos
        self._places = places
        self._event = event
        self._least = least
        self.values: Floats = np.full((len(places), len(least)), np.nan)
        self._blind: Flags = np.zeros(len(places), np.bool_)
        self._base: Floats | None = None
        self._spread: Floats = np.zeros(len(least))

    @property
    def scored(self) -> bool:
        """Whether scores are at hand."""
        return self._base is not None

    def label(self, frames: Ints, values: Floats, *, blind: bool) -> None:
        """Take the heads' values of frames, float64 [frames, heads].

        `blind`: they were not chosen by what they may hold, so they tell of all the others.
        """
        self.values[frames] = values
        self._blind[frames] = blind

    def score(self, base: Floats, spread: Floats) -> None:
        """Take scores float64 [candidates, heads], and how far values spread round them [heads]."""
        self._base, self._spread = base, spread

    def varied(self) -> bool:
        """Whether the labels of every head differ enough to learn from."""
        labelled = ~np.isnan(self.values[:, 0])
        held = self.values[labelled]
        if len(held) < 8:
            return False
        return bool(((held != np.median(held, axis=0)).sum(axis=0) >= VARIED).all())

    def probabilities(self) -> Floats | None:
        """Return float64 [candidates, heads], each head's probability; None without any hint."""
        labelled = np.flatnonzero(~np.isnan(self.values[:, 0]))
        if not len(labelled):
            return None if self._base is None else self._given(labelled)
        held = self.values[labelled]
        if self._base is None and not (held.std(axis=0) > 0).any():
            return None
        return self._given(labelled)

    def _given(self, labelled: Ints) -> Floats:
        out = np.empty(self.values.shape)
        for head, least in enumerate(self._least):
            held = self.values[labelled, head]
            if self._base is None:
                blind = held[self._blind[labelled]] if self._blind.any() else held
                centre: Floats | float = float(blind.mean())
                spread = float(blind.std())
                residuals = held - centre
            else:
                centre = self._base[:, head]
                spread = float(self._spread[head])
                residuals = held - centre[labelled]
            time = correlation_time(self._videos, self._places, labelled, residuals, self._event)
            shift, share = bridge(self._videos, self._places, labelled, residuals, time)
            noise = min(FLICKER, max(spread, 0.05))
            deviation = np.sqrt(spread * spread * share + noise * noise)
            # A count of at least k lies above k - 1/2; halves of other values do no harm.
            out[:, head] = exceeds(centre + shift, deviation, least - 0.5)
        return out


def apart(videos: Ints, places: Floats, ranking: Floats, gap: float, count: int) -> Ints:
    """Return up to `count` candidates, best first, at least `gap` from each other in a video.

    Candidates with ranking -inf are never taken. Equal ones come in their own order.
    """
    pool = min(len(ranking), max(50 * count, 4096))
    top = (
        np.argpartition(-ranking, pool - 1)[:pool]
        if pool < len(ranking)
        else np.arange(len(ranking))
    )
    top = top[np.lexsort((top, -ranking[top]))]
    top = top[np.isfinite(ranking[top])]
    video_of, place_of = videos[top], places[top]
    open_ = np.ones(len(top), np.bool_)
    taken: list[int] = []
    while len(taken) < count and len(top):
        i = int(np.argmax(open_))
        if not open_[i]:
            break
        taken.append(int(top[i]))
        open_ &= (video_of != video_of[i]) | (np.abs(place_of - place_of[i]) >= gap)
        open_[i] = False
    return np.array(taken, np.int64)
