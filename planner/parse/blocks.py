"""A query's tokens → its SELECT blocks: where each begins and ends, its parts, its clauses of ours.

One pass with a stack of brackets. A block begins at SELECT, or at a FROM or TABLE where a query may
begin; a clause keyword at the block's own bracket level ends one part and begins the next. What
stands inside other brackets (`EXTRACT(x FROM y)`, `FILTER (WHERE ..)`, `OVER (ORDER BY ..)`) never
meets an open block at its level, so it ends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from foveal.errors import ProgrammingError, Span
from foveal.planner.parse.grammar import syntax_error
from foveal.planner.parse.openers import FORMS, opens_clause
from foveal.planner.parse.parts import (
    CLOSING,
    OPENING,
    at,
    is_keyword,
    is_op,
    span_of,
    split_conjuncts,
    split_list,
    upper,
    word_at,
)
from foveal.planner.parse.statement import Block, Clauses, Token

ClauseRun = tuple[str, int, int]
"""A clause of ours as tokens: its key in FORMS, its first token, the token behind its last."""

_SET_OPERATORS = frozenset({"UNION", "INTERSECT", "EXCEPT"})
_SET_WORDS = frozenset({"ALL", "DISTINCT", "BY", "NAME"})
_QUERY_STARTS = frozenset({"SELECT", "FROM", "WITH", "("})
# Statements that sqlglot would take without a word inside or behind a WITH's parentheses.
_NO_QUERIES = frozenset({
    "ALTER", "ANALYZE", "ATTACH", "CALL", "COMMENT", "COPY", "CREATE", "DETACH", "DROP", "EXECUTE",
    "EXPLAIN", "GRANT", "KILL", "LOAD", "OPTIMIZE", "PRAGMA", "PREPARE", "REFRESH", "REVOKE",
    "SET", "SHOW", "TRUNCATE", "USE", "VACUUM",
})  # fmt: skip


@dataclass(slots=True)
class _Draft:
    """A block while it is read. `parts`: name, first token, token behind the last."""

    start: int
    depth: int
    parent: int | None
    part: str
    part_start: int
    from_first: bool
    end: int = -1
    in_set: bool = False
    limited: bool = False
    parts: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    clauses: list[ClauseRun] = field(default_factory=list[ClauseRun])


@dataclass(slots=True)
class _Level:
    """What stands between one pair of brackets, or outside of all."""

    opening: int
    may_begin: bool
    has_with: bool = False
    block: int | None = None
    arm: list[int] = field(default_factory=list[int])
    in_set: bool = False


class _Scan:
    def __init__(self, tokens: Sequence[Token], start: int, end: int, *, is_query: bool) -> None:
        self.tokens = tokens
        self.start = start
        self.end = end
        self.drafts: list[_Draft] = []
        self.levels = [_Level(start - 1, is_query)]

    def run(self) -> list[_Draft]:
        for i in range(self.start, self.end):
            token = self.tokens[i]
            if token.kind == "op":
                self._operator(i, token)
            elif token.kind == "word":
                self._word(i)
            else:
                self.levels[-1].may_begin = False
        if len(self.levels) > 1:
            token = self.tokens[self.levels[-1].opening]
            raise ProgrammingError(
                f'"{token.text}" is never closed',
                span=Span(token.start, token.end),
                hint="close the bracket",
            )
        self._finish_block(self.end)
        return self.drafts

    def _operator(self, i: int, token: Token) -> None:
        level = self.levels[-1]
        if token.text in OPENING:
            trims = word_at(self.tokens, i - 1) == "TRIM"
            self.levels.append(_Level(i, may_begin=token.text == "(" and not trims))
            return
        if token.text in CLOSING:
            if len(self.levels) == 1 or self.tokens[level.opening].text != CLOSING[token.text]:
                raise _unexpected(token)
            self._finish_block(i)
            self.levels.pop()
            outer = self.levels[-1]
            if outer.block is None:
                outer.arm = level.arm
                if outer.in_set:
                    self._mark(outer)
            outer.may_begin = outer.has_with and outer.block is None
            return
        if token.text == ";":
            raise ProgrammingError(
                "one statement is expected, and here a second begins",
                span=Span(token.start, token.end),
                hint="give the statements one by one",
            )
        level.may_begin = False

    def _word(self, i: int) -> None:
        level = self.levels[-1]
        draft = self.drafts[level.block] if level.block is not None else None
        in_items = draft is not None and draft.part == "items"
        if not is_keyword(self.tokens, i, in_items=in_items):
            level.may_begin = False
            return
        if draft is None:
            self._word_outside(i, level)
        else:
            self._word_inside(i, level, draft, in_items=in_items)

    def _word_outside(self, i: int, level: _Level) -> None:
        word = upper(self.tokens[i])
        if word == "SELECT":
            self._begin(i, "items")
        elif word in ("FROM", "TABLE") and level.may_begin:
            self._begin(i, "from")
        elif word in _SET_OPERATORS:
            self._set_operator(level)
        elif level.may_begin and word in _NO_QUERIES and self._is_of_with(level):
            raise syntax_error(self.tokens, i, "write a query here, beginning with SELECT or FROM")
        elif word == "WITH" and level.may_begin:
            level.has_with = True
            level.may_begin = False
        elif level.in_set and level.may_begin and word in _SET_WORDS:
            pass
        else:
            level.may_begin = False
            self._refuse_orphan(i)

    def _is_of_with(self, level: _Level) -> bool:
        """Say whether what may begin is a WITH's main query, or one of its tables."""
        outer = self.levels[-2] if len(self.levels) > 1 else None
        before = word_at(self.tokens, level.opening - 1)
        in_table = outer is not None and outer.has_with and before in ("AS", "MATERIALIZED")
        return level.has_with or in_table

    def _word_inside(self, i: int, level: _Level, draft: _Draft, *, in_items: bool) -> None:
        word = upper(self.tokens[i])
        in_clause = draft.part.startswith("clause")
        after_limit = draft.limited and draft.part in ("limit", "offset")
        clause = opens_clause(
            self.tokens, i, in_items=in_items, in_clause=in_clause, after_limit=after_limit
        )
        part = _PARTS[word](self, i, draft) if word in _PARTS else None
        if clause is not None:
            self._turn(draft, i, f"clause {clause}", i)
        elif word in _SET_OPERATORS and not (in_items and self._star_except(i)):
            self._finish_block(i)
            self._set_operator(level)
        elif part is not None:
            self._turn(draft, i, *part)
            draft.limited = draft.limited or part[0] == "limit"

    def _begin(self, i: int, part: str) -> None:
        level = self.levels[-1]
        parents = (outer.block for outer in reversed(self.levels[:-1]))
        parent = next((index for index in parents if index is not None), None)
        depth = len(self.levels) - 1
        level.block = len(self.drafts)
        level.may_begin = False
        level.arm = [level.block]
        self.drafts.append(_Draft(i, depth, parent, part, i + 1, part == "from"))
        if level.in_set:
            self._mark(level)

    def _turn(self, draft: _Draft, i: int, part: str, start: int) -> None:
        """End the draft's open part before token `i` and begin `part` at token `start`."""
        if draft.part.startswith("clause"):
            draft.clauses.append((draft.part.removeprefix("clause "), draft.part_start, i))
        else:
            draft.parts.setdefault(draft.part, (draft.part_start, i))
        draft.part, draft.part_start = part, start

    def _finish_block(self, i: int) -> None:
        level = self.levels[-1]
        if level.block is not None:
            draft = self.drafts[level.block]
            self._turn(draft, i, "", i)
            draft.end = i
            level.block = None

    def _set_operator(self, level: _Level) -> None:
        level.in_set = level.may_begin = True
        self._mark(level)

    def _mark(self, level: _Level) -> None:
        for index in level.arm:
            self.drafts[index].in_set = True

    def _star_except(self, i: int) -> bool:
        """Say whether EXCEPT is a star's list of left out columns: `* EXCEPT (a, b)`."""
        return (
            is_op(at(self.tokens, i - 1), "*")
            and is_op(at(self.tokens, i + 1), "(")
            and word_at(self.tokens, i + 2) not in _QUERY_STARTS
            and not is_op(at(self.tokens, i + 2), "(")
        )

    def _refuse_orphan(self, i: int) -> None:
        clause = opens_clause(self.tokens, i)
        if clause in ("ERROR", "FNR", "FPR", "CONFIDENCE", "GAP", "BUDGET"):
            token = self.tokens[i]
            raise ProgrammingError(
                f"{_title(clause)} belongs to a SELECT, and none is open here",
                span=Span(token.start, token.end),
                hint=f"write {FORMS[clause]} inside the SELECT, before its closing parenthesis",
            )


