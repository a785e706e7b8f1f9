"""Samples in, a mean's interval by the central limit theorem out: for guarantee = asymptotic.

Sampling goes on until z s / sqrt(n) is within the error asked for: the fixed-width rule of Chow and
Robbins (Ann. Math. Statist. 36, 1965), whose coverage tends to 1 - delta as the error shrinks,
because it stops on the spread and not on the mean. The last look spends FINAL of delta, so that it
costs what one test at a fixed size costs, and little more. What is left is spent on a few looks
before it, at doubling sizes, for whoever stops the query on the way (union bound).

The theorem says nothing at any finite number of samples. Used blindly it stops on rare events
before it has seen one (80 % misses at a 0.7 % event, see docs/adr/0005-sampling-guarantees.md), so
it answers only behind three guards: ODD values that are not the commonest one, range / epsilon
samples (fewer could miss a mass that moves the mean by epsilon; BlazeIt, VLDB 2020, algorithm 1),
and 25 times the squared skewness (Cochran, Sampling Techniques, 1977, section 2.15: then 95 % are
wrong at most 6 times in 100). With predictions of the values the same guards look at differences:
predictions that were right 30 times say nothing of when they are not.
"""

from __future__ import annotations

import math

from foveal.planner.estimators.cells import normal_quantile

FEWEST = 30
"""Samples below which nothing is said."""
ODD = 15
"""Values that are not the commonest one, or differences, that must have been seen."""
LOPSIDED = 0.2
"""Largest skewness of the mean: that of a value over sqrt(samples)."""
FINAL = 0.9
"""Share of delta spent by the look that meets the target: it costs 5 % more samples than all."""
FIRST = 64
"""Samples of the first look before it; the next ones are at twice as many each."""
STEP = 0.5
"""Part of the samples still forecast after which the spread is looked at again."""
LEAST_STEP = 0.02
"""The same as a part of the samples so far, at least."""


