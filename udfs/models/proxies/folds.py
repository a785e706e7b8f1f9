"""How far from its labels a model is judged: folds with gaps in time, and how near frames lie.

Neighbouring frames are almost copies of each other, so a label next to the one left out gives the
answer away. A fold is a run of labels in time; what is fitted for it sees no label within `gap`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from foveal.udfs.models.proxies.scene import Doubles, Positions

FOLDS = 6
GAP_SECONDS = 2.0
_BINS = 5
_FLOOR = 0.1
"""Least weight of a left-out label, so that no single one decides."""


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Labels to be judged on, int64 indexes into the labels, and those that may not be seen.

    `hidden` contains `judged` and the labels within the gap on both sides.
    """

    judged: Positions
    hidden: Positions


def gap_of(times: Doubles, breaks: Positions) -> float:
    """Return the gap in seconds: two, or less where a table is short."""
    lengths = [float(times[b - 1] - times[a]) for a, b in pairwise(breaks.tolist()) if b > a]
    return min(GAP_SECONDS, sum(lengths) / 10)


def gap_folds(times: Doubles, videos: Positions, gap: float, count: int = FOLDS) -> list[Fold]:
    """Return runs of labels in time, each with what lies within `gap` seconds of it hidden.

    `times` and `videos` [n] are the labels'; other videos are never near.
    """
    folds: list[Fold] = []
    for judged in np.array_split(np.arange(len(times)), count):
        if not len(judged):
            continue
        near = np.zeros(len(times), np.bool_)
        for video in np.unique(videos[judged]):
            inside = times[judged[videos[judged] == video]]
            near |= (videos == video) & (times > inside.min() - gap) & (times < inside.max() + gap)
        near[judged] = True
        folds.append(Fold(judged, np.flatnonzero(near)))
    return folds


def single_folds(count: int) -> list[Fold]:
    """Return a fold for each label, with itself hidden."""
    return [Fold(np.array([i]), np.array([i])) for i in range(count)]


def interleaved_folds(count: int, folds: int) -> list[Fold]:
    """Return every `folds`-th label as a fold, its neighbours seen."""
    every = [np.arange(i, count, folds) for i in range(min(folds, count))]
    return [Fold(judged, judged) for judged in every]


@dataclass(frozen=True, slots=True, eq=False)
class Nearness:
    """How the unlabelled frames lie to the labels.

    `share`: the part of them that has a label within the gap. `weights` float64 [n], mean 1: by how
    much each label counts when left out alone, so that left-out labels lie as far from the
    others as those frames do from their nearest.
    """

    share: float
    weights: Doubles


def nearness(labelled: Positions, times: Doubles, breaks: Positions, gap: float) -> Nearness:
    """Return how a table's unlabelled frames lie to its labels (sorted positions)."""
    apart = np.full(len(times), np.inf)
    alone = np.full(len(labelled), np.inf)
    for first, end in pairwise(breaks.tolist()):
        inside = np.flatnonzero((labelled >= first) & (labelled < end))
        if not len(inside):
            continue
        marks = times[labelled[inside]]
        at = np.searchsorted(marks, times[first:end])
        before = np.abs(times[first:end] - marks[np.maximum(at - 1, 0)])
        after = np.abs(marks[np.minimum(at, len(marks) - 1)] - times[first:end])
        apart[first:end] = np.minimum(before, after)
        steps = np.diff(marks, prepend=-np.inf, append=np.inf)
        alone[inside] = np.minimum(steps[:-1], steps[1:])
    apart = np.delete(apart, labelled)
    if not len(apart):
        return Nearness(1.0, np.ones(len(labelled)))
    near = apart[apart <= gap]
    edges = np.unique(np.quantile(alone[np.isfinite(alone)], np.linspace(0, 1, _BINS + 1)[1:-1]))
    theirs = np.bincount(np.searchsorted(edges, near, side="right"), minlength=len(edges) + 1)
    ours_in = np.searchsorted(edges, alone, side="right")
    ours = np.bincount(ours_in, minlength=len(edges) + 1)
    if not len(near):
        return Nearness(0.0, np.ones(len(labelled)))
    weights = (theirs / np.maximum(ours, 1))[ours_in] + _FLOOR * len(near) / len(labelled)
    return Nearness(len(near) / len(apart), weights / weights.mean())
