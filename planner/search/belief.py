"""What share of the frames may satisfy a condition: a Beta distribution on a grid of shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PRIOR = (0.3, 2.7)
"""Beta parameters where nothing is known: one frame in ten in the mean, one in thirty as often as
not, and one in ten thousand or fewer with a probability of a tenth."""

SHARES: Floats = 10 ** np.linspace(-6.0, float(np.log10(0.999)), 160)
"""The shares that expectations are taken over."""

_EDGES = np.concatenate([[0.0], np.sqrt(SHARES[:-1] * SHARES[1:]), [1.0]])


@dataclass(frozen=True, slots=True)
class Belief:
    """Beta(`positive`, `negative`) over the share of frames that satisfy the condition."""

    positive: float = PRIOR[0]
    negative: float = PRIOR[1]

    def after(self, hits: float, misses: float) -> Belief:
        """Return the belief once so many (effective) trials are known."""
        return Belief(self.positive + hits, self.negative + misses)

    def weights(self) -> Floats:
        """Return the probability of each of SHARES; together 1."""
        a, b = self.positive, self.negative
        middle = np.sqrt(np.maximum(_EDGES[:-1], 1e-7) * _EDGES[1:])
        log = (a - 1) * np.log(middle) + (b - 1) * np.log1p(-np.minimum(middle, 1 - 1e-9))
        mass = np.exp(log - log.max()) * np.diff(_EDGES)
        mass[0] = np.exp(log[0] - log.max()) * _EDGES[1] / a  # the rest of the mass down to 0
        return mass / mass.sum()

    @property
    def mean(self) -> float:
        """The expected share."""
        return self.positive / (self.positive + self.negative)

    def quantile(self, q: float) -> float:
        """Return the share that is not exceeded with probability `q`."""
        total = np.cumsum(self.weights())
        return float(SHARES[min(int(np.searchsorted(total, q)), len(SHARES) - 1)])


UNKNOWN = Belief()
"""What is believed where nothing is known."""


def effective_trials(distances: Floats, event: float) -> Floats:
    """Return what each look is worth as an independent trial, 0..1.

    `distances`: how far each looked-at frame is from the nearest one looked at before it. Frames
    nearer to each other than a condition lasts (`event`, same unit) tell the same thing twice.
    """
    return np.clip(distances / max(event, 1e-9), 0.0, 1.0)
