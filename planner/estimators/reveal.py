"""A proxy's scores in, the frames worth looking at for themselves out: a take-all stratum.

Of rare events most lie among the few frames that score highest. Looking at all of those costs a few
calls and leaves a population in which hardly anything happens, and whose mean is soon known.

Valid at any moment of a sampling run, for which frames to look at follows from scores and past
draws: under "the mean of all is m" the sum of the frames left is known, whoever looked at the
others, and the next draw is uniform among those left. Nothing is bet on the frames looked at.

Source: take-all strata, Saerndal, Swensson & Wretman, "Model Assisted Survey Sampling" (1992),
section 3.7; that the martingale stays one under a predictable removal is derived here.
"""

from __future__ import annotations

import numpy as np

from foveal.planner.estimators.cells import forecast_end
from foveal.planner.estimators.deadline import PILOT, SIDES, DeadlineBetting
from foveal.planner.estimators.targets import Frames, Values

SHARE = 0.15
"""At most this part of the samples forecast is spent on it: what it may cost in vain."""
WORTH = 0.85
"""With it, less than this part of the samples must be forecast."""
HIDDEN = 0.33
"""Share of the variance that is taken to lie among frames with low scores."""
STEPS = 400
"""Numbers of frames that are tried, on a log scale where there are more."""


def worth_revealing(
    estimator: DeadlineBetting, scores: Values, left: Frames
) -> tuple[Frames, float]:
    """Return which frames to look at (int64, ascending), and how many samples that should save.

    Args:
        estimator: of whole numbers.
        scores: float64 [n]: expected values, less the lower bound.
        left: int64: those of the n frames that are not drawn yet.
    """
    none = left[:0], 0.0
    known = estimator.samples >= PILOT
    if estimator.relative and not known:
        return none  # nothing is known of how small the error must be
    range_ = estimator.upper - estimator.lower
    expected: Values = np.clip(scores[left], 0.0, range_)
    order = np.argsort(-expected, kind="stable")
    expected = expected[order]
    if expected.shape[0] < 2 or expected[0] <= expected[-1]:
        return none
    # Of what is left after the k highest: variances of whole numbers given their scores, and of
    # what the scores expect.
    whole = np.floor(expected)
    within = _rest_means((expected - whole) * (1 - expected + whole))
    mean = _rest_means(expected)
    between: Values = np.maximum(_rest_means(expected * expected) - mean * mean, 0.0)
    hidden = HIDDEN * float(within[0] + between[0])

    def need(k: int) -> float:
        """Return the samples forecast once the k highest are known, with or without scores."""
        high, noise = float(expected[k]), float(within[k]) + hidden
        plain = forecast_end(
            noise + float(between[k]), SIDES * range_, estimator.aim, estimator.delta
        )
        scored = forecast_end(noise, SIDES * (range_ + high), estimator.aim, estimator.delta)
        return float(estimator.still(min(plain, scored)))

    before = min(need(0), float(estimator.remaining())) if known else need(0)
    most = int(min(SHARE * before, expected.shape[0] // 4))
    if most < 1:
        return none
    tried = np.unique(np.geomspace(1, most, STEPS).astype(np.int64)).tolist()
    after, best = min((k + need(k), k) for k in tried)
    if after > WORTH * before:
        return none
    return np.sort(left[order[:best]]), before - after


def _rest_means(values: Values) -> Values:
    """Return at k the mean of float64 [n] from place k on."""
    sums: Values = np.cumsum(values[::-1])[::-1]
    return sums / np.arange(len(values), 0, -1)
