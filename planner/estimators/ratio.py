"""Samples of (sum, count) in, the interval of sum over count out: averages over objects.

The ratio of two means is r if and only if a - r b has mean 0, so each r is tested directly by
betting on a - r b. That uses how a and b vary together and spends delta once; dividing an interval
of the sums by one of the counts (each at delta/2) would lose the first and pay for the second. The
tests, their validity and the cells are those of `cells`; a - r b falls as r grows because b >= 0.
"""

from __future__ import annotations

import math

import numpy as np

from foveal.planner.estimators.cells import BettingCells, forecast_end
from foveal.planner.estimators.deadline import OVERDUE, PILOT, PRIOR_COUNT


class RatioBetting(BettingCells):
    """The interval of sum(a) / sum(b) over a population drawn without replacement.

    Each member has a count b in [0, count] and a sum a in [lower b, upper b].

    Attributes:
        samples: members drawn so far.
    """

    def __init__(
        self,
        population: int,
        lower: float,
        upper: float,
        count: float,
        epsilon: float,
        delta: float,
        *,
        relative: bool = False,
        known: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Set up for `population` members.

        Args:
            population: how many members there are to draw.
            lower: bound of a / b.
            upper: bound of a / b.
            count: bound of b.
            epsilon: half width wanted, with `relative` as a fraction of the ratio.
            delta: allowed probability that the interval ever misses.
            relative: see epsilon.
            known: sums of a and b over members that belong to the ratio and are not drawn.

        Raises:
            ValueError: the arguments make no sense.
        """
        if population < 0 or not upper >= lower or not epsilon >= 0 or not count >= 0:
            raise ValueError("need population >= 0, upper >= lower, epsilon >= 0, count >= 0")
        finest = epsilon * (upper - lower) / 10 if relative else epsilon
        super().__init__(upper - lower, delta, finest)
        self.population = population
        self.epsilon = epsilon
        self.relative = relative
        self.lower, self.upper = float(lower), float(upper)
        self._count = float(count)
        self.samples = 0
        self._tops = known[0] - lower * known[1]  # sum of a - lower b, known and drawn
        self._bottoms = known[1]
        self._drawn_bottoms = 0.0
        self._aa = self._ab = self._bb = 0.0  # of the drawn members
        self._prior = PRIOR_COUNT * (self._range * count) ** 2 / 4
        if self._range > 0 and self._bottoms > 0:
            self._narrow(*self._certain())
        if population == 0 or self._range == 0 or count == 0:
            self._collapse()

    # --- what is known ---------------------------------------------------------------------

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.lower + self.least

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.lower + self.most

    @property
    def empty(self) -> bool:
        """No object was seen so far: there may be no ratio."""
        return self._bottoms <= 0

    @property
    def tolerance(self) -> float:
        """Half width that meets the target now."""
        if not self.relative:
            return self.epsilon
        if self.low <= 0 <= self.high:
            return 0.0
        return self.epsilon * min(abs(self.low), abs(self.high))

    @property
    def finished(self) -> bool:
        """True when the target is met and an object was seen, or every member was drawn."""
        slack = 1e-12 * self._range
        met = self.most - self.least <= 2 * self.tolerance + slack
        return (met and not self.empty) or self.samples >= self.population

    @property
    def estimate(self) -> float:
        """The ratio of the sums so far, within tolerance of the interval where that is met."""
        guess = self.lower + self._ratio()
        reach = self.tolerance
        if self.most - self.least <= 2 * reach:
            return min(max(guess, self.high - reach), self.low + reach)
        return min(max(guess, self.low), self.high)

    def remaining(self) -> int:
        """Return a forecast of how many more members are needed; 0 when finished."""
        if self.finished:
            return 0
        left = self.population - self.samples
        if self.samples < PILOT:
            end = math.log(2 / self.delta) * self._range / (2 * self._half_width())
        else:
            ratio = self._ratio()
            reach = max(ratio, self._range - ratio) * self._count
            end = forecast_end(self._variance(), reach, self._aim(), self.delta)
        end = max(end, OVERDUE * self.clock)
        clock, size = end - self.clock, self.population
        needed = clock * left * left / (size * size + clock * left)
        return int(min(max(math.ceil(needed), 1), left))

    # --- taking samples --------------------------------------------------------------------

    def update(self, top: float, bottom: float) -> None:
        """Take the next member drawn: its sum a and its count b.

        Raises:
            ValueError: they are outside of their ranges, or nothing is left to draw.
        """
        a, b = top - self.lower * bottom, bottom
        left = self.population - self.samples
        slack = 1e-9 * (1 + self._range * b)
        if not 0 <= b <= self._count or not -slack <= a <= self._range * b + slack or left <= 0:
            raise ValueError(f"({top}, {bottom}) outside of the declared bounds, or none left")
        a = min(max(a, 0.0), self._range * b)
        factor = self.population / left
        if self.undecided:
            # Under ratio e the members left have a - e b = -(tops - e bottoms) / left on average.
            top_left, bottom_left = self._tops / left, self._bottoms / left
            turned = self._range * bottom_left - top_left
            np.multiply(self._place, self._count + bottom_left, out=self._risk)
            self._risk_up -= top_left
            self._risk_down -= turned
            np.multiply(self._place, -(b + bottom_left), out=self._gain)
            self._gain_up += a + top_left
            self._gain_down += self._range * b - a + turned
            self._bet(self._variance(), self._aim(), factor)
        self.clock += factor * factor
        self.samples += 1
        self._tops += a
        self._bottoms += b
        self._drawn_bottoms += b
        self._aa += a * a
        self._ab += a * b
        self._bb += b * b
        if left == 1:
            self._collapse()
        elif self.least < self.most and self._bottoms > 0:
            self._narrow(*self._certain())

    def _certain(self) -> tuple[float, float]:
        """Bounds of the ratio should all objects left be lowest, or highest."""
        more = self._count * (self.population - self.samples)
        least = self._tops / (self._bottoms + more)
        most = (self._tops + self._range * more) / (self._bottoms + more)
        return least, most

    def _ratio(self) -> float:
        return self._tops / self._bottoms if self._bottoms > 0 else self._range / 2

    def _variance(self) -> float:
        """Variance of a - r b at the present ratio, from the past, with the prior."""
        ratio = self._ratio()
        squares = self._aa - 2 * ratio * self._ab + ratio * ratio * self._bb
        return (self._prior + max(squares, 0.0)) / (PRIOR_COUNT + self.samples)

    def _half_width(self) -> float:
        """Half width aimed at, of the ratio."""
        if not self.relative:
            return max(self.epsilon, 1e-9 * self._range)
        size = max(abs(self.lower + self._ratio()), self._range / 1000)
        return max(self.epsilon * size, 1e-9 * self._range)

    def _aim(self) -> float:
        """Half width aimed at, of the mean of a - r b."""
        mean = (self._drawn_bottoms + 0.5) / (self.samples + 1)
        return self._half_width() * mean

    def _collapse(self) -> None:
        """Everything is known: the interval is the ratio (all of the range when there is none)."""
        if self._bottoms > 0:
            self.least = self.most = min(max(self._ratio(), 0.0), self._range)