def _from_part(scan: _Scan, i: int, draft: _Draft) -> tuple[str, int] | None:
    before = word_at(scan.tokens, i - 1), word_at(scan.tokens, i - 2)
    if before[0] == "DISTINCT" and before[1] in ("IS", "NOT"):
        return None
    if draft.clauses or draft.part.startswith("clause"):
        key, start = (
            (draft.part[7:], draft.part_start) if not draft.clauses else draft.clauses[0][:2]
        )
        token = scan.tokens[start]
        raise ProgrammingError(
            f"{_title(key)} must stand after FROM",
            span=Span(token.start, token.end),
            hint=f"write it last: SELECT .. FROM .. WHERE .. {FORMS[key]}",
        )
    return ("from", i + 1) if draft.part == "items" and "from" not in draft.parts else None


def _select_part(scan: _Scan, i: int, draft: _Draft) -> tuple[str, int] | None:
    return ("items", i + 1) if draft.from_first and "items" not in draft.parts else None


def _by(part: str) -> Callable[[_Scan, int, _Draft], tuple[str, int] | None]:
    def turn(scan: _Scan, i: int, draft: _Draft) -> tuple[str, int] | None:
        return (part, i + 2) if word_at(scan.tokens, i + 1) == "BY" else None

    return turn


def _plain(part: str) -> Callable[[_Scan, int, _Draft], tuple[str, int] | None]:
    def turn(scan: _Scan, i: int, draft: _Draft) -> tuple[str, int] | None:
        return part, i + 1

    return turn


