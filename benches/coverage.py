"""How often the sampling path's intervals miss, over 1000 seeds a population.

`python benches/coverage.py [--quick] [--json]`; the recorded traces need FOVEAL_ASSETS. What runs
is the product's whole path, draws, rounds, prediction in time and estimator; only the detector is
replayed from an array, so every row says `trace`. Passing is at most the 99.9 % quantile of the
binomial law with delta (72 of 1000). Mutations of the estimator must fail it, or cost 15 % more.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import report
from peers import central_limit
from populations import Population, invented, recorded
from scipy import special

from foveal.planner.estimators import Costs, FrameGroup, MeanTarget, RatioTarget, SamplingRun
from foveal.planner.estimators.deadline import DeadlineBetting

DELTA = 0.05
Outcome = tuple[int, float, float, float]
"""Samples, signed error, low - truth, high - truth."""


def long_groups(frames: np.ndarray[Any, np.dtype[np.int64]]) -> float:
    """Seconds of a pass over a file with few key frames: all of it, whatever is wanted."""
    return 1.0 if frames.shape[0] else 0.0


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
        (got,) = run.intervals()
        assert got.estimate is not None
        assert got.low is not None
        assert got.high is not None
        return (got.samples, got.estimate - self.truth, got.low - self.truth,
                got.high - self.truth)  # fmt: skip

    def clt(self, seed: int) -> bool:
        """Return whether the CLT's rule misses with this seed."""
        values = self.population.values
        order = np.random.default_rng([seed, 5]).permutation(values.shape[0])[:4000]
        stop = central_limit(values[order], values.shape[0], self.epsilon, DELTA)
        return abs(stop.estimate - float(values.mean())) > self.epsilon + 1e-9


CASES: list[Case] = []


def chunk(work: tuple[int, Iterable[int]]) -> list[Outcome]:
    """Run one case on some seeds (in a worker)."""
    place, seeds = work
    return [CASES[place].run(seed) for seed in seeds]


def limit(runs: int, delta: float = DELTA) -> int:
    """Return the 99.9 % quantile of the misses of a valid rule."""
    misses = 0
    while special.bdtr(misses, runs, delta) < 0.999:
        misses += 1
    return misses


def summary(case: Case, outcomes: list[Outcome]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a case's RESULT row and its detail row."""
    table = np.array(outcomes)
    runs, slack = table.shape[0], 1e-9 * max(case.population.upper, 1.0)
    missed = int(((table[:, 2] > slack) | (table[:, 3] < -slack)).sum())
    wrong = int((np.abs(table[:, 1]) > case.epsilon + slack).sum())
    calls = table[:, 0]
    size = case.population.values.shape[0]
    name = f"{case.name} (trace)"
    spread = f"{np.percentile(calls, 5):.0f}..{np.percentile(calls, 95):.0f} calls"
    row = {
        "case": name, "peer": "binomial 99.9 % limit", "ours": missed, "theirs": limit(runs),
        "ratio": round(limit(runs) / max(missed, 1), 2), "spread": spread,
        "unit": f"misses of {runs}",
    }  # fmt: skip
    detail = {
        "case": name, "N": size, "K": case.population.upper, "eps": case.epsilon, "runs": runs,
        "interval misses": missed, "estimate off by > eps": wrong, "limit": limit(runs),
        "calls": float(calls.mean()), "p95": float(np.percentile(calls, 95)),
        "mean error / eps": float(table[:, 1].mean()) / case.epsilon,
        "ordinary": "yes" if case.population.ordinary else "",
        "CLT misses of 200": sum(case.clt(s) for s in range(200)) if case.kind == "mean" else None,
    }  # fmt: skip
    return row, detail


# --- mutations: each must be caught -------------------------------------------------------------


class NoCorrection(DeadlineBetting):
    """As if drawn with replacement: the rest's mean is not corrected for what was drawn."""

    def _wager(
        self, x: float, predicted: float, predicted_mean: float, factor: float, variance: float
    ) -> None:
        del predicted, predicted_mean
        self._risk[:] = self._place
        self._gain_up[:] = x
        self._gain_down[:] = self._range - x
        self._gain -= self._risk
        self._bet(variance, self.aim, factor, floor=self._floor)


class PresentVariance(DeadlineBetting):
    """The bet's variance includes the sample that is bet on."""

    def _wager(
        self, x: float, predicted: float, predicted_mean: float, factor: float, variance: float
    ) -> None:
        apart = x - self._mean
        now = (variance * (1 + self._seen) + apart * apart) / (2 + self._seen)
        super()._wager(x, predicted, predicted_mean, factor, max(now, 4 * apart * apart))


def mutations(runs: int) -> list[dict[str, Any]]:
    """Return a row for the sound estimator and for each mutation of it, on 400 frames."""
    values = np.repeat([0.0, 3.0], 200)
    rare = np.zeros(400)
    rare[::20] = 1.0
    found: list[dict[str, Any]] = []
    for name, kind, what, upper, epsilon, order in (
        ("sound", DeadlineBetting, values, 8.0, 0.15, "random"),
        ("no correction for drawn frames", NoCorrection, values, 8.0, 0.15, "random"),
        ("file order", DeadlineBetting, values, 8.0, 0.15, "file"),
        ("sound, rare", DeadlineBetting, rare, 1.0, 0.02, "random"),
        ("present variance, rare", PresentVariance, rare, 1.0, 0.02, "random"),
    ):
        truth, missed, calls = float(what.mean()), 0, 0
        for seed in range(runs):
            rng = np.random.default_rng([seed, 9])
            stream = rng.permutation(what) if order == "random" else np.roll(what, 7 * seed)
            got = kind(400, upper, epsilon, DELTA, integer=True)
            for value in stream.tolist():
                if got.finished:
                    break
                got.update(value)
            missed += not got.low - 1e-9 <= truth <= got.high + 1e-9
            calls += got.samples
        found.append({"mutation": name, "misses": missed, "limit": limit(runs), "runs": runs,
                      "calls": calls / runs})  # fmt: skip
    for row in found[1:3] + found[4:]:
        sound = found[3] if "rare" in row["mutation"] else found[0]
        dearer = row["calls"] > 1.15 * sound["calls"]
        by = "misses" if row["misses"] > row["limit"] else "cost" if dearer else "NO"
        row["caught by"] = by
    return found


def main() -> None:
    chosen = report.arguments(__doc__ or "")
    runs = 12 if chosen.quick else 1000
    street = invented()[0]
    CASES.extend(Case(population) for population in recorded() + invented())
    CASES.extend((Case(street, kind="known"), Case(street, kind="ratio")))
    step = max(runs // 40, 3)
    work = [
        (place, range(start, start + step))
        for place in range(len(CASES))
        for start in range(0, runs, step)
    ]
    outcomes: list[list[Outcome]] = [[] for _ in CASES]
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        for (place, _), part in zip(work, pool.imap(chunk, work), strict=True):
            outcomes[place] += part
    rows, details = zip(
        *(summary(case, got) for case, got in zip(CASES, outcomes, strict=True)), strict=True
    )
    if not chosen.json:
        print("\n".join(report.table(mutations(max(runs // 5, 20)))), end="\n\n")
    report.report("coverage", rows, details=details, quiet=chosen.json)


if __name__ == "__main__":
    main()
