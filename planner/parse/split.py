"""A script's text → the spans of its statements."""

from __future__ import annotations

from foveal.errors import Span
from foveal.planner.parse.lexer import tokenize


def split(text: str) -> list[Span]:
    """Return each statement's span, from its first token to its last, without the semicolon.

    A statement ends at a `;` outside of brackets; those without a token are left out.

    Raises:
        ProgrammingError: 42601, a string, quoted identifier or comment does not end.

    >>> split("SELECT ';' ; ; FROM t -- end;")
    [Span(start=0, end=10), Span(start=15, end=21)]
    """
    spans: list[Span] = []
    start = end = -1
    depth = 0
    for token in tokenize(text):
        if token.kind == "op":
            if token.text in "([{":
                depth += 1
            elif token.text in ")]}":
                depth = max(0, depth - 1)
            elif token.text == ";" and depth == 0:
                if start >= 0:
                    spans.append(Span(start, end))
                start = -1
                continue
        if start < 0:
            start = token.start
        end = token.end
    if start >= 0:
        spans.append(Span(start, end))
    return spans
