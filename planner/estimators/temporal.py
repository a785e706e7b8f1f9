"""Values at some frames in, a prediction for every frame out: neighbours in time are alike.

The best linear prediction under exponentially decaying correlation (an Ornstein-Uhlenbeck process
seen with noise) from the nearest observed frame on either side; far from both it falls back to
the mean. The decay is chosen by leaving each observed frame out in turn. No pixels are needed.

Where a proxy's scores are at hand, coefficient * score is added and what is left is interpolated.

Used as a control variate the prediction may be as wrong as it likes: that costs samples, never
validity, as long as it is fixed before the frames that it predicts are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from foveal.planner.estimators.targets import Frames, Mask, Values

DECAYS = 10
"""Correlation times tried, evenly on a log scale."""
SMOOTH = (1.0, 0.85)
"""Correlations at distance 0 tried: below 1 when the detector flickers."""
MOST_COEFFICIENT = 1.5
"""A proxy's scores are in the unit of the values: more is trusted to none."""
ROUND_BELOW = 0.2
"""Residual variance below which predictions are rounded: whole residuals bound their variance."""


@dataclass(frozen=True, slots=True)
class TemporalFit:
    """How frames depend on their neighbours, and on a proxy's scores.

    Attributes:
        decay: correlation time in frames.
        smooth: correlation at distance 0; 0 where neighbours say nothing.
        mean: of the observed values, less coefficient * score.
        rounded: predict whole numbers.
        variance: of value - prediction, by leaving out each observed frame.
        bias: mean of the same.
        plain: variance of the values themselves.
        coefficient: what scores are multiplied with, in [0, 1.5].
        left_out: float64 [judged frames]: each one's prediction without it.
    """

    decay: float
    smooth: float
    mean: float
    rounded: bool
    variance: float
    bias: float
    plain: float
    coefficient: float = 0.0
    left_out: Values = field(default_factory=lambda: np.zeros(0), compare=False, repr=False)


def fit(
    frames: Frames,
    values: Values,
    breaks: Frames,
    random: Mask,
    *,
    integer: bool,
    scores: Values | None = None,
    temporal: bool = True,
) -> TemporalFit | None:
    """Return the best fit, or None with fewer than 8 frames drawn at random.

    Args:
        frames: int64 [n], ascending: where values were observed.
        values: float64 [n].
        breaks: int64, ascending: first frames of the videos; nothing is predicted across one.
        random: bool [n]: drawn at random. Only these are left out to judge a fit: how far they are
            from others is how far the frames not drawn yet are; cached frames may be crowded.
        integer: the values are whole numbers.
        scores: float64 [n]: a proxy's, each made without the value of its frame.
        temporal: try neighbours in time; False is for scores alone.
    """
    judged = np.flatnonzero(random)
    size = judged.shape[0]
    if size < 8:
        return None
    mean = float(values[judged].mean())
    near = _Neighbours(frames, breaks, judged)
    apart = values - mean
    plain = float(apart[judged] @ apart[judged]) / (size - 1)
    level, apart_scores = 0.0, None
    if scores is not None:
        level = float(scores[judged].mean())
        apart_scores = scores - level
    steps = np.minimum(near.to_left, near.to_right)
    known = np.isfinite(steps)
    tried: list[tuple[float, float]] = [(1.0, 0.0)] if scores is not None else []
    if temporal and known.any():
        typical = 2 * float(np.median(steps[known]))
        decays = np.geomspace(max(typical / 4, 0.5), 40 * typical, DECAYS).tolist()
        tried += [(decay, smooth) for decay in decays for smooth in SMOOTH]
    told = values[judged]
    best: TemporalFit | None = None
    for decay, smooth in tried:
        residual = apart[judged] - near.guess(apart, decay, smooth)
        coefficient = 0.0
        if apart_scores is not None:
            # The prediction is linear in what it is made from: scores are predicted as values are,
            # and the best coefficient is that of regressing what is left on what is left.
            own = apart_scores[judged] - near.guess(apart_scores, decay, smooth)
            power = float(own @ own)
            if power > 0:
                coefficient = min(max(float(own @ residual) / power, 0.0), MOST_COEFFICIENT)
            if coefficient > 0:
                # Each frame is left out of the regression too.
                leverage = np.minimum(own * own / power, 0.9)
                residual = (residual - coefficient * own) / (1 - leverage)
        variance = float(residual @ residual) / size
        if best is None or variance < best.variance:
            best = TemporalFit(
                decay,
                smooth,
                mean - coefficient * level,
                False,
                variance,
                float(residual.mean()),
                plain,
                coefficient,
                told - residual,
            )
    if best is not None and integer:
        whole = np.rint(best.left_out)
        bias, variance = spread_of(told - whole)
        if variance <= max(1.02 * best.variance, ROUND_BELOW):
            best = replace(best, rounded=True, variance=variance, bias=bias, left_out=whole)
    return best


def spread_of(residual: Values) -> tuple[float, float]:
    """Return the mean of float64 [n] and its variance around it."""
    bias = float(residual.mean())
    return bias, max(float(residual @ residual) / residual.shape[0] - bias * bias, 0.0)


class _Neighbours:
    """The nearest observed frames on either side of each judged one."""

    def __init__(self, frames: Frames, breaks: Frames, judged: Frames) -> None:
        video = np.searchsorted(breaks, frames, side="right")
        last = frames.shape[0] - 1
        self.before: Frames = np.maximum(judged - 1, 0)
        self.after: Frames = np.minimum(judged + 1, last)
        self.told_left = (judged > 0) & (video[self.before] == video[judged])
        self.told_right = (judged < last) & (video[self.after] == video[judged])
        self.to_left: Values = np.where(
            self.told_left, frames[judged] - frames[self.before], np.inf
        )
        self.to_right: Values = np.where(
            self.told_right, frames[self.after] - frames[judged], np.inf
        )

    def guess(self, apart: Values, decay: float, smooth: float) -> Values:
        """Return what the neighbours' distances from the mean say of the judged frames'."""
        if smooth == 0:
            return np.zeros_like(self.to_left)
        near_left: Values = np.exp(-self.to_left / decay)
        near_right: Values = np.exp(-self.to_right / decay)
        left: Values = np.where(self.told_left, apart[self.before], 0.0)
        right: Values = np.where(self.told_right, apart[self.after], 0.0)
        c: Values = smooth * near_left * near_right
        scale: Values = smooth / (1 - c * c)
        return scale * (near_left * (left - c * right) + near_right * (right - c * left))


def predict(
    model: TemporalFit,
    frames: Frames,
    values: Values,
    breaks: Frames,
    at: Frames,
    scores: Values | None = None,
    scores_at: Values | None = None,
) -> Values:
    """Return the prediction, float64 [at], for the frames `at` (int64, ascending).

    `scores_at`: float64 [at], with `scores`. The other arguments as in `fit`.
    """
    if scores is not None and scores_at is not None and model.coefficient:
        out = _from_neighbours(model, frames, values - model.coefficient * scores, breaks, at)
        out += model.coefficient * scores_at
    else:
        out = _from_neighbours(model, frames, values, breaks, at)
    return np.rint(out, out=out) if model.rounded else out


def _from_neighbours(
    model: TemporalFit, frames: Frames, values: Values, breaks: Frames, at: Frames
) -> Values:
    if model.smooth == 0 or not frames.shape[0]:
        return np.zeros(at.shape[0]) + model.mean
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
    return out
