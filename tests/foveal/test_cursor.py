"""Cursors: parameters, scripts, fetching as rows and as Arrow, and what interleaving does."""

import importlib.util
from collections.abc import Iterator
from decimal import Decimal

import pyarrow as pa
import pytest

import foveal

# DuckDB remarks that Arrow from a pending result is copied once; that is known.
pytestmark = pytest.mark.filterwarnings("ignore:Arrow output on a DB-API result")


@pytest.fixture
def con() -> Iterator[foveal.Connection]:
    with foveal.connect() as con:
        yield con


def test_parameters_by_position_and_by_name(con: foveal.Connection) -> None:
    assert con.execute("SELECT ?, ? || '?'", [1, "a"]).fetchone() == (1, "a?")
    assert con.execute("SELECT $b, $a", {"a": 1, "b": "x"}).fetchone() == ("x", 1)


@pytest.mark.parametrize("wrong", ["abc", b"abc", 7, {1, 2}])
def test_wrong_parameters_are_refused(con: foveal.Connection, wrong: object) -> None:
    with pytest.raises(foveal.InterfaceError, match="sequence or a mapping"):
        con.execute("SELECT ?", wrong)  # type: ignore[arg-type]  # pyright: ignore


def test_parameters_need_one_statement(con: foveal.Connection) -> None:
    with pytest.raises(foveal.ProgrammingError, match="has 2"):
        con.execute("SELECT ?; SELECT ?", [1])


def test_description_and_rowcount(con: foveal.Connection) -> None:
    cur = con.execute("CREATE TABLE t (a DECIMAL(10,2), b VARCHAR)")
    assert cur.description is None
    assert con.execute("INSERT INTO t VALUES (1.5, 'x'), (2, 'y')").rowcount == 2
    cur = con.execute("SELECT a, b FROM t")
    assert cur.description == [
        ("a", "DECIMAL(10,2)", None, None, 10, 2, None),
        ("b", "VARCHAR", None, None, None, None, None),
    ]
    assert cur.rowcount == -1
    assert cur.rownumber == 0
    assert cur.fetchone() == (Decimal("1.50"), "x")
    assert cur.rownumber == 1


def test_a_script_runs_whole_and_nextset_walks_it(con: foveal.Connection) -> None:
    cur = con.execute("CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2); SELECT a FROM t; ")
    assert cur.tag.startswith("CREATE")
    with pytest.raises(foveal.InterfaceError, match="no rows"):
        cur.fetchone()
    assert cur.nextset()
    assert cur.rowcount == 2
    assert cur.nextset()
    assert list(cur) == [(1,), (2,)]
    assert cur.nextset() is None


@pytest.mark.parametrize("text", ["", "  ", "-- nothing", ";"])
def test_an_empty_script_does_nothing(con: foveal.Connection, text: str) -> None:
    assert con.execute(text).description is None


def test_an_error_leaves_no_result(con: foveal.Connection) -> None:
    cur = con.execute("SELECT 1")
    with pytest.raises(foveal.DatabaseError):
        cur.execute("SELECT 2; SELECT nonesuch")
    assert cur.description is None
    assert con.execute("SELECT 3").fetchall() == [(3,)]


def test_executemany_is_all_or_none(con: foveal.Connection) -> None:
    con.execute("CREATE TABLE t (a INT PRIMARY KEY)")
    assert con.executemany("INSERT INTO t VALUES (?)", [[1], [2], [3]]).rowcount == 3
    with pytest.raises(foveal.IntegrityError):
        con.executemany("INSERT INTO t VALUES (?)", [[4], [1]])
    assert con.execute("SELECT count(*) FROM t").fetchone() == (3,)
    assert con.executemany("INSERT INTO t VALUES (?)", []).rowcount == 0
    assert not con.in_transaction


def test_executemany_inside_a_transaction_leaves_it_open(con: foveal.Connection) -> None:
    con.execute("CREATE TABLE t (a INT)")
    con.execute("BEGIN")
    con.executemany("INSERT INTO t VALUES ($a)", [{"a": 1}])
    con.rollback()
    assert con.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_callproc_quotes_the_name(con: foveal.Connection) -> None:
    cur = con.cursor()
    assert cur.callproc("upper", ["a"]) == ["a"]
    assert cur.fetchall() == [("A",)]
    with pytest.raises(foveal.DatabaseError):
        cur.callproc("upper('x'); DROP TABLE t --", [])


