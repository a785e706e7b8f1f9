"""Scores and the labels bought so far → the chance that each frame satisfies the condition.

Tuning only: which frames are worth a look, and how many draws a certificate will take. No
guarantee rests on it, so labels may be used in any way.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[np.float64]

Belief = Callable[[Mask, Mask], Array]
"""(labelled bool [N], labels bool [N]) → chance of a true label, float64 [N]."""

BINS = 256
"""Labelled frames are pooled into at most so many bins before the isotonic fit."""
PRIOR = 0.3
"""Pseudo-counts of either kind in each pooled block: no block is certain."""
CAUTION = 0.5
"""Standard errors that are added to each block's rate."""


def isotonic(scores: Array, labelled: Mask, labels: Mask) -> Array:
    """Return the chance of a true label by score, non-decreasing in it, float64 [N].

    Pool adjacent violators over bins of labelled frames; between them the score's place counts.
    Without labels every frame's chance is one half.
    """
    if not labelled.any():
        return np.zeros(scores.shape[0]) + 0.5
    known = np.flatnonzero(labelled)
    order = known[np.argsort(scores[known], kind="stable")]
    values = scores[order]
    hits = labels[order].astype(np.float64)
    starts = np.flatnonzero(np.diff(values, prepend=-np.inf) > 0)
    each = max(order.shape[0] // BINS, 1)
    # A bin begins at the first score of its kind after `each` members of the bin before.
    edges = [0]
    for start in starts[1:].tolist():
        if start - edges[-1] >= each:
            edges.append(start)
    cut = np.array([*edges, order.shape[0]])
    sums = np.concatenate([[0.0], np.cumsum(hits)])
    total, count = sums[cut[1:]] - sums[cut[:-1]], np.diff(cut).astype(np.float64)
    first = values[cut[:-1]]
    blocks: list[tuple[float, float, int]] = []
    for t, n in zip(total.tolist(), count.tolist(), strict=True):
        merged = (t, n, 1)
        while blocks and blocks[-1][0] * merged[1] >= merged[0] * blocks[-1][1]:
            before = blocks.pop()
            merged = (before[0] + merged[0], before[1] + merged[1], before[2] + merged[2])
        blocks.append(merged)
    chance = np.concatenate([np.full(bins, _chance(t, n)) for t, n, bins in blocks])
    chance = np.maximum.accumulate(chance)
    place = np.clip(np.searchsorted(first, scores, side="right") - 1, 0, chance.shape[0] - 1)
    rank = np.empty(scores.shape[0])
    rank[np.argsort(scores, kind="stable")] = np.arange(scores.shape[0])
    # Within a pooled block the score still says what to look at first.
    return np.minimum(chance[place] + 1e-6 * rank / max(scores.shape[0], 1), 1.0)


def _chance(hits: float, labelled: float) -> float:
    """Return a cautious guess of a rate: a plan that hopes for too much loses its whole stake."""
    mean = (hits + PRIOR) / (labelled + 2 * PRIOR)
    return mean + CAUTION * math.sqrt(mean * (1 - mean) / (labelled + 1))


def by_score(scores: Array) -> Belief:
    """Return the belief that knows one score per frame."""
    return lambda labelled, labels: isotonic(scores, labelled, labels)
