"""LIMIT .. GAP: the heads of a block, and each way of searching chosen here and refused there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foveal.planner.bind import bind
from foveal.planner.explain import explain_text
from foveal.planner.logical import GapLimit
from foveal.planner.lower import lower, needs_facts
from foveal.planner.parse.parser import parse
from foveal.planner.parse.statement import Query
from foveal.planner.physical import GapLimitRows
from foveal.planner.protocols import (
    DetectorInfo,
    FrameFacts,
    Profile,
    ProxyFacts,
    Quantity,
    Snapshot,
    VideoFacts,
    VideoTable,
)
from foveal.planner.rules import RULES, optimize
from foveal.planner.tree import walk

DETECTOR = DetectorInfo("pool", "heatmap", "k", ("car", "person", "bus"), 64, 96, confidence=0.4)
PROFILE = Profile(decode_frame=0.001, seek=0.006, detect_frame=0.04, thumbnail=0.002)
CARS = Quantity(("class = 'car'",))


def street(frames: int = 36_000, *, proxies: tuple[ProxyFacts, ...] = (), gop: float = 12.0,
           profile: Profile = PROFILE, thumbnails: int = 0) -> VideoTable:  # fmt: skip
    """Return a table of one camera at ten frames a second."""
    video = VideoFacts("a.mp4", frames, frames / 10, 96, 64, gop, 0, thumbnails)
    return VideoTable("street", DETECTOR, 20, (video,), profile, proxies=proxies)


def proxy(quantity: Quantity = CARS, *, useful: bool = True, labels: int = 150) -> ProxyFacts:
    return ProxyFacts("p", "street", quantity, "kernel", "k", labels, 9, 0.7, 0.1, 0.4, 1.0, 0.5,
                      1e-4, 36_000 if useful else 0, useful, "" if useful else "flat")  # fmt: skip


def plan(sql: str, table: VideoTable, facts: FrameFacts | None = None) -> GapLimitRows:
    snapshot = Snapshot(video_tables={"street": table}, parameters={"1": "car"})
    query = parse(sql, snapshot.names())
    assert isinstance(query, Query)
    best, _ = optimize(bind(query, snapshot).plan, RULES, check=True)
    known = facts or FrameFacts(table.frames, 0, round(table.frames / table.videos[0].mean_gop))
    found = lower(best, snapshot, dict.fromkeys(needs_facts(best), known))
    return next(n for n in walk(found) if isinstance(n, GapLimitRows))


def heads(sql: str) -> list[tuple[str, float]]:
    snapshot = Snapshot(video_tables={"street": street()}, parameters={"1": "car"})
    query = parse(sql, snapshot.names())
    assert isinstance(query, Query)
    node = next(n for n in walk(bind(query, snapshot).plan) if isinstance(n, GapLimit))
    return [(quantity.text, least) for quantity, least in node.heads]


GAP = "LIMIT 10 GAP 30"
BUSY = f"SELECT frame FROM street GROUP BY frame HAVING SUM(class = 'car') >= 3 {GAP}"


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        (BUSY, [("COUNT(class = 'car')", 3)]),
        (
            "SELECT frame, ts FROM street GROUP BY frame, ts HAVING SUM(class='bus') >= 1 AND "
            f"COUNT(*) > 4 {GAP}",
            [("COUNT(class = 'bus')", 1), ("COUNT(*)", 5)],
        ),
        (
            f"SELECT * FROM street WHERE class = 'car' AND xmin > 50 AND frame < 900 {GAP}",
            [("COUNT(class = 'car' AND xmin > 50)", 1)],
        ),
        (f"SELECT frame FROM street {GAP}", [("COUNT(*)", 1)]),
        (
            "SELECT frame, count(*) AS n FROM street WHERE class = 'car' GROUP BY frame "
            f"HAVING n >= 2 {GAP}",
            [("COUNT(class = 'car')", 2)],
        ),
        (
            "SELECT frame FROM (SELECT * FROM street WHERE class = 'car') GROUP BY frame "
            f"HAVING count(*) >= 2 {GAP}",
            [("COUNT(class = 'car')", 2)],
        ),
        (
            "SELECT frame, class FROM street WHERE confidence > 0.5 GROUP BY frame, class " + GAP,
            [("COUNT(confidence > 0.5)", 1)],
        ),
        # What is not a count of the objects of one frame has no heads.
        (f"SELECT frame, class FROM street GROUP BY frame, class HAVING count(*) > 2 {GAP}", []),
        (f"SELECT frame FROM street GROUP BY frame HAVING SUM(class = 'car') < 3 {GAP}", []),
        (f"SELECT frame FROM street GROUP BY frame HAVING max(xmin) > min(xmax) {GAP}", []),
        (f"SELECT frame FROM street WHERE class = $1 {GAP}", []),
        (f"SELECT frame FROM street WHERE redness(content) > 10 {GAP}", []),
        (f"SELECT frame FROM street.frames WHERE frame % 3 = 0 {GAP}", []),
        (f"SELECT frame FROM street WHERE class = 'car' ORDER BY xmin {GAP}", []),
    ],
)
def test_heads(sql: str, wanted: list[tuple[str, float]]) -> None:
    assert heads(sql) == wanted


def names(node: GapLimitRows) -> dict[str, str]:
    return {a.name: a.why for a in node.alternatives}


def test_what_is_nearly_always_there_is_searched_in_order() -> None:
    """Frames from anywhere cost seeks, and would not be found sooner."""
    facts = FrameFacts(36_000, 100, 144, looked=100, positives=95)
    node = plan(BUSY.replace("GAP 30", "GAP 1"), street(gop=250.0), facts)
    assert node.method == "search"
    assert names(node)["search"].startswith("chosen; frames in order; 100 known frames tell")
    assert "x the chosen plan's seconds" in names(node)["random"]


def test_what_may_be_rare_is_searched_at_random() -> None:
    node = plan(BUSY, street())
    assert node.method == "random"
    assert names(node)["random"].startswith("chosen; one random frame per interval")
    assert "nothing is known" in names(node)["random"]
    assert names(node)["ranked"] == ("does not apply: no proxy is trained for COUNT(class = 'car')")
    by_name = {a.name: a for a in node.alternatives}
    assert by_name["random"].calls < by_name["search"].calls < by_name["exact"].calls == 36_000


def test_a_stored_proxy_ranks() -> None:
    facts = FrameFacts(36_000, 200, 3000, looked=100, positives=1)
    node = plan(BUSY, street(proxies=(proxy(),)), facts)
    assert node.method == "ranked"
    assert node.prices is not None
    assert node.prices.r2 == 0.7
    assert names(node)["learn"] == "does not apply: proxies are trained"
    chosen = next(a for a in node.alternatives if a.name == "ranked")
    assert chosen.calls < next(a for a in node.alternatives if a.name == "random").calls
    buses = BUSY.replace("'car'", "'bus'")
    assert plan(buses, street(proxies=(proxy(),)), facts).method != "ranked"


def test_one_head_without_a_proxy_is_one_too_many() -> None:
    both = BUSY.replace(">= 3", ">= 3 AND SUM(class = 'bus') >= 1")
    node = plan(both, street(proxies=(proxy(),)))
    assert "no proxy is trained for COUNT(class = 'bus')" in names(node)["ranked"]
    node = plan(both, street(proxies=(proxy(), proxy(Quantity(("class = 'bus'",))))))
    assert "ranked" in node.methods


def test_a_dear_detector_is_worth_a_proxy() -> None:
    dear = replace(PROFILE, detect_frame=0.5)
    facts = FrameFacts(400_000, 200, 33_000, looked=100, positives=0.4)
    node = plan(BUSY, street(400_000, profile=dear, thumbnails=400_000), facts)
    assert node.method == "learn"
    assert node.prices is not None
    assert node.prices.teach > 0
    chosen = next(a for a in node.alternatives if a.name == "learn")
    assert chosen.train > 0
    cheap = plan(BUSY, street(400, profile=PROFILE))
    assert "learn" in cheap.methods
    assert cheap.method != "learn"


def test_a_dropped_proxy_waits_for_labels() -> None:
    table = street(proxies=(proxy(useful=False),))
    node = plan(BUSY, table, FrameFacts(36_000, 200, 3000))
    assert names(node)["learn"] == "does not apply: it was tried with 150 labels: flat"
    assert names(node)["ranked"].endswith("is dropped: flat")
    assert "learn" in plan(BUSY, table, FrameFacts(36_000, 300, 3000)).methods


def test_few_frames_and_strange_conditions_train_nothing() -> None:
    node = plan(BUSY, street(150))
    assert names(node)["learn"] == "does not apply: too few frames to train a proxy for"
    node = plan(f"SELECT frame FROM street WHERE class = $1 {GAP}", street())
    assert node.methods == ("search", "random")
    assert "not made of counts" in names(node)["learn"]


def test_rows_that_are_known_cost_nothing() -> None:
    facts = FrameFacts(36_000, 9000, 3000, looked=100, positives=50, spaced=10)
    node = plan(BUSY, street(), facts)
    assert names(node)["cached"] == "chosen; the rows are known"
    assert plan(BUSY, street(), replace(facts, spaced=9)).method in ("search", "random")
    assert plan(BUSY, street(), FrameFacts(36_000, 36_000, 3000)).alternatives == ()


def test_expectations_follow_what_is_known_and_the_budget() -> None:
    rare = FrameFacts(36_000, 100, 3000, looked=100, positives=0.0)
    common = replace(rare, positives=60.0)

    def calls(facts: FrameFacts, sql: str = BUSY) -> int:
        node = plan(sql, street(), facts)
        return next(a for a in node.alternatives if a.name == node.method).calls

    assert calls(common) < 40
    assert calls(rare) > 10_000  # most likely there is not enough: all frames are looked at
    assert calls(rare, BUSY + " BUDGET 200 CALLS") == 200


def test_a_block_that_orders_its_rows_is_no_search() -> None:
    node = plan(f"SELECT frame FROM street WHERE class = 'car' ORDER BY xmin {GAP}", street())
    assert not node.by_frame
    assert node.alternatives == ()


def test_explain_says_how() -> None:
    text = explain_text(plan(BUSY, street()))
    assert "by random, stops early" in text
    assert "does not apply: no proxy is trained" in text
    assert "what is looked at where too little is found" in text
