"""Tokens → whether they name an extension object, or a table of the system schema `foveal`."""

from __future__ import annotations

from collections.abc import Sequence

from foveal.planner.parse.lexer import fold
from foveal.planner.parse.parts import CLOSING, OPENING, at, is_keyword, is_op, word_at
from foveal.planner.parse.statement import Token

SYSTEM_SCHEMA = "foveal"

_NAME_KINDS = ("word", "quoted")
# After these words a table is named, wherever they stand.
_NAME_TABLE = frozenset({"JOIN", "INTO", "UPDATE", "TABLE", "DESCRIBE", "DESC", "SUMMARIZE",
                         "COPY", "PIVOT", "UNPIVOT"})  # fmt: skip
_END_FROM = frozenset({"SELECT", "WHERE", "GROUP", "HAVING", "QUALIFY", "WINDOW", "ORDER", "LIMIT",
                       "OFFSET", "UNION", "INTERSECT", "EXCEPT", "SET"})  # fmt: skip
_FROM_CALLS = frozenset({"EXTRACT", "SUBSTRING", "TRIM", "OVERLAY"})


def mentions(tokens: Sequence[Token], names: frozenset[str]) -> bool:
    """Say whether a word or quoted identifier is one of `names`, or a system table is read."""
    if names and any(t.kind in _NAME_KINDS and fold(t.name) in names for t in tokens):
        return True
    return names_system_table(tokens)


def names_system_table(tokens: Sequence[Token]) -> bool:
    """Say whether `foveal.word` stands where a table is named (not where a column is)."""
    if not any(_is_system_name(tokens, i) for i in range(len(tokens))):
        return False
    # Per bracket level: is this the inside of a FROM?
    levels = [False]
    for i, token in enumerate(tokens):
        before = word_at(tokens, i - 1)
        starts_item = before in ("FROM", "JOIN") or is_op(at(tokens, i - 1), ",")
        starts_item = starts_item or is_op(at(tokens, i - 1), "(")
        if token.kind == "op" and token.text in OPENING:
            levels.append(levels[-1] and starts_item)
        elif token.kind == "op" and token.text in CLOSING:
            levels = levels[:-1] or [False]
            levels = levels or [False]
        elif token.kind in _NAME_KINDS and _is_system_name(tokens, i):
            if (levels[-1] and starts_item) or before in _NAME_TABLE:
                return True
        elif word_at(tokens, i) == "FROM" and is_keyword(tokens, i):
            levels[-1] = not _is_from_of_expression(tokens, i)
        elif word_at(tokens, i) in _END_FROM and is_keyword(tokens, i):
            levels[-1] = False
    return False


def _is_system_name(tokens: Sequence[Token], index: int) -> bool:
    token, word = tokens[index], at(tokens, index + 2)
    return (
        token.kind in _NAME_KINDS
        and fold(token.name) == SYSTEM_SCHEMA
        and is_op(at(tokens, index + 1), ".")
        and word is not None
        and word.kind in _NAME_KINDS
        and not is_op(at(tokens, index - 1), ".")
    )


def _is_from_of_expression(tokens: Sequence[Token], index: int) -> bool:
    if word_at(tokens, index - 1) == "DISTINCT" and word_at(tokens, index - 2) in ("IS", "NOT"):
        return True
    depth = 0
    for i in range(index - 1, -1, -1):
        token = tokens[i]
        if token.kind != "op":
            continue
        if token.text in CLOSING:
            depth += 1
        elif token.text in OPENING:
            if depth == 0:
                return word_at(tokens, i - 1) in _FROM_CALLS
            depth -= 1
    return False