class AsymptoticMean:
    """The same questions as DeadlineBetting's, answered by z s / sqrt(n).

    Before the first look only the certain bounds are known.

    With `predicted` given to `update` there is a second estimate: the mean of unbiased guesses, one
    per draw, weighted by the precision foreseen of them. The better one of both answers.
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
        self._squares = self._cubes = 0.0  # around the mean
        self.total = 0.0
        self._values: dict[float, int] = {}
        self._step = 0.5 if integer else (upper - lower) / 1000
        self._guesses = _Guesses(self._step)
        self._mixed = False  # the guesses are the better estimate
        self._look = 0
        self._interim = float(FIRST)
        self._next = float(FEWEST)
        self._final = False
        self.low, self.high = float(lower), float(upper)

    @property
    def left(self) -> int:
        """Members not drawn yet."""
        return self.population - self.samples

    @property
    def tolerance(self) -> float:
        """Half width that meets the target now."""
        return self._tolerance(self.low, self.high)

    def _tolerance(self, low: float, high: float) -> float:
        if not self.relative:
            return self.epsilon
        low = self._offset + self._share * low
        high = self._offset + self._share * high
        return 0.0 if low <= 0 <= high else self.epsilon * min(abs(low), abs(high)) / self._share

    @property
    def finished(self) -> bool:
        """True when the target is met, or every member was drawn."""
        return self.samples >= self.population or self._meets(self.low, self.high)

    def _meets(self, low: float, high: float) -> bool:
        return high - low <= 2 * self._tolerance(low, high) + 1e-12 * (self.upper - self.lower)

    @property
    def estimate(self) -> float:
        """The better mean, moved as little as needed to be within tolerance of the interval."""
        reach, centre = self.tolerance, self._centre()
        if self.high - self.low <= 2 * reach:
            return min(max(centre, self.high - reach), self.low + reach)
        return min(max(centre, self.low), self.high)

    def _centre(self) -> float:
        if self.left == 0 and self.population:
            return self.total / self.population
        return self._guesses.mean if self._mixed else self.mean

    # --- forecasts -------------------------------------------------------------------------

    @property
    def variance(self) -> float:
        """Variance of what is averaged: of the values, or of value - predicted."""
        plain = self._squares / max(self.samples - 1, 1)
        return self._guesses.variance if self._guesses.predicting else plain

    def doubt(self, variance: float, samples: float) -> float:
        """Return the `variance` to reckon with after `samples`: there may be one event more."""
        return max(variance, self._step * self._step / max(samples, 1.0))

    def outlook(
        self, variance: float, lowest: float | None = None, highest: float | None = None
    ) -> float:
        """Return the samples forecast with `variance`, from an endless population.

        The bounds of predictions do not matter here.
        """
        del lowest, highest
        return max(
            (self._quantile(self.samples) / self._aim()) ** 2 * variance, self._least(), FEWEST
        )

    def remaining(self) -> int:
        """Return a forecast of how many more members are needed; 0 when finished."""
        if self.finished:
            return 0
        plain = self._squares / max(self.samples - 1, 1)
        need = self._still(plain, self._plain_spread())
        need = max(need, _wait(self.samples, self._odd(), self._skewness()))
        guesses = self._guesses
        if guesses.predicting:
            still = self._still(guesses.variance, guesses.spread())
            need = min(need, max(still, _wait(guesses.drawn, guesses.odd, guesses.skewness())))
        return min(need, self.left)

    def worst(self) -> int:
        """Return a forecast of the members needed at the largest possible variance."""
        range_ = self.upper - self.lower
        end = (self._quantile(FEWEST) / max(self.epsilon, 1e-9 * range_)) ** 2 * range_ * range_ / 4
        return math.ceil(end / (1 + end / max(self.population, 1)))

    def saved_by(self, r2: float) -> int:
        """Return a forecast of the members saved by a proxy that explains `r2` of the variance."""
        if self.finished:
            return 0
        plain = self._squares / max(self.samples - 1, 1)
        spread = self._plain_spread()
        then = self._still((1 - r2) * plain, spread)
        return max(self.remaining() - then, 0)

    def _still(self, variance: float, spread: float) -> int:
        """Return a forecast of how many more members are needed, guards left aside but the range's.

        Args:
            variance: of what is drawn from now on.
            spread: variance of the estimate so far.
        """
        left, size = self.left, self.population
        wanted = (self._quantile(self.samples) / self._aim()) ** 2
        missing = max(wanted - (1 / spread if spread > 0 else 0.0), 0.0) * variance
        # k more members add N^2 (1 / (left - k) - 1 / left) / variance to the information.
        needed = missing * left * left / (size * size + missing * left)
        needed = max(needed, self._least() - self.samples, FEWEST - self.samples)
        return int(min(max(math.ceil(needed), 1), left))

    def _aim(self) -> float:
        range_ = self.upper - self.lower
        if not self.relative:
            return max(self.epsilon, 1e-9 * range_)
        size = max(abs(self._offset / self._share + self.mean), range_ / 1000)
        # The lower end of the interval must be within that, not the mean.
        return max(self.epsilon / (1 + self.epsilon) * size, 1e-9 * range_)

    def _least(self) -> float:
        return (self.upper - self.lower) / self._aim()

    def _quantile(self, samples: float, share: float = FINAL) -> float:
        """Return about Student's quantile: the normal one, and for the spread being guessed."""
        z = normal_quantile(share * self.delta)
        return z + z * (z * z + 1) / (4 * max(samples, FEWEST))  # Cornish-Fisher, first term

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
        """Change the predictions from the next member on. See DeadlineBetting."""
        del lowest, highest, integer
        plain = self._squares / max(self.samples - 1, 1)
        self._guesses.change(
            self.doubt(plain, self.samples), self.doubt(variance, weight), mean, weight
        )

    def update(self, value: float, predicted: float = 0.0, predicted_mean: float = 0.0) -> None:
        """Take the next member drawn. `value` must lie in [lower, upper].

        Args:
            value: the member's.
            predicted: its prediction, made before it was drawn.
            predicted_mean: of the predictions of all members not drawn yet, this one included.

        Raises:
            ValueError: the value is outside of the range, or nothing is left to draw.
        """
        left = self.left
        if not self.lower <= value <= self.upper or left <= 0:
            raise ValueError(f"value {value} outside [{self.lower}, {self.upper}] or none left")
        if not self.samples:
            self.mean = value
        guess = (self.total + left * (value - predicted + predicted_mean)) / self.population
        self._guesses.take(guess, value - predicted, self.population / left)
        self.samples += 1
        self.total += value
        step, n = value - self.mean, self.samples
        part = step / n
        self.mean += part
        self._cubes += part * (part * step * (n - 1) * (n - 2) - 3 * self._squares)
        self._squares += step * (value - self.mean)
        if len(self._values) < 2 * ODD:  # with so many different ones, most are uncommon
            self._values[value] = self._values.get(value, 0) + 1
        elif value in self._values:
            self._values[value] += 1
        left -= 1
        if left == 0:
            self.low = self.high = self.total / self.population
            return
        self._cut(
            (self.total + self.lower * left) / self.population,
            (self.total + self.upper * left) / self.population,
        )
        if self.samples >= self._next and not self._final:
            self._look_now()

    def settle(self) -> None:
        """Spend the last look on what was drawn: a budget is at its end, the target is not met.

        To be called when the run ended for a reason that its values had no part in.
        """
        if self._final or self.finished or self.samples < FEWEST:
            return
        spread = self._choose()
        if math.isfinite(spread):
            self._final = True
            half = self._quantile(self.samples) * math.sqrt(spread)
            self._cut(self._centre() - half, self._centre() + half)

    def _look_now(self) -> None:
        """Stop if the target is met; else spend a little of delta now and then."""
        if self.samples < self._least():
            self._next = self._least()
            return
        spread = self._choose()
        if not math.isfinite(spread):
            self._next = (1 + LEAST_STEP) * self.samples
            return
        centre = self._centre()
        half = self._quantile(self.samples) * math.sqrt(spread)
        if self._meets(max(centre - half, self.low), min(centre + half, self.high)):
            self._final = True
            self._cut(centre - half, centre + half)
            return
        self._next = self.samples + max(STEP * self.remaining(), LEAST_STEP * self.samples)
        if self.samples >= self._interim:
            self._look += 1
            self._interim = 2.0 * self.samples
            share = (1 - FINAL) / (self._look * (self._look + 1))
            half = self._quantile(self.samples, share) * math.sqrt(spread)
            self._cut(centre - half, centre + half)
        # Between two checks of the spread an early look may fall due.
        self._next = min(self._next, max(self._interim, self.samples + 1))

    def _choose(self) -> float:
        """Pick the better estimate that the guards allow; return its variance, inf for none."""
        guesses = self._guesses
        spread = other = math.inf
        if self._odd() >= ODD and self._skewness() <= LOPSIDED:
            spread = self._plain_spread()
        if guesses.odd >= ODD and guesses.skewness() <= LOPSIDED:
            other = guesses.spread()
        self._mixed = other < spread
        return min(spread, other)

    def _plain_spread(self) -> float:
        if self.samples < 2:
            return math.inf
        return self._squares / (self.samples - 1) / self.samples * self.left / self.population

    def _skewness(self) -> float:
        """Return the mean's skewness, without sign."""
        return abs(self._cubes) / self._squares**1.5 if self._squares > 0 else 0.0

    def _odd(self) -> int:
        return self.samples - max(self._values.values(), default=0)

    def _cut(self, low: float, high: float) -> None:
        """Intersect; should nothing be left, keep the point nearest to the new interval."""
        low, high = max(low, self.low), min(high, self.high)
        if low > high:
            low = high = min(max(self._centre(), self.low), self.high)
        self.low, self.high = low, high


