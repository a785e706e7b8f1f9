"""One target on its way: clipping, known frames, estimator; observed values in, interval out."""

from __future__ import annotations

import math

import numpy as np

from foveal.planner.estimators import hypergeometric
from foveal.planner.estimators.asymptotic import AsymptoticMean
from foveal.planner.estimators.cells import forecast_end
from foveal.planner.estimators.deadline import DeadlineBetting
from foveal.planner.estimators.ratio import RatioBetting
from foveal.planner.estimators.targets import (
    FrameGroup,
    Frames,
    Interval,
    Mask,
    MeanTarget,
    RatioTarget,
    Values,
)
from foveal.planner.estimators.temporal import fit, predict

CLIP_SHARE = 0.1
"""The clipped fraction's bound holds at 1 - CLIP_SHARE * delta, beside the answer's own delta."""
FIRST_FIT = 48
"""Observed frames after which the others are first predicted from them."""
FIT_AGAIN = 1.3
"""The prediction is refitted when this factor more frames were drawn."""
WORTH = 0.95
"""With a new prediction, less than this part of the samples must be forecast."""
ODD = 20
"""Values other than the commonest that must have been seen before the first prediction."""
NOISE = 2.0
"""A first prediction's variance is taken to be NOISE / sqrt(observed frames) larger than it looks:
the best of many fits looks better than it is."""
FIRST_LOOK = 32
"""The clipped fraction is bounded at this many draws and each doubling."""


class Clipped:
    """Counts values that were cut to the declared range and bounds how many frames have one."""

    def __init__(self, population: int, delta: float) -> None:
        """Start for `population` frames to draw; `delta` is the bound's own."""
        self.population = population
        self.delta = delta
        self.known = 0
        self.count = 0
        self.drawn = 0
        self._looks: list[tuple[int, int]] = []
        self._bounded = 0
        self._most = population

    def take(self, outside: list[bool]) -> None:
        """Count the next draws."""
        for cut in outside:
            self.drawn += 1
            self.count += cut
            if self.drawn >= FIRST_LOOK and not self.drawn & (self.drawn - 1):
                self._looks.append((self.drawn, self.count))

    def bound(self) -> float:
        """Return an upper bound of the fraction of the population that would be clipped.

        Hypergeometric, at fixed sample sizes that share delta: valid whenever one stops.
        """
        for look, (drawn, count) in enumerate(self._looks[self._bounded :], self._bounded + 1):
            share = self.delta / (look * (look + 1))
            low, high = count, self._most
            if not count:  # (1 - drawn/N)^most bounds the chance to draw none of `most`
                missed = math.log1p(-drawn / self.population) if drawn < self.population else -1e9
                high = min(high, math.floor(math.log(share) / missed))
                low = high
            while low < high:  # the largest number of clipped frames that `count` does not refute
                middle = (low + high + 1) // 2
                chance = hypergeometric.cdf(count, self.population, middle, drawn)
                low, high = (middle, high) if chance > share else (low, middle - 1)
            self._most = low
        self._bounded = len(self._looks)
        most = min(self._most, self.population - self.drawn + self.count)
        return most / self.population if self.population else 0.0


