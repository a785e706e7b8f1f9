"""PEP 249 cursor: runs statements on a connection's session and hands out their rows."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from foveal import errors
from foveal.reports import Notice, ProgressCallback, QueryReport
from foveal.result_set import Description, ResultSet, Row
from foveal.session_thread import Parameters

if TYPE_CHECKING:
    import pyarrow as pa

    from foveal.dbapi import Connection

T = TypeVar("T")

_FIRST_WORD = re.compile(r"(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*([A-Za-z]*)", re.DOTALL)
_TRANSACTION_WORDS = frozenset({"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT"})


class _LastReport(threading.local):
    report: QueryReport | None = None


LAST = _LastReport()
"""The report of the last statement that a thread ran, one per thread."""


class Cursor:
    """Runs statements and hands out their rows. Made by `Connection.cursor`."""

    arraysize: int = 1
    lastrowid: None = None

    def __init__(self, connection: Connection) -> None:
        """Belong to `connection`."""
        self.connection = connection
        self.statement = ""
        self._sets: list[ResultSet] = []
        self._rowcount: int | None = None
        self._closed = False

    # --- running ---------------------------------------------------------------------------

    def execute(self, operation: str, parameters: Parameters | None = None) -> Self:
        """Run a statement, or each statement of a script in order, and return the cursor.

        The cursor then stands at the first statement's result; `nextset` goes on. Parameters are
        a sequence for `?`, a mapping for `$name`, and need `operation` to be one statement.

        Raises:
            ProgrammingError, DataError, ...: as the statement deserves (see foveal.errors).
            KeyboardInterrupt: Ctrl-C. Without a `__cause__` the statement did end with an answer,
                which can be fetched: the estimate that an approximate aggregate had reached.
        """
        connection = self._fresh()
        thread = connection.thread
        _check_parameters(parameters)

        def work(report: ProgressCallback) -> None:
            statements = thread.session.split(operation)
            if parameters and len(statements) != 1:
                raise errors.ProgrammingError(
                    f"parameters need one statement, the text has {len(statements)}",
                    hint="execute the statements one by one",
                )
            progress = report if connection.progress is not None else None
            try:
                for statement in statements:
                    self._begin(statement)
                    self._sets.append(thread.run(statement, parameters, progress, self))
            except BaseException:
                self._forget()
                raise

        self._publish(work)
        return self

    def executemany(self, operation: str, parameters: Iterable[Parameters]) -> Self:
        """Run one statement once for each of `parameters`, all or none; rows are discarded.

        `rowcount` is the sum. Inside an open transaction it is the transaction that decides.
        """
        connection = self._fresh()
        thread, session = connection.thread, connection.session
        rounds = list(parameters)
        for each in rounds:
            _check_parameters(each)

        def once(each: Parameters) -> int:
            rows = thread.run(operation, each, None, None)
            thread.settle()
            return rows.rowcount

        def work(_: ProgressCallback) -> None:
            thread.settle()
            own = connection.autocommit and not session.in_transaction and bool(rounds)
            if own:
                session.begin()
            try:
                self._begin(operation)
                changed = [once(each) for each in rounds]
            except BaseException:
                if own and session.in_transaction:
                    session.rollback()
                raise
            if own:
                session.commit()
            self._rowcount = -1 if -1 in changed else sum(changed)

        self._publish(work)
        return self

    def callproc(self, procname: str, parameters: Sequence[object] = ()) -> list[object]:
        """Select the function `procname` of `parameters`; its value is the result's only row."""
        name = ".".join('"' + part.replace('"', '""') + '"' for part in procname.split("."))
        marks = ", ".join("?" * len(parameters))
        self.execute(f"SELECT {name}({marks})", parameters)
        return list(parameters)

    def cancel(self) -> None:
        """Stop the statement running on this cursor's connection (see `Connection.cancel`)."""
        self.connection.cancel()

    def setinputsizes(self, sizes: Sequence[object], /) -> None:
        """Do nothing, as PEP 249 allows."""

    def setoutputsize(self, size: int, column: int | None = None, /) -> None:
        """Do nothing, as PEP 249 allows."""

    # --- what came back --------------------------------------------------------------------

    @property
    def description(self) -> list[Description] | None:
        """A row per result column: name, type code, then precision and scale of a DECIMAL.

        The type code is DuckDB's type text; it equals one of STRING, NUMBER, .... None when the
        statement returned no rows.
        """
        return self._sets[0].description if self._sets else None

    @property
    def rowcount(self) -> int:
        """Rows changed, or -1 when unknown (a SELECT)."""
        if self._rowcount is not None:
            return self._rowcount
        return self._sets[0].rowcount if self._sets else -1

    @property
    def rownumber(self) -> int | None:
        """Index of the next row in the result, None without one."""
        return self._sets[0].position if self.description is not None else None

    @property
    def tag(self) -> str:
        """The command tag of the current result, such as `SELECT` or `CREATE VIDEO TABLE`."""
        return self._sets[0].tag if self._sets else ""

    @property
    def report(self) -> QueryReport | None:
        """The report of the current result's statement."""
        return self._sets[0].report if self._sets else None

    @property
    def notices(self) -> list[Notice]:
        """What the statements remarked; an approximate one may go on while rows are fetched."""
        return [notice for rows in self._sets for notice in rows.notices]

    @property
    def messages(self) -> list[tuple[type[Exception], Exception]]:
        """The notices in PEP 249's form."""
        return [(errors.Warning, errors.Warning(notice.message)) for notice in self.notices]

    def nextset(self) -> bool | None:
        """Go to the next statement's result. Return None when there is no other."""
        self._alive()
        if len(self._sets) <= 1:
            return None
        self._sets.pop(0).drop()
        return True

    def wait_for_rows(self) -> None:
        """Return when the first row is there, without taking it, or when there is none."""
        rows = self._result()
        if not rows.ready(1):
            self._read(rows.read_ahead)

    def fetchone(self) -> Row | None:
        """Return the next row, or None at the end."""
        self.wait_for_rows()
        return self._result().take_one()

    def fetchmany(self, size: int | None = None) -> list[Row]:
        """Return up to `size` rows (`arraysize` if not given)."""
        rows, wanted = self._result(), self.arraysize if size is None else size
        if not rows.ready(wanted):
            self._read(lambda: rows.read(wanted))
        return rows.take(wanted)

    def fetchall(self) -> list[Row]:
        """Return the rest of the rows."""
        rows = self._result()
        if not rows.complete:
            self._read(rows.settle)
        return rows.take(None)

    def fetch_arrow_table(self) -> pa.Table:
        """Return the rest of the rows as an Arrow table."""
        return self._read(self._result().arrow_table)

    def fetch_record_batch(self, rows: int = 65_536) -> pa.RecordBatchReader:
        """Return the rest as a stream of Arrow batches, computed as they are read.

        Batches have up to `rows` rows. Another statement on the connection first reads the rest
        of the stream into memory.
        """
        import pyarrow as pa

        result = self._result()
        schema = self._read(lambda: result.open_batches(rows))

        def batches() -> Iterator[pa.RecordBatch]:
            while (batch := self._read(result.next_batch)) is not None:
                yield batch

        return pa.RecordBatchReader.from_batches(schema, batches())

    def df(self) -> Any:
        """Return the rest of the rows as a pandas DataFrame.

        Raises:
            InterfaceError: pandas is not installed.
        """
        try:
            import pandas  # noqa: F401  # pyright: ignore
        except ImportError as error:
            message = "df() needs pandas, which is not installed: pip install pandas"
            raise errors.InterfaceError(message) from error
        return cast("Any", self.fetch_arrow_table()).to_pandas()

    def close(self) -> None:
        """Free the result. Any other call afterwards raises InterfaceError."""
        unread = any(not rows.complete for rows in self._sets)
        self._forget()
        self._closed = True
        if unread and not self.connection.closed:
            thread = self.connection.thread
            thread.call(lambda _: thread.settle())

    def __iter__(self) -> Self:
        """Iterate over the rest of the rows."""
        return self

    def __next__(self) -> Row:
        """Return the next row."""
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    def __enter__(self) -> Self:
        """Return the cursor."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the cursor."""
        self.close()

    # --- inside ----------------------------------------------------------------------------

    def _alive(self) -> Connection:
        if self._closed:
            raise errors.InterfaceError("the cursor is closed")
        return self.connection

    def _fresh(self) -> Connection:
        """Forget the last statement and return the connection."""
        connection = self._alive()
        self._forget()
        self._rowcount = None
        self.statement = ""
        return connection

    def _forget(self) -> None:
        for rows in self._sets:
            rows.drop()
        self._sets = []

    def _begin(self, statement: str) -> None:
        """Open the transaction that PEP 249 wants before `statement`, unless on autocommit."""
        self.statement = statement
        connection = self.connection
        if not connection.autocommit and not connection.in_transaction:
            word = _FIRST_WORD.match(statement)
            if word is not None and word[1].upper() not in _TRANSACTION_WORDS:
                connection.thread.settle()
                connection.session.begin()

    def _publish(self, work: Callable[[ProgressCallback], None]) -> None:
        """Run `work` and make known what its statements said about themselves."""
        connection = self.connection
        try:
            connection.thread.call(work, connection.progress)
        finally:
            LAST.report = connection.last_query()

    def _result(self) -> ResultSet:
        self._alive()
        if not self._sets or self.description is None:
            raise errors.InterfaceError("there are no rows to fetch: run a query first")
        return self._sets[0]

    def _read(self, work: Callable[[], T]) -> T:
        """Run `work`, which reads from the engine, in the session's thread."""
        connection = self._alive()
        return connection.thread.call(lambda _: work(), connection.progress)


def _check_parameters(parameters: object) -> None:
    if parameters is None or isinstance(parameters, Mapping):
        return
    if isinstance(parameters, str | bytes) or not isinstance(parameters, Sequence):
        kind = type(parameters).__name__
        raise errors.InterfaceError(f"parameters are a sequence or a mapping, not {kind}")
