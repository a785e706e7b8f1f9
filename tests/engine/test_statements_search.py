"""LIMIT .. GAP at work: rows, detector calls, budgets and proxies, against the relation itself."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foveal.engine import planning
from foveal.engine.session import Session
from foveal.planner.lower import lower as lower_as_it_is
from foveal.planner.physical import GapLimitRows, NamedInput, SqlFragment

CONDITIONS = (
    "SELECT video, frame, ts FROM street WHERE class = 'car'",
    "SELECT video, frame, ts FROM street WHERE class = 'bus' AND frame % 3 <> 1",
    "SELECT video, frame, ts FROM street GROUP BY video, frame, ts "
    "HAVING SUM(class = 'person') >= 2",
    "SELECT video, frame, ts FROM street GROUP BY video, frame, ts HAVING max(xmin) < 40",
    "SELECT video, frame, ts FROM street WHERE confidence > 2",
)


def rows(session: Session, sql: str) -> list[tuple[Any, ...]]:
    return session.execute(sql).fetchall()


def fresh(toy: Any, **settings: Any) -> Session:
    given = {"isolate_decode": False, "verify_plans": True, "threads": 1, **settings}
    session = Session(settings=given)
    session.execute(toy.create())
    return session


@pytest.fixture(scope="module")
def relation(toy: Any) -> Iterator[Session]:
    """A session in which every frame is known."""
    session = fresh(toy)
    rows(session, "SELECT count(*) FROM street")
    yield session
    session.close()


def forced(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Let every search use one way only, whatever it costs."""

    def lower(*given: Any) -> Any:
        return change(lower_as_it_is(*given))

    def change(node: Any) -> Any:
        if isinstance(node, GapLimitRows):
            methods = ("search",) if method == "search" else ("random", "learn")
            prices = node.prices and replace(node.prices, teach=0.0, taught_r2=0.9)
            return replace(node, method=method, methods=methods, prices=prices)
        if isinstance(node, SqlFragment):
            return replace(node, inputs=tuple(change(i) for i in node.inputs))
        return replace(node, child=change(node.child)) if isinstance(node, NamedInput) else node

    monkeypatch.setattr(planning, "lower", lower)


@pytest.mark.parametrize("method", ["search", "random"])
@pytest.mark.parametrize("gap", [1, 4, 25])
@pytest.mark.parametrize("limit", [1, 5, 60])
def test_rows_are_of_the_relation_and_apart(
    toy: Any, relation: Session, monkeypatch: pytest.MonkeyPatch, method: str, gap: int, limit: int
) -> None:
    draw = random.Random(f"{method}{gap}{limit}")
    forced(monkeypatch, method)
    session = fresh(toy, seed=draw.randrange(100))
    for head in draw.sample(CONDITIONS, 2):
        every = {row[:2] for row in rows(relation, head)}
        known = session.execute("SELECT sum(frames_cached) FROM foveal.videos").fetchone()
        assert known is not None
        found = rows(session, f"{head} LIMIT {limit} GAP {gap}")
        calls = session.report.detector_calls
        assert calls + int(known[0]) <= 190
        assert {row[:2] for row in found} <= every
        assert [row[:2] for row in found] == sorted(row[:2] for row in found)
        for video in {row[0] for row in found}:
            frames = [row[1] for row in found if row[0] == video]
            assert all(b - a >= gap for a, b in itertools.pairwise(frames))
        left = [
            row for row in every
            if all(row[0] != f[0] or abs(row[1] - f[1]) >= gap for f in found)
        ]  # fmt: skip
        assert len(found) == limit or not left
        assert (len(found) < limit) == any(
            "fewer than LIMIT" in n.message for n in session.report.notices
        )
        assert rows(session, f"{head} LIMIT {limit} GAP {gap}") == found
        assert session.report.detector_calls == session.report.frames_decoded == 0
        assert session.report.guarantee == "exact"
    session.close()


def test_seconds_offsets_and_videos(toy: Any, relation: Session) -> None:
    head = "SELECT video, frame, ts FROM street WHERE class = 'person'"
    every = {row[:2] for row in rows(relation, head)}
    session = fresh(toy)
    all_five = rows(session, f"{head} LIMIT 5 GAP INTERVAL 1 SECOND")
    assert {row[:2] for row in all_five} <= every
    for video in {row[0] for row in all_five}:
        moments = [row[2] for row in all_five if row[0] == video]
        assert all(b - a >= 1.0 for a, b in itertools.pairwise(moments))
    later = rows(session, f"{head} LIMIT 3 OFFSET 2 GAP INTERVAL 1 SECOND")
    assert later == all_five[2:]
    assert session.report.detector_calls == 0
    one = rows(session, f"{head} AND video = 'b.mp4' LIMIT 4 GAP 2")
    assert {row[0] for row in one} == {"b.mp4"}
    session.close()


