"""Boxes in, boxes out: overlap and class-aware non-maximum suppression, in NumPy.

Boxes are float32 [n, 4]: xmin, ymin, xmax, ymax in pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Indices = npt.NDArray[np.int64]

CANDIDATES = 3000
"""Suppression looks at this many best boxes: its time is quadratic, and more are only noise."""


def from_centres(cxcywh: Floats) -> Floats:
    """Return corner boxes of boxes given as centre x, centre y, width, height."""
    half = cxcywh[..., 2:4] * np.float32(0.5)
    corners: Floats = np.empty_like(cxcywh)
    corners[..., :2] = cxcywh[..., :2] - half
    corners[..., 2:] = cxcywh[..., :2] + half
    return corners


def areas(boxes: Floats) -> Floats:
    """Return float32 [n]: the area of each box, 0 for an inverted one."""
    return np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)


def intersections(left: Floats, right: Floats) -> Floats:
    """Return float32 [n, m]: the area each pair has in common."""
    low = np.maximum(left[:, None, :2], right[None, :, :2])
    high = np.minimum(left[:, None, 2:], right[None, :, 2:])
    sides = np.maximum(high - low, 0)
    return sides[..., 0] * sides[..., 1]


def ious(left: Floats, right: Floats) -> Floats:
    """Return float32 [n, m]: intersection over union of each pair, 0 where both are empty."""
    common = intersections(left, right)
    union = areas(left)[:, None] + areas(right)[None, :] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def best_first(scores: Floats) -> Indices:
    """Return the order of falling scores; equal scores keep their order, so it is deterministic."""
    return np.argsort(-scores, kind="stable")


def suppress(
    boxes: Floats,
    scores: Floats,
    classes: Ints,
    iou: float,
    *,
    cut: npt.NDArray[np.bool_] | None = None,
) -> Indices:
    """Return the indices kept by greedy class-aware non-maximum suppression, best first.

    A box goes when a better one of its class overlaps it by more than `iou`. `cut` bool [n] marks
    boxes that the edge of a tile cut off: they stand behind all whole ones, and go when more than
    half of the smaller box is shared, since part of an object overlaps the whole by its own area
    only (the match of SAHI, Akyon et al., ICIP 2022, section 2).
    """
    order = best_first(scores)
    if cut is not None:
        order = order[np.argsort(cut[order], kind="stable")]
    order = order[:CANDIDATES]
    if order.size == 0:
        return order
    # Moving each class to its own far-off place makes boxes of two classes never overlap.
    span = np.float64(max(float(boxes.max()), 1.0) - min(float(boxes.min()), 0.0) + 1.0)
    shift = (classes[order].astype(np.float64) * span)[:, None]
    moved = boxes[order].astype(np.float64) + shift
    area = (moved[:, 2] - moved[:, 0]).clip(0) * (moved[:, 3] - moved[:, 1]).clip(0)
    part = None if cut is None else cut[order]
    alive = np.ones(order.size, dtype=np.bool_)
    kept: list[int] = []
    for i in range(order.size):
        if not alive[i]:
            continue
        kept.append(i)
        rest = slice(i + 1, None)
        low = np.maximum(moved[i, :2], moved[rest, :2])
        high = np.minimum(moved[i, 2:], moved[rest, 2:])
        sides = (high - low).clip(0)
        common = sides[:, 0] * sides[:, 1]
        gone = common > iou * (area[i] + area[rest] - common)
        if part is not None:
            gone |= (part[i] | part[rest]) & (common > 0.5 * np.minimum(area[i], area[rest]))
        alive[rest] &= ~gone
    chosen = order[np.array(kept, dtype=np.int64)]
    return chosen if cut is None else chosen[best_first(scores[chosen])]
