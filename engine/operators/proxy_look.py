"""Scores of proxies for a sampling run: stored ones at once, others when training them pays.

A proxy only predicts; the run's intervals hold whatever it says. So one may be trained on frames
that this very run drew: it predicts frames that are drawn later.
"""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

from foveal.engine import proxies
from foveal.engine.catalog.videos import LiveTable, Positions
from foveal.engine.executor import Runtime
from foveal.engine.inference import ensure
from foveal.engine.operators.frame_groups import FrameGroups
from foveal.planner.estimators import Interval, SamplingRun
from foveal.planner.logical import Aggregate
from foveal.planner.lower.aggregates import REWRITE_LABELS
from foveal.planner.lower.proxied import (
    LABELS_AGAIN,
    LEARN_LABELS,
    PRIOR_R2,
    SCORE_SECONDS,
    TRAIN_SECONDS,
    stored_for,
)
from foveal.planner.physical import SampleAggregate
from foveal.planner.protocols import ProxyFacts, Quantity

MARGIN = 1.2
"""A proxy must promise to save so many times what it costs: it may turn out worse than taken."""


class ProxyLook:
    """What proxies do for one sampling run over the frames at `positions`."""

    def __init__(
        self, node: SampleAggregate, runtime: Runtime, table: LiveTable, positions: Positions
    ) -> None:
        """Train and score nothing yet."""
        self._node = node
        self._runtime = runtime
        self._table = table
        self._positions = np.sort(positions)
        columns = _first_columns(node.aggregates)
        self._wanted = [(c, a.quantity) for c, a in zip(columns, node.aggregates, strict=True)]
        self._tried = 0
        self._open = node.looks
        self.used = False

    def begin(self, run: SamplingRun) -> None:
        """Give the run the scores of stored proxies, where the plan says so."""
        if self._node.method == "proxy":
            for column, facts in self._stored():
                self._give(run, column, facts)
            self._open = False

    def consider(self, run: SamplingRun) -> None:
        """Score every frame, with proxies trained on what is labelled, as far as that should pay.

        What a pilot shows of the values may show, too, that a stored proxy pays after all.
        """
        if not self._open or run.scanning or run.finished:
            return
        profile = self._table.facts().profile
        price = self._price(profile.thumbnail)
        chosen = self._stored()
        if len(chosen) < len(self._wanted):
            labels = int(self._table.processed()[self._positions].sum())
            if labels < max(LEARN_LABELS, LABELS_AGAIN * self._tried):
                return
            train = len(self._wanted) * TRAIN_SECONDS
            if run.saved_by(PRIOR_R2) * profile.detect_frame < MARGIN * (price + train):
                return
            self._tried = labels
            chosen = self._trained()
        if len(chosen) < len(self._wanted):
            return
        gain = run.saved_by(min(facts.r2 for _, facts in chosen)) * profile.detect_frame
        if gain < MARGIN * price:
            return
        for column, facts in chosen:
            self._give(run, column, facts)
        self._open = False
        became = "learn" if self._tried else "proxy"
        self._runtime.context.report.turned(self._node.method, became)

    def _stored(self) -> list[tuple[int, ProxyFacts]]:
        """Return the useful stored proxies with the columns that they predict."""
        table = self._table.facts()
        found: list[tuple[int, ProxyFacts]] = []
        for column, quantity in self._wanted:
            stored = stored_for(quantity, table) if quantity is not None else None
            if stored is not None and stored.useful:
                found.append((column, stored))
        return found

    def _trained(self) -> list[tuple[int, ProxyFacts]]:
        """Return proxies trained on what is stored, up to the first that is of no use."""
        found: list[tuple[int, ProxyFacts]] = []
        for column, quantity in self._wanted:
            assert isinstance(quantity, Quantity)
            facts = proxies.try_train(self._table, quantity, self._runtime)
            if facts is None or not facts.useful:
                break
            found.append((column, facts))
        return found

    def _price(self, thumbnail: float) -> float:
        """Return the seconds of scoring every frame once; training comes on top."""
        kept = sum(video.thumbnails for video in self._table.facts().videos)
        unseen = 1 - kept / max(self._table.frames, 1)
        return len(self._positions) * (unseen * thumbnail + len(self._wanted) * SCORE_SECONDS)

    def _give(self, run: SamplingRun, column: int, facts: ProxyFacts) -> None:
        found = proxies.scores(self._table, facts, self._positions, self._runtime)
        begin = time.perf_counter()
        run.use_scores(self._positions, found.values, column=column, labelled=found.labelled)
        self._runtime.context.estimate_seconds += time.perf_counter() - begin
        self.used = True


