"""A selection with bounded errors: scores and labels in, frames to look at and decisions out.

Every frame ends verified (the detector looked), accepted unseen or rejected unseen. Frames split
once, at a score chosen before the first draw: those above may be accepted unseen, those below
rejected unseen. From the split outwards frames are verified, as many as pay; of the rest of each
side a uniform sample is looked at, and a `Ceiling` bounds how many wrong ones are left:

    missed  <= h     FNR <= h / (h + verified true + accepted - f)
    false   <= f     FPR <= f / (f + verified false + rejected - h)

With one side the ceiling gets all of delta, with two each gets half. Where the split was put, how
much is verified and how far the sample goes follow from labels bought before, which the ceilings
allow at every step; that frames were known from other queries costs nothing and biases nothing.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveal.planner.estimators.belief import Belief
from foveal.planner.estimators.ceiling import Ceiling
from foveal.planner.estimators.selection_plan import (
    Intent,
    Step,
    edges_of,
    odds_of,
    plan_sides,
    plan_step,
    split_at,
)
from foveal.planner.estimators.targets import Costs, Frames, Mask

REJECTED, ACCEPTED, FALSE, TRUE = 0, 1, 2, 3
"""Decisions: rejected or accepted unseen, verified false or true."""


@dataclass(frozen=True, slots=True, eq=False)
class SelectionResult:
    """What was decided, and what is certain of it.

    Attributes:
        decisions: int8 [N], one of REJECTED, ACCEPTED, FALSE, TRUE per frame.
        fnr, fpr: upper bounds of the error rates, together at the confidence asked for.
        precision: lower bound of the share of true frames in the answer, at the same confidence.
        looked: frames observed by the run (known ones not counted).
        sampled: those of them drawn at random, for the certificate.
        met: both rates asked for are certified.
        exact: no frame was decided unseen.
    """

    decisions: npt.NDArray[np.int8]
    fnr: float
    fpr: float
    precision: float
    looked: int
    sampled: int
    met: bool
    exact: bool


class SelectionRun:
    """Which frames to look at next, until the rates asked for are certified.

    Between `next_batch` and `add` nothing else may happen. `add` may be given the batch's labels
    in part (a cancelled statement): then the run cannot go on.
    """

    def __init__(
        self,
        belief: Belief,
        known: Mask,
        labels: Mask,
        *,
        fnr: float | None,
        fpr: float | None,
        delta: float,
        seed: int,
        unseen: bool,
        costs: Costs | None = None,
    ) -> None:
        """Start a run over N frames.

        Args:
            belief: chance of a true label by the labels so far.
            known: bool [N], frames whose label is known.
            labels: bool [N], their labels (elsewhere ignored).
            fnr: share of the true frames that may be missing; None for none.
            fpr: share of the other frames that may be in the answer; None for none.
            delta: one minus the confidence.
            seed: of the draws.
            unseen: whether frames may be accepted without a look; otherwise FPR is 0.
            costs: prices, to weigh decoding passes against calls too many.

        Raises:
            ValueError: arrays do not fit together, or a rate is out of range.
        """
        if known.shape != labels.shape or not 0 < delta < 1:
            raise ValueError("known and labels must have one length, delta must be in (0, 1)")
        for rate in (fnr, fpr):
            if rate is not None and not 0 <= rate < 1:
                raise ValueError("rates must be in [0, 1)")
        self._belief = belief
        self._labelled = known.copy()
        self._labels = labels & known
        self._fnr, self._fpr = fnr or 0.0, fpr or 0.0
        self._costs = costs or Costs()
        self._leaders: Frames | None = None
        self._known = int(known.sum())
        chance = belief(self._labelled, self._labels)
        two_sided = unseen and self._fpr > 0
        self._above = (
            split_at(
                chance, ~known, self._labels_true, self._labels_false, self._fnr, self._fpr, delta
            )
            if two_sided
            else np.zeros(known.shape[0], np.bool_)
        )
        self._above &= ~known
        share = delta / 2 if bool(self._above.any()) and self._fnr > 0 else delta
        self.missed = Ceiling(int((~known & ~self._above).sum()), share)
        self.false = Ceiling(int(self._above.sum()), share)
        self._rng = np.random.default_rng([seed, *_words(known)])
        self._step: Step | None = None
        self._intent: Intent | None = None
        self._batches = 0

    @property
    def _labels_true(self) -> int:
        return int((self._labels & self._labelled).sum())

    @property
    def _labels_false(self) -> int:
        return int((~self._labels & self._labelled).sum())

    @property
    def looked(self) -> int:
        """Frames observed so far, known ones not counted."""
        return int(self._labelled.sum()) - self._known

    @property
    def finished(self) -> bool:
        """Whether the rates are certified, or every frame is known."""
        return self._rates()[2]

    def believe(self, belief: Belief, leaders: Frames | None = None) -> None:
        """Go on under another belief, say of a proxy trained on what was labelled by now.

        `leaders` int64 [N]: the frame whose decision a frame inherits (itself for none). It waits
        where its leader is to be looked at too.
        """
        self._belief, self._leaders, self._intent = belief, leaders, None

    def forecast(self, belief: Belief | None = None) -> int:
        """Return how many more looks the certificate should take, under another belief or this."""
        if self.finished:
            return 0
        chance = (belief or self._belief)(self._labelled, self._labels)
        free = ~self._labelled
        plan = plan_sides(
            np.sort(chance[free & ~self._above])[::-1],
            np.sort(1 - chance[free & self._above])[::-1],
            self._labels_true,
            self._labels_false,
            self._fnr,
            self._fpr,
            (self.missed, self.false),
        )
        return plan.calls

    @property
    def labelled(self) -> tuple[Mask, Mask]:
        """Which frames are known, and their labels: bool [N] each."""
        return self._labelled.copy(), self._labels.copy()

    def next_batch(self) -> Frames | None:
        """Return the frames to look at next, ascending, or None at the end."""
        if self.finished:
            return None
        chance = self._belief(self._labelled, self._labels)
        self._step = plan_step(
            chance,
            ~self._labelled,
            self._above,
            self._labels_true,
            self._labels_false,
            self._fnr,
            self._fpr,
            (self.missed, self.false),
            self._costs,
            self._rng,
            self._leaders,
            self._intent,
        )
        self._intent = self._step.intent
        self._batches += 1
        return self._step.batch

    def add(self, labels: Mask) -> None:
        """Take the labels of the batch, in its order.

        Raises:
            ValueError: there is no batch, or another number of labels.
        """
        step = self._step
        if step is None:
            raise ValueError("add needs a batch")
        batch = step.batch
        if labels.shape != batch.shape:
            raise ValueError("a label per frame of the batch")
        self._labels[batch] = labels
        self._labelled[batch] = True
        self._step = None
        above = self._above[step.taken]
        found = self._labels[step.taken]
        self.missed.take(int((~above).sum()), int((found & ~above).sum()))
        self.false.take(int(above.sum()), int((~found & above).sum()))
        for draw in step.draws:
            marked = int((self._labels[draw.frames] != draw.above).sum())
            members = draw.frames.shape[0]
            # What is known of the other frames of the batch may set the hypotheses.
            true = self._labels_true - (0 if draw.above else marked)
            if draw.above:
                edges = edges_of(0.0, math.inf, step.intent.false_target, draw.most)
                self.false.sample(members, marked, edges, draw.deadline)
            else:
                base = true + self.false.size - step.intent.false_target
                edges = edges_of(base, odds_of(self._fnr), math.inf, draw.most)
                self.missed.sample(members, marked, edges, draw.deadline)

    def _rates(self) -> tuple[float, float, bool]:
        """Return the certified rates, and whether they are low enough."""
        h, f = self.missed.bound, self.false.bound
        true, false = self._labels_true, self._labels_false
        fnr = _share(h, true + self.false.size - f)
        fpr = _share(f, false + self.missed.size - h)
        done = self.missed.size == 0 and self.false.size == 0
        met = done or (fnr <= self._fnr + 1e-12 and fpr <= self._fpr + 1e-12)
        return fnr, fpr, met

    def result(self) -> SelectionResult:
        """Return the decisions, and the bounds reached so far."""
        fnr, fpr, met = self._rates()
        decisions = np.where(self._above, ACCEPTED, REJECTED).astype(np.int8)
        decisions[self._labelled] = np.where(self._labels[self._labelled], TRUE, FALSE)
        returned = self._labels_true + self.false.size
        return SelectionResult(
            decisions=decisions,
            fnr=fnr,
            fpr=fpr,
            precision=1.0 - (self.false.bound / returned if returned else 0.0),
            looked=self.looked,
            sampled=self.missed.drawn + self.false.drawn,
            met=met,
            exact=bool(self._labelled.all()),
        )


def _share(part: int, rest: int) -> float:
    """Return part / (part + rest), 0 for nothing of nothing."""
    if part <= 0:
        return 0.0
    return part / (part + rest) if rest > 0 else 1.0


def _words(known: Mask) -> list[int]:
    """Return numbers that stand for the known frames, so that draws do not follow from theirs."""
    if not known.any():
        return []
    digest = hashlib.blake2b(np.packbits(known).tobytes(), digest_size=16).digest()
    return np.frombuffer(digest, np.uint32).tolist()


__all__ = ["ACCEPTED", "FALSE", "REJECTED", "TRUE", "SelectionResult", "SelectionRun"]
