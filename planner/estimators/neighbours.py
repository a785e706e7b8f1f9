"""Labels of frames nearby in time, with a proxy's score where there is one → one score per frame.

Frames resemble their neighbours, so a frame between two labelled ones is nearly known, and no
pixel was looked at. A logistic regression weighs that against the proxy's score. Labelled frames
are described as if their own label were not known, so that all frames can be compared.

Tuning only, as everything in `belief`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foveal.planner.estimators.belief import Array, Belief, Mask, isotonic
from foveal.planner.estimators.targets import Frames

DECAYS = (2.0, 6.0, 18.0, 54.0, 160.0, 480.0, 1440.0)
"""Distances in frames over which a label loses most of its say, to choose from."""
PULL = 0.05
"""Weight of the overall share of true frames beside the neighbours' labels."""
RIDGE = 1.0
"""Penalty on the regression's coefficients."""
FIT = 4000
"""Labelled frames that the regression is fitted to, at most, spread evenly."""


def by_neighbours(
    frames: Frames,
    breaks: Frames,
    scores: Array | None = None,
    *,
    empty: Mask | None = None,
    leaders: Frames | None = None,
) -> Belief:
    """Return the belief that joins labels in time, and what else is known of each frame.

    Args:
        frames: places in the table's order, ascending, int64 [N].
        breaks: first places of the videos; nothing is joined across one.
        scores: of a proxy, float64 [N].
        empty: frames that look like the empty scene: a difference detector rejects them.
        leaders: int64 [N], the frame that a frame looks the same as (itself for none): it inherits
            that one's decision, by its label or else by its score.
    """
    video = np.searchsorted(breaks, frames, side="right")
    columns = [_standard(scores)] if scores is not None else []
    if empty is not None:
        columns.append(empty.astype(np.float64))
    own = np.arange(frames.shape[0], dtype=np.int64)
    follows = leaders if leaders is not None and bool((leaders != own).any()) else None
    if follows is not None and scores is not None:
        columns[0] = columns[0][follows]
    fixed = np.stack(columns, axis=1) if columns else None

    def belief(labelled: Mask, labels: Mask) -> Array:
        known = np.flatnonzero(labelled)
        if known.shape[0] < 8 or labels[known].all() or not labels[known].any():
            plain = scores if scores is not None else np.zeros(frames.shape[0])
            return isotonic(plain, labelled, labels)
        sides = [_nearest(frames, video, labelled, step) for step in (-1, 1)]
        fit = known[np.linspace(0, known.shape[0] - 1, min(FIT, known.shape[0])).astype(np.int64)]
        extra = fixed
        if follows is not None:
            told = labelled[follows] & (follows != own)
            said = np.where(told, np.where(labels[follows], 1.0, -1.0), 0.0)[:, None]
            extra = said if fixed is None else np.concatenate([fixed, said], axis=1)
        best: tuple[float, Array] | None = None
        for decay in DECAYS:
            inputs = _inputs(sides, labels, float(labels[known].mean()), decay, extra)
            weights, loss = _fit(inputs[fit], labels[fit])
            if best is None or loss < best[0]:
                best = (loss, inputs @ weights)
        assert best is not None
        return isotonic(best[1], labelled, labels)

    return belief


def _nearest(frames: Frames, video: Frames, labelled: Mask, step: int) -> tuple[Frames, Array]:
    """Return each frame's nearest other labelled one before (-1) or after (1), and how far off."""
    count = frames.shape[0]
    marks = np.where(labelled, np.arange(count, dtype=np.int64), -1 if step < 0 else count)
    if step < 0:
        near = np.maximum.accumulate(marks)
        near = np.concatenate([[-1], near[:-1]])
    else:
        near = np.minimum.accumulate(marks[::-1])[::-1]
        near = np.concatenate([near[1:], [count]])
    inside = (near >= 0) & (near < count)
    place = np.clip(near, 0, count - 1)
    inside &= video[place] == video
    far = np.where(inside, np.abs(frames - frames[place]), np.inf).astype(np.float64)
    return place, far


def _inputs(
    sides: list[tuple[Frames, Array]], labels: Mask, share: float, decay: float, extra: Array | None
) -> Array:
    """Return the regression's inputs, float64 [N, 2 + k]: one, labels joined in time, extras."""
    weight = np.zeros(labels.shape[0]) + PULL
    total = weight * share
    for place, far in sides:
        say = np.exp(-far / decay)
        weight = weight + say
        total = total + say * labels[place]
    joined = np.clip(total / weight, 1e-4, 1 - 1e-4)
    odds: Array = np.log(joined / (1 - joined))
    width = 2 + (extra.shape[1] if extra is not None else 0)
    inputs = np.ones((labels.shape[0], width), np.float64)
    inputs[:, 1] = odds
    if extra is not None:
        inputs[:, 2:] = extra
    return np.asarray(inputs, np.float64)


def _standard(scores: Array) -> Array:
    spread = float(scores.std()) or 1.0
    return (scores - float(scores.mean())) / spread


def _fit(inputs: Array, labels: npt.NDArray[np.bool_]) -> tuple[Array, float]:
    """Return logistic regression's coefficients and its penalised loss, by Newton's steps."""
    width = inputs.shape[1]
    weights = np.zeros(width)
    penalty = RIDGE * np.eye(width)
    penalty[0, 0] = 1e-3
    target = labels.astype(np.float64)
    for _ in range(12):
        margin = np.clip(inputs @ weights, -30, 30)
        chance = 1 / (1 + np.exp(-margin))
        slope = inputs.T @ (chance - target) + penalty @ weights
        curve = (inputs * (chance * (1 - chance) + 1e-6)[:, None]).T @ inputs + penalty
        step = np.linalg.solve(curve, slope)
        weights = weights - step
        if float(np.abs(step).max()) < 1e-6:
            break
    margin = np.clip(inputs @ weights, -30, 30)
    loss = float(np.logaddexp(0, margin).sum() - margin[labels].sum())
    return weights, loss + 0.5 * float(weights @ penalty @ weights)
