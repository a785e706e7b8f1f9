"""Tracks through SQL: coarse to fine gives what a look at every frame gives, and calls less."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.engine.session import Session

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
