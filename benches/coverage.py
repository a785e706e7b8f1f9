"""How often the sampling path's intervals miss, over 1000 seeds a population.

`python benches/coverage.py [--quick] [--json] [--only WORDS] [--without WORDS]`, words of cases'
names; the recorded traces need FOVEAL_ASSETS. What runs
is the product's whole path, draws, rounds, prediction in time and estimator; only the detector is
replayed from an array, so every row says `trace`. Passing is at most the 99.9 % quantile of the
binomial law with delta (73 of 1000). Mutations of the estimator must fail it, or cost 15 % more.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import report
from cases import DELTA, Case, Outcome, reused, scored
from certified import once
from populations import invented, recorded
from scipy import special

from foveal.planner.estimators.deadline import DeadlineBetting

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


RATES = ((0.1, None), (0.1, 0.05))
"""(FNR, FPR) asked of selections whose scores are blind to some of the true frames."""


def selected(runs: int, fnr: float, fpr: float | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the same of certified recall and precision; `certified.py` has more populations."""
    table = np.array([once("hidden", seed, fnr, fpr) for seed in range(runs)], float)
    missed = int(table[:, :3].any(axis=1).sum())
    name = f"certified FNR {fnr:.0%}" + (f" FPR {fpr:.0%}" if fpr else "")
    name += " and precision, hidden true frames (trace)"
    low, high = np.percentile(table[:, 3], [5, 95])
    row = {
        "case": name, "peer": "binomial 99.9 % limit", "ours": missed, "theirs": limit(runs),
        "ratio": round(limit(runs) / max(missed, 1), 2),
        "spread": f"{low:.2f}..{high:.2f} of the frames", "unit": f"misses of {runs}",
    }  # fmt: skip
    return row, {"case": name, "runs": runs, "interval misses": missed, "limit": limit(runs)}


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
        self._bet(variance, self.aim, factor, floor=self._most_floor())


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
            # Without the floor of whole numbers, which would hide what a wrong variance does.
            got = kind(400, upper, epsilon, DELTA, integer="rare" not in name)
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


def proxy_mutations(runs: int) -> list[dict[str, Any]]:
    """Return a row for sound predictions and for each mutation of them, on 600 counts."""
    rng = np.random.default_rng(31)
    values = np.minimum(rng.poisson(0.6, 600), 8).astype(float)
    scores = rng.choice([0.5, 4.0], 600)
    found: list[dict[str, Any]] = []
    for name in (
        "past coefficient",
        "coefficient with the present draw",
        "scores taught the drawn frame",
    ):
        missed = calls = 0
        for seed in range(runs):
            order = np.random.default_rng([seed, 9]).permutation(600)
            got = DeadlineBetting(600, 8.0, 0.15, DELTA, integer=True)
            got.predict_with(-6.0, 12.0, integer=False, variance=0.5, mean=0.0, weight=8.0)
            y, s = values[order], scores[order]
            for t in range(600):
                if got.finished:
                    break
                # One past draw, so that the present one weighs: more would only hide the fault.
                told = slice(max(t - 1, 0), t + 1 if name.startswith("coefficient") else t)
                power = float(s[told] @ s[told]) if t else 0.0
                c = min(max(float(s[told] @ y[told]) / power, 0.0), 1.5) if power > 0 else 0.0
                guess = np.clip(c * s[t:], -6.0, 12.0)
                mine = y[t] if name.startswith("scores") else guess[0]
                got.update(float(y[t]), float(mine), float(guess.mean()))
            missed += not got.low - 1e-9 <= values.mean() <= got.high + 1e-9
            calls += got.samples
        found.append({"mutation": name, "misses": missed, "limit": limit(runs), "runs": runs,
                      "calls": calls / runs})  # fmt: skip
    for row in found[1:]:
        row["caught by"] = "misses" if row["misses"] > row["limit"] else "NO"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within a minute")
    parser.add_argument("--json", action="store_true", help="print only the RESULT line")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--without", default="\n", help="not those whose name holds this")
    chosen = parser.parse_args()

    def wanted(name: str) -> bool:
        return chosen.only in name and chosen.without not in name

    runs = 12 if chosen.quick else 1000
    street = invented()[0]
    every = [Case(population) for population in recorded() + invented()]
    every += [Case(street, kind="known"), Case(street, kind="ratio"), *scored(), *reused()]
    CASES.extend(case for case in every if wanted(case.name))
    step = max(runs // 40, 3)
    starts = range(0, runs, step)
    work = [
        (place, range(at, min(at + step, runs))) for place in range(len(CASES)) for at in starts
    ]
    rows: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        parts = pool.imap(chunk, work)
        for case in CASES:
            row, detail = summary(case, [one for _ in starts for one in next(parts)])
            rows.append(row)
            details.append(detail)
            if not chosen.json:
                words = f"{row['ours']} misses of {runs}, {limit(runs)} allowed; {row['spread']}"
                print(f"{row['case']}: {words}", flush=True)
    for row, detail in (selected(runs, *rates) for rates in RATES if wanted("certified")):
        rows.append(row)
        details.append(detail)
    if not chosen.json:
        few = max(runs // 5, 20)
        print("\n".join(report.table(mutations(few) + proxy_mutations(few))), end="\n\n")
    report.report("coverage", rows, details=details, quiet=chosen.json)


if __name__ == "__main__":
    main()