class MeanTrack:
    """A mean on its way. Known frames are summed; the estimator sees the others' mean only."""

    def __init__(
        self,
        target: MeanTarget,
        group: FrameGroup,
        rest: Frames,
        delta: float,
        guarantee: str,
        *,
        temporal: bool,
    ) -> None:
        """Start for the frames `rest` of `group` that are not known."""
        self.target = target
        self._rest = rest
        self._breaks = group.breaks
        self._observed_at = group.frames[group.known] if group.known.shape[0] else rest[:0]
        self._asymptotic = guarantee == "asymptotic"
        self._size = group.frames.shape[0]
        self._left = rest.shape[0]
        self._clipped = Clipped(self._left, CLIP_SHARE * delta)
        known, outside = self._clip(group.known_values)
        self._clipped.known = int(np.count_nonzero(outside))
        self._known = known.shape[0]
        self._sum = math.fsum(known.tolist())  # of known and scanned frames
        self._scanned = 0
        self._offset = self._sum / self._size if self._size else 0.0
        self._share = self._left / self._size if self._size else 0.0
        epsilon = 0.0 if target.epsilon is None else target.epsilon
        if not target.relative and self._share:
            epsilon /= target.scale * self._share
        make = AsymptoticMean if self._asymptotic else DeadlineBetting
        self.estimator: AsymptoticMean | DeadlineBetting = make(
            self._left,
            target.upper,
            epsilon,
            delta,
            lower=target.lower,
            integer=target.integer,
            relative=target.relative,
            offset=self._offset,
            share=self._share or 1.0,
        )
        self._observed = known - target.lower
        self._draws: list[Frames] = []
        self._fit_at = FIRST_FIT if temporal else self._left + 1
        self._predicted: Values | None = None
        self._predicted_rest = 0.0

    @property
    def finished(self) -> bool:
        """The target is met or everything is known."""
        return self.estimator.finished or self._clipped.drawn + self._scanned >= self._left

    def need(self) -> int:
        """Return a forecast of the samples still needed."""
        return self.estimator.remaining()

    def worst(self) -> int:
        """Return a forecast of the samples needed at the largest possible variance."""
        target, estimator = self.target, self.estimator
        range_ = target.upper - target.lower
        if target.relative or estimator.epsilon <= 0:
            return self._left
        end = forecast_end(range_ * range_ / 4, range_, estimator.epsilon, estimator.delta)
        return math.ceil(end / (1 + end / max(self._left, 1)))

    def take(self, places: Frames, values: Values) -> None:
        """Take the next draws: places in `rest`, values [n, columns], both in drawn order."""
        clipped, outside = self._clip(values)
        estimator = self.estimator
        if not isinstance(estimator, DeadlineBetting):
            self._clipped.take(outside.tolist())
            for value in clipped.tolist():
                estimator.update(value)
            return
        done = 0
        while done < places.shape[0]:
            # Predictions change at fixed numbers of draws, however these were batched.
            stop = min(places.shape[0], done + self._fit_at - estimator.samples)
            part, seen = places[done:stop], clipped[done:stop]
            self._bet(estimator, part, seen)
            self._clipped.take(outside[done:stop].tolist())
            self._draws.append(part)
            self._observed = np.concatenate((self._observed, seen - self.target.lower))
            self._observed_at = np.concatenate((self._observed_at, self._rest[part]))
            if estimator.samples == self._fit_at:
                self._fit_at = math.ceil(self._fit_at * FIT_AGAIN)
                if not estimator.finished:
                    self._predict_anew(estimator)
            done = stop

    def _bet(self, estimator: DeadlineBetting, places: Frames, values: Values) -> None:
        if self._predicted is None:
            for value in values.tolist():
                estimator.update(value)
            return
        guesses = self._predicted[places].tolist()
        rest = self._predicted_rest
        left = self._left - estimator.samples
        for value, guess in zip(values.tolist(), guesses, strict=True):
            estimator.update(value, guess, rest / left)
            rest -= guess
            left -= 1
        self._predicted_rest = rest

    def _predict_anew(self, estimator: DeadlineBetting) -> None:
        """Refit the prediction to all that was observed; take it when it pays."""
        order = np.argsort(self._observed_at, kind="stable")
        frames, values = self._observed_at[order], self._observed[order]
        # Cached frames come first in _observed, then the draws.
        random = order >= self._known
        size = int(np.count_nonzero(random))
        model = fit(frames, values, self._breaks, random, integer=self.target.integer)
        if model is None:
            return
        if self._predicted is None and size - _commonest(values[random]) < ODD:
            return  # hardly anything has happened yet that could be predicted
        noise = NOISE / math.sqrt(size) if self._predicted is None else 0.0
        before = estimator.outlook(estimator.variance)
        left_over = estimator.doubt(model.variance * (1 + noise), size)
        after = estimator.outlook(left_over, 0.0, float(values.max()))
        if after > WORTH * before:
            return
        predicted = predict(model, frames, values, self._breaks, self._rest)
        drawn = math.fsum(math.fsum(predicted[part].tolist()) for part in self._draws)
        self._predicted_rest = float(predicted.sum()) - drawn
        self._predicted = predicted
        estimator.predict_with(
            float(predicted.min()),
            float(predicted.max()),
            integer=model.rounded,
            variance=model.variance,
            mean=model.bias,
            weight=float(size),
        )

    def absorb(self, values: Values) -> None:
        """Take values [n, columns] of frames that were not drawn but scanned."""
        clipped, outside = self._clip(values)
        self._clipped.known += int(np.count_nonzero(outside))
        self._sum += math.fsum(clipped.tolist())
        self._scanned += clipped.shape[0]

    def interval(self, group: int, place: int) -> Interval:
        """Return the answer so far."""
        target, estimator, size = self.target, self.estimator, self._size
        drawn = self._clipped.drawn
        unseen = self._left - drawn - self._scanned
        guarantee = "asymptotic" if self._asymptotic else "finite"
        met = estimator.finished
        if unseen == 0:
            guarantee, met = "exact", True
            estimate = low = high = (self._sum + estimator.total) / size if size else None
        else:
            seen = self._sum + estimator.total
            low, estimate, high = (
                self._offset + self._share * mean
                for mean in (estimator.low, estimator.estimate, estimator.high)
            )
            low = max(low, (seen + unseen * target.lower) / size)
            high = max(min(high, (seen + unseen * target.upper) / size), low)
            estimate = min(max(estimate, low), high)
        bound = self._clipped.bound() if unseen else self._clipped.count / max(self._left, 1)
        fraction = (bound * self._left + self._clipped.known) / size if size else 0.0
        low, estimate, high = (
            None if mean is None else mean * target.scale for mean in (low, estimate, high)
        )
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

    def _clip(self, values: Values) -> tuple[Values, Mask]:
        """Return this target's column cut to its range, and where it was cut."""
        target = self.target
        column = values[:, target.column] if values.shape[0] else np.zeros(0)
        if not np.isfinite(column).all():
            raise ValueError("observed values must be finite")
        return (
            np.clip(column, target.lower, target.upper),
            (column < target.lower) | (column > target.upper),
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


def _commonest(values: Values) -> int:
    """Return how often the commonest value occurs."""
    return int(np.unique(values, return_counts=True)[1].max())
