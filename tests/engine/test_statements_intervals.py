"""Intervals of results: carried through expressions, joins and unions, one for each shown value."""

import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom

from foveal.engine import inference
from foveal.engine.catalog.videos import LiveTable
from foveal.engine.session import Session
from foveal.planner.lower import aggregates

CARS = "SELECT FCOUNT(*) AS n FROM street WHERE class = 'car' ERROR WITHIN 0.3"
BUSES = "SELECT FCOUNT(*) AS n FROM street WHERE class = 'bus' ERROR WITHIN 0.3"
EACH = (
    "SELECT video, FCOUNT(*) AS n, COUNT(*) AS k FROM street GROUP BY video ORDER BY video "
    "ERROR WITHIN 30%"
)
ONE_BLOCK = (
    f"SELECT 2 * n + 1, -n, 3 - n / 4 AS q, n - 0.5 * n, (n), n::DOUBLE FROM ({CARS})",
    "SELECT FCOUNT(*) AS n, n * 2 AS m, m - n AS d, 1.5 FROM street ERROR WITHIN 0.3",
    "SELECT FCOUNT(*) FILTER (WHERE class = 'car') - FCOUNT(*) FILTER (WHERE class = 'bus') "
    "FROM street ERROR WITHIN 0.4",
    f"WITH c(a) AS ({CARS}), d AS (SELECT a * 10 AS b FROM c) SELECT b - 1, a FROM d, c",
    f"SELECT (SELECT n FROM ({CARS})) * 2 AS x, 7 AS y",
    f"SELECT q.*, h.w, q.n * h.w AS s FROM (VALUES (2.0), (-3.0)) h(w), ({CARS}) q",
    f"FROM ({CARS})",
    f"SELECT * FROM (SELECT *, n * 2 AS m FROM ({CARS})) z(a, b)",
)
SEVERAL = (
    f"SELECT a.n - b.n AS d, a.n, a.n + b.n - 1 AS s FROM ({CARS}) a, ({BUSES}) b",
    f"SELECT x.n - y.n FROM ({CARS}) x JOIN ({BUSES}) y ON true",
    f"SELECT (SELECT n FROM ({CARS})) + FCOUNT(*) AS t FROM street ERROR WITHIN 0.3",
    f"SELECT 'car' AS kind, n FROM ({CARS}) UNION ALL SELECT 'bus', 2 * n FROM ({BUSES}) "
    "UNION ALL SELECT 'none', 0",
    f"SELECT n, 1 AS o FROM ({CARS}) UNION ALL BY NAME SELECT 2 AS o, n + 1 AS n FROM ({BUSES})",
    f"SELECT a.video, b.video AS other, a.n - b.n AS d FROM ({EACH}) a JOIN ({EACH}) b "
    "ON a.video > b.video ORDER BY d",
    f"SELECT * FROM ({EACH}) ORDER BY n DESC",
)


