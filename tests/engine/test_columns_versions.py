"""Cached columns against every way in which a table may change."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb
import pytest

from foveal.engine.columns import ColumnStore, Unavailable, Versions
from foveal.engine.columns.cache import ColumnCache
from foveal.engine.substrate import Substrate


class Client:
    """A connection that reports its statements as a session does."""

    def __init__(self, path: str, cache: ColumnCache) -> None:
        self.substrate = Substrate(path)
        self.versions = Versions(path, None if path == ":memory:" else path,
                                 private=path == ":memory:")  # fmt: skip
        self.store = ColumnStore(self.substrate, self.versions, lambda: 0.2, cache)

    def run(self, sql: str) -> None:
        state = self.substrate
        self.versions.runs(sql, in_transaction=state.in_transaction)
        try:
            state.execute(sql).fetchall()
            first = sql.split()[0].upper()
            state.in_transaction = first == "BEGIN" or (
                state.in_transaction and first not in ("COMMIT", "ROLLBACK")
            )
        finally:
            self.versions.ran(in_transaction=state.in_transaction)

    def cached(self, table: str = "t", column: str = "a") -> list[int]:
        return self.store.source(table, [column], _never).columns[column].values.tolist()

    def close(self) -> None:
        self.store.close()
        self.substrate.close()


def _never() -> None: ...


Open = Callable[..., Client]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    clients: list[Client] = []
    cache = ColumnCache()

    def start(path: str = str(tmp_path / "x.db")) -> Client:
        clients.append(Client(path, cache))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


CHANGES: list[tuple[Sequence[str], list[int]]] = [
    (["INSERT INTO t VALUES (3)"], [1, 2, 3]),
    (["UPDATE t SET a = a + 10"], [11, 12]),
    (["DELETE FROM t WHERE a = 1"], [2]),
    (["TRUNCATE t"], []),
    (["ALTER TABLE t ALTER a SET DATA TYPE BIGINT USING a * 2"], [2, 4]),
    (["DROP TABLE t", "CREATE TABLE t AS SELECT 7 AS a"], [7]),
    (["CREATE OR REPLACE TABLE t AS SELECT 8 AS a"], [8]),
    (["COPY (SELECT 5 AS a) TO '{tmp}/c.csv'", "COPY t FROM '{tmp}/c.csv'"], [1, 2, 5]),
    (["BEGIN", "INSERT INTO t VALUES (3)", "COMMIT"], [1, 2, 3]),
    (["BEGIN", "INSERT INTO t VALUES (3)", "ROLLBACK"], [1, 2]),
    (["PREPARE p AS INSERT INTO t VALUES ($1)", "EXECUTE p(9)"], [1, 2, 9]),
    (["INSERT INTO t VALUES (3); INSERT INTO t VALUES (4)"], [1, 2, 3, 4]),
    (["CREATE TABLE u AS SELECT 4 AS a", "ALTER TABLE t RENAME TO old",
      "ALTER TABLE u RENAME TO t"], [4]),
    (["MERGE INTO t USING (SELECT 2 AS b) ON a = b WHEN MATCHED THEN DELETE"], [1]),
    (["CREATE TEMP TABLE t AS SELECT 6 AS a"], [6]),
    (["CREATE TABLE w(a INT)",
      "CREATE TRIGGER x AFTER INSERT ON w REFERENCING NEW TABLE AS n FOR EACH STATEMENT "
      "INSERT INTO t SELECT a FROM n", "INSERT INTO w VALUES (3)"], [1, 2, 3]),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "after"), CHANGES, ids=lambda c: str(c)[:40])
@pytest.mark.parametrize("memory", [False, True])
def test_a_change_is_seen(
    opened: Open, tmp_path: Path, changes: Sequence[str], after: list[int], memory: bool
) -> None:
    client = opened(":memory:") if memory else opened()
    client.run("CREATE TABLE t AS SELECT * FROM (VALUES (1), (2)) v(a)")
    assert client.cached() == [1, 2]
    for sql in changes:
        client.run(sql.format(tmp=tmp_path))
    assert client.cached() == after
    held = client.store.source("t", ["a"], _never).columns["a"]
    assert client.store.source("t", ["a"], _never).columns["a"] is held


def test_what_does_not_write_keeps_columns(opened: Open) -> None:
    client = opened()
    client.run("CREATE TABLE t AS SELECT 1 AS a")
    client.run("CREATE TABLE u AS SELECT 1 AS a")
    held = client.store.source("t", ["a"], _never).columns["a"]
    for sql in ("SELECT * FROM t", "INSERT INTO u SELECT a FROM t", "CREATE VIEW v AS FROM t",
                "SET threads = 2", "CHECKPOINT", "CREATE TABLE w AS FROM t"):  # fmt: skip
        client.run(sql)
    assert client.store.source("T", ["A"], _never).columns["A"] is held
    assert client.store.facts("main.t").columns[0].resident


def test_a_transaction_with_own_writes_is_left_alone(opened: Open) -> None:
    client = opened()
    client.run("CREATE TABLE t AS SELECT 1 AS a")
    client.run("CREATE TABLE u AS SELECT 1 AS a")
    client.run("BEGIN")
    assert client.cached() == [1]
    client.run("INSERT INTO t VALUES (2)")
    with pytest.raises(Unavailable, match="wrote to it"):
        client.cached()
    assert client.cached("u") == [1]
    client.run("COMMIT")
    assert client.cached() == [1, 2]


def test_sessions_share_and_see_each_other(opened: Open) -> None:
    one, two = opened(), opened()
    one.run("CREATE TABLE t AS SELECT 1 AS a")
    held = one.store.source("t", ["a"], _never).columns["a"]
    assert two.store.source("t", ["a"], _never).columns["a"] is held
    two.run("BEGIN")
    two.run("INSERT INTO t VALUES (2)")
    assert one.cached() == [1]  # not committed
    two.run("COMMIT")
    assert one.cached() == [1, 2]


def test_a_transaction_does_not_see_what_was_committed_after_it_began(opened: Open) -> None:
    one, two = opened(), opened()
    one.run("CREATE TABLE t AS SELECT 1 AS a")
    one.run("BEGIN")
    one.run("SELECT * FROM t")
    two.run("INSERT INTO t VALUES (2)")
    assert two.cached() == [1, 2]
    with pytest.raises(Unavailable, match="since the transaction began"):
        one.cached()
    one.run("COMMIT")
    assert one.cached() == [1, 2]


def test_no_table_is_read_while_its_commit_runs(opened: Open) -> None:
    one, two = opened(), opened()
    one.run("CREATE TABLE t AS SELECT 1 AS a, 2 AS b")
    one.run("CREATE TABLE u AS SELECT 1 AS a")
    assert one.cached() == [1]
    two.versions.runs("INSERT INTO t VALUES (2, 3)", in_transaction=False)
    with pytest.raises(Unavailable, match="being written"):
        one.cached("t", "b")
    with pytest.raises(Unavailable, match="being written"):
        one.store.sources({"t": ["a"], "u": ["a"]}, _never)
    two.versions.ran(in_transaction=False)
    assert one.cached("t", "b") == [2]


def test_a_write_while_columns_are_read_is_noticed(opened: Open) -> None:
    one, two = opened(), opened()
    one.run("CREATE TABLE t AS SELECT range AS a, range AS b FROM range(300000)")
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            two.run("INSERT INTO t VALUES (7, 7)")

    with pytest.raises(Unavailable, match="changed while it was read"):
        one.store.source("t", ["a"], check)
    assert not one.store.facts("t").columns[0].resident
    assert len(one.cached()) == 300001


def test_writes_past_foveal_in_this_process_are_seen(opened: Open, tmp_path: Path) -> None:
    client = opened()
    client.run("CREATE TABLE t AS SELECT 1 AS a")
    assert client.cached() == [1]
    with duckdb.connect(str(tmp_path / "x.db")) as other:
        other.execute("INSERT INTO t VALUES (2)")
    assert client.cached() == [1, 2]


def test_attached_databases_views_and_nothing_are_refused(opened: Open, tmp_path: Path) -> None:
    client = opened()
    client.run(f"ATTACH '{tmp_path / 'other.db'}' AS other")
    client.run("CREATE TABLE other.t AS SELECT 1 AS a")
    client.run("CREATE VIEW v AS SELECT 1 AS a")
    for name in ("other.t", "other.main.t", "v", "nothing", "a b", "duckdb_tables"):
        with pytest.raises(Unavailable):
            client.cached(name)
    client.run("CREATE TABLE t AS SELECT 2 AS a")
    assert client.cached("x.t") == client.cached("main.t") == client.cached("x.main.t") == [2]
    client.run("USE other")
    with pytest.raises(Unavailable):
        client.cached("t")


def test_schemas_and_temporary_tables_are_told_apart(opened: Open) -> None:
    one, two = opened(), opened()
    one.run("CREATE SCHEMA s")
    one.run("CREATE TABLE s.t AS SELECT 1 AS a")
    one.run("CREATE TABLE t AS SELECT 2 AS a")
    assert (one.cached("t"), one.cached("s.t")) == ([2], [1])
    one.run("USE s")
    assert one.cached("t") == [1]
    one.run("CREATE TEMP TABLE t AS SELECT 3 AS a")
    two.run("CREATE TEMP TABLE t AS SELECT 4 AS a")
    assert (one.cached("t"), two.cached("t")) == ([3], [4])
    one.run("DROP TABLE temp.t")
    assert one.cached("t") == [1]
    one.run("CREATE TEMP VIEW t AS SELECT 5 AS a")
    with pytest.raises(Unavailable, match="view"):
        one.cached("t")


def test_a_broken_transaction_stays_broken(opened: Open) -> None:
    client = opened()
    client.run("CREATE TABLE t AS SELECT 1 AS a")
    client.cached()
    client.run("BEGIN")
    with pytest.raises(Exception, match="nothing"):
        client.run("SELECT * FROM nothing")
    with pytest.raises(Exception, match="aborted"):
        client.cached()
    client.run("ROLLBACK")
    assert client.cached() == [1]
