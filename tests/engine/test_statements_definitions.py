"""Video tables, views and macros as definitions: transactions, reopening, copies, read-only."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from foveal.engine.session import Session
from foveal.errors import DatabaseError, OperationalError, ProgrammingError

pytestmark = pytest.mark.filterwarnings("ignore:Arrow output on a DB-API result")

COUNT = "SELECT count(*) FROM street"


def rows(session: Session, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    return session.execute(sql, parameters).fetchall()


def notices(session: Session) -> list[str]:
    return [notice.message for notice in session.report.notices]


def test_create_follows_the_transaction(open_toy: Any, toy: Any) -> None:
    session = open_toy(create=False)
    session.begin()
    session.execute(toy.create("street", "a.mp4"))
    assert rows(session, "SELECT count(*) FROM street.frames") == [(90,)]
    session.rollback()
    with pytest.raises(ProgrammingError) as refused:
        session.execute(COUNT)
    assert refused.value.sqlstate == "42P01"
    session.execute(toy.create("street", "a.mp4"))
    session.begin()
    session.execute("DROP VIDEO TABLE street")
    session.rollback()
    assert rows(session, "SELECT count(*) FROM street.frames") == [(90,)]


def test_replace_and_refresh_follow_the_transaction(
    open_toy: Any, toy: Any, tmp_path: Path
) -> None:
    session = open_toy(create=False)
    shutil.copy(toy.clips["a.mp4"], tmp_path / "one.mp4")
    session.execute(
        f"CREATE VIDEO TABLE street FROM '{tmp_path}/*.mp4' WITH (detector = '{toy.detector}', "
        "classes = 'car,person,bus')"
    )
    shutil.copy(toy.clips["b.mp4"], tmp_path / "two.mp4")
    frames = "SELECT count(*) FROM street.frames"
    session.begin()
    session.execute("REFRESH VIDEO TABLE street")
    assert notices(session) == ["2 video(s): 1 added, 0 gone"]
    assert rows(session, frames) == [(150,)]
    session.rollback()
    assert rows(session, frames) == [(90,)]
    session.begin()
    session.execute(toy.create("street", "v.mkv").replace("CREATE", "CREATE OR REPLACE", 1))
    assert rows(session, frames) == [(40,)]
    session.rollback()
    assert rows(session, frames) == [(90,)]
    session.execute("REFRESH VIDEO TABLE street")
    assert rows(session, frames) == [(150,)]


def test_exists_words(open_toy: Any, toy: Any) -> None:
    session = open_toy()
    session.execute(toy.create().replace("TABLE", "TABLE IF NOT EXISTS", 1))
    assert notices(session) == ['video table "street" already exists, skipped']
    session.execute("DROP VIDEO TABLE IF EXISTS nothing")
    assert notices(session) == ['video table "nothing" does not exist, skipped']
    with pytest.raises(ProgrammingError) as refused:
        session.execute(toy.create())
    assert refused.value.sqlstate == "42P07"
    session.execute("DROP VIDEO TABLE street")
    session.execute(toy.create())


def test_detections_survive_a_rollback(open_toy: Any) -> None:
    session = open_toy()
    session.begin()
    session.execute("CREATE TABLE t AS SELECT * FROM street WHERE class = 'car'")
    assert session.report.detector_calls == 190
    session.rollback()
    rows(session, COUNT)
    assert session.report.detector_calls == session.report.frames_decoded == 0
    assert rows(session, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 't'") == [(0,)]


def test_definitions_and_detections_survive_reopening(open_toy: Any, tmp_path: Path) -> None:
    path = tmp_path / "city.db"
    session = open_toy(path)
    session.execute("CREATE VIEW cars AS SELECT * FROM street WHERE class = 'car'")
    session.execute("CREATE MACRO least(n) AS TABLE SELECT * FROM street WHERE confidence >= n")
    before = rows(session, COUNT), rows(session, "SELECT count(*) FROM cars")
    some = rows(session, "SELECT count(*) FROM least(0.7)")
    session.close()
    again = open_toy(path, create=False)
    assert (rows(again, COUNT), rows(again, "SELECT count(*) FROM cars")) == before
    assert again.report.detector_calls == again.report.frames_decoded == 0
    assert rows(again, "SELECT count(*) FROM least(0.7)") == some
    again.execute("DROP VIEW cars")
    with pytest.raises(DatabaseError):
        again.execute("SELECT * FROM cars")


def test_views_follow_the_transaction(open_toy: Any) -> None:
    session = open_toy()
    session.begin()
    session.execute("CREATE VIEW cars AS SELECT * FROM street WHERE class = 'car'")
    assert rows(session, "SELECT count(*) > 0 FROM cars") == [(True,)]
    session.rollback()
    with pytest.raises(DatabaseError):
        session.execute("SELECT * FROM cars")
    session.execute("CREATE VIEW cars AS SELECT 1 AS one FROM street")
    session.execute("CREATE OR REPLACE VIEW cars AS SELECT 2 AS two FROM street")
    assert session.execute("SELECT * FROM cars LIMIT 1").fetchall() == [(2,)]
    session.execute("CREATE VIEW IF NOT EXISTS cars AS SELECT 3 AS three FROM street")
    assert session.execute("SELECT * FROM cars LIMIT 1").fetchall() == [(2,)]


def test_a_copied_file_without_its_folder_opens_cold(open_toy: Any, tmp_path: Path) -> None:
    session = open_toy(tmp_path / "city.db")
    warm = rows(session, COUNT)
    session.close()
    shutil.copy(tmp_path / "city.db", tmp_path / "copy.db")
    copied = open_toy(tmp_path / "copy.db", create=False)
    assert rows(copied, COUNT) == warm
    assert copied.report.detector_calls == 190
    assert (tmp_path / "copy.db.foveal").is_dir()


def test_two_databases_never_mix(open_toy: Any, toy: Any, tmp_path: Path) -> None:
    one, two = open_toy(tmp_path / "one.db"), open_toy(tmp_path / "two.db", create=False)
    two.execute(toy.create("street", "b.mp4"))
    rows(one, COUNT)
    rows(two, COUNT)
    assert two.report.detector_calls == 60
    assert rows(one, "SELECT count(*) FROM street.frames") == [(190,)]
    assert rows(two, "SELECT count(*) FROM street.frames") == [(60,)]


def test_a_read_only_database_answers(open_toy: Any, tmp_path: Path) -> None:
    path = tmp_path / "city.db"
    session = open_toy(path)
    session.execute("SELECT count(*) FROM street WHERE frame < 10").fetchall()
    session.close()
    reader = open_toy(path, create=False, read_only=True)
    cold = rows(reader, COUNT)
    again = rows(reader, COUNT)
    assert cold == again
    with pytest.raises(DatabaseError) as refused:
        reader.execute("DROP VIDEO TABLE street")
    assert refused.value.sqlstate in ("25006", "22023", "42501")


def test_a_newer_file_is_refused(open_toy: Any, tmp_path: Path) -> None:
    path = tmp_path / "city.db"
    session = open_toy(path)
    session.execute("UPDATE \"__foveal\".definitions SET definition = 99 WHERE name = 'foveal'")
    session.close()
    with pytest.raises(OperationalError, match="newer foveal"):
        open_toy(path, create=False).execute("SELECT 1")


def test_a_replaced_file_is_looked_at_again(open_toy: Any, toy: Any, tmp_path: Path) -> None:
    clip = tmp_path / "cam.mp4"
    shutil.copy(toy.clips["a.mp4"], clip)
    session = open_toy(create=False)
    session.execute(
        f"CREATE VIDEO TABLE street FROM '{clip}' WITH (detector = '{toy.detector}', "
        "classes = 'car,person,bus', iou = 0.3)"
    )
    first = rows(session, "SELECT (SELECT count(*) FROM street.frames), count(*) FROM street")
    shutil.copy(toy.clips["b.mp4"], clip)
    second = rows(session, "SELECT (SELECT count(*) FROM street.frames), count(*) FROM street")
    assert (first[0][0], second[0][0]) == (90, 60)
    assert session.report.detector_calls == 60
    shutil.copy(toy.clips["a.mp4"], clip)
    third = rows(session, "SELECT (SELECT count(*) FROM street.frames), count(*) FROM street")
    assert third == first
    assert session.report.detector_calls == 0


def test_a_file_that_is_gone(open_toy: Any, toy: Any, tmp_path: Path) -> None:
    clip = tmp_path / "cam.mp4"
    shutil.copy(toy.clips["a.mp4"], clip)
    session = open_toy(create=False)
    session.execute(
        f"CREATE VIDEO TABLE street FROM '{clip}' WITH (detector = '{toy.detector}', "
        "classes = 'car,person,bus')"
    )
    clip.unlink()
    session.execute("SELECT 1").fetchall()
    with pytest.raises(OperationalError) as gone:
        rows(session, COUNT)
    assert gone.value.sqlstate == "58P01"
    assert gone.value.hint is not None
    assert "REFRESH VIDEO TABLE street" in gone.value.hint


def test_a_file_cut_short_answers_with_what_can_be_decoded(
    open_toy: Any, toy: Any, tmp_path: Path
) -> None:
    """A broken file is either refused when the table is made, or answers and says what is lost."""
    data = toy.clips["v.mkv"].read_bytes()
    clip = tmp_path / "cut.mkv"
    clip.write_bytes(data[: len(data) * 2 // 3])
    session = open_toy(create=False)
    session.execute(
        f"CREATE VIDEO TABLE street FROM '{clip}' WITH (detector = '{toy.detector}', "
        "classes = 'car,person,bus')"
    )
    ((frames, looked_at),) = rows(
        session,
        "SELECT (SELECT count(*) FROM street.frames), (SELECT count(DISTINCT frame) FROM street)",
    )
    assert 0 < frames < 40
    assert looked_at <= frames
