"""Thresholds for a recall or a precision target from a fixed number of labels: published rules.

Each takes scores in [0, 1], the truth (asked only for what it draws), the target and the budget,
and returns the selected set: all at or above a threshold, and the positives that it drew.
Sources: SUPG (Kang et al., VLDB 2020), algorithms 1 to 5; BARGAIN (Zeighami et al., 2025) for
testing thresholds in a fixed sequence; Waudby-Smith & Ramdas (JRSS B, 2024) for betting.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from foveal.planner.estimators.hypergeometric import cdf

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]
Rule = Callable[[Array, Mask, float, int, float, np.random.Generator], Mask]
"""(scores, truth, target, labels, delta, random numbers) -> selected frames."""

DEFENSIVE = 0.1
STEP = 100
"""SUPG weighs a threshold every so many sampled records."""


def _draw(weights: Array, count: int, rng: np.random.Generator) -> tuple[Places, Array]:
    """Return places drawn with replacement, and 1 / (N weight) of each."""
    edges = np.cumsum(weights)
    places = rng.choice(len(weights), count, p=weights / edges[-1])
    return places, 1.0 / (len(weights) * weights[places] / edges[-1])


def root_weights(scores: Array) -> Array:
    """Return SUPG's weights: the root of the score, mixed with the uniform law."""
    root = np.sqrt(np.maximum(scores, 0.0))
    total = root.sum()
    even = np.full(len(scores), 1.0 / len(scores))
    return (1 - DEFENSIVE) * root / total + DEFENSIVE * even if total > 0 else even


def _recall_threshold(scores: Array, worth: Array, target: float) -> float:
    """Return the largest threshold above which a share `target` of the drawn positives lies."""
    order = np.argsort(-scores)
    sums = np.cumsum(worth[order])
    if sums[-1] <= 0:
        return -np.inf
    place = int((sums < min(target, 1.0) * sums[-1] - 1e-12).sum())
    return float(scores[order[min(place, len(order) - 1)]])


def _bound(values: Array, delta: float, sign: float) -> float:
    spread = float(values.std()) / np.sqrt(len(values)) * np.sqrt(2 * np.log(1 / delta))
    return float(values.mean()) + sign * spread


def naive_recall(
    scores: Array, truth: Mask, target: float, labels: int, delta: float, rng: np.random.Generator
) -> Mask:
    """Take the empirical quantile of a uniform sample (NoScope, probabilistic predicates)."""
    del delta
    return _by_recall(scores, truth, target, labels, None, rng, np.full(len(scores), 1.0))


def uniform_recall(
    scores: Array, truth: Mask, target: float, labels: int, delta: float, rng: np.random.Generator
) -> Mask:
    """SUPG's U-CI: a uniform sample with normal bounds."""
    return _by_recall(scores, truth, target, labels, delta, rng, np.full(len(scores), 1.0))


def weighted_recall(
    scores: Array, truth: Mask, target: float, labels: int, delta: float, rng: np.random.Generator
) -> Mask:
    """SUPG's IS-CI: root weights with normal bounds."""
    return _by_recall(scores, truth, target, labels, delta, rng, root_weights(scores))


def _by_recall(
    scores: Array,
    truth: Mask,
    target: float,
    labels: int,
    delta: float | None,
    rng: np.random.Generator,
    weights: Array,
) -> Mask:
    drawn, scale = _draw(weights, labels, rng)
    worth = truth[drawn] * scale
    level = _recall_threshold(scores[drawn], worth, target)
    if delta is not None:
        above, below = worth * (scores[drawn] >= level), worth * (scores[drawn] < level)
        high, low = _bound(above, delta / 2, 1), max(_bound(below, delta / 2, -1), 0.0)
        level = _recall_threshold(
            scores[drawn], worth, high / (high + low) if high + low > 0 else 1.0
        )
    selected = scores >= level
    selected[drawn[truth[drawn]]] = True
    return selected


def betting_recall(
    scores: Array, truth: Mask, target: float, labels: int, delta: float, rng: np.random.Generator
) -> Mask:
    """Root weights, one bet on recall itself, thresholds from the lowest up until one fails.

    recall(t) >= target if and only if y (1[s >= t] - target) / (N w) has mean >= 0: one mean in
    place of two, and a fixed sequence of thresholds in place of a shared delta. Finite-sample.
    """
    weights = root_weights(scores)
    drawn, scale = _draw(weights, labels, rng)
    worth = truth[drawn] * scale
    least = float(1.0 / (len(scores) * weights.min() / weights.sum()))
    stakes = np.geomspace(1e-3, 0.9, 14) / (target * least)
    ordered = np.sort(scores)
    sizes = np.unique(np.geomspace(len(scores), 1, 160).astype(np.int64))[::-1]
    level = -np.inf
    hits = worth > 0
    for size in sizes.tolist():
        limit = float(ordered[len(scores) - size])
        gain = worth[hits] * ((scores[drawn][hits] >= limit) - target)
        wealth = np.exp(np.cumsum(np.log1p(np.outer(stakes, gain)), axis=1)).mean(axis=0)
        if not len(wealth) or wealth.max() < 1 / delta:
            break
        level = limit
    selected = scores >= level
    selected[drawn[truth[drawn]]] = True
    return selected


