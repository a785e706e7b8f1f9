"""One statement's text → its `Statement`: DuckDB's as it stands, or one of ours in parts.

The order: tokens; statements of our own; statements that wrap another (EXPLAIN, PREPARE, CREATE
VIEW); then queries, where a text that opens no clause of ours and names no extension object is
given back untouched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from foveal.errors import NotSupportedError, Span
from foveal.planner.parse.blocks import ClauseRun, scan_blocks
from foveal.planner.parse.clauses import blank, parameter_keys, parse_clauses
from foveal.planner.parse.grammar import branches, leaves, read
from foveal.planner.parse.lexer import fold, string_value, tokenize
from foveal.planner.parse.mentions import mentions
from foveal.planner.parse.openers import is_fcount, names_clause
from foveal.planner.parse.own import create_stored, parse_own, stored_header
from foveal.planner.parse.parts import is_op, word_at
from foveal.planner.parse.statement import (
    Block,
    Clauses,
    Execute,
    Explain,
    Plain,
    Prepare,
    Query,
    Statement,
    Token,
)
from foveal.planner.parse.tree import parse_tree
from foveal.planner.parse.wrappers import Wrapped, behind_bracket, find_word, unwrap

_OUR_WORDS = re.compile(
    "fcount|within|gap|budget|foveal|video|refresh|prox(?:y|ies)|function", re.IGNORECASE
)
_EXPLAIN_FORM = "EXPLAIN [VERBOSE | ANALYZE] [(FORMAT JSON)] query"


def parse(text: str, names: frozenset[str], prepared: frozenset[str] = frozenset()) -> Statement:
    """Return the statement that `text` is.

    `names`: the folded names of extension objects (video tables, stored views and macros);
    `prepared`: those of the prepared statements that foveal keeps.

    Raises:
        ProgrammingError: 42601, the text does not follow the grammar; its span says where.
        DataError: 22023, a clause's number is out of its range.
        NotSupportedError: 0A000, the statement is understood and not offered over video tables.
    """
    if not _may_be_ours(text, names | prepared):
        return Plain(text)
    tokens = tokenize(text)
    while tokens and is_op(tokens[-1], ";"):
        tokens = tokens[:-1]
    if not tokens:
        return Plain(text)
    return _parse(text, tokens, names, prepared)


def _may_be_ours(text: str, names: frozenset[str]) -> bool:
    """Say whether the text holds any word that could make it ours: a cheap first look.

    It keeps a script of many INSERTs as fast as it was, and its errors DuckDB's own.
    """
    if _OUR_WORDS.search(text):
        return True
    folded = fold(text)
    # A quote within a name is written twice, so such a name is not found as it stands.
    return any(name in folded or '"' in name or "`" in name for name in names)


def _parse(
    text: str, tokens: Sequence[Token], names: frozenset[str], prepared: frozenset[str]
) -> Statement:
    own = parse_own(text, tokens, names, prepared)
    if own is not None:
        return own
    first = word_at(tokens, 0)
    if first == "EXPLAIN":
        return _explain(text, tokens, names, prepared)
    if first == "PREPARE":
        return _prepare(text, tokens, names, prepared)
    behind_as = stored_header(tokens)
    is_ours = names_clause(tokens) or mentions(tokens, names)
    if not is_ours:
        return Plain(text)
    if behind_as is not None:
        stored = create_stored(text, tokens, behind_as)
        # The body is read now, so that its errors come with the definition.
        body = next(i for i in range(len(tokens)) if tokens[i].start == stored.body.start)
        if stored.kind == "scalar_macro":
            _query(text, tokens, Wrapped("select", body, len(tokens), is_query=False), "SELECT ")
        else:
            _parse(text, tokens[body:], names, prepared)
        return stored
    wrapped = unwrap(tokens)
    return Plain(text) if wrapped is None else _query(text, tokens, wrapped)


def _query(text: str, tokens: Sequence[Token], wrapped: Wrapped, prefix: str = "") -> Query:
    keys = parameter_keys(tokens)

    def clauses_of(runs: Sequence[ClauseRun], limited: bool) -> Clauses:
        return parse_clauses(tokens, runs, limited, keys)

    start, end = wrapped.start, wrapped.end
    span = Span(tokens[start].start, tokens[end - 1].end)
    if wrapped.is_name:
        blocks: tuple[Block, ...] = (_whole_table(span),)
    else:
        blocks = scan_blocks(tokens, start, end, clauses_of, is_query=wrapped.is_query)
    holes = [hole for block in blocks for hole in block.clauses.spans]
    prefix = "FROM " if wrapped.is_name else prefix
    if wrapped.kind == "pivot":
        # sqlglot reads no ORDER BY or LIMIT behind PIVOT; they name the result's columns only.
        end = find_word(tokens, start, frozenset({"ORDER", "LIMIT", "OFFSET"})) or end
    tree = parse_tree(tokens, start, end, span.start, keys, holes, prefix)
    fcounts = tuple(
        Span(tokens[i].start, tokens[i + 3].end) for i in range(len(tokens)) if is_fcount(tokens, i)
    )
    parameters = tuple(
        (Span(token.start, token.end), keys[token.start])
        for token in tokens
        if token.kind == "param"
    )
    return Query(
        text=text,
        blanked=blank(text, holes),
        kind=wrapped.kind,
        query=span,
        tree=tree,
        tokens=tuple(tokens),
        blocks=blocks,
        fcounts=fcounts,
        parameters=parameters,
    )


def _whole_table(name: Span) -> Block:
    """Return the block of `FROM name`, for statements that name a table in a query's place."""
    return Block(
        span=name, depth=0, parent=None, items=(), distinct=False, from_=name, where=None,
        conjuncts=(), group_by=None, group_keys=(), having=None, window=None, qualify=None,
        order_by=None, limit=None, offset=None, in_set=False, clauses=Clauses(),
    )  # fmt: skip


