"""Text → tokens: a lexical pass that knows DuckDB's words, strings, numbers, parameters, comments.

It never fails on a text that DuckDB can read, and it keeps every place: offsets count code points.
The rules are those of DuckDB's scanner (duckdb/duckdb, third_party/libpg_query/scan.l).
"""

from __future__ import annotations

import re
from functools import lru_cache

from foveal.errors import ProgrammingError, Span
from foveal.planner.parse.statement import Token

# DuckDB reads these as blanks outside of quotes, beside the ASCII ones.
_SPACE = r"\s\u200b-\u200d\u2060\ufeff"
_WORD_START = rf"(?:[A-Za-z_]|(?![{_SPACE}])[^\x00-\x7f])"
_WORD_REST = rf"(?:[A-Za-z0-9_$]|(?![{_SPACE}])[^\x00-\x7f])"
_TAG_REST = rf"(?:[A-Za-z0-9_]|(?![{_SPACE}])[^\x00-\x7f])"
_OPERATORS = (
    "!~~*", "!~~", "!~*", "~~~", "~~*", "->>", "<=>", "...", "::", ":=", "=>", "->", "<=", ">=",
    "<>", "!=", "==", "||", "**", "//", "&&", "@>", "<@", "<<", ">>", "~~", "!~", "~*", "^@",
)  # fmt: skip

_TOKEN = re.compile(
    rf"""
    (?P<space>[{_SPACE}]+)
  | (?P<line_comment>--[^\r\n]*)
  | (?P<block_comment>/\*)
  | (?P<string>(?:[eE](?P<escaped>')|[xXbB]?')|(?P<tag>\$(?:{_WORD_START}{_TAG_REST}*)?\$))
  | (?P<number>0[xX][0-9A-Fa-f_]+|0[bB][01_]+|0[oO][0-7_]+
      |(?:[0-9][0-9_]*(?:\.(?!\.)[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9][0-9_]*)?)
  | (?P<param>\$[0-9]+|\${_WORD_START}{_TAG_REST}*|\?[0-9]*)
  | (?P<quoted>["`])
  | (?P<word>{_WORD_START}{_WORD_REST}*)
  | (?P<op>{"|".join(re.escape(op) for op in _OPERATORS)}|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_STRING_END = re.compile(r"(?:[^']++|'')*+'")
_ESCAPED_END = re.compile(r"(?:[^'\\]++|\\.|'')*+'", re.DOTALL)
_ESCAPE = re.compile(
    r"\\(?:x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([0-7]{1,3})|(.))|''",
    re.DOTALL,
)
_SHORT = 8192
"""Characters of a text whose tokens are kept."""
_ESCAPE_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def tokenize(text: str) -> tuple[Token, ...]:
    """Return the tokens of `text`, comments and blanks left out.

    Raises:
        ProgrammingError: 42601, a string, quoted identifier or comment does not end.
    """
    return _kept(text) if len(text) <= _SHORT else _tokens(text)


@lru_cache(maxsize=128)
def _kept(text: str) -> tuple[Token, ...]:
    """Return the tokens of a short text: several look at one statement, and it comes again."""
    return _tokens(text)


def _tokens(text: str) -> tuple[Token, ...]:
    tokens: list[Token] = []
    at, size = 0, len(text)
    while at < size:
        match = _TOKEN.match(text, at)
        if match is None:  # pragma: no cover - the last alternative takes any character
            raise AssertionError(f"no token at {at}")
        kind = match.lastgroup or ""
        end = match.end()
        if kind in ("space", "line_comment"):
            at = end
            continue
        if kind == "block_comment":
            at = _comment_end(text, at)
            continue
        name = ""
        if kind in ("string", "tag", "escaped"):
            end = _string_end(text, at, match)
            kind = "string"
        elif kind == "quoted":
            end = _quoted_end(text, at)
            quote = text[at]
            name = text[at + 1 : end - 1].replace(quote + quote, quote)
        elif kind == "word":
            name = match.group()
        tokens.append(Token(kind, text[at:end], at, end, name))
        at = end
    return tuple(tokens)


def string_value(token: Token) -> str:
    r"""Return what a string token means: its quotes, dollar tags and escapes undone.

    >>> string_value(tokenize("'it''s'")[0]), string_value(tokenize("$$a'b$$")[0])
    ("it's", "a'b")
    """
    text = token.text
    if text[0] == "$":
        tag = text.index("$", 1) + 1
        return text[tag:-tag]
    if text[0] in "eE":
        return _ESCAPE.sub(_unescape, text[2:-1])
    return text[text.index("'") + 1 : -1].replace("''", "'")


def number_value(text: str) -> float:
    """Return a number token's value."""
    plain = text.replace("_", "")
    if len(plain) > 1 and plain[0] == "0" and plain[1] in "xXbBoO":
        return float(int(plain, 0))
    return float(plain)


def fold(name: str) -> str:
    """Return `name` as names are compared: without regard to case."""
    return name.lower()


def _unescape(match: re.Match[str]) -> str:
    two, four, eight, octal, letter = match.groups()
    if two or four or eight:
        code = int(two or four or eight, 16)
        return chr(code) if code <= 0x10FFFF else "\ufffd"
    if octal:
        return chr(int(octal, 8))
    if letter:
        return _ESCAPE_LETTERS.get(letter, letter)
    return "'"


def _comment_end(text: str, at: int) -> int:
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, at):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    raise ProgrammingError(
        "unterminated comment", span=Span(at, at + 2), hint="close the comment with */"
    )


def _string_end(text: str, at: int, match: re.Match[str]) -> int:
    tag = match.group("tag")
    if tag is not None:
        end = text.find(tag, match.end())
        if end < 0:
            raise ProgrammingError(
                "unterminated dollar-quoted string",
                span=Span(at, match.end()),
                hint=f"close the string with {tag}",
            )
        return end + len(tag)
    pattern = _ESCAPED_END if match.group("escaped") else _STRING_END
    found = pattern.match(text, match.end())
    if found is None:
        raise ProgrammingError(
            "unterminated string",
            span=Span(at, match.end()),
            hint="close the string with ' and write a quote inside it twice: 'it''s'",
        )
    return found.end()


def _quoted_end(text: str, at: int) -> int:
    quote = text[at]
    end = at + 1
    while True:
        end = text.find(quote, end)
        if end < 0:
            raise ProgrammingError(
                "unterminated quoted identifier",
                span=Span(at, at + 1),
                hint=f"close the name with {quote}",
            )
        if text[end + 1 : end + 2] != quote:
            return end + 1
        end += 2
