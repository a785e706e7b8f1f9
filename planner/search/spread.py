"""Where to look when nothing is known: one random frame in each of the longest unseen stretches."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def stretches(videos: Ints, unseen: Flags) -> tuple[Ints, Ints]:
    """Return (first index, length) of each run of unseen frames within one video."""
    if not len(unseen):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    breaks = np.ones(len(unseen), np.bool_)
    breaks[1:] = (np.diff(videos) != 0) | (unseen[1:] != unseen[:-1])
    first = np.flatnonzero(breaks)
    length = np.diff(np.append(first, len(unseen)))
    open_ = unseen[first]
    return first[open_], length[open_]


def spread(
    videos: Ints, unseen: Flags, count: int, rng: np.random.Generator, starts: Ints | None = None
) -> Ints:
    """Return up to `count` unseen frames, ascending, one at random per equal part of a stretch.

    The longest stretches are cut first, so that called again and again it goes from coarse to
    fine, round whatever is known already. A random frame, not the middle: scenes are periodic.
    `starts` (ascending) are frames that are cheap to decode: a part that holds some gives one of
    them.
    """
    first, length = stretches(videos, unseen)
    total = int(length.sum())
    if count >= total:
        return np.flatnonzero(unseen)
    if count <= 0:
        return np.zeros(0, np.int64)
    # The largest part size with which the stretches make `count` parts or more.
    low, high = 1.0, float(length.max()) + 1.0
    for _ in range(50):
        size = (low + high) / 2
        if int((length // size).sum()) >= count:
            low = size
        else:
            high = size
    parts = (length // low).astype(np.int64)
    owner = np.repeat(np.arange(len(first)), parts)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(parts) - parts, parts)
    size = (length / np.maximum(parts, 1))[owner]
    picked = first[owner] + np.minimum(
        np.floor((place + rng.random(len(owner))) * size).astype(np.int64), length[owner] - 1
    )
    if starts is not None and len(starts):
        begin = first[owner] + np.floor(place * size).astype(np.int64)
        end = np.minimum(first[owner] + np.floor((place + 1) * size).astype(np.int64),
                         first[owner] + length[owner])  # fmt: skip
        low, high = np.searchsorted(starts, begin), np.searchsorted(starts, end)
        some = high > low
        which = low + np.floor(rng.random(len(owner)) * (high - low)).astype(np.int64)
        cheap = starts[np.minimum(which, len(starts) - 1)]
        picked = np.where(some & unseen[cheap], cheap, picked)
    picked = np.unique(picked)
    if len(picked) > count:
        picked = np.sort(rng.choice(picked, count, replace=False))
    return picked