@pytest.fixture
def always_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sample win over the exact scan, which these tiny tables would choose."""

    def unmeasured(table: LiveTable, cancel: object) -> None:
        del table, cancel

    def choose(alternatives: list[Any], node: Any) -> Any:
        del node
        return next(
            (a for a in alternatives if a.applies and a.name == "sampling"), alternatives[0]
        )

    monkeypatch.setattr(LiveTable, "measure", unmeasured)
    monkeypatch.setattr(aggregates, "_choose", choose)


def reported(session: Session) -> list[dict[str, Any]]:
    assert session.report.intervals is not None
    return session.report.intervals.to_pylist()


@pytest.mark.usefixtures("always_sample")
@pytest.mark.parametrize("sql", [*ONE_BLOCK, *SEVERAL])
def test_every_interval_belongs_to_its_value(open_toy: Any, sql: str) -> None:
    session = open_toy(seed=3)
    result = session.execute(sql)
    names = [c.name for c in result.columns]
    assert not any(name.startswith("__") for name in names)
    shown = result.fetchall()
    intervals = reported(session)
    assert intervals
    for one in intervals:
        value = shown[one["row"]][names.index(one["column"])]
        assert value == one["estimate"]
        assert one["low"] - 1e-12 <= value <= one["high"] + 1e-12
        assert one["samples"] >= 0
    assert any(one["high"] > one["low"] for one in intervals)
    exact = exact_rows(session, sql)
    for one in intervals:
        i = names.index(one["column"])
        mine = keys(shown[one["row"]], names, intervals)
        (truth,) = {row[i] for row in exact if keys(row, names, intervals) == mine}
        assert one["low"] - 1e-9 <= truth <= one["high"] + 1e-9
    assert len(shown) == len(exact)


def keys(row: Any, names: list[str], intervals: list[dict[str, Any]]) -> list[Any]:
    """Return the exact values of a row, which tell it from the others."""
    estimated = {one["column"] for one in intervals}
    return [value for name, value in zip(names, row, strict=True) if name not in estimated]


def exact_rows(session: Session, sql: str) -> list[Any]:
    session.execute("SET foveal.guarantee = 'exact'")
    return session.execute(sql).fetchall()


@pytest.mark.usefixtures("always_sample")
def test_combinations_hold_at_the_asked_confidence_over_many_seeds(
    open_toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    confidence = 0.8
    sql = (
        f"SELECT a.n - b.n AS d, 2 * a.n - 1 AS e FROM ({CARS} AT CONFIDENCE 80%) a, "
        f"({BUSES} AT CONFIDENCE 80%) b"
    )
    session = open_toy()
    truth = dict(zip("de", exact_rows(session, sql)[0], strict=True))
    session.execute("SET foveal.guarantee = 'asymptotic'")

    # Every detection is stored by now; the samples are to be drawn as if none were.
    def unknown(table: LiveTable) -> npt.NDArray[np.bool_]:
        return np.zeros(table.frames, np.bool_)

    def nothing(*_: object) -> None:
        return

    monkeypatch.setattr(LiveTable, "processed", unknown)
    monkeypatch.setattr(inference, "ensure", nothing)
    sampled = sys.modules["foveal.engine.operators.sample_aggregate"]
    monkeypatch.setattr(sampled, "ensure", nothing)
    misses, trials = dict.fromkeys("de", 0), 30
    for seed in range(trials):
        session.execute(f"SET foveal.seed = {seed}")
        session.execute(sql).fetchall()
        for one in reported(session):
            assert one["confidence"] == pytest.approx(confidence if one["column"] == "d" else 0.9)
            misses[one["column"]] += not (
                one["low"] - 1e-9 <= truth[one["column"]] <= one["high"] + 1e-9
            )
    for column, allowed in (("d", 1 - confidence), ("e", 0.1)):
        assert misses[column] <= binom.ppf(0.9999, trials, allowed)


def test_confidence_is_shared_only_where_blocks_meet(open_toy: Any) -> None:
    session = open_toy()
    apart = f"SELECT n FROM ({CARS}) UNION ALL SELECT n FROM ({BUSES})"
    session.execute(apart).fetchall()
    assert {one["confidence"] for one in reported(session)} == {0.95}
    assert "confidence 97.5%" not in session.report.plan
    session.execute(f"SELECT a.n, b.n AS m, a.n + b.n AS s FROM ({CARS}) a, ({BUSES}) b").fetchall()
    assert [one["confidence"] for one in reported(session)] == [0.975, 0.975, 0.95]
    assert session.report.confidence == 0.95
    assert session.report.plan.count("confidence 97.5%") == 2 or "exact" in session.report.plan


def test_rows_of_one_block_share_only_where_they_do_not_hold_together(open_toy: Any) -> None:
    sql = f"WITH c AS ({EACH}) SELECT a.n - b.n FROM c a, c b WHERE a.video < b.video"
    session = open_toy()
    session.execute(sql).fetchall()
    assert {one["confidence"] for one in reported(session)} == {0.95}
    assert "confidence 97.5%" not in session.report.plan
    session.execute("SET foveal.group_guarantee = 'row'")
    session.execute(sql).fetchall()
    assert {one["confidence"] for one in reported(session)} == {0.95}


def test_the_report_speaks_of_what_is_shown(open_toy: Any) -> None:
    session = open_toy()
    session.execute(f"SELECT 10 * n AS ten FROM ({CARS})")
    report = session.report  # before a row is fetched
    assert report.low <= report.estimate <= report.high
    ((ten,),) = session.execute(f"SELECT 10 * n AS ten FROM ({CARS})").fetchall()
    assert report.estimate == ten
    session.execute(f"SELECT video FROM ({EACH})").fetchall()
    report = session.report
    assert (report.intervals, report.estimate, report.guarantee) == (None, None, "exact")
    session.execute(f"SELECT NULL::DOUBLE + n AS none FROM ({CARS})").fetchall()
    assert session.report.estimate is None
    assert reported(session) == []


def test_other_columns_keep_their_types(open_toy: Any) -> None:
    session = open_toy()
    session.execute("CREATE TABLE t AS SELECT 1::HUGEINT AS h, 1.50::DECIMAL(9,2) AS d, "
                    "DATE '2026-01-02' AS day, [1, 2]::TINYINT[] AS l, uuid() AS u")  # fmt: skip
    sql = f"SELECT t.*, q.n FROM t, ({CARS}) q"
    plain = session.execute("SELECT *, 0::DOUBLE AS n FROM t").fetchall()
    (row,) = session.execute(sql).fetchall()
    assert row[:-1] == plain[0][:-1]
    expected = session.execute("SELECT *, 0::DOUBLE AS n FROM t").arrow_table().schema
    assert session.execute(sql).arrow_table().schema == expected


def test_a_stored_estimate_has_no_hidden_columns(open_toy: Any) -> None:
    session = open_toy()
    session.execute(f"CREATE TABLE kept AS SELECT n * 2 AS m FROM ({CARS})")
    assert [c.name for c in session.execute("SELECT * FROM kept").columns] == ["m"]
    session.execute(f"PREPARE p AS SELECT n * $1 AS m FROM ({CARS})")
    session.execute("EXECUTE p(-2)").fetchall()
    (one,) = reported(session)
    assert one["low"] <= one["estimate"] <= one["high"] <= 0
