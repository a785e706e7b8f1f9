"""CREATE and DROP FUNCTION, calls in any SQL, what fails and how, and who may run what."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import foveal
from foveal.engine.trusted_functions import trusted_file
from foveal.planner.ir.function import DictionaryFunction, IrFunction


@pytest.fixture
def con() -> Any:
    connection = foveal.connect()
    connection.execute("CREATE TABLE t AS SELECT range::DOUBLE x, range i FROM range(10)")
    yield connection
    connection.close()


def make(
    con: Any, text: str, head: str = "f(x DOUBLE) RETURNS DOUBLE", more: str = ""
) -> list[str]:
    con.execute(f"CREATE OR REPLACE FUNCTION {head} LANGUAGE python {more} AS $${text}$$")
    return [notice.message for notice in con.last_query().notices]


def rows(con: Any, sql: str) -> list[tuple[Any, ...]]:
    return con.execute(sql).fetchall()


def test_a_function_works_in_any_statement(con: Any) -> None:
    assert make(con, "x * 2 + 1") == []
    assert rows(con, "SELECT sum(f(x)), max(f(i)) FROM t WHERE f(x) > 5") == [(91.0, 19.0)]
    con.execute("CREATE VIEW v AS SELECT f(x) AS y FROM t")
    assert rows(con, "SELECT count(*) FROM v WHERE y > 10 GROUP BY ALL") == [(5,)]
    assert con.execute("SELECT f(x) FROM t").description[0][0] == "f(x)"
    assert rows(con, "SELECT f(NULL)") == [(None,)]
    assert rows(con, "WITH w AS (SELECT F(1) a) SELECT a FROM w") == [(3.0,)]


def test_many_rows_go_through_the_kernel_and_agree(con: Any) -> None:
    make(con, "if x % 3 == 0:\n    return math.sqrt(x)\nreturn x // 7")
    found = rows(con, "SELECT sum(f(range)) FROM range(50000)")[0][0]
    wanted = sum(float(np.sqrt(x)) if x % 3 == 0 else x // 7 for x in range(50000))
    assert found == pytest.approx(wanted, rel=1e-12)


def test_what_a_kernel_cannot_tell_python_does(con: Any) -> None:
    make(con, "x * x // x", "f(x BIGINT) RETURNS BIGINT")
    sql = "SELECT max(f(range + 4000000000)) FROM range(1, 20000)"
    assert rows(con, sql) == [(4000019999,)]


def test_an_error_names_the_function_the_line_and_the_value(con: Any) -> None:
    make(con, "\nimport math\ndef f(x):\n    y = x - 9\n    return math.sqrt(y)\n")
    for sql in ("SELECT f(x) FROM t", "SELECT sum(f(range)) FROM range(20000)"):
        with pytest.raises(foveal.OperationalError) as caught:
            rows(con, sql)
        assert caught.value.sqlstate == "38000"
        assert "f() failed at line 5: ValueError: math domain error" in caught.value.message
        assert "return math.sqrt(y), called with x = 0.0" in str(caught.value.detail)
    assert rows(con, "SELECT f(x) FROM t WHERE x >= 9") == [(0.0,)]
    assert rows(con, "SELECT CASE WHEN x >= 9 THEN f(x) END FROM t ORDER BY x DESC LIMIT 1") == [
        (0.0,)
    ]


def test_a_value_that_does_not_fit(con: Any) -> None:
    make(con, "x * 10", "f(x BIGINT) RETURNS TINYINT")
    assert rows(con, "SELECT f(12)") == [(120,)]
    with pytest.raises(foveal.DataError, match="no TINYINT") as caught:
        rows(con, "SELECT f(13)")
    assert caught.value.sqlstate == "22003"
    make(con, "x / 2", "f(x BIGINT) RETURNS BIGINT")
    with pytest.raises(foveal.OperationalError, match=r"returned 2\.5 of type float"):
        rows(con, "SELECT f(5)")


def test_text_is_evaluated_once_per_distinct_value(con: Any) -> None:
    notices = make(con, "s.strip().title()", "f(s VARCHAR) RETURNS VARCHAR")
    assert notices == ["function f() runs as Python once per distinct value: line 1, s is VARCHAR"]
    assert rows(con, "SELECT DISTINCT f(' ab' || i % 2) FROM t ORDER BY 1") == [("Ab0",), ("Ab1",)]


def test_what_runs_as_python_is_said_when_it_runs(con: Any) -> None:
    make(con, "\n\nreturn round(x, 1)")
    assert rows(con, "SELECT f(2.345)") == [(2.3,)]
    assert ["line 3" in n.message for n in con.last_query().notices] == [True]


@pytest.mark.parametrize(
    ("kind", "text"),
    [("numpy", "np.sqrt(x) * 2"), ("pandas", "x ** 0.5 * 2"),
     ("arrow", "import pyarrow.compute as pc\ndef f(x): return pc.multiply(pc.sqrt(x), 2.0)")],
)  # fmt: skip
def test_functions_over_batches(con: Any, kind: str, text: str) -> None:
    if kind == "pandas":
        pytest.importorskip("pandas")
    make(con, text, more=f"TYPE {kind}")
    assert rows(con, "SELECT f(x) FROM t WHERE x = 4 OR x = 9 ORDER BY x") == [(4.0,), (6.0,)]
    assert rows(con, "SELECT f(CASE WHEN x = 4 THEN x END) s FROM t ORDER BY s LIMIT 1") == [(4.0,)]


def test_a_batch_of_another_length_is_refused(con: Any) -> None:
    make(con, "x[:1]", more="TYPE numpy")
    with pytest.raises(foveal.OperationalError, match=r"1 value\(s\) for 10 row\(s\)"):
        rows(con, "SELECT f(x) FROM t")


def test_null_input(con: Any) -> None:
    make(con, "0.0 if x is None else x", more="NULL INPUT")
    assert rows(con, "SELECT f(NULL), f(2)") == [(0.0, 2.0)]
    make(con, "None if x > 1 else x")
    assert rows(con, "SELECT f(1), f(2)") == [(1.0, None)]


def test_dates_lists_decimals(con: Any) -> None:
    make(con, "(b - a).days", "f(a DATE, b DATE) RETURNS BIGINT")
    assert rows(con, "SELECT f('2020-02-28', '2020-03-01')") == [(2,)]
    make(con, "sum(x)", "f(x DOUBLE[]) RETURNS DOUBLE")
    assert rows(con, "SELECT f([1.5, 2])") == [(3.5,)]
    make(con, "x * 2", "f(x DECIMAL(10, 2)) RETURNS DECIMAL(12, 2)")
    assert str(rows(con, "SELECT f(1.25)")[0][0]) == "2.50"


def test_the_loop_languages_own_text(con: Any) -> None:
    con.execute("CREATE FUNCTION g(x DOUBLE, y DOUBLE) RETURNS DOUBLE LANGUAGE ir AS 'x * y + 1.0'")
    assert rows(con, "SELECT sum(g(x, 2)) FROM t") == [(100.0,)]
    with pytest.raises(foveal.ProgrammingError):
        con.execute("CREATE FUNCTION h(x DOUBLE) RETURNS DOUBLE LANGUAGE ir AS 'x * nope'")


# --- definitions ---------------------------------------------------------------------------------


def test_definitions_follow_the_transaction(con: Any) -> None:
    make(con, "x + 1")
    con.execute("BEGIN")
    make(con, "x + 100")
    make(con, "x", "g(x DOUBLE) RETURNS DOUBLE")
    assert rows(con, "SELECT f(1), g(7)") == [(101.0, 7.0)]
    con.execute("ROLLBACK")
    assert rows(con, "SELECT f(1)") == [(2.0,)]
    with pytest.raises(foveal.ProgrammingError):
        rows(con, "SELECT g(7)")
    con.execute("BEGIN")
    con.execute("DROP FUNCTION f")
    con.execute("COMMIT")
    with pytest.raises(foveal.ProgrammingError):
        rows(con, "SELECT f(1)")


def test_functions_and_tables_have_names_of_their_own(con: Any) -> None:
    make(con, "x + 1", "t(x DOUBLE) RETURNS DOUBLE")
    assert rows(con, "SELECT t(x) FROM t LIMIT 1") == [(1.0,)]
    con.execute("DROP FUNCTION t")
    assert rows(con, "SELECT count(*) FROM t") == [(10,)]


def test_stored_functions_are_there_again(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    with foveal.connect(file) as con:
        make(con, "x + 1")
        make(con, "s.upper()", "up(s VARCHAR) RETURNS VARCHAR")
    with foveal.connect(file) as con:
        assert rows(con, "SELECT f(1), up('a')") == [(2.0, "A")]
    with foveal.connect(file, read_only=True) as con:
        assert rows(con, "SELECT f(1), up('a')") == [(2.0, "A")]


def test_other_peoples_python_does_not_run_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    with foveal.connect(file) as con:
        make(con, "x + 1")
        make(con, "s.upper()", "up(s VARCHAR) RETURNS VARCHAR")
    trusted_file().unlink()
    with foveal.connect(file) as con:
        assert rows(con, "SELECT f(1)") == [(2.0,)]  # translated: no Python of theirs is run
        with pytest.raises(foveal.ProgrammingError, match="may not run") as caught:
            rows(con, "SELECT up('a')")
        assert caught.value.sqlstate == "42501"
        assert "python_functions = 'on'" in str(caught.value.hint)
        con.execute("SET foveal.python_functions = 'on'")
        assert rows(con, "SELECT up('a')") == [("A",)]
        con.execute("SET foveal.python_functions = 'off'")
        with pytest.raises(foveal.ProgrammingError, match="may not run"):
            rows(con, "SELECT up('a')")


def test_the_catalog_lists_them(con: Any) -> None:
    make(con, "x * 2", more="COST 0.001")
    make(con, "s.upper()", "up(s VARCHAR) RETURNS VARCHAR")
    sql = ("SELECT name, argument, returns, language, translated, why, cost FROM foveal.functions "
           "WHERE language = 'python' ORDER BY name")  # fmt: skip
    assert rows(con, sql) == [
        ("f", "x DOUBLE", "DOUBLE", "python", True, None, 0.001),
        ("up", "s VARCHAR", "VARCHAR", "python", False, "line 1: s is VARCHAR", None),
    ]


F = "CREATE FUNCTION f"
D = "(x DOUBLE) RETURNS DOUBLE"
P = "LANGUAGE python"
ERRORS = [
    (f"{F}{D} {P} AS '(x'", "42601", "(", "text is"),
    (f"{F}(x DUBLE) RETURNS DOUBLE {P} AS 'x'", "42704", "DUBLE", "use"),
    (f"{F}(x DOUBLE) RETURNS POINT {P} AS 'x'", "42704", "POINT", "use"),
    (f"{F}{D} LANGUAGE lua AS 'x'", "42601", "lua", "python, ir"),
    (f"{F}{D} {P} 'x'", "42601", "'x'", "write CREATE"),
    (f"{F}{D} AS 'x'", "42601", "AS", "LANGUAGE python is missing"),
    (f"{F}(x DOUBLE) {P} AS 'x'", "42601", "AS", "RETURNS type is missing"),
    (f"{F}(x) RETURNS DOUBLE {P} AS 'x'", "42601", ")", "needs a type"),
    (f"{F}(x DOUBLE, X INT) RETURNS INT {P} AS 'x'", "42P13", "INT", None),
    (f"CREATE FUNCTION abs{D} {P} AS 'x'", "42723", "abs", "another"),
    (f"CREATE FUNCTION known{D} {P} AS 'x'", "42723", "known", "OR REPLACE"),
    (f"CREATE TEMP FUNCTION f{D} {P} AS 'x'", "0A000", "f", "TEMP"),
    (f"{F}{D} {P} COST -1 AS 'x'", "22023", "-1", None),
    (f"{F}{D} {P} AS 'def f(): return 1'", "42P13", "d", "text is"),
    ("DROP FUNCTION knwon", "42883", "knwon", 'did you mean "known"'),
    ("DROP MACRO known", "42809", "known", "DROP FUNCTION known"),
    ("CREATE MACRO known(a) AS a + 1", "42723", "known", "OR REPLACE FUNCTION"),
]


@pytest.mark.parametrize(("sql", "state", "place", "hint"), ERRORS)
def test_errors(con: Any, sql: str, state: str, place: str, hint: str | None) -> None:
    make(con, "x", "known(x DOUBLE) RETURNS DOUBLE")
    with pytest.raises(foveal.DatabaseError) as caught:
        con.execute(sql)
    error = caught.value
    assert error.sqlstate == state, error
    assert error.span is not None
    assert sql[error.span.start : error.span.end] == place
    assert hint is None or hint in str(error.hint)


def test_if_not_exists_and_if_exists(con: Any) -> None:
    con.execute("DROP FUNCTION IF EXISTS f")
    assert "does not exist, skipped" in con.last_query().notices[0].message
    make(con, "x")
    con.execute("CREATE FUNCTION IF NOT EXISTS f(x DOUBLE) RETURNS DOUBLE LANGUAGE python AS 'x+1'")
    assert rows(con, "SELECT f(1)") == [(1.0,)]


def test_duckdbs_macros_stay_duckdbs(con: Any) -> None:
    con.execute("CREATE FUNCTION m(a) AS a + 1")
    assert rows(con, "SELECT m(1)") == [(2,)]
    con.execute("DROP FUNCTION m")
    with pytest.raises(foveal.ProgrammingError):
        rows(con, "SELECT m(1)")


# --- given by Python -----------------------------------------------------------------------------


@foveal.udf
def tax(net: float, rate: float = 0.2) -> float:
    return net * rate if net > 3 else 0.0


def _increment(a: Any) -> Any:
    return a + 1


def test_decorated_functions(con: Any) -> None:
    con.create_function(tax)
    assert rows(con, "SELECT sum(tax(x, 0.5)) FROM t") == [(19.5,)]
    assert tax(10.0, 0.5) == 5.0
    con.create_function(_increment, "inc", parameters=["BIGINT"], returns="BIGINT")
    assert rows(con, "SELECT inc(41)") == [(42,)]
    with pytest.raises(foveal.ProgrammingError) as caught:
        con.execute("DROP FUNCTION tax")
    assert caught.value.sqlstate == "42809"


def test_given_functions_that_do_not_fit(con: Any) -> None:
    with pytest.raises(foveal.ProgrammingError, match='parameter "a" is not known'):
        con.create_function(_increment, "g")
    with pytest.raises(foveal.ProgrammingError) as caught:
        con.create_function(tax, "lower")
    assert caught.value.sqlstate == "42723"
    con.execute("BEGIN")
    with pytest.raises(foveal.ProgrammingError) as caught:
        con.create_function(tax)
    assert caught.value.sqlstate == "25001"


def test_split_functions_serve_batches(con: Any) -> None:
    xp: Any = foveal.annotated(np)

    @foveal.udf(parameters=["DOUBLE"], returns="DOUBLE", type="numpy")
    def f(x: Any) -> Any:
        return xp.sqrt(xp.multiply(x, x))

    con.create_function(f)
    assert rows(con, "SELECT sum(f(x)) FROM t") == [(45.0,)]


def test_registry_for_compiled_loops(con: Any) -> None:
    make(con, "x * 2")
    make(con, "s.upper()", "up(s VARCHAR) RETURNS VARCHAR")
    known = con.session.functions.scalar()
    assert isinstance(known["f"], IrFunction)
    assert isinstance(known["up"], DictionaryFunction)
    assert known["up"].parameters == (("s", "VARCHAR"),)
    assert known["up"].evaluate([pa.array(["a", None])]).to_pylist() == ["A", None]
