"""What coverage is measured on: a population, what is asked of it, and a run of it by seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from peers import central_limit
from populations import Array, Population

from foveal.planner.estimators import (
    Costs,
    FrameGroup,
    Interval,
    MeanTarget,
    RatioTarget,
    SamplingRun,
)
from foveal.planner.estimators.distinct_tracks import largest
from foveal.planner.protocols import FrameFacts, Profile
from foveal.planner.search import Prices, SearchRun
from foveal.planner.search.belief import UNKNOWN

DELTA = 0.05
Outcome = tuple[int, float, float, float]
"""Samples, signed error, low - truth, high - truth."""


def long_groups(frames: np.ndarray[Any, np.dtype[np.int64]]) -> float:
    """Seconds of a pass over a file with few key frames: all of it, whatever is wanted."""
    return 1.0 if frames.shape[0] else 0.0


def outcome(got: list[Interval], truths: list[float]) -> Outcome:
    """Return what came of a run: of several rows the worst, for they hold together."""
    errors: list[float] = []
    lows: list[float] = []
    highs: list[float] = []
    for interval, truth in zip(got, truths, strict=True):
        assert interval.estimate is not None
        assert interval.low is not None
        assert interval.high is not None
        errors.append(interval.estimate - truth)
        lows.append(interval.low - truth)
        highs.append(interval.high - truth)
    calls = sum(interval.samples for interval in got)
    return calls, max(errors, key=abs), max(lows), min(highs)


class Case:
    """A population with what is asked of it, ready to run by seed."""

    def __init__(self, population: Population, *, kind: str = "mean") -> None:
        """Prepare; `kind` is mean, known (the busiest quarter is cached) or ratio."""
        self.population = population
        self.kind = kind
        values = population.values
        self.name = population.name + ("" if kind == "mean" else f", {kind}")
        frames = np.arange(values.shape[0], dtype=np.int64)
        target = MeanTarget(population.upper, population.epsilon, integer=population.integer)
        self.columns, self.truth, self.epsilon = (
            values[:, None],
            float(values.mean()),
            (population.epsilon),
        )
        self.group = FrameGroup(frames, (target,))
        if kind == "known":
            known = np.zeros(values.shape[0], np.bool_)
            known[np.argsort(values, kind="stable")[-values.shape[0] // 4 :]] = True
            self.group = FrameGroup(frames, (target,), known, self.columns[known])
        elif kind == "ratio":
            rng = np.random.default_rng(17)
            sums = np.array([rng.gamma(4, 12, int(n)).clip(5, 150).sum() for n in values])
            self.columns = np.stack([sums, values], axis=1)
            self.truth, self.epsilon = float(sums.sum() / values.sum()), 5.0
            wanted = RatioTarget(5, 150, population.upper, self.epsilon, 0, 1)
            self.group = FrameGroup(frames, (wanted,))

    def run(self, seed: int) -> Outcome:
        """Return what the product answers with this seed."""
        # Cheap and dear seeking by turns: the first means many batches, the second few.
        costs = Costs(batch=8) if seed % 2 else Costs(decode=long_groups)
        run = SamplingRun([self.group], delta=DELTA, seed=seed, costs=costs)
        while (batch := run.next_batch()) is not None:
            run.add(batch, self.columns[batch])
        return outcome(run.intervals(), [self.truth])

    def clt(self, seed: int) -> bool:
        """Return whether the CLT's rule misses with this seed."""
        values = self.population.values
        order = np.random.default_rng([seed, 5]).permutation(values.shape[0])[:4000]
        stop = central_limit(values[order], values.shape[0], self.epsilon, DELTA)
        return abs(stop.estimate - float(values.mean())) > self.epsilon + 1e-9


