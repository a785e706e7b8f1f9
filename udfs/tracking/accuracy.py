"""How well tracks follow objects: identity F1, from true and found boxes with their ids.

Source: Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera
Tracking", ECCV Workshops 2016, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from foveal.udfs.detectors.boxes import Floats, ious
from foveal.udfs.tracking.sightings import Ids

OVERLAP = 0.5
"""A found box is a true one from this intersection over union on."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Shares in 0..1, under the assignment of found ids to true ones that matches most boxes."""

    f1: float
    precision: float
    recall: float


def identity(
    true_frames: Ids, true_boxes: Floats, true_ids: Ids, frames: Ids, boxes: Floats, ids: Ids
) -> Identity:
    """Return identity F1, precision and recall.

    Frames and ids are int64 [n], boxes float32 [n, 4] (corners); found rows of id 0 are left out.
    """
    named = ids > 0
    frames, boxes, ids = frames[named], boxes[named], ids[named]
    truths, true_ids = np.unique(true_ids, return_inverse=True)
    tracks, ids = np.unique(ids, return_inverse=True)
    common = np.zeros((truths.size, tracks.size))
    for frame in np.intersect1d(true_frames, frames).tolist():
        wanted, found = np.flatnonzero(true_frames == frame), np.flatnonzero(frames == frame)
        close = ious(true_boxes[wanted], boxes[found]) >= OVERLAP
        rows, columns = np.nonzero(close)
        np.add.at(common, (true_ids[wanted[rows]], ids[found[columns]]), 1)
    rows, columns = linear_sum_assignment(common, maximize=True)
    right = float(common[rows, columns].sum())
    total = true_frames.size + frames.size
    return Identity(
        2 * right / total if total else 1.0,
        right / frames.size if frames.size else 1.0,
        right / true_frames.size if true_frames.size else 1.0,
    )
