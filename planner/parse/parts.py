"""Runs of tokens → what they are: keyword or name, end of an operand, list items, conjuncts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from foveal.errors import Span
from foveal.planner.parse.statement import Token

OPENING = frozenset("([{")
CLOSING = {")": "(", "]": "[", "}": "{"}

# After one of these words an operand must still come, so that what follows is a name.
_BEFORE_OPERAND = frozenset({
    "SELECT", "DISTINCT", "FROM", "WHERE", "AND", "OR", "NOT", "IN", "LIKE", "ILIKE", "GLOB",
    "SIMILAR", "BETWEEN", "IS", "BY", "HAVING", "ON", "WHEN", "THEN", "ELSE", "CASE", "LIMIT",
    "OFFSET", "JOIN", "AS", "QUALIFY", "WINDOW", "UNION", "INTERSECT", "EXCEPT", "USING", "WITH",
    "ESCAPE", "COLLATE", "VALUES", "SET", "INTO", "TABLE", "RETURNING", "INTERVAL", "ANY", "SOME",
    "EXISTS", "TO",
})  # fmt: skip


def upper(token: Token) -> str:
    """Return a word's text in upper case, and "" for every other kind of token."""
    return token.text.upper() if token.kind == "word" else ""


def is_op(token: Token | None, text: str) -> bool:
    """Say whether `token` is the operator or bracket `text`."""
    return token is not None and token.kind == "op" and token.text == text


def at(tokens: Sequence[Token], index: int) -> Token | None:
    """Return the token at `index`, or None outside of the run."""
    return tokens[index] if 0 <= index < len(tokens) else None


def word_at(tokens: Sequence[Token], index: int) -> str:
    """Return the upper-case word at `index`, or ""."""
    token = at(tokens, index)
    return upper(token) if token is not None else ""


def is_keyword(tokens: Sequence[Token], index: int, *, in_items: bool = False) -> bool:
    """Say whether the word at `index` may be a keyword: not after a dot, nor a label after AS.

    A label may be a reserved word (`SELECT 1 AS from`) only within a select list.
    """
    if is_op(at(tokens, index - 1), "."):
        return False
    if in_items and word_at(tokens, index - 1) == "AS":
        return False
    following = at(tokens, index + 1)
    return not (is_op(following, ":=") or is_op(following, "=>"))


def ends_operand(tokens: Sequence[Token], index: int) -> bool:
    """Say whether an expression, table or list may end with the token at `index`."""
    token = at(tokens, index)
    if token is None:
        return False
    if token.kind == "op":
        if token.text in CLOSING:
            return True
        before = at(tokens, index - 1)
        if token.text == "%":
            return before is not None and before.kind in ("number", "param")
        return token.text == "*" and (
            word_at(tokens, index - 1) == "SELECT" or is_op(before, ",") or is_op(before, ".")
        )
    if token.kind == "word":
        return token.text.upper() not in _BEFORE_OPERAND or not is_keyword(tokens, index)
    return True


def span_of(tokens: Sequence[Token], start: int, end: int) -> Span | None:
    """Return the span of the tokens `[start, end)`, or None if there are none."""
    if start >= end:
        return None
    return Span(tokens[start].start, tokens[end - 1].end)


def split_list(tokens: Sequence[Token], start: int, end: int) -> tuple[Span, ...]:
    """Return the spans between the top-level commas of `[start, end)`; empty ones are left out."""
    cuts = [i for i in _top_level(tokens, start, end) if is_op(tokens[i], ",")]
    return _between(tokens, start, end, cuts)


def split_conjuncts(tokens: Sequence[Token], start: int, end: int) -> tuple[Span, ...]:
    """Return the spans between the top-level ANDs of `[start, end)`.

    The AND of BETWEEN and those within CASE .. END do not count. A top-level OR binds less than
    AND, so with one the whole condition is a single conjunct.
    """
    cuts: list[int] = []
    betweens, cases = 0, 0
    for i in _top_level(tokens, start, end):
        word = upper(tokens[i])
        if not word or not is_keyword(tokens, i):
            continue
        if word == "CASE":
            cases += 1
        elif cases:
            cases -= word == "END"
        elif word == "BETWEEN" and _is_between(tokens, start, i):
            betweens += 1
        elif word == "AND" and betweens:
            betweens -= 1
        elif word == "AND":
            cuts.append(i)
        elif word == "OR":
            cuts = []
            break
    return _between(tokens, start, end, cuts)


def _is_between(tokens: Sequence[Token], start: int, index: int) -> bool:
    """Say whether BETWEEN is the operator, not a column of that name."""
    before = index - 2 if word_at(tokens, index - 1) == "NOT" else index - 1
    return before >= start and ends_operand(tokens, before)


def _top_level(tokens: Sequence[Token], start: int, end: int) -> Iterator[int]:
    depth = 0
    for i in range(start, end):
        token = tokens[i]
        if token.kind == "op" and token.text in OPENING:
            depth += 1
        elif token.kind == "op" and token.text in CLOSING:
            depth -= 1
        elif depth == 0:
            yield i


def _between(
    tokens: Sequence[Token], start: int, end: int, cuts: Sequence[int]
) -> tuple[Span, ...]:
    edges = [start - 1, *cuts, end]
    spans = (span_of(tokens, a + 1, b) for a, b in pairwise(edges))
    return tuple(span for span in spans if span is not None)
