"""Certified selection against SUPG on SUPG's own labels: targets met, labels used, sets returned.

`python benches/supg.py [--quick] [--json]`; needs FOVEAL_ASSETS. Recall 0.9 or precision 0.9 at
95 %, 1000 labels as published (Kang et al., VLDB 2020, table 3) and 10,000, 1000 runs of every
rule. The product has no fixed budget: it buys the labels that its certificate takes, and under FNR
alone all that it returns was looked at. SUPG's bounds are the normal law's; the product's, and the
last rule of each list, are valid at every sample size. Labels are SUPG's files, so every row says
`trace`; what runs is the class that statements run, on one score and 100 labels known before. At
most the 99.9 % quantile of the binomial law may miss.
"""

from __future__ import annotations

import gzip
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import report
from certified import limit
from supg_peers import PRECISION, RECALL, Array, Mask, Rule

from foveal.planner.estimators.belief import by_score
from foveal.planner.estimators.selection import ACCEPTED, TRUE, SelectionRun

DELTA, TARGET = 0.05, 0.9
BUDGETS = (1000, 10_000)
SETS = ("tacred", "imagenet")


def load(name: str) -> tuple[Array, Mask] | None:
    """Return (scores, truth) of one of SUPG's label files, or None where it is not to be had."""
    for root in os.environ.get("FOVEAL_ASSETS", "").split(os.pathsep):
        path = Path(root) / "labels" / "supg" / f"{name}.csv.gz"
        if root and path.is_file():
            with gzip.open(path, "rt", encoding="utf-8") as file:
                cells = [line.split(",") for line in file.read().split()[1:]]
            return (
                np.array([float(c[2]) for c in cells]),
                np.array([c[1] == "True" for c in cells]),
            )
    return None


def rates(selected: Mask, truth: Mask) -> tuple[float, float]:
    """Return (recall, precision) of a set."""
    hits = int((selected & truth).sum())
    return hits / max(int(truth.sum()), 1), hits / max(int(selected.sum()), 1)


def peer(
    rule: Rule, scores: Array, truth: Mask, labels: int, runs: int, *, recall: bool
) -> dict[str, float]:
    """Return a rule's misses and what it returns, over seeds."""
    found: list[tuple[bool, float, float, int]] = []
    for seed in range(runs):
        selected = rule(scores, truth, TARGET, labels, DELTA, np.random.default_rng(seed))
        got = rates(selected, truth)
        missed = got[0 if recall else 1] < TARGET - 1e-12 and (recall or selected.any())
        found.append((bool(missed), *got, int(selected.sum())))
    misses, recalls, precisions, sizes = np.array(found, float).T
    return {
        "misses": float(misses.sum()), "recall": float(recalls.mean()),
        "precision": float(precisions.mean()), "returned": float(sizes.mean()),
        "labels": float(labels),
    }  # fmt: skip


def once(
    scores: Array, truth: Mask, seed: int, fnr: float | None, fpr: float | None
) -> tuple[bool, float, float, int, int, bool]:
    """Run the product's selection: (missed, recall, precision, returned, labels, impure)."""
    rng = np.random.default_rng([seed, 1])
    known = np.zeros(len(truth), np.bool_)
    known[rng.choice(len(truth), 100, replace=False)] = True
    run = SelectionRun(
        by_score(scores), known, truth, fnr=fnr, fpr=fpr, delta=DELTA, seed=seed,
        unseen=fpr is not None,
    )  # fmt: skip
    while (batch := run.next_batch()) is not None:
        run.add(truth[batch])
    told = run.result()
    selected = (told.decisions == TRUE) | (told.decisions == ACCEPTED)
    got = rates(selected, truth)
    wrong = float((selected & ~truth).sum()) / max(float((~truth).sum()), 1.0)
    missed = (fnr is not None and 1 - got[0] > fnr + 1e-12) or wrong > (fpr or 0.0) + 1e-12
    missed |= got[1] < told.precision - 1e-12  # the precision that it certified
    return missed, *got, int(selected.sum()), run.looked + 100, got[1] < TARGET - 1e-12


DATA: dict[str, tuple[Array, Mask]] = {}


def _seeds(
    work: tuple[str, range, float | None, float | None],
) -> list[tuple[bool, float, float, int, int, bool]]:
    name, seeds, fnr, fpr = work
    return [once(*DATA[name], seed, fnr, fpr) for seed in seeds]


