"""The bets of a confidence sequence on all values a parameter could have: gains in, interval out.

The test of "the parameter is m" is a bet whose expected gain is not above 0 if it is, whatever
was bet on: the wealth is a non-negative supermartingale after every sample, and it reaches
2/delta with probability at most delta/2 (Ville). The values that were not ruled out form an
interval that is valid at every moment, with no approximation.

The range is cut into cells. An "up" cell (e - s, e] is tested at e, by betting on more: for any
smaller m the same bets gain more. A "down" cell [e, e + s) is tested at e, by betting on less.

Everything else is tuning and costs at most samples. The bets are the goal reaching ones of
control theory: they maximise the probability that the wealth is 2/delta at the predicted end,
instead of the rate of growth for ever.

Sources: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting" (JRSS-B
2024); Browne, "Reaching goals by a deadline" (Adv. Appl. Prob. 1999: the bet phi(Phi^-1(w))/w);
Voracek & Orabona, "STaR-Bets" (2025) for its use in intervals.
"""

from __future__ import annotations

import functools
import math
import statistics

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

HORIZONS = (1.0, 1.6)
"""Each leg's deadline in units of the predicted end; the second is the reserve."""
WEIGHTS = (0.9, 0.1)
"""Share of the first unit of wealth that each leg bets with."""
REACH = 1.375
"""Predicted end in units of the normal law's (z / epsilon)^2 variance samples."""
LATE = 1.05
"""When the predicted end has passed: how far beyond now the next one is set."""
GOAL = 1.2
"""A leg aims at GOAL times its share of 2/delta, so that the legs' sum gets there."""
CAP = 0.9
"""Largest share of the wealth that one sample can lose."""
CELLS = 192
"""Cells between low and high are halved when fewer than this many are left."""
FIRST_CELLS = 2048
"""At most so many cells at first."""

_BITS = 45  # of a float64's 52 mantissa bits these are dropped: 128 table entries an octave


@functools.cache
def _bet_table() -> Array:
    """Return h(w) = phi(Phi^-1(w)) / w by the leading bits of the float64 w, 0 from w = 1 on."""
    from scipy import special  # a third of a second: not paid by answers that are recalled

    bits = (np.arange((1024 << (52 - _BITS)) + 1, dtype=np.int64) << _BITS) | (1 << (_BITS - 1))
    wealth = bits.view(np.float64)
    log_w = np.log(wealth)
    z = special.ndtri_exp(np.minimum(log_w, -1e-300))
    table = np.exp(-0.5 * z * z - 0.5 * math.log(2 * math.pi) - log_w)
    table[wealth >= 1.0] = 0.0
    return table


def normal_quantile(delta: float) -> float:
    """Return z with a normal variable outside of [-z, z] with probability `delta`."""
    return -statistics.NormalDist().inv_cdf(delta / 2)


def forecast_end(variance: float, reach: float, epsilon: float, delta: float) -> float:
    """Return the samples that deadline betting takes from an endless population (a forecast).

    `reach` is the largest distance of a possible value from the mean: without any variance
    log(2/delta) reach / (CAP epsilon) samples are needed to rule out a rare value that far.
    Measured: within 15 % of the mean cost on counts (benches/sampling.py).
    """
    bulk = 1.34 * (normal_quantile(delta) / epsilon) ** 2 * variance
    return 0.95 * math.hypot(bulk, math.log(2 / delta) * reach / (CAP * epsilon))


