"""Samples in, a mean's interval by the central limit theorem out: for guarantee = asymptotic.

The theorem says nothing at any finite number of samples. Used blindly it stops on rare events
before it has seen one (80 % misses at a 0.7 % event, see docs/adr/0005-sampling-guarantees.md), so
it answers only behind three guards: 30 values that are not the commonest one, range / epsilon
samples (fewer could miss a mass that moves the mean by epsilon; BlazeIt, VLDB 2020, algorithm 1),
and looks at growing sample sizes that share delta.
"""

from __future__ import annotations

import math

from foveal.planner.estimators.cells import normal_quantile

ODD = 30
"""Values different from the first one that must have been seen."""
LOOK = 1.25
"""Factor between looks."""


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
        del integer
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
            return min(max(self.mean, self.high - reach), self.low + reach)
        return min(max(self.mean, self.low), self.high)

    def remaining(self) -> int:
        """Return a forecast of how many more members are needed; 0 when finished."""
        if self.finished:
            return 0
        aim, least = self._aim(), self._least()
        variance = self._squares / max(self.samples - 1, 1)
        end = max((1.15 * normal_quantile(self.delta / 2) / aim) ** 2 * variance, least)
        end = max(end, 1.05 * self.samples)
        needed = end / (1 + end / self.population) - self.samples
        return int(min(max(math.ceil(needed), 1), self.population - self.samples))

    def update(self, value: float) -> None:
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
        left = self.population - self.samples
        if left == 0:
            self.low = self.high = self.total / self.population
            return
        self._cut(
            (self.total + self.lower * left) / self.population,
            (self.total + self.upper * left) / self.population,
        )
        if self.samples >= max(self._next, self._least()) and self._odd >= ODD:
            self._look += 1
            self._next = self.samples * LOOK
            z = normal_quantile(self.delta / (self._look * (self._look + 1)))
            spread = self._squares / (self.samples - 1) / self.samples * left / self.population
            half = z * math.sqrt(spread)
            self._cut(self.mean - half, self.mean + half)

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
            low = high = min(max(self.mean, self.low), self.high)
        self.low, self.high = low, high
