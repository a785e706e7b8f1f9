"""A random order of 0..size-1 that is worked out only as far as it is asked for."""

from __future__ import annotations

import numpy as np

from foveal.planner.estimators.targets import Frames

BLOCK = 1024
"""Random numbers drawn at once; always as many, so that the order does not depend on requests."""


class Shuffle:
    """Fisher-Yates from the front, keeping only the places that were swapped.

    A sample of a thousand frames of a day-long video costs a thousand steps, not a million.
    """

    def __init__(self, size: int, seed: list[int]) -> None:
        """Start an order of `size` numbers."""
        self.size = size
        self._rng = np.random.default_rng(seed)
        self._swapped: dict[int, int] = {}
        self._order = np.empty(0, np.int64)

    def first(self, count: int) -> Frames:
        """Return the first `count` numbers of the order (all of them when there are fewer)."""
        count = min(count, self.size)
        while self._order.shape[0] < count:
            self._extend(count)
        return self._order[:count]

    def _extend(self, count: int) -> None:
        begin, swapped = self._order.shape[0], self._swapped
        blocks = -(-(count - begin) // BLOCK)
        chosen: list[int] = []
        for uniform in self._rng.random(blocks * BLOCK).tolist():
            place = begin + len(chosen)
            if place == self.size:
                break
            other = place + int(uniform * (self.size - place))
            chosen.append(swapped.get(other, other))
            swapped[other] = swapped.pop(place, place)
        self._order = np.concatenate((self._order, np.array(chosen, np.int64)))
