"""What is known before sampling in, the expected number of detector calls out: EXPLAIN's cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from foveal.planner.estimators.asymptotic import FEWEST, FINAL
from foveal.planner.estimators.cells import forecast_end, normal_quantile
from foveal.planner.estimators.deadline import PRIOR_COUNT, SIDES

LIKE = 60.0
"""Frames over which counts are assumed to stay alike, when predicting frames from neighbours.

Worked back from the calls that prediction saved on three recorded cameras: 20 to 144.
"""
PRIOR_MEAN = 1.0
"""Assumed mean of counts when nothing is known; where it matters is how far it is from upper."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected cost of reaching a target.

    Attributes:
        calls: frames to observe (detector calls), beside the known ones.
        passes: decoding passes they come in, on video that is dear to seek in.
    """

    calls: float
    passes: float


def forecast(
    *,
    population: int,
    known: int,
    upper: float,
    epsilon: float | None,
    deviation: float,
    delta: float,
    guarantee: str = "finite",
    temporal: bool = False,
    mean: float | None = None,
    r2: float = 0.0,
    r2_time: float = 0.0,
) -> Forecast:
    """Return the expected cost of one mean over `population` frames.

    What a proxy's scores cost to get is not in it: stored ones are free, and the price of
    thumbnails and training is the caller's to add.

    Args:
        population: frames of the group.
        known: those of them whose values are known.
        upper: range of the values.
        epsilon: half width wanted, in the values' unit; None or 0 is the exact answer.
        deviation: guess of the values' standard deviation.
        delta: allowed probability of a miss, of this one target.
        guarantee: exact, finite or asymptotic.
        temporal: frames are predicted from their neighbours in time.
        mean: guess of the mean.
        r2: share of the variance that a proxy's scores explain, on frames it did not learn from;
            0 without a proxy.
        r2_time: share that the known frames explain of the others, as their neighbours in time.
            With a proxy as well the better of the two counts, for both tell much the same.
    """
    left = max(population - known, 0)
    if not left:
        return Forecast(0.0, 1.0)
    if not epsilon or guarantee == "exact" or upper <= 0:
        return Forecast(float(left), 1.0)
    aim = epsilon * population / left
    variance = min(deviation, upper / 2) ** 2
    level = min(PRIOR_MEAN if mean is None else mean, upper / 2)
    if guarantee == "asymptotic":
        bulk = (1.05 * normal_quantile(FINAL * delta) / aim) ** 2 * variance * (1 - r2)
        least = max(upper / aim, float(FEWEST))
        calls = _drawn(max(bulk, least), left)
        if temporal:
            calls = max(_likened(calls, left), _drawn(least, left))
    else:
        calls = _drawn(forecast_end(variance, upper - level, aim, delta), left)
        ways = [(r2, False)]
        if temporal:
            ways.append((r2_time, True))
        for share, through_time in ways:
            if share > 0 or through_time:
                calls = min(calls, _predicted(variance, share, level, upper, aim, delta, left,
                                              calls if through_time else None))  # fmt: skip
    return Forecast(float(min(math.ceil(calls), left)), 2.0 if calls < 0.5 * left else 1.0)


def _drawn(end: float, left: int) -> float:
    """Return the draws without replacement that are worth `end` of an endless population."""
    return end / (1 + end / left)


def _predicted(
    variance: float,
    share: float,
    level: float,
    upper: float,
    aim: float,
    delta: float,
    left: int,
    plain: float | None,
) -> float:
    """Return the draws needed once `share` of the variance is predicted.

    `plain`: those without predictions, where the draws themselves will predict each other.
    """
    # Predictions are cut about so high; see `FramePrediction` for why.
    reach = SIDES * (upper + min(level + 2 * math.sqrt(share * variance), upper))
    least = forecast_end(0.0, reach, aim, delta)
    # The bets do not trust a small variance at once.
    doubt = PRIOR_COUNT * upper * upper / 4 / (PRIOR_COUNT + least)
    calls = _drawn(forecast_end((1 - share) * variance + doubt, reach, aim, delta), left)
    if plain is None:
        return calls
    calls = min(plain, calls)
    return min(max(_likened(calls, left), _drawn(least, left)), calls)


def _likened(calls: float, left: int) -> float:
    """Return the draws needed instead of `calls` where they predict each other.

    Each observed frame makes its neighbours' residuals smaller: with likeness c = LIKE / N the n-th
    sample is worth 1 + 2 c n plain ones, and n + c n^2 = calls.
    """
    likeness = LIKE / left
    return (math.sqrt(1 + 4 * likeness * calls) - 1) / (2 * likeness)
