"""Selections to physical nodes: every frame, or as few as certify the error rates asked for."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from foveal.planner import cost
from foveal.planner.estimators.ceiling import Ceiling
from foveal.planner.estimators.selection_plan import plan_sides, split_at
from foveal.planner.logical import Frames, SelectFrames, Selection
from foveal.planner.lower.choice import exact, explained
from foveal.planner.lower.context import Lowering
from foveal.planner.lower.proxied import (
    LABELS_AGAIN,
    LEARN_LABELS,
    PRIOR_R2,
    SCORE_SECONDS,
    TRAIN_SECONDS,
    stored_for,
)
from foveal.planner.physical import Alternative, Cascade, ExactSelection, FrameScan, ObjectScan
from foveal.planner.protocols import FrameFacts, VideoTable
from foveal.planner.tree import walk

PRIOR_PREVALENCE = 0.1
"""Share of the frames that satisfy a condition about which nothing is known."""
PASSES = 3
"""Decoding passes of a certified plan: what is verified and drawn comes in so many batches."""
MOST_POINTS = 20_000
"""Frames that a forecast stands for at most; more are taken to cost in proportion."""


def lower_selection(node: Selection, lowering: Lowering) -> ExactSelection:
    """Return the selection that looks at every frame."""
    below = lowering.lower(node.child)
    scans = [n for n in walk(below) if isinstance(n, ObjectScan)]
    alternatives = tuple(a for s in scans for a in s.alternatives)
    return ExactSelection(below, node.fnr, node.fpr, node.confidence, alternatives, node.why)


def lower_select_frames(node: SelectFrames, lowering: Lowering) -> Cascade:
    """Return the cheapest of exact, cached, recalled, verify and cascade."""
    table = lowering.snapshot.video_tables[node.table]
    assert isinstance(node.frames, Frames)
    frames, facts = lowering.facts[node.frames], lowering.facts[node]
    guarantee = str(lowering.settings["guarantee"])
    scan = exact(frames, table.profile)
    ways = [scan]
    if facts.recalled and scan.calls:
        ways.insert(0, Alternative("recalled", 0, 0.0, 0.0, 0.0, "finite", why="answered before"))
    if scan.calls:
        ways += [_certified(node, table, frames, facts, guarantee, name) for name in _WAYS]
    best = min((a for a in ways if a.applies), key=lambda a: round(a.total, 6))
    rows = lowering.lower(node.rows)
    assert isinstance(rows, ObjectScan)
    return Cascade(
        rows,
        FrameScan(node.table, node.frames.conjuncts, ("video", "frame", "ts")),
        node.source,
        node.predicates,
        node.having,
        node.quantity,
        node.fnr,
        node.fpr,
        node.confidence,
        node.by_frame,
        tuple(explained(a, best) for a in ways),
        best.name,
        any(a is best and "trained" in a.why for a in ways),
        int(lowering.settings["seed"]),
    )


_WAYS = ("verify", "cascade")


def _certified(
    node: SelectFrames,
    table: VideoTable,
    frames: FrameFacts,
    facts: FrameFacts,
    guarantee: str,
    name: str,
) -> Alternative:
    """Return what a certified plan should cost, or why there is none."""
    why_not, r2, decode, train, labels, means = _proxy(node, table, frames)
    if guarantee == "exact":
        why_not = "foveal.guarantee is exact"
    elif name == "verify" and node.fnr is None:
        why_not = "without FNR WITHIN no true frame may be missing"
    elif name == "cascade" and node.fpr is None:
        why_not = "without FPR WITHIN every frame returned is looked at"
    elif name == "cascade" and not node.by_frame:
        why_not = "the block reads objects of the frames that it returns"
    if why_not:
        return Alternative(name, 0, 0.0, 0.0, 0.0, "none", applies=False, why=why_not)
    unknown = max(frames.frames - frames.cached, 1)
    prevalence = PRIOR_PREVALENCE if facts.mean is None else facts.mean
    prevalence = min(max(prevalence, 1.0 / max(frames.frames, 1)), 1.0)
    chance = _chances(min(unknown, MOST_POINTS), prevalence, r2)
    scale = unknown / len(chance)
    known = frames.cached / scale
    true, false = round(known * prevalence), round(known * (1 - prevalence))
    fnr, fpr = node.fnr or 0.0, (node.fpr or 0.0) if name == "cascade" else 0.0
    delta = 1 - node.confidence
    free = np.ones(len(chance), np.bool_)
    above = split_at(chance, free, true, false, fnr, fpr, delta) if name == "cascade" else ~free
    share = delta / 2 if above.any() and fnr > 0 else delta
    plan = plan_sides(
        np.sort(chance[~above])[::-1],
        np.sort(1 - chance[above])[::-1],
        true,
        false,
        fnr,
        fpr,
        (Ceiling(int((~above).sum()), share), Ceiling(int(above.sum()), share)),
    )
    calls = min(labels + math.ceil(plan.calls * scale), frames.frames - frames.cached)
    decode += PASSES * cost.decode_sample(calls / PASSES, frames, table.profile)
    drawn = round((plan.below.draws + plan.above.draws) * scale)
    why = f"{means}; one frame in {1 / prevalence:.3g} taken to be true, {drawn} drawn to certify"
    return Alternative(
        name, calls, decode, cost.detect(calls, table.profile), train, "finite", why=why
    )


def _proxy(
    node: SelectFrames, table: VideoTable, frames: FrameFacts
) -> tuple[str, float, float, float, int, str]:
    """Return (why there is none, r2, seconds to look, seconds to train, labels, in words)."""
    if node.quantity is None:
        return "no proxy can learn the condition", 0.0, 0.0, 0.0, 0, ""
    unseen = 1 - sum(v.thumbnails for v in table.videos) / max(table.frames, 1)
    looks = frames.frames * unseen * table.profile.thumbnail
    stored = stored_for(node.quantity, table)
    if stored is not None and stored.useful:
        unscored = 1 - stored.scored / max(table.frames, 1)
        score = frames.frames * unscored * stored.score_frame
        means = f"by the proxy {stored.name}"
        return "", stored.r2, min(looks, looks * unscored), score, 0, means
    if stored is not None and frames.cached < LABELS_AGAIN * stored.labels:
        return f"the proxy is dropped: {stored.why}", 0.0, 0.0, 0.0, 0, ""
    if frames.frames < 2 * LEARN_LABELS:
        return "too few frames to train a proxy for", 0.0, 0.0, 0.0, 0, ""
    labels = max(LEARN_LABELS - frames.cached, 0)
    train = TRAIN_SECONDS + frames.frames * SCORE_SECONDS
    return "", PRIOR_R2, looks, train, labels, "by a proxy trained on the way"


def _chances(count: int, prevalence: float, r2: float) -> npt.NDArray[np.float64]:
    """Return chances of a true label, descending, as a proxy of that r2 would tell them.

    Its score is taken for normal among the true frames and among the others, with one spread:
    r2 = p (1 - p) d^2 / (1 + p (1 - p) d^2) for means d apart.
    """
    from scipy import special

    mixed = prevalence * (1 - prevalence)
    if mixed <= 0:
        return np.full(count, prevalence)
    apart = math.sqrt(min(r2, 0.999) / (1 - min(r2, 0.999)) / mixed)
    true = max(round(count * prevalence), 1)
    places = np.concatenate(
        [
            special.ndtri((np.arange(count - true) + 0.5) / max(count - true, 1)),
            apart + special.ndtri((np.arange(true) + 0.5) / true),
        ]
    )
    odds = apart * places - apart * apart / 2 + math.log(prevalence / (1 - prevalence))
    return np.sort(special.expit(odds))[::-1]
