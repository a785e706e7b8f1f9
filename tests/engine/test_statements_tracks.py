"""Tracks through SQL: coarse to fine gives what a look at every frame gives, and calls less."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.engine.context import QueryContext
from foveal.engine.session import Session
from foveal.engine.track_terms import TrackTerms
from foveal.planner.lower import distinct

pytestmark = pytest.mark.filterwarnings("ignore:Arrow output on a DB-API result")

FRAMES = 400
VISITS = {"car": ((150, 1), (260, 2)), "person": ((40, 0), (170, 3), (330, 0))}
"""First frame and lane of each object, which crosses the picture in 40 frames."""


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render a mostly empty clip: red squares are cars, green ones people."""
    import av

    path = tmp_path_factory.mktemp("visits") / "visits.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(  # pyright: ignore[reportUnknownMemberType]
            "libx264", rate=10, options={"crf": "8", "preset": "ultrafast", "g": "20"}
        )
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(FRAMES):
            image = np.full((64, 96, 3), 12, np.uint8)
            for kind, objects in enumerate(VISITS.values()):
                for begin, lane in objects:
                    if begin <= number < begin + 40 and number - begin != 17:  # one flicker
                        x = 2 * (number - begin) // 4 * 4
                        image[16 * lane : 16 * lane + 8, x : x + 8, kind] = 220
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(params=["kalman", "linked"])
def session(toy: Any, visits: Path, request: Any) -> Iterator[Session]:
    session = Session(":memory:", settings={"isolate_decode": False, "verify_plans": True})
    session.execute(
        f"CREATE VIDEO TABLE street FROM '{visits}' WITH (detector = '{toy.detector}', "
        f"classes = 'car,person,bus', iou = 0.3, max_count = 6, tracker = '{request.param}')"
    )
    yield session
    session.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT trackid, COUNT(*), min(frame), max(xmin) FROM street "
        "WHERE class = 'person' AND trackid IS NOT NULL GROUP BY trackid HAVING COUNT(*) > 15",
        "SELECT * FROM street.tracks WHERE class = 'car' ORDER BY trackid",
        "SELECT COUNT(DISTINCT trackid) FROM street WHERE class IN ('person', 'car')",
        "SELECT frame, class, trackid, xmin FROM street "
        "WHERE class = 'car' AND trackid > 0 AND ts BETWEEN 16 AND 30 ORDER BY ALL",
        "SELECT COUNT(DISTINCT trackid) FROM street WHERE class = 'bus'",
    ],
)
def test_few_frames_give_the_answer_of_all(session: Session, sql: str) -> None:
    plan = str(session.execute("EXPLAIN " + sql).fetchall())
    assert "coarse to fine: " in plan
    few = session.execute(sql).fetchall()
    calls = session.report.detector_calls
    assert 0 < calls < FRAMES
    session.execute("SELECT COUNT(*) FROM street").fetchall()
    assert session.report.detector_calls == FRAMES - calls
    dense = session.execute(sql)
    assert "coarse to fine:" not in str(session.execute("EXPLAIN " + sql).fetchall())
    assert sorted(few) == sorted(dense.fetchall())
    if "bus" not in sql:
        assert few


def test_each_visit_is_a_track(session: Session) -> None:
    for kind, objects in VISITS.items():
        sql = "SELECT first_frame, last_frame FROM street.tracks WHERE class = ?"
        rows = session.execute(sql.replace("?", f"'{kind}'")).fetchall()
        assert sorted(rows) == sorted((begin, begin + 39) for begin, _ in objects)


def test_ids_stay_what_they_are(session: Session) -> None:
    few = "SELECT DISTINCT trackid FROM street WHERE class = 'car' AND trackid IS NOT NULL"
    ids = {row[0] for row in session.execute(few).fetchall()}
    every = session.execute("SELECT trackid, class FROM street.tracks").fetchall()
    assert ids == {trackid for trackid, kind in every if kind == "car"}
    assert len(every) == 5


# --- COUNT(DISTINCT trackid) from sampled frames ------------------------------------------------

TRACKS = sum(len(objects) for objects in VISITS.values())
COUNTED = "SELECT COUNT(DISTINCT trackid) AS n FROM street WHERE class IN ('person', 'car')"


