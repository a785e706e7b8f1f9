"""Versions of tables: who wrote to which table of a database, counted by this process.

DuckDB tells no version of a table. Every session of a database in this process reports its
statements here before and after they run; the database has one clock, each write moves it and
stamps the tables written to. A column read while the stamp stood still, with no write under way,
is the table at that stamp (DESIGN: rules of the engine room, 6).
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import Counter
from dataclasses import dataclass, field

from foveal.engine.columns.effects import NOTHING, Effect, Prepared, effect

_Mark = tuple[tuple[int, int, int] | None, ...]


@dataclass(eq=False)
class _Database:
    """What all sessions of one database in this process share. Guarded by `lock`."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    sessions: int = 0
    clock: int = 0
    stamps: dict[str, int] = field(default_factory=dict[str, int])
    all_stamp: int = 0
    catalog: int = 0
    triggers: bool = False
    running: Counter[str | None] = field(default_factory=Counter[str | None])
    """Writes that may become visible at any moment, by table; None: to any table."""
    writers: set[int] = field(default_factory=set[int])
    """Sessions that are writing or hold uncommitted writes."""
    mark: _Mark = ()

    def stamp(self, tables: frozenset[str] | None) -> None:
        self.clock += 1
        if tables is None:
            self.all_stamp = self.clock
        else:
            self.stamps.update(dict.fromkeys(tables, self.clock))


_DATABASES: dict[str, _Database] = {}
_REGISTRY = threading.Lock()
_SERIALS = itertools.count(1)


def _file(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


class Versions:
    """One session's part: it reports statements with `runs` and `ran`, and asks for versions.

    `runs` comes before DuckDB gets a statement, `ran` when that one has ended: well, badly, or
    when its last row was read. A missing `ran` is made good by the next `runs`.
    """

    def __init__(self, database: str, path: str | None = None, *, private: bool = False) -> None:
        """Join the sessions of `database`; of a `private` one no other session ever is.

        `path`: its file, watched for writes that are not reported.
        """
        self.serial = next(_SERIALS)
        self.database = f"{database}#{self.serial}" if private else database
        self._closed = False
        self._path = path
        with _REGISTRY:
            self._shared = _DATABASES.setdefault(self.database, _Database())
            self._shared.sessions += 1
        self._prepared: Prepared = {}
        self._effect: Effect | None = None
        self._held: frozenset[str | None] = frozenset()
        self._dirty: Effect = NOTHING
        self._names = 0
        self._began: int | None = None
        self._begin_clock = 0
        with self._shared.lock:
            if self._path is not None and not self._shared.mark:
                self._shared.mark = self._marked()

    # --- reports -----------------------------------------------------------------------------

    def runs(self, sql: str, *, in_transaction: bool) -> None:
        """Take note that `sql` is about to run. `in_transaction`: whether BEGIN was run before."""
        self.ran(in_transaction=in_transaction)
        found = effect(sql, self._prepared)
        shared = self._shared
        with shared.lock:
            shared.triggers = shared.triggers or (found.catalog and "trigger" in sql.lower())
            if found.writes and shared.triggers:
                found |= Effect(None)
            self._look()
            self._effect = found
            self._begin_clock = shared.clock
            shows = self._dirty | found if found.boundary == "end" else found
            if found.boundary == "end" or not in_transaction:
                self._hold(shows.tables)
            if found.writes:
                shared.writers.add(self.serial)

    def ran(self, *, in_transaction: bool) -> None:
        """Take note that the statement has ended. `in_transaction`: whether one is open now."""
        found, self._effect = self._effect, None
        if found is None:
            return
        shared = self._shared
        with shared.lock:
            if found.catalog or found.boundary:
                self._names += 1
            if in_transaction:
                if self._began is None:
                    self._began = self._begin_clock
                self._dirty |= Effect(found.tables, found.catalog)
                if self._held:  # written before the transaction, in the same script
                    shared.stamp(found.tables)
            else:
                changed = self._dirty | found
                self._dirty, self._began = NOTHING, None
                if changed.writes:
                    shared.stamp(changed.tables)
                if changed.catalog:
                    shared.catalog += 1
            self._release()
            if not self._dirty.writes:
                shared.writers.discard(self.serial)
                if not shared.writers and self._path is not None and found != NOTHING:
                    shared.mark = self._marked()

    def triggers(self) -> None:
        """Take note that the database has triggers: a write to a table may write to others."""
        with self._shared.lock:
            self._shared.triggers = True

    def close(self) -> bool:
        """Leave. Return whether no session of the database is left: nothing is known of it then."""
        if self._closed:
            return False
        self._closed = True
        self.ran(in_transaction=False)
        with self._shared.lock:
            if self._dirty.writes:  # rolled back by closing
                self._shared.stamp(self._dirty.tables)
            self._shared.writers.discard(self.serial)
        with _REGISTRY:
            self._shared.sessions -= 1
            if self._shared.sessions > 0:
                return False
            _DATABASES.pop(self.database, None)
            return True

    # --- questions ---------------------------------------------------------------------------

    @property
    def names(self) -> tuple[int, int]:
        """Changes whenever a name may mean another table, or a table may have other columns."""
        with self._shared.lock:
            return self._names, self._shared.catalog

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, as far as was reported."""
        return self._began is not None

    def version(self, table: str) -> int:
        """Return the version of a table, by its name without schema. Grows with every write."""
        with self._shared.lock:
            self._look()
            return max(self._shared.stamps.get(table.lower(), 0), self._shared.all_stamp)

    def quiet(self, table: str) -> bool:
        """Return whether no write to the table may become visible right now."""
        running = self._shared.running
        with self._shared.lock:
            return running[table.lower()] == 0 and running[None] == 0

    def obstacle(self, table: str) -> str:
        """Return why this session's statements cannot use cached columns of a table, or nothing."""
        name = table.lower()
        with self._shared.lock:
            dirty = self._dirty.tables
            if dirty is None or name in dirty:
                return "the transaction wrote to it"
            if self._began is not None and (self.version(name) > self._began):
                return "it changed since the transaction began"
            if self._began is not None and not self.quiet(name):
                return "it is being written to"
            return ""

    # --- inside ------------------------------------------------------------------------------

    def _hold(self, tables: frozenset[str] | None) -> None:
        self._held = frozenset([None]) if tables is None else frozenset[str | None](tables)
        self._shared.running.update(self._held)

    def _release(self) -> None:
        self._shared.running.subtract(self._held)
        self._shared.running = +self._shared.running
        self._held = frozenset()

    def _marked(self) -> _Mark:
        assert self._path is not None
        return _file(self._path), _file(self._path + ".wal")

    def _look(self) -> None:
        """Stamp every table if the file changed while no session of ours was writing.

        Another part of this process may hold the same database open through DuckDB itself.
        """
        shared = self._shared
        if self._path is None or shared.writers or +shared.running:
            return
        mark = self._marked()
        if mark != shared.mark:
            shared.mark = mark
            shared.stamp(None)
            shared.catalog += 1
