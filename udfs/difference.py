"""Difference detectors: gray thumbnails in, frames out that need no look of their own.

Two meanings that must not be mixed (NoScope, VLDB 2017, section 5.2):
- against a *reference image* of the empty scene: a frame that looks the same is rejected;
- against the frame *t back*: a frame that looks the same shows the same, and inherits that frame's
  decision, whichever it was, along with the chain of frames that this one inherited from.

Neither is believed: both only order the frames, and the selection's certificate samples what they
leave unseen.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pictures = npt.NDArray[np.uint8]
Picture = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
Frames = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

GRID = 12
"""Blocks per side of a blocked difference: 8 x 8 pixels of a thumbnail each."""
METRICS = ("global", "blocked")
DOUBT = 0.3
"""Labels of the wrong kind that are added to a threshold's share of wrong ones."""


def reference_image(pictures: Pictures) -> Picture:
    """Return the empty scene, float32 [H, W]: each pixel's median over pictures spread in time."""
    return np.median(pictures, axis=0).astype(np.float32)


def differences(pictures: Pictures, others: Pictures | Picture, metric: str) -> Array:
    """Return the mean squared differences of pictures uint8 [n, H, W], float64 [n].

    `others`: one picture [H, W], or one for each [n, H, W]. `global` averages the whole picture,
    `blocked` gives the largest of GRID x GRID blocks, so that something small counts in full.

    Raises:
        ValueError: no such metric.
    """
    if metric not in METRICS:
        raise ValueError(f'no metric "{metric}"')
    squares = (pictures.astype(np.float32) - others) ** 2
    if metric == "global":
        return squares.mean(axis=(1, 2)).astype(np.float64)
    n, height, width = squares.shape
    rows, columns = height // GRID, width // GRID
    cut = squares[:, : rows * GRID, : columns * GRID]
    blocks = cut.reshape(n, GRID, rows, GRID, columns).mean(axis=(2, 4))
    return blocks.max(axis=(1, 2)).astype(np.float64)


def threshold(values: Array, wrong: Mask, allowed: float) -> float:
    """Return the largest difference below which at most a share `allowed` is wrong, by labels.

    Args:
        values: differences of labelled frames (or pairs), float64 [n].
        wrong: which of them the detector would decide wrongly.
        allowed: share of wrong decisions among those made. 0 is returned where none can be.
    """
    order = np.argsort(values, kind="stable")
    count = np.arange(1, values.shape[0] + 1, dtype=np.int64)
    share = (np.cumsum(wrong[order]) + DOUBT) / (count + 2 * DOUBT)
    good = np.flatnonzero(share <= allowed)
    if not good.shape[0]:
        return 0.0
    last = int(good[-1])
    if last + 1 == values.shape[0]:
        return float(values[order[last]])
    return float(values[order[last]] + values[order[last + 1]]) / 2


def leaders(same: Mask, back: int, breaks: Frames) -> Frames:
    """Return the place whose decision each frame inherits, int64 [n]; its own where it has none.

    `same` bool [n]: the frame looks like the one `back` places before. Chains are followed to their
    first frame, and never across the first place of a video (`breaks`).
    """
    place = np.arange(same.shape[0], dtype=np.int64)
    found = place.copy()
    video = np.searchsorted(breaks, place, side="right")
    inherits = same & (place >= back)
    inherits[back:] &= video[back:] == video[: place.shape[0] - back] if back else True
    found[inherits] = place[inherits] - back
    while True:
        further = found[found]
        if np.array_equal(further, found):
            return found
        found = further
