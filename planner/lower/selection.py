"""Selections to physical nodes: every frame, or as few as certify the error rates asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
NEAR_R2 = 0.75
NEAR_SECONDS = 2.0
NEAR_FRAMES = 10.0
"""Labels of neighbours tell NEAR_R2 of the variance, less by e every NEAR_SECONDS; frames looked at
are taken to lie NEAR_FRAMES apart where it matters."""
THRESHOLD_LABELS, THRESHOLD_TRUE = 200, 15
"""Frames labelled for thresholds, at least, and how many of them shall be of the rarer kind."""
LABELS_GROW, LABELS_SHARE = 4.0, 0.5
"""Labels become at most so many times more at once, and at most this share of the frames asked."""
DOUBT = 0.03
"""Share of the frames that lies between thresholds at least: on an hour, 2 to 7 % were seen to."""
MOST_POINTS = 20_000
"""Frames that a forecast stands for at most; more are taken to cost in proportion."""


def lower_selection(node: Selection, lowering: Lowering) -> ExactSelection:
    """Return the selection that looks at every frame."""
    below = lowering.lower(node.child)
    scans = [n for n in walk(below) if isinstance(n, ObjectScan)]
    alternatives = tuple(a for s in scans for a in s.alternatives)
    return ExactSelection(below, node.fnr, node.fpr, node.confidence, alternatives, node.why)


def lower_select_frames(node: SelectFrames, lowering: Lowering) -> Cascade:
    """Return the cheapest of exact, cached, recalled, verify, cascade and thresholds."""
    table = lowering.snapshot.video_tables[node.table]
    assert isinstance(node.frames, Frames)
    frames, facts = lowering.facts[node.frames], lowering.facts[node]
    guarantee = str(lowering.settings["guarantee"])
    scan = exact(frames, table.profile)
    ways = [scan]
    if facts.recalled and scan.calls:
        kept = "none" if guarantee == "none" else "finite"
        ways.insert(0, Alternative("recalled", 0, 0.0, 0.0, 0.0, kept, why="answered before"))
    if scan.calls:
        ways += [_certified(node, table, frames, facts, guarantee, name) for name in _WAYS]
    if scan.calls and guarantee == "none":
        ways.append(_by_thresholds(node, table, frames, facts))
    best = _choose(ways)
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
        best.name in (*_WAYS, THRESHOLDS) and _learns(node, table, frames),
        int(lowering.settings["seed"]),
    )


def _choose(ways: list[Alternative]) -> Alternative:
    # The first of equals wins: the list runs from the surest guarantee downwards.
    return min((a for a in ways if a.applies), key=lambda a: round(a.total, 6))


_WAYS = ("verify", "cascade")
THRESHOLDS = "thresholds"


def _certified(
    node: SelectFrames,
    table: VideoTable,
    frames: FrameFacts,
    facts: FrameFacts,
    guarantee: str,
    name: str,
) -> Alternative:
    """Return what a certified plan should cost with the look that pays best, or why there is none.

    The run itself looks again what pays, by what it has seen by then.
    """
    why_not = ""
    if guarantee == "exact":
        why_not = "foveal.guarantee is exact"
    elif name == "verify" and node.fnr is None:
        why_not = "without FNR WITHIN no true frame may be missing"
    elif name == "cascade" and node.fpr is None:
        why_not = "without FPR WITHIN every frame returned is looked at"
    elif name == "cascade" and not node.by_frame:
        why_not = "the block reads objects of the frames that it returns"
    elif frames.frames < 2 * LEARN_LABELS:
        why_not = "too few frames to sample from"
    if why_not:
        return Alternative(name, 0, 0.0, 0.0, 0.0, "none", applies=False, why=why_not)
    ways = [_priced(node, table, frames, facts, name, look) for look in _looks(node, table, frames)]
    return min(ways, key=lambda a: a.total)


def _priced(
    node: SelectFrames,
    table: VideoTable,
    frames: FrameFacts,
    facts: FrameFacts,
    name: str,
    look: _Look,
) -> Alternative:
    unknown = max(frames.frames - frames.cached, 1)
    prevalence = PRIOR_PREVALENCE if facts.mean is None else facts.mean
    prevalence = min(max(prevalence, 1.0 / max(frames.frames, 1)), 1.0)
    chance = _chances(min(unknown, MOST_POINTS), prevalence, look.r2)
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
    labels = max(LEARN_LABELS - frames.cached, 0)
    calls = min(labels + math.ceil(plan.calls * scale), frames.frames - frames.cached)
    passes = PASSES * cost.decode_sample(calls / PASSES, frames, table.profile)
    drawn = round((plan.below.draws + plan.above.draws) * scale)
    why = f"by {look.words}; one frame in {1 / prevalence:.3g} taken to be true, "
    return Alternative(
        name, calls, look.decode + passes, cost.detect(calls, table.profile), look.train, "finite",
        why=f"{why}{drawn} drawn to certify",
    )  # fmt: skip


def _by_thresholds(
    node: SelectFrames, table: VideoTable, frames: FrameFacts, facts: FrameFacts
) -> Alternative:
    """Return what NoScope's cascade should cost: thresholds that labelled frames choose.

    How well they did there bounds nothing elsewhere: there is no guarantee.
    """
    if frames.frames < 2 * LEARN_LABELS:
        why = "too few frames to choose thresholds on"
        return Alternative(THRESHOLDS, 0, 0.0, 0.0, 0.0, "none", applies=False, why=why)
    unknown = max(frames.frames - frames.cached, 1)
    prevalence = PRIOR_PREVALENCE if facts.mean is None else facts.mean
    prevalence = min(max(prevalence, 1.0 / max(frames.frames, 1)), 1.0)
    plain = len(node.source.levels) == 1
    known = sum(v.cached for v in table.videos) if plain else frames.cached
    wanted = max(THRESHOLD_LABELS, THRESHOLD_TRUE / min(prevalence, max(1 - prevalence, 1e-9)))
    labels = max(min(wanted - known, LABELS_SHARE * unknown), 0.0)
    fpr = node.fpr if node.by_frame else None
    ways: list[Alternative] = []
    for look in _looks(node, table, frames):
        chance = _chances(min(unknown, MOST_POINTS), prevalence, look.r2)
        doubt = max(_between(chance, node.fnr, fpr) / len(chance), DOUBT) * (unknown - labels)
        calls = math.ceil(labels + doubt)
        decode = look.decode + sum(
            cost.decode_sample(part, frames, table.profile) for part in (labels, doubt)
        )
        why = f"by {look.words}; {round(labels)} more labelled, {round(doubt)} between thresholds"
        detect = cost.detect(calls, table.profile)
        ways.append(Alternative(THRESHOLDS, calls, decode, detect, look.train, "none", why=why))
    return min(ways, key=lambda a: a.total)


def _between(chance: npt.NDArray[np.float64], fnr: float | None, fpr: float | None) -> int:
    """Return how many frames (chances, descending) lie between thresholds that keep the rates."""
    accepted = rejected = 0
    if fpr is not None:
        false = np.cumsum(1 - chance)
        accepted = int((false <= fpr * (1 - chance).sum()).sum())
    if fnr is not None:
        missed = np.cumsum(chance[::-1])
        rejected = int((missed <= fnr * chance.sum()).sum())
    return max(len(chance) - accepted - rejected, 0)


@dataclass(frozen=True, slots=True)
class _Look:
    """One way to see frames without the detector: seconds, and the share of variance it tells."""

    words: str
    r2: float
    decode: float = 0.0
    train: float = 0.0


def _looks(node: SelectFrames, table: VideoTable, frames: FrameFacts) -> list[_Look]:
    """Return the ways there are: labels nearby, and a proxy stored or to be trained."""
    seconds = sum(video.duration for video in table.videos)
    apart = seconds / max(table.frames, 1) * NEAR_FRAMES
    near = NEAR_R2 * math.exp(-apart / NEAR_SECONDS)
    found = [_Look("labels of frames nearby", near)]
    if node.quantity is None:
        return found
    unseen = 1 - sum(v.thumbnails for v in table.videos) / max(table.frames, 1)
    looks = frames.frames * unseen * table.profile.thumbnail
    if frames.span > frames.frames:
        looks = cost.look_sample(frames.frames * unseen, frames, table.profile)
    stored = stored_for(node.quantity, table)
    if stored is not None and stored.useful:
        unscored = 1 - stored.scored / max(table.frames, 1)
        score = frames.frames * unscored * stored.score_frame
        both = 1 - (1 - stored.r2) * (1 - near)
        found.append(_Look(f"the proxy {stored.name}", both, min(looks, looks * unscored), score))
    elif _learns(node, table, frames):
        train = TRAIN_SECONDS + frames.frames * SCORE_SECONDS
        found.append(
            _Look("a proxy trained on the way", 1 - (1 - PRIOR_R2) * (1 - near), looks, train)
        )
    return found


def _learns(node: SelectFrames, table: VideoTable, frames: FrameFacts) -> bool:
    """Whether the run may train a proxy."""
    if node.quantity is None:
        return False
    stored = stored_for(node.quantity, table)
    return stored is None or (not stored.useful and frames.cached >= LABELS_AGAIN * stored.labels)


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
