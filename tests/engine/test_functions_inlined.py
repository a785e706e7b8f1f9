"""Calls of the user's functions in compiled blocks: their bodies stand in the calls' place."""

from typing import Any

import pytest

import foveal

SQL = "SELECT g, sum(f(a, b)) FROM t WHERE h(a) > 0 GROUP BY g ORDER BY g"


@pytest.fixture
def con() -> Any:
    connection = foveal.connect()
    connection.execute(
        "CREATE TABLE t AS SELECT range % 3 AS g, CASE WHEN range % 7 <> 0 THEN range::DOUBLE END "
        "AS a, range % 5 AS b FROM range(1000)"
    )
    make(connection, "f(x DOUBLE, n BIGINT)", "x * 2 if n > 1 else x // 3")
    make(connection, "h(x DOUBLE)", "assert x < 2000\nreturn x - 10")
    connection.execute("SET foveal.compile = 'on'")
    yield connection
    connection.close()


def make(con: Any, head: str, text: str, more: str = "") -> None:
    con.execute(
        f"CREATE OR REPLACE FUNCTION {head} RETURNS DOUBLE LANGUAGE python {more} AS $${text}$$"
    )


def both(con: Any, sql: str) -> tuple[list[tuple[Any, ...]], bool]:
    """Return the rows, which must be DuckDB's, and whether a program made them."""
    con.execute("SET foveal.compile = 'off'")
    wanted = con.execute(sql).fetchall()
    con.execute("SET foveal.compile = 'on'")
    found = con.execute(sql).fetchall()
    compiled = con.last_query().plan_kind == "compiled"
    assert found == wanted
    return found, compiled


def test_bodies_stand_in_the_place_of_calls(con: Any) -> None:
    assert both(con, SQL)[1]
    shown = "\n".join(str(row[0]) for row in con.execute(f"EXPLAIN (COMPILED) {SQL}").fetchall())
    program = shown.partition("-- DuckDB runs")[0]
    assert "f(" not in program.replace("if(", "")
    assert "check" in program


def test_replacing_a_function_changes_the_answer(con: Any) -> None:
    before, _ = both(con, SQL)
    make(con, "f(x DOUBLE, n BIGINT)", "x + n")
    after, compiled = both(con, SQL)
    assert compiled
    assert after != before


def test_null_input(con: Any) -> None:
    make(con, "z(x DOUBLE)", "1.0 if x is None else 0.0", "NULL INPUT")
    assert both(con, "SELECT sum(z(a)), count(f(a, b)), count(*) FROM t") == (
        [(143.0, 857, 1000)], True,
    )  # fmt: skip


def test_an_argument_raises_where_the_body_does_not_use_it(con: Any) -> None:
    con.execute("CREATE TABLE u AS FROM (VALUES (NULL, 9223372036854775807), (1.0, 1)) u(a, b)")
    for mode in ("off", "on"):
        con.execute(f"SET foveal.compile = '{mode}'")
        with pytest.raises(foveal.DataError, match="Overflow in addition"):
            con.execute("SELECT sum(f(a, b + 1)) FROM u").fetchall()


def test_a_volatile_function_is_called(con: Any) -> None:
    make(con, "h(x DOUBLE)", "x - 10", "VOLATILE")
    assert not both(con, SQL)[1]


def test_the_users_macro_wins(con: Any) -> None:
    con.execute("CREATE OR REPLACE TEMP MACRO h(x) AS x - 500")
    assert not both(con, SQL)[1]


def test_errors_are_the_functions_own(con: Any) -> None:
    make(con, "h(x DOUBLE)", "assert x < 500\nreturn x - 10")
    with pytest.raises(foveal.OperationalError, match=r"h\(\) failed at line 1: AssertionError"):
        con.execute(SQL).fetchall()
