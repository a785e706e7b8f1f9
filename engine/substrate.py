"""DuckDB as the engine sees it: run SQL, register Arrow streams, errors as foveal's own."""

from __future__ import annotations

import re
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast

import duckdb
import pyarrow as pa

from foveal.errors import CLASSES_BY_STATE, FovealError, Span
from foveal.planner.parse.lexer import tokenize
from foveal.planner.text import Mapped

Parameters = Sequence[object] | Mapping[str, object] | None

# Our own results leave as rows or as Arrow, whichever is asked for first; the copy is known.
warnings.filterwarnings("ignore", message="Arrow output on a DB-API result")

_STATES: tuple[tuple[type[Exception], str], ...] = (
    (duckdb.ParserException, "42601"),
    (duckdb.SyntaxException, "42601"),
    (duckdb.CatalogException, "42P01"),
    (duckdb.BinderException, "42703"),
    (duckdb.ConversionException, "22P02"),
    (duckdb.OutOfRangeException, "22003"),
    (duckdb.ConstraintException, "23505"),
    (duckdb.TypeMismatchException, "42804"),
    (duckdb.TransactionException, "25000"),
    (duckdb.PermissionException, "42501"),
    (duckdb.InvalidInputException, "22023"),
    (duckdb.InvalidTypeException, "42804"),
    (duckdb.NotImplementedException, "0A000"),
    (duckdb.InterruptException, "57014"),
    (duckdb.OutOfMemoryException, "53200"),
    (duckdb.SerializationException, "58030"),
    (duckdb.IOException, "58030"),
    (duckdb.ConnectionException, "08006"),
    (duckdb.DependencyException, "2BP01"),
    (duckdb.IntegrityError, "23000"),
    (duckdb.NotSupportedError, "0A000"),
    (duckdb.DataError, "22000"),
    (duckdb.ProgrammingError, "42000"),
    (duckdb.OperationalError, "58000"),
    (duckdb.InternalError, "XX000"),
    (duckdb.Error, "XX000"),
)
"""DuckDB's exception classes, narrower ones first, and the SQLSTATE each stands for."""


class ArrowStream(Protocol):
    """Anything that gives an Arrow stream, anew each time it is asked."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a PyCapsule of an ArrowArrayStream."""
        ...


def translate(
    error: Exception, text: str | None = None, mapped: Mapped | None = None
) -> FovealError:
    """Return DuckDB's error as ours, its message unchanged.

    With `mapped`, the text that failed was an edited one: the `LINE ..` part, which quotes it, is
    taken off the message and becomes a span of the user's text instead.
    """
    state = next(code for kind, code in _STATES if isinstance(error, kind))
    message = str(error)
    if isinstance(error, duckdb.TransactionException) and "onflict" in message:
        state = "40001"
    if isinstance(error, duckdb.TransactionException) and "aborted" in message:
        state = "25P02"
    if isinstance(error, duckdb.IOException) and "lock" in message.lower():
        state = "55006"
    span = None
    if text is not None and mapped is not None:
        message, place = _without_line(message, text)
        span = mapped.source(place) if place is not None else None
    kind = CLASSES_BY_STATE.get(state[:2])
    if kind is None:
        kind = CLASSES_BY_STATE["25" if state.startswith("40") else "58"]
    return kind(message, sqlstate=state, span=span)


def _without_line(message: str, text: str) -> tuple[str, Span | None]:
    """Split DuckDB's message from its quoted line; return the offset its caret points at."""
    at = message.find("\n\nLINE ")
    if at < 0:
        return message, None
    lines = message[at + 2 :].split("\n")
    if len(lines) < 2 or "^" not in lines[1]:
        return message[:at], None
    head, _, quoted = lines[0].partition(": ")
    caret = lines[1].index("^") - len(head) - 2
    width = lines[1].count("^")
    core = quoted.removeprefix("...").removesuffix("...")
    caret -= 3 if quoted.startswith("...") else 0
    found = text.find(core)
    if found < 0 or not 0 <= caret <= len(core):
        return message[:at], None
    return message[:at], Span(found + caret, found + caret + max(width, 1))


def place_by_name(error: FovealError, sql: str) -> None:
    """Take the quotation of a text that is not the user's off an error, in place.

    Its span becomes the place in `sql` of the first name that the message quotes.
    """
    message, at, rest = error.message.partition("\n\nLINE ")
    quoted = rest.split("\n")[0].partition(": ")[2].removeprefix("...").removesuffix("...")
    if not at or error.span is not None or quoted in sql:
        return
    message = re.sub(r'"__\w+"(, )?', "", message).rstrip(", ")  # names that are ours alone
    error.message, error.args = message, (message,)
    named = {name.lower() for name in re.findall(r'"([^"]+)"', message)[:1]}
    for token in tokenize(sql):
        if token.kind in ("word", "quoted") and token.name.lower() in named:
            error.span = Span(token.start, token.end)
            return


def bindings(sql: str, parameters: Mapping[str, object]) -> dict[str, object] | None:
    """Return the parameters that `sql` mentions, as DuckDB wants them, or None."""
    if not parameters:
        return None
    keys = {t.text[1:] for t in tokenize(sql) if t.kind == "param"}
    return {key: parameters[key] for key in keys if key in parameters} or None


class Substrate:
    """One DuckDB connection. Calls may raise FovealError with DuckDB's own message."""

    def __init__(self, database: str, *, read_only: bool = False) -> None:
        """Open the database.

        Raises:
            OperationalError: 55006, another process holds it; 58030, it cannot be opened.
        """
        try:
            self.connection = duckdb.connect(database, read_only=read_only)
        except duckdb.Error as error:
            raise translate(error) from error
        self.in_transaction = False

    def execute(
        self, sql: str, parameters: Parameters = None, *, mapped: Mapped | None = None
    ) -> duckdb.DuckDBPyConnection:
        """Run one statement; its result is pending on the connection."""
        try:
            if parameters:
                return self.connection.execute(sql, cast("Any", parameters))
            return self.connection.execute(sql)
        except duckdb.Error as error:
            raise translate(error, sql, mapped) from error

    def table(self, sql: str, parameters: Parameters = None) -> pa.Table:
        """Run one query and return all of it."""
        try:
            found = self.execute(sql, parameters).to_arrow_table()
        except duckdb.Error as error:
            raise translate(error) from error
        assert found is not None  # a query always has a result
        return found

    def rows(self, sql: str, parameters: Parameters = None) -> list[tuple[Any, ...]]:
        """Run one query and return its rows."""
        try:
            return self.execute(sql, parameters).fetchall()
        except duckdb.Error as error:
            raise translate(error) from error

    def register(self, name: str, stream: ArrowStream) -> None:
        """Make `stream` a table called `name`."""
        try:
            self.connection.register(name, cast("Any", stream))
        except duckdb.Error as error:
            raise translate(error) from error

    def unregister(self, name: str) -> None:
        """Forget the table called `name`; a name that a rollback took or takes away is no error."""
        try:
            self.connection.unregister(name)
        except duckdb.Error as error:
            told = translate(error)
            if told.sqlstate != "25P02":
                raise told from error

    @contextmanager
    def atomic(self) -> Generator[None]:
        """Run what is inside as a whole: in the open transaction, else in one of its own."""
        if self.in_transaction:
            yield
            return
        self.rows("BEGIN")
        try:
            yield
        except BaseException:
            self.rows("ROLLBACK")
            raise
        self.rows("COMMIT")

    def interrupt(self) -> None:
        """Stop the running statement, from any thread."""
        self.connection.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