class BettingCells:
    """Wealth of both legs on every cell of [0, range] that is not ruled out yet.

    Subclasses fill `_risk` (largest possible loss per unit bet) and `_gain` of each live cell,
    the up cells first, then call `_bet` and `_narrow`.

    The cells are halved when few are left. A half keeps the wealth of the whole cell, which is a
    lower bound of what the same bets would have brought it, so the choice of the moment is free.

    Attributes:
        least, most: the interval, within [0, range]. Never widens.
        clock: effective samples so far; a member counts more when few remain.
    """

    def __init__(self, range_: float, delta: float, finest: float, upward: float = 0.5) -> None:
        """Start with all of [0, range_] possible.

        Args:
            range_: largest possible value.
            delta: allowed probability that the interval ever misses.
            finest: half width that will be wanted; sets how fine the first cells are.
            upward: share of delta spent by the bets on more, which move the lower end.

        Raises:
            ValueError: the arguments make no sense.
        """
        if not (range_ >= 0 and math.isfinite(range_)) or not 0 < delta < 1:
            raise ValueError("need a finite range >= 0 and 0 < delta < 1")
        self.delta = delta
        self.least, self.most = 0.0, float(range_)
        self.clock = 0.0
        self._range = float(range_)
        self._tiny = 1e-12 * self._range
        self._reach = REACH * normal_quantile(delta) ** 2
        # Rows of _wealth are the legs, in units of each leg's goal; columns first the up cells.
        # A cell's early evidence is that of its worse end, so the first cells are not too coarse:
        # with CELLS of them rare events cost 1.7 times the samples.
        first = max(CELLS, math.ceil(min(2 * range_ / max(finest, 1e-300), FIRST_CELLS)))
        self._step = range_ / first
        edges = np.arange(1, first + 1) * self._step
        self._edges = np.concatenate((edges, edges - self._step))
        self._ups = first
        shares = np.repeat((upward, 1 - upward), first) * (delta / GOAL)
        self._wealth: Array = np.array(WEIGHTS)[:, None] * shares
        self._coefficient = np.empty((2, 1))
        self._bets = _bet_table()
        self._resize()

    @property
    def undecided(self) -> bool:
        """More than one value is possible and cells are left to bet on."""
        return self.least < self.most and 0 < self._ups < self._edges.shape[0]

    def _bet(self, variance: float, aim: float, factor: float, *, floor: float = 0.0) -> None:
        """Multiply each cell's wealth by its gain and rule out the cells that got there.

        Args:
            variance: of a gain, from past samples.
            aim: half width wanted, in the gain's unit.
            factor: population / members left: how much stronger gains are now.
            floor: above 0, risk is a whole number away from the mean of whole numbers under each
                cell's hypothesis. Numbers of mean m vary by at least frac(m)(1 - frac(m)); so much,
                but no more than `floor`, is taken for the variance where that is larger.
        """
        risk, bet = self._risk, self._stakes
        np.right_shift(self._bits, _BITS, out=self._index)
        self._bets.take(self._index, out=bet, mode="clip")
        need = self._reach / (aim * aim)
        late = max(LATE * self.clock, self.clock + 1)
        if variance < min(floor, 0.25):
            spread = risk - np.floor(risk)
            spread -= spread * spread
            np.minimum(spread, floor, out=spread)
            np.maximum(spread, variance, out=spread)
            end = np.maximum(spread * need, late)
            for leg, horizon in enumerate(HORIZONS):
                rest = np.maximum(horizon * end - self.clock, 1.0)
                rest *= spread
                bet[leg] *= factor / np.sqrt(rest, out=rest)
        else:
            end_all = max(need * variance, late)
            for leg, horizon in enumerate(HORIZONS):
                rest_all = max(horizon * end_all - self.clock, 1.0)
                self._coefficient[leg, 0] = factor / math.sqrt(variance * rest_all)
            bet *= self._coefficient
        np.maximum(risk, self._tiny, out=risk)
        np.divide(CAP, risk, out=risk)
        np.minimum(bet, risk, out=bet)
        bet *= self._gain
        bet += 1.0
        wealth = self._wealth
        wealth *= bet
        both = np.add(wealth[0], wealth[1], out=risk)
        if both.max() >= 1.0 / GOAL:
            self._retain(both < 1.0 / GOAL)

    def _narrow(self, least: float, most: float) -> None:
        """Move the interval to the live cells within the certain bounds `least` and `most`.

        Afterwards each live cell's edge is possible, so its risk is not negative.
        """
        edges, ups = self._edges, self._ups
        if 0 < ups < edges.shape[0] and (edges[0] < least or edges[-1] > most):
            self._retain(np.concatenate((edges[:ups] >= least, edges[ups:] <= most)))
            edges, ups = self._edges, self._ups
        if not 0 < ups < edges.shape[0]:
            self._give_up(least, most)
            return
        low = max(self.least, float(edges[0]) - self._step, least)
        high = min(self.most, float(edges[-1]) + self._step, most)
        if low >= high:
            self._give_up(least, most)
            return
        if low == self.least and high == self.most:
            return
        self.least, self.most = low, high
        self._drop(least, most)
        while high - low < CELLS * self._step and self._step > 1e-11 * self._range:
            self._halve()
            self._drop(least, most)
            if not 0 < self._ups < self._edges.shape[0]:
                return

    def _give_up(self, least: float, most: float) -> None:
        """Everything was ruled out, the event that delta allows for: keep one certain point."""
        middle = (self.least + self.most) / 2
        self.least = self.most = min(max(middle, least), most)

    def _drop(self, least: float, most: float) -> None:
        """Drop the cells outside of the interval, and those whose edge is impossible."""
        edges, ups, step = self._edges, self._ups, self._step
        up, down = edges[:ups], edges[ups:]
        if (
            up[-1] - step < self.most
            and down[0] + step > self.least
            and (up[0] >= least and down[-1] <= most)
        ):
            return
        keep_up = (up - step < self.most) & (up >= least)
        keep_down = (down + step > self.least) & (down <= most)
        self._retain(np.concatenate((keep_up, keep_down)))

    def _halve(self) -> None:
        """Split each cell; both halves keep its wealth."""
        half, ups = self._step / 2, self._ups
        edges = np.repeat(self._edges, 2)
        edges[0 : 2 * ups : 2] -= half  # the lower half of an up cell ends below its edge
        edges[2 * ups + 1 :: 2] += half  # the upper half of a down cell starts above its edge
        self._edges = edges
        self._wealth = np.repeat(self._wealth, 2, axis=1)
        self._ups = 2 * ups
        self._step = half
        self._resize()

    def _retain(self, keep: npt.NDArray[np.bool_]) -> None:
        """Keep only these cells."""
        self._ups = int(np.count_nonzero(keep[: self._ups]))
        self._edges = self._edges[keep]
        self._wealth = self._wealth[:, keep]
        self._resize()

    def _resize(self) -> None:
        """Make the work arrays and views for the present number of cells."""
        ups, edges = self._ups, self._edges
        wealth = self._wealth = np.ascontiguousarray(self._wealth)
        self._bits = wealth.view(np.int64)
        self._index = np.empty(wealth.shape, np.int64)
        self._stakes = np.empty(wealth.shape)
        # Seen from its own side, every cell bets on more than its place.
        self._place = edges.copy()
        np.subtract(self._range, edges[ups:], out=self._place[ups:])
        self._risk = np.empty(edges.shape)
        self._gain = np.empty(edges.shape)
        self._risk_up, self._risk_down = self._risk[:ups], self._risk[ups:]
        self._gain_up, self._gain_down = self._gain[:ups], self._gain[ups:]