class ScoredCase(Case):
    """A population that is also seen through a proxy.

    `kind` says how: "before" hands the scores over before the first batch, "after" once 60 frames
    were observed, "trained" then too, but made from what was observed (so they are exact there);
    "twice" hands over bad scores first and these later; "ranked" knows the 200 frames that the
    proxy puts first and those next to them that hold most (a search, then an average); "rows" asks
    for four rows that hold together.
    """

    def __init__(self, population: Population, proxy: str, scores: Array, kind: str) -> None:
        """Prepare; `proxy` names the scores, float64 [frames]."""
        super().__init__(population)
        self.kind = kind
        self.name = f"{population.name}, {proxy} proxy, {kind}"
        self.scores = scores
        values, frames, targets = population.values, self.group.frames, self.group.targets
        self.groups, self.truths, self.labelled = [self.group], [self.truth], None
        if kind == "ranked":
            known = np.zeros(values.shape[0], np.bool_)
            first = np.argsort(-scores, kind="stable")[:200]
            known[first] = True
            near = np.clip(first[values[first] >= np.median(values[first])] + 1, 0, len(values) - 1)
            known[near[values[near] > 0]] = True
            self.groups = [FrameGroup(frames, targets, known, self.columns[known])]
            self.labelled = known
        elif kind == "rows":
            parts = np.array_split(frames, 4)
            self.groups = [FrameGroup(part, targets) for part in parts]
            self.truths = [float(values[part].mean()) for part in parts]

    def run(self, seed: int) -> Outcome:
        """Return what the product answers with this seed."""
        costs = Costs(batch=8) if seed % 2 else Costs(decode=long_groups)
        run = SamplingRun(self.groups, delta=DELTA, seed=seed, costs=costs)
        frames, rng = self.group.frames, np.random.default_rng([seed, 3])
        if self.kind in ("before", "ranked", "rows"):
            run.use_scores(frames, self.scores, labelled=self.labelled)
        elif self.kind == "twice":
            run.use_scores(frames, rng.permutation(self.scores))
        waiting = self.kind in ("after", "trained", "twice")
        seen = np.zeros(frames.shape[0], np.bool_)
        while True:
            if waiting and run.observed >= 60:
                waiting = False
                scores = self.scores.copy()
                if self.kind == "trained":
                    scores[seen] = self.columns[seen, 0]
                run.use_scores(frames, scores)
            batch = run.next_batch(48 if waiting else None)
            if batch is None:
                return outcome(run.intervals(), self.truths)
            run.add(batch, self.columns[batch])
            seen[batch] = True