def test_fetch_forms_mix(con: foveal.Connection) -> None:
    cur = con.execute("SELECT range AS a FROM range(5000)")
    assert cur.fetchone() == (0,)
    assert cur.fetchmany() == [(1,)]
    assert cur.fetchmany(3000) == [(n,) for n in range(2, 3002)]
    assert next(cur) == (3002,)
    assert cur.fetch_arrow_table()["a"].to_pylist() == list(range(3003, 5000))
    assert cur.fetchall() == []
    assert cur.fetchone() is None


def test_two_cursors_interleave(con: foveal.Connection) -> None:
    one = con.execute("SELECT range FROM range(10000)")
    assert one.fetchone() == (0,)
    two = con.execute("SELECT range FROM range(3)")
    three = con.execute("SELECT 'x'")
    assert one.fetchone() == (1,)
    assert two.fetchall() == [(0,), (1,), (2,)]
    assert three.fetchone() == ("x",)
    assert len(one.fetchall()) == 9998


def test_arrow_of_rows_that_another_statement_pushed_aside(con: foveal.Connection) -> None:
    sql = """SELECT 1::TINYINT AS a, 1.5::DECIMAL(4,1) AS b, 'x' AS c, DATE '2020-01-02' AS d,
        [1, NULL] AS e, {'k': 1} AS f, MAP {'k': 1} AS g, 7::HUGEINT AS h, NULL AS i,
        '00000000-0000-0000-0000-000000000001'::UUID AS j, 'a'::ENUM('a', 'b') AS k,
        TIMESTAMP '2020-01-02 03:04:05' AS l, '\\xAA'::BLOB AS m, TIME '01:02:03' AS n"""
    cur = con.execute(sql)
    con.execute("SELECT 1")
    aside = cur.fetch_arrow_table()
    direct = con.execute(sql).fetch_arrow_table()
    assert aside.to_pylist() == direct.to_pylist()
    assert aside["b"].type == direct["b"].type


def test_arrow_is_refused_where_python_values_lost_something(con: foveal.Connection) -> None:
    cur = con.execute("SELECT INTERVAL '1 month' AS gap")
    con.execute("SELECT 1")
    with pytest.raises(foveal.InterfaceError, match=r'column "gap" \(INTERVAL\)'):
        cur.fetch_arrow_table()


def test_record_batches_stream(con: foveal.Connection) -> None:
    reader = con.execute("SELECT range AS a FROM range(100000)").fetch_record_batch(10_000)
    assert isinstance(reader, pa.RecordBatchReader)
    assert reader.schema.names == ["a"]
    first = reader.read_next_batch()
    assert first.num_rows <= 10_000
    assert con.execute("SELECT 1").fetchone() == (1,)
    assert first.num_rows + sum(batch.num_rows for batch in reader) == 100_000


def test_record_batches_end_in_an_error_when_their_cursor_goes_on(con: foveal.Connection) -> None:
    cur = con.execute("SELECT range AS a FROM range(1000000)")
    reader = cur.fetch_record_batch(1000)
    reader.read_next_batch()
    with pytest.raises(foveal.InterfaceError, match="record batches"):
        cur.fetchone()
    cur.execute("SELECT 1")
    with pytest.raises(foveal.InterfaceError, match="went on"):
        reader.read_next_batch()
    assert cur.fetchone() == (1,)


def test_df(con: foveal.Connection) -> None:
    cur = con.execute("SELECT 1 AS a")
    if importlib.util.find_spec("pandas") is None:
        with pytest.raises(foveal.InterfaceError, match="pip install pandas"):
            cur.df()
    else:
        assert cur.df().to_dict("list") == {"a": [1]}


def test_a_closed_cursor_refuses(con: foveal.Connection) -> None:
    with con.execute("SELECT range FROM range(1000000)") as cur:
        cur.fetchone()
    cur.close()
    for use in (cur.fetchone, cur.nextset, lambda: cur.execute("SELECT 1")):
        with pytest.raises(foveal.InterfaceError, match="closed"):
            use()
    assert con.execute("SELECT 1").fetchone() == (1,)
