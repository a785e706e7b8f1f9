"""COUNT(DISTINCT trackid) under ERROR or BUDGET: every frame, coarse to fine, or sampled frames."""

from __future__ import annotations

import math

from foveal.planner import cost
from foveal.planner.estimators.distinct_tracks import Crowd, calls_needed, largest
from foveal.planner.logical import Detect, Filter, FrameAggregate, Frames, Logical, Project, Track
from foveal.planner.lower.aggregates import lower_aggregate
from foveal.planner.lower.choice import exact, explained
from foveal.planner.lower.context import Lowering
from foveal.planner.lower.tracks import VISIT_SECONDS, coarse, presence
from foveal.planner.physical import (
    Alternative,
    ExactAggregate,
    FrameScan,
    ObjectScan,
    Physical,
    SampleTracks,
)
from foveal.planner.protocols import FrameFacts, VideoTable

SAMPLE = "sampled tracks"
REACH_SECONDS = 1.0
"""Time on either side of a track that is looked at to know that it ended."""
ROUNDS = 6
"""Decoding passes in which drawn tracks are followed to their ends."""


def lower_frames(node: FrameAggregate, lowering: Lowering) -> Physical:
    """Return the plan of a block's aggregates; distinct tracks have ways of their own."""
    track = _track(node.rows)
    counts = all(a.kind == "count_tracks" for a in node.aggregates)
    if track is None or not counts or len(node.aggregates) != 1:
        return lower_aggregate(node, lowering)
    assert isinstance(node.frames, Frames)
    table = lowering.snapshot.video_tables[node.table]
    assert isinstance(track.child, Detect)
    assert isinstance(track.child.child, Frames)
    whole = lowering.facts[track.child.child]
    dense = exact(whole, table.profile)
    guarantee = "exact" if node.tolerance.exact else str(lowering.settings["guarantee"])
    guarantee = "asymptotic" if guarantee == "none" else guarantee
    sampled = _sampled(node, track, lowering, table, whole, guarantee)
    ways = [dense, coarse(track, lowering, dense), sampled]
    best = _choose([a for a in ways if a.applies], node)
    ranked = tuple(explained(a, best) for a in ways)
    rows = lowering.lower(node.rows)
    assert isinstance(rows, ObjectScan)
    scan = FrameScan(node.table, node.frames.conjuncts, ("video", "frame", "ts"))
    shared = (
        rows, scan, tuple(lowering.input(i) for i in node.inputs), node.prefix, node.source,
        node.predicates, node.keys, node.aggregates, ranked, node.tolerance,
    )  # fmt: skip
    if best is not sampled:
        return ExactAggregate(*shared)
    seed = int(lowering.settings["seed"])
    least = _least(node, table)
    return SampleTracks(*shared, track.classes, least, table.max_count, guarantee, seed)


def _track(rows: Logical) -> Track | None:
    """Return the tracking below an aggregate's rows."""
    below = rows.child if isinstance(rows, Project) else rows
    below = below.child if isinstance(below, Filter) else below
    return below if isinstance(below, Track) else None


def _least(node: FrameAggregate, table: VideoTable) -> int:
    """Return the fewest frames that a track is seen in, of the frames of its group."""
    cut = any(c.columns - {"video"} for _, level in node.source.levels for c in level)
    by = {k.text.lower().rsplit(".", 1)[-1].strip('"') for k in node.keys}
    return 1 if cut or by - {"video"} else min((v.track_hits for v in table.videos), default=1)


def _sampled(
    node: FrameAggregate,
    track: Track,
    lowering: Lowering,
    table: VideoTable,
    whole: FrameFacts,
    guarantee: str,
) -> Alternative:
    why = _why_not(node, track, table, guarantee)
    if why:
        return Alternative(SAMPLE, 0, 0.0, 0.0, 0.0, "none", applies=False, why=why)
    tolerance, facts = node.tolerance, lowering.facts[node]
    assert isinstance(node.frames, Frames)
    size = max(lowering.facts[node.frames].frames // max(facts.groups, 1), 1)
    rate = sum(v.frames for v in table.videos) / max(sum(v.duration for v in table.videos), 1e-9)
    share = min(presence(track, lowering), 0.999)
    crowd = Crowd(-math.log1p(-share), max(VISIT_SECONDS * rate, 2.0), REACH_SECONDS * rate)
    joint = lowering.settings["group_guarantee"] == "joint"
    groups = max(facts.groups, 1)
    drawn, looked = calls_needed(
        crowd,
        population=size,
        upper=largest(table.max_count, _least(node, table)),
        epsilon=tolerance.epsilon,
        relative=tolerance.relative,
        delta=(1 - tolerance.confidence) / (groups if joint else 1),
        guarantee=guarantee,
    )
    calls = groups * looked * (1 - whole.cached / max(whole.frames, 1))
    if tolerance.calls is not None:
        calls = min(calls, tolerance.calls)
    decode = ROUNDS * cost.decode_sample(calls / ROUNDS, whole, table.profile)
    detect = cost.detect(calls, table.profile)
    if tolerance.seconds is not None and decode + detect > tolerance.seconds:
        part = tolerance.seconds / (decode + detect)
        calls, decode, detect = calls * part, decode * part, detect * part
    about = f"about {round(groups * drawn)} drawn frames, their tracks followed to the ends"
    return Alternative(SAMPLE, round(calls), decode, detect, 0.0, guarantee, why=about)


def _why_not(node: FrameAggregate, track: Track, table: VideoTable, guarantee: str) -> str:
    if node.tolerance.exact:
        return "no ERROR WITHIN or BUDGET is given"
    if guarantee == "exact":
        return "foveal.guarantee is exact"
    if node.tolerance.epsilon == 0:
        return "no error is allowed"
    if not table.local_tracks:
        return (
            f"the {table.tracker} tracker remembers all frames before: make the table "
            "WITH (tracker = 'linked') to follow tracks from drawn frames"
        )
    objects = [k.source for k in node.keys if not k.frame_only]
    if objects:
        return f"the key {objects[0]} belongs to objects: which groups exist is not known"
    if not track.classes:
        return track.why
    if not track.whole:
        return "a condition on objects other than their class may hold in part of a track only"
    return ""


def _choose(usable: list[Alternative], node: FrameAggregate) -> Alternative:
    tolerance = node.tolerance
    within = [
        a
        for a in usable
        if (tolerance.calls is None or a.calls <= tolerance.calls)
        and (tolerance.seconds is None or a.total <= tolerance.seconds)
    ]
    # The first of equals wins: exact ways come first. Beyond the budget only a sample answers.
    return min(within or usable[-1:], key=lambda a: round(a.total, 6))
