"""Samples in, a mean's interval out: a betting confidence sequence that aims at a deadline.

Valid at every moment with probability 1 - delta, for bounded values drawn without replacement;
how and why is said in `cells`. The correction for drawing without replacement is that of
Waudby-Smith & Ramdas (JRSS-B 2024, section 5); the finite-population clock is derived here.
"""

from __future__ import annotations

import math

import numpy as np

from foveal.planner.estimators.cells import BettingCells, forecast_end

UPWARD = 0.4
"""Share of delta of the lower end. Counts lie near the lower end of their range, so it is the upper
end that is dear: it must rule out rare large values. This makes the interval more even."""
PRIOR_COUNT = 1.0
"""Weight, in samples, of the prior variance (upper - lower)^2 / 4."""
OVERDUE = 1.25
"""When the forecast end has passed: how far beyond now the next one is."""
SIDES = 0.6
"""With predictions: both sides' largest losses together, as one reach of `forecast_end`. Either
side may do with less than its half of the interval if the other needs more."""
UNSEEN = 2.0
"""Rare events that may have been missed so far, as the stakes see it."""
PILOT = 16
"""Below this many samples the variance is not trusted for forecasts."""


class DeadlineBetting(BettingCells):
    """The interval of a population's mean while its members are drawn without replacement.

    Feed members to `update` in the order in which they were drawn uniformly at random from those
    not drawn yet. `low` <= mean <= high holds at all times together with probability 1 - delta.

    With `predicted` given to `update` (a control variate), the bets are on value - predicted;
    the prediction of each frame must be fixed before that frame is drawn, and
    `predicted_mean` is the predictions' mean over the members not drawn yet (this one included).

    Attributes:
        samples: members drawn so far.
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
        aimed: bool = False,
    ) -> None:
        """Set up for `population` members with values in [lower, upper].

        Args:
            population: how many members there are, at least 0.
            upper: largest possible value; larger ones must be clipped before.
            epsilon: half width wanted; with `relative` a fraction of the mean.
            delta: allowed probability that the interval ever misses, in (0, 1).
            lower: smallest possible value.
            integer: the values are whole numbers (and so are lower and upper).
            relative: epsilon is a fraction of offset + share * mean.
            offset: known part of what a relative epsilon refers to.
            share: this population's share of it.
            aimed: epsilon is only what the bets aim at: no promise ties the estimate to it.

        Raises:
            ValueError: the arguments make no sense.
        """
        if population < 0 or not upper >= lower or not epsilon >= 0:
            raise ValueError("need population >= 0, upper >= lower, epsilon >= 0")
        finest = epsilon * (upper - lower) / 10 if relative else epsilon
        super().__init__(upper - lower, delta, finest, UPWARD)
        self.population = population
        self.epsilon = epsilon
        self._aimed = aimed
        self.relative = relative
        self._offset, self._share = offset, share
        self.lower = float(lower)
        self.upper = float(upper)
        self._integer = integer
        self.samples = 0
        self._sum = 0.0  # of value - lower
        self._plain = 0.0  # squares of value - mean, of the draws
        self._drawn_mean = 0.0  # of value - lower
        self.revealed = 0
        # Variance of value - predicted, seen so far (Welford), with a prior.
        self._prior = PRIOR_COUNT * self._range * self._range / 4
        self._seen = 0.0
        self._mean = 0.0
        self._squares = 0.0
        self._predicted_low = self._predicted_high = 0.0
        self._predicting = False
        self._floor = integer
        # Of the unbiased per-draw estimates, weighted by their precision.
        self._weight = self._weighted = 0.0
        if population == 0 or self._range == 0:
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
    def total(self) -> float:
        """Sum of the values seen so far."""
        return self._sum + (self.samples + self.revealed) * self.lower

    @property
    def left(self) -> int:
        """Members not seen yet."""
        return self.population - self.samples - self.revealed

    @property
    def mean(self) -> float:
        """Mean of the values drawn so far; the middle of the range before the first.

        Once members were revealed, of what these and the draws tell together.
        """
        if self.revealed and self._weight:
            return self.lower + self._weighted / self._weight
        if not self.samples:
            return (self.lower + self.upper) / 2
        return self.lower + self._drawn_mean

    @property
    def variance(self) -> float:
        """Variance of value - predicted as the bets see it: from the past, with the prior."""
        return (self._prior + self._squares) / (PRIOR_COUNT + self._seen)

    def doubt(self, variance: float, samples: float) -> float:
        """Return the variance that the bets would see after `samples` with this `variance`."""
        return (self._prior + variance * samples) / (PRIOR_COUNT + samples)

    @property
    def tolerance(self) -> float:
        """Half width that meets the target now."""
        if not self.relative:
            return self.epsilon
        low = self._offset + self._share * self.low
        high = self._offset + self._share * self.high
        if low <= 0 <= high:
            return 0.0
        return self.epsilon * min(abs(low), abs(high)) / self._share

    @property
    def finished(self) -> bool:
        """True when the target is met, or every member was drawn."""
        slack = 1e-12 * self._range
        met = self.most - self.least <= 2 * self.tolerance + slack
        return met or self.left <= 0

    @property
    def estimate(self) -> float:
        """The sample mean, moved as little as needed to be within tolerance of the interval.

        With a control variate, the mean of the per-draw estimates weighted by precision. Not
        within tolerance of the whole interval before the target is met, only within it.
        """
        guess = self.mean
        if self._predicting and self._weight:
            guess = self.lower + self._weighted / self._weight
        reach = self.tolerance
        if not self._aimed and self.most - self.least <= 2 * reach:
            return min(max(guess, self.high - reach), self.low + reach)
        return min(max(guess, self.low), self.high)

    @property
    def aim(self) -> float:
        """Half width that the bets aim at, from past samples only."""
        if not self.relative:
            return max(self.epsilon, 1e-9 * self._range)
        size = abs(self._offset / self._share + self.mean)
        return max(self.epsilon * max(size, self._range / 1000), 1e-9 * self._range)

    def remaining(self) -> int:
        """Return a forecast of how many more members are needed; 0 when finished."""
        if self.finished:
            return 0
        return self.still(self.outlook(self.variance))

    def saved_by(self, r2: float) -> int:
        """Return a forecast of the members saved by a proxy that explains `r2` of the variance."""
        if self.finished or self.samples < PILOT:
            return 0
        # The values' own variance: the bets' is that of what is not predicted yet.
        plain = self._plain / self.samples
        now = self.variance
        then = min(now, self.doubt((1 - r2) * plain, self.samples))
        highest = min(self.mean - self.lower + 3 * math.sqrt(plain), self._range)
        return max(self.still(self.outlook(now)) - self.still(self.outlook(then, 0.0, highest)), 0)

    def still(self, end: float) -> int:
        """Return how many more members a forecast of `end` on the clock means."""
        left, size = self.left, self.population
        end = max(end, OVERDUE * self.clock)
        # k more members add N^2 (1/(left - k) - 1/left) to the clock.
        clock = end - self.clock
        needed = clock * left * left / (size * size + clock * left)
        return int(min(max(math.ceil(needed), 1), left))

    def outlook(
        self, variance: float, lowest: float | None = None, highest: float | None = None
    ) -> float:
        """Return the samples forecast with `variance`, from an endless population.

        Args:
            variance: of value - predicted.
            lowest: bound below all predictions; None for the present one.
            highest: bound above all predictions; None for the present one.
        """
        low = self._predicted_low if lowest is None else lowest
        high = self._predicted_high if highest is None else highest
        if self.samples < PILOT:
            return forecast_end(0.0, (self._range + high - low) / 2, self.aim, self.delta)
        level = self.mean - self.lower
        reach = max(self._range - level, level)
        if lowest is not None or self._predicting:
            reach = SIDES * (self._range + high - low)
        return forecast_end(variance, reach, self.aim, self.delta)

    # --- taking samples --------------------------------------------------------------------

    def predict_with(
        self,
        lowest: float,
        highest: float,
        *,
        integer: bool,
        variance: float,
        mean: float,
        weight: float,
    ) -> None:
        """Change the control variate from the next sample on.

        Args:
            lowest: bound below all predictions from now on.
            highest: bound above all predictions from now on.
            integer: the predictions are whole numbers.
            variance: forecast of the variance of value - predicted.
            mean: forecast of the mean of value - predicted.
            weight: how many samples the forecast is worth.
        """
        before = self.variance
        self._predicting = True
        self._predicted_low, self._predicted_high = lowest, highest
        self._floor = self._integer and integer
        self._seen = weight
        self._mean = mean
        self._squares = variance * weight
        # The clock counts samples of the variance now bet on: information so far is kept.
        self.clock *= self.variance / before

    def reveal(self, total: float, count: int, *, variance: float, weight: float) -> None:
        """Take members that were looked at for themselves, not drawn. Predictions end with it.

        Which ones may follow from all that was seen before, not from their own values.

        Args:
            total: sum of their values.
            count: how many.
            variance: forecast of the variance of the values left.
            weight: how many samples the forecast is worth.
        """
        self.revealed += count
        self._sum += total - count * self.lower
        self.predict_with(0.0, 0.0, integer=True, variance=variance, mean=0.0, weight=weight)
        self._predicting = True
        if self.left == 0:
            self._collapse()
        elif self.least < self.most:
            self._narrow(*self._certain())

    def update(self, value: float, predicted: float = 0.0, predicted_mean: float = 0.0) -> None:
        """Take the next member drawn. `value` must lie in [lower, upper].

        Raises:
            ValueError: the value is outside of the range, or nothing is left to draw.
        """
        x = value - self.lower
        left = self.left
        if not 0 <= x <= self._range or left <= 0:
            raise ValueError(f"value {value} outside [{self.lower}, {self.upper}] or none left")
        factor = self.population / left
        variance = self.variance
        if self.undecided:
            self._wager(x, predicted, predicted_mean, factor, variance)
        precision = factor * factor / variance
        unbiased = (self._sum + left * (x - predicted + predicted_mean)) / self.population
        self._weight += precision
        self._weighted += precision * unbiased
        self.clock += factor * factor
        self.samples += 1
        self._sum += x
        before = x - self._drawn_mean
        self._drawn_mean += before / self.samples
        self._plain += before * (x - self._drawn_mean)
        self._seen += 1
        residual = x - predicted
        step = residual - self._mean
        self._mean += step / self._seen
        self._squares += step * (residual - self._mean)
        if left == 1:
            self._collapse()
        elif self.least < self.most:
            self._narrow(*self._certain())

    def _certain(self) -> tuple[float, float]:
        """Bounds of the mean should the rest be all lowest, or all highest."""
        least = self._sum / self.population
        return least, least + self._range * self.left / self.population

    def _wager(
        self, x: float, predicted: float, predicted_mean: float, factor: float, variance: float
    ) -> None:
        """Bet that x - predicted is more, or less, than its mean under each cell's edge.

        With edge e as the mean of all, the members left have the mean m = (N e - sum) / left,
        and x - predicted the mean m - predicted_mean.
        """
        low, high = self._predicted_low, self._predicted_high
        per_left = factor / self.population
        above = self._sum * per_left + predicted_mean - high
        drawn = self._range * (self.samples + self.revealed)
        below = (drawn - self._sum) * per_left - predicted_mean + low
        risk = self._risk
        np.multiply(self._place, factor, out=risk)
        self._risk_up -= above
        self._risk_down -= below
        self._gain_up[:] = x - predicted + high
        self._gain_down[:] = self._range - x + predicted - low
        self._gain -= risk
        self._bet(variance, self.aim, factor, floor=self._most_floor())

    def _most_floor(self) -> float:
        """Return how large a variance whole numbers may be taken to have for their mean alone.

        That of the draws and of UNSEEN more events: where events are rarer than epsilon, the least
        variance under a hypothesis is far from that of what is drawn, and stakes for it too low.
        """
        if not self._floor:
            return 0.0
        return (self._squares + UNSEEN) / max(self._seen, 1.0)

    def _collapse(self) -> None:
        """Everything is known: the interval is the mean."""
        exact = self._sum / self.population if self.population else 0.0
        self.least = self.most = min(max(exact, 0.0), self._range)