def naive_precision(
    scores: Array, truth: Mask, target: float, labels: int, delta: float, rng: np.random.Generator
) -> Mask:
    """Take the lowest threshold above which the uniform sample is precise enough."""
    del delta
    drawn, _ = _draw(np.full(len(scores), 1.0), labels, rng)
    order = np.argsort(-scores[drawn])
    share = np.cumsum(truth[drawn][order]) / np.arange(1, labels + 1)
    good = np.flatnonzero(share >= target)
    level = scores[drawn][order[good[-1]]] if len(good) else np.inf
    selected = scores >= level
    selected[drawn[truth[drawn]]] = True
    return selected


def uniform_precision(
    scores: Array, truth: Mask, target: float, labels: int, delta: float, rng: np.random.Generator
) -> Mask:
    """SUPG's U-CI: normal bounds at every STEP-th sampled score, delta shared by them."""
    drawn, _ = _draw(np.full(len(scores), 1.0), labels, rng)
    found = _precise(scores, truth, drawn, np.ones(labels), target, delta)
    found[drawn[truth[drawn]]] = True
    return found


def weighted_precision(
    scores: Array, truth: Mask, target: float, labels: int, delta: float, rng: np.random.Generator
) -> Mask:
    """SUPG's IS-CI in two stages: a bound of the positives, then the top they leave room for."""
    weights = root_weights(scores)
    first, scale = _draw(weights, labels // 2, rng)
    most = len(scores) * _bound(truth[first] * scale, delta / 2, 1)
    top = np.argsort(-scores)[: max(int(min(most / target, len(scores))), 1)]
    second, scale = _draw(weights[top], labels - labels // 2, rng)
    found = _precise(scores[top], truth[top], second, scale, target, delta / 2)
    selected = np.zeros(len(scores), np.bool_)
    selected[top[found]] = True
    for drawn in (first, top[second]):
        selected[drawn[truth[drawn]]] = True
    return selected


def _precise(
    scores: Array, truth: Mask, drawn: Places, scale: Array, target: float, delta: float
) -> Mask:
    """Return everything above the lowest threshold whose precision is bounded well enough."""
    order = np.argsort(-scores[drawn])
    places = np.arange(STEP, len(order) + 1, STEP)
    best = np.inf
    for place in places.tolist():
        inside = order[:place]
        level = scores[drawn][inside[-1]]
        worth = (truth[drawn] * scale)[inside] / scale[inside].mean()
        if _bound(worth, delta / len(places), -1) >= target:
            best = min(best, float(level))
    return scores >= best


def tested_precision(
    scores: Array, truth: Mask, target: float, labels: int, delta: float, rng: np.random.Generator
) -> Mask:
    """A pilot says where to look; then nested tops are tested from the smallest, each at delta.

    The second half is a uniform sample of the largest top without replacement; of each smaller top
    it holds a uniform sample too, so that the exact hypergeometric test applies. Finite-sample.
    """
    order = np.argsort(-scores, kind="stable")
    pilot, scale = _draw(root_weights(scores), labels // 3, rng)
    rank = np.empty(len(scores), np.int64)
    rank[order] = np.arange(len(scores))
    by_rank = np.argsort(rank[pilot])
    share = np.cumsum((truth[pilot] * scale)[by_rank]) / np.cumsum(scale[by_rank])
    good = np.flatnonzero(share >= target)
    guess = int(rank[pilot][by_rank[good[-1]]]) + 1 if len(good) else 30
    sizes = np.unique((guess * np.geomspace(0.3, 1.6, 24)).astype(np.int64))
    sizes = sizes[(sizes > 0) & (sizes <= len(scores))]
    drawn = rng.permutation(int(sizes[-1]))[: labels - labels // 3]
    wrong = ~truth[order[drawn]]
    best = 0
    for size in sizes.tolist():
        inside = drawn < size
        allowed = int(np.floor((1 - target) * size + 1e-9))
        seen = int(wrong[inside].sum())
        if cdf(seen, size, min(allowed + 1, size), int(inside.sum())) > delta:
            break
        best = size
    selected = np.zeros(len(scores), np.bool_)
    selected[order[:best]] = True
    for places in (pilot, order[drawn]):
        selected[places[truth[places]]] = True
    return selected


RECALL: dict[str, Rule] = {
    "naive quantile": naive_recall,
    "SUPG U-CI": uniform_recall,
    "SUPG IS-CI": weighted_recall,
    "betting, fixed sequence": betting_recall,
}
PRECISION: dict[str, Rule] = {
    "naive quantile": naive_precision,
    "SUPG U-CI": uniform_precision,
    "SUPG IS-CI": weighted_precision,
    "exact tests, fixed sequence": tested_precision,
}
