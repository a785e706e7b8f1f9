"""What answers say of themselves: guarantees in all modes, edges, windows, what a search leaves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from foveal.engine.catalog.videos import LiveTable
from foveal.engine.operators import proxy_look
from foveal.engine.session import Session
from foveal.errors import FovealError
from foveal.planner.lower import aggregates
from foveal.server.shell import describe_answer

OpenToy = Callable[..., Session]
FRAMES = 190
CARS = "SELECT FCOUNT(*) AS n FROM street WHERE class = 'car'"


def rows(session: Session, sql: str) -> list[tuple[Any, ...]]:
    return session.execute(sql).fetchall()


def one(session: Session, sql: str) -> Any:
    ((value,),) = rows(session, sql)
    return value


@pytest.fixture
def prefer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that lets one alternative win, which costs would not choose here."""

    def unmeasured(table: LiveTable, cancel: object) -> None:
        del table, cancel

    monkeypatch.setattr(LiveTable, "measure", unmeasured)

    def prefer_one(name: str) -> None:
        def choose(alternatives: list[Any], node: object) -> Any:
            del node
            usable = [a for a in alternatives if a.applies]
            return next((a for a in usable if a.name == name), usable[0])

        monkeypatch.setattr(aggregates, "_choose", choose)

    return prefer_one