def _sample_part(scan: _Scan, i: int, draft: _Draft) -> tuple[str, int] | None:
    return ("sample", i + 2) if word_at(scan.tokens, i + 1) == "SAMPLE" else None


_PARTS: dict[str, Callable[[_Scan, int, _Draft], tuple[str, int] | None]] = {
    "FROM": _from_part,
    "SELECT": _select_part,
    "WHERE": _plain("where"),
    "GROUP": _by("group_by"),
    "HAVING": _plain("having"),
    "WINDOW": _plain("window"),
    "QUALIFY": _plain("qualify"),
    "ORDER": _by("order_by"),
    "LIMIT": _plain("limit"),
    "OFFSET": _plain("offset"),
    "FETCH": _plain("limit"),
    "USING": _sample_part,
}
"""A keyword within a block to the part that it begins (its name, its first token), if any."""


def scan_blocks(
    tokens: Sequence[Token],
    start: int,
    end: int,
    parse_clauses: Callable[[Sequence[ClauseRun], bool], Clauses],
    *,
    is_query: bool = True,
) -> tuple[Block, ...]:
    """Return the SELECT blocks of the tokens `[start, end)`, in text order.

    `parse_clauses` turns a block's clause runs, and whether a LIMIT precedes each GAP, into nodes.
    `is_query`: a FROM at the outermost level begins a block (it does not in UPDATE or DELETE).

    Raises:
        ProgrammingError: 42601, brackets do not match, or a clause of ours stands where it cannot.
    """
    drafts = _Scan(tokens, start, end, is_query=is_query).run()
    return tuple(_freeze(tokens, draft, parse_clauses) for draft in drafts)


def _freeze(
    tokens: Sequence[Token],
    draft: _Draft,
    parse_clauses: Callable[[Sequence[ClauseRun], bool], Clauses],
) -> Block:
    def span(part: str) -> Span | None:
        return span_of(tokens, *draft.parts.get(part, (0, 0)))

    items, end = draft.parts.get("items", (0, 0))
    distinct = word_at(tokens, items) == "DISTINCT" and items < end
    if distinct or (word_at(tokens, items) == "ALL" and items < end):
        items += 1
        if distinct and word_at(tokens, items) == "ON":
            items = _behind_brackets(tokens, items + 1)
    keys = draft.parts.get("group_by", (0, 0))
    all_keys = keys[1] - keys[0] == 1 and (
        word_at(tokens, keys[0]) == "ALL" or is_op(tokens[keys[0]], "*")
    )
    whole = span_of(tokens, draft.start, draft.end)
    assert whole is not None  # a block has at least its first keyword
    return Block(
        span=whole,
        depth=draft.depth,
        parent=draft.parent,
        items=split_list(tokens, items, end),
        distinct=distinct,
        from_=span("from"),
        where=span("where"),
        conjuncts=split_conjuncts(tokens, *draft.parts.get("where", (0, 0))),
        group_by=span("group_by"),
        group_keys=() if all_keys else split_list(tokens, *keys),
        having=span("having"),
        window=span("window"),
        qualify=span("qualify"),
        order_by=span("order_by"),
        limit=span("limit"),
        offset=span("offset"),
        in_set=draft.in_set,
        clauses=parse_clauses(draft.clauses, draft.limited),
    )


def _behind_brackets(tokens: Sequence[Token], index: int) -> int:
    depth = 0
    while index < len(tokens):
        token = tokens[index]
        index += 1
        if token.kind == "op" and token.text in OPENING:
            depth += 1
        elif token.kind == "op" and token.text in CLOSING:
            depth -= 1
        if depth <= 0:
            break
    return index


def _title(key: str) -> str:
    return {"CONFIDENCE": "AT CONFIDENCE", "GAP": "GAP", "BUDGET": "BUDGET"}.get(
        key, f"{key} WITHIN" if key != "BOUNDS" else key
    )


def _unexpected(token: Token) -> ProgrammingError:
    return ProgrammingError(
        f'syntax error at or near "{token.text}"',
        span=Span(token.start, token.end),
        hint="no bracket is open that this one could close",
    )