def rewrite(
    node: SampleAggregate, runtime: Runtime, table: LiveTable, groups: FrameGroups
) -> list[Interval]:
    """Return answers by proxies alone, without a bound.

    Where a proxy is of no use, labels interpolated in time take its place. Frames whose detections
    are stored count as they are. Source: BlazeIt (VLDB 2020), section 6.2, which rewrites queries
    so under a bootstrap test on another day; that bounds nothing on this one.
    """
    positions = np.sort(groups.positions)
    _label_some(table, positions, node.seed, runtime)
    known = table.processed()[positions]
    facts = table.facts()
    found: list[Interval] = []
    for target, aggregate in enumerate(node.aggregates):
        quantity = aggregate.quantity
        assert quantity is not None
        proxy = stored_for(quantity, facts)
        if proxy is None or not proxy.useful:
            proxy = proxies.try_train(table, quantity, runtime)
        labels = proxies.labels(table, quantity, positions[known], runtime)
        told = "labelled frames, joined in time,"
        if proxy is not None and proxy.useful:
            values = proxies.scores(table, proxy, positions, runtime).values.astype(np.float64)
            told = f"the proxy {proxy.name}"
        else:
            values = _interpolated(table, positions, positions[known], labels)
        values[known] = labels
        runtime.context.notice(
            f"{told} answered {aggregate.source}: nothing bounds the error", severity="WARNING"
        )
        if quantity.value == "1":
            values = np.clip(values, 0, table.definition.max_count)
        found += _means(groups, positions, values, known, target, aggregate)
    return sorted(found, key=lambda i: (i.group, i.target))


def _interpolated(
    table: LiveTable, positions: Positions, known: Positions, labels: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return labels joined by straight lines within each video, float64 [positions]."""
    values = np.full(len(positions), labels.mean() if len(labels) else 0.0)
    for i in range(len(table.videos)):
        low, high = np.searchsorted(positions, table.starts[i : i + 2])
        first, last = np.searchsorted(known, table.starts[i : i + 2])
        if last > first:
            values[low:high] = np.interp(positions[low:high], known[first:last], labels[first:last])
    return values


def _means(
    groups: FrameGroups,
    positions: Positions,
    values: npt.NDArray[np.float64],
    known: npt.NDArray[np.bool_],
    target: int,
    aggregate: Aggregate,
) -> list[Interval]:
    at = np.searchsorted(positions, groups.positions)
    sizes = np.bincount(groups.group, minlength=groups.count)
    totals = np.bincount(groups.group, weights=values[at], minlength=groups.count)
    counted = np.bincount(groups.group, weights=known[at], minlength=groups.count)
    found: list[Interval] = []
    for g in range(groups.count):
        size = int(sizes[g])
        estimate = float(totals[g]) / max(size, 1)
        if aggregate.kind != "fcount":
            estimate *= size
        found.append(Interval(g, target, estimate, None, None, 0, int(counted[g]), False, "none"))
    return found


def _label_some(table: LiveTable, positions: Positions, seed: int, runtime: Runtime) -> None:
    """See to it that some frames spread over time are labelled."""
    known = int(table.processed()[positions].sum())
    if known >= REWRITE_LABELS or not len(positions):
        return
    edges = np.linspace(0, len(positions), min(REWRITE_LABELS, len(positions)) + 1).astype(int)
    generator = np.random.default_rng(seed)
    ensure(table, positions[generator.integers(edges[:-1], edges[1:])], runtime.context)


def _first_columns(aggregates: tuple[Aggregate, ...]) -> list[int]:
    """Return the observed column of each aggregate: an average takes two."""
    widths = [2 if a.kind == "avg" else 1 for a in aggregates]
    return [sum(widths[:i]) for i in range(len(widths))]


__all__ = ["ProxyLook", "rewrite"]
