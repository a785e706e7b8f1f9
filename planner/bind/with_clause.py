"""The WITH clause that a block must bring along when it is taken out of its statement."""

from __future__ import annotations

from sqlglot import exp

from foveal.errors import Span
from foveal.planner.bind.references import identifier_span, visible_ctes
from foveal.planner.bind.source import close_of
from foveal.planner.parse.statement import Block, Query


def inside(span: Span, area: Span) -> bool:
    """Whether `span` lies within `area`."""
    return area.start <= span.start and span.end <= area.end


def carried_with(query: Query, block: Block, select: exp.Select) -> Span | None:
    """Return the nearest WITH clause before the block whose names its text mentions, or None."""
    words = {
        t.name.lower()
        for t in query.tokens
        if t.kind in ("word", "quoted") and inside(Span(t.start, t.end), block.span)
    }
    own = select.args.get("with_") or select.args.get("with")
    known = {cte.alias.lower() for cte in own.expressions} if own is not None else set[str]()
    if not (known | set(visible_ctes(select))) & words:
        return None
    node: exp.Expr | None = select
    while node is not None:
        held = node.args.get("with_") or node.args.get("with")
        if held is not None:
            span = _span(query, held)
            if span is not None and span.end <= block.span.start:
                return span  # only the nearest one: DuckDB allows one per query
        node = node.parent
    return None


def _span(query: Query, held: exp.Expr) -> Span | None:
    base = query.query.start
    first = identifier_span(held.expressions[0].args["alias"].this, base)
    end = _end_of_cte(query, held.expressions[-1], base)
    if first is None or end is None:
        return None
    before = [t for t in query.tokens if t.end <= first.start]
    opener = before[-2] if before[-1].text.lower() == "recursive" else before[-1]
    return Span(opener.start, end)


def _end_of_cte(query: Query, cte: exp.CTE, base: int) -> int | None:
    name = identifier_span(cte.args["alias"].this, base)
    if name is None:
        return None
    tokens = tuple(t for t in query.tokens if t.start >= name.end)
    for i, token in enumerate(tokens):
        if token.text.lower() == "as":
            for j in range(i + 1, len(tokens)):
                if tokens[j].text == "(":
                    return tokens[close_of(tokens, j)].end
    return None
