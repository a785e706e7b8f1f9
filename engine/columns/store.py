"""One session's view of the column cache: facts of tables, and their columns ready for programs."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa

from foveal.engine.columns import relations
from foveal.engine.columns.cache import CACHE, ColumnCache, Kept, Key
from foveal.engine.columns.fill import Advance, fill, fill_seconds, widest
from foveal.engine.columns.memory import total
from foveal.engine.columns.relations import FILES, Described, Relation, Unavailable
from foveal.engine.columns.versions import Versions
from foveal.engine.compile.arrow import unpack_validity
from foveal.engine.compile.data import ColumnData, SourceData
from foveal.engine.substrate import Substrate
from foveal.planner.compiled.facts import ColumnFacts, TableFacts
from foveal.planner.ir.types import BOOL, Bool, Float, Int
from foveal.planner.protocols import CancelCheck

_FILLING: dict[str, threading.Lock] = {}
_FILLING_GUARD = threading.Lock()
_REMEMBERED = 1000
"""Requests that did not fit, remembered by a session."""
_MAP_SPAN = 8
"""Uniqueness is told by a map of bytes while values span this many times the rows, else by sort."""


def _ignore(done: int, rows: int) -> None:
    """Report no progress."""


@dataclass(frozen=True, slots=True)
class _Pinned:
    """A relation at the version that a statement began to read it in."""

    relation: Relation
    version: Hashable


class ColumnStore:
    """Columns of the session's tables and of files, read when first asked for.

    All calls come from the session's thread while its connection is free.
    """

    def __init__(
        self,
        substrate: Substrate,
        versions: Versions,
        share: Callable[[], float],
        cache: ColumnCache = CACHE,
    ) -> None:
        """Read nothing yet. `share` of the machine's memory that columns may take, 0: none."""
        self._substrate = substrate
        self.versions = versions
        self._share = share
        self._cache = cache
        self._temporary = f"{versions.database}#temporary{versions.serial}"
        self._home: str | None = None
        self._known: dict[str, Relation] = {}
        self._known_at: object = None
        self._too_big: dict[tuple[str, Hashable, tuple[str, ...]], tuple[int, str]] = {}
        self._ending = weakref.finalize(self, _leave, cache, versions, self._temporary)
        self._ending.atexit = False

    # --- facts -------------------------------------------------------------------------------

    def facts(self, table: str) -> TableFacts:
        """Return what is known of a table now, without reading it.

        Raises:
            Unavailable: programs cannot run over it, and why.
            FovealError: the transaction is broken.
        """
        pinned = self._pin(table)
        return self._facts(table, pinned, cast("int", pinned.version))

    def parquet_facts(self, path: str | Path) -> TableFacts:
        """Return what is known of a Parquet file; its version is its time of modification.

        Raises:
            Unavailable: programs cannot run over it, and why.
        """
        pinned = self._pin_file(path)
        return self._facts(str(path), pinned, relations.file_version(pinned.relation.name)[1])

    def _facts(self, name: str, pinned: _Pinned, version: int) -> TableFacts:
        rows = pinned.relation.rows
        columns: list[ColumnFacts] = []
        for column in pinned.relation.columns:
            kept = self._cache.peek(_key(pinned.relation, column), pinned.version)
            if kept is not None and kept.data is not None:
                rows = kept.data.rows
                columns.append(_resident(column, kept, kept.data))
                continue
            columns.append(
                ColumnFacts(
                    column.name,
                    column.type,
                    BOOL if column.type == BOOL else widest(column),
                    refused=column.refused if kept is None else kept.refused,
                    fill_seconds=fill_seconds(column, rows),
                )
            )
        return TableFacts(name, rows, tuple(columns), version)

    # --- columns -----------------------------------------------------------------------------

    def source(
        self, table: str, columns: Sequence[str], check: CancelCheck, advance: Advance = _ignore
    ) -> SourceData:
        """Return columns of a table, reading those that are missing.

        Raises: see `sources`.
        """
        return self.sources({table: columns}, check, advance)[table]

    def sources(
        self,
        wanted: Mapping[str, Sequence[str]],
        check: CancelCheck,
        advance: Advance = _ignore,
    ) -> dict[str, SourceData]:
        """Return columns of several tables as of one moment, reading those that are missing.

        Columns come by the names asked for. With none, a source still tells its number of rows.

        Raises:
            Unavailable: programs cannot run over them now, and why.
            QueryCanceled: `check` raised it. Nothing half read is kept.
            FovealError: DuckDB's error, also when the transaction is broken.
        """
        pinned = {table: self._pin(table) for table in wanted}
        found = {
            table: self._columns(pinned[table], names, check, advance)
            for table, names in wanted.items()
        }
        for table, pin in pinned.items():
            self._hold(table, pin, alone=len(pinned) == 1)
        return found

    def parquet(
        self,
        path: str | Path,
        columns: Sequence[str],
        check: CancelCheck,
        advance: Advance = _ignore,
    ) -> SourceData:
        """Return columns of a Parquet file, reading those that are missing.

        Raises: see `sources`.
        """
        return self._columns(self._pin_file(path), columns, check, advance)

    def unique(self, table: str, column: str, check: CancelCheck) -> bool:
        """Return whether no value of an integer column comes twice, NULL aside. Reads the column.

        Raises: see `sources`; also Unavailable for floats.
        """
        data = self.source(table, [column], check).columns[column]
        if isinstance(data.type, Float):
            raise Unavailable(f"{column} is no integer column")
        pinned = self._pin(table)
        kept = self._cache.peek(_key(pinned.relation, pinned.relation.column(column)),
                                pinned.version)  # fmt: skip
        if kept is None or kept.data is not data:
            return _is_unique(data)
        if kept.unique is None:
            kept.unique = _is_unique(data)
        return kept.unique

    def listed(self) -> pa.Table:
        """Return what is kept for this database and for files: foveal.column_cache."""
        mine = (self.versions.database, self._temporary, FILES)
        rows: list[dict[str, object]] = []
        for (database, relation, column), kept in self._cache.listed():
            if database not in mine:
                continue
            data = kept.data
            coded = data is not None and data.dictionary is not None
            rows.append(
                {
                    "relation": relation,
                    "column": column,
                    "type": None if data is None else str(data.type).partition("(")[0]
                    if coded else str(data.type),
                    "storage": None if data is None else f"{data.values.dtype}",
                    "rows": None if data is None else data.rows,
                    "nulls": None if data is None else kept.nulls,
                    "distinct": len(data.dictionary) if data and data.dictionary else None,
                    "low": None if data is None or data.low is None else str(data.low),
                    "high": None if data is None or data.high is None else str(data.high),
                    "bytes": kept.nbytes,
                    "hits": kept.hits,
                    "fill_seconds": kept.seconds,
                    "refused": kept.refused or None,
                }
            )  # fmt: skip
        return pa.Table.from_pylist(rows, schema=_LISTED)

    def clear(self) -> None:
        """Drop what is kept for this database, and for files."""
        for database in (self.versions.database, self._temporary, FILES):
            self._cache.forget(database)

    def close(self) -> None:
        """Leave: what nobody can ask for any more is dropped."""
        self._ending()

    # --- inside ------------------------------------------------------------------------------

    @property
    def limit(self) -> int:
        """Bytes that cached columns may take."""
        return int(self._share() * total())

    def _pin(self, table: str) -> _Pinned:
        """Return the table that is meant, at its version, if the transaction lets it be used."""
        if self.versions.in_transaction:
            self._substrate.rows("SELECT 1")  # raises in a broken transaction
        relation = self._relation(table)
        version = self.versions.version(relation.table)
        obstacle = self.versions.obstacle(relation.table)
        if obstacle:
            raise Unavailable(f"{table}: {obstacle}")
        return _Pinned(relation, version)

    def _pin_file(self, path: str | Path) -> _Pinned:
        relation = relations.parquet(self._substrate, path)
        return _Pinned(relation, relations.file_version(relation.name))

    def _relation(self, table: str) -> Relation:
        """Return the table that is meant by a name, looked up anew when names may have changed."""
        if self._home is None:
            self._home = str(self._substrate.rows("SELECT current_database()")[0][0])
        self.versions.version(table)  # notices what others wrote to the file
        names = self.versions.names
        if names != self._known_at:
            self._known.clear()
            self._too_big.clear()
            if self._substrate.rows("SELECT count(*) FROM duckdb_triggers()")[0][0]:
                self.versions.triggers()
            self._known_at = names
        found = self._known.get(table)
        if found is None:
            found = relations.table(
                self._substrate,
                table,
                home=self._home,
                key=self.versions.database,
                temporary=self._temporary,
            )
            self._known[table] = found
        return found

    def _hold(self, table: str, pinned: _Pinned, *, alone: bool) -> None:
        """Raise if what was read may not be one moment's any more."""
        name = pinned.relation.table
        changed = self.versions.version(name) != pinned.version
        if changed or (not alone and not self.versions.quiet(name)):
            raise Unavailable(f"{table}: it is being written to")

    def _columns(
        self, pinned: _Pinned, names: Sequence[str], check: CancelCheck, advance: Advance
    ) -> SourceData:
        """Return columns of one relation, reading those that are missing."""
        wanted = {name: pinned.relation.column(name) for name in names}
        kept = self._held(pinned, wanted)
        if len(kept) < len(wanted):
            lock = _filling(pinned.relation)
            while not lock.acquire(timeout=0.05):
                check()
            try:
                kept = self._held(pinned, wanted)  # another session may have read them
                missing = list(dict.fromkeys(c for n, c in wanted.items() if n not in kept))
                if missing:
                    kept |= self._fill(pinned, wanted, kept, missing, check, advance)
            finally:
                lock.release()
        columns = {name: _usable(name, kept[name]) for name in wanted}
        if not columns:
            sql = f"SELECT count(*) FROM {pinned.relation.sql}"
            return SourceData(int(self._substrate.rows(sql)[0][0]), {})
        return SourceData(next(iter(columns.values())).rows, columns)

    def _held(self, pinned: _Pinned, wanted: Mapping[str, Described]) -> dict[str, Kept]:
        """Return the columns that are kept.

        Raises:
            Unavailable: one of them is known not to be readable.
        """
        kept: dict[str, Kept] = {}
        for name, column in wanted.items():
            if column.refused:
                raise Unavailable(f"{name}: {column.refused}")
            found = self._cache.get(_key(pinned.relation, column), pinned.version)
            if found is not None:
                _usable(name, found)
                kept[name] = found
        return kept

    def _fill(
        self,
        pinned: _Pinned,
        wanted: Mapping[str, Described],
        kept: Mapping[str, Kept],
        missing: Sequence[Described],
        check: CancelCheck,
        advance: Advance,
    ) -> dict[str, Kept]:
        """Read columns and keep them, if nothing was written meanwhile."""
        relation, limit = pinned.relation, self.limit
        request = (relation.name, pinned.version, tuple(sorted(c.name for c in wanted.values())))
        known_limit, reason = self._too_big.get(request, (-1, ""))
        if limit <= known_limit:
            raise Unavailable(reason)
        if relation.table and not self.versions.quiet(relation.table):
            raise Unavailable(f"{relation.name}: it is being written to")
        held = sum(found.nbytes for found in kept.values())

        def room(bytes_: int) -> None:
            if self._cache.room(bytes_ + held, limit):
                return
            reason = (
                f"{relation.name}: the columns take {(bytes_ + held) / 1e6:,.1f} MB, "
                f"foveal.column_cache_memory and free memory allow less"
            )
            if bytes_ + held > limit:  # free memory may come back, the limit stands
                if len(self._too_big) > _REMEMBERED:
                    self._too_big.clear()
                self._too_big[request] = (limit, reason)
            raise Unavailable(reason)

        _, read = fill(self._substrate, relation, missing, room, check, advance)
        if relation.table:
            stands = self.versions.version(relation.table) == pinned.version
            stands = stands and self.versions.quiet(relation.table)
        else:
            stands = relations.file_version(relation.name) == pinned.version
        if not stands:
            raise Unavailable(f"{relation.name}: it changed while it was read")
        new = {
            name: Kept(pinned.version, found.data, found.refused, found.nulls, found.seconds)
            for name, column in wanted.items()
            if (found := read.get(column.name)) is not None
        }
        self._cache.put({_key(relation, wanted[n]): k for n, k in new.items()}, limit)
        return new


