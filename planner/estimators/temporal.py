"""Values at some frames in, a prediction for every frame out: neighbours in time are alike.

The best linear prediction under exponentially decaying correlation (an Ornstein-Uhlenbeck process
seen with noise) from the nearest observed frame on either side; far from both it falls back to
the mean. The decay is chosen by leaving each observed frame out in turn. No pixels are needed.

Used as a control variate the prediction may be as wrong as it likes: that costs samples, never
validity, as long as it is fixed before the frames that it predicts are drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from foveal.planner.estimators.targets import Frames, Mask, Values

DECAYS = 10
"""Correlation times tried, evenly on a log scale."""
SMOOTH = (1.0, 0.85)
"""Correlations at distance 0 tried: below 1 when the detector flickers."""
ROUND_BELOW = 0.2
"""Residual variance below which predictions are rounded: whole residuals bound their variance."""


@dataclass(frozen=True, slots=True)
class TemporalFit:
    """How frames depend on their neighbours.

    Attributes:
        decay: correlation time in frames.
        smooth: correlation at distance 0.
        mean: of the observed values.
        rounded: predict whole numbers.
        variance: of value - prediction, by leaving out each observed frame.
        bias: mean of the same.
        plain: variance of the values themselves.
    """

    decay: float
    smooth: float
    mean: float
    rounded: bool
    variance: float
    bias: float
    plain: float


def fit(
    frames: Frames, values: Values, breaks: Frames, random: Mask, *, integer: bool
) -> TemporalFit | None:
    """Return the best fit, or None with fewer than 8 frames drawn at random.

    Args:
        frames: int64 [n], ascending: where values were observed.
        values: float64 [n].
        breaks: int64, ascending: first frames of the videos; nothing is predicted across one.
        random: bool [n]: drawn at random. Only these are left out to judge a fit: how far they are
            from others is how far the frames not drawn yet are; cached frames may be crowded.
        integer: the values are whole numbers.
    """
    judged = np.flatnonzero(random)
    size = judged.shape[0]
    if size < 8:
        return None
    mean = float(values[judged].mean())
    apart = values - mean
    plain = float(apart[judged] @ apart[judged]) / (size - 1)
    video = np.searchsorted(breaks, frames, side="right")
    last = frames.shape[0] - 1
    before, after = np.maximum(judged - 1, 0), np.minimum(judged + 1, last)
    told_left = (judged > 0) & (video[before] == video[judged])
    told_right = (judged < last) & (video[after] == video[judged])
    left = np.where(told_left, apart[before], 0.0)
    right = np.where(told_right, apart[after], 0.0)
    to_left = np.where(told_left, frames[judged] - frames[before], np.inf)
    to_right = np.where(told_right, frames[after] - frames[judged], np.inf)
    steps = np.minimum(to_left, to_right)
    if not np.isfinite(steps).any():
        return None
    typical = 2 * float(np.median(steps[np.isfinite(steps)]))
    apart, values = apart[judged], values[judged]
    best = TemporalFit(1.0, 0.0, mean, False, math.inf, 0.0, plain)
    chosen = apart
    for decay in np.geomspace(max(typical / 4, 0.5), 40 * typical, DECAYS).tolist():
        near_left, near_right = np.exp(-to_left / decay), np.exp(-to_right / decay)
        between = near_left * near_right
        for smooth in SMOOTH:
            c = smooth * between
            scale = smooth / (1 - c * c)
            guess = scale * (near_left * (left - c * right) + near_right * (right - c * left))
            residual = apart - guess
            variance = float(residual @ residual) / size
            if variance < best.variance:
                best = TemporalFit(
                    decay, smooth, mean, False, variance, float(residual.mean()), plain
                )
                chosen = guess
    if integer:
        whole = values - np.rint(chosen + mean)
        bias = float(whole.mean())
        variance = float(whole @ whole) / size - bias * bias
        if variance <= max(1.02 * best.variance, ROUND_BELOW):
            return TemporalFit(best.decay, best.smooth, mean, True, variance, bias, plain)
    return best


def predict(
    model: TemporalFit, frames: Frames, values: Values, breaks: Frames, at: Frames
) -> Values:
    """Return the prediction, float64 [at], for the frames `at` (int64, ascending).

    The other arguments as in `fit`.
    """
    # Between neighbouring marks (observed frames and breaks) the prediction is a sum of two
    # exponentials; a break is a mark that says nothing.
    cuts = breaks[~np.isin(breaks, frames)]
    fresh = np.isin(frames, breaks)  # an observed first frame says nothing to the left
    marks = np.concatenate((frames, cuts))
    told = np.concatenate((values - model.mean, np.zeros(cuts.shape[0])))
    speaks_right = np.concatenate((np.ones(frames.shape[0], np.bool_), np.zeros(cuts.shape, bool)))
    speaks_left = np.concatenate((~fresh, np.zeros(cuts.shape[0], np.bool_)))
    order = np.argsort(marks, kind="stable")
    marks, told = marks[order], told[order]
    speaks_right, speaks_left = speaks_right[order], speaks_left[order]
    # Gap k lies between marks k - 1 and k; the first has no left end, the last no right one.
    from_left = np.concatenate(([0.0], np.where(speaks_right, told, 0.0)))
    from_right = np.concatenate((np.where(speaks_left, told, 0.0), [0.0]))
    ends_left = np.concatenate((marks[:1], marks))
    ends_right = np.concatenate((marks, marks[-1:]))
    both = np.concatenate(([False], speaks_right[:-1] & speaks_left[1:], [False]))
    gap = (ends_right - ends_left).astype(np.float64)
    c = np.where(both, model.smooth * np.exp(-gap / model.decay), 0.0)
    scale = model.smooth / (1 - c * c)
    alpha = scale * (from_left - c * from_right)
    beta = scale * (from_right - c * from_left)
    starts = np.searchsorted(at, marks)
    lengths = np.diff(np.concatenate(([0], starts, [at.shape[0]])))
    rate = -1.0 / model.decay
    out = np.exp(np.abs(at - np.repeat(ends_left, lengths)) * rate)
    out *= np.repeat(alpha, lengths)
    other = np.exp(np.abs(np.repeat(ends_right, lengths) - at) * rate)
    other *= np.repeat(beta, lengths)
    out += other
    out += model.mean
    return np.rint(out, out=out) if model.rounded else out
