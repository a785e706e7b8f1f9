"""How statements run: caches, open results, cancelling, prepared, wrapped, EXPLAIN."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from foveal.engine.session import Session
from foveal.errors import DatabaseError, InterfaceError, ProgrammingError, QueryCanceled

pytestmark = pytest.mark.filterwarnings("ignore:Arrow output on a DB-API result")

COUNT = "SELECT count(*) FROM street"


def rows(session: Session, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    return session.execute(sql, parameters).fetchall()


def test_the_second_time_is_free(open_toy: Any) -> None:
    session = open_toy()
    sql = "SELECT video, frame, class FROM street WHERE frame BETWEEN 20 AND 39 ORDER BY ALL"
    first = rows(session, sql)
    assert session.report.detector_calls == 60
    assert rows(session, sql) == first
    assert session.report.detector_calls == session.report.frames_decoded == 0
    rows(session, "SELECT count(*) FROM street WHERE frame < 30")
    assert session.report.detector_calls == 60
    rows(session, "SELECT count(*) FROM street.frames")
    assert session.report.detector_calls == session.report.frames_decoded == 0


def test_a_limit_stops_the_detector(open_toy: Any) -> None:
    session = open_toy()
    assert len(rows(session, "SELECT frame FROM street.frames LIMIT 5")) == 5
    assert session.report.detector_calls == 0


def test_an_open_result_keeps_its_rows(open_toy: Any) -> None:
    session = open_toy()
    wanted = rows(session, "SELECT video, frame, class FROM street ORDER BY ALL")
    result = session.execute("SELECT video, frame, class FROM street ORDER BY ALL")
    some = result.fetchmany(3)
    assert rows(session, "SELECT 42") == [(42,)]
    assert rows(session, COUNT) == [(len(wanted),)]
    assert some + result.fetchall() == wanted
    reader = session.execute("SELECT frame FROM street ORDER BY ALL").arrow_reader(50)
    first = reader.read_next_batch().num_rows
    rows(session, "SELECT 1")
    assert first + sum(batch.num_rows for batch in reader) == len(wanted)


def test_an_open_result_of_a_cold_scan_is_given_up(open_toy: Any) -> None:
    session = open_toy()
    result = session.execute("SELECT frame FROM street")
    result.fetchmany(1)
    result.close()
    assert rows(session, "SELECT 1") == [(1,)]
    assert len(rows(session, COUNT)) == 1


class Slow:
    """Stands before the detector and takes its time with each batch, until told not to."""

    def __init__(self, detector: Any) -> None:
        self.detector = detector
        self.batches = 0
        self.began = threading.Event()
        self.pause = 0.05

    @property
    def info(self) -> Any:
        return self.detector.info

    def detect(self, images: Any) -> Any:
        self.batches += 1
        if self.batches == 3:
            self.began.set()
        time.sleep(self.pause)
        return self.detector.detect(images)


def slow(session: Session) -> Slow:
    """Slow the detector of `street` down."""
    session.execute("SELECT 1").close()  # the session reads its definitions with a statement
    live = session._tables.table("street")  # pyright: ignore
    standing = Slow(live.detector)
    live.__dict__["detector"] = standing
    return standing


def cancel_when_detecting(session: Session, detector: Slow) -> threading.Thread:
    def stop() -> None:
        detector.began.wait(20)
        session.cancel()

    thread = threading.Thread(target=stop)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "sql",
    [COUNT, "SELECT FCOUNT(*) FROM street", "SELECT frame FROM street LIMIT 3 GAP 5",
     "SELECT count(DISTINCT trackid) FROM street",
     "SELECT * FROM street a JOIN street b USING (video, frame) ORDER BY ALL"],
)  # fmt: skip
def test_cancelling_an_exact_scan(open_toy: Any, sql: str) -> None:
    session = open_toy(batch_frames=2)
    detector = slow(session)
    thread = cancel_when_detecting(session, detector)
    with pytest.raises(QueryCanceled) as stopped:
        rows(session, sql)
    thread.join()
    assert stopped.value.sqlstate == "57014"
    assert 0 < session.report.detector_calls < 190
    detector.pause = 0.0
    while any(t.name == "foveal-producer" for t in threading.enumerate()):
        time.sleep(0.01)  # the batch in the detector's hands ends, and is kept
    assert rows(session, "SELECT 1") == [(1,)]
    before = session.report.detector_calls
    rows(session, COUNT)
    assert session.report.detector_calls + before < 190  # what was paid for is kept


def test_a_cancel_between_statements_stops_nothing(open_toy: Any) -> None:
    session = open_toy()
    session.cancel()
    assert rows(session, "SELECT 1") == [(1,)]
    rows(session, COUNT)
    session.cancel()
    assert rows(session, COUNT)


def test_prepared_statements(open_toy: Any) -> None:
    session = open_toy()
    session.execute("PREPARE p AS SELECT count(*) FROM street WHERE class = $1 AND frame < $2")
    plain = rows(session, "SELECT count(*) FROM street WHERE class = 'car' AND frame < 50")
    assert rows(session, "EXECUTE p('car', 50)") == plain
    assert rows(session, "EXECUTE p('car', 25 * 2)") == plain
    assert rows(session, "EXECUTE p(?, ?)", ["car", 50]) == plain
    session.execute("PREPARE q AS SELECT FCOUNT(*) FROM street WHERE class = $kind")
    one = rows(session, "SELECT FCOUNT(*) FROM street WHERE class = 'bus'")
    assert rows(session, "EXECUTE q(kind := 'bus')") == one
    with pytest.raises(ProgrammingError) as wrong:
        session.execute("EXECUTE p('car')")
    assert wrong.value.sqlstate == "08P01"
    session.execute("DEALLOCATE p")
    with pytest.raises(DatabaseError):
        session.execute("EXECUTE p('car', 50)")
    session.execute("PREPARE p AS SELECT 1")
    assert rows(session, "EXECUTE p") == [(1,)]


def test_describe_runs_no_detector(open_toy: Any) -> None:
    session = open_toy()
    described = rows(session, "DESCRIBE SELECT class, FCOUNT(*) AS n FROM street GROUP BY class")
    assert [(r[0], r[1]) for r in described] == [("class", "VARCHAR"), ("n", "DOUBLE")]
    for sql in (
        "DESCRIBE street",
        "DESCRIBE street.tracks",
        "DESCRIBE SELECT * FROM street",
        "DESCRIBE SELECT FCOUNT(*) FROM street ERROR WITHIN 0.1",
        "DESCRIBE SELECT frame FROM street LIMIT 3 GAP 5",
    ):
        assert rows(session, sql)
        assert session.report.detector_calls == session.report.frames_decoded == 0, sql


def test_wrapped_statements(open_toy: Any, tmp_path: Path) -> None:
    session = open_toy()
    (count,) = rows(session, COUNT)[0]
    session.execute("CREATE TABLE t AS SELECT video, frame, class FROM street")
    assert rows(session, "SELECT count(*) FROM t") == [(count,)]
    assert session.execute("INSERT INTO t SELECT video, frame, class FROM street").rowcount == count
    session.execute("CREATE OR REPLACE TEMP TABLE u AS FROM t WHERE frame IN (SELECT frame FROM "
                    "street.frames WHERE frame < 9)")  # fmt: skip
    assert session.execute(
        "DELETE FROM t WHERE frame IN (SELECT frame FROM street WHERE class = 'bus')"
    ).rowcount
    session.execute("UPDATE t SET class = 'seen' WHERE EXISTS (FROM street s WHERE "
                    "s.frame = t.frame)")  # fmt: skip
    assert rows(session, "SELECT count(*) FROM t WHERE class <> 'seen'") == [(0,)]
    path = tmp_path / "cars.parquet"
    session.execute(f"COPY (SELECT frame, class FROM street WHERE class = 'car') TO '{path}'")
    cars = rows(session, "SELECT count(*) FROM street WHERE class = 'car'")
    assert rows(session, f"SELECT count(*) FROM '{path}'") == cars
    summary = rows(session, "SUMMARIZE SELECT frame, class FROM street")
    assert [r[0] for r in summary] == ["frame", "class"]


def test_an_approximate_value_is_stored_with_a_notice(open_toy: Any) -> None:
    session = open_toy()
    session.execute("CREATE TABLE t AS SELECT FCOUNT(*) AS n FROM street ERROR WITHIN 0.5")
    assert "its value only" in session.report.notices[0].message
    described = rows(session, "DESCRIBE t")
    assert described[0][:2] == ("n", "DOUBLE")


def test_explain(open_toy: Any) -> None:
    session = open_toy()
    sql = "SELECT FCOUNT(*) FROM street WHERE class = 'car' ERROR WITHIN 0.2"
    text = "\n".join(r[0] for r in rows(session, f"EXPLAIN {sql}"))
    assert session.report.detector_calls == 0
    for word in ("exact", "sampling", "* "):
        assert word in text
    verbose = "\n".join(r[0] for r in rows(session, f"EXPLAIN VERBOSE {sql}"))
    assert "-- bound plan" in verbose
    assert "-- after prune_track" in verbose
    ((plan,),) = rows(session, f"EXPLAIN (FORMAT JSON) {sql}")
    tree = json.loads(plan)[0]["plan"]
    assert tree["operator"] == "SqlFragment"
    assert session.report.detector_calls == 0
    analysed = "\n".join(r[0] for r in rows(session, f"EXPLAIN ANALYZE {sql}"))
    assert "detector calls" in analysed
    assert session.report.detector_calls > 0
    ((measured,),) = rows(session, f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
    assert json.loads(measured)[0]["measured"]["estimate"] is not None
    session.execute("PREPARE p AS SELECT count(*) FROM street WHERE frame < 5")
    assert "frame < 5" in "\n".join(r[0] for r in rows(session, "EXPLAIN EXECUTE p"))


def test_settings(open_toy: Any) -> None:
    session = open_toy()
    assert rows(session, "SHOW foveal.seed") == [("0",)]
    session.execute("SET foveal.seed = 7")
    assert rows(session, "SHOW foveal.seed") == [("7",)]
    session.execute("RESET foveal.seed")
    assert rows(session, "SHOW foveal.seed") == [("0",)]
    assert ("foveal.confidence", "0.95") in [r[:2] for r in rows(session, "SHOW foveal.ALL")]
    session.execute("SET foveal.guarantee = 'exact'")
    rows(session, "SELECT FCOUNT(*) FROM street ERROR WITHIN 0.1")
    assert session.report.guarantee == "exact"
    session.execute("SET foveal.threads = 2")
    rows(session, COUNT)
    assert session.report.detector_calls == 0


def test_system_tables(open_toy: Any) -> None:
    session = open_toy()
    rows(session, "SELECT count(*) FROM street WHERE frame < 10")
    assert rows(
        session, "SELECT video, frames, frames_cached FROM foveal.videos ORDER BY video"
    ) == [("a.mp4", 90, 10), ("b.mp4", 60, 10), ("v.mkv", 40, 10)]
    ((classes,),) = rows(
        session, "SELECT classes FROM foveal.detectors WHERE table_name = 'street'"
    )
    assert classes == ["car", "person", "bus"]
    ((sql, calls),) = rows(
        session,
        "SELECT sql, detector_calls FROM foveal.queries WHERE sql LIKE '%frame < 10%' LIMIT 1",
    )
    assert (sql, calls) == ("SELECT count(*) FROM street WHERE frame < 10", 30)
    assert rows(
        session,
        "SELECT count(*) FROM foveal.videos v JOIN street.frames f ON f.video = v.video",
    ) == [(190,)]
    assert rows(session, "SELECT count(*) > 3 FROM foveal.functions")[0] == (True,)
    assert rows(session, "DESCRIBE foveal.settings")


def test_pixels(open_toy: Any) -> None:
    """Functions over masks and pictures; a macro of the user's with the same name wins."""
    session = open_toy()
    ((seen, red),) = rows(
        session,
        "SELECT count(*), min(redness(content)) FROM street WHERE class = 'car' AND frame < 50",
    )
    assert seen > 0
    assert red > 0
    ((blue,),) = rows(
        session, "SELECT max(redness(content)) FROM street WHERE class = 'bus' AND frame < 50"
    )
    assert blue < red
    assert rows(session, "SELECT DISTINCT area(mask) <= 256 FROM street") == [(True,)]
    assert rows(session, "SELECT count(*) FROM street.frames WHERE brightness(image) IS NULL") == [
        (0,)
    ]
    session.execute("CREATE MACRO area(m) AS 7")
    assert rows(session, "SELECT DISTINCT area(mask) FROM street") == [(7,)]


def test_a_closed_session_says_so(open_toy: Any) -> None:
    session = open_toy()
    session.close()
    session.close()
    with pytest.raises(InterfaceError):
        session.execute("SELECT 1")
