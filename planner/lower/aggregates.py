"""FrameAggregate to a physical node: exact, cached, recalled or sampled, whichever is cheapest."""

from __future__ import annotations

from dataclasses import replace

from foveal.planner import cost
from foveal.planner.bind.block_text import SAMPLED_KINDS
from foveal.planner.bounds import bounds_of
from foveal.planner.estimators import Forecast, forecast
from foveal.planner.logical import (
    Aggregate,
    Filter,
    FrameAggregate,
    Frames,
    Project,
    Tolerance,
    Track,
)
from foveal.planner.lower.choice import exact, explained
from foveal.planner.lower.context import PRIOR_DEVIATION, Lowering
from foveal.planner.lower.proxied import Look, looks
from foveal.planner.physical import (
    Alternative,
    ExactAggregate,
    FrameScan,
    ObjectScan,
    Physical,
    SampleAggregate,
)
from foveal.planner.protocols import FrameFacts, Profile, VideoTable

REWRITE_LABELS = 200
"""Frames labelled for a proxy that answers by itself."""


def lower_aggregate(node: FrameAggregate, lowering: Lowering) -> Physical:
    """Return the cheapest of exact, cached, recalled and sampled aggregates."""
    table = lowering.snapshot.video_tables[node.table]
    settings = lowering.settings
    assert isinstance(node.frames, Frames)
    frames = lowering.facts[node.frames]
    detects = node.relation == "objects"
    profile = table.profile
    scan = exact(frames, profile) if detects else _index_only(node, frames, profile)
    guarantee = "exact" if node.tolerance.exact else str(settings["guarantee"])
    why_not = _why_no_sample(node, guarantee)
    alternatives = [scan]
    if why_not:
        alternatives += [
            Alternative(name, 0, 0.0, 0.0, 0.0, "none", applies=False, why=why_not)
            for name in ("sampling", "temporal", "proxy", "learn")
        ]
    else:
        look, learnt = looks(node, table, frames)
        alternatives += _sampled(lowering, node, table, frames, guarantee, look, learnt)
        if guarantee == "none":
            alternatives.append(_rewritten(node, frames, table, look, learnt))
        if lowering.facts[node].recalled and scan.calls:
            kept = Alternative("recalled", 0, 0.0, 0.0, 0.0, guarantee, why="answered before")
            alternatives.insert(0, kept)
    best = _choose(alternatives, node)
    ranked = tuple(explained(a, best) for a in alternatives)
    rows = lowering.lower(node.rows)
    assert isinstance(rows, ObjectScan | FrameScan)
    frame_scan = FrameScan(node.table, node.frames.conjuncts, ("video", "frame", "ts"))
    inputs = tuple(lowering.input(i) for i in node.inputs)
    shared = (
        rows, frame_scan, inputs, node.prefix, node.source, node.predicates, node.keys,
        node.aggregates, ranked, node.tolerance,
    )  # fmt: skip
    if best.name in ("exact", "cached"):
        return ExactAggregate(*shared)
    seed = int(settings["seed"])
    looks_on_the_way = any(a.name in ("proxy", "learn") and a.applies for a in alternatives)
    return SampleAggregate(
        *shared, table.max_count, best.guarantee, best.name, seed, looks_on_the_way
    )


def _why_no_sample(node: FrameAggregate, guarantee: str) -> str:
    if node.tolerance.epsilon == 0:
        return "no error is allowed"
    if node.tolerance.exact:
        return "no ERROR WITHIN or BUDGET is given"
    if guarantee == "exact":
        return "foveal.guarantee is exact"
    other = [a.source for a in node.aggregates if a.kind not in SAMPLED_KINDS]
    if other:
        return f"{other[0]} has no interval from a sample of frames"
    objects = [k.source for k in node.keys if not k.frame_only]
    if objects:
        return f"the key {objects[0]} belongs to objects: which groups exist is not known"
    if isinstance(node.rows, Project):
        below = node.rows.child
        below = below.child if isinstance(below, Filter) else below
        if isinstance(below, Track):
            return "trackid needs every frame"
    return ""


