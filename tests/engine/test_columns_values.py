"""Columns against DuckDB's values: every type, NULLs, narrowing, dictionaries, memory, files."""

import datetime
import gc
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.engine.columns import ColumnStore, Unavailable, Versions, ir_type
from foveal.engine.columns.cache import ColumnCache
from foveal.engine.columns.memory import total
from foveal.engine.compile.arrow import unpack_validity
from foveal.engine.compile.data import ColumnData
from foveal.engine.substrate import Substrate
from foveal.errors import QueryCanceled
from foveal.planner.ir.types import BOOL, I16, I128, Code

ROWS = 6_000


def _never() -> None: ...


class Opened:
    def __init__(self, share: Callable[[], float] = lambda: 0.2) -> None:
        self.substrate = Substrate(":memory:")
        self.versions = Versions(":memory:", private=True)
        self.cache = ColumnCache()
        self.store = ColumnStore(self.substrate, self.versions, share, self.cache)

    def run(self, sql: str) -> None:
        self.versions.runs(sql, in_transaction=False)
        self.substrate.rows(sql)
        self.versions.ran(in_transaction=False)

    def column(self, name: str = "a", table: str = "t") -> ColumnData:
        return self.store.source(table, [name], _never).columns[name]


@pytest.fixture
def opened() -> Iterator[Opened]:
    found = Opened()
    yield found
    found.store.close()
    found.substrate.close()


def python_values(column: ColumnData) -> list[Any]:
    """Return a column's values as integers, floats and strings."""
    valid = unpack_validity(column.validity, column.rows)
    found: list[Any] = column.values.tolist()
    if column.dictionary is not None:
        entries = column.dictionary.to_pylist()
        found = [entries[i] if valid is None or valid[k] else None for k, i in enumerate(found)]
    return found if valid is None else [v if k else None for v, k in zip(found, valid, strict=True)]


