"""When tracks are made coarse to fine: what the query must see, and what it must cost."""

from dataclasses import replace

import pytest

from foveal.planner.bind import bind
from foveal.planner.logical import Logical, Track
from foveal.planner.lower import lower, needs_facts
from foveal.planner.parse.parser import parse
from foveal.planner.parse.statement import Query
from foveal.planner.physical import Alternative, ObjectScan, TrackScan
from foveal.planner.protocols import (
    DetectorInfo,
    FrameFacts,
    Profile,
    Snapshot,
    VideoFacts,
    VideoTable,
)
from foveal.planner.rules import RULES, optimize
from foveal.planner.tree import walk

FRAMES = 90_000
STREET = VideoTable(
    "street",
    DetectorInfo("pool", "heatmap", "k", ("car", "person", "bus"), 64, 96, confidence=0.4),
    20,
    (VideoFacts("a.mp4", FRAMES, 3600.0, 640, 360, 50.0, 0, track_hits=5),),
    Profile(decode_frame=0.001, seek=0.03, detect_frame=0.04),
)
HAVING = "GROUP BY trackid HAVING COUNT(*) > 15"


def scan(
    sql: str,
    table: VideoTable = STREET,
    presence: float | None = None,
    cached: int = 0,
    parameters: dict[str, object] | None = None,
) -> ObjectScan | TrackScan:
    snapshot = Snapshot(
        video_tables={"street": table},
        columns={"cams": ("video", "place")},
        parameters=parameters or {},
    )
    query = parse(sql, snapshot.names())
    assert isinstance(query, Query)
    plan, _ = optimize(bind(query, snapshot).plan, RULES, check=True)
    known = FrameFacts(frames=table.frames, cached=cached, keyframes=1800)
    facts: dict[Logical, FrameFacts] = dict.fromkeys(needs_facts(plan), known)
    for node in walk(plan):
        if isinstance(node, Track) and node.classes:
            facts[node] = replace(known, mean=presence)
    found = [n for n in walk(lower(plan, snapshot, facts)) if isinstance(n, ObjectScan | TrackScan)]
    assert len(found) == 1
    return found[0]


def ways(node: ObjectScan | TrackScan) -> dict[str, Alternative]:
    return {a.name: a for a in node.alternatives}


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT trackid FROM street WHERE class = 'bus' AND trackid IS NOT NULL {HAVING}",
        f"SELECT trackid FROM street WHERE 'bus' = class AND NOT trackid IS NULL {HAVING}",
        "SELECT COUNT(DISTINCT trackid) FROM street WHERE class = 'bus'",
        "SELECT 2 * COUNT(DISTINCT s.trackid) AS n FROM street s WHERE s.class IN ('bus')",
        "SELECT * EXCLUDE (trackid), trackid FROM street WHERE class = 'bus' AND trackid > 7",
        "SELECT max(frames) FROM street.tracks WHERE class = 'bus'",
        "SELECT trackid FROM (SELECT * FROM street.tracks) t WHERE class = 'bus'",
        "SELECT s.trackid FROM street s JOIN cams c ON s.video = c.video "
        "WHERE s.class = 'bus' AND s.trackid IS NOT NULL",
        "WITH b AS (SELECT frame, class, trackid FROM street WHERE class = 'bus') "
        "SELECT COUNT(DISTINCT trackid) FROM b",
    ],
)
def test_only_tracks_of_one_class_are_seen(sql: str) -> None:
    node = scan(sql)
    assert node.sparse == ("bus",)
    assert "coarse to fine: bus" in node.label()
    assert ways(node)["coarse to fine"].why == "chosen; every 5th frame, then all near bus"
    assert ways(node)["coarse to fine"].calls < FRAMES / 2
    assert ways(node)["exact"].calls == FRAMES


def test_a_parameter_may_name_the_class() -> None:
    sql = "SELECT COUNT(DISTINCT trackid) FROM street WHERE class = $1"
    assert scan(sql, parameters={"1": "bus"}).sparse == ("bus",)
    assert scan(sql).sparse == ()


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        (f"SELECT trackid FROM street WHERE class = 'bus' {HAVING}", "add trackid IS NOT NULL"),
        ("SELECT trackid, frame FROM street WHERE class = 'bus'", "add trackid IS NOT NULL"),
        (
            "SELECT COUNT(DISTINCT trackid), COUNT(*) FROM street WHERE class = 'bus'",
            "add trackid IS NOT NULL",
        ),
        (
            "SELECT frame, COUNT(DISTINCT trackid) FROM street WHERE class = 'bus' GROUP BY frame",
            "add trackid IS NOT NULL",
        ),
        ("SELECT COUNT(DISTINCT trackid) FROM street", "every class"),
        ("SELECT COUNT(DISTINCT trackid) FROM street WHERE class <> 'bus'", "every class"),
        (
            "SELECT COUNT(DISTINCT trackid) FROM street WHERE class = 'bus' OR xmin > 3",
            "every class",
        ),
        ("SELECT count(*) FROM street.tracks", "every class"),
        (
            "SELECT c.place, t.trackid FROM cams c LEFT JOIN street.tracks t "
            "ON c.video = t.video WHERE t.class = 'bus'",
            "every class",
        ),
    ],
)
def test_what_else_is_seen_needs_every_frame(sql: str, why: str) -> None:
    node = scan(sql)
    assert node.sparse == ()
    refused = ways(node)["coarse to fine"]
    assert not refused.applies
    assert refused.why.startswith("does not apply: ")
    assert why in refused.why
    assert ways(node)["exact"].why == "chosen"


SQL = "SELECT COUNT(DISTINCT trackid) FROM street WHERE class = 'bus'"


def test_a_class_that_is_always_in_sight_is_tracked_densely() -> None:
    node = scan(SQL, presence=0.95)
    assert node.sparse == ()
    assert ways(node)["coarse to fine"].applies
    assert ways(node)["coarse to fine"].why.startswith("1.")


def test_a_rare_class_costs_little_more_than_the_grid() -> None:
    rare = ways(scan(SQL, presence=0.01))["coarse to fine"]
    assert FRAMES / 5 < rare.calls < FRAMES / 4


def test_a_fast_detector_is_not_worth_a_second_pass() -> None:
    fast = replace(STREET, profile=Profile(decode_frame=0.001, seek=0.03, detect_frame=0.002))
    node = scan(SQL, fast)
    assert node.sparse == ()
    assert "second pass" in ways(node)["coarse to fine"].why


def test_cached_frames_cost_nothing_either_way() -> None:
    node = scan(SQL, cached=FRAMES)
    assert node.sparse == ()
    assert set(ways(node)) == {"cached", "coarse to fine"}


def test_the_linked_tracker_waits_less() -> None:
    linked = replace(STREET, tracker="linked", local_tracks=True)
    less = ways(scan(SQL, linked, presence=0.2))["coarse to fine"].calls
    assert less < ways(scan(SQL, presence=0.2))["coarse to fine"].calls