# --- guarantees ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "plan", "guarantee"),
    [
        ("exact", "exact", "exact"),
        ("finite", "exact", "exact"),
        ("finite", "sampling", "finite"),
        ("finite", "temporal", "finite"),
        ("asymptotic", "exact", "exact"),
        ("asymptotic", "sampling", "asymptotic"),
        ("none", "exact", "exact"),
        ("none", "sampling", "asymptotic"),
        ("none", "rewrite", "none"),
    ],
)
@pytest.mark.parametrize(
    "sql", [f"{CARS} ERROR WITHIN 0.4", f"SELECT 3 * n - 1 AS n FROM ({CARS} ERROR WITHIN 0.4)"]
)
def test_the_guarantee_is_that_of_the_answer(
    open_toy: OpenToy, prefer: Callable[[str], None], monkeypatch: pytest.MonkeyPatch,
    setting: str, plan: str, guarantee: str, sql: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(proxy_look, "REWRITE_LABELS", 30)
    prefer(plan)
    session = open_toy(guarantee=setting)
    value = one(session, sql)
    report = session.report
    assert report.plan_kind == plan
    assert report.guarantee == guarantee
    kept = rows(session, "SELECT guarantee, estimate, low, high FROM foveal.queries LIMIT 1")
    assert kept == [(guarantee, report.estimate, report.low, report.high)]
    if setting != "exact":
        assert report.estimate == value
    if guarantee == "none":
        assert (report.confidence, report.low, report.high) == (None, None, None)
        assert report.intervals is not None
        (told,) = report.intervals.to_pylist()
        assert (told["confidence"], told["low"], told["high"]) == (None, None, None)
        assert not report.target_met
    elif setting == "exact":
        assert (report.confidence, report.intervals) == (None, None)
        assert report.estimate is None, "an exact value has no interval, whatever became of it"
    else:
        assert report.confidence == 0.95
        assert report.low is not None
        assert report.high is not None
        assert report.low <= value <= report.high
        assert (report.low < report.high) == (guarantee != "exact")


def test_what_a_proxy_answers_alone_is_never_said_with_a_confidence(
    open_toy: OpenToy, prefer: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_look, "REWRITE_LABELS", 30)
    prefer("rewrite")
    session = open_toy(guarantee="none")
    for sql in (
        f"{CARS} ERROR WITHIN 0.4",
        "SELECT video, FCOUNT(*) FROM street GROUP BY video ERROR WITHIN 0.4",
        f"CREATE TABLE t AS {CARS} ERROR WITHIN 0.4",
    ):
        session.execute(sql).fetchall()
        assert session.report.guarantee == "none"
        assert session.report.confidence is None
        line = describe_answer(session.report)
        assert line is not None
        assert "nothing bounds the error" in line
        assert "confidence" not in line
        assert any("nothing bounds the error" in n.message for n in session.report.notices)


def test_the_worst_guarantee_of_several_is_told(
    open_toy: OpenToy, prefer: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One arm answers by a proxy alone, which cannot answer an average over objects."""
    monkeypatch.setattr(proxy_look, "REWRITE_LABELS", 30)
    prefer("rewrite")
    session = open_toy(guarantee="none")
    rows(session, f"SELECT n FROM ({CARS} ERROR WITHIN 0.4) UNION ALL "
                  "SELECT a FROM (SELECT AVG(xmin) AS a FROM street ERROR WITHIN 20)")  # fmt: skip
    assert session.report.guarantee == "none"
    assert session.report.confidence is None
    assert session.report.intervals is not None
    told = session.report.intervals.to_pylist()
    assert [(t["low"] is None) == (t["confidence"] is None) for t in told] == [True] * len(told)


# --- what a search leaves behind ------------------------------------------------------------------


def test_an_estimate_after_a_search_is_not_drawn_to_what_it_found(
    open_toy: OpenToy, prefer: Callable[[str], None]
) -> None:
    """LIMIT stops at hits, so that the frames it leaves behind are fuller than the others."""
    prefer("sampling")
    whole = open_toy()
    truth = one(whole, CARS)
    table = whole._tables.table("street")  # pyright: ignore[reportPrivateUsage]
    starts = {v.name: int(s) for v, s in zip(table.videos, table.starts, strict=False)}
    values = np.zeros(FRAMES)
    for video, frame in rows(whole, "SELECT video, frame FROM street WHERE class = 'car'"):
        values[starts[video] + frame] += 1
    estimates: list[float] = []
    left: list[float] = []
    missed = 0
    for seed in range(12):
        session = open_toy(seed=seed)
        rows(session, "SELECT video, frame FROM street GROUP BY video, frame "
                      "HAVING SUM(class = 'car') >= 2 LIMIT 12 GAP 1")  # fmt: skip
        seen = session._tables.table("street").processed()  # pyright: ignore[reportPrivateUsage]
        assert 12 <= seen.sum() < FRAMES
        left.append(float(values[seen].mean()))
        estimates.append(one(session, f"{CARS} BUDGET 25 CALLS"))
        report = session.report
        assert report.frames_cached == seen.sum()
        assert report.detector_calls <= 25
        assert report.low is not None
        assert report.high is not None
        missed += not report.low - 1e-9 <= truth <= report.high + 1e-9
        session.close()
    errors = np.array(estimates) - truth
    error = errors.std(ddof=1) / len(errors) ** 0.5
    assert abs(errors.mean()) < 3 * error
    assert np.mean(left) - truth > 6 * error, "the frames left behind would have shown a bias"
    assert missed <= stats.binom.ppf(0.999, 12, 0.05)


# --- budgets in time ------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ["", " ERROR WITHIN 0.001"])
def test_a_budget_of_seconds_ends_an_estimate_with_its_interval(
    open_toy: OpenToy, prefer: Callable[[str], None], error: str
) -> None:
    prefer("sampling")
    session = open_toy()
    value = one(session, f"{CARS}{error} BUDGET 0.000001 SECONDS")
    report = session.report
    assert report.detector_calls < FRAMES
    assert not report.target_met
    assert report.low is not None
    assert report.high is not None
    low, high = report.low, report.high
    assert low <= value <= high
    assert low <= one(session, CARS) <= high


# --- edges ---------------------------------------------------------------------------------------

ERROR = " ERROR WITHIN 0.1"
NOTHING = "FROM street WHERE class = 'car' AND confidence > 2"
NO_FRAME = "FROM street WHERE class = 'car' AND frame < 0"


@pytest.mark.parametrize("error", ["", ERROR])
def test_no_frame_and_no_object_have_answers(open_toy: OpenToy, error: str) -> None:
    session = open_toy()
    what = "SELECT FCOUNT(*), COUNT(*), SUM(confidence), AVG(confidence)"
    assert rows(session, f"{what} {NO_FRAME}{error}") == [(None, 0, None, None)]
    assert session.report.detector_calls == 0
    ((mean, count, _, average),) = rows(session, f"{what} {NOTHING}{error}")
    assert abs(mean) <= 0.1
    assert abs(count) <= 0.1
    assert average is None
    assert rows(session, f"SELECT video, FCOUNT(*) {NO_FRAME} GROUP BY video{error}") == []
    for where in (NOTHING, NO_FRAME):
        assert rows(session, f"SELECT frame {where} LIMIT 3 GAP 5") == []
        assert any("fewer than LIMIT 3" in n.message for n in session.report.notices)
        for rates in ("FNR WITHIN 5%", "FPR WITHIN 5%", "FNR WITHIN 5% FPR WITHIN 5%"):
            assert rows(session, f"SELECT frame {where} {rates}") == []


@pytest.mark.parametrize("tail", [ERROR, " LIMIT 3 GAP 5", " FNR WITHIN 5%", ""])
def test_an_unknown_class_is_an_error_before_any_look(open_toy: OpenToy, tail: str) -> None:
    session = open_toy()
    what = "FCOUNT(*)" if tail in ("", ERROR) else "frame"
    with pytest.raises(FovealError) as caught:
        rows(session, f"SELECT {what} FROM street WHERE class = 'zebra'{tail}")
    assert caught.value.sqlstate == "22023"
    assert 'no class "zebra"' in caught.value.message
    assert caught.value.hint
    assert session.report.detector_calls == 0


def test_an_error_beyond_the_range_needs_no_look(open_toy: OpenToy) -> None:
    session = open_toy()
    value = one(session, f"{CARS} ERROR WITHIN 1000")
    assert session.report.detector_calls == 0
    assert (session.report.low, session.report.high) == (0.0, 6.0)
    assert 0.0 <= value <= 6.0
    assert session.report.target_met


def test_an_error_next_to_nothing_is_the_exact_answer(open_toy: OpenToy) -> None:
    session = open_toy()
    value = one(session, f"{CARS} ERROR WITHIN 0.000000001")
    assert (session.report.guarantee, session.report.detector_calls) == ("exact", FRAMES)
    counted = one(session, "SELECT count(*) FROM street WHERE class = 'car'")
    assert value == pytest.approx(counted / FRAMES, rel=1e-12)


@pytest.mark.parametrize("tail", [
    " ERROR WITHIN -1", f"{ERROR} AT CONFIDENCE 100%",
    f"{ERROR} AT CONFIDENCE 0%", " BUDGET 0 CALLS",
])  # fmt: skip
def test_limits_that_mean_nothing_are_refused(open_toy: OpenToy, tail: str) -> None:
    with pytest.raises(FovealError) as caught:
        rows(open_toy(), CARS + tail)
    assert caught.value.sqlstate == "22023"
    assert caught.value.hint


# --- plans and what they come to -----------------------------------------------------------------


def test_what_explain_expects_of_exact_plans_is_what_they_take(open_toy: OpenToy) -> None:
    session = open_toy()
    for sql, calls in (
        (f"{CARS} AND frame < 20", 60),
        ("SELECT count(*) FROM street WHERE video = 'b.mp4'", 40),
        (CARS, 90),
        (f"{CARS} ERROR WITHIN 0.2", 0),
    ):
        rows(session, sql)
        assert session.report.estimated_calls == session.report.detector_calls == calls


# --- windows -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flicker(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """Return a clip of a car that is missing for one frame, and shows for one frame much later."""
    import av

    path = tmp_path_factory.mktemp("flicker") / "flicker.mp4"
    shown = [n for n in range(20, 50) if n != 35] + [70]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(  # pyright: ignore[reportUnknownMemberType]
            "libx264", rate=10, options={"crf": "8", "preset": "ultrafast", "g": "12"}
        )
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(90):
            image = np.full((64, 96, 3), 12, np.uint8)
            if number in shown:
                image[16:24, 40:48, 0] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path, shown


def test_nothing_is_smoothed_over_time(
    toy: Any, open_toy: OpenToy, flicker: tuple[Path, list[int]]
) -> None:
    """A single frame counts, and a single frame without does not, in every kind of question."""
    path, shown = flicker
    session = open_toy(create=False)
    session.execute(
        f"CREATE VIDEO TABLE street FROM '{path}' WITH (detector = '{toy.detector}', "
        "classes = 'car,person,bus', iou = 0.3, max_count = 6)"
    )
    select = "SELECT frame FROM street WHERE class = 'car'"
    for tail in (" FPR WITHIN 2%", " FNR WITHIN 2% FPR WITHIN 2%", ""):
        assert rows(session, f"{select} ORDER BY frame{tail}") == [(n,) for n in shown]
    assert rows(session, f"{select} LIMIT 50 GAP 1") == [(n,) for n in shown]
    assert one(session, CARS) == pytest.approx(len(shown) / 90)


# --- caches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [{"confidence": 0.7}, {"iou": 0.6}, {"slices": 2},
                                     {"input": "192x128"}])  # fmt: skip
def test_another_detector_finds_nothing_stored(
    toy: Any, open_toy: OpenToy, changed: dict[str, object]
) -> None:
    session = open_toy()
    one(session, CARS)
    session.execute(toy.create("other", **changed))
    one(session, CARS.replace("street", "other"))
    assert session.report.detector_calls == FRAMES
    session.execute(toy.create("twin"))
    one(session, CARS.replace("street", "twin"))
    assert session.report.detector_calls == session.report.frames_decoded == 0
