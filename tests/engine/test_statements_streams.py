"""CREATE, REFRESH and DROP VIDEO STREAM, follow, and SQL over what was recorded."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import foveal
from foveal.reports import Notice

Connection = Any
Serve = Callable[..., Any]
OPTIONS = """detector = 'demo', max_count = 6, window = '2 seconds', budget_calls = 12,
    where = 'class = ''car''', stall = '0.3 seconds', reconnect = '0.3 seconds'"""


@pytest.fixture
def con(tmp_path: Path) -> Iterator[Connection]:
    with foveal.connect(tmp_path / "city.db") as connection:
        yield connection


@pytest.fixture
def recorded(transport_stream: bytes, tmp_path: Path) -> Path:
    """Return a file that no longer grows."""
    path = tmp_path / "cam.ts"
    path.write_bytes(transport_stream)
    return path


def create(con: Connection, source: object, more: str = "") -> None:
    con.execute(f"CREATE VIDEO STREAM cam FROM '{source}' WITH ({OPTIONS}{more})")


def test_refresh_gives_a_row_per_window(con: Connection, recorded: Path) -> None:
    create(con, recorded)
    assert con.execute("SELECT count(*) FROM cam.frames").fetchone() == (0,)
    cursor = con.execute("REFRESH VIDEO STREAM cam")
    names = [name for name, *_ in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    assert [r["number"] for r in rows] == [0, 1, 2, 3, 4]
    assert {r["frames"] for r in rows} == {20}
    assert {r["frames_dropped"] for r in rows} == {0}
    assert all(1 <= r["calls"] <= 12 for r in rows)
    assert {r["guarantee"] for r in rows} == {"finite"}
    assert all(r["low"] <= r["estimate"] <= r["high"] for r in rows)
    assert rows[0]["started"] <= datetime.now(UTC)
    assert any("no longer grows" in n.message for n in cursor.notices)
    true = dict(
        con.execute(
            "SELECT video, FCOUNT(*) FROM cam WHERE class = 'car' GROUP BY video"
        ).fetchall()
    )
    assert all(r["low"] - 1e-9 <= true[r["video"]] <= r["high"] + 1e-9 for r in rows)
    listed = con.execute("SELECT number, video, estimate, kept FROM foveal.windows").fetchall()
    assert listed == [(r["number"], r["video"], r["estimate"], True) for r in rows]
    summary = con.execute(
        "SELECT name, condition, windows, windows_kept, frames, frames_dropped FROM foveal.streams"
    ).fetchall()
    assert summary == [("cam", "class = 'car'", 5, 5, 100, 0)]


def test_what_was_looked_at_costs_nothing_later(con: Connection, recorded: Path) -> None:
    create(con, recorded)
    rows = con.execute("REFRESH VIDEO STREAM cam FOR 2 WINDOWS").fetchall()
    calls = sum(row[7] for row in rows)
    assert con.execute("SELECT sum(frames_cached) FROM foveal.videos").fetchone() == (calls,)
    con.execute("SELECT count(*) FROM cam").fetchall()
    report = con.last_query()
    assert report.detector_calls == 40 - calls


def test_it_goes_on_where_it_stood_and_for_so_long(con: Connection, recorded: Path) -> None:
    create(con, recorded)
    first = con.execute("REFRESH VIDEO STREAM cam FOR 1 WINDOW").fetchall()
    second = con.execute("REFRESH VIDEO STREAM cam FOR 4 SECONDS").fetchall()
    third = con.execute("REFRESH VIDEO STREAM cam").fetchall()
    assert [row[0] for row in first + second + third] == [0, 1, 2, 3, 4]
    assert [row[3] for row in first + second + third] == pytest.approx([0, 2, 4, 6, 8])
    assert con.execute("REFRESH VIDEO STREAM cam").fetchall() == []
    assert con.execute("SELECT count(*), count(DISTINCT video) FROM cam.frames").fetchone() == (
        100,
        5,
    )


def test_the_same_recording_is_known_already(con: Connection, recorded: Path) -> None:
    create(con, recorded)
    before = con.execute("REFRESH VIDEO STREAM cam").fetchall()
    con.execute("DROP VIDEO STREAM cam")
    create(con, recorded, ", error = 6")
    again = con.execute("REFRESH VIDEO STREAM cam").fetchall()
    assert sum(row[7] for row in again) < sum(row[7] for row in before)


def test_follow_yields_windows_as_they_come(
    con: Connection, transport_stream: bytes, serve: Serve
) -> None:
    server = serve([(transport_stream, 3.0, "close")])
    create(con, f"tcp://127.0.0.1:{server.port}")
    seen: list[Any] = []
    notices: list[Notice] = []
    for window in con.follow("cam", notice=notices.append):
        if not seen:
            # The sender has not finished, and the connection serves other statements.
            assert con.execute("SELECT count(*) FROM cam.frames").fetchone() == (20,)
        seen.append(window)
    assert [w.number for w in seen] == [0, 1, 2, 3, 4]
    assert any("connection lost" in n.message for n in notices)
    assert any("did not come back" in n.message for n in notices)


def test_follow_ends_when_it_is_told_to(
    con: Connection, transport_stream: bytes, serve: Serve, tmp_path: Path
) -> None:
    port = serve([(transport_stream, 0.5, "stall")] * 3).port
    options = OPTIONS.replace("0.3 seconds", "50 seconds", 1)
    con.execute(f"CREATE VIDEO STREAM cam FROM 'tcp://127.0.0.1:{port}' WITH ({options})")
    assert [w.number for w in con.follow("cam", windows=2)] == [0, 1]
    assert [w.number for w in con.follow("cam", seconds=2)] == [2]
    following = con.follow("cam")
    assert next(following).number == 3
    following.close()
    with pytest.raises(StopIteration):
        next(following)
    assert not list(tmp_path.glob("city.db.foveal/streams/*/*.part"))
    (kept,) = con.execute("SELECT windows_kept FROM foveal.streams").fetchone()
    assert len(list(tmp_path.glob("city.db.foveal/streams/*/*.mkv"))) == kept == 4


def test_a_live_source_is_not_kept_waiting(
    con: Connection, transport_stream: bytes, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foveal.engine.following.BACKLOG", 1)
    server = serve([(transport_stream, 0.5, "stall")])
    options = OPTIONS.replace("0.3 seconds", "20 seconds", 1)
    con.execute(f"CREATE VIDEO STREAM cam FROM 'tcp://127.0.0.1:{server.port}' WITH ({options})")
    following = con.follow("cam")
    windows = [next(following)]
    time.sleep(2.0)  # meanwhile more windows are recorded than may wait
    windows += [next(following) for _ in range(3)]
    following.close()
    late = [w for w in windows if w.guarantee == "none"]
    assert late
    assert all((w.calls, w.estimate, w.low, w.high) == (0, None, 0.0, 6.0) for w in late)
    assert {w.frames for w in windows} == {20}


def test_the_budget_is_kept(con: Connection, recorded: Path) -> None:
    create(con, recorded, ", budget_seconds = 0.001")
    rows = con.execute("REFRESH VIDEO STREAM cam").fetchall()
    assert {row[7] for row in rows} == {0}
    assert {(row[9], row[10]) for row in rows} == {(0.0, 6.0)}
    con.execute("DROP VIDEO STREAM cam")
    create(con, recorded, ", error = 0.4")
    rows = con.execute("REFRESH VIDEO STREAM cam").fetchall()
    assert all(row[7] <= 12 for row in rows)


def test_a_budget_for_all_frames_is_exact(con: Connection, recorded: Path) -> None:
    con.execute(
        f"CREATE VIDEO STREAM cam FROM '{recorded}' WITH (detector = 'demo', budget_calls = 20, "
        "window = '2 s', stall = 0.2)"
    )
    (row,) = con.execute("REFRESH VIDEO STREAM cam FOR 1 WINDOW").fetchall()
    assert row[12] == "exact"
    assert row[8] == row[9] == row[10]
    assert con.execute("SELECT FCOUNT(*) FROM cam").fetchone() == pytest.approx((row[8],))


def test_old_windows_are_deleted(con: Connection, recorded: Path, tmp_path: Path) -> None:
    create(con, recorded, ", keep = '4 seconds'")
    rows = con.execute("REFRESH VIDEO STREAM cam").fetchall()
    assert len(rows) == 5
    assert con.execute("SELECT count(DISTINCT video) FROM cam.frames").fetchone() == (2,)
    kept = con.execute("SELECT number FROM foveal.windows WHERE kept").fetchall()
    assert kept == [(3,), (4,)]
    assert len(list(tmp_path.glob("city.db.foveal/streams/*/*.mkv"))) == 2


def test_cancelling_keeps_the_windows_so_far(
    con: Connection, transport_stream: bytes, serve: Serve
) -> None:
    half = transport_stream[: len(transport_stream) // 2]
    server = serve([(half, 0.5, "stall")])
    con.execute(
        f"CREATE VIDEO STREAM cam FROM 'tcp://127.0.0.1:{server.port}' "
        "WITH (detector = 'demo', window = '2 s', budget_calls = 5, stall = '50 s')"
    )
    progress = threading.Event()

    def seen(_: object) -> None:
        progress.set()

    con.progress = seen

    def stop() -> None:
        assert progress.wait(60)
        time.sleep(0.3)
        con.cancel()

    thread = threading.Thread(target=stop)
    thread.start()
    cursor = con.execute("REFRESH VIDEO STREAM cam")
    thread.join()
    rows = cursor.fetchall()
    assert rows
    assert any("ended early" in n.message for n in cursor.notices)
    listed = con.execute("SELECT number FROM foveal.windows").fetchall()
    assert listed == [(row[0],) for row in rows]
    assert con.execute("SELECT 1").fetchone() == (1,)


def test_definitions_outlive_the_session(recorded: Path, tmp_path: Path) -> None:
    path = tmp_path / "city.db"
    with foveal.connect(path) as con:
        create(con, recorded)
        con.execute("REFRESH VIDEO STREAM cam FOR 2 WINDOWS").fetchall()
    with foveal.connect(path) as con:
        rows = con.execute("REFRESH VIDEO STREAM cam FOR 1 WINDOW").fetchall()
        assert rows[0][0] == 2
        con.execute("CREATE OR REPLACE VIDEO STREAM cam FROM 'other.ts' WITH (detector = 'demo')")
        assert con.execute("SELECT windows FROM foveal.streams").fetchone() == (0,)
        assert not list(tmp_path.glob("city.db.foveal/streams/*/*.mkv"))


def test_a_torn_log_line_counts_as_not_written(recorded: Path, tmp_path: Path) -> None:
    path = tmp_path / "city.db"
    with foveal.connect(path) as con:
        create(con, recorded)
        con.execute("REFRESH VIDEO STREAM cam FOR 2 WINDOWS").fetchall()
    (log,) = tmp_path.glob("city.db.foveal/streams/*/windows.jsonl")
    log.write_bytes(log.read_bytes()[:-40])
    with foveal.connect(path) as con:
        rows = con.execute("REFRESH VIDEO STREAM cam").fetchall()
        assert [row[0] for row in rows] == [1, 2, 3, 4]
        assert con.execute("SELECT count(*) FROM foveal.windows").fetchone() == (5,)
        assert con.execute("SELECT count(*) FROM cam.frames").fetchone() == (100,)


def test_it_works_in_memory_and_reads_only_there_is_no_recording(
    recorded: Path, tmp_path: Path
) -> None:
    with foveal.connect() as con:
        create(con, recorded)
        assert len(con.execute("REFRESH VIDEO STREAM cam FOR 1 WINDOW").fetchall()) == 1
    path = tmp_path / "city.db"
    with foveal.connect(path) as con:
        create(con, recorded)
        con.execute("REFRESH VIDEO STREAM cam FOR 1 WINDOW").fetchall()
    with foveal.connect(path, read_only=True) as con:
        assert con.execute("SELECT count(*) FROM cam.frames").fetchone() == (20,)
        with pytest.raises(foveal.ProgrammingError) as caught:
            con.execute("REFRESH VIDEO STREAM cam")
        assert caught.value.sqlstate == "25006"


@pytest.mark.parametrize("statement", ["DROP VIDEO STREAM cam", "CREATE OR REPLACE VIDEO STREAM"])
def test_a_recording_is_not_deleted_inside_a_transaction(
    con: Connection, recorded: Path, statement: str
) -> None:
    create(con, recorded)
    con.execute("BEGIN")
    if statement.startswith("CREATE"):
        statement += " cam FROM 'b.ts' WITH (detector = 'demo')"
    with pytest.raises(foveal.ProgrammingError) as caught:
        con.execute(statement)
    assert caught.value.sqlstate == "25001"
    con.execute("ROLLBACK")


def test_a_stream_that_fails_before_its_first_window(con: Connection, tmp_path: Path) -> None:
    create(con, tmp_path / "missing.ts")
    with pytest.raises(foveal.OperationalError) as caught:
        con.execute("REFRESH VIDEO STREAM cam")
    assert caught.value.sqlstate == "58030"
    with pytest.raises(foveal.OperationalError):
        list(con.follow("cam"))