def _leave(cache: ColumnCache, versions: Versions, temporary: str) -> None:
    """Drop what nobody can ask for any more when a session ends."""
    cache.forget(temporary)
    if versions.close():
        cache.forget(versions.database)
        with _FILLING_GUARD:
            _FILLING.pop(versions.database, None)


def _key(relation: Relation, column: Described) -> Key:
    return relation.database, relation.name, column.name.lower()


def _filling(relation: Relation) -> threading.Lock:
    """Return the lock of who reads columns of a database: two sessions need not read the same."""
    with _FILLING_GUARD:
        return _FILLING.setdefault(relation.database, threading.Lock())


def _usable(name: str, kept: Kept) -> ColumnData:
    if kept.data is None:
        raise Unavailable(f"{name}: {kept.refused}")
    return kept.data


def _resident(column: Described, kept: Kept, data: ColumnData) -> ColumnFacts:
    """Return the exact facts of a column that is kept."""
    storage: Bool | Int | Float
    if isinstance(data.type, Bool | Float):
        storage = data.type
    else:
        storage = Int(data.values.dtype.itemsize * 8)
    return ColumnFacts(
        column.name,
        data.type,
        storage,
        nullable=data.validity is not None,
        low=data.low,
        high=data.high,
        distinct=None if data.dictionary is None else len(data.dictionary),
        resident=True,
        bytes=data.nbytes,
        unique=kept.unique,
    )


def _is_unique(data: ColumnData) -> bool:
    """Return whether no valid value comes twice."""
    valid = unpack_validity(data.validity, data.rows)
    values = data.values if valid is None else data.values[valid]
    if data.low is None or data.high is None:
        return True
    span = data.high - data.low + 1
    if span < len(values):
        return False
    if span > _MAP_SPAN * len(values):
        ordered = np.sort(values)
        return not bool(np.any(ordered[1:] == ordered[:-1]))
    seen = np.zeros(span, np.bool_)
    seen[values.astype(np.int64) - data.low] = True
    return int(np.count_nonzero(seen)) == len(values)


_LISTED = pa.schema(
    [
        ("relation", pa.string()),
        ("column", pa.string()),
        ("type", pa.string()),
        ("storage", pa.string()),
        ("rows", pa.int64()),
        ("nulls", pa.int64()),
        ("distinct", pa.int64()),
        ("low", pa.string()),
        ("high", pa.string()),
        ("bytes", pa.int64()),
        ("hits", pa.int64()),
        ("fill_seconds", pa.float64()),
        ("refused", pa.string()),
    ]
)
