"""What a statement may write to, told from its text."""

import pytest

from foveal.engine.columns import Effect, Prepared, effect


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM t",
        "FROM t",
        "WITH a AS (SELECT 1) SELECT * FROM a, t",
        "VALUES (1)",
        "(SELECT 1)",
        "TABLE t",
        "DESCRIBE t",
        "EXPLAIN INSERT INTO t VALUES (1)",
        "EXPLAIN ANALYZE SELECT * FROM t",
        "COPY t TO 'x.csv'",
        "COPY (SELECT * FROM t) TO 'x.csv'",
        "CHECKPOINT",
        "SELECT count(update), max(delete) FROM t",
        "SELECT replace(a, 'insert into t', 'x') FROM t",
        "",
        "-- nothing",
    ],
)
def test_reads_write_nothing(sql: str) -> None:
    assert not effect(sql, {}).writes


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("INSERT INTO t SELECT * FROM u", {"t"}),
        ('INSERT OR REPLACE INTO main."My T" VALUES (1)', {"my t"}),
        ("INSERT INTO db.s.T VALUES (1) RETURNING a", {"t"}),
        ("UPDATE t SET a = 1 FROM u", {"t"}),
        ("DELETE FROM s.t USING u WHERE true", {"t"}),
        ("TRUNCATE t", {"t"}),
        ("TRUNCATE TABLE t", {"t"}),
        ("MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE", {"t"}),
        ("EXPLAIN ANALYZE INSERT INTO t VALUES (1)", {"t"}),
        ("EXPLAIN (ANALYZE, FORMAT JSON) DELETE FROM t", {"t"}),
        ("CREATE OR REPLACE TABLE t AS FROM u", {"t"}),
        ("CREATE TEMP TABLE IF NOT EXISTS s.t (i INT)", {"t"}),
        ("INSERT INTO t VALUES (1); DELETE FROM u", {"t", "u"}),
    ],
)
def test_writes_touch_their_target(sql: str, tables: set[str]) -> None:
    assert effect(sql, {}).tables == tables


@pytest.mark.parametrize(
    "sql",
    [
        "COPY t FROM 'x.csv'",
        "DROP TABLE t",
        "ALTER TABLE t RENAME TO u",
        "WITH a AS (SELECT 1) DELETE FROM t",
        "WITH a AS (INSERT INTO t VALUES (1) RETURNING i) FROM a",
    ],
)
def test_other_writes_touch_what_is_named(sql: str) -> None:
    tables = effect(sql, {}).tables
    assert tables is not None
    assert "t" in tables


@pytest.mark.parametrize(
    "sql",
    [
        "CALL dbgen(sf = 0.1)",
        "SELECT * FROM dbgen(sf = 0.1)",
        "PRAGMA import_database('x')",
        "IMPORT DATABASE 'x'",
        "COPY FROM DATABASE a TO b",
        "DROP SCHEMA s CASCADE",
        "DROP VIEW v CASCADE",
        "CREATE TRIGGER x AFTER INSERT ON t FOR EACH STATEMENT INSERT INTO u VALUES (1)",
        "EXECUTE unheard_of",
        "FROBNICATE t",
        "'unterminated",
    ],
)
def test_what_is_not_known_may_write_anywhere(sql: str) -> None:
    assert effect(sql, {}).tables is None


def test_prepared_statements_are_remembered() -> None:
    prepared: Prepared = {}
    assert effect("PREPARE p AS INSERT INTO t VALUES ($1)", prepared) == Effect()
    assert effect("PREPARE q (INT) AS SELECT $1", prepared) == Effect()
    assert effect("EXECUTE P(1)", prepared).tables == {"t"}
    assert not effect("EXECUTE q(1)", prepared).writes
    effect("DEALLOCATE p", prepared)
    assert effect("EXECUTE p(1)", prepared).tables is None


def test_names_and_transactions() -> None:
    assert effect("BEGIN TRANSACTION", {}).boundary == "begin"
    assert effect("ROLLBACK", {}).boundary == "end"
    for sql in ("USE s", "SET search_path = 's'", "ATTACH 'x.db'", "CREATE VIEW v AS FROM t"):
        found = effect(sql, {})
        assert found.catalog
        assert not found.writes
