"""Streams from our operators to DuckDB: a producer thread, a bounded queue, a reader that polls.

DuckDB cannot be interrupted while it waits inside a Python reader, so the reader waits on a queue
and looks at the cancel flag 20 times a second. An Arrow stream is read once; DuckDB asks for a new
one per scan, and each starts the operator anew (its detections are cached by then).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import cast

import pyarrow as pa

from foveal.engine.context import POLL, QueryContext
from foveal.errors import QueryCanceled

_DEPTH = 4
_END = object()


class ProducedStream:
    """An operator's batches as an Arrow stream that may be read any number of times."""

    def __init__(
        self,
        schema: pa.Schema,
        produce: Callable[[], Iterator[pa.RecordBatch]],
        context: QueryContext,
    ) -> None:
        """Nothing runs until the stream is read."""
        self.schema = schema
        self._produce = produce
        self._context = context

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Start the operator and return its stream."""
        reader = pa.RecordBatchReader.from_batches(self.schema, self._read())
        return cast("object", reader.__arrow_c_stream__(requested_schema))

    def __arrow_c_schema__(self) -> object:
        """Return the schema without starting anything."""
        return cast("object", self.schema.__arrow_c_schema__())

    def _read(self) -> Iterator[pa.RecordBatch]:
        context = self._context
        items: queue.Queue[object] = queue.Queue(_DEPTH)
        done = threading.Event()

        def put(item: object) -> bool:
            while not done.is_set() and not context.stopped.is_set():
                try:
                    items.put(item, timeout=POLL)
                except queue.Full:
                    continue
                return True
            return False

        def work() -> None:
            try:
                for batch in self._produce():
                    if not put(batch):
                        return
                put(_END)
            except BaseException as error:  # kept and raised by the reader, whatever it is
                put(error)

        producer = threading.Thread(target=work, name="foveal-producer", daemon=True)
        producer.start()
        try:
            while True:
                try:
                    item = items.get(timeout=POLL)
                except queue.Empty:
                    if context.cancelled.is_set() or context.stopped.is_set():
                        context.error = context.error or QueryCanceled(
                            "the statement was cancelled"
                        )
                        raise context.error from None
                    continue
                if item is _END:
                    return
                if isinstance(item, BaseException):
                    context.error = context.error or item
                    raise item
                assert isinstance(item, pa.RecordBatch)
                yield item
        finally:
            done.set()
