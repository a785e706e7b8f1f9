"""A relation read more than once: record batches go in, and come out again for every reader.

Up to a bound they stay in memory; past it, all go to one Arrow IPC file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Generator
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.ipc

from foveal.errors import InterfaceError, OperationalError


class Spool:
    """A replayable buffer of record batches with bounded memory. Thread-safe.

    Append all batches, `finish`, then make as many readers as needed, also at the same time; all
    give the same batches in the same order. Blocking: nothing is read before `finish`.

    Memory: `memory_bytes` and the batch at hand; a reader of a spilled spool holds one batch.

    Args:
        schema: of every batch.
        memory_bytes: bound of the batches kept in memory.
        folder: where the file is made if needed; None for the system's temporary folder.
    """

    def __init__(
        self, schema: pa.Schema, memory_bytes: int = 64 << 20, folder: Path | None = None
    ) -> None:
        """Start empty."""
        self.schema = schema
        self.rows = 0
        self._bound = memory_bytes
        self._folder = folder
        self._lock = threading.RLock()
        self._batches: list[pa.RecordBatch] = []
        self._bytes = 0
        self._path: Path | None = None
        self._remove: Callable[[], object] | None = None
        self._writer: pyarrow.ipc.RecordBatchFileWriter | None = None
        self._sink: pa.NativeFile | None = None
        self._finished = False
        self._closed = False

    @property
    def spilled(self) -> bool:
        """Whether the batches are in a file."""
        return self._path is not None

    def append(self, batch: pa.RecordBatch) -> None:
        """Take in one batch.

        Raises:
            InterfaceError: the spool is finished or closed, or the batch has another schema.
            OperationalError: 53100 the disk is full, 58030 the file cannot be written.
        """
        with self._lock:
            if self._closed or self._finished:
                raise InterfaceError("the spool takes no more batches")
            if not batch.schema.equals(self.schema):
                raise InterfaceError(f"a batch of another schema: {batch.schema}")
            if self._writer is None and self._bytes + batch.nbytes > self._bound:
                self._spill()
            if self._writer is None:
                self._batches.append(batch)
                self._bytes += batch.nbytes
            else:
                self._write(self._writer, [batch])
            self.rows += batch.num_rows

    def finish(self) -> None:
        """Take no more batches; readers may be made from now on. May be called twice.

        Raises:
            OperationalError: 53100 the disk is full, 58030 the file cannot be written.
        """
        with self._lock:
            self._finished = True
            writer, sink, self._writer, self._sink = self._writer, self._sink, None, None
            if writer is None or sink is None:
                return
            try:
                writer.close()
                sink.close()
            except OSError as error:
                sink.close()
                raise self._failed(error) from error

    def reader(self) -> pa.RecordBatchReader:
        """Return a new reader over all batches, from the first.

        A reader made before `close` that reads on after it raises.

        Raises:
            InterfaceError: the spool is not finished, or is closed.
        """
        with self._lock:
            if self._closed or not self._finished:
                state = "closed" if self._closed else "not finished"
                raise InterfaceError(f"the spool is {state}")
            if self._path is None:
                return pa.RecordBatchReader.from_batches(self.schema, list(self._batches))
            return pa.RecordBatchReader.from_batches(self.schema, self._file_batches(self._path))

    def close(self) -> None:
        """Forget the batches and remove the file. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._batches.clear()
            self._writer = None
            if self._sink is not None:
                self._sink.close()
            if self._remove is not None:
                self._remove()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _spill(self) -> None:
        """Move what is in memory to a new file."""
        try:
            descriptor, name = tempfile.mkstemp(".arrow", "foveal-spool-", self._folder)
            os.close(descriptor)
            self._path = Path(name)
            self._remove = weakref.finalize(self, _remove, self._path)
            self._sink = pa.OSFile(name, "wb")
            self._writer = pyarrow.ipc.new_file(self._sink, self.schema)
        except OSError as error:
            raise self._failed(error) from error
        self._write(self._writer, self._batches)
        self._batches.clear()
        self._bytes = 0

    def _write(
        self, writer: pyarrow.ipc.RecordBatchFileWriter, batches: list[pa.RecordBatch]
    ) -> None:
        try:
            for batch in batches:
                writer.write_batch(batch)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> OperationalError:
        """Close, for what has been taken in can no longer be given back; return the error."""
        self.close()
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return OperationalError(
            f"could not keep an intermediate result: {error}",
            sqlstate="53100" if full else "58030",
            hint="free some disk space, or set TMPDIR to a folder with more",
        )

    def _file_batches(self, path: Path) -> Generator[pa.RecordBatch]:
        """Yield the batches of the file one by one; it is open only meanwhile.

        Being a method, it keeps the spool, and so the file, for as long as a reader needs it.
        """
        if self._closed:
            raise InterfaceError("the spool is closed")
        with pa.OSFile(str(path), "rb") as source:
            file = pyarrow.ipc.open_file(source)
            for number in range(file.num_record_batches):
                yield file.get_batch(number)


def _remove(path: Path) -> None:
    # Windows keeps a file that a reader still has open: it goes when the temporary folder does.
    with contextlib.suppress(PermissionError):
        path.unlink(missing_ok=True)
