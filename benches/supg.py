"""Certified selection against SUPG on SUPG's own labels: targets met, labels used, quality.

`python benches/supg.py [--quick] [--json]`; needs FOVEAL_ASSETS. Recall 0.9 or precision 0.9 at
95 %, 1000 labels as published (Kang et al., VLDB 2020, table 3). The product has no fixed budget:
it buys the labels that its certificate takes, and under FNR alone all that it returns was looked
at. SUPG's bounds are the normal law's; the product's, and the last rule of each list, are valid at
every sample size. Labels are SUPG's files, so every row says `trace`. At most the 99.9 % quantile
of the binomial law may miss (72 of 1000).
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import report
from certified import limit
from supg_peers import PRECISION, RECALL, Array, Mask, Rule

from foveal.planner.estimators.belief import by_score
from foveal.planner.estimators.selection import ACCEPTED, TRUE, SelectionRun

DELTA, TARGET, LABELS = 0.05, 0.9, 1000
SETS = ("imagenet", "tacred")


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


def peer(rule: Rule, scores: Array, truth: Mask, runs: int, *, recall: bool) -> dict[str, float]:
    """Return a rule's misses and what it returns, over seeds."""
    found: list[tuple[bool, float, float, int]] = []
    for seed in range(runs):
        selected = rule(scores, truth, TARGET, LABELS, DELTA, np.random.default_rng(seed))
        got = rates(selected, truth)
        missed = got[0 if recall else 1] < TARGET - 1e-12 and (recall or selected.any())
        found.append((bool(missed), *got, int(selected.sum())))
    misses, recalls, precisions, sizes = np.array(found, float).T
    return {
        "misses": misses.sum(), "recall": recalls.mean(), "precision": precisions.mean(),
        "returned": sizes.mean(), "labels": float(LABELS),
    }  # fmt: skip


def product(
    scores: Array, truth: Mask, runs: int, fnr: float | None, fpr: float | None
) -> dict[str, float]:
    """Return the same of the product's certified selection."""
    found: list[tuple[bool, float, float, int, int]] = []
    for seed in range(runs):
        rng = np.random.default_rng([seed, 1])
        known = np.zeros(len(truth), np.bool_)
        known[rng.choice(len(truth), 100, replace=False)] = True
        run = SelectionRun(
            by_score(scores), known, truth, fnr=fnr, fpr=fpr, delta=DELTA, seed=seed,
            unseen=fpr is not None,
        )  # fmt: skip
        while (batch := run.next_batch()) is not None:
            run.add(truth[batch])
        decisions = run.result().decisions
        selected = (decisions == TRUE) | (decisions == ACCEPTED)
        got = rates(selected, truth)
        wrong = float((selected & ~truth).sum()) / max(float((~truth).sum()), 1.0)
        missed = (fnr is not None and 1 - got[0] > fnr + 1e-12) or wrong > (fpr or 0.0) + 1e-12
        found.append((missed, *got, int(selected.sum()), run.looked + 100))
    misses, recalls, precisions, sizes, labels = np.array(found, float).T
    return {
        "misses": misses.sum(), "recall": recalls.mean(), "precision": precisions.mean(),
        "returned": sizes.mean(), "labels": labels.mean(),
    }  # fmt: skip


def met(got: dict[str, float], runs: int) -> str:
    """Return words where a rule misses its target more often than it may."""
    return "" if got["misses"] <= limit(runs) else " (misses the target)"


def recall_rows(
    case: str, by_rule: dict[str, dict[str, float]], ours: dict[str, float], runs: int
) -> list[dict[str, Any]]:
    """Return rows of labels used: certified for every sample, against bounds by the normal law."""
    return [
        {
            "case": case, "peer": label + met(got, runs), "ours": round(ours["labels"]),
            "theirs": LABELS, "ratio": round(LABELS / ours["labels"], 3),
            "spread": f"misses {got['misses']:.0f} of {runs}; precision {ours['precision']:.2f} "
            f"against {got['precision']:.2f}",
            "unit": "labels",
        }
        for label, got in by_rule.items()
    ]  # fmt: skip


def main() -> None:
    """Run everything and print the report."""
    options = report.arguments("certified selection on SUPG's labels")
    runs, ours = (60, 4) if options.quick else (1000, 20)
    rows: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    for name in SETS:
        data = load(name)
        if data is None:
            continue
        scores, truth = data
        for kind, rules in (("recall", RECALL), ("precision", PRECISION)):
            case = f"{name} {kind} {TARGET:g} (trace)"
            by_rule = {
                label: peer(rule, scores, truth, runs, recall=kind == "recall")
                for label, rule in rules.items()
            }
            for label, got in by_rule.items():
                details.append({"case": case, "rule": label, "runs": runs, **got})
            if kind == "recall":
                rows += recall_rows(case, by_rule, product(scores, truth, ours, 0.1, None), runs)
                continue
            mine = list(by_rule)[-1]
            for label in list(by_rule)[:-1]:
                best, other = by_rule[mine], by_rule[label]
                rows.append({
                    "case": case, "peer": label + met(other, runs),
                    "ours": round(best["recall"], 4), "theirs": round(other["recall"], 4),
                    "ratio": round(best["recall"] / max(other["recall"], 1e-9), 2),
                    "spread": f"misses {best['misses']:.0f} and {other['misses']:.0f} of {runs}, "
                    f"{limit(runs)} allowed",
                    "unit": f"recall of the returned set, {LABELS} labels",
                })  # fmt: skip
        for words, fnr, fpr in (
            ("FNR 10%", 0.1, None), ("FNR 10% FPR 1%", 0.1, 0.01), ("FNR 10% FPR 0.1%", 0.1, 0.001)
        ):  # fmt: skip
            got = product(scores, truth, ours, fnr, fpr)
            details.append({"case": name, "rule": f"product, {words}", "runs": ours, **got})
            rows.append({
                "case": f"{name} {words} (trace)", "peer": "label everything",
                "ours": round(got["labels"]), "theirs": len(truth),
                "ratio": round(len(truth) / got["labels"], 2),
                "spread": f"misses {got['misses']:.0f} of {ours}, {limit(ours)} allowed; recall "
                f"{got['recall']:.3f}, precision {got['precision']:.3f}",
                "unit": "labels",
            })  # fmt: skip
    report.report("supg", rows, details=details, quiet=options.json)


if __name__ == "__main__":
    main()
