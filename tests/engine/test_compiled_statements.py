"""Which part of a statement a program takes, when `auto` tries one, and what ends one."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from foveal.engine import compiled_statements
from foveal.engine.compile.data import KernelError
from foveal.engine.compile.interpreter import interpret
from foveal.engine.compiled_choice import QUICK, TRIED, Shape, shape_of
from foveal.engine.session import Session
from foveal.errors import DataError, QueryCanceled
from foveal.planner.compiled.cost import Estimate
from foveal.planner.ir.passes import NAMES
from foveal.settings import SETTINGS

SCHEMA = """
CREATE TABLE region AS SELECT i::INTEGER AS r_key, ['EU', 'ASIA'][i + 1] AS r_name
    FROM range(2) t(i);
CREATE TABLE nation AS SELECT i::INTEGER AS n_key, (i % 2)::INTEGER AS n_region, 'N' || i AS n_name
    FROM range(10) t(i);
CREATE TABLE customer AS SELECT i::INTEGER AS c_key, (i % 10)::INTEGER AS c_nation,
    'someone ' || i AS c_name FROM range(1, 301) t(i);
CREATE TABLE orders AS SELECT i::BIGINT AS o_key, (i * 7 % 300 + 1)::INTEGER AS o_customer,
    DATE '1995-01-01' + (i % 700)::INTEGER AS o_date FROM range(1, 2001) t(i);
CREATE TABLE lines AS SELECT (i * 13 % 2000 + 1)::BIGINT AS l_order,
    (i % 50)::DECIMAL(15,2) AS l_qty,
    (i % 9000 / 7)::DECIMAL(15,2) AS l_price, ['A', 'N', 'R'][i % 3 + 1] AS l_flag,
    DATE '1995-01-01' + (i % 800)::INTEGER AS l_date FROM range(5000) t(i);
"""


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    found = Session()
    found.compiled.programs.instead = interpret
    for statement in SCHEMA.strip().split(";\n"):
        found.execute(statement.rstrip(";")).close()
    found.execute("SET foveal.compile = 'on'").close()
    yield found
    found.close()


def explained(session: Session, sql: str) -> str:
    return "\n".join(str(row[0]) for row in session.execute(f"EXPLAIN (COMPILED) {sql}").fetchall())


def programs(session: Session, sql: str) -> list[str]:
    """Return what each program of a statement is said to be in its plan."""
    session.execute(sql).fetchall()
    return [line.partition("Compiled ")[2] for line in session.report.plan.split("\n")[1:]]


JOINED = """SELECT n_name, sum(l_price) FROM lines, orders, customer, nation, region
WHERE l_order = o_key AND o_customer = c_key AND c_nation = n_key AND n_region = r_key
AND r_name = 'EU' GROUP BY n_name ORDER BY 2 DESC"""


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT sum(l_price) FROM lines", ["1 aggregate of lines"]),
        ("SELECT l_flag, avg(l_qty) FROM lines GROUP BY 1 HAVING count(*) > 1",
         ["2 aggregates by 1 key of lines"]),
        (JOINED, ["1 aggregate by 1 key of lines, orders, customer, nation, region"]),
        ("SELECT max(s) FROM (SELECT l_flag, sum(l_qty) AS s FROM lines GROUP BY l_flag)",
         ["1 aggregate by 1 key of lines"]),
        ("SELECT sum(x) FROM (SELECT l_qty * 2 AS x FROM lines) AS s", ["1 aggregate of s/lines"]),
        ("SELECT (SELECT count(*) FROM orders) + sum(l_qty) FROM lines",
         ["1 aggregate of lines", "1 aggregate of orders"]),
        ("SELECT sum(l_qty) FROM lines UNION ALL SELECT count(*) FROM orders",
         ["1 aggregate of lines", "1 aggregate of orders"]),
        ("SELECT count(*) FROM orders WHERE EXISTS (SELECT 1 FROM lines WHERE l_order = o_key)",
         ["1 aggregate of orders"]),
        ("SELECT count(DISTINCT l_flag) FROM lines", []),
        ("SELECT c_name, count(*) FROM customer GROUP BY 1", []),
        ("SELECT sum(l_qty) OVER () FROM lines", []),
        ("SELECT sum(l_qty) FROM lines LEFT JOIN orders ON l_order = o_key", []),
        ("SELECT sum(a.l_qty) FROM lines a, lines b WHERE a.l_order = b.l_order", []),
        ("SELECT sum(random()) FROM lines", []),
    ],
)  # fmt: skip
def test_which_part_is_compiled(session: Session, sql: str, expected: list[str]) -> None:
    assert programs(session, sql) == expected


def test_explain_shows_programs_and_refusals(session: Session) -> None:
    shown = explained(session, JOINED)
    assert "bitmap" in shown
    assert "-- DuckDB runs" in shown
    assert "compiled  " in shown
    assert "duckdb    " in shown
    assert "-- not compiled: DISTINCT" in explained(session, "SELECT DISTINCT l_flag FROM lines")
    refused = explained(session, "SELECT count(DISTINCT l_flag) FROM lines")
    assert "an aggregate of DISTINCT values: count(DISTINCT l_flag)" in refused


def test_a_write_is_seen(session: Session) -> None:
    sql = "SELECT count(*), max(n_name) FROM nation"
    assert session.execute(sql).fetchall() == [(10, "N9")]
    session.execute("INSERT INTO nation VALUES (10, 1, 'Z')").close()
    assert session.execute(sql).fetchall() == [(11, "Z")]
    assert session.report.plan_kind == "compiled"
    session.begin()
    session.execute("DELETE FROM nation WHERE n_key = 10").close()
    assert session.execute(sql).fetchall() == [(10, "N9")]
    assert session.report.plan_kind != "compiled"
    session.rollback()
    assert session.execute(sql).fetchall() == [(11, "Z")]
    session.execute("DELETE FROM nation WHERE n_key = 10").close()


def test_errors_are_duckdbs(session: Session) -> None:
    sql = "SELECT sum((l_qty * 100)::TINYINT) FROM lines"
    with pytest.raises(DataError) as ours:
        session.execute(sql).fetchall()
    session.execute("SET foveal.compile = 'off'").close()
    with pytest.raises(DataError) as theirs:
        session.execute(sql).fetchall()
    session.execute("SET foveal.compile = 'on'").close()
    assert ours.value.message == theirs.value.message


def test_parameters(session: Session) -> None:
    sql = "SELECT count(*), sum(l_qty) FROM lines WHERE l_price > ? AND l_flag = ?"
    for values in ([100.5, "A"], [3, "N"], [None, "A"]):
        ours = session.execute(sql, values).fetchall()
        assert session.report.plan_kind == "compiled" or values[0] is None
        session.execute("SET foveal.compile = 'off'").close()
        assert session.execute(sql, values).fetchall() == ours
        session.execute("SET foveal.compile = 'on'").close()


def test_the_users_macro_wins(session: Session) -> None:
    session.execute("CREATE MACRO abs(x) AS 7").close()
    assert session.execute("SELECT sum(abs(l_qty)) FROM lines").fetchall() == [(35000,)]
    assert session.report.plan_kind != "compiled"
    session.execute("DROP MACRO abs").close()
    session.execute("SELECT sum(abs(l_qty)) FROM lines").fetchall()
    assert session.report.plan_kind == "compiled"


def test_a_program_is_cancelled(session: Session) -> None:
    begun = threading.Event()

    def endless(program: object, inputs: object, check: Any) -> Any:
        begun.set()
        while True:
            check()
            time.sleep(0.01)

    session.compiled.programs.instead = endless
    stopper = threading.Thread(target=lambda: (begun.wait(), session.cancel()))
    stopper.start()
    try:
        with pytest.raises(QueryCanceled):
            session.execute("SELECT sum(l_qty + 1) FROM lines").fetchall()
    finally:
        session.compiled.programs.instead = interpret
        stopper.join()
    assert session.execute("SELECT count(*) FROM lines").fetchall() == [(5000,)]


def test_auto_buys_columns_when_they_paid(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With DuckDB's times as given, the programs run once the savings exceed the price."""
    sql = "SELECT l_flag, sum(l_price * 3) FROM lines GROUP BY l_flag"
    session.execute("SET foveal.compile = 'auto'").close()

    def priced(*_: object) -> Estimate:
        return Estimate(ours=0.001, duckdb=0.1, fill=0.25)

    monkeypatch.setattr(compiled_statements, "estimate", priced)
    shape = session.compiled.shapes.of(sql)
    ran: list[bool] = []
    for _ in range(8):
        session.execute(sql).fetchall()
        ran.append(session.report.plan_kind == "compiled")
        shape.duckdb.clear()
        shape.duckdb.append(0.1)
        shape.ours.clear()
    assert ran[:3] == [False, False, False]
    assert ran[4:] == [True] * 4

    def fails(program: object, inputs: object, check: object) -> Any:
        raise KernelError

    session.compiled.programs.instead = fails
    session.execute(sql).fetchall()
    assert session.report.plan_kind != "compiled"
    session.compiled.programs.instead = interpret
    session.execute("SET foveal.compile = 'on'").close()


