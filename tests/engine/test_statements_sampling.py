"""ERROR WITHIN, BUDGET and guarantees on tiny tables: intervals hold, cancelling answers."""

import threading
import time
from typing import Any

import pytest

from foveal.engine.catalog.videos import LiveTable
from foveal.engine.session import Session
from foveal.errors import QueryCanceled
from foveal.planner.lower import aggregates

pytestmark = pytest.mark.filterwarnings("ignore:Arrow output on a DB-API result")

QUESTIONS = (
    "FCOUNT(*) | FROM street WHERE class = 'car' | 0.3",
    "FCOUNT(*) FILTER (WHERE class = 'bus') | FROM street WHERE frame < 80 | 0.3",
    "COUNT(*) | FROM street WHERE confidence > 0.7 | 80",
    "SUM(confidence) | FROM street WHERE class = 'person' | 60",
    "AVG(confidence) | FROM street | 0.2",
    "2 * FCOUNT(*) + 1 | FROM street WHERE class <> 'bus' | 0.5",
)


def rows(session: Session, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    return session.execute(sql, parameters).fetchall()


@pytest.fixture
def prefer_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the cheapest sample win over the exact scan, which these tiny tables would choose.

    Batches are sized by what frames cost, which is taken to be the same for all.
    """

    def unmeasured(table: LiveTable, cancel: object) -> None:
        del table, cancel

    monkeypatch.setattr(LiveTable, "measure", unmeasured)

    def choose(alternatives: list[Any], node: Any) -> Any:
        usable = [a for a in alternatives if a.applies]
        return min(usable[1:] or usable, key=lambda a: a.total)

    monkeypatch.setattr(aggregates, "_choose", choose)


@pytest.mark.usefixtures("prefer_sampling")
@pytest.mark.parametrize("guarantee", ["finite", "asymptotic"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_the_truth_is_in_the_interval(open_toy: Any, question: str, guarantee: str) -> None:
    what, from_, epsilon = question.split(" | ")
    session = open_toy(guarantee=guarantee)
    sql = f"SELECT {what} AS x {from_} ERROR WITHIN {epsilon} AT CONFIDENCE 95%"
    result = session.execute(sql)
    assert [(c.name, c.type) for c in result.columns] == [("x", "DOUBLE")]
    ((answer,),) = result.fetchall()
    report = session.report
    assert report.plan_kind in ("sampling", "temporal")
    assert report.intervals is not None
    (interval,) = report.intervals.to_pylist()
    assert report.confidence == 0.95
    session.execute("SET foveal.guarantee = 'exact'")
    ((truth,),) = rows(session, sql)
    scale = 2.0 if what.startswith("2 *") else 1.0  # an expression moves its interval along
    assert interval["low"] - 1e-9 <= truth <= interval["high"] + 1e-9
    assert interval["low"] - 1e-9 <= answer <= interval["high"] + 1e-9
    assert (answer, interval["column"]) == (interval["estimate"], "x")
    if interval["target_met"]:
        assert abs(answer - truth) <= scale * float(epsilon) + 1e-9


@pytest.mark.usefixtures("prefer_sampling")
def test_the_same_seed_gives_the_same_answer(open_toy: Any) -> None:
    sql = "SELECT FCOUNT(*) FROM street ERROR WITHIN 0.4"
    answers = [rows(open_toy(seed=seed), sql) for seed in (3, 3)]
    assert answers[0] == answers[1]


@pytest.mark.usefixtures("prefer_sampling")
def test_groups_are_answered_together(open_toy: Any) -> None:
    session = open_toy()
    sql = "SELECT video, FCOUNT(*) AS n FROM street GROUP BY video ERROR WITHIN 0.8"
    answers = dict(rows(session, sql))
    assert session.report.intervals is not None
    intervals = {r["video"]: r for r in session.report.intervals.to_pylist()}
    session.execute("SET foveal.guarantee = 'exact'")
    truth = dict(rows(session, sql))
    assert answers.keys() == truth.keys() == intervals.keys()
    for video, value in truth.items():
        assert intervals[video]["low"] - 1e-9 <= value <= intervals[video]["high"] + 1e-9


@pytest.mark.usefixtures("prefer_sampling")
def test_a_budget_of_calls_is_kept(open_toy: Any) -> None:
    session = open_toy()
    rows(session, "SELECT FCOUNT(*) FROM street BUDGET 25 CALLS")
    assert 0 < session.report.detector_calls <= 25
    report = session.report
    assert report.low is not None
    assert report.high is not None
    low, high = report.low, report.high
    ((truth,),) = rows(session, "SELECT FCOUNT(*) FROM street")
    assert low - 1e-9 <= truth <= high + 1e-9
    session = open_toy()
    rows(session, "SELECT FCOUNT(*) FROM street ERROR WITHIN 0.01 BUDGET ? CALLS", [10])
    assert session.report.detector_calls <= 10
    assert not session.report.target_met
    assert any("not reached" in notice.message for notice in session.report.notices)


@pytest.mark.usefixtures("prefer_sampling")
def test_a_percentage_is_of_the_answer(open_toy: Any) -> None:
    session = open_toy()
    ((answer,),) = rows(session, "SELECT FCOUNT(*) FROM street ERROR WITHIN 30%")
    assert session.report.intervals is not None
    (interval,) = session.report.intervals.to_pylist()
    ((truth,),) = rows(session, "SELECT FCOUNT(*) FROM street")
    if interval["target_met"]:
        assert abs(answer - truth) <= 0.3 * truth + 1e-9
    plan = "\n".join(
        r[0] for r in rows(session, "EXPLAIN VERBOSE SELECT FCOUNT(*) FROM street ERROR WITHIN 5%")
    )
    assert "error 5%" in plan
    plan = "\n".join(
        r[0]
        for r in rows(session, "EXPLAIN VERBOSE SELECT FCOUNT(*) FROM street ERROR WITHIN ?%", [5])
    )
    assert "error 5%" in plan


def test_the_exact_guarantee_looks_at_every_frame(open_toy: Any) -> None:
    session = open_toy(guarantee="exact")
    rows(session, "SELECT FCOUNT(*) FROM street ERROR WITHIN 5")
    assert session.report.detector_calls == 190
    assert session.report.guarantee == "exact"
    assert session.report.low == session.report.high == session.report.estimate


@pytest.mark.usefixtures("prefer_sampling")
def test_cached_frames_do_not_bias(open_toy: Any) -> None:
    """Frames that were looked at because they are full are a stratum of their own."""
    misses = 0
    for seed in range(12):
        session = open_toy(seed=seed)
        rows(session, "SELECT count(*) FROM street WHERE video = 'v.mkv'")
        rows(session, "SELECT FCOUNT(*) FROM street ERROR WITHIN 0.4")
        report = session.report
        assert report.low is not None
        assert report.high is not None
        low, high = report.low, report.high
        ((truth,),) = rows(session, "SELECT FCOUNT(*) FROM street")
        misses += not low - 1e-9 <= truth <= high + 1e-9
        session.close()
    assert misses <= 4  # the 99.9 % quantile of a binomial of 12 at 0.05


class Slow:
    """Stands before the detector and takes its time with each batch."""

    def __init__(self, detector: Any) -> None:
        self.detector = detector
        self.batches = 0
        self.seen = threading.Event()

    @property
    def info(self) -> Any:
        return self.detector.info

    def detect(self, images: Any) -> Any:
        self.batches += 1
        if self.batches == 4:
            self.seen.set()
        time.sleep(0.05)
        return self.detector.detect(images)


@pytest.mark.usefixtures("prefer_sampling")
def test_cancelling_a_sample_answers_with_its_interval(open_toy: Any) -> None:
    session = open_toy(batch_frames=2)
    session.execute("SELECT 1").close()
    live = session._tables.table("street")
    detector = Slow(live.detector)
    live.__dict__["detector"] = detector

    def stop() -> None:
        detector.seen.wait(20)
        session.cancel()

    thread = threading.Thread(target=stop)
    thread.start()
    ((answer,),) = rows(session, "SELECT FCOUNT(*) FROM street ERROR WITHIN 0.0001")
    thread.join()
    report = session.report
    assert report.detector_calls < 190
    assert report.low is not None
    assert report.high is not None
    assert report.low <= answer <= report.high
    assert any("cancelled" in notice.message for notice in report.notices)
    low, high = report.low, report.high
    ((truth,),) = rows(session, "SELECT FCOUNT(*) FROM street")
    assert low - 1e-9 <= truth <= high + 1e-9


def test_intervals_pass_through_affine_expressions(open_toy: Any) -> None:
    session = open_toy()
    ((one, two, three),) = rows(
        session,
        "WITH a AS (SELECT FCOUNT(*) AS n FROM street ERROR WITHIN 0.2) "
        "SELECT n, -n / 2 + 1 AS m, n::DOUBLE - 1 AS k FROM a",
    )
    assert (two, three) == (pytest.approx(-one / 2 + 1), pytest.approx(one - 1))
    both = rows(
        session,
        "SELECT 'all' AS what, FCOUNT(*) AS n FROM street ERROR WITHIN 0.5 UNION ALL "
        "SELECT 'cars', FCOUNT(*) FROM street WHERE class = 'car' ERROR WITHIN 0.5",
    )
    assert len(both) == 2


def test_a_cancelled_exact_aggregate_is_an_error(open_toy: Any) -> None:
    session = open_toy(batch_frames=2)
    session.execute("SELECT 1").close()
    live = session._tables.table("street")
    detector = Slow(live.detector)
    live.__dict__["detector"] = detector
    thread = threading.Thread(target=lambda: (detector.seen.wait(20), session.cancel()))
    thread.start()
    with pytest.raises(QueryCanceled):
        rows(session, "SELECT FCOUNT(*) FROM street")
    thread.join()


def test_a_budget_alone_aims_at_what_it_can_reach(open_toy: Any) -> None:
    session = open_toy()
    exact = float(str(open_toy().execute("SELECT FCOUNT(*) FROM street").fetchall()[0][0]))
    result = session.execute("SELECT FCOUNT(*) FROM street BUDGET 40 CALLS")
    result.fetchall()
    low, high = result.report.low, result.report.high
    assert low is not None
    assert high is not None
    assert low <= exact <= high
    assert result.report.detector_calls <= 40
    assert high - low < 3  # aimed at exactness the same looks leave nearly the range of 6


def test_no_error_is_the_exact_answer(open_toy: Any) -> None:
    session = open_toy()
    result = session.execute("SELECT FCOUNT(*) FROM street WHERE class = 'car' ERROR WITHIN 0")
    (value,) = result.fetchall()[0]
    assert result.report.guarantee == "exact"
    exact = "SELECT FCOUNT(*) FROM street WHERE class = 'car'"
    assert value == session.execute(exact).fetchall()[0][0]
