"""An average over objects on its way: known frames, clipping, estimator; interval out."""

from __future__ import annotations

import math

import numpy as np

from foveal.planner.estimators.clipped import CLIP_SHARE, Clipped
from foveal.planner.estimators.ratio import RatioBetting
from foveal.planner.estimators.targets import (
    FrameGroup,
    Frames,
    Interval,
    Mask,
    RatioTarget,
    Values,
)


class RatioTrack:
    """An average over objects on its way. Always finite: there is no asymptotic variant."""

    def __init__(self, target: RatioTarget, group: FrameGroup, rest: Frames, delta: float) -> None:
        """Start for the frames `rest` of `group` that are not known."""
        self.target = target
        self._size = group.frames.shape[0]
        self._left = rest.shape[0]
        self._clipped = Clipped(self._left, CLIP_SHARE * delta)
        tops, bottoms, outside = self._clip(group.known_values)
        self._clipped.known = int(np.count_nonzero(outside))
        self._known = tops.shape[0]
        self._tops, self._bottoms = math.fsum(tops.tolist()), math.fsum(bottoms.tolist())
        self._scanned = 0
        self.estimator = RatioBetting(
            self._left,
            target.lower,
            target.upper,
            target.count,
            0.0 if target.epsilon is None else target.epsilon,
            delta,
            relative=target.relative,
            known=(self._tops, self._bottoms),
        )

    @property
    def finished(self) -> bool:
        """The target is met or everything is known."""
        return self.estimator.finished or self._clipped.drawn + self._scanned >= self._left

    def need(self) -> int:
        """Return a forecast of the samples still needed."""
        return self.estimator.remaining()

    def worst(self) -> int:
        """Return a forecast of the samples needed at the largest possible variance: all."""
        return self._left

    def take(self, places: Frames, values: Values) -> None:
        """Take the next draws: places in `rest`, values [n, columns], both in drawn order."""
        del places
        tops, bottoms, outside = self._clip(values)
        self._clipped.take(outside.tolist())
        for top, bottom in zip(tops.tolist(), bottoms.tolist(), strict=True):
            self.estimator.update(top, bottom)
        self._tops += math.fsum(tops.tolist())
        self._bottoms += math.fsum(bottoms.tolist())

    def absorb(self, values: Values) -> None:
        """Take values [n, columns] of frames that were not drawn but scanned."""
        tops, bottoms, outside = self._clip(values)
        self._clipped.known += int(np.count_nonzero(outside))
        self._tops += math.fsum(tops.tolist())
        self._bottoms += math.fsum(bottoms.tolist())
        self._scanned += tops.shape[0]

    def interval(self, group: int, place: int) -> Interval:
        """Return the answer so far; no estimate where no object was seen."""
        estimator, size = self.estimator, self._size
        drawn = self._clipped.drawn
        unseen = self._left - drawn - self._scanned
        guarantee, met = "finite", estimator.finished
        low: float | None = estimator.low
        high: float | None = estimator.high
        estimate: float | None = None if estimator.empty else estimator.estimate
        if unseen == 0:
            guarantee, met = "exact", True
            low = high = estimate = self._tops / self._bottoms if self._bottoms > 0 else None
        bound = self._clipped.bound() if unseen else self._clipped.count / max(self._left, 1)
        fraction = (bound * self._left + self._clipped.known) / size if size else 0.0
        return Interval(
            group,
            place,
            estimate,
            low,
            high,
            drawn + self._scanned,
            self._known,
            met,
            guarantee,
            self._clipped.known + self._clipped.count,
            min(fraction, 1.0),
        )

    def _clip(self, values: Values) -> tuple[Values, Values, Mask]:
        """Return numerators and denominators within the declared bounds, and where they were not.

        A frame with more than `count` objects is thinned evenly, which keeps its average.
        """
        target = self.target
        if not values.shape[0]:
            return np.zeros(0), np.zeros(0), np.zeros(0, np.bool_)
        tops, bottoms = values[:, target.numerator], values[:, target.denominator]
        if not (np.isfinite(tops).all() and np.isfinite(bottoms).all()):
            raise ValueError("observed values must be finite")
        counts = np.clip(bottoms, 0.0, target.count)
        scaled = tops * np.divide(counts, bottoms, out=np.zeros_like(bottoms), where=bottoms > 0)
        kept = np.clip(scaled, target.lower * counts, target.upper * counts)
        outside = (bottoms != counts) | (np.abs(kept - scaled) > 1e-9 * (1 + np.abs(scaled)))
        return kept, counts, outside
