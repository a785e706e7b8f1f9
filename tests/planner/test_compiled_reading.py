"""Expressions of SQL as compiled programs read them: precedence, refusals, places."""

import duckdb
import pytest

from foveal.planner.compiled.reading import Reading, read_statement
from foveal.planner.compiled.refusal import NotCompilable
from foveal.planner.compiled.syntax import Syntax, conjuncts


def reading(sql: str) -> Reading:
    return read_statement(sql)


def expression(text: str) -> Syntax:
    found = reading(f"SELECT {text} AS x FROM t")
    return found.items(found.blocks[0])[0].expr


def written(node: Syntax) -> str:
    """Return an expression with a bracket round every part."""
    match node.kind:
        case "op" if len(node.parts) == 1:
            return f"({'-' if node.text == 'neg' else node.text + ' '}{written(node.parts[0])})"
        case "op":
            return f"({written(node.parts[0])} {node.text} {written(node.parts[1])})"
        case "between":
            x, low, high = map(written, node.parts)
            return f"({x} {node.text} between {low} and {high})"
        case "cast":
            return f"({written(node.parts[0])}::{node.text})"
        case _:
            return node.text or node.kind


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3 - 4", "((1 + (2 * 3)) - 4)"),
        ("- 2 ^ 2", "(-2 ^ 2)"),
        ("10 % 3 * 2 // 3", "(((10 % 3) * 2) // 3)"),
        ("2 ^ 3 ^ 2", "((2 ^ 3) ^ 2)"),
        ("5 - - 3", "(5 - -3)"),
        ("NOT 1 = 2", "(not (1 = 2))"),
        ("true OR false AND false", "(true or (false and false))"),
        ("1 + 2 < 4 AND NOT 1 > 2 OR false", "((((1 + 2) < 4) and (not (1 > 2))) or false)"),
        ("3 BETWEEN 1 + 1 AND 2 * 2 AND true", "((3  between (1 + 1) and (2 * 2)) and true)"),
        ("-1::integer", "(-(1::integer))"),
        ("(1 + 2) * 3", "((1 + 2) * 3)"),
    ],
)
def test_operators_bind_as_in_duckdb(text: str, value: str) -> None:
    found = written(expression(text))
    assert found == value
    ours, theirs = duckdb.execute(f"SELECT {found}, {text}").fetchall()[0]
    assert ours == theirs


@pytest.mark.parametrize(
    "text",
    ["1 = 1 IS NULL", "1 < 2 = true", "1 IN (1) = true", "x COLLATE nocase", "sum(x) OVER ()",
     "[1, 2]", "{'a': 1}", "x -> 1", "list_transform(l, y -> y + 1)", "CURRENT_DATE", "x[1]",
     "'1' '2'", "sum(x ORDER BY y)", "a.b.c.f(1)", "x::INTEGER[]", "INTERVAL '1 day 2 hours'",
     "position('a' IN s)", "+ 1"],
)  # fmt: skip
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(NotCompilable):
        expression(text)


def test_parts_know_their_places() -> None:
    sql = "SELECT a, sum(b * (1 - c)) FILTER (WHERE d > 0) + 1 AS s FROM t"
    found = reading(sql)
    total = found.items(found.blocks[0])[1].expr.parts[0]
    assert sql[total.span.start : total.span.end] == "sum(b * (1 - c)) FILTER (WHERE d > 0)"
    assert total.filter is not None
    assert sql[total.filter.span.start : total.filter.span.end] == "d > 0"


def test_equal_parts_are_equal_wherever_they_stand() -> None:
    assert expression("Sum( A + 1 )") == expression("sum(a+1)")
    assert expression("(a + 1)") == expression("a + 1")
    assert expression("a + 1") != expression("1 + a")


def test_what_arms_of_an_or_share_comes_out() -> None:
    found = [written(c) for c in conjuncts(expression("(a = b AND c < 1) OR (c > 5 AND a = b)"))]
    assert found == ["(a = b)", "((c < 1) or (c > 5))"]
    assert [written(c) for c in conjuncts(expression("a = b AND c OR a = b"))] == ["(a = b)"]


def test_statements_that_hold_no_program() -> None:
    for sql in (
        "INSERT INTO t SELECT sum(a) FROM u",
        "SELECT sum(a) FROM t USING SAMPLE 10",
        "WITH RECURSIVE r AS (SELECT 1) SELECT count(*) FROM r",
        "SELECT 'open",
        "SELECT count(*) FROM t TABLESAMPLE 10%",
    ):
        with pytest.raises(NotCompilable):
            read_statement(sql)
