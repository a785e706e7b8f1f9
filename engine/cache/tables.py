"""The objects of one segment: verified from disk, the last ones kept in memory."""

from __future__ import annotations

import errno
from collections import OrderedDict
from typing import TYPE_CHECKING

from foveal.engine.cache.files import DamagedFile, os_error, read_table
from foveal.engine.cache.index import Segment
from foveal.engine.cache.manifest import Manifest
from foveal.engine.cache.objects import OBJECTS

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY_BYTES = 64 << 20
"""Bound of the tables kept in memory."""


class SegmentTables:
    """Reads segments. Thread-safe: the disk is read outside the lock."""

    def __init__(self, manifest: Manifest) -> None:
        """Read the files of this manifest."""
        self._manifest = manifest
        self._tables: OrderedDict[int, pa.Table] = OrderedDict()
        self._bytes = 0

    def read(self, segment: Segment) -> pa.Table:
        """Return the segment's objects, OBJECTS by frame and ordinal.

        Raises:
            DamagedFile: it is damaged, or gone because others merged it.
            OperationalError: 58030, it is there and may not be read.
        """
        with self._manifest.lock:
            table = self._tables.get(segment.id)
            if table is not None:
                self._tables.move_to_end(segment.id)
                return table
        try:
            table = read_table(self._manifest.file_folders, segment.stored)
        except OSError as error:
            if error.errno == errno.EIO:  # the medium fails under this file
                raise DamagedFile(f"{segment.stored.name} cannot be read: {error}") from error
            raise os_error(error, self._manifest.folder) from error
        table = table.replace_schema_metadata(None)
        if table.schema != OBJECTS or table.num_rows != segment.rows:
            raise DamagedFile(f"{segment.stored.name} does not match its manifest row")
        with self._manifest.lock:
            if segment.id not in self._tables and table.nbytes <= MEMORY_BYTES // 2:
                self._tables[segment.id] = table
                self._bytes += table.nbytes
                while self._bytes > MEMORY_BYTES:
                    self._bytes -= self._tables.popitem(last=False)[1].nbytes
        return table

    def forget(self, segment: Segment) -> None:
        """Drop a segment that is no more."""
        with self._manifest.lock:
            table = self._tables.pop(segment.id, None)
            if table is not None:
                self._bytes -= table.nbytes

    def clear(self) -> None:
        """Drop all."""
        with self._manifest.lock:
            self._tables.clear()
            self._bytes = 0
