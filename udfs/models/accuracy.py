"""How right a detector is: its detections against the truth, as precision and recall.

Matching is that of PASCAL VOC (Everingham et al., IJCV 2010, section 4.2): best detections first,
each takes the object of its class that it overlaps most; a second one on the same object is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveal.planner.protocols import Detections
from foveal.udfs.detectors.boxes import ious

LEAST_OVERLAP = 0.5
"""Intersection over union from which on a detection counts as right."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Detections that are right, all detections, and all objects of the truth."""

    right: int
    said: int
    wanted: int

    @property
    def precision(self) -> float:
        """Share of the detections that are right; 1 when nothing was said."""
        return self.right / self.said if self.said else 1.0

    @property
    def recall(self) -> float:
        """Share of the objects that were found; 1 when there was none."""
        return self.right / self.wanted if self.wanted else 1.0

    def __add__(self, other: Tally) -> Tally:
        """Return both tallies taken together."""
        return Tally(self.right + other.right, self.said + other.said, self.wanted + other.wanted)


def hits(found: Detections, truth: Detections) -> npt.NDArray[np.bool_]:
    """Return bool [n]: which detections (best first) are right. The truth's scores are ignored."""
    overlap = ious(found.boxes, truth.boxes)
    overlap[found.classes[:, None] != truth.classes[None]] = 0
    right = np.zeros(len(found.boxes), np.bool_)
    if truth.boxes.shape[0] == 0:
        return right
    for k in range(len(right)):
        best = int(overlap[k].argmax())
        if overlap[k, best] >= LEAST_OVERLAP:
            right[k] = True
            overlap[:, best] = 0
    return right


def tally(found: Detections, truth: Detections, threshold: float, *, kind: int) -> Tally:
    """Return how one picture's detections of class `kind` with at least `threshold` did."""
    kept = (found.scores >= threshold) & (found.classes == kind)
    right = hits(found, truth) & kept
    return Tally(int(right.sum()), int(kept.sum()), int((truth.classes == kind).sum()))


def best_threshold(found: Sequence[Detections], truth: Sequence[Detections]) -> tuple[float, Tally]:
    """Return the threshold at which the lesser of precision and recall is greatest, and the tally.

    Thresholds are tried in steps of 0.01. A higher one only removes detections, and those are
    matched best first, so one matching serves all.
    """
    scores = np.concatenate([f.scores for f in found])
    right = np.concatenate([hits(f, t) for f, t in zip(found, truth, strict=True)])
    wanted = sum(len(t.boxes) for t in truth)
    tried = [
        (
            t / 100,
            Tally(int(right[scores >= t / 100].sum()), int((scores >= t / 100).sum()), wanted),
        )
        for t in range(5, 91)
    ]
    return max(tried, key=lambda pair: min(pair[1].precision, pair[1].recall))
