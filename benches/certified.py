"""How often certified selections miss their rates, over 1000 seeds a population.

`python benches/certified.py [--quick] [--json]`. What runs is the product's whole choice of frames;
labels come from an array, so every row says `trace`. Scores are good, useless, turned round, blind
to some of the true frames, or drift within the video; true frames are few, none or all. A run
misses where a rate is above what was asked, or above what the run itself certified in the end,
precision included. At most the 99.9 % quantile of the binomial law may miss (73 of 1000).
"""

from __future__ import annotations

import multiprocessing
import os
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import report
from scipy import special

from foveal.planner.estimators.belief import by_score
from foveal.planner.estimators.neighbours import by_neighbours
from foveal.planner.estimators.selection import ACCEPTED, TRUE, SelectionRun

DELTA, FRAMES, KNOWN = 0.05, 2000, 60
KINDS = (
    "usual", "hidden", "perfect", "shuffled", "opposite", "drift", "few", "none", "all", "events",
)  # fmt: skip
RATES = ((0.1, None), (0.1, 0.05), (None, 0.02))


def limit(runs: int) -> int:
    """Return the 99.9 % quantile of a valid rule's misses."""
    misses = 0
    while special.bdtr(misses, runs, DELTA) < 0.999:
        misses += 1
    return misses


def population(kind: str, seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return (scores, truth) of one video."""
    rng = np.random.default_rng([seed, 7])
    share = {"few": 0.01, "all": 1.0, "none": 0.0}.get(kind, 0.12)
    truth = rng.random(FRAMES) < share
    if kind == "events":
        starts = rng.integers(0, FRAMES, 8)
        truth = np.zeros(FRAMES, np.bool_)
        for start in starts.tolist():
            truth[start : start + int(rng.integers(10, 60))] = True
    scores = np.where(truth, rng.beta(6, 2.5, FRAMES), rng.beta(1.2, 8, FRAMES))
    if kind == "hidden":
        hidden = truth & (rng.random(FRAMES) < 0.15)
        scores[hidden] = rng.beta(1.2, 8, int(hidden.sum()))
    elif kind == "perfect":
        scores = truth.astype(np.float64)
    elif kind == "shuffled":
        scores = rng.permutation(scores)
    elif kind == "opposite":
        scores = -scores
    elif kind == "drift":
        scores = scores + np.where(truth, np.linspace(0.2, -0.6, FRAMES), 0.0)
    return scores, truth


class Outcome(NamedTuple):
    """What came of one run: which promises it broke, and the share of the frames looked at."""

    fnr: bool
    fpr: bool
    bounds: bool
    looked: float


def once(kind: str, seed: int, fnr: float | None, fpr: float | None) -> Outcome:
    """Run the product's selection of one population with one seed."""
    scores, truth = population(kind, seed)
    rng = np.random.default_rng([seed, 1])
    known = np.zeros(FRAMES, np.bool_)
    known[rng.choice(FRAMES, KNOWN, replace=False)] = True
    frames = np.arange(FRAMES, dtype=np.int64)
    belief = (
        by_neighbours(frames, np.zeros(0, np.int64), scores)
        if kind == "events"
        else by_score(scores)
    )
    run = SelectionRun(
        belief, known, truth, fnr=fnr, fpr=fpr, delta=DELTA, seed=seed, unseen=fpr is not None
    )
    while (batch := run.next_batch()) is not None:
        run.add(truth[batch])
    told = run.result()
    returned = (told.decisions == TRUE) | (told.decisions == ACCEPTED)
    lost = float((truth & ~returned).sum()) / max(float(truth.sum()), 1.0)
    wrong = float((returned & ~truth).sum()) / max(float((~truth).sum()), 1.0)
    impure = float((returned & ~truth).sum()) / max(float(returned.sum()), 1.0)
    above = lost > told.fnr + 1e-12 or wrong > told.fpr + 1e-12
    return Outcome(
        lost > (fnr or 0) + 1e-12,
        wrong > (fpr or 0) + 1e-12,
        above or impure > 1 - told.precision + 1e-12,
        (run.looked + KNOWN) / FRAMES,
    )


def _seeds(work: tuple[str, range, float | None, float | None]) -> list[Outcome]:
    """Run one case on some seeds (in a worker)."""
    kind, seeds, fnr, fpr = work
    return [once(kind, seed, fnr, fpr) for seed in seeds]


def main() -> None:
    """Run every population under every pair of rates and print the report."""
    options = report.arguments("misses of certified selections")
    runs = 12 if options.quick else 1000
    step = max(runs // 40, 3)
    pool = multiprocessing.get_context("fork").Pool(os.cpu_count())
    rows: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    for fnr, fpr in RATES:
        words = " ".join(
            f"{name} {rate:.0%}" for name, rate in (("FNR", fnr), ("FPR", fpr)) if rate is not None
        )
        for kind in KINDS:
            work = [(kind, range(s, min(s + step, runs)), fnr, fpr) for s in range(0, runs, step)]
            found = np.array([o for part in pool.map(_seeds, work, 1) for o in part], float)
            missed = int(found[:, :3].any(axis=1).sum())
            low, high = np.percentile(found[:, 3], [5, 95])
            rows.append({
                "case": f"{kind}, {words} (trace)", "peer": "binomial 99.9 % limit",
                "ours": missed, "theirs": limit(runs),
                "ratio": round(limit(runs) / max(missed, 1), 2),
                "spread": f"{low:.2f}..{high:.2f} of the frames looked at",
                "unit": f"misses of {runs}",
            })  # fmt: skip
            details.append({
                "case": f"{kind}, {words}", "runs": runs, "missed FNR": int(found[:, 0].sum()),
                "missed FPR": int(found[:, 1].sum()), "beyond own bounds": int(found[:, 2].sum()),
                "limit": limit(runs), "looked at": float(found[:, 3].mean()),
            })  # fmt: skip
            if not options.json:
                print("\n".join(report.table(details[-1:])), flush=True)
    pool.close()
    report.report("certified", rows, details=details, quiet=options.json)


if __name__ == "__main__":
    main()
