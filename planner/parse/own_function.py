"""CREATE FUNCTION .. LANGUAGE and DROP FUNCTION: tokens in, statements out.

A CREATE FUNCTION without RETURNS and LANGUAGE is DuckDB's macro, and stays DuckDB's.
"""

from __future__ import annotations

from collections.abc import Sequence

from foveal.errors import DataError, Span
from foveal.planner.parse.grammar import branches, read, syntax_error
from foveal.planner.parse.lexer import number_value, string_value
from foveal.planner.parse.parts import at, is_op, word_at
from foveal.planner.parse.statement import CreateFunction, DropFunction, Token
from foveal.planner.parse.values import name_of
from foveal.planner.parse.wrappers import behind_bracket

FORM = (
    "CREATE [OR REPLACE] [TEMP] FUNCTION [IF NOT EXISTS] name(x DOUBLE, ..) RETURNS DOUBLE "
    "LANGUAGE python AS $$ .. $$"
)
LANGUAGES = ("python", "ir")
BATCHES = ("scalar", "numpy", "pandas", "arrow")
_WORDS = frozenset(
    {"RETURNS", "LANGUAGE", "TYPE", "NULL", "CALLED", "STRICT", "IMMUTABLE", "VOLATILE", "COST",
     "AS"}
)  # fmt: skip


def parse_function(text: str, tokens: Sequence[Token]) -> CreateFunction | DropFunction | None:
    """Return the statement if it is one on functions of ours, else None.

    Raises:
        ProgrammingError: 42601, it is one and malformed. DataError: 22023, COST is below 0.
    """
    if word_at(tokens, 0) == "DROP" and word_at(tokens, 1) == "FUNCTION":
        if word_at(tokens, 2) == "TABLE" or any(is_op(t, ".") for t in tokens):
            return None
        node = read("drop_function", tokens, 0, len(tokens), "DROP FUNCTION [IF EXISTS] name")
        return DropFunction(text, *name_of(node, tokens), bool(branches(node, "if_exists")))
    if word_at(tokens, 0) != "CREATE":
        return None
    i, flags = 1, set[str]()
    while (word := word_at(tokens, i)) in ("OR", "REPLACE", "TEMP", "TEMPORARY"):
        flags.add(word)
        i += 1
    if word_at(tokens, i) != "FUNCTION":
        return None
    i += 1
    if [word_at(tokens, i + k) for k in range(3)] == ["IF", "NOT", "EXISTS"]:
        flags.add("EXISTS")
        i += 3
    name = at(tokens, i)
    if name is None or name.kind not in ("word", "quoted") or not is_op(at(tokens, i + 1), "("):
        return None
    behind = behind_bracket(tokens, i + 1)
    if word_at(tokens, behind) not in ("RETURNS", "LANGUAGE"):
        return None
    parameters = _parameters(tokens, i + 2, behind - 1)
    return _Options(text, tokens, behind).read(name, flags, parameters)


def _parameters(tokens: Sequence[Token], start: int, end: int) -> tuple[tuple[str, str, Span], ...]:
    """Return (name, type, place of the type) of each."""
    found: list[tuple[str, str, Span]] = []
    i = start
    while i < end:
        name = tokens[i]
        if name.kind not in ("word", "quoted"):
            raise syntax_error(tokens, i, f"write {FORM}")
        stop = _type_end(tokens, i + 1, end)
        if stop == i + 1:
            raise syntax_error(tokens, i + 1, f"{name.name} needs a type: write {FORM}")
        span = Span(tokens[i + 1].start, tokens[stop - 1].end)
        found.append((name.name, _text(tokens, i + 1, stop), span))
        if stop < end and not is_op(tokens[stop], ","):
            raise syntax_error(tokens, stop, f"write {FORM}")
        i = stop + 1
        if i == end and stop < end:
            raise syntax_error(tokens, end, f"write {FORM}")
    return tuple(found)


def _type_end(tokens: Sequence[Token], start: int, end: int) -> int:
    """Return the index behind a type: words, then (..) and []."""
    i = start
    while i < end and tokens[i].kind == "word" and tokens[i].text.upper() not in _WORDS:
        i += 1
    while i < end and (is_op(tokens[i], "(") or is_op(tokens[i], "[")):
        i = behind_bracket(tokens, i)
    return min(i, end)


