"""The sampling driver: says which frames to look at next, takes what was seen, gives intervals.

It does no I/O. The engine runs it so::

    run = SamplingRun(groups, delta=0.05, costs=costs, seed=0)
    while (frames := run.next_batch()) is not None:
        run.add(frames, observe(frames))
    answers = run.intervals()
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from foveal.planner.estimators.draws import GroupDraws
from foveal.planner.estimators.rounds import (
    batch_fraction,
    last_pass,
    pilot_is_rash,
    repeat_price,
    scan_is_cheaper,
)
from foveal.planner.estimators.targets import Costs, FrameGroup, Frames, Interval, Mask, Values

SCAN_FRAMES = 4096
"""Frames of one batch of a scan."""


LEAST_PILOT = 16
"""Frames of a group that say something about how much its values vary."""


class SamplingRun:
    """Samples the frames of disjoint groups until every target of every group is met.

    `intervals` is valid at any moment between batches: a budget, a time limit or Ctrl-C ends the
    run by not asking for more. A batch is added as a whole or not at all: the part of a batch that
    was decoded first is no random sample. What was observed of an unfinished batch is best kept
    in the detection cache and given as known next time.

    Attributes:
        scanning: the rest is being observed in full, for that is no dearer.
    """

    def __init__(
        self,
        groups: Sequence[FrameGroup],
        *,
        delta: float = 0.05,
        guarantee: str = "finite",
        seed: int = 0,
        costs: Costs | None = None,
        joint: bool = True,
        temporal: bool = True,
    ) -> None:
        """Plan a run.

        Args:
            groups: disjoint groups of frames with their targets.
            delta: 1 - confidence of the statement.
            guarantee: finite or asymptotic; exact scans everything.
            seed: the same seed gives the same answer.
            costs: prices for sizing batches.
            joint: all rows hold together with 1 - delta; else each by itself.
            temporal: predict frames from observed neighbours in time, where that saves samples.

        Raises:
            ValueError: delta or guarantee makes no sense, or a group's arrays do not fit together.
        """
        if guarantee not in ("exact", "finite", "asymptotic"):
            raise ValueError(f"no such guarantee: {guarantee}")
        self._costs = costs or Costs()
        share = delta / max(len(groups), 1) if joint else delta
        self._groups = [
            GroupDraws(group, place, share, guarantee, seed, temporal)
            for place, group in enumerate(groups)
        ]
        self._pending: list[int] | None = None
        self._to_reveal: list[tuple[Frames, float]] = []
        self._revealing: list[Frames] | None = None
        self._batch: Frames = np.zeros(0, np.int64)
        self._naive = 0.0
        self._spent = 0.0
        self.scanning = guarantee == "exact"
        self._scan: Frames = np.zeros(0, np.int64)
        if self.scanning:
            self._scan = self._rest()

    @property
    def finished(self) -> bool:
        """True when nothing more will be asked for."""
        return all(group.finished for group in self._groups)

    @property
    def observed(self) -> int:
        """Frames observed so far, over all groups."""
        return sum(group.rest.shape[0] - group.left for group in self._groups)

    def remaining(self) -> int:
        """Return a forecast of the frames still to observe, over all groups."""
        if self.scanning:
            return int(self._scan.shape[0])
        return sum(group.need() for group in self._groups)

    def next_batch(self, limit: int | None = None) -> Frames | None:
        """Return the next frames to observe (int64, ascending), or None when all is done.

        Args:
            limit: at most so many frames (a budget); None, or at least 1.

        Raises:
            ValueError: the last batch was not added yet, or limit is below 1.
        """
        if limit is not None and limit < 1:
            raise ValueError("limit must be at least 1")
        if self._batch.shape[0]:
            raise ValueError("add the last batch first")
        if self.finished:
            return None
        if self._reveal(limit):
            return self._batch
        if self.scanning:
            size = SCAN_FRAMES if limit is None else min(limit, SCAN_FRAMES)
            self._batch, self._scan = self._scan[:size], self._scan[size:]
            return self._batch
        needs = [group.need() for group in self._groups]
        counts = self._sizes(needs)
        batch = self._union(counts)
        if not self._naive:
            rest = self._rest()
            self._naive = rest.shape[0] * self._costs.detect + self._costs.decode(rest)
        left = sum(group.left for group in self._groups if not group.finished)
        more = last_pass(batch, sum(needs), left, self._spent, self._naive, self._costs)
        if more:
            counts = [
                min(math.ceil(more * need), group.left)
                for need, group in zip(needs, self._groups, strict=True)
            ]
            batch = self._union(counts)
        scan = self._would_scan(batch, sum(needs), limit)
        if not scan and not self.observed and (limit is None or limit >= left):
            pilot = self._affordable_pilot(counts)
            scan, counts = pilot is None, pilot or counts
            batch = self._union(counts)
        if scan:
            self.scanning = True
            self._scan = self._rest()
            return self.next_batch(limit)
        if limit is not None and batch.shape[0] > limit:
            counts = _cut(counts, limit)
            batch = self._union(counts)
        self._spent += self._costs.decode(batch) + batch.shape[0] * self._costs.detect
        self._pending = counts
        self._batch = batch
        return batch

    def add(self, frames: Frames, values: npt.ArrayLike) -> None:
        """Take what was observed on the last batch.

        Args:
            frames: the batch, as `next_batch` gave it.
            values: float64 [frames, columns], or [frames] for one column.

        Raises:
            ValueError: these are not the frames asked for, or a value is not finite.
        """
        seen = np.asarray(values, np.float64)
        seen = seen[:, None] if seen.ndim == 1 else seen
        if not np.array_equal(frames, self._batch) or seen.shape[0] != frames.shape[0]:
            raise ValueError("add the values of exactly the frames of the last batch")
        if self._revealing is not None:
            for group, part in zip(self._groups, self._revealing, strict=True):
                if part.shape[0]:
                    group.reveal(part, seen[np.searchsorted(frames, part)])
            self._revealing = None
        elif self._pending is None:
            for group in self._groups:
                mine = np.isin(frames, group.rest, assume_unique=True)
                group.scan(seen[mine])
        else:
            for group, count in zip(self._groups, self._pending, strict=True):
                if count:
                    places = np.searchsorted(frames, group.upcoming(count))
                    group.observe(count, seen[places])
        self._pending = None
        self._batch = np.zeros(0, np.int64)

    def use_scores(
        self,
        frames: Frames,
        scores: Values,
        *,
        column: int = 0,
        labelled: Mask | None = None,
    ) -> None:
        """Take a proxy's scores as a control variate, before the first batch or between two.

        Scores may be as wrong as they like, and made from anything that was observed so far: that
        costs samples, never validity, as they are fixed before the frames left are drawn. Later
        scores take the place of earlier ones; the coefficient is fitted to past draws only.

        Args:
            frames: int64, ascending: every group's frames, and more if you like.
            scores: float64 [frames], in the unit of the column, finite.
            column: which column of the observed values they predict.
            labelled: bool [frames]: known or observed frames whose score was made without their
                value (out of fold). Only these and the frames drawn from now on tell how good the
                scores are; None: no known or observed frame does.

        Raises:
            ValueError: a batch is under way, the arrays do not fit together, a score is not finite,
                or a frame of the run has none.
        """
        if self._batch.shape[0]:
            raise ValueError("add the last batch first")
        honest = np.zeros(frames.shape[0], np.bool_) if labelled is None else labelled
        if scores.shape != frames.shape or honest.shape != frames.shape:
            raise ValueError("need a score and a mark for each frame")
        if not np.isfinite(scores).all():
            raise ValueError("scores must be finite")
        for group in self._groups:
            group.use_scores(frames, scores, column, honest)
        self._to_reveal = [] if self.scanning else [g.worth_revealing() for g in self._groups]

    def saved_by(self, r2: float) -> float:
        """Return a forecast of the frames that a proxy would save of those still to observe.

        Args:
            r2: share of the values' variance that its scores explain, on frames it did not see.

        Raises:
            ValueError: r2 is not in 0..1.
        """
        if not 0 <= r2 <= 1:
            raise ValueError("r2 must be in 0..1")
        return 0.0 if self.scanning else float(sum(g.saved_by(r2) for g in self._groups))

    def settle(self) -> None:
        """Say that a budget ended the run: asymptotic targets not met take their last look.

        Not for a run that somebody stopped who saw its intervals.
        """
        for group in self._groups:
            group.settle()

    def intervals(self) -> list[Interval]:
        """Return each target's answer so far: in order of the groups, then of their targets."""
        return [interval for group in self._groups for interval in group.intervals()]

    def _reveal(self, limit: int | None) -> bool:
        """Make the frames worth looking at for their scores the next batch, if that pays."""
        planned, self._to_reveal = self._to_reveal, []
        if not planned:
            return False
        parts = [frames for frames, _ in planned]
        batch = np.sort(np.concatenate(parts))
        saved = sum(gain for _, gain in planned) * self._costs.detect
        over = limit is not None and batch.shape[0] > limit
        if not batch.shape[0] or over or self._costs.decode(batch) > saved:
            return False
        self._spent += self._costs.decode(batch) + batch.shape[0] * self._costs.detect
        self._revealing, self._batch = parts, batch
        return True

    # --- batches ---------------------------------------------------------------------------

    def _sizes(self, needs: list[int]) -> list[int]:
        """Return how many frames of each group the next batch takes."""
        upcoming = [
            group.upcoming(need) for group, need in zip(self._groups, needs, strict=True) if need
        ]
        # Interleaved, so that a prefix holds the same part of every group.
        ranks: Values = np.concatenate(
            [
                (np.arange(part.shape[0], dtype=np.float64) + 0.5) / part.shape[0]
                for part in upcoming
            ]
        )
        draws = np.concatenate(upcoming)[np.argsort(ranks, kind="stable")]
        need = draws.shape[0]
        repeat = repeat_price(draws, need, self._costs)
        fraction = batch_fraction(need, repeat, self._costs)
        return [
            min(math.ceil(fraction * need), group.left)
            for group, need in zip(self._groups, needs, strict=True)
        ]

    def _union(self, counts: list[int]) -> Frames:
        parts = [group.upcoming(count) for group, count in zip(self._groups, counts, strict=True)]
        return np.sort(np.concatenate(parts))

    def _rest(self) -> Frames:
        """Return every frame of the unfinished groups that was not observed yet, ascending."""
        parts = [group.unobserved() for group in self._groups if not group.finished]
        return np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.int64)

    def _would_scan(self, batch: Frames, need: int, limit: int | None) -> bool:
        """Return True when observing all the rest is no dearer than going on by samples."""
        left = sum(group.left for group in self._groups if not group.finished)
        if limit is not None and limit < left:
            return False  # the scan would not end: samples say more for the same price
        if self.observed and need < 0.25 * left:
            return False  # far from it, and the check itself costs time on a long relation
        return scan_is_cheaper(self._rest(), batch, need, self._costs)

    def _affordable_pilot(self, counts: list[int]) -> list[int] | None:
        """Return the first batch, smaller where a pass in vain would cost too much; None: scan."""
        rest = self._rest()
        need = sum(group.need() for group in self._groups)
        worst = sum(group.worst() for group in self._groups)
        while pilot_is_rash(rest, self._union(counts), need, worst, self._costs):
            size = sum(counts) // 2
            if size < LEAST_PILOT * len(counts):
                return None
            counts = _cut(counts, size)
        return counts


def _cut(counts: list[int], limit: int) -> list[int]:
    """Return counts in about the same proportions that sum to `limit`."""
    ends = [sum(counts[: i + 1]) for i in range(len(counts))]
    shares = [end * limit // ends[-1] for end in ends]
    return [share - before for share, before in zip(shares, [0, *shares[:-1]], strict=True)]
