"""What labelled frames say of those around them: an Ornstein-Uhlenbeck bridge between labels.

Counts of objects change over seconds, not from frame to frame. Between two labelled frames the
best guess lies between their values and is the less sure the farther they are; next to a frame that
just missed the condition one that satisfies it is likely.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

FLICKER = 0.3
"""Least standard deviation of a count next to a label: detectors flicker from frame to frame."""


def bridge(
    videos: Ints, places: Floats, labelled: Ints, residuals: Floats, time: float
) -> tuple[Floats, Floats]:
    """Return (mean, relative variance) of a residual at every place, given it at some.

    `residuals` float64 [labelled]; `time`: the distance over which correlation falls to 1/e.
    Variance 1 is that of a place far from every label, 0 that of a label.
    """
    size = len(places)
    if not len(labelled):
        return np.zeros(size), np.ones(size)
    left = np.searchsorted(labelled, np.arange(size), side="right") - 1
    right = np.searchsorted(labelled, np.arange(size), side="left")

    def side(owner: Ints) -> tuple[Floats, Floats]:
        held = np.clip(owner, 0, len(labelled) - 1)
        at = labelled[held]
        same = (owner >= 0) & (owner < len(labelled)) & (videos[at] == videos)
        likeness = np.where(same, np.exp(-np.abs(places - places[at]) / max(time, 1e-9)), 0.0)
        return likeness, residuals[held]

    a, before = side(left)
    b, after = side(right)
    both = np.maximum(1 - (a * b) ** 2, 1e-12)
    mean = (a * (1 - b * b) * before + b * (1 - a * a) * after) / both
    mean = np.where(a >= 1, before, mean)
    variance = np.where(a >= 1, 0.0, (1 - a * a) * (1 - b * b) / both)
    return mean, variance


def correlation_time(
    videos: Ints, places: Floats, labelled: Ints, residuals: Floats, prior: float
) -> float:
    """Return the time constant under which neighbouring labels are likeliest, near `prior`.

    Tried are powers of two from a quarter of `prior` to eight times it.
    """
    if len(labelled) < 8:
        return prior
    spread = float(residuals.std())
    if spread <= 0:
        return prior
    same = videos[labelled[1:]] == videos[labelled[:-1]]
    steps = np.diff(places[labelled])[same]
    from_, to = residuals[:-1][same] / spread, residuals[1:][same] / spread
    noise = min((FLICKER / spread) ** 2, 0.5)
    best, best_fit = prior, -np.inf
    for factor in (0.25, 0.5, 1.0, 2.0, 4.0, 8.0):
        rho = np.exp(-steps / (prior * factor)) * (1 - noise)
        variance = 1 - rho * rho
        fit = float(-0.5 * (np.log(variance) + (to - rho * from_) ** 2 / variance).sum())
        fit -= 0.5 * np.log2(factor) ** 2
        if fit > best_fit:
            best, best_fit = prior * factor, fit
    return best


def exceeds(mean: Floats, deviation: Floats, least: float) -> Floats:
    """Return the probability of a normal value to be at least `least`.

    The logistic function of 1.702 z stands for the normal one: within 0.01 of it, and fast.
    """
    z = (mean - least) / np.maximum(deviation, 1e-9)
    return 1 / (1 + np.exp(-np.clip(1.702 * z, -60, 60)))