def test_a_search_looks_at_fewer_frames_than_there_are(toy: Any) -> None:
    session = fresh(toy)
    found = rows(session, "SELECT video, frame FROM street WHERE class = 'car' LIMIT 2 GAP 10")
    assert len(found) == 2
    assert session.report.detector_calls < 60
    assert session.report.frames_total == 190
    assert session.report.plan_kind in ("search", "random")
    session.close()


@pytest.mark.parametrize("budget", [0, 1, 7, 40])
def test_a_budget_of_calls_is_kept(toy: Any, budget: int) -> None:
    session = fresh(toy)
    head = "SELECT video, frame FROM street WHERE class = 'car' LIMIT 60 GAP 1"
    if budget == 0:
        budget = 1
    found = rows(session, f"{head} BUDGET {budget} CALLS")
    assert session.report.detector_calls == budget
    assert len(found) <= budget
    assert not session.report.target_met
    assert any("the budget was spent after" in n.message for n in session.report.notices)
    more = rows(session, f"{head} BUDGET {budget} CALLS")
    assert set(found) <= set(more)
    assert session.report.detector_calls == budget
    session.close()


def test_a_budget_of_seconds_ends_the_search(toy: Any) -> None:
    session = fresh(toy)
    rows(session, "SELECT frame FROM street WHERE confidence > 2 LIMIT 1 GAP 1 "
                  "BUDGET 0.000001 SECONDS")  # fmt: skip
    assert session.report.detector_calls < 190
    assert not session.report.target_met
    assert rows(session, "SELECT count(*) > 0 FROM street") == [(True,)]
    session.close()


def test_seeds_decide_and_repeat(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    forced(monkeypatch, "random")
    sql = "SELECT video, frame FROM street WHERE class = 'car' LIMIT 30 GAP 2"
    answers: dict[int, list[Any]] = {}
    for seed in (1, 1, 2, 3, 4):
        session = fresh(toy, seed=seed)
        found = rows(session, sql)
        assert answers.setdefault(seed, found) == found
        session.close()
    assert len({tuple(a) for a in answers.values()}) > 1


@pytest.fixture(scope="module")
def stored(toy: Any) -> Iterator[Session]:
    """A session in which some frames are known, and learnt from."""
    session = fresh(toy)
    yield session
    session.close()


def test_stored_proxies_rank(stored: Session, relation: Session) -> None:
    """Their scores are true or not; rows are verified all the same."""
    stored.execute(
        "CREATE OR REPLACE PROXY people ON street FOR COUNT(class = 'person') WITH (labels = 60)"
    )
    head = "SELECT video, frame FROM street GROUP BY video, frame HAVING SUM(class = 'person') >= 2"
    every = set(rows(relation, head))
    plan = "\n".join(r[0] for r in rows(stored, f"EXPLAIN {head} LIMIT 50 GAP 1"))
    assert "ranked" in plan
    found = rows(stored, f"{head} LIMIT 50 GAP 1")
    assert set(found) <= every
    assert len(found) == min(50, len(every))


def test_a_run_learns_when_told_to(toy: Any, relation: Session,
                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    forced(monkeypatch, "random")
    session = fresh(toy)
    head = "SELECT video, frame FROM street GROUP BY video, frame HAVING COUNT(*) >= 3"
    every = set(rows(relation, head))
    found = rows(session, f"{head} LIMIT 500 GAP 1")
    assert set(found) == every
    kept = rows(session, "SELECT name FROM foveal.proxies")
    assert (session.report.plan_kind == "learn") <= bool(kept)
    session.close()


def test_order_by_takes_the_first_of_all(relation: Session) -> None:
    head = "SELECT video, frame, xmin FROM street WHERE class = 'car'"
    first = rows(relation, f"{head} ORDER BY xmin DESC, video, frame LIMIT 1")
    found = rows(relation, f"{head} ORDER BY xmin DESC, video, frame LIMIT 3 GAP 5")
    assert found[0] == first[0]
    assert np.all(np.diff([row[2] for row in found]) <= 0)


def test_a_search_inside_a_query(toy: Any, relation: Session) -> None:
    session = fresh(toy)
    inner = "SELECT video, frame FROM street WHERE class = 'bus' LIMIT 3 GAP 8"
    found = rows(session, f"WITH g AS ({inner}) SELECT video, frame FROM g ORDER BY ALL")
    every = set(rows(relation, "SELECT video, frame FROM street WHERE class = 'bus'"))
    assert set(found) <= every
    assert len(found) == 3
    session.close()
