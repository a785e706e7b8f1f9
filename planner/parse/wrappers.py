"""A statement's first tokens → its kind, and where the query that it wraps begins and ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foveal.errors import NotSupportedError, Span
from foveal.planner.parse.parts import CLOSING, OPENING, at, is_op, word_at
from foveal.planner.parse.statement import Token

_SELECTS = {"SELECT": "select", "FROM": "select", "TABLE": "select", "VALUES": "values",
            "PIVOT": "pivot", "PIVOT_WIDER": "pivot", "UNPIVOT": "pivot",
            "PIVOT_LONGER": "pivot"}  # fmt: skip
_WRITES = {"UPDATE": "update", "DELETE": "delete", "MERGE": "merge"}
_DESCRIBES = {"DESCRIBE": "describe", "DESC": "describe", "SHOW": "describe",
              "SUMMARIZE": "summarize"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wrapped:
    """The kind of a statement, and its query as tokens `[start, end)`.

    `is_name`: in place of a query stands a table's name. `is_query`: a FROM at the outermost level
    begins a SELECT block.
    """

    kind: str
    start: int
    end: int
    is_name: bool = False
    is_query: bool = True


def unwrap(tokens: Sequence[Token]) -> Wrapped | None:
    """Return what the statement wraps, or None if it is none that can hold a query of ours.

    Raises:
        NotSupportedError: 0A000, the query is wrapped in a way that foveal does not run.
    """
    first, end = word_at(tokens, 0), len(tokens)
    if is_op(at(tokens, 0), "("):
        return Wrapped("select", 0, end)
    if first == "WITH":
        return _unwrap_with(tokens)
    if first in _SELECTS:
        return Wrapped(_SELECTS[first], 0, end)
    if first in _WRITES:
        return Wrapped(_WRITES[first], 0, end, is_query=False)
    if first == "INSERT":
        return _unwrap_insert(tokens)
    if first == "CREATE":
        return _unwrap_create(tokens)
    if first == "COPY":
        return _unwrap_copy(tokens)
    if first in _DESCRIBES:
        return _unwrap_describe(tokens, _DESCRIBES[first])
    return None


def behind_bracket(tokens: Sequence[Token], index: int) -> int:
    """Return the index behind the bracket that closes the one at `index`, or the end."""
    depth = 0
    for i in range(index, len(tokens)):
        token = tokens[i]
        if token.kind == "op" and token.text in OPENING:
            depth += 1
        elif token.kind == "op" and token.text in CLOSING:
            depth -= 1
            if depth <= 0:
                return i + 1
    return len(tokens)


def find_word(tokens: Sequence[Token], start: int, words: frozenset[str]) -> int | None:
    """Return the index of the first of `words` outside of brackets from `start` on, or None."""
    i = start
    while i < len(tokens):
        token = tokens[i]
        if token.kind == "op" and token.text in OPENING:
            i = behind_bracket(tokens, i)
            continue
        if word_at(tokens, i) in words and not is_op(at(tokens, i - 1), "."):
            return i
        i += 1
    return None


def starts_query(tokens: Sequence[Token], index: int) -> bool:
    """Say whether a query begins at `index`, past any opening parentheses."""
    while is_op(at(tokens, index), "("):
        index += 1
    return word_at(tokens, index) == "WITH" or word_at(tokens, index) in _SELECTS


def skip_name(tokens: Sequence[Token], index: int) -> int:
    """Return the index behind the dotted name at `index`."""
    index += 1
    while is_op(at(tokens, index), ".") and index + 1 < len(tokens):
        index += 2
    return index


def _unwrap_with(tokens: Sequence[Token]) -> Wrapped:
    main = find_word(tokens, 1, frozenset({*_SELECTS, *_WRITES, "INSERT"}))
    kind = word_at(tokens, main) if main is not None else ""
    if kind == "INSERT":
        token = tokens[0]
        raise NotSupportedError(
            "WITH before INSERT cannot be used over video tables",
            span=Span(token.start, token.end),
            hint="write INSERT INTO .. WITH .. SELECT ..",
        )
    if kind in _WRITES:
        return Wrapped(_WRITES[kind], 0, len(tokens), is_query=False)
    return Wrapped(_SELECTS.get(kind, "select"), 0, len(tokens))


def _unwrap_insert(tokens: Sequence[Token]) -> Wrapped | None:
    into = find_word(tokens, 1, frozenset({"INTO"}))
    if into is None:
        return None
    start = skip_name(tokens, into + 1)
    if word_at(tokens, start) == "DEFAULT":
        return None
    while start < len(tokens) and not starts_query(tokens, start):
        start = behind_bracket(tokens, start) if is_op(tokens[start], "(") else start + 1
    if start >= len(tokens):
        return None
    end = len(tokens)
    returning = find_word(tokens, start, frozenset({"RETURNING"}))
    end = end if returning is None else returning
    on = find_word(tokens, start, frozenset({"ON"}))
    while on is not None:
        if word_at(tokens, on + 1) == "CONFLICT" and _does(tokens, on + 2):
            end = min(end, on)
            break
        on = find_word(tokens, on + 1, frozenset({"ON"}))
    return Wrapped("insert", start, end)


def _does(tokens: Sequence[Token], index: int) -> bool:
    """Say whether ON CONFLICT's action follows: `[(a, b) [WHERE ..]] DO`."""
    if is_op(at(tokens, index), "("):
        index = behind_bracket(tokens, index)
    return word_at(tokens, index) in ("DO", "WHERE")


def _unwrap_create(tokens: Sequence[Token]) -> Wrapped | None:
    table = find_word(tokens, 1, frozenset({"TABLE"}))
    allowed = {"OR", "REPLACE", "TEMP", "TEMPORARY"}
    if table is None or any(word_at(tokens, i) not in allowed for i in range(1, table)):
        return None
    as_ = find_word(tokens, table + 1, frozenset({"AS"}))
    if as_ is None or not starts_query(tokens, as_ + 1):
        return None
    end = len(tokens)
    tail = [word_at(tokens, i) for i in range(end - 3, end)]
    if tail == ["WITH", "NO", "DATA"]:
        end -= 3
    elif tail[1:] == ["WITH", "DATA"]:
        end -= 2
    return Wrapped("create_table_as", as_ + 1, end)


def _unwrap_copy(tokens: Sequence[Token]) -> Wrapped | None:
    if is_op(at(tokens, 1), "("):
        return Wrapped("copy", 2, behind_bracket(tokens, 1) - 1)
    behind = skip_name(tokens, 1)
    if is_op(at(tokens, behind), "("):
        to = behind_bracket(tokens, behind)
        if word_at(tokens, to) == "TO":
            raise NotSupportedError(
                "COPY of some columns cannot be used over video tables",
                span=Span(tokens[behind].start, tokens[to - 1].end),
                hint="write COPY (SELECT a, b FROM name) TO 'file'",
            )
        return None
    return Wrapped("copy", 1, behind, is_name=True) if word_at(tokens, behind) == "TO" else None


def _unwrap_describe(tokens: Sequence[Token], kind: str) -> Wrapped | None:
    is_show = word_at(tokens, 0) == "SHOW"
    token = at(tokens, 1)
    if token is None:
        return None
    if not is_show and starts_query(tokens, 1):
        return Wrapped(kind, 1, len(tokens))
    is_name = token.kind in ("word", "quoted") and skip_name(tokens, 1) == len(tokens)
    return Wrapped(kind, 1, len(tokens), is_name=True) if is_name else None