def _wait(drawn: int, odd: int, skewness: float) -> int:
    """Return a forecast of the draws until the guards let an answer pass."""
    lacking = max(ODD - odd, 0)
    rare = lacking * (drawn / odd if odd else max(drawn / ODD, 1.0))
    return math.ceil(max(rare, drawn * ((skewness / LOPSIDED) ** 2 - 1), 0.0))


class _Guesses:
    """Unbiased guesses of the mean, one per draw, and their weighted mean.

    Given the past each has the population's mean as its expectation, so that the sum of weighted
    errors is a martingale, whose variance the sum of their squares estimates. Weights are fixed
    before the draw: precision is (N / left)^2 / variance, in units of the first stage's variance.
    """

    def __init__(self, step: float) -> None:
        """Start without predictions. `step`: a difference larger than this says something."""
        self.predicting = False
        self.odd = 0
        self.drawn = 0  # with predictions
        self._step = step
        self._scale = 1.0
        self._origin = 0.0
        self._weight = self._weighted = 0.0
        self._powers = [0.0] * 7  # sums of w^2 y^0, 1, 2 and of w^3 y^0, 1, 2, 3
        self._seen = self._mean = self._squares = 0.0  # of value - predicted, in this stage

    @property
    def mean(self) -> float:
        """The weighted mean."""
        return self._origin + (self._weighted / self._weight if self._weight else 0.0)

    @property
    def variance(self) -> float:
        """Variance of value - predicted."""
        return self._squares / max(self._seen - 1, 1.0)

    def spread(self) -> float:
        """Return the variance of the weighted mean; inf with too few draws."""
        if not self.predicting or self.drawn < FEWEST:
            return math.inf
        squares, _ = self._moments()
        effective = self._weight * self._weight / self._powers[0]
        return squares / (self._weight * self._weight) * effective / max(effective - 1, 1.0)

    def skewness(self) -> float:
        """Return the weighted mean's skewness, without sign."""
        squares, cubes = self._moments()
        return abs(cubes) / squares**1.5 if squares > 0 else 0.0

    def _moments(self) -> tuple[float, float]:
        """Return the sums of squared and of cubed weighted errors."""
        m = self._weighted / self._weight
        a, b, c, d, e, f, g = self._powers
        squares = max(c - 2 * m * b + m * m * a, 0.0)
        return squares, g - 3 * m * f + 3 * m * m * e - m**3 * d

    def change(self, plain: float, variance: float, mean: float, weight: float) -> None:
        """Begin a stage with other predictions; `plain` is the variance of the values."""
        before = self.variance if self.predicting else plain
        self._scale *= max(before, variance * 1e-6) / variance if variance > 0 else 1.0
        self.predicting = True
        self._seen, self._mean, self._squares = weight, mean, variance * weight

    def take(self, guess: float, residual: float, factor: float) -> None:
        """Take a draw's guess of the mean; `factor` is the population over those left."""
        if not self._weight:
            self._origin = guess
        y = guess - self._origin
        w = factor * factor * self._scale
        self._weight += w
        self._weighted += w * y
        once = w * w
        thrice = once * w
        for k, power in enumerate((once, once * y, once * y * y, thrice, thrice * y,
                                   thrice * y * y, thrice * y * y * y)):  # fmt: skip
            self._powers[k] += power
        if self.predicting:
            self.drawn += 1
            self.odd += abs(residual - self._mean) > self._step
            self._seen += 1
            step = residual - self._mean
            self._mean += step / self._seen
            self._squares += step * (residual - self._mean)
