"""The lexical blocks agree with sqlglot's tree, on DuckDB's statements and on random queries."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from sqlglot import exp

from foveal.errors import FovealError, Span
from foveal.planner.parse.parser import parse
from foveal.planner.parse.split import split
from foveal.planner.parse.statement import Block, Clauses, Execute, Plain, Query

SCRIPT = (Path(__file__).parent / "duckdb_statements.sql").read_text(encoding="utf-8")
STATEMENTS = [SCRIPT[span.start : span.end] for span in split(SCRIPT)]
NAMES = frozenset({"t", "u", "x"})

# Valid DuckDB that sqlglot cannot read: over extension objects these are a syntax error of ours.
UNREAD = {"SELECT between FROM (SELECT 1 AS between), t"}

Shape = tuple[int, bool, int, int, bool, bool, bool, bool, bool]


def of_select(node: exp.Select) -> Shape:
    """The shape of a SELECT: items, FROM, conjuncts, keys, HAVING, QUALIFY, ORDER, LIMIT, DISTINCT.

    ORDER BY and LIMIT behind a set operation belong to the operation in sqlglot's tree, so within
    one they are not compared.
    """
    where, group = node.args.get("where"), node.args.get("group")
    conjuncts = 0
    if where is not None:
        found = where.this
        conjuncts = len(list(found.flatten(unnest=False))) if isinstance(found, exp.And) else 1
    keys = 0
    if group is not None:
        keys = len(group.expressions)
        keys += sum(len(group.args.get(k) or []) for k in ("rollup", "cube", "grouping_sets"))
        if group.args.get("all") or any(isinstance(key, exp.Star) for key in group.expressions):
            keys = 0
    outer = node.parent
    while isinstance(outer, exp.Subquery):
        outer = outer.parent
    in_set = isinstance(outer, exp.SetOperation)
    return (
        len(node.expressions),
        node.args.get("from_") is not None,
        conjuncts,
        keys,
        node.args.get("having") is not None,
        node.args.get("qualify") is not None,
        not in_set and node.args.get("order") is not None,
        not in_set and node.args.get("limit") is not None,
        node.args.get("distinct") is not None,
    )


def of_block(block: Block) -> Shape:
    return (
        len(block.items) or 1,
        block.from_ is not None,
        len(block.conjuncts),
        len(block.group_keys),
        block.having is not None,
        block.qualify is not None,
        not block.in_set and block.order_by is not None,
        not block.in_set and block.limit is not None,
        block.distinct,
    )


def is_made_up(node: exp.Select) -> bool:
    """Whether sqlglot wrote the SELECT itself: `WITH a AS (VALUES (1))` reads as SELECT * FROM."""
    source = node.args.get("from_")
    if source is None or not isinstance(node.parent, exp.CTE):
        return False
    return isinstance(source.this, exp.Values) and source.this.alias == "_values"


def assert_agree(query: Query) -> None:
    selects = [node for node in query.tree.find_all(exp.Select) if not is_made_up(node)]
    tree = Counter(of_select(node) for node in selects)
    assert Counter(of_block(block) for block in query.blocks) == tree


def assert_sound(query: Query) -> None:
    """Blanking keeps length and line breaks; spans lie in the text; blocks are ordered."""
    text = query.text
    assert len(query.blanked) == len(text)
    for before, after in zip(text, query.blanked, strict=True):
        assert after == before or (after == " " and before not in "\r\n")
    starts = [block.span.start for block in query.blocks]
    assert starts == sorted(starts)
    for index, block in enumerate(query.blocks):
        assert 0 <= block.span.start < block.span.end <= len(text)
        if block.parent is not None:
            assert block.parent < index
            outer = query.blocks[block.parent].span
            assert outer.start <= block.span.start
            assert block.span.end <= outer.end
    for node in query.tree.find_all(exp.Identifier):
        if "start" not in node.meta:
            continue
        start = query.query.start + node.meta["start"]
        named = text[start : query.query.start + node.meta["end"] + 1]
        assert named.strip("\"`'").replace('""', '"') == node.name


@pytest.mark.parametrize("text", STATEMENTS)
def test_without_extension_names_every_statement_is_duckdbs(text: str) -> None:
    assert parse(text, frozenset()) == Plain(text)
    # A name with a quote in it takes every text past the cheap first look.
    assert parse(text, frozenset({'no"where'})) == Plain(text)


@pytest.mark.parametrize("text", STATEMENTS)
def test_blocks_agree_with_sqlglot(text: str) -> None:
    if text in UNREAD:
        with pytest.raises(FovealError):
            parse(text, NAMES)
        return
    statement = parse(text, NAMES, frozenset({"p"}))
    if isinstance(statement, Query) and text != "COPY t TO 'x.csv' (HEADER, DELIMITER ',')":
        assert_agree(statement)
    if isinstance(statement, Query):
        assert_sound(statement)
    assert not isinstance(statement, Execute) or statement.name == "p"


def test_the_corpus_is_large() -> None:
    assert len(STATEMENTS) > 250


# --- random queries -------------------------------------------------------------------------------

EXPRESSIONS = (
    "a", "error", "gap", "t.budget", '"from"', "count(*)", "1", "'x;y'", "$$ from $$", "a + b * 2",
    "CASE WHEN a AND b THEN 1 ELSE 2 END", "extract(year FROM a)", "substring(a FROM 2)",
    "trim(BOTH ' ' FROM a)", "sum(a) FILTER (WHERE b > 1 AND a < 2)",
    "row_number() OVER (PARTITION BY a ORDER BY b LIMIT)".replace(" LIMIT", ""),
    "percentile_cont(0.5) WITHIN GROUP (ORDER BY a)", "[x FOR x IN l IF x > 1]", "{'a': 1, 'b': 2}",
    "list_filter(l, lambda x: x > 1 AND x < 3)", "a::INT[]", "l[1:2]", "a IS NOT DISTINCT FROM b",
    "any_value(a ORDER BY b)", "(a, b)", "bounds(0, 5)", "INTERVAL 5 DAYS", "/* FROM y */ a",
)  # fmt: skip
CONDITIONS = (
    "a = 1", "a BETWEEN 1 AND 2", "a NOT BETWEEN 1 AND 2", "NOT a", "(a AND b)", "(a OR b)",
    "CASE WHEN a AND b THEN c ELSE d END", "a IS DISTINCT FROM b", "error > 5", "gap < 5",
    "b LIKE '%AND%'", "a IN (1, 2)", "x.within = 1",
    "a BETWEEN (1) AND CASE WHEN b AND c THEN 1 END",
)  # fmt: skip
CLAUSES = {
    "error": ("ERROR WITHIN 0.1", "error within 5%", "Error Within -- why\n .5", "ERROR WITHIN $1"),
    "fnr": ("FNR WITHIN 0.05", "fnr within 5 %"),
    "fpr": ("FPR WITHIN .05",),
    "confidence": ("AT CONFIDENCE 95%", "at confidence .95", "AT CONFIDENCE 99"),
    "gap": ("GAP 300", "gap interval '10 seconds'", "GAP INTERVAL 2 MINUTES"),
    "budget": ("BUDGET 60 SECONDS", "budget 2000 calls"),
    "bounds": ("BOUNDS (0, 5)", "bounds (-1.5, +2)"),
}


@st.composite
def expressions(draw: DrawFn, depth: int) -> str:
    if depth and draw(st.integers(0, 5)) == 0:
        return f"({draw(queries(depth - 1))})"
    return draw(st.sampled_from(EXPRESSIONS))


@st.composite
def conditions(draw: DrawFn, depth: int) -> str:
    parts: list[str] = draw(st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=3))
    if depth and draw(st.integers(0, 4)) == 0:
        parts.append(f"EXISTS ({draw(queries(depth - 1))})")
    joins = draw(st.lists(st.sampled_from([" AND ", " and\n"]), min_size=3, max_size=3))
    return "".join(a + b for a, b in zip(parts, [*joins[: len(parts) - 1], ""], strict=True))


@st.composite
def tables(draw: DrawFn, depth: int) -> str:
    if depth and draw(st.integers(0, 3)) == 0:
        alias = draw(st.sampled_from(["x", "AS error", "gap", "bounds"]))
        return f"({draw(queries(depth - 1))}) {alias}"
    return draw(
        st.sampled_from(
            ("t", "t error", "t AS gap", "t x(a, b)", "range(5) r", "t JOIN u USING (a)",
             "foveal.x y",
             "t LEFT JOIN u ON t.a = u.a AND t.b = u.b", "t, u", "t bounds(a, b)", "t.frames",
             "t TABLESAMPLE 10%", "(VALUES (1), (2)) v(a)", "t NATURAL JOIN u budget")
        )
    )  # fmt: skip


@st.composite
def selects(draw: DrawFn, depth: int) -> str:
    keep = st.booleans()
    items = ", ".join(
        draw(expressions(depth)) + draw(st.sampled_from(["", " AS error", " gap", " AS y"]))
        for _ in range(draw(st.integers(1, 3)))
    )
    distinct = draw(st.sampled_from(["", "", "DISTINCT ", "DISTINCT ON (a, b) ", "ALL "]))
    table = draw(tables(depth))
    parts: list[str] = []
    if draw(keep):
        parts.append("WHERE " + draw(conditions(depth)))
    if draw(keep):
        parts.append("GROUP BY " + draw(st.sampled_from(["ALL", "a", "a, b", "f(a, b), c"])))
        if draw(keep):
            parts.append("HAVING count(*) > 1 AND sum(a) > 2")
    if draw(st.integers(0, 5)) == 0:
        parts.append("WINDOW w AS (PARTITION BY a ORDER BY b)")
    if draw(st.integers(0, 5)) == 0:
        parts.append("QUALIFY row_number() OVER (ORDER BY a) = 1")
    if draw(st.integers(0, 2)) == 0:
        parts.append(
            "ORDER BY " + draw(st.sampled_from(["ALL", "a DESC", "gap, error NULLS LAST"]))
        )
    limited = draw(keep)
    if limited:
        parts.append("LIMIT " + draw(st.sampled_from(["5", "10%", "5 OFFSET 2", "(SELECT 1)"])))
    chosen = draw(st.sets(st.sampled_from(sorted(CLAUSES)), max_size=4))
    if "confidence" in chosen and not chosen & {"error", "fnr", "fpr"}:
        chosen.add("error")
    if "bounds" in chosen:
        chosen.add("error")
    if not limited:
        chosen.discard("gap")
    for kind in draw(st.permutations(sorted(chosen))):
        where = draw(st.integers(0, len(parts)))
        parts.insert(where, draw(st.sampled_from(CLAUSES[kind])))
    if draw(st.integers(0, 3)) == 0 and not chosen:
        return " ".join([f"FROM {table} SELECT {distinct}{items}", *parts])
    return " ".join([f"SELECT {distinct}{items} FROM {table}", *parts])


@st.composite
def queries(draw: DrawFn, depth: int) -> str:
    body = draw(selects(depth))
    kind = draw(st.integers(0, 7))
    if kind == 0:
        other = draw(selects(max(0, depth - 1)))
        body = f"({body}) {draw(st.sampled_from(['UNION ALL', 'EXCEPT', 'INTERSECT']))} ({other})"
    elif kind == 1:
        body = f"SELECT 1 UNION ALL BY NAME {body}"
    elif kind == 2 and depth:
        body = f"WITH error AS ({draw(queries(depth - 1))}), gap(a) AS (SELECT 1) {body}"
    elif kind == 3:
        body = f"(({body}))"
    return body


def written_clauses(text: str) -> Counter[str]:
    """Count the clauses that the generator wrote, by their spelling."""
    found: Counter[str] = Counter()
    for kind, spellings in CLAUSES.items():
        found[kind] = sum(text.count(spelling) for spelling in spellings)
    return found


SLOW_TO_DRAW = (HealthCheck.too_slow, HealthCheck.data_too_large)


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW_TO_DRAW)
@given(queries(2))
def test_random_queries(text: str) -> None:
    statement = parse(text, NAMES)
    if isinstance(statement, Plain):
        assert not +written_clauses(text)
        return
    assert isinstance(statement, Query)
    assert_agree(statement)
    assert_sound(statement)
    found: Counter[str] = Counter()
    for block in statement.blocks:
        for kind in CLAUSES:
            clause = getattr(block.clauses, kind)
            if clause is None:
                continue
            found[kind] += 1
            span: Span = clause.span
            assert text[span.start : span.end] in CLAUSES[kind]
            assert statement.blanked[span.start : span.end].strip() == ""
    # BOUNDS (0, 5) may also be a call of a function of the user's.
    assert found == +written_clauses(text)
    owners = [b for b in statement.blocks if b.clauses != Clauses()]
    assert bool(owners) == bool(+found)
