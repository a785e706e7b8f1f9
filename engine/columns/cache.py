"""Cached columns of all databases of the process: by version, within a bound of memory, LRU."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from foveal.engine.columns.memory import shortage
from foveal.engine.compile.data import ColumnData

Relation = tuple[str, str]
"""(database, relation): what a column belongs to."""
Key = tuple[str, str, str]
"""(database, relation, column), the last two folded."""


@dataclass(eq=False, slots=True)
class Kept:
    """One column of one version, or why programs cannot read it.

    `seconds`: what reading it took. `unique`: None until somebody asked.
    """

    version: Hashable
    data: ColumnData | None = None
    refused: str = ""
    nulls: int = 0
    seconds: float = 0.0
    unique: bool | None = None
    hits: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return 0 if self.data is None else self.data.nbytes


class ColumnCache:
    """Columns by key, the one used longest ago first. Safe for threads.

    What it drops lives on as long as a program runs over it; the memory is then counted as free
    here although it is not yet, by at most what the running programs read.
    """

    def __init__(self, shortage: Callable[[int], int] = shortage) -> None:
        """Hold nothing. `shortage` tells the bytes that an allocation lacks."""
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._bytes = 0
        self._shortage = shortage

    @property
    def nbytes(self) -> int:
        """Bytes of memory of all that is kept."""
        return self._bytes

    def get(self, key: Key, version: Hashable) -> Kept | None:
        """Return a column of exactly this version."""
        with self._lock:
            found = self._kept.get(key)
            if found is None or found.version != version:
                return None
            self._kept.move_to_end(key)
            found.hits += 1
            return found

    def peek(self, key: Key, version: Hashable) -> Kept | None:
        """Return a column of this version without counting that as a use."""
        with self._lock:
            found = self._kept.get(key)
            return found if found is not None and found.version == version else None

    def put(self, columns: Mapping[Key, Kept], limit: int) -> None:
        """Keep columns, dropping others until all take at most `limit` bytes."""
        with self._lock:
            for key, kept in columns.items():
                self._drop(key)
                self._kept[key] = kept
                self._bytes += kept.nbytes
            self._shrink(limit)

    def room(self, wanted: int, limit: int) -> bool:
        """Make room for `wanted` more bytes within `limit` and the machine's memory.

        Return whether there is room now. Nothing is dropped where it would not help.
        """
        with self._lock:
            lacking = self._shortage(wanted)
            if wanted > limit or lacking > self._bytes:
                return False
            self._shrink(min(limit - wanted, self._bytes - lacking))
            return True

    def forget(self, database: str) -> None:
        """Drop all columns of a database."""
        with self._lock:
            for key in [k for k in self._kept if k[0] == database]:
                self._drop(key)

    def clear(self) -> None:
        """Drop all columns."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def listed(self) -> list[tuple[Key, Kept]]:
        """Return what is kept, the one used longest ago first."""
        with self._lock:
            return list(self._kept.items())

    def _drop(self, key: Key) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self._bytes -= found.nbytes

    def _shrink(self, limit: int) -> None:
        for key in [k for k, kept in self._kept.items() if kept.data is not None]:
            if self._bytes <= limit:
                return
            self._drop(key)


CACHE = ColumnCache()
"""The process's: sessions of one database share what they read."""