class SearchedCase(Case):
    """`LIMIT n GAP m` first, then a mean over all frames: what the search looked at is known."""

    def __init__(self, population: Population, least: float, limit: int, gap: int) -> None:
        """Prepare to search for `limit` frames of `least` or more, `gap` apart."""
        super().__init__(population)
        self.kind = "searched"
        self.name = f"{population.name}, LIMIT {limit} of >= {least:g}, then the mean"
        self.search = least, limit, gap

    def run(self, seed: int) -> Outcome:
        """Return what the mean is said to be with this seed."""
        values, (least, limit, gap) = self.population.values, self.search
        size = len(values)
        search = SearchRun(
            np.zeros(size, np.int64), np.arange(size, dtype=np.float64), want=limit, gap=gap,
            second=10.0, prices=Prices(FrameFacts(size, 0, size // 20), Profile(1e-3, 0.01, 0.036)),
            methods=frozenset({"search", "random"}), belief=UNKNOWN, least=(least,), seed=seed,
        )  # fmt: skip
        known = np.zeros(size, np.bool_)
        while (step := search.next()) is not None:
            for at in range(0, len(step.frames), step.chunk):
                frames = step.frames[at : at + step.chunk]
                frames = frames[search.open[frames]]
                if not len(frames):
                    continue
                known[frames] = True
                more = search.add(step, frames, values[frames] >= least)
                search.label(step, frames, values[frames, None])
                if not more:
                    break
        group = FrameGroup(self.group.frames, self.group.targets, known, self.columns[known])
        run = SamplingRun([group], delta=DELTA, seed=seed, costs=Costs(batch=8))
        while (batch := run.next_batch()) is not None:
            run.add(batch, self.columns[batch])
        return outcome(run.intervals(), [self.truth])


class TracksCase(Case):
    """The number of distinct tracks: a frame contributes 1/L for every track of L frames in it."""

    def __init__(self, name: str, visits: Array, epsilon: float, seed: int) -> None:
        """Let tracks of `visits` frames begin anywhere in 12,000 frames; those under 10 are none.

        `epsilon`: of the number of tracks.
        """
        size, least, most = 12_000, 10, 8
        rng = np.random.default_rng(seed)
        values, present, tracks = np.zeros(size), np.zeros(size, np.int64), 0
        for visit in [int(v) for v in visits]:
            start = int(rng.integers(0, size - visit))
            place = slice(start, start + visit)
            if visit < least or present[place].max() >= most:
                continue
            values[place] += 1 / visit
            present[place] += 1
            tracks += 1
        upper = largest(most, least)
        population = Population(name, values, upper, epsilon, integer=False)
        super().__init__(population)
        self.kind, self.truth = "tracks", float(tracks)
        self.name = f"{name}, distinct tracks"
        target = MeanTarget(upper, epsilon, scale=float(size))
        self.group = FrameGroup(self.group.frames, (target,))

    def run(self, seed: int) -> Outcome:
        """Return what the product answers with this seed."""
        run = SamplingRun([self.group], delta=DELTA, seed=seed, temporal=False)
        while (batch := run.next_batch()) is not None:
            run.add(batch, self.columns[batch])
        return outcome(run.intervals(), [self.truth])


def reused() -> list[Case]:
    """Return means after searches, and numbers of tracks from plain to hostile."""
    rng = np.random.default_rng(41)
    level = np.repeat(rng.gamma(1.3, 1.0, 120), 25)
    busy = np.minimum(rng.poisson(level), 8).astype(float)
    calm = np.repeat(rng.integers(0, 4, 20), 150).astype(float)
    calm[rng.choice(3000, 15, replace=False)] = 8.0
    rare = np.zeros(6000)
    for start in rng.choice(5900, 6, replace=False).tolist():
        rare[start : start + 12] = 1.0
    short: Array = np.concatenate([rng.gamma(1, 150, 60) + 1, np.full(40, 10.0)])
    return [
        SearchedCase(Population("3000 frames of a street", busy, 8, 0.15), 6, 10, 30),
        SearchedCase(Population("calm but for rare 8s", calm, 8, 0.15), 8, 5, 10),
        SearchedCase(Population("1.2 % in stretches", rare, 1, 0.01), 1, 3, 10),
        TracksCase("visits of 15 s", rng.gamma(3, 50, 150), 30, 1),
        TracksCase("visits of all lengths", short, 40, 2),
        TracksCase("few short visits", np.full(8, 12.0), 20, 3),
    ]


def scored() -> list[Case]:
    """Return a street and rare events through proxies from good to hostile."""
    rng = np.random.default_rng(23)
    level = np.repeat(rng.gamma(1.3, 1.0, 80), 15)
    street = Population("1200 frames", np.minimum(rng.poisson(level), 8).astype(float), 8, 0.2)
    rows = Population("2000 frames in 4 rows", np.minimum(rng.poisson(1.2, 2000), 8).astype(float),
                      8, 0.4)  # fmt: skip
    rare = np.zeros(6000)
    rare[rng.choice(6000, 42, replace=False)] = 1.0
    blind = rare.copy()
    blind[rng.choice(np.flatnonzero(rare), 14, replace=False)] = 0.0
    events = Population("0.7 % events", rare, 1, 0.012)
    calm = np.repeat(rng.integers(0, 4, 20), 150).astype(float)
    spiked = calm.copy()
    spiked[rng.choice(3000, 15, replace=False)] = 8.0
    spikes = Population("calm but for rare 8s", spiked, 8, 0.15)
    good, weak = _noisy(street.values, 0.9, rng), _noisy(street.values, 0.3, rng)
    return [
        ScoredCase(street, "good", good, "before"),
        ScoredCase(street, "perfect", street.values, "before"),
        ScoredCase(events, "perfect", rare, "before"),
        ScoredCase(street, "weak", weak, "before"),
        ScoredCase(street, "shuffled", rng.permutation(good), "before"),
        ScoredCase(street, "anti-correlated", 8 - good, "before"),
        ScoredCase(street, "day-shifted", np.roll(1.4 * good + 1.0, 300), "before"),
        ScoredCase(street, "good", good, "after"),
        ScoredCase(street, "useless", rng.permutation(good), "trained"),
        ScoredCase(street, "good", good, "twice"),
        ScoredCase(street, "weak", weak, "ranked"),
        ScoredCase(events, "right but for a third of them", blind, "before"),
        ScoredCase(events, "right but for a third of them", blind, "ranked"),
        ScoredCase(spikes, "right but for the 8s", calm, "before"),
        ScoredCase(rows, "good", _noisy(rows.values, 0.9, rng), "rows"),
    ]


def _noisy(values: Array, r2: float, rng: np.random.Generator) -> Array:
    """Return scores in the unit of the values whose squared correlation with them is r2."""
    noise: Array = rng.standard_normal(len(values)) * float(values.std()) * (1 / r2 - 1) ** 0.5
    return values.mean() + r2 * (values + noise - values.mean())