def _sampled(
    lowering: Lowering,
    node: FrameAggregate,
    table: VideoTable,
    frames: FrameFacts,
    guarantee: str,
    look: Look,
    learnt: Look,
) -> list[Alternative]:
    """Return the sampling plans; the aggregate that needs most frames sets their cost.

    Raises:
        DataError: 22023, the range of a SUM's or AVG's expression is not known.
    """
    tolerance, group = node.tolerance, lowering.facts[node]
    groups = max(group.groups, 1)
    size = max(frames.frames // groups, 1)
    joint = lowering.settings["group_guarantee"] == "joint"
    guarantee = "asymptotic" if guarantee == "none" else guarantee
    delta = (1 - tolerance.confidence) / len(node.aggregates) / (groups if joint else 1)
    wanted = [_mean_wanted(a, node, table, group, size) for a in node.aggregates]
    found: list[Alternative] = []
    for name, through in (
        ("sampling", Look()), ("temporal", Look()), ("proxy", look), ("learn", learnt)
    ):  # fmt: skip
        if through.why_not:
            found.append(_refused(name, through.why_not))
            continue
        costs = [
            forecast(
                population=size,
                known=frames.cached // groups,
                upper=upper,
                epsilon=epsilon,
                deviation=deviation,
                delta=delta,
                guarantee=guarantee,
                temporal=name != "sampling",
                r2=through.r2,
            )
            for upper, epsilon, deviation in wanted
        ]
        dearest = max(costs, key=lambda c: c.calls)
        priced = _priced(name, dearest, groups, frames, table, guarantee, tolerance)
        found.append(_with_look(priced, through))
    return found


def _refused(name: str, why: str) -> Alternative:
    return Alternative(name, 0, 0.0, 0.0, 0.0, "none", applies=False, why=why)


def _with_look(priced: Alternative, look: Look) -> Alternative:
    if not look.r2:
        return priced
    known = "explains" if look.stored else "is taken to explain"
    why = f"{priced.why}; the proxy {known} {look.r2:.0%} of the variance"
    return replace(
        priced, decode=priced.decode + look.decode, train=priced.train + look.train, why=why
    )


def _rewritten(
    node: FrameAggregate, frames: FrameFacts, table: VideoTable, look: Look, learnt: Look
) -> Alternative:
    """Return the plan that answers from a proxy alone: BlazeIt's query rewriting.

    How well a proxy did elsewhere says nothing certain of this video: there is no guarantee.
    """
    if not look.why_not:
        alone = "the proxy alone"
        return Alternative("rewrite", 0, look.decode, 0.0, look.train, "none", why=alone)
    if any(a.quantity is None for a in node.aggregates):
        return _refused("rewrite", look.why_not)
    calls = max(min(REWRITE_LABELS, frames.frames) - frames.cached, 0)
    decode = cost.decode_sample(calls, frames, table.profile) + learnt.decode
    detect = cost.detect(calls, table.profile)
    alone = "labels interpolated in time" if learnt.why_not else "a proxy alone"
    return Alternative("rewrite", calls, decode, detect, learnt.train, "none", why=alone)


def _mean_wanted(
    aggregate: Aggregate,
    node: FrameAggregate,
    table: VideoTable,
    group: FrameFacts,
    size: int,
) -> tuple[float, float | None, float]:
    """Return the per-frame mean behind an aggregate: its range, half width and deviation."""
    tolerance = node.tolerance
    count = float(table.max_count) if node.relation == "objects" else 1.0
    spread = group.deviation if group.deviation is not None else PRIOR_DEVIATION
    mean = group.mean if group.mean else count / 10
    upper, epsilon = count, tolerance.epsilon
    if aggregate.kind in ("sum", "avg"):
        low, high = bounds_of(
            aggregate.argument, tolerance.low, tolerance.high, table, aggregate.span
        )
        if aggregate.kind == "avg":
            # A ratio: its numerator moves by the range of the expression around the mean.
            width = max(high - low, 1e-12)
            if epsilon is not None:
                middle = max(abs(low), abs(high)) / 2
                absolute = epsilon * middle if tolerance.relative else epsilon
                epsilon = max(absolute, 1e-9) * mean / width
            return count, epsilon, spread
        widest = max(abs(low), abs(high), 1e-12)
        upper, spread, mean = upper * widest, spread * widest, mean * widest / 2
    if epsilon is not None:
        if tolerance.relative:
            epsilon = max(epsilon * mean, 1e-9)
        elif aggregate.kind != "fcount":
            epsilon /= size
    return upper, epsilon, spread


def _priced(
    name: str,
    predicted: Forecast,
    groups: int,
    frames: FrameFacts,
    table: VideoTable,
    guarantee: str,
    tolerance: Tolerance,
) -> Alternative:
    calls = min(predicted.calls * groups, frames.frames - frames.cached)
    if tolerance.calls is not None:
        calls = min(calls, tolerance.calls)
    passes = predicted.passes
    decode = passes * cost.decode_sample(calls / passes, frames, table.profile)
    detect = cost.detect(calls, table.profile)
    if tolerance.seconds is not None and decode + detect > tolerance.seconds:
        share = tolerance.seconds / (decode + detect)
        calls, decode, detect = calls * share, decode * share, detect * share
    why = f"{passes:g} decoding pass{'es' if passes > 1 else ''}"
    return Alternative(name, round(calls), decode, detect, 0.0, guarantee, why=why)


def _choose(alternatives: list[Alternative], node: FrameAggregate) -> Alternative:
    usable = [a for a in alternatives if a.applies]
    within = [a for a in usable if _affordable(a, node)]
    # The first of equals wins: the list runs from the surest guarantee downwards.
    return min(within or usable[1:] or usable, key=lambda a: round(a.total, 6))


def _affordable(alternative: Alternative, node: FrameAggregate) -> bool:
    tolerance = node.tolerance
    if tolerance.calls is not None and alternative.calls > tolerance.calls:
        return False
    return tolerance.seconds is None or alternative.total <= tolerance.seconds


def _index_only(node: FrameAggregate, frames: FrameFacts, profile: Profile) -> Alternative:
    reads = isinstance(node.rows, Project) and "image" in node.rows.columns
    decode = cost.decode_all(frames.frames, profile) if reads else 0.0
    return Alternative("exact", 0, decode, 0.0, 0.0, "exact")
