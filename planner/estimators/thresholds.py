"""A selection by two thresholds, as NoScope chooses them: labels in, frames to look at out.

Frames with a chance up to `low` are rejected, those from `high` on accepted, and the detector looks
at the rest. Both thresholds are those that kept the rates on labelled frames, each described by
what was learnt without its own label. That bounds nothing on the other frames: half the time an
empirical quantile is exceeded. Source: Kang et al., NoScope (VLDB 2017), section 6.

What is looked at is a label too, so that neighbours of a found frame come up for a look, and the
thresholds are taken anew after every batch until nothing lies between them.
"""

from __future__ import annotations

import math

import numpy as np

from foveal.planner.estimators.belief import Array, Belief
from foveal.planner.estimators.selection import ACCEPTED, FALSE, REJECTED, TRUE, SelectionResult
from foveal.planner.estimators.targets import Frames, Mask

LEAST = 5
"""Labels of either kind below which there is no threshold."""
WHOLE, MANY = 64, 0.125
"""Frames in doubt are looked at at once up to WHOLE of them, or from a share MANY of all that are
unseen; in between first every other one, which tells of the rest."""


class ThresholdRun:
    """Which frames to look at next, until none lies between the thresholds."""

    def __init__(
        self,
        belief: Belief,
        known: Mask,
        labels: Mask,
        asked: Mask,
        *,
        fnr: float | None,
        fpr: float | None,
    ) -> None:
        """Start a run over N frames.

        Args:
            belief: chance of a true label by the labels so far, a frame's own left out.
            known: bool [N], frames whose label is known.
            labels: bool [N], their labels (elsewhere ignored).
            asked: bool [N], frames to decide; the others only teach.
            fnr: share of the true frames that may be missing; None: none is rejected unseen.
            fpr: share of the other frames that may be in the answer; None: none is accepted unseen.

        Raises:
            ValueError: arrays do not fit together.
        """
        if not known.shape == labels.shape == asked.shape:
            raise ValueError("known, labels and asked must have one length")
        self._belief = belief
        self._labelled = known.copy()
        self._labels = labels & known
        self._asked = asked
        self._fnr, self._fpr = fnr, fpr
        self._known = int((known & asked).sum())
        self._batch: Frames | None = None
        self._chance = belief(self._labelled, self._labels)

    @property
    def looked(self) -> int:
        """Frames observed so far, known ones not counted."""
        return int((self._labelled & self._asked).sum()) - self._known

    @property
    def finished(self) -> bool:
        """Whether no frame is in doubt."""
        return self.forecast() == 0

    @property
    def labelled(self) -> tuple[Mask, Mask]:
        """Which frames are known, and their labels: bool [N] each."""
        return self._labelled.copy(), self._labels.copy()

    def believe(self, belief: Belief, leaders: Frames | None = None) -> None:
        """Go on under another belief, say of a proxy trained on what was labelled by now."""
        del leaders  # a belief built with leaders passes their decisions on by itself
        self._belief = belief
        self._chance = belief(self._labelled, self._labels)

    def forecast(self, belief: Belief | None = None) -> int:
        """Return how many frames are in doubt, under another belief or this."""
        chance = self._chance if belief is None else belief(self._labelled, self._labels)
        return int(self._doubtful(chance).sum())

    def next_batch(self) -> Frames | None:
        """Return the frames to look at next, ascending, or None at the end."""
        places = np.flatnonzero(self._doubtful(self._chance))
        if not len(places):
            return None
        unseen = int((self._asked & ~self._labelled).sum())
        once = len(places) <= WHOLE or len(places) >= MANY * unseen
        self._batch = places if once else places[::2]
        return self._batch

    def add(self, labels: Mask) -> None:
        """Take the labels of the batch, in its order.

        Raises:
            ValueError: there is no batch, or another number of labels.
        """
        if self._batch is None or labels.shape != self._batch.shape:
            raise ValueError("a label per frame of the batch")
        self._labels[self._batch] = labels
        self._labelled[self._batch] = True
        self._batch = None
        self._chance = self._belief(self._labelled, self._labels)

    def _doubtful(self, chance: Array) -> Mask:
        low, high = thresholds(
            chance[self._labelled], self._labels[self._labelled], self._fnr, self._fpr
        )
        return self._asked & ~self._labelled & (chance > low) & (chance < high)

    def result(self) -> SelectionResult:
        """Return the decisions of all N frames; those not asked for count for nothing."""
        _, high = thresholds(
            self._chance[self._labelled], self._labels[self._labelled], self._fnr, self._fpr
        )
        decisions = np.where(self._chance >= high, ACCEPTED, REJECTED).astype(np.int8)
        decisions[self._labelled] = np.where(self._labels[self._labelled], TRUE, FALSE)
        mine = decisions[self._asked]
        rejects, accepts = bool((mine == REJECTED).any()), bool((mine == ACCEPTED).any())
        return SelectionResult(
            decisions=decisions,
            fnr=float(rejects),
            fpr=float(accepts),
            precision=float(not accepts),
            looked=self.looked,
            sampled=0,
            met=not (rejects or accepts),
            exact=not (rejects or accepts),
        )


def thresholds(
    chance: Array, labels: Mask, fnr: float | None, fpr: float | None
) -> tuple[float, float]:
    """Return (rejected up to, accepted from) that keep the rates on these labelled frames.

    Of all such the ones with fewest frames between. `low` is moved one labelled frame to the safe
    side; where the two would cross, there is one threshold half-way. A rate of None leaves its side
    open (-inf, inf), too few labels of either kind leave both.
    """
    order = np.argsort(chance, kind="stable")
    values, true = chance[order], labels[order]
    positives = int(true.sum())
    negatives = len(true) - positives
    low, high = -math.inf, math.inf
    if min(positives, negatives) < LEAST:
        return low, high
    if fnr is not None:
        fine = np.flatnonzero(np.cumsum(true) <= fnr * positives)
        if len(fine) > 1:
            low = float(values[fine[-2]])
    if fpr is not None:
        fine = np.flatnonzero(np.cumsum(~true[::-1]) <= fpr * negatives)
        if len(fine):
            high = float(values[::-1][fine[-1]])
    if high <= low:
        middle = (low + high) / 2
        return float(np.nextafter(middle, -math.inf)), middle
    return low, high
