"""A picture's size in, the overlapping tiles to look at out.

Source: Akyon et al., "Slicing Aided Hyper Inference and Fine-tuning for Small Object Detection",
ICIP 2022: tiles that overlap by a fifth, beside the whole picture, merged afterwards.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foveal.udfs.detectors.boxes import Floats

OVERLAP = 0.2
"""Share of a tile's side that it has in common with the next one."""

EDGE = 2.0
"""A box that ends within this many pixels of a tile's inner edge counts as cut off."""


class Region(NamedTuple):
    """Part of a picture, in pixels; the high sides are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


def _spans(length: int, n: int) -> list[tuple[int, int]]:
    side = min(length, math.ceil(length / ((n - 1) * (1 - OVERLAP) + 1)))
    return [(start, start + side) for start in (round(i * (length - side) / max(n - 1, 1))
                                                for i in range(n))]  # fmt: skip


def regions(height: int, width: int, slices: int) -> list[Region]:
    """Return the whole picture, then `slices` x `slices` tiles of it by rows (none below 2)."""
    whole = Region(0, 0, width, height)
    if slices < 2:
        return [whole]
    rows, columns = _spans(height, slices), _spans(width, slices)
    return [whole] + [Region(a, b, c, d) for b, d in rows for a, c in columns]


def cut_off(boxes: Floats, region: Region, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Return bool [n]: which boxes (in the picture's pixels) an inner edge of the tile cuts off."""
    cut = np.zeros(boxes.shape[0], dtype=np.bool_)
    if region.left > 0:
        cut |= boxes[:, 0] <= region.left + EDGE
    if region.top > 0:
        cut |= boxes[:, 1] <= region.top + EDGE
    if region.right < width:
        cut |= boxes[:, 2] >= region.right - EDGE
    if region.bottom < height:
        cut |= boxes[:, 3] >= region.bottom - EDGE
    return cut
