"""Connections: transactions, closing, threads, the context manager."""

import gc
import threading
from pathlib import Path

import pytest

import foveal


def names_of(con: foveal.Connection) -> list[str]:
    return [name for (name,) in con.execute("SELECT name FROM t ORDER BY name")]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "city.db"
    with foveal.connect(path) as con:
        con.execute("CREATE TABLE t (name VARCHAR)")
    return path


def test_a_statement_commits_by_itself(database: Path) -> None:
    with foveal.connect(database) as con:
        con.execute("INSERT INTO t VALUES ('a')")
        con.rollback()
        assert names_of(con) == ["a"]
        assert not con.in_transaction


def test_without_autocommit_rollback_undoes(database: Path) -> None:
    with foveal.connect(database, autocommit=False) as con:
        con.execute("INSERT INTO t VALUES ('a')")
        con.commit()
        con.execute("INSERT INTO t VALUES ('b')")
        assert con.in_transaction
        con.rollback()
        assert names_of(con) == ["a"]
        with pytest.raises(foveal.ProgrammingError) as caught:
            con.autocommit = True
        assert caught.value.sqlstate == "25001"
        con.rollback()
        con.autocommit = True
        con.execute("INSERT INTO t VALUES ('c')")
        assert not con.in_transaction


def test_without_autocommit_an_explicit_begin_is_the_users(database: Path) -> None:
    with foveal.connect(database, autocommit=False) as con:
        con.execute("/* mine */ BEGIN")
        con.execute("INSERT INTO t VALUES ('a')")
        con.execute("-- done\nROLLBACK")
        assert names_of(con) == []


def test_with_commits_or_rolls_back_and_closes(database: Path) -> None:
    with foveal.connect(database, autocommit=False) as con:
        con.execute("INSERT INTO t VALUES ('kept')")
    assert con.closed
    with pytest.raises(foveal.DatabaseError), foveal.connect(database, autocommit=False) as con:
        con.execute("INSERT INTO t VALUES ('lost'); SELECT nonesuch")
    with foveal.connect(database, read_only=True) as con:
        assert names_of(con) == ["kept"]


def test_a_closed_connection_refuses_everything() -> None:
    con = foveal.connect()
    cur = con.cursor()
    con.close()
    for use in (con.cursor, con.commit, con.cancel, con.last_query, lambda: cur.execute("SELECT")):
        with pytest.raises(foveal.InterfaceError, match="closed"):
            use()
    cur.close()


def test_unknown_setting_is_refused() -> None:
    with pytest.raises(foveal.ProgrammingError) as caught:
        foveal.connect(settings={"seeed": 1})
    assert caught.value.sqlstate == "42704"
    assert caught.value.hint == 'did you mean "seed"?'


def test_a_file_that_is_no_database_is_an_operational_error(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database\n" * 1000)
    with pytest.raises(foveal.OperationalError):
        foveal.connect(path)


def test_threads_take_turns_on_one_connection(database: Path) -> None:
    with foveal.connect(database) as con:
        failures: list[BaseException] = []

        def insert(mark: str) -> None:
            try:
                for n in range(20):
                    con.execute("INSERT INTO t VALUES (?)", [f"{mark}{n}"])
                    assert con.execute("SELECT ?", [n]).fetchone() == (n,)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=insert, args=(mark,)) for mark in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert len(names_of(con)) == 80


def test_a_dropped_connection_ends_its_thread(database: Path) -> None:
    before = set(threading.enumerate())
    con = foveal.connect(database)
    con.execute("SELECT * FROM range(100000)").fetchone()
    del con
    gc.collect()
    assert set(threading.enumerate()) <= before
    with foveal.connect(database) as con:
        con.execute("INSERT INTO t VALUES ('a')")


def test_last_query_is_per_connection_and_per_thread() -> None:
    with foveal.connect() as one, foveal.connect() as other:
        one.execute("SELECT 1")
        other.execute("SELECT 2")
        first, second = one.last_query(), other.last_query()
        assert first is not None
        assert second is not None
        assert (first.sql, second.sql) == ("SELECT 1", "SELECT 2")
        assert foveal.last_query() is second
        seen: list[object] = []
        thread = threading.Thread(target=lambda: seen.append(foveal.last_query()))
        thread.start()
        thread.join()
        assert seen == [None]
