"""Which drawn values were cut to the declared range in, a bound of how many frames have one out."""

from __future__ import annotations

import math

from foveal.planner.estimators import hypergeometric

CLIP_SHARE = 0.1
"""The clipped fraction's bound holds at 1 - CLIP_SHARE * delta, beside the answer's own delta."""
FIRST_LOOK = 32
"""The clipped fraction is bounded at this many draws and each doubling."""


class Clipped:
    """Counts values that were cut to the declared range and bounds how many frames have one."""

    def __init__(self, population: int, delta: float) -> None:
        """Start for `population` frames to draw; `delta` is the bound's own."""
        self.population = population
        self.delta = delta
        self.known = 0
        self.count = 0
        self.drawn = 0
        self._looks: list[tuple[int, int]] = []
        self._bounded = 0
        self._most = population

    def take(self, outside: list[bool]) -> None:
        """Count the next draws."""
        for cut in outside:
            self.drawn += 1
            self.count += cut
            if self.drawn >= FIRST_LOOK and not self.drawn & (self.drawn - 1):
                self._looks.append((self.drawn, self.count))

    def bound(self) -> float:
        """Return an upper bound of the fraction of the population that would be clipped.

        Hypergeometric, at fixed sample sizes that share delta: valid whenever one stops.
        """
        for look, (drawn, count) in enumerate(self._looks[self._bounded :], self._bounded + 1):
            share = self.delta / (look * (look + 1))
            low, high = count, self._most
            if not count:  # (1 - drawn/N)^most bounds the chance to draw none of `most`
                missed = math.log1p(-drawn / self.population) if drawn < self.population else -1e9
                high = min(high, math.floor(math.log(share) / missed))
                low = high
            while low < high:  # the largest number of clipped frames that `count` does not refute
                middle = (low + high + 1) // 2
                chance = hypergeometric.cdf(count, self.population, middle, drawn)
                low, high = (middle, high) if chance > share else (low, middle - 1)
            self._most = low
        self._bounded = len(self._looks)
        most = min(self._most, self.population - self.drawn + self.count)
        return most / self.population if self.population else 0.0
