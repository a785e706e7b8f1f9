"""One statement's result: rows read ahead, and the engine's stream for those still to come.

Methods that read from the engine run in the session's thread (`read*`, `settle`, `arrow_table`,
`open_batches`, `next_batch`, `close`); the others only touch what was read.
"""

from __future__ import annotations

import re
import weakref
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from foveal import errors, types
from foveal.reports import Notice

if TYPE_CHECKING:
    import pyarrow as pa

    from foveal.engine.session import Result

Row = tuple[Any, ...]
Description = tuple[str, str, None, None, int | None, int | None, None]

_MOST_AHEAD = 1024
"""Rows read ahead at most. The first read takes one, so that a slow first row is not waited on."""


class ResultSet:
    """Reads a `Result` once, as rows or as Arrow batches, and survives its session moving on."""

    def __init__(self, result: Result, owner: object) -> None:
        """Read `result` for `owner`, a cursor, if any; a result whose owner is gone is not kept."""
        self._result = result
        self._owner = None if owner is None else weakref.ref(owner)
        self._rows: deque[Row] = deque()
        self._ahead = 1
        self._started = False
        self._batched = False
        self._cut_off = False
        self._reader: pa.RecordBatchReader | None = None
        self._batches: deque[pa.RecordBatch] = deque()
        self.tag = result.tag
        self.columns = result.columns
        self.rowcount = result.rowcount
        self.report = result.report
        self.position = 0
        self.complete = not result.columns

    def wanted(self) -> bool:
        """Return whether somebody can still ask for the rest."""
        return self._owner is not None and self._owner() is not None

    def drop(self) -> None:
        """Say that the owner will not ask for the rest."""
        self._owner = None

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What the statement remarked so far; it may go on while rows are read."""
        return tuple(self._result.notices)

    @property
    def description(self) -> list[Description] | None:
        """PEP 249's description, None when the statement returns no rows."""
        if not self.columns:
            return None
        described: list[Description] = []
        for column in self.columns:
            precision, scale = types.decimal_shape(column.type) or (None, None)
            described.append((column.name, column.type, None, None, precision, scale, None))
        return described

    # --- from what was read ----------------------------------------------------------------

    def ready(self, size: int) -> bool:
        """Return whether the next `size` rows are here, or all there are."""
        return self.complete or len(self._rows) >= size

    def take_one(self) -> Row | None:
        """Return the next row that was read, None when there is none."""
        if not self._rows:
            return None
        self.position += 1
        return self._rows.popleft()

    def take(self, size: int | None) -> list[Row]:
        """Return up to `size` rows that were read, all for None."""
        if size is None or size >= len(self._rows):
            rows = list(self._rows)
            self._rows.clear()
        else:
            rows = [self._rows.popleft() for _ in range(max(size, 0))]
        self.position += len(rows)
        return rows

    # --- from the engine -------------------------------------------------------------------

    def read_ahead(self) -> None:
        """Read some rows, twice as many as the last time."""
        self.read(self._ahead)
        self._ahead = min(self._ahead * 2, _MOST_AHEAD)

    def read(self, size: int) -> None:
        """Read until `size` rows are here or the end is reached."""
        self._as_rows()
        while not self.ready(size):
            self._append(self._result.fetchmany(size - len(self._rows)))

    def settle(self) -> None:
        """Read everything into memory and free the session."""
        if self.complete:
            return
        if self._reader is not None:
            self._batches.extend(self._reader)
        else:
            self._as_rows()
            self._rows.extend(self._result.fetchall())
        self._end()

    def arrow_table(self) -> pa.Table:
        """Return the rest as a table."""
        self._not_batched()
        if self._started or self.complete:
            self.settle()
            return self._table_of_rows()
        table: pa.Table = self._result.arrow_table()
        self._started = True
        self.position += table.num_rows
        self._end()
        return table

    def open_batches(self, rows: int) -> pa.Schema:
        """Begin to read the rest as batches of up to `rows` rows; return their schema."""
        self._not_batched()
        if self._started or self.complete:
            self.settle()
            self._reader = self._table_of_rows().to_reader(rows)
        else:
            self._reader = self._result.arrow_reader(rows)
        self._batched = True
        return self._reader.schema

    def next_batch(self) -> pa.RecordBatch | None:
        """Return the next batch, None at the end."""
        if self._cut_off:
            raise errors.InterfaceError("the cursor went on to another statement")
        if self._batches:
            batch = self._batches.popleft()
        elif self._reader is None:
            return None
        else:
            try:
                batch = self._reader.read_next_batch()
            except StopIteration:
                self._end()
                return None
        self.position += batch.num_rows
        return batch

    def close(self) -> None:
        """Free the session of a result that nobody reads on; the rest of it is lost."""
        self._cut_off = not self.complete
        self._end()

    def _end(self) -> None:
        self._reader = None
        self.complete = True
        self._result.close()

    def _not_batched(self) -> None:
        if self._batched:
            raise errors.InterfaceError("the result is being read as record batches")

    def _as_rows(self) -> None:
        self._not_batched()
        self._started = True

    def _append(self, rows: Iterable[Row]) -> None:
        before = len(self._rows)
        self._rows.extend(rows)
        if len(self._rows) == before:
            self._end()

    def _table_of_rows(self) -> pa.Table:
        """Return the rows in memory as a table and count them as taken.

        Raises:
            InterfaceError: a column's Arrow value cannot be made from its Python value.
        """
        import pyarrow as pa

        rows = self.take(None)
        arrays: list[pa.Array[Any]] = []
        for at, column in enumerate(self.columns):
            values = [row[at] for row in rows]
            try:
                arrays.append(_arrow_array(values, column.type))
            except (pa.ArrowException, TypeError, ValueError) as error:
                raise errors.InterfaceError(
                    f'column "{column.name}" ({column.type}) was read as Python values, which '
                    "Arrow cannot hold: fetch Arrow first, before rows and other statements"
                ) from error
        return pa.Table.from_arrays(arrays, names=[column.name for column in self.columns])


_LOSSY = re.compile(r"\b(INTERVAL|VARIANT|UNION|BIGNUM|BIT)\b")
"""Types whose Python value says less than their Arrow value: a timedelta has no months."""


def _arrow_array(values: list[Any], type_text: str) -> pa.Array[Any]:
    import pyarrow as pa

    if _LOSSY.search(type_text):
        raise TypeError(type_text)
    match types.lookup(type_text).name:
        case "UUID":
            values = [None if value is None else str(value) for value in values]
        case "MAP":
            values = [None if value is None else list(value.items()) for value in values]
        case _:
            pass
    return pa.array(values, types.arrow_type(type_text))
