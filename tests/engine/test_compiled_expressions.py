"""Expressions within compiled blocks give DuckDB's values, types and errors, one by one."""

from collections.abc import Iterator
from typing import Any

import pytest

import foveal

COMPILED = (
    # numbers
    "i + 1", "i - n", "n * 2", "-i", "abs(i)", "i // 3", "i % 3", "i / 4", "x / 2", "i ** 2",
    "d + 1", "d * 2.5", "d - i", "d / 2", "d * d", "0.05 + d", "sign(x)",
    "least(i, n)", "greatest(x, 1.5)", "x + d", "1e3 + i", "-1.5 * x",
    "floor(x)", "ceil(x)", "round(x)", "trunc(x)", "sqrt(abs(x))", "exp(x / 100)", "pow(x, 2)",
    "ln(abs(x) + 1)", "log10(abs(x) + 1)", "log2(abs(x) + 1)", "sin(x)", "cos(x)", "tan(x)",
    "atan(x)", "isnan(x)", "cbrt(x)",
    # conditions
    "i > 2 AND n < 50", "NOT b", "b OR x > 0", "i BETWEEN 2 AND 5", "i NOT BETWEEN 2 AND 5",
    "i IN (1, 2, 5)", "i NOT IN (1, NULL)", "n IS NULL", "n IS NOT NULL", "b IS TRUE",
    "n IS DISTINCT FROM i", "n IS NOT DISTINCT FROM 3", "x <> 2", "d >= 1.25", "i != 3", "i == 3",
    # choices
    "CASE WHEN n IS NULL THEN 0 WHEN n > 50 THEN 2 ELSE 1 END", "CASE i WHEN 1 THEN 10 END",
    "coalesce(n, i, 0)", "ifnull(n, -1)", "nullif(i, 3)", "if(b, i, n)", "CASE WHEN b THEN d END",
    # conversions
    "i::DOUBLE", "CAST(x AS INTEGER)", "d::INTEGER", "i::DECIMAL(10,2)", "x::FLOAT", "b::INTEGER",
    "i::TINYINT", "d::DECIMAL(6,1)", "i::BOOLEAN",
    # dates
    "day + 1", "day - 3", "day - DATE '2020-01-01'", "year(day)", "extract(month FROM day)",
    "date_part('day', day)", "quarter(day)", "dayofweek(day)", "day >= DATE '2020-06-01'",
    "day < DATE '2020-03-01' + INTERVAL '1' MONTH", "hour(moment)", "minute(moment)",
    "year(moment)", "moment > TIMESTAMP '2020-01-02 03:04:05'",
    "day IN (DATE '2020-01-05', DATE '2020-02-05')",
    "day BETWEEN '2020-01-01' AND '2020-04-01'",
    # strings, by their dictionary
    "s = 'b'", "s <> 'b'", "s IN ('a', 'cc')", "s LIKE 'c%'", "s NOT LIKE '%c'", "s < 'b'",
    "length(s)", "upper(s) = 'A'", "substring(s, 1, 1) = 'c'", "starts_with(s, 'c')",
    "s || 'x' = 'bx'", "regexp_matches(s, '^[ab]')", "s IS NULL", "contains(s, 'c')",
)  # fmt: skip

REFUSED = ("+i", "i & 3", "i | 8", "i << 2", "i >> 1", "TRY_CAST(i AS BIGINT)", "i::VARCHAR")
"""What DuckDB runs also where programs are wanted."""

RAISING = (
    "t + 100::TINYINT",
    "-t * 2::TINYINT",
    "i // (i - i)",
    "i % (i - i)",
    "(i * 300)::TINYINT",
)


@pytest.fixture(scope="module")
def con() -> Iterator[Any]:
    connection = foveal.connect()
    connection.execute(
        "CREATE TABLE t AS SELECT (range % 4)::INTEGER AS g, (range % 7)::INTEGER AS i, "
        "CASE WHEN range % 5 > 0 THEN (range * 37 % 101)::BIGINT END AS n, "
        "CASE WHEN range % 6 > 0 THEN (range % 13) / 4 - 1.5 END::DOUBLE AS x, "
        "((range % 900) / 100)::DECIMAL(8,2) AS d, range % 3 = 0 AS b, "
        "(range % 120)::TINYINT AS t, DATE '2020-01-01' + (range % 200)::INTEGER AS day, "
        "TIMESTAMP '2020-01-01' + INTERVAL (range * 977) SECOND AS moment, "
        "CASE WHEN range % 9 > 0 THEN ['a', 'b', 'cc'][range % 3 + 1] END AS s FROM range(3000)"
    )
    yield connection
    connection.close()


def answers(con: Any, mode: str, sql: str) -> tuple[list[Any], list[str]]:
    con.execute(f"SET foveal.compile = '{mode}'")
    cursor = con.execute(sql)
    return cursor.fetchall(), [str(column[1]) for column in cursor.description]


@pytest.mark.parametrize("expression", [*COMPILED, *REFUSED])
def test_an_expression_is_equal(con: Any, expression: str) -> None:
    sql = f"SELECT g, min({expression}), max({expression}), count({expression}) FROM t GROUP BY g"
    wanted = answers(con, "off", f"{sql} ORDER BY g")
    found = answers(con, "on", f"{sql} ORDER BY g")
    assert (con.last_query().plan_kind == "compiled") == (expression in COMPILED)
    assert found[1] == wanted[1]
    for ours, theirs in zip(found[0], wanted[0], strict=True):
        for one, other in zip(ours, theirs, strict=True):
            close = isinstance(other, float) and one == pytest.approx(other, rel=1e-12, nan_ok=True)
            assert one == other or close


@pytest.mark.parametrize("expression", RAISING)
def test_an_expression_raises_as_in_duckdb(con: Any, expression: str) -> None:
    said: list[str] = []
    for mode in ("off", "on"):
        con.execute(f"SET foveal.compile = '{mode}'")
        with pytest.raises(foveal.Error) as raised:
            con.execute(f"SELECT g, max({expression}) FROM t GROUP BY g").fetchall()
        said.append(str(raised.value))
    assert said[0] == said[1]
