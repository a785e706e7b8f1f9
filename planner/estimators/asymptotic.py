"""Samples in, a mean's interval by the central limit theorem out: for guarantee = asymptotic.

The theorem says nothing at any finite number of samples. Used blindly it stops on rare events
before it has seen one (80 % misses at a 0.7 % event, see docs/adr/0005-sampling-guarantees.md), so
it answers only behind three guards: 30 values that are not the commonest one, range / epsilon
samples (fewer could miss a mass that moves the mean by epsilon; BlazeIt, VLDB 2020, algorithm 1),
and looks at growing sample sizes that share delta. With a proxy it is the regression estimator
behind the same guards, counting differences: a proxy that was right 30 times says nothing of when
it is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from foveal.planner.estimators.cells import normal_quantile
from foveal.planner.estimators.temporal import MOST_COEFFICIENT

ODD = 30
"""Values different from the first one that must have been seen."""
LOOK = 1.25
"""Factor between looks."""
AGAIN = 1.02
"""Factor until the guards are asked again after they forbade a look."""


class AsymptoticMean:
    """The same questions as DeadlineBetting's, answered by z s / sqrt(n) at the k-th look.

    Look k spends delta / (k (k + 1)). Before the first look only the certain bounds are known.
    """

    def __init__(
        self,
        population: int,
        upper: float,
        epsilon: float,
        delta: float,
        *,
        lower: float = 0.0,
        integer: bool = False,
        relative: bool = False,
        offset: float = 0.0,
        share: float = 1.0,
    ) -> None:
        """See DeadlineBetting.

        Raises:
            ValueError: the arguments make no sense.
        """
        if population < 0 or not upper >= lower or not 0 < delta < 1 or not epsilon >= 0:
            raise ValueError("need population >= 0, upper >= lower, 0 < delta < 1, epsilon >= 0")
        self.population = population
        self.epsilon = epsilon
        self.delta = delta
        self.relative = relative
        self.lower = lower
        self.upper = upper
        self._offset, self._share = offset, share
        self.samples = 0
        self.mean = (lower + upper) / 2
        self._squares = 0.0
        self.total = 0.0
        self._first = 0.0
        self._odd = 0
        self._look = 0
        self._next = float(ODD)
        self.low, self.high = float(lower), float(upper)
        self._integer = integer
        self._centre = self.mean  # of the present estimator: plain, or with a proxy
        self._scored: _Regression | None = None

    @property
    def tolerance(self) -> float:
        """Half width that meets the target now."""
        if not self.relative:
            return self.epsilon
        low = self._offset + self._share * self.low
        high = self._offset + self._share * self.high
        return 0.0 if low <= 0 <= high else self.epsilon * min(abs(low), abs(high)) / self._share

    @property
    def finished(self) -> bool:
        """True when the target is met, or every member was drawn."""
        slack = 1e-12 * (self.upper - self.lower)
        met = self.high - self.low <= 2 * self.tolerance + slack
        return met or self.samples >= self.population

    @property
    def estimate(self) -> float:
        """The sample mean, moved as little as needed to be within tolerance of the interval."""
        reach = self.tolerance
        if self.high - self.low <= 2 * reach:
            return min(max(self._centre, self.high - reach), self.low + reach)
        return min(max(self._centre, self.low), self.high)

    def remaining(self) -> int:
        """Return a forecast of how many more members are needed; 0 when finished."""
        if self.finished:
            return 0
        return self._still(self._variance())

    def saved_by(self, r2: float) -> int:
        """Return a forecast of the members saved by a proxy that explains `r2` of the variance."""
        if self.finished:
            return 0
        plain = self._squares / max(self.samples - 1, 1)
        now = self._variance()
        return self._still(now) - self._still(min(now, (1 - r2) * plain))

    def use_scores(self, mean: float) -> None:
        """Hand `update` a proxy's scores from the next member on.

        What was drawn before becomes known: its scores may have been made from its values, and
        then the differences look smaller than those of the members left.

        Args:
            mean: of the scores of the members not drawn yet.
        """
        self._scored = _Regression(self.population - self.samples, self.total, mean)

    def update(self, value: float, score: float = 0.0) -> None:
        """Take the next member drawn. `value` must lie in [lower, upper].

        Raises:
            ValueError: the value is outside of the range, or nothing is left to draw.
        """
        if not self.lower <= value <= self.upper or self.samples >= self.population:
            raise ValueError(f"value {value} outside [{self.lower}, {self.upper}] or none left")
        if not self.samples:
            self.mean, self._first = value, value
        self.samples += 1
        self.total += value
        step = value - self.mean
        self.mean += step / self.samples
        self._squares += step * (value - self.mean)
        self._odd += value != self._first
        if self._scored is not None:
            self._scored.take(value, score)
        left = self.population - self.samples
        self._centre = self.mean if self._scored is None else self._centre
        if left == 0:
            self.low = self.high = self._centre = self.total / self.population
            return
        self._cut(
            (self.total + self.lower * left) / self.population,
            (self.total + self.upper * left) / self.population,
        )
        if self.samples >= max(self._next, self._least()):
            self._look_now()

    def _look_now(self) -> None:
        """Spend a share of delta on the better of the plain and the proxy's interval.

        Where the guards forbid both nothing is spent.
        """
        left = self.population - self.samples
        spread, centre = math.inf, self.mean
        if self._odd >= ODD:
            spread = self._squares / (self.samples - 1) / self.samples * left / self.population
        if self._scored is not None and self._scored.samples >= max(ODD, self._least()):
            fit = self._scored.fit(
                self.population, 0.5 if self._integer else (self.upper - self.lower) / 1000
            )
            if fit.odd >= ODD and fit.spread < spread:
                spread, centre = fit.spread, fit.mean
        if not math.isfinite(spread):
            if self._scored is not None:
                self._next = max(self._next, AGAIN * self.samples)
            return
        self._centre = centre
        self._look += 1
        self._next = self.samples * LOOK
        half = normal_quantile(self.delta / (self._look * (self._look + 1))) * math.sqrt(spread)
        self._cut(centre - half, centre + half)

    def _variance(self) -> float:
        plain = self._squares / max(self.samples - 1, 1)
        if self._scored is None or self._scored.samples < ODD:
            return plain
        return min(plain, self._scored.variance)

    def _still(self, variance: float) -> int:
        """Return a forecast of how many more members are needed at this variance."""
        aim, least = self._aim(), self._least()
        end = max((1.15 * normal_quantile(self.delta / 2) / aim) ** 2 * variance, least)
        # In samples of an endless population, as `end` is.
        clock = self.samples * self.population / (self.population - self.samples)
        end = max(end, 1.05 * clock)
        needed = end / (1 + end / self.population) - self.samples
        return int(min(max(math.ceil(needed), 1), self.population - self.samples))

    def _aim(self) -> float:
        range_ = self.upper - self.lower
        if not self.relative:
            return max(self.epsilon, 1e-9 * range_)
        size = max(abs(self._offset / self._share + self.mean), range_ / 1000)
        return max(self.epsilon * size, 1e-9 * range_)

    def _least(self) -> float:
        return (self.upper - self.lower) / self._aim()

    def _cut(self, low: float, high: float) -> None:
        """Intersect; should nothing be left, keep the point nearest to the new interval."""
        low, high = max(low, self.low), min(high, self.high)
        if low > high:
            low = high = min(max(self._centre, self.low), self.high)
        self.low, self.high = low, high


@dataclass(frozen=True, slots=True)
class _Fit:
    """A mean by regression on scores, its variance, and how many differences are not about 0."""

    mean: float
    spread: float
    odd: int


class _Regression:
    """Values and scores of members drawn from what was left when the scores came.

    The difference estimator with the regression's coefficient, in [0, 1.5]: the mean of
    value - coefficient * score, plus coefficient * the scores' mean, which is known.
    """

    def __init__(self, population: int, before: float, mean: float) -> None:
        """Start: `population` members are left, those `before` sum to that, scores have `mean`."""
        self.samples = 0
        self._population, self._before, self._mean = population, before, mean
        self._values: list[float] = []
        self._scores: list[float] = []
        self._value = self._score = 0.0  # means, and sums of products around them
        self._vv = self._vs = self._ss = 0.0

    @property
    def coefficient(self) -> float:
        """The regression's coefficient."""
        return min(max(self._vs / self._ss, 0.0), MOST_COEFFICIENT) if self._ss > 0 else 0.0

    @property
    def variance(self) -> float:
        """Variance of value - coefficient * score."""
        c = self.coefficient
        squares = self._vv - 2 * c * self._vs + c * c * self._ss
        return max(squares, 0.0) / max(self.samples - 2, 1)

    def take(self, value: float, score: float) -> None:
        """Take the next member drawn."""
        self.samples += 1
        self._values.append(value)
        self._scores.append(score)
        to_value, to_score = value - self._value, score - self._score
        self._value += to_value / self.samples
        self._score += to_score / self.samples
        self._vv += to_value * (value - self._value)
        self._vs += to_value * (score - self._score)
        self._ss += to_score * (score - self._score)

    def fit(self, population: int, odd: float) -> _Fit:
        """Return the estimate for all `population` members.

        Args:
            population: those known when the scores came and those left then.
            odd: a difference of more than this from their mean is one that says something.
        """
        n, left, c = self.samples, self._population, self.coefficient
        share = left / population
        spread = self.variance / n * (left - n) / left * share * share
        centre = self._value + c * (self._mean - self._score)
        rest = np.array(self._values) - self._value - c * (np.array(self._scores) - self._score)
        count = int(np.count_nonzero(np.abs(rest) > odd))
        return _Fit((self._before + left * centre) / population, spread, count)