def _plain(value: object, sql_type: str) -> object:
    """Return DuckDB's value as what is stored."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        return int(value.scaleb(int(sql_type.rstrip(")").split(",")[1])))
    if isinstance(value, datetime.datetime):
        return (value - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1)
    if isinstance(value, datetime.date):
        return (value - datetime.date(1970, 1, 1)).days
    return value


TYPES = {
    "BOOLEAN": "i % 2 = 0",
    "TINYINT": "i % 200 - 100",
    "SMALLINT": "i - 10000",
    "INTEGER": "i * 100000 - 1000000000",
    "BIGINT": "i * 100000000000000 - 1000000000000000000",
    "UTINYINT": "i % 256",
    "USMALLINT": "i * 3",
    "UINTEGER": "i * 200000",
    "UBIGINT": "i * 400000000000000",
    "HUGEINT": "i * 400000000000000 - 4000000000000000000",
    "FLOAT": "i / 7",
    "DOUBLE": "CASE i % 5 WHEN 0 THEN 'nan' WHEN 1 THEN '-inf' ELSE i / 7 END",
    "DECIMAL(4,1)": "i % 9000 / 10 - 450",
    "DECIMAL(9,2)": "i / 7",
    "DECIMAL(18,3)": "i * 1000000 / 7",
    "DECIMAL(38,10)": "i - 10000",
    "DATE": "DATE '1969-01-01' + (i % 3000)::INTEGER",
    "TIMESTAMP": "TIMESTAMP '1969-01-01' + INTERVAL 1 MINUTE * i",
    "VARCHAR": "'x' || (i % 500)",
    "ENUM('z', 'it''s', 'a')": "['z', 'it''s', 'a'][i % 3 + 1]",
}


@pytest.mark.parametrize("nulls", ["", "i % 7 = 0", "i = 5999", "true"])
@pytest.mark.parametrize("sql_type", TYPES)
def test_every_type_comes_as_duckdb_has_it(opened: Opened, sql_type: str, nulls: str) -> None:
    expression = f"({TYPES[sql_type]})::{sql_type}"
    if nulls:
        expression = f"CASE WHEN NOT ({nulls}) THEN {expression} END"
    opened.run(f"CREATE TABLE t AS SELECT {expression} AS a FROM range({ROWS}) r(i)")
    column = opened.column()
    wanted = [_plain(v, sql_type) for (v,) in opened.substrate.rows("SELECT a FROM t")]
    found = python_values(column)
    if sql_type in ("FLOAT", "DOUBLE"):
        np.testing.assert_array_equal(np.array(found, float), np.array(wanted, float))
    else:
        assert found == wanted
    assert column.type == ir_type(sql_type, "t.a")
    assert column.values.flags.c_contiguous
    facts = opened.store.facts("t").columns[0]
    assert (facts.resident, facts.bytes) == (True, column.nbytes)
    assert facts.nullable == bool(nulls) == (column.validity is not None)
    if column.validity is not None:
        assert len(column.validity) % 8 == 0
        valid = unpack_validity(column.validity, column.rows)
        assert valid is not None
        assert not column.values[~valid].any()
    if column.dictionary is None and sql_type not in ("FLOAT", "DOUBLE"):
        known = [v for v in found if v is not None]
        assert (column.low, column.high) == (min(known, default=None), max(known, default=None))


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (-128, 127, "int8"),
        (-129, 127, "int16"),
        (0, 128, "int16"),
        (-(2**15), 2**15 - 1, "int16"),
        (0, 2**15, "int32"),
        (-(2**31), 2**31 - 1, "int32"),
        (-(2**31) - 1, 0, "int64"),
        (-(2**63), 2**63 - 1, "int64"),
    ],
)
def test_columns_are_as_narrow_as_their_values(
    opened: Opened, low: int, high: int, dtype: str
) -> None:
    opened.run(f"CREATE TABLE t AS SELECT unnest([{low}, {high}, NULL])::HUGEINT AS a")
    column = opened.column()
    assert column.values.dtype == dtype
    assert python_values(column) == [low, high, None]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (f"{2**63}::HUGEINT", "64 bits"),
        (f"{-(2**63) - 1}::HUGEINT", "64 bits"),
        ("18446744073709551615::UBIGINT", "64 bits"),
        (f"'{10**37}'::DECIMAL(38,0)", "64 bits"),
        ("[1]", "programs have no"),
        ("TIMESTAMPTZ '2020-01-01'", "programs have no"),
    ],
)
def test_what_does_not_fit_is_refused(opened: Opened, value: str, reason: str) -> None:
    opened.run(f"CREATE TABLE t AS SELECT {value} AS a, 1 AS b")
    with pytest.raises(Unavailable, match=reason):
        opened.store.source("t", ["a", "b"], _never)
    assert reason in opened.store.facts("t").columns[0].refused
    assert python_values(opened.column("b")) == [1]


def test_too_many_strings_are_refused_and_remembered(opened: Opened) -> None:
    opened.run("CREATE TABLE t AS SELECT 'x' || i AS a, i AS b FROM range(1000) r(i)")
    with pytest.raises(Unavailable, match="more than 256 distinct"):
        opened.column()
    assert "distinct" in opened.store.facts("t").columns[0].refused
    opened.run("DELETE FROM t WHERE b > 255")
    assert opened.column().rows == 256


def test_dictionaries_ascend(opened: Opened) -> None:
    strings = ["", "Z", "a", "it's", "nul\0byte", "é", "\uffff", "😀", "a b"]
    listed = ", ".join("?" for _ in strings)
    opened.substrate.rows(f"CREATE TABLE t AS SELECT unnest([{listed}]) AS a", strings)
    column = opened.column()
    assert column.dictionary is not None
    entries = [str(s) for s in column.dictionary.to_pylist()]
    assert entries == sorted(strings, key=lambda s: s.encode())
    assert python_values(column) == strings
    assert column.type == Code("t.a")


def test_collated_strings_are_refused(opened: Opened) -> None:
    opened.run("CREATE TABLE t (a VARCHAR COLLATE NOCASE, b INTEGER)")
    with pytest.raises(Unavailable, match="collated"):
        opened.column()
    opened.run("CREATE TABLE u AS SELECT 'x' AS a")
    opened.column("a", "u")
    opened.run("SET default_collation = 'nocase'")
    with pytest.raises(Unavailable, match="default_collation"):
        opened.column("a", "u")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=60))
def test_any_strings(values: list[str | None]) -> None:
    opened = Opened()
    opened.run("CREATE TABLE t (a VARCHAR)")
    opened.substrate.connection.executemany("INSERT INTO t VALUES (?)", [[v] for v in values]) \
        if values else None  # fmt: skip
    assert python_values(opened.column()) == values
    opened.store.close()
    opened.substrate.close()


def test_many_batches(opened: Opened) -> None:
    opened.run(
        "CREATE TABLE t AS SELECT CASE WHEN i > 200000 AND i % 3 = 0 THEN NULL ELSE i END AS a, "
        "CASE WHEN i % 5 > 0 THEN (i * 7 % 10007)::VARCHAR END AS b, i % 2 = 0 AS c "
        "FROM range(300001) r(i) WHERE i % 11 <> 3"
    )
    data = opened.store.source("t", ["a", "b", "c"], _never)
    rows = opened.substrate.rows("SELECT a, b, c FROM t")
    for place, name in enumerate(data.columns):
        assert python_values(data.columns[name]) == [row[place] for row in rows]


def test_no_rows_and_no_columns(opened: Opened) -> None:
    opened.run("CREATE TABLE t (a INTEGER, b VARCHAR, c ENUM('x'), d DOUBLE)")
    data = opened.store.source("t", ["a", "b", "c", "d"], _never)
    assert data.rows == 0
    assert all(c.low is None and c.rows == 0 for c in data.columns.values())
    opened.run("INSERT INTO t VALUES (1, 'x', 'x', 1)")
    assert opened.store.source("t", [], _never).rows == 1
    with pytest.raises(Unavailable, match="no column"):
        opened.column("nope")


def test_unique(opened: Opened) -> None:
    opened.run(
        "CREATE TABLE t AS SELECT i AS dense, i % 100 AS twice, "
        "CASE WHEN i % 2 = 0 THEN i * 1000000000000 END AS sparse, "
        "i::DOUBLE AS f FROM range(1000) r(i)"
    )
    found = {c: opened.store.unique("t", c, _never) for c in ("dense", "twice", "sparse")}
    assert found == {"dense": True, "twice": False, "sparse": True}
    assert opened.store.facts("t").column("DENSE").unique is True  # pyright: ignore[reportOptionalMemberAccess]
    with pytest.raises(Unavailable):
        opened.store.unique("t", "f", _never)
    opened.run("INSERT INTO t SELECT * FROM t WHERE dense = 4")
    assert opened.store.unique("t", "sparse", _never) is False


def test_cancelling_leaves_nothing_half(opened: Opened) -> None:
    opened.run("CREATE TABLE t AS SELECT i AS a, i AS b FROM range(500000) r(i)")
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise QueryCanceled("stop")

    with pytest.raises(QueryCanceled):
        opened.store.source("t", ["a", "b"], check)
    assert opened.cache.nbytes == 0
    assert opened.substrate.rows("SELECT 1") == [(1,)]
    told: list[tuple[int, int]] = []
    opened.store.source("t", ["a"], _never, lambda done, rows: told.append((done, rows)))
    assert told[-1] == (500000, 500000)
    assert len(told) > 2


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    limit = 2_500_000
    opened = Opened(lambda: limit / total())
    columns = ", ".join(f"(i * 100000)::BIGINT AS {c}" for c in "abcd")
    opened.run(f"CREATE TABLE t AS SELECT {columns} FROM range(100000) r(i)")  # 800 kB each
    first = opened.column("a")
    opened.column("b")
    opened.column("c")
    opened.column("a")
    opened.column("d")
    assert opened.cache.nbytes <= limit
    resident = {c.name for c in opened.store.facts("t").columns if c.resident}
    assert resident == {"a", "c", "d"}
    with pytest.raises(Unavailable, match="column_cache_memory"):
        opened.store.source("t", ["a", "b", "c", "d"], _never)
    opened.column("b")
    opened.column("c")
    opened.column("d")
    gc.collect()
    assert first.values[99_999] == 99_999 * 100_000  # dropped, and alive as long as it is used
    assert not opened.store.facts("t").columns[0].resident
    opened.store.clear()
    assert opened.cache.nbytes == 0
    limit = 0
    with pytest.raises(Unavailable, match="column_cache_memory"):
        opened.column("a")
    opened.store.close()
    opened.substrate.close()


def test_a_short_machine_keeps_less() -> None:
    lacking = 0
    cache = ColumnCache(lambda wanted: lacking)
    substrate, versions = Substrate(":memory:"), Versions(":memory:", private=True)
    store = ColumnStore(substrate, versions, lambda: 0.2, cache)
    substrate.rows("CREATE TABLE t AS SELECT i AS a, i AS b FROM range(100000) r(i)")
    store.source("t", ["a"], _never)
    lacking = 1000
    store.source("t", ["b"], _never)
    assert [c.resident for c in store.facts("t").columns] == [False, True]
    lacking = 1 << 40
    with pytest.raises(Unavailable, match="free memory"):
        store.source("t", ["a"], _never)
    store.close()
    substrate.close()


def test_parquet_files(opened: Opened, tmp_path: Path) -> None:
    file = tmp_path / "it's.parquet"
    name = str(file).replace("'", "''")
    opened.run(f"COPY (SELECT i AS a, i % 3 = 0 AS b FROM range(1000) r(i)) TO '{name}'")
    data = opened.store.parquet(file, ["a", "b"], _never)
    assert data.rows == 1000
    assert data.columns["b"].type == BOOL
    assert opened.store.parquet(file, ["a"], _never).columns["a"] is data.columns["a"]
    assert opened.store.parquet_facts(file).columns[0].storage == I16
    opened.run(f"COPY (SELECT 5 AS a) TO '{name}'")
    assert opened.store.parquet(file, ["a"], _never).columns["a"].values.tolist() == [5]
    for wrong in (tmp_path / "none", tmp_path / "*.parquet", Path(__file__)):
        with pytest.raises(Unavailable):
            opened.store.parquet(wrong, ["a"], _never)


def test_what_is_kept_is_listed(opened: Opened) -> None:
    opened.run("CREATE TABLE t AS SELECT 'x' AS s, i::HUGEINT AS a FROM range(10) r(i)")
    opened.store.source("t", ["s", "a"], _never)
    rows = opened.store.listed().to_pylist()
    assert [(r["relation"], r["column"], r["type"], r["rows"]) for r in rows] == [
        ("main.t", "s", "code", 10),
        ("main.t", "a", str(I128), 10),
    ]


def test_a_session_that_leaves_takes_its_columns_along(opened: Opened) -> None:
    opened.run("CREATE TABLE t AS SELECT 1 AS a")
    opened.column()
    opened.store.close()
    assert opened.cache.nbytes == 0
