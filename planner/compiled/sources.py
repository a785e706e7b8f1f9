"""FROM of one block as it is written: tables, sub-queries, how they are joined, on what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from foveal.errors import Span
from foveal.planner.compiled.reader import Reader
from foveal.planner.compiled.syntax import Syntax
from foveal.planner.parse.statement import Token

_JOINS: dict[tuple[str, ...], str] = {
    ("JOIN",): "inner", ("INNER", "JOIN"): "inner", ("CROSS", "JOIN"): "cross",
    ("LEFT", "JOIN"): "left", ("LEFT", "OUTER", "JOIN"): "left",
    ("RIGHT", "JOIN"): "right", ("RIGHT", "OUTER", "JOIN"): "right",
    ("FULL", "JOIN"): "full", ("FULL", "OUTER", "JOIN"): "full",
    ("SEMI", "JOIN"): "semi", ("ANTI", "JOIN"): "anti",
}  # fmt: skip
_NO_ALIAS = frozenset({
    "JOIN", "INNER", "CROSS", "LEFT", "RIGHT", "FULL", "SEMI", "ANTI", "NATURAL", "ASOF",
    "POSITIONAL", "ON", "USING", "TABLESAMPLE", "AT", "WHERE", "PIVOT", "UNPIVOT",
})  # fmt: skip
_QUERY_STARTS = frozenset({"SELECT", "FROM", "WITH", "VALUES", "TABLE"})


@dataclass(frozen=True, slots=True)
class Relation:
    """One item of FROM.

    `table`: its dotted name's words, folded; empty for a sub-query. `alias`: what qualifies its
    columns, folded. `span`: name and alias, or the sub-query with its brackets and alias; `query`:
    the sub-query with its brackets, where its columns are not renamed. `join`: how it is joined to
    those before it (comma for the first one too); `on`: the condition of the join.
    """

    table: tuple[str, ...]
    alias: str
    span: Span
    join: str = "comma"
    on: Syntax | None = None
    query: Span | None = None


def read_from(tokens: Sequence[Token], keys: Mapping[int, str], span: Span) -> tuple[Relation, ...]:
    """Return the items of FROM, whose contents stand at `span`.

    Raises:
        NotCompilable: it has forms other than tables, sub-queries and plain joins.
    """
    inside = [t for t in tokens if span.start <= t.start and t.end <= span.end]
    reader = Reader(inside, keys)
    found = [_relation(reader, "comma")]
    while reader.at < len(inside):
        if reader.op() == ",":
            reader.at += 1
            found.append(_relation(reader, "comma"))
            continue
        join = _join(reader)
        made = _relation(reader, join)
        on = None
        if join != "cross":
            reader.skip("ON")
            on = reader.expression(0)
        found.append(replace(made, join=join, on=on))
    return tuple(found)


def _join(reader: Reader) -> str:
    for size in (3, 2, 1):
        words = tuple(reader.word(i) for i in range(size))
        if words in _JOINS:
            reader.at += size
            return _JOINS[words]
    raise reader.refused()


def _relation(reader: Reader, join: str) -> Relation:
    start = reader.tokens[reader.at].start if reader.at < len(reader.tokens) else 0
    table: list[str] = []
    query: Span | None = None
    if reader.op() == "(":
        if reader.word(1) not in _QUERY_STARTS:
            raise reader.refused()
        depth = 0
        while True:
            depth += (reader.op() == "(") - (reader.op() == ")")
            reader.at += 1
            if depth == 0:
                break
        query = Span(start, reader.tokens[reader.at - 1].end)
    else:
        while True:
            if reader.kind() not in ("word", "quoted"):
                raise reader.refused()
            table.append(reader.tokens[reader.at].name.lower())
            reader.at += 1
            if reader.op() != ".":
                break
            reader.at += 1
        if reader.op() == "(":
            raise reader.refused("a table function")
    alias = table[-1] if table else ""
    if reader.word() == "AS":
        reader.at += 1
        alias = _alias(reader)
    elif reader.kind() == "quoted" or (reader.word() and reader.word() not in _NO_ALIAS):
        alias = _alias(reader)
    if reader.op() == "(":
        if table:
            raise reader.refused("columns renamed in FROM")
        while reader.op() != ")":
            reader.at += 1
        reader.at += 1
        query = None
    span = Span(start, reader.tokens[reader.at - 1].end)
    return Relation(tuple(table), alias, span, join, query=query)


def _alias(reader: Reader) -> str:
    if reader.kind() not in ("word", "quoted"):
        raise reader.refused()
    reader.at += 1
    return reader.tokens[reader.at - 1].name.lower()


def table_expressions(tokens: Sequence[Token]) -> frozenset[str]:
    """Return the folded names that WITH may give: they hide tables.

    Every `name AS (` and `name (..) AS (` counts, wherever it stands.
    """
    if not any(t.kind == "word" and t.text.upper() == "WITH" for t in tokens):
        return frozenset()
    found: set[str] = set()
    for i, token in enumerate(tokens):
        if token.kind != "word" or token.text.upper() != "AS" or i == 0:
            continue
        before = i - 1
        if tokens[before].text == ")":
            depth = 0
            while before >= 0:
                depth += (tokens[before].text == ")") - (tokens[before].text == "(")
                before -= 1
                if depth == 0:
                    break
        if before >= 0 and tokens[before].name:
            found.add(tokens[before].name.lower())
    return frozenset(found)
