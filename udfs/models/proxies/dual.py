"""Kernel ridge regression in its dual form, with errors on left-out blocks in closed form.

Leaving a block B of labels out changes the residuals to ``inv(G[B, B]) @ alpha[B]``, where G is the
inverse of the regularised kernel matrix (with its border for the intercept) and alpha its
solution: no refitting. Source: Cawley and Talbot, "Fast exact leave-one-out cross-validation of
sparse least-squares support vector machines", Neural Networks 17, 2004; An, Liu, Venkatesh, "Fast
cross-validation algorithms for least squares support vector machine", Pattern Recognition 40, 2007.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from foveal.udfs.models.proxies.family import Problem
from foveal.udfs.models.proxies.folds import Fold, Nearness, gap_folds, single_folds
from foveal.udfs.models.proxies.scene import Doubles, Positions

RIDGES = (0.03, 0.1, 0.3, 1.0)
"""Strengths tried, in units of the kernel's mean diagonal."""
TUNING_LABELS = 400
"""Labels, spread, that width and strength are chosen on: choosing costs their number cubed."""

TUNED_NEAR = 0.8
"""Most weight of nearby labels in choosing: they hardly tell settings apart, and a model should
hold when the scene has moved on."""


@dataclass(frozen=True, slots=True, eq=False)
class Dual:
    """A fit: score = kernel(frame, labels) @ alpha + intercept. `near`, `far` as in `Trained`."""

    alpha: Doubles
    intercept: float
    choice: int
    near: Doubles
    far: Doubles


def solve(kernel: Doubles, problem: Problem, strength: float) -> tuple[Doubles, Doubles, float]:
    """Return (G float64 [n, n], alpha [n], intercept) of one kernel matrix."""
    n = len(kernel)
    bordered = np.empty((n + 1, n + 1))
    scale = max(float(np.trace(kernel)) / n, 1e-12)
    bordered[:n, :n] = kernel
    bordered[np.arange(n), np.arange(n)] += scale * strength
    bordered[n, :] = 1.0
    bordered[:, n] = 1.0
    bordered[n, n] = 0.0
    inverse: Doubles = np.asarray(np.linalg.inv(bordered), np.float64)
    solution = inverse[:, :n] @ problem.values
    return inverse[:n, :n], solution[:n], float(solution[n])


def left_out(inverse: Doubles, alpha: Doubles, folds: Sequence[Fold]) -> Doubles:
    """Return the residual of each judged label by the fit without its fold's hidden ones."""
    residuals = np.zeros(len(alpha))
    for fold in folds:
        hidden = fold.hidden
        if len(hidden) == 1:
            i = int(hidden[0])
            residuals[i] = alpha[i] / inverse[i, i]
            continue
        found = np.linalg.solve(inverse[np.ix_(hidden, hidden)], alpha[hidden])
        residuals[fold.judged] = found[np.searchsorted(hidden, fold.judged)]
    return residuals


def fit_dual(problem: Problem, kernels: Callable[[Positions, int], Doubles], choices: int) -> Dual:
    """Fit with the best of `choices` kernels and the best strength, by errors on left-out labels.

    `kernels(rows, choice)` gives the kernel matrix among the labels at `rows`. Each fold's scores
    come from the setting that was best on the other folds, so that choosing is judged too.
    """
    n = len(problem.values)
    rows = np.arange(n)
    if n > TUNING_LABELS:
        rows = np.unique(np.linspace(0, n - 1, TUNING_LABELS).astype(np.int64))
    small = part_of(problem, rows)
    singles = single_folds(len(rows))
    settings = [(c, s) for c in range(choices) for s in RIDGES]
    near = np.empty((len(settings), len(rows)))
    far = np.empty((len(settings), len(rows)))
    for i, (choice, strength) in enumerate(settings):
        problem.scene.cancel()
        inverse, alpha, _ = solve(kernels(rows, choice), small, strength)
        near[i] = left_out(inverse, alpha, singles)
        far[i] = left_out(inverse, alpha, small.far)
    loss = small.loss(near, far, TUNED_NEAR)
    best = int(loss.sum(axis=1).argmin())
    choice, strength = settings[best]
    inverse, alpha, intercept = solve(kernels(np.arange(n), choice), problem, strength)
    if len(rows) == n:
        chosen = np.empty(n, np.int64)
        for fold in problem.far:
            others = loss.sum(axis=1) - loss[:, fold.judged].sum(axis=1)
            chosen[fold.judged] = int(others.argmin())
        near_left, far_left = near[chosen, rows], far[chosen, rows]
    else:
        near_left = left_out(inverse, alpha, single_folds(n))
        far_left = left_out(inverse, alpha, problem.far)
    return Dual(alpha, intercept, choice, problem.values - near_left, problem.values - far_left)


def part_of(problem: Problem, rows: Positions) -> Problem:
    """Return the problem of some of the labels only, with folds of their own."""
    if len(rows) == len(problem.values):
        return problem
    times, videos = problem.times[rows], problem.videos[rows]
    return Problem(
        problem.scene,
        problem.labelled[rows],
        problem.values[rows],
        tuple(gap_folds(times, videos, problem.gap)),
        Nearness(problem.near.share, problem.near.weights[rows]),
        problem.gap,
        problem.seed,
    )
