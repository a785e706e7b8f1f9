"""A statement's result: rows as DuckDB's Python gives them, or Arrow; read once, in order."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from foveal.engine.substrate import Substrate, translate
from foveal.errors import FovealError
from foveal.reports import Notice, QueryReport
from foveal.types import arrow_type


@dataclass(frozen=True, slots=True)
class Column:
    """A result column: its name and DuckDB type."""

    name: str
    type: str


class Result:
    """Rows pending on the session's connection, or rows kept here.

    Only one result is pending per session: the next statement makes the session `detach` it,
    which keeps its remaining rows here.
    """

    def __init__(
        self,
        tag: str,
        report: QueryReport,
        *,
        columns: tuple[Column, ...] = (),
        rowcount: int = -1,
        substrate: Substrate | None = None,
        table: pa.Table | None = None,
        rows: list[tuple[Any, ...]] | None = None,
        finish: Callable[[Exception | None], Exception | None] | None = None,
    ) -> None:
        """Take a pending result of `substrate`, or a whole `table`, or all `rows`, or none.

        `finish` is called once, when the rows are exhausted or given up, with the error that
        ended them; it returns the error to raise instead.
        """
        self.tag = tag
        self.report = report
        self.columns = columns
        self.rowcount = rowcount
        self._substrate = substrate
        self._finish = finish
        self._rows: Iterator[tuple[Any, ...]] | None = None if rows is None else iter(rows)
        self._table = table
        self._source: pa.RecordBatchReader | None = None
        self._rest: deque[pa.RecordBatch] = deque()

    @property
    def notices(self) -> list[Notice]:
        """What the statement remarked so far."""
        return self.report.notices

    @property
    def pending(self) -> bool:
        """Whether rows are still to come from the session's connection."""
        return self._substrate is not None

    # --- rows --------------------------------------------------------------------------------

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, or None."""
        rows = self.fetchmany(1)
        return rows[0] if rows else None

    def fetchmany(self, size: int) -> list[tuple[Any, ...]]:
        """Return the next rows, at most `size`."""
        if self._table is not None or self._rows is not None:
            return list(itertools.islice(self._kept(), size))
        if self._substrate is None:
            return []
        substrate = self._substrate
        rows = self._guard(lambda: substrate.connection.fetchmany(size))
        if len(rows) < size:
            self._end(None)
        return rows

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all remaining rows."""
        if self._table is not None or self._rows is not None:
            return list(self._kept())
        if self._substrate is None:
            return []
        substrate = self._substrate
        rows = self._guard(substrate.connection.fetchall)
        self._end(None)
        return rows

    def _kept(self) -> Iterator[tuple[Any, ...]]:
        if self._rows is None:
            assert self._table is not None
            columns = [column.to_pylist() for column in self._table.columns]
            self._rows = iter(list(zip(*columns, strict=True)))
            self._table = None
        return self._rows

    # --- Arrow -------------------------------------------------------------------------------

    def arrow_table(self) -> pa.Table:
        """Return all remaining rows as an Arrow table."""
        if self._table is not None:
            table, self._table, self._rows = self._table, None, iter(())
            return table
        if self._substrate is None:
            return self._rows_as_arrow()
        substrate = self._substrate
        table = self._guard(substrate.connection.to_arrow_table)
        self._end(None)
        return table

    def arrow_reader(self, rows_per_batch: int = 65536) -> pa.RecordBatchReader:
        """Return the remaining rows as a stream of record batches."""
        if self._substrate is None or self._table is not None:
            table = self.arrow_table()
            return pa.RecordBatchReader.from_batches(
                table.schema, table.to_batches(max_chunksize=rows_per_batch)
            )
        substrate = self._substrate
        reader = self._guard(lambda: substrate.connection.to_arrow_reader(rows_per_batch))
        self._source = reader
        return pa.RecordBatchReader.from_batches(reader.schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        """Yield DuckDB's batches, then those that `detach` kept."""
        while self._source is not None:
            try:
                batch = self._guard(self._source.read_next_batch)
            except StopIteration:
                self._end(None)
                return
            yield batch
        while self._rest:
            yield self._rest.popleft()

    def _rows_as_arrow(self) -> pa.Table:
        rows = list(self._rows or ())
        names = [column.name for column in self.columns]
        values = list(zip(*rows, strict=True)) if rows else [() for _ in names]
        arrays = [arrow_column(v, c.type) for v, c in zip(values, self.columns, strict=True)]
        return pa.Table.from_arrays(arrays, names=names)

    # --- the end -----------------------------------------------------------------------------

    def detach(self) -> None:
        """Keep the remaining rows here, so that the connection is free."""
        if self._substrate is None:
            return
        source = self._source
        if source is not None:
            try:
                while True:
                    self._rest.append(self._guard(source.read_next_batch))
            except StopIteration:
                self._source = None
            self._end(None)
            return
        rows = self.fetchall()
        self._rows = iter(rows)

    def close(self) -> None:
        """Give up the remaining rows."""
        self._source = None  # While DuckDB's own reader lives, so does the result.
        if self._substrate is not None:
            self._substrate.connection.abort()
            self._end(None)
        self._table, self._rows = None, iter(())

    def _guard(self, run: Callable[[], Any]) -> Any:
        try:
            return run()
        except StopIteration:
            raise
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            mine: Exception = translate(error) if isinstance(error, duckdb.Error) else error
            raise self._end(mine) or mine from error

    def _end(self, error: Exception | None) -> Exception | None:
        self._substrate = None
        finish, self._finish = self._finish, None
        told = finish(error) if finish is not None else error
        if error is None and told is not None:
            raise told
        return told


def arrow_column(values: Sequence[Any], type_text: str) -> pa.Array[Any]:
    """Return Python values of a DuckDB type as Arrow, of the type that DuckDB's Arrow has."""
    kind = arrow_type(type_text)
    if kind == pa.string():  # a UUID, say, is a class of its own in Python
        values = [None if v is None else str(v) for v in values]
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.array(values)  # a value whose Python form Arrow takes for another type


__all__ = ["Column", "FovealError", "Result", "arrow_column"]
