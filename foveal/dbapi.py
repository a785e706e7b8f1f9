"""PEP 249: the module's names, and the connection over a session.

A connection commits every statement by itself (`autocommit`) unless told otherwise. Its session
lives in a thread of its own, so Ctrl-C stops a statement; calls from several threads take turns.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from foveal import errors
from foveal.cursor import LAST, Cursor
from foveal.reports import Notice, ProgressCallback, QueryReport, StreamWindow
from foveal.session_thread import Parameters, SessionThread
from foveal.settings import Value

if TYPE_CHECKING:
    import numpy.typing as npt

    from foveal.engine.session import Session
    from foveal.udfs.functions.udf import Udf

apilevel = "2.0"
threadsafety = 2
"""Threads may share the module and connections, which serialise; a cursor belongs to one thread."""
paramstyle = "qmark"

Date = date
Time = time
Timestamp = datetime
Binary = bytes

DateFromTicks = date.fromtimestamp
TimestampFromTicks = datetime.fromtimestamp


def TimeFromTicks(ticks: float) -> time:
    """Return the local time of day at `ticks` seconds since the epoch."""
    return datetime.fromtimestamp(ticks).time()


def connect(
    database: str | os.PathLike[str] = ":memory:",
    *,
    read_only: bool = False,
    settings: Mapping[str, Value] | None = None,
    autocommit: bool = True,
    progress: ProgressCallback | None = None,
) -> Connection:
    """Open a database: a DuckDB file, or memory.

    `settings` are `foveal.*` settings by their bare names. With `autocommit=False` the first
    statement opens a transaction that `commit()` or `rollback()` ends. `progress` is called, in
    the thread that executes, while a long statement runs.

    Raises:
        OperationalError: 58030, the file cannot be opened; 55006, another process has it.
        ProgrammingError: 42704, a setting does not exist.
    """
    return Connection(
        os.fspath(database),
        read_only=read_only,
        settings=settings,
        autocommit=autocommit,
        progress=progress,
    )


def last_query() -> QueryReport | None:
    """Return the report of the last statement that this thread ran, on any connection."""
    return LAST.report


class Connection:
    """One session. Made by `foveal.connect`."""

    Warning = errors.Warning
    Error = errors.Error
    InterfaceError = errors.InterfaceError
    DatabaseError = errors.DatabaseError
    DataError = errors.DataError
    OperationalError = errors.OperationalError
    IntegrityError = errors.IntegrityError
    InternalError = errors.InternalError
    ProgrammingError = errors.ProgrammingError
    NotSupportedError = errors.NotSupportedError

    def __init__(
        self,
        database: str,
        *,
        read_only: bool,
        settings: Mapping[str, Value] | None,
        autocommit: bool,
        progress: ProgressCallback | None,
    ) -> None:
        """Start the session; arguments as `connect`."""

        def start() -> Session:
            from foveal.engine.session import Session

            return Session(database, read_only=read_only, settings=settings)

        self.progress = progress
        self._autocommit = autocommit
        self._thread: SessionThread | None = SessionThread(start)
        self._finish = weakref.finalize(self, self._thread.close)

    # --- PEP 249 ---------------------------------------------------------------------------

    def cursor(self) -> Cursor:
        """Return a new cursor."""
        _ = self.thread
        return Cursor(self)

    def commit(self) -> None:
        """Commit the transaction, if one is open."""
        self._end_transaction(self.session.commit)

    def rollback(self) -> None:
        """Roll the transaction back, if one is open. What a detector was paid for stays cached."""
        self._end_transaction(self.session.rollback)

    def close(self) -> None:
        """Cancel what runs, roll back an open transaction and end the session.

        Raises:
            InterfaceError: the connection is closed already (PEP 249).
        """
        _ = self.thread
        self._thread = None
        self._finish()

    # --- more than PEP 249 -----------------------------------------------------------------

    def execute(self, operation: str, parameters: Parameters | None = None) -> Cursor:
        """Run `operation` on a new cursor and return the cursor."""
        return self.cursor().execute(operation, parameters)

    def executemany(self, operation: str, parameters: Iterable[Parameters]) -> Cursor:
        """Run `operation` once for each of `parameters` on a new cursor and return the cursor."""
        return self.cursor().executemany(operation, parameters)

    def cancel(self) -> None:
        """Stop the statement that is running, from any thread.

        An approximate aggregate then returns its valid interval so far; any other statement
        raises QueryCanceled where it was executed. Does nothing when no statement runs.
        """
        self.thread.cancel()

    def create_pixel_function(
        self,
        name: str,
        function: Callable[[list[Any]], Sequence[Any] | npt.NDArray[Any]],
        returns: str,
        cost: float | None = None,
        *,
        version: str | None = None,
    ) -> None:
        """Let statements call `name(content)` and `name(image)`.

        `function` takes a list of pictures, uint8 RGB arrays [h, w, 3] of at least one pixel, and
        returns a list or array with a value for each, None for NULL. It runs in threads of the
        engine, one at a time. `returns` is DOUBLE, BIGINT, BOOLEAN, VARCHAR or BLOB. `cost` is how
        many seconds a picture takes; what calls take is measured, so it matters to the first
        statement only. Answers are looked up before a call: as long as the connection lasts, or
        with `version` for good, under the name, the type and the version.

        A statement fails with 38000 and the function's name where the function raises.

        Raises:
            ProgrammingError: 42602, the name is none; 42723, foveal has a function of that name;
                25001, a transaction is open.
            DataError: 22023, a function cannot return that type, or a cost is below 0.
        """
        session = self.session
        self.thread.call(
            lambda _: session.create_pixel_function(name, function, returns, cost, version)
        )

    def create_function(
        self,
        function: Udf[..., Any] | Callable[..., Any],
        name: str | None = None,
        *,
        parameters: Sequence[str] | None = None,
        returns: str | None = None,
        type: str = "scalar",
        null_handling: str = "strict",
        volatile: bool = False,
        cost: float | None = None,
    ) -> None:
        """Let statements of this connection call a Python function.

        What `@foveal.udf` made says its types itself; of another callable they are said here as
        there, see `foveal.udf`. CREATE FUNCTION keeps a function in the database instead.

        A statement fails with 38000, the function's name and the line where the function raises.

        Raises:
            ProgrammingError: 42723, there is a function of that name; 42P13, a type is missing;
                25001, a transaction is open.
            DataError: 42704, there is no such type.
        """
        from foveal.udfs.functions.udf import Udf, user_function

        if isinstance(function, Udf):
            made = function.made if name is None else replace(function.made, name=name)
        else:
            made = user_function(
                function, parameters=parameters, returns=returns, name=name, batch=type,
                null_handling=null_handling, volatile=volatile, cost=cost,
            )  # fmt: skip
        session = self.session
        self.thread.call(lambda _: session.create_function(made))

    def follow(
        self,
        stream: str,
        *,
        seconds: float | None = None,
        windows: int | None = None,
        notice: Callable[[Notice], None] | None = None,
    ) -> Iterator[StreamWindow]:
        """Record a video stream and yield each window as soon as it was looked at.

        Recording goes on while the caller works, and the connection may run other statements
        between two windows. It ends with the stream, with the first window at which `seconds` of
        it were seen, after `windows`, or when the iterator is closed: then the window under way is
        not kept. `notice` is told of lost connections and the like.

        Raises:
            ProgrammingError: 42P01, there is no such stream.
            OperationalError: 58030, the source cannot be opened or read.
        """
        thread, count, seen = self.thread, 0, 0.0
        following = thread.call(lambda _: thread.session.follow(stream))
        try:
            while (windows is None or count < windows) and (seconds is None or seen < seconds):
                window, notices = thread.call(
                    lambda report: thread.session.next_window(
                        following, report if self.progress is not None else None
                    ),
                    self.progress,
                )
                if notice is not None:
                    for each in notices:
                        notice(each)
                if window is None:
                    return
                count, seen = count + 1, seen + window.seconds
                yield window
        finally:
            following.close()

    def last_query(self) -> QueryReport | None:
        """Return the report of the last statement that ran to its end: interval, plan, costs."""
        return self.thread.report

    @property
    def thread(self) -> SessionThread:
        """The thread that the session lives in.

        Raises:
            InterfaceError: the connection is closed.
        """
        if self._thread is None:
            raise errors.InterfaceError("the connection is closed")
        return self._thread

    @property
    def session(self) -> Session:
        """The session underneath."""
        return self.thread.session

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._thread is None

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self.session.in_transaction

    @property
    def autocommit(self) -> bool:
        """Whether each statement commits by itself. Cannot change inside a transaction."""
        return self._autocommit

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        if self.in_transaction:
            raise errors.ProgrammingError(
                "autocommit cannot change inside a transaction",
                sqlstate="25001",
                hint="commit() or rollback() first",
            )
        self._autocommit = value

    def __enter__(self) -> Self:
        """Return the connection."""
        _ = self.thread
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit, or roll back after an exception; then close, as psycopg does."""
        if self.closed:
            return
        try:
            if kind is None:
                self.commit()
        finally:
            self.close()

    def _end_transaction(self, end: Callable[[], None]) -> None:
        thread = self.thread

        def work(_: ProgressCallback) -> None:
            thread.settle()
            if thread.session.in_transaction:
                end()

        thread.call(work)
