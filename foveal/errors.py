"""Every error foveal raises: PEP 249 classes with an SQLSTATE, a place in the text and a hint.

The tree (PEP 249)::

    builtins.Warning
    └── Warning
    builtins.Exception
    └── Error
        ├── InterfaceError
        └── DatabaseError  (FovealError: sqlstate, span, hint, detail)
            ├── DataError            22xxx
            ├── OperationalError     38xxx 53xxx 55xxx 57xxx 58xxx
            ├── IntegrityError       23xxx
            ├── InternalError        XX000
            ├── ProgrammingError     42xxx 25xxx
            └── NotSupportedError    0A000
"""

from __future__ import annotations

import builtins
import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of code points `[start, end)` in the statement's text."""

    start: int
    end: int


class Warning(builtins.Warning):
    """PEP 249 Warning."""


class Error(Exception):
    """PEP 249 Error: the base of all that follows."""


class InterfaceError(Error):
    """The caller misused the API (a closed cursor, a wrong argument)."""

    sqlstate = "08000"


class FovealError(Error):
    """An error with an SQLSTATE, and where known a span of the statement, a hint and a detail."""

    sqlstate: str = "XX000"

    def __init__(
        self,
        message: str,
        *,
        sqlstate: str | None = None,
        span: Span | None = None,
        hint: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Keep the parts; `str(error)` is the bare message."""
        super().__init__(message)
        self.message = message
        if sqlstate is not None:
            self.sqlstate = sqlstate
        self.span = span
        self.hint = hint
        self.detail = detail


DatabaseError = FovealError


class DataError(FovealError):
    """A value is wrong (22xxx)."""

    sqlstate = "22000"


class OperationalError(FovealError):
    """The world is not as the statement needs it: files, locks, limits, cancellation."""

    sqlstate = "58000"


class IntegrityError(FovealError):
    """A constraint is violated (23xxx)."""

    sqlstate = "23000"


class InternalError(FovealError):
    """A fault of foveal itself (XX000)."""

    sqlstate = "XX000"


class ProgrammingError(FovealError):
    """The statement is wrong (42xxx)."""

    sqlstate = "42601"


class NotSupportedError(FovealError):
    """The statement is understood and refused (0A000)."""

    sqlstate = "0A000"


class QueryCanceled(OperationalError):
    """The statement was cancelled by its user (57014)."""

    sqlstate = "57014"


CLASSES_BY_STATE: dict[str, type[FovealError]] = {
    "0A": NotSupportedError,
    "22": DataError,
    "23": IntegrityError,
    "25": ProgrammingError,
    "42": ProgrammingError,
    "38": OperationalError,
    "53": OperationalError,
    "55": OperationalError,
    "57": OperationalError,
    "58": OperationalError,
    "XX": InternalError,
}
"""SQLSTATE class (its first two characters) to exception class."""


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return a hint naming the nearest known word, or None when nothing is near.

    >>> did_you_mean("persn", ["person", "car"])
    'did you mean "person"?'
    """
    names = sorted(set(known))
    folded = {name.lower(): name for name in names}
    near = difflib.get_close_matches(word.lower(), list(folded), n=1, cutoff=0.6)
    return f'did you mean "{folded[near[0]]}"?' if near else None


def display_width(text: str) -> int:
    """Return the number of terminal cells that `text` takes (wide characters take two)."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def render(error: BaseException, sql: str | None = None) -> str:
    """Return the error as a person reads it: severity, SQLSTATE, line with caret, detail, hint."""
    if not isinstance(error, FovealError):
        state = getattr(error, "sqlstate", "XX000")
        return f"ERROR {state}: {error}"
    lines = [f"ERROR {error.sqlstate}: {error.message}"]
    span = error.span
    if sql is not None and span is not None and 0 <= span.start <= len(sql):
        line_start = sql.rfind("\n", 0, span.start) + 1
        line_end = sql.find("\n", span.start)
        line_end = len(sql) if line_end < 0 else line_end
        number = sql.count("\n", 0, span.start) + 1
        source = sql[line_start:line_end].rstrip("\r")
        before = source[: span.start - line_start].expandtabs(4)
        marked = sql[span.start : min(max(span.end, span.start + 1), line_end)]
        carets = "^" * max(1, display_width(marked.rstrip()))
        gutter = f"  {number} | "
        lines.append(gutter + source.expandtabs(4))
        lines.append(" " * (len(gutter) - 2) + "| " + " " * display_width(before) + carets)
    if error.detail:
        lines.append(f"DETAIL: {error.detail}")
    if error.hint:
        lines.append(f"HINT: {error.hint}")
    return "\n".join(lines)
