"""A statement's text → which tables it may write to, and whether names may mean something else.

Only the first words and the target's place are looked at. What is not known for sure counts as a
write to every table: a cached column read again costs milliseconds, a stale one a wrong answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foveal.errors import FovealError
from foveal.planner.parse.lexer import fold, tokenize
from foveal.planner.parse.statement import Token


@dataclass(frozen=True, slots=True)
class Effect:
    """What a statement may change.

    `tables`: folded names without schema of the tables written to, None: any. `catalog`: names may
    mean other tables afterwards. `boundary`: "begin" or "end" of a transaction, else empty.
    """

    tables: frozenset[str] | None = frozenset()
    catalog: bool = False
    boundary: str = ""

    @property
    def writes(self) -> bool:
        """Whether any table may be written to."""
        return self.tables is None or bool(self.tables)

    def __or__(self, other: Effect) -> Effect:
        """Return the effect of both."""
        tables = None
        if self.tables is not None and other.tables is not None:
            tables = self.tables | other.tables
        return Effect(tables, self.catalog or other.catalog, other.boundary or self.boundary)


Prepared = dict[str, Effect]
"""Effects of the session's prepared statements, by folded name."""

NOTHING = Effect()
ANYTHING = Effect(None, catalog=True)
_READS = frozenset(
    ["select", "from", "with", "values", "table", "pivot", "unpivot", "describe", "desc", "show"]
) | frozenset(
    ["summarize", "(", "analyze", "export", "load", "install", "comment", "deallocate"]
)  # fmt: skip
_WRITES = frozenset(["insert", "update", "delete", "merge", "truncate"])
_GENERATORS = frozenset(["dbgen", "dsdgen"])
"""Table functions that make tables."""
_MADE = frozenset(
    [
        "view",
        "macro",
        "function",
        "index",
        "unique",
        "sequence",
        "type",
        "secret",
        "schema",
        "recursive",
    ]
)
_DROPPED = frozenset(["view", "macro", "function", "index", "sequence", "secret", "trigger"])
_MODIFIERS = frozenset(
    ["or", "replace", "temp", "temporary", "local", "global", "unlogged", "persistent"]
)


def effect(sql: str, prepared: Prepared) -> Effect:
    """Return what `sql` may change. PREPARE and DEALLOCATE keep `prepared` up to date.

    >>> effect("INSERT INTO s.T SELECT * FROM u", {}).tables
    frozenset({'t'})
    >>> effect("CALL anything()", {}).tables is None
    True
    """
    try:
        tokens = tokenize(sql)
    except FovealError:
        return ANYTHING
    found = NOTHING
    statement: list[Token] = []
    for token in tokens:
        if token.kind == "op" and token.text == ";":
            found |= _one(statement, prepared)
            statement = []
        else:
            statement.append(token)
    return found | _one(statement, prepared)


def _one(tokens: Sequence[Token], prepared: Prepared) -> Effect:
    if not tokens:
        return NOTHING
    words = [fold(t.text) for t in tokens]
    first = words[0]
    match first:
        case "begin" | "start":
            return Effect(boundary="begin")
        case "commit" | "end" | "rollback" | "abort":
            return Effect(boundary="end")
        case "set" | "reset" if words[1:3] == ["foveal", "."]:
            return NOTHING
        case "set" | "reset" | "use" | "attach" | "detach" | "checkpoint" | "force" | "vacuum":
            return Effect(catalog=True)
        case "explain":
            return _explained(tokens, words, prepared)
        case "prepare":
            return _prepare(tokens, words, prepared)
        case "execute":
            return prepared.get(_name(tokens, 1), ANYTHING)
        case _:
            pass
    if _GENERATORS.intersection(words):
        return ANYTHING
    if first in _READS:
        if first == "deallocate":
            prepared.pop(_name(tokens, len(tokens) - 1), None)
        return _named(tokens) if _holds_write(tokens, words, 1) else NOTHING
    if first in _WRITES or first == "copy":
        return _written(tokens, words)
    if first in ("create", "drop", "alter"):
        return _defined(tokens, words)
    return ANYTHING