def _text(tokens: Sequence[Token], start: int, end: int) -> str:
    """Return tokens as one line, as types are written."""
    out = ""
    for token in tokens[start:end]:
        gap = " " if out and out[-1].isalnum() and token.text[0].isalnum() else ""
        out += gap + token.text
    return out


class _Options:
    """Reads what stands between the parameters and the body, in any order."""

    def __init__(self, text: str, tokens: Sequence[Token], start: int) -> None:
        self._text, self._tokens, self._at = text, tokens, start
        self._returns: tuple[str, Span] | None = None
        self._language, self._batch = "", "scalar"
        self._null, self._volatile, self._cost = "strict", False, None

    def read(
        self, name: Token, flags: set[str], parameters: tuple[tuple[str, str, Span], ...]
    ) -> CreateFunction:
        """Read up to the end of the statement."""
        tokens = self._tokens
        language: Token | None = None
        while (word := word_at(tokens, self._at)) != "AS":
            self._at += 1
            if word == "RETURNS":
                self._returns = self._type()
            elif word == "LANGUAGE":
                language = at(tokens, self._at)
                self._language = self._one_of(LANGUAGES)
            elif word == "TYPE":
                self._batch = self._one_of(BATCHES)
            elif word in ("NULL", "CALLED"):
                self._nulls(word)
            elif word == "COST":
                self._cost = self._number()
            elif word in ("IMMUTABLE", "VOLATILE", "STRICT"):
                self._volatile = self._volatile if word == "STRICT" else word == "VOLATILE"
            else:
                raise syntax_error(tokens, self._at - 1, f"write {FORM}")
        self._at += 1
        body = at(tokens, self._at)
        if body is None or body.kind != "string" or body.text[0] in "xXbB":
            raise syntax_error(tokens, self._at, "write the function's text in $$ .. $$")
        if self._at + 1 < len(tokens):
            raise syntax_error(tokens, self._at + 1, f"write {FORM}")
        if self._returns is None or language is None:
            lacks = "RETURNS type" if self._returns is None else "LANGUAGE python"
            raise syntax_error(tokens, self._at - 1, f"{lacks} is missing: write {FORM}")
        return CreateFunction(
            self._text, name.name, Span(name.start, name.end), "REPLACE" in flags,
            "EXISTS" in flags, bool(flags & {"TEMP", "TEMPORARY"}), parameters,
            self._returns[0], self._returns[1], self._language, self._batch, self._null,
            self._volatile, self._cost, string_value(body), Span(body.start, body.end),
        )  # fmt: skip

    def _type(self) -> tuple[str, Span]:
        end = _type_end(self._tokens, self._at, len(self._tokens))
        if end == self._at:
            raise syntax_error(self._tokens, end, f"write {FORM}")
        span = Span(self._tokens[self._at].start, self._tokens[end - 1].end)
        text = _text(self._tokens, self._at, end)
        self._at = end
        return text, span

    def _one_of(self, choices: tuple[str, ...]) -> str:
        token = at(self._tokens, self._at)
        word = "" if token is None else token.name or token.text.strip("'")
        if word.lower() not in choices:
            raise syntax_error(self._tokens, self._at, "choose one of " + ", ".join(choices))
        self._at += 1
        return word.lower()

    def _nulls(self, word: str) -> None:
        """Read [CALLED ON] NULL INPUT."""
        tokens, i = self._tokens, self._at
        if word == "CALLED":
            if word_at(tokens, i) != "ON" or word_at(tokens, i + 1) != "NULL":
                raise syntax_error(tokens, i, "write CALLED ON NULL INPUT")
            i += 2
        if word_at(tokens, i) != "INPUT":
            raise syntax_error(tokens, i, "write NULL INPUT")
        self._null, self._at = "special", i + 1

    def _number(self) -> float:
        token = at(self._tokens, self._at)
        negative = is_op(token, "-")
        if negative:
            token = at(self._tokens, self._at + 1)
        if token is None or token.kind != "number":
            raise syntax_error(self._tokens, self._at, "write COST 0.001 (seconds a row)")
        if negative:
            raise DataError(
                "COST is seconds a row, not below 0", sqlstate="22023",
                span=Span(token.start - 1, token.end),
            )  # fmt: skip
        self._at += 1
        return number_value(token.text)