def product(name: str, runs: int, fnr: float | None, fpr: float | None) -> dict[str, float]:
    """Return what the product's certified selection misses and returns, over seeds."""
    step = max(runs // 20, 1)
    work = [(name, range(at, min(at + step, runs)), fnr, fpr) for at in range(0, runs, step)]
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        found = [one for part in pool.imap(_seeds, work) for one in part]
    misses, recalls, precisions, sizes, labels, impure = np.array(found, float).T
    return {
        "misses": float(misses.sum()), "recall": float(recalls.mean()),
        "precision": float(precisions.mean()), "returned": float(sizes.mean()),
        "labels": float(labels.mean()), "precision below 0.9": float(impure.sum()),
    }  # fmt: skip


def met(got: dict[str, float], runs: int) -> str:
    """Return words where a rule misses its target more often than it may."""
    return "" if got["misses"] <= limit(runs) else " (misses the target)"


WAYS: tuple[tuple[str, float | None, float | None, int], ...] = (
    ("FNR 10%", 0.1, None, 1000),
    ("FNR 10% FPR 0.1%", 0.1, 0.001, 1000),
    ("FNR 10% FPR 1%", 0.1, 0.01, 200),
)
"""What the product is asked for, and how often."""


def against(
    case: str, mine: dict[str, float], label: str, other: dict[str, float], runs: int
) -> list[dict[str, Any]]:
    """Return rows of labels used, set sizes and recall, the product's and a rule's."""
    spread = (
        f"misses {mine['misses']:.0f} and {other['misses']:.0f} of {runs}, {limit(runs)} allowed; "
        f"recall {mine['recall']:.3f} and {other['recall']:.3f}, "
        f"precision {mine['precision']:.3f} and {other['precision']:.3f}"
    )
    found: list[dict[str, Any]] = []
    for what, unit in (("labels", "labels"), ("returned", "frames returned"), ("recall", "recall")):
        a, b = mine[what], other[what]
        found.append({
            "case": f"{case} (trace)", "peer": f"{label}, {other['labels']:.0f} labels"
            + met(other, runs), "ours": round(a, 3), "theirs": round(b, 3),
            "ratio": round(a / b if what == "recall" else b / a, 3), "spread": spread,
            "unit": unit,
        })  # fmt: skip
    return found


def main() -> None:
    """Run everything and print the report."""
    options = report.arguments("certified selection on SUPG's labels")
    runs = 60 if options.quick else 1000
    rows: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    for name in SETS:
        data = load(name)
        if data is None:
            continue
        DATA[name] = scores, truth = data
        found: dict[tuple[str, str, int], dict[str, float]] = {}
        for kind, rules in (("recall", RECALL), ("precision", PRECISION)):
            for labels in BUDGETS:
                for label, rule in rules.items():
                    got = peer(rule, scores, truth, labels, runs, recall=kind == "recall")
                    found[kind, label, labels] = got
                    case = f"{name}, {kind} >= {TARGET:g}"
                    details.append({"case": case, "rule": label, "runs": runs, **got})
        for words, fnr, fpr, times in WAYS:
            ours = 4 if options.quick else times
            got = product(name, ours, fnr, fpr)
            if not options.json:
                print(f"{name} {words}: {got['misses']:.0f} misses of {ours}", flush=True)
            details.append({"case": name, "rule": f"product, {words}", "runs": ours, **got})
            kind = "recall" if fpr is None else "precision"
            for labels in BUDGETS:
                other = found[kind, "SUPG IS-CI", labels]
                case = f"{name} {words} against {kind} {TARGET:g}"
                rows += against(case, got, "SUPG IS-CI", other, runs)
            rows.append({
                "case": f"{name} {words} (trace)", "peer": "label everything",
                "ours": round(got["labels"]), "theirs": len(truth),
                "ratio": round(len(truth) / got["labels"], 2),
                "spread": f"misses {got['misses']:.0f} of {ours}, {limit(ours)} allowed",
                "unit": "labels",
            })  # fmt: skip
        for labels in BUDGETS:  # rules that hold at every sample size, at SUPG's budgets
            for kind, rules in (("recall", RECALL), ("precision", PRECISION)):
                label = list(rules)[-1]
                best, other = found[kind, label, labels], found[kind, "SUPG IS-CI", labels]
                what = "returned" if kind == "recall" else "recall"
                small = kind == "recall"
                ratio = other[what] / best[what] if small else best[what] / other[what]
                rows.append({
                    "case": f"{name} {kind} {TARGET:g}, {label} (trace)",
                    "peer": "SUPG IS-CI" + met(other, runs), "ours": round(best[what], 3),
                    "theirs": round(other[what], 3), "ratio": round(ratio, 3),
                    "spread": f"misses {best['misses']:.0f} and {other['misses']:.0f} of {runs}, "
                    f"{limit(runs)} allowed",
                    "unit": f"{'frames' if small else 'recall'} returned, {labels} labels",
                })  # fmt: skip
    report.report("supg", rows, details=details, quiet=options.json)


if __name__ == "__main__":
    main()