@pytest.fixture
def prefer_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sample win over exact ways, which so short a clip would choose."""

    def last(usable: list[Any], node: Any) -> Any:
        del node
        return usable[-1]

    monkeypatch.setattr(distinct, "_choose", last)


@pytest.fixture
def linked(toy: Any, visits: Path) -> Iterator[Session]:
    session = Session(":memory:", settings={"isolate_decode": False, "verify_plans": True})
    session.execute(
        f"CREATE VIDEO TABLE street FROM '{visits}' WITH (detector = '{toy.detector}', "
        "classes = 'car,person,bus', iou = 0.3, max_count = 6, tracker = 'linked')"
    )
    yield session
    session.close()


def test_the_terms_of_all_frames_add_up_to_the_tracks(linked: Session) -> None:
    linked.execute("SELECT COUNT(*) FROM street").fetchall()
    table = linked._tables.mentioned({"street"})["street"]  # pyright: ignore[reportPrivateUsage]
    context = QueryContext(dict(linked._settings))  # pyright: ignore[reportPrivateUsage]
    groups = np.zeros(table.frames, np.int64)
    groups[200:] = 1
    whole = TrackTerms(table, ("car", "person"), groups * 0, context)
    every = np.arange(table.frames)
    assert whole(every).sum() == pytest.approx(TRACKS)
    # A track that is seen in both halves counts in both.
    halves = TrackTerms(table, ("car", "person"), groups, context)(every)
    assert halves[:200].sum() == pytest.approx(3)
    assert halves[200:].sum() == pytest.approx(3)
    rng = np.random.default_rng(0)
    for _ in range(5):
        some = np.sort(rng.choice(table.frames, 20, replace=False))
        alone = TrackTerms(table, ("car", "person"), groups, context)
        assert alone(some) == pytest.approx(halves[some])


@pytest.mark.usefixtures("prefer_sampling")
def test_an_estimate_looks_at_the_frames_of_drawn_tracks_only(linked: Session) -> None:
    result = linked.execute(COUNTED + " ERROR WITHIN 60 AT CONFIDENCE 90%")
    assert [(c.name, c.type) for c in result.columns] == [("n", "DOUBLE")]
    ((estimate,),) = result.fetchall()
    report = linked.report
    assert report.plan_kind == "sampled tracks"
    assert report.guarantee == "finite"
    assert report.target_met
    assert report.low is not None
    assert report.high is not None
    assert report.low <= TRACKS <= report.high
    assert report.low <= estimate <= report.high
    assert 0 < report.detector_calls < FRAMES
    calls = report.detector_calls
    again = linked.execute(COUNTED + " ERROR WITHIN 60 AT CONFIDENCE 90%").fetchall()
    assert again == [(estimate,)]
    assert linked.report.detector_calls == 0
    linked.execute("SELECT COUNT(*) FROM street").fetchall()
    assert linked.report.detector_calls == FRAMES - calls


@pytest.mark.usefixtures("prefer_sampling")
def test_a_small_error_ends_in_the_exact_number(linked: Session) -> None:
    assert linked.execute(COUNTED + " ERROR WITHIN 0.5").fetchall() == [(float(TRACKS),)]
    assert linked.report.guarantee == "exact"
    assert linked.report.detector_calls <= FRAMES


@pytest.mark.usefixtures("prefer_sampling")
def test_a_budget_of_calls_ends_with_an_interval(linked: Session) -> None:
    linked.execute(COUNTED + " BUDGET 150 CALLS").fetchall()
    report = linked.report
    assert 0 < report.detector_calls <= 150
    assert report.low is not None
    assert report.high is not None
    assert report.low <= TRACKS <= report.high


@pytest.mark.usefixtures("prefer_sampling")
def test_groups_of_frames_have_their_own_tracks(linked: Session) -> None:
    sql = (
        "SELECT floor(ts / 20) AS half, COUNT(DISTINCT trackid) AS n FROM street "
        "WHERE class IN ('person', 'car') AND trackid IS NOT NULL GROUP BY half "
    )
    rows = linked.execute(sql + "ERROR WITHIN 0.5").fetchall()
    exact = linked.execute(sql).fetchall()
    assert sorted(rows) == sorted((h, float(n)) for h, n in exact)


def test_under_error_the_type_does_not_depend_on_the_plan(session: Session) -> None:
    result = session.execute(COUNTED + " ERROR WITHIN 2")
    assert [(c.name, c.type) for c in result.columns] == [("n", "DOUBLE")]
    assert result.fetchall() == [(float(TRACKS),)]
    assert session.report.guarantee == "exact"


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        (COUNTED, ""),
        (COUNTED + " AND xmin > 3", "other than their class"),
        (COUNTED + " AND redness(content) > 3", "other than their class"),
        ("SELECT COUNT(DISTINCT trackid) FROM street", "every class"),
        (
            "SELECT class, COUNT(DISTINCT trackid) FROM street WHERE class = 'car' "
            "AND trackid IS NOT NULL GROUP BY class",
            "belongs to objects",
        ),
    ],
)
def test_explain_says_why_tracks_are_not_sampled(linked: Session, sql: str, why: str) -> None:
    plan = str(linked.execute(f"EXPLAIN {sql} ERROR WITHIN 60").fetchall())
    assert "sampled tracks" in plan
    assert why in plan


def test_the_kalman_tracker_cannot_be_sampled(toy: Any, visits: Path) -> None:
    session = Session(":memory:", settings={"isolate_decode": False})
    session.execute(
        f"CREATE VIDEO TABLE street FROM '{visits}' WITH (detector = '{toy.detector}', "
        "classes = 'car,person,bus', iou = 0.3)"
    )
    plan = str(session.execute(f"EXPLAIN {COUNTED} ERROR WITHIN 60").fetchall())
    assert "the kalman tracker remembers all frames before" in plan
    session.close()


def test_videos_of_one_table_do_not_share_ids(toy: Any, visits: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(visits.read_bytes() + b"\0")  # another file of the same frames
    session = Session(":memory:", settings={"isolate_decode": False})
    session.execute(
        f"CREATE VIDEO TABLE street FROM '{visits}', '{copy}' WITH (detector = '{toy.detector}', "
        "classes = 'car,person,bus', iou = 0.3)"
    )
    assert session.execute(COUNTED).fetchall() == [(2 * TRACKS,)]
    assert session.execute(
        "SELECT count(*), count(DISTINCT trackid) FROM street.tracks"
    ).fetchall() == [(2 * TRACKS, 2 * TRACKS)]
    session.close()
