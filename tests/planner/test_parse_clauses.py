"""Clauses: every spelling, parameters, words that are also names, texts of any kind."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from foveal.errors import FovealError, Span
from foveal.planner.parse.parser import parse
from foveal.planner.parse.statement import (
    Bounds,
    Budget,
    Clauses,
    Confidence,
    ErrorBound,
    Gap,
    Parameter,
    Plain,
    Query,
    RateBound,
)

NAMES = frozenset({"street"})


def query(text: str) -> Query:
    found = parse(text, NAMES)
    assert isinstance(found, Query)
    return found


def only(tail: str) -> Clauses:
    (block,) = query(f"SELECT a FROM street {tail}").blocks
    return block.clauses


def at(text: str) -> Span:
    return Span(21, 21 + len(text))


@pytest.mark.parametrize(
    ("text", "value", "relative"),
    [
        ("ERROR WITHIN 0.1", 0.1, False),
        ("error within 5%", 5, True),
        ("Error Within .5 %", 0.5, True),
        ("ERROR WITHIN +1e-2", 0.01, False),
        ("ERROR /* x */ WITHIN -- y\n 1_000", 1000, False),
    ],
)
def test_error(text: str, value: float, relative: bool) -> None:
    assert only(text).error == ErrorBound(pytest.approx(value), relative, at(text))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("text", "value", "percent"),
    [
        ("AT CONFIDENCE 95%", 95, True),
        ("at confidence .95", 0.95, False),
        ("AT CONFIDENCE 99.9", 99.9, False),
        ("AT CONFIDENCE 0.5%", 0.5, True),
        ("AT CONFIDENCE 1%", 1, True),
    ],
)
def test_confidence(text: str, value: float, percent: bool) -> None:
    assert only(text + " ERROR WITHIN 1").confidence == Confidence(value, percent, at(text))


def test_rates() -> None:
    clauses = only("FNR WITHIN 5% FPR WITHIN 0.05")
    assert clauses.fnr == RateBound("fnr", 5, True, Span(21, 34))
    assert clauses.fpr == RateBound("fpr", 0.05, False, Span(35, 50))


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("GAP 300", 300, "frames"),
        ("gap interval 10 seconds", 10, "seconds"),
        ("GAP INTERVAL '2' MINUTES", 120, "seconds"),
        ("GAP INTERVAL '1.5 hours'", 5400, "seconds"),
        ("GAP INTERVAL 500 milliseconds", 0.5, "seconds"),
        ("GAP INTERVAL '1 day'", 86400, "seconds"),
        ("GAP INTERVAL $$3 seconds$$", 3, "seconds"),
    ],
)
def test_gap(text: str, value: float, unit: str) -> None:
    for tail in (f"LIMIT 10 {text}", f"LIMIT 10 OFFSET 5 {text}", f"{text} LIMIT 10"):
        gap = only(tail).gap
        assert gap is not None
        assert (gap.value, gap.unit) == (pytest.approx(value), unit)


@pytest.mark.parametrize(
    "text",
    [
        "GAP INTERVAL 10",
        "GAP INTERVAL '10'",
        "GAP INTERVAL 'x seconds'",
        "GAP INTERVAL ''",
        "GAP INTERVAL 1e999 SECONDS",
        "GAP 0",
        "GAP INTERVAL '1 2 3'",
    ],
)
def test_gap_refused(text: str) -> None:
    with pytest.raises(FovealError) as caught:
        only(f"LIMIT 10 {text}")
    assert caught.value.sqlstate in ("22023", "42601")
    assert caught.value.hint


def test_budget_and_bounds() -> None:
    clauses = only("BUDGET 60 SECOND BOUNDS (-1.5, +2) ERROR WITHIN 1")
    assert clauses.budget == Budget(60, "seconds", Span(21, 37))
    assert clauses.bounds == Bounds(-1.5, 2, Span(38, 55))
    calls = only("BUDGET 2_000 CALLS").budget
    assert calls == Budget(2000, "calls", Span(21, 39))


def test_parameters() -> None:
    text = (
        "SELECT ?, a FROM street WHERE b = ? ERROR WITHIN ?% AT CONFIDENCE ? "
        "BOUNDS (?, ?) BUDGET ? CALLS LIMIT ? GAP ?"
    )
    found = query(text)
    (block,) = found.blocks
    keys = [key for _, key in found.parameters]
    assert keys == [str(n) for n in range(1, 10)]
    assert [text[span.start : span.end] for span, _ in found.parameters] == ["?"] * 9
    clauses = block.clauses
    assert clauses.error == ErrorBound(Parameter("3"), True, Span(36, 51))
    assert clauses.confidence is not None
    assert clauses.confidence.value == Parameter("4")
    assert clauses.bounds is not None
    assert (clauses.bounds.low, clauses.bounds.high) == (Parameter("5"), Parameter("6"))
    assert clauses.budget is not None
    assert clauses.budget.value == Parameter("7")
    assert clauses.gap == Gap(Parameter("9"), "frames", Span(len(text) - 5, len(text)))
    places = {node.name: node.meta["start"] for node in found.tree.find_all(exp.Placeholder)}
    assert places == {"1": 7, "2": 34, "8": text.index("LIMIT") + 6}


def test_named_and_numbered_parameters() -> None:
    found = query("SELECT $1,$2,$1,f($2::INT) FROM street LIMIT 5 GAP INTERVAL $2 SECONDS")
    assert [key for _, key in found.parameters] == ["1", "2", "1", "2", "2"]
    assert sorted(node.name for node in found.tree.find_all(exp.Placeholder)) == [
        "1",
        "1",
        "2",
        "2",
    ]
    named = query("SELECT $a FROM street FNR WITHIN $b FPR WITHIN $b%")
    assert [key for _, key in named.parameters] == ["a", "b", "b"]
    assert named.blocks[0].clauses.fpr == RateBound("fpr", Parameter("b"), True, Span(36, 50))


def test_stand_ins_keep_meaning() -> None:
    found = query("SELECT 0x1F, 1_000, `a`, 0xFFFFFFFFFFFFFFFF_, 1 AS select FROM street")
    assert [node.name for node in found.tree.find_all(exp.Literal)][:2] == ["31", "1000"]
    assert "a" in {node.name for node in found.tree.find_all(exp.Identifier)}
    assert found.tree.find(exp.Alias) is not None


@pytest.mark.parametrize(
    "text",
    [
        "SELECT error within 0.1 FROM t",
        "SELECT a, error within 0.1 FROM t",
        "SELECT x FROM error within 0.1",
        "SELECT * FROM t, error within 0.1",
        "SELECT * FROM t ERROR WITHIN abc",
        "SELECT * FROM t AT CONFIDENCE 95",
        "SELECT * FROM t GAP 5",
        "SELECT * FROM t BUDGET 5 PARSECS",
        "SELECT * FROM t BOUNDS (0, 5)",
        "SELECT * FROM t WHERE t.error within 0.1 = 1",
        "SELECT * FROM t LIMIT 5 GAP",
        "SELECT fcount(a) FROM t",
        "SELECT s.fcount(*) FROM t",
        "SELECT f(error := 5) FROM t",
        "SELECT * FROM t JOIN error within 0.1",
    ],
)
def test_false_friends_are_duckdbs(text: str) -> None:
    assert parse(text, NAMES) == Plain(text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM t ERROR WITHIN 0.1",
        'SELECT "fcount"(*) FROM t',
        "SELECT a FROM t LIMIT 5 GAP 300",
        "SELECT a FROM t BUDGET 5 CALLS",
        "SELECT a FROM t FNR WITHIN ?",
        "SELECT a FROM Street",
        'SELECT a FROM "STREET"',
        "SELECT fCount(*)",
        "SELECT 1 ERROR WITHIN 0.1",
        "SELECT a FROM x.street.y",
    ],
)
def test_ours(text: str) -> None:
    assert isinstance(parse(text, NAMES), Query)


def test_words_of_ours_as_names_beside_clauses() -> None:
    text = (
        "SELECT error.gap AS budget, bounds(0, 5) confidence FROM street error "
        "WHERE error.fnr > 1 AND within = 2 ERROR WITHIN 0.1 GROUP BY gap, budget "
        "BUDGET 5 SECONDS ORDER BY error AT CONFIDENCE 95% LIMIT 5"
    )
    (block,) = query(text).blocks
    assert [text[s.start : s.end] for s in block.items] == [
        "error.gap AS budget",
        "bounds(0, 5) confidence",
    ]
    assert block.from_ is not None
    assert text[block.from_.start : block.from_.end] == "street error"
    assert len(block.conjuncts) == len(block.group_keys) == 2
    assert len(block.clauses.spans) == 3


def test_blanking_keeps_line_breaks() -> None:
    text = "SELECT a\r\nFROM street ERROR\r\nWITHIN\n0.1 -- é\nWHERE b = 'ERROR WITHIN 1'"
    found = query(text)
    assert (
        found.blanked
        == "SELECT a\r\nFROM street      \r\n      \n    -- é\nWHERE b = 'ERROR WITHIN 1'"
    )


def test_deep_nesting_is_an_error_of_ours() -> None:
    text = "SELECT " + "(" * 3000 + "1" + ")" * 3000 + " FROM street"
    with pytest.raises(FovealError) as caught:
        parse(text, NAMES)
    assert caught.value.sqlstate == "54001"


# The words that random statements are made of.
WORDS = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "BY",
    "HAVING",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "UNION",
    "ALL",
    "WITH",
    "AS",
    "street",
    "t",
    "a",
    "b",
    "error",
    "ERROR",
    "WITHIN",
    "0.1",
    "5",
    "%",
    "AT",
    "CONFIDENCE",
    "95",
    "GAP",
    "300",
    "INTERVAL",
    "'5 seconds'",
    "BUDGET",
    "SECONDS",
    "CALLS",
    "BOUNDS",
    "(",
    ")",
    ",",
    "FCOUNT(*)",
    "*",
    "=",
    "AND",
    "OR",
    "BETWEEN",
    "CASE",
    "WHEN",
    "THEN",
    "END",
    "?",
    "$1",
    "$a",
    "[",
    "]",
    "{",
    "}",
    ";",
    ".",
    "::",
    "->",
    "'x'",
    '"q"',
    "CREATE",
    "VIDEO",
    "TABLE",
    "VIEW",
    "MACRO",
    "DROP",
    "REFRESH",
    "SET",
    "SHOW",
    "RESET",
    "foveal",
    ".",
    "seed",
    "EXPLAIN",
    "ANALYZE",
    "PREPARE",
    "EXECUTE",
    "kept",
    "COPY",
    "TO",
    "INSERT",
    "INTO",
    "VALUES",
    "DESCRIBE",
    "PIVOT",
    "ON",
    "USING",
    "FNR",
    "FPR",
    "DISTINCT",
    "EXCEPT",
    "QUALIFY",
    "WINDOW",
    "JOIN",
    "IN",
    "NOT",
    "IS",
    "-",
    "+",
    "/*",
    "*/",
    "--",
    "x'ab'",
    "0x1F",
    "`z`",
    "e'\\n'",
    "$$",
    "TRIM(",
    "EXTRACT(",
    "RETURNING",
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=25))
@example(["FROM", "street", "ERROR", "WITHIN"])
@example(["CREATE", "VIEW", "street", "AS"])
@example(["COPY", "street"])
@example(["COPY", "(", ")", "street"])
@example(["DESCRIBE", "street", "."])
@example(["INSERT", "INTO", "street", "VALUES"])
@example(["WITH", "street"])
@example(["CREATE", "MACRO", "street", "AS", "VIEW"])
@example(["EXPLAIN", "(", "ANALYZE", "street"])
@example(["CREATE", "TABLE", "AS", "FROM", "street", "WITH", "DATA"])
def test_any_words_raise_only_our_errors(words: list[str]) -> None:
    text = " ".join(words)
    try:
        parse(text, NAMES, frozenset({"kept"}))
    except FovealError as error:
        if error.span is not None:
            assert 0 <= error.span.start <= error.span.end <= len(text), error.span  # noqa: PT017


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_raises_only_our_errors(text: str) -> None:
    for candidate in (text, f"SELECT FCOUNT(*) FROM street {text}", f"SELECT {text} FROM street"):
        try:
            parse(candidate, NAMES)
        except FovealError as error:
            assert str(error)  # noqa: PT017