def test_shapes() -> None:
    assert shape_of("SELECT 1.5, 'a''b' FROM t2") == "SELECT ?, ? FROM t2"
    quick = Shape()
    quick.duckdb.append(QUICK / 10)
    assert quick.duckdb_seconds is not None
    slower = Shape(estimate=Estimate(0.01, 0.02, 0.0), warmed=True)
    slower.duckdb.append(0.02)
    assert slower.pays(0.1)
    for _ in range(TRIED):
        assert slower.pays(0.1)  # one run says little
        slower.ran(0.05)
    assert not slower.pays(0.1)
    assert slower.refusal == "DuckDB was faster"
    slower.renewed("another version")
    assert slower.refusal == ""


def test_constants_share_a_program(session: Session) -> None:
    ran: list[object] = []

    def noted(program: Any, inputs: Any, check: Any) -> Any:
        ran.append(program)
        return interpret(program, inputs, check)

    session.compiled.programs.instead = noted
    try:
        for day, least in (("1995-06-01", 10), ("1995-05-01", 15)):
            sql = f"SELECT count(*) FROM lines WHERE l_date < DATE '{day}' AND l_qty > {least}"
            ours = session.execute(sql).fetchone()
            with_duckdb = sql.replace("count(*)", "count(DISTINCT rowid)")
            assert session.execute(with_duckdb).fetchone() == ours
        assert len(ran) == 2
        assert ran[0] == ran[1]
        said = explained(session, sql)
        assert "scalar p0" in said
        assert "= 1500" in said
        session.execute("SET foveal.compile_passes = 'Parameters, fuse'").close()
        assert "scalar" not in explained(session, sql)
        session.execute(sql).fetchall()
        assert ran[2] != ran[0]
    finally:
        session.execute("RESET foveal.compile_passes").close()
        session.compiled.programs.instead = interpret


def test_names_of_passes(session: Session) -> None:
    assert SETTINGS["compile_passes"].listed == NAMES
    with pytest.raises(DataError) as raised:
        session.execute("SET foveal.compile_passes = 'fuse, melt'")
    assert raised.value.sqlstate == "22023"
    assert "separated by commas" in (raised.value.hint or "")
