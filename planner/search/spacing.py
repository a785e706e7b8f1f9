"""Places on a line per video in, a largest set of them that lie far enough apart out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def pack(videos: Ints, places: Floats, gap: float, most: int | None = None) -> Ints:
    """Return which places to keep, ascending: each at least `gap` from the others of its video.

    `videos` and `places` are sorted together, places ascending within a video. Taking the leftmost
    that fits, again and again, keeps as many as any choice could; `most` ends it early.

    >>> pack(np.array([0, 0, 0, 1]), np.array([0.0, 2.0, 5.0, 1.0]), 3.0).tolist()
    [0, 2, 3]
    """
    kept: list[int] = []
    size = len(places)
    edges: list[int] = (np.flatnonzero(np.diff(videos)) + 1).tolist()
    starts, ends = [0, *edges], [*edges, size]
    for start, end in zip(starts, ends, strict=True):
        i = start
        while i < end:
            if most is not None and len(kept) >= most:
                return np.array(kept, np.int64)
            kept.append(i)
            at = float(places[i])
            i += max(int(np.searchsorted(places[i:end], at + gap)), 1)
            while i < end and places[i] - at < gap:
                i += 1  # at + gap is rounded, the difference is what counts
    return np.array(kept, np.int64)


def too_near(videos: Ints, places: Floats, kept: Ints, gap: float) -> Flags:
    """Return bool [places]: True where a kept place (by index) is nearer than `gap`."""
    near = np.zeros(len(places), np.bool_)
    for i in kept.tolist():
        low, high = np.searchsorted(videos, [videos[i], videos[i] + 1])
        at, line = places[i], places[low:high]
        first = low + max(int(np.searchsorted(line, at - gap)) - 1, 0)
        last = min(low + int(np.searchsorted(line, at + gap)) + 1, int(high))
        near[first:last] |= np.abs(places[first:last] - at) < gap
    return near
