"""Published stopping rules for a mean, to compare with: each takes draws and says where it stops.

They work on whole arrays at once: entry t - 1 of every array belongs to t draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a rule stopped and what it then said; `samples` is all draws if it did not stop."""

    samples: int
    estimate: float
    low: float
    high: float


def _moments(draws: Array) -> tuple[Array, Array, Array]:
    """Return t, running mean and running variance (Bessel corrected; 0 for one draw)."""
    t = np.arange(1, draws.shape[0] + 1, dtype=np.float64)
    first = draws[0]
    total, squares = np.cumsum(draws - first), np.cumsum((draws - first) ** 2)
    spread = np.maximum(squares - total * total / t, 0.0)
    return t, total / t + first, spread / np.maximum(t - 1, 1)


def _stop(centre: Array, half: Array, done: npt.NDArray[np.bool_]) -> Stop:
    at = int(np.argmax(done)) if done.any() else centre.shape[0] - 1
    return Stop(at + 1, float(centre[at]), float(centre[at] - half[at]),
                float(centre[at] + half[at]))  # fmt: skip


def central_limit(draws: Array, population: int, epsilon: float, delta: float) -> Stop:
    """Stop when z s / sqrt(n) <= epsilon, looking after every draw from the 30th. Not valid."""
    t, mean, variance = _moments(draws)
    z = -float(special.ndtri(delta / 2))
    left = (population - t) / max(population - 1, 1)
    half = z * np.sqrt(variance / t * np.maximum(left, 0.0))
    return _stop(mean, half, (half <= epsilon) & (t >= min(30, population)))


def blazeit(draws: Array, population: int, upper: float, epsilon: float, delta: float) -> Stop:
    """The rule of BlazeIt's released code: blazeit/aggregation/samplers.py, a variant of EBGStop.

    beta = 1.5, p = 1.1, c = delta (p - 1)/p, d_k = c / (log_p k)^p at look k, x = -a ln(d_k) / 3
    with a the ratio of the look's ends, and half width s sqrt(2 x / t) + 3 R x / t where s has the
    finite-population factor; bounds are kept; stops when they are 2 epsilon apart.
    """
    beta, p = 1.5, 1.1
    t, mean, variance = _moments(draws)
    c = delta * (p - 1) / p
    looks = np.maximum(np.ceil(np.log(t) / math.log(beta) - 1e-9), 2.0)
    ratio = np.floor(beta**looks) / np.floor(beta ** (looks - 1))
    x = -ratio * np.log(c / (np.log(looks) / math.log(p)) ** p) / 3
    spread = variance * (t - 1) / t * np.maximum(population - t, 0) / max(population - 1, 1)
    half = np.sqrt(spread * 2 * x / t) + 3 * upper * x / t
    low = np.maximum.accumulate(np.abs(mean) - half)
    high = np.minimum.accumulate(np.abs(mean) + half)
    return _stop((low + high) / 2, (high - low) / 2, (high - low <= 2 * epsilon) & (t >= 2))


def empirical_bernstein(
    draws: Array, population: int, upper: float, epsilon: float, delta: float
) -> Stop:
    """The empirical Bernstein confidence sequence without replacement; valid at every moment.

    Source: Waudby-Smith & Ramdas, "Confidence sequences for sampling without replacement"
    (NeurIPS 2020), predictable plug-in.
    """
    x = draws / upper
    t = np.arange(1, x.shape[0] + 1, dtype=np.float64)
    before = np.concatenate(([0.0], np.cumsum(x)[:-1]))
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    last = np.concatenate(([0.5], mean[:-1]))
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    known = np.concatenate(([0.25], variance[:-1]))
    bet = np.minimum(np.sqrt(2 * math.log(2 / delta) / (known * t * np.log(t + 1))), 0.5)
    price = (-np.log1p(-bet) - bet) * (x - last) ** 2
    left = population - t + 1
    weight = np.cumsum(bet * (1 + (t - 1) / left))
    centre = np.cumsum(bet * (x + before / left)) / weight
    half = (math.log(2 / delta) + np.cumsum(price)) / weight
    low = np.maximum.accumulate(np.clip(centre - half, 0, 1))
    high = np.minimum.accumulate(np.clip(centre + half, 0, 1))
    middle, width = (low + high) / 2 * upper, (high - low) / 2 * upper
    return _stop(middle, width, width <= epsilon)


def stratified(
    values: Array, strata: int, upper: float, delta: float, seed: int
) -> tuple[float, float]:
    """One random frame per interval of equal length: the estimate and its half width.

    The values come in time order; each is predicted by the one before it, and the empirical
    Bernstein bound for changing conditional means covers their average at this one pass (Howard,
    Ramdas, McAuliffe & Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences",
    Annals of Statistics 2021, theorem 4; its gamma-exponential mixture is replaced by the best of
    32 fixed bets that share delta, which is never far from it at one fixed time).
    """
    rng = np.random.default_rng(seed)
    edges: Array = np.arange(strata + 1) * (values.shape[0] / strata)
    starts, ends = np.floor(edges[:-1]).astype(np.int64), np.floor(edges[1:]).astype(np.int64)
    x = values[rng.integers(starts, np.maximum(ends, starts + 1))] / upper
    guess = np.concatenate(([0.5], x[:-1]))
    spread = float(((x - guess) ** 2).sum())
    bets = np.geomspace(1e-3, 0.9, 32)
    price = (math.log(2 * bets.shape[0] / delta) + (-np.log1p(-bets) - bets) * spread) / bets
    return float(x.mean()) * upper, float(price.min()) / strata * upper