def _holds_write(tokens: Sequence[Token], words: Sequence[str], start: int) -> bool:
    """Return whether a writing statement stands within, as in WITH x AS (INSERT ..)."""
    return any(
        words[i] in _WRITES
        and tokens[i].kind == "word"
        and words[i - 1] in ("(", ")")
        and tokens[i + 1].kind in ("word", "quoted")
        for i in range(start, len(tokens) - 1)
    )


def _named(tokens: Sequence[Token]) -> Effect:
    """Return the effect of a write to any table that is named."""
    return Effect(frozenset(fold(t.name) for t in tokens if t.kind in ("word", "quoted")))


def _name(tokens: Sequence[Token], at: int) -> str:
    return fold(tokens[at].name) if 0 <= at < len(tokens) else ""


def _chain(tokens: Sequence[Token], at: int) -> str | None:
    """Return the folded last part of the dotted name at `at`."""
    name = None
    while at < len(tokens) and tokens[at].kind in ("word", "quoted"):
        name = fold(tokens[at].name)
        if at + 1 >= len(tokens) or tokens[at + 1].text != ".":
            break
        at += 2
    return name


def _written(tokens: Sequence[Token], words: Sequence[str]) -> Effect:
    """Return the effect of INSERT, UPDATE, DELETE, TRUNCATE, MERGE and COPY: their target's."""
    first = words[0]
    if _holds_write(tokens, words, 1):
        return _named(tokens)
    if first == "copy":
        if words[1:2] == ["("]:
            return NOTHING
        if "from" not in words:
            return NOTHING
        return ANYTHING if words[1] == "from" else _named(tokens)
    after = {"insert": "into", "merge": "into", "delete": "from"}.get(first)
    at = 1
    if after is not None:
        if after not in words:
            return ANYTHING
        at = words.index(after) + 1
    elif first == "truncate" and words[1:2] == ["table"]:
        at = 2
    name = _chain(tokens, at)
    if name is None or name in ("only", "or"):
        return _named(tokens) if name else ANYTHING
    return Effect(frozenset([name]))


def _defined(tokens: Sequence[Token], words: Sequence[str]) -> Effect:
    """Return the effect of CREATE, DROP and ALTER."""
    first, at = words[0], 1
    while at < len(words) and words[at] in _MODIFIERS:
        at += 1
    kind = words[at] if at < len(words) else ""
    if kind == "table":
        if first != "create":
            return _named(tokens) | Effect(catalog=True)
        at += 4 if words[at + 1 : at + 4] == ["if", "not", "exists"] else 1
        name = _chain(tokens, at)
        return ANYTHING if name is None else Effect(frozenset([name]), catalog=True)
    if first == "create" and kind in _MADE:
        return Effect(catalog=True)
    if first == "drop" and kind in _DROPPED and "cascade" not in words:
        return Effect(catalog=True)
    return ANYTHING


def _explained(tokens: Sequence[Token], words: Sequence[str], prepared: Prepared) -> Effect:
    """Return the effect of EXPLAIN: none, unless ANALYZE runs what it explains."""
    at, depth, runs = 1, 0, False
    while at < len(words) and (depth or words[at] in ("(", "analyze", "verbose")):
        if words[at] == "(" and not depth and words[at + 1 : at + 2] == ["select"]:
            break
        depth += {"(": 1, ")": -1}.get(words[at], 0)
        runs = runs or words[at] == "analyze"
        at += 1
    return _one(tokens[at:], prepared) if runs else NOTHING


def _prepare(tokens: Sequence[Token], words: Sequence[str], prepared: Prepared) -> Effect:
    """Remember what a prepared statement may change; preparing it changes nothing."""
    if "as" in words:
        prepared[_name(tokens, 1)] = _one(tokens[words.index("as") + 1 :], prepared)
    return NOTHING
