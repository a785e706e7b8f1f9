"""A window of a stream under a fixed number of detector calls: what to aim at, what to answer.

The interval is that of a uniform sample without replacement (`deadline`), valid for the frames of
the window whatever is said here. Two things are chosen here, and cost at most width: the half
width that the bets aim at, and the point within the interval that is given as the estimate.
"""

from __future__ import annotations

import math

import numpy as np

from foveal.planner.estimators.cells import forecast_end
from foveal.planner.estimators.targets import Frames, Values

EAGER = 0.85
"""Share of the forecast half width to aim at. Measured on nine series of counts at 30 and 60 calls
for 200 to 250 frames: between 0.7 and 1 the intervals are narrowest, below they fall apart."""
LEAST_GAIN = 8
"""What a hopeless budget aims at: a half width of this part of the range, so that it is spent."""
DEVIATION = 1.0
"""Assumed standard deviation of counts within a window."""


def aim(population: int, calls: int, range_: float, delta: float) -> float:
    """Return the half width of an interval that `calls` samples of `population` can reach.

    Bets that aim at more than their samples can show end with nothing: aimed at exactness, 30
    samples of 250 frames leave 17.6 of a range of 20, aimed at this 2.5.
    """
    if calls <= 0 or calls >= population or range_ <= 0:
        return 0.0
    end = calls / (1 - calls / population)  # samples of an endless population worth as much
    low, high = range_ * 1e-4, range_
    for _ in range(40):
        middle = math.sqrt(low * high)
        if forecast_end(DEVIATION**2, range_, middle, delta) > end:
            low = middle
        else:
            high = middle
    return min(EAGER * high, range_ / LEAST_GAIN)


def interpolated_mean(places: Frames, values: Values, population: int) -> float:
    """Return the mean of `population` values in time order of which those at `places` are known.

    Frames in between are interpolated, which for counts in video is two to five times as near as
    the sample's mean (see benches/streams.py). How wrong interpolation is shows by leaving each
    known value out in turn; the mean of these errors is added, so that no trend of it stays.

    Args:
        places: int64 [n], ascending, in 0..population-1, at least one.
        values: float64 [n].
        population: frames of the window.
    """
    count = places.shape[0]
    every = np.arange(population, dtype=np.float64)
    mean = float(np.interp(every, places, values).mean())
    if count < 3 or count == population:
        return mean
    # Each one left out: an inner place is interpolated between its neighbours, an end repeats.
    left, right = places[:-2].astype(np.float64), places[2:].astype(np.float64)
    share = (places[1:-1] - left) / (right - left)
    inner = values[1:-1] - (values[:-2] * (1 - share) + values[2:] * share)
    ends = (values[0] - values[1]) + (values[-1] - values[-2])
    error = (float(inner.sum()) + float(ends)) / count
    return mean + (1 - count / population) * error
