"""What is known before sampling in, the expected number of detector calls out: EXPLAIN's cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from foveal.planner.estimators.cells import forecast_end, normal_quantile

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
) -> Forecast:
    """Return the expected cost of one mean over `population` frames.

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
    """
    left = max(population - known, 0)
    if not left:
        return Forecast(0.0, 1.0)
    if not epsilon or guarantee == "exact" or upper <= 0:
        return Forecast(float(left), 1.0)
    aim = epsilon * population / left
    variance = min(deviation, upper / 2) ** 2
    least = 0.0
    if guarantee == "asymptotic":
        bulk = (1.15 * normal_quantile(delta / 2) / aim) ** 2 * variance
        end = max(bulk, upper / aim, 30.0)
    else:
        level = min(PRIOR_MEAN if mean is None else mean, upper / 2)
        end = forecast_end(variance, upper - level, aim, delta)
        least = forecast_end(0.0, upper - level, aim, delta)
    calls = end / (1 + end / left)
    if temporal and guarantee == "finite":
        # Each observed frame makes its neighbours' residuals smaller: with likeness c = LIKE / N
        # the n-th sample is worth 1 + 2 c n plain ones, and n + c n^2 = calls.
        likeness = LIKE / left
        fewer = (math.sqrt(1 + 4 * likeness * calls) - 1) / (2 * likeness)
        calls = min(max(fewer, least / (1 + least / left)), calls)
    return Forecast(float(min(math.ceil(calls), left)), 2.0 if calls < 0.5 * left else 1.0)
