"""What tracking costs: a look at every frame, or coarse to fine where few frames may show all."""

from __future__ import annotations

from foveal.planner import cost
from foveal.planner.logical import Detect, Frames, Track
from foveal.planner.lower.choice import exact, explained
from foveal.planner.lower.context import Lowering
from foveal.planner.physical import Alternative
from foveal.planner.protocols import FrameFacts, VideoTable

COARSE = "coarse to fine"

PRIOR_PRESENCE = 0.1
"""Share of the frames with a class in sight about which nothing is known."""
VISIT_SECONDS = 5.0
"""How long an object is taken to stay in sight."""
AFTER_SECONDS = {"kalman": 2.0, "linked": 0.3}
"""How long frames are looked at after an object was last seen, by tracker."""
PASSES = {"kalman": 4, "linked": 1}
"""Passes over the video, after the grid's, in which the frames near objects are fetched: the
Kalman tracker learns on the way how long it must wait for an object that was lost."""
EXTRA = 0.08
"""Coarse to fine decodes twice: in vain, that may make a plan dearer by this part,"""
SLACK = 0.3
"""or by so many seconds."""


def tracking(node: Track, lowering: Lowering) -> tuple[tuple[Alternative, ...], tuple[str, ...]]:
    """Return the ways to make the tracks, and the classes to track coarse to fine, if any."""
    assert isinstance(node.child, Detect)
    assert isinstance(node.child.child, Frames)
    frames = node.child.child
    table = lowering.snapshot.video_tables[node.table]
    facts = lowering.facts[frames]
    dense = exact(facts, table.profile)
    sparse = coarse(node, lowering, dense)
    best = sparse if sparse.applies and sparse.total < dense.total else dense
    ranked = tuple(explained(a, best) for a in (dense, sparse))
    return ranked, node.classes if best is sparse else ()


def coarse(node: Track, lowering: Lowering, dense: Alternative) -> Alternative:
    """Return what coarse to fine should cost: the grid, then the frames near what it shows."""
    table = lowering.snapshot.video_tables[node.table]
    assert isinstance(node.child, Detect)
    assert isinstance(node.child.child, Frames)
    facts = lowering.facts[node.child.child]
    if not node.classes:
        return _refused(node.why)
    if dense.calls == 0:
        return _refused("every frame is cached")
    again = cost.decode_all(facts.frames, table.profile)
    if again > max(EXTRA * dense.total, SLACK):
        return _refused("the second pass over the video could make it much dearer, were it busy")
    present = presence(node, lowering)
    near = min(present * (1 + AFTER_SECONDS[table.tracker] / VISIT_SECONDS), 1.0)
    left = 1 - facts.cached / max(facts.frames, 1)
    grid = sum(v.frames / v.track_hits for v in table.videos) * left
    fine = (facts.frames * left - grid) * near
    decode = cost.decode_sample(grid, facts, table.profile)
    passes = PASSES[table.tracker]
    decode += passes * cost.decode_sample(fine / passes, facts, table.profile)
    calls = grid + fine
    return Alternative(
        COARSE, round(calls), decode, cost.detect(calls, table.profile), 0.0, "exact",
        why=f"every {_steps(table)} frame, then all near {', '.join(node.classes)}",
    )  # fmt: skip


def presence(node: Track, lowering: Lowering) -> float:
    """Return the share of the frames in which the wanted classes are taken to be in sight."""
    known: FrameFacts | None = lowering.facts.get(node)
    return known.mean if known is not None and known.mean is not None else PRIOR_PRESENCE


def _steps(table: VideoTable) -> str:
    steps = sorted({v.track_hits for v in table.videos})
    return " or ".join(f"{s}{'rd' if s == 3 else 'th'}" for s in steps)


def _refused(why: str) -> Alternative:
    return Alternative(COARSE, 0, 0.0, 0.0, 0.0, "exact", applies=False, why=why)