def _explain(
    text: str, tokens: Sequence[Token], names: frozenset[str], prepared: frozenset[str]
) -> Statement:
    behind = 1
    while word_at(tokens, behind) in ("VERBOSE", "ANALYZE"):
        behind += 1
    if is_op(tokens[behind] if behind < len(tokens) else None, "(") and word_at(
        tokens, behind + 1
    ) in ("FORMAT", "ANALYZE", "VERBOSE"):
        behind = behind_bracket(tokens, behind)
    rest = tokens[behind:]
    if not rest:
        return Plain(text)
    head = Span(tokens[0].start, tokens[behind - 1].end)
    inner = _parse(blank(text, [head]), rest, names, prepared)
    if isinstance(inner, Plain):
        return Plain(text)
    if not isinstance(inner, Query | Execute):
        raise NotSupportedError(
            "EXPLAIN shows the plan of a query, and this is none",
            span=Span(rest[0].start, rest[0].end),
            hint=f"write {_EXPLAIN_FORM}",
        )
    node = read("explain", tokens, 0, behind, _EXPLAIN_FORM)
    options = {
        str(leaf).lower() for part in branches(node, "explain_option") for leaf in leaves(part)
    }
    form = "text"
    for item in branches(node, "explain_item"):
        values = [leaf for value in branches(item, "value") for leaf in leaves(value)]
        value = (
            string_value(tokenize(values[0])[0])
            if values and values[0].type == "STRING"
            else (str(values[0]) if values else "true")
        )
        words = [str(leaf).lower() for leaf in leaves(item)]
        if not words:
            form = value.lower()
        elif value.lower() not in ("false", "off", "0"):
            options.add(words[0])
    if form not in ("text", "json"):
        raise NotSupportedError(
            f'EXPLAIN has no format "{form}" for video queries',
            span=head,
            hint="write FORMAT TEXT or FORMAT JSON",
        )
    return Explain(text, "analyze" in options, "verbose" in options, form, inner)


def _prepare(
    text: str, tokens: Sequence[Token], names: frozenset[str], prepared: frozenset[str]
) -> Statement:
    behind = next((i + 1 for i in range(len(tokens)) if word_at(tokens, i) == "AS"), len(tokens))
    rest = tokens[behind:]
    if not rest:
        return Plain(text)
    inner = _parse(
        blank(text, [Span(tokens[0].start, tokens[behind - 1].end)]), rest, names, prepared
    )
    if isinstance(inner, Plain):
        return Plain(text)
    node = read("prepare", tokens, 0, behind, "PREPARE name AS query")
    leaf = leaves(branches(node, "name")[0])[0]
    base = tokens[0].start
    span = Span(base + (leaf.start_pos or 0), base + (leaf.end_pos or 0))
    return Prepare(text, tokenize(str(leaf))[0].name, span, Span(rest[0].start, rest[-1].end))
