"""The runtime's side of `Group`: tables of places or of hashes, their growth, and their rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foveal.engine.compile.arrow import arrow_type
from foveal.engine.compile.data import Array, KernelError
from foveal.engine.compile.llvm import hashing
from foveal.engine.compile.llvm.dense import DenseCode
from foveal.engine.compile.llvm.folds import record_words, word_offsets
from foveal.engine.compile.llvm.hashing import HashCode
from foveal.engine.compile.runtime_binding import aligned
from foveal.engine.compile.runtime_folds import (
    Dictionaries,
    Words,
    combined,
    fold_columns,
    from_order_key,
    initial_record,
    stored_column,
)
from foveal.engine.compile.runtime_threads import FixedState, Loop, ThreadState
from foveal.planner.ir.program import Key
from foveal.planner.ir.types import Float

MIN_ENTRIES = 1 << 8


def _table(
    keys: Sequence[Key], columns: list[pa.Array[Any]], code: DenseCode | HashCode, values: Words,
    dictionaries: Dictionaries,
) -> pa.Table:  # fmt: skip
    """Return key columns and folds as a table."""
    columns = columns + fold_columns(code.plan, values, dictionaries)
    fields = [pa.field(key.name, arrow_type(key.expr.type)) for key in keys]
    fields += [pa.field(o.name, arrow_type(o.fold.type)) for o in code.plan.outputs]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


class DenseRun:
    """A table of places per thread."""

    def __init__(self, code: DenseCode) -> None:
        """Keep how the table is laid out."""
        self.code = code
        self.outs: list[Array] = []

    def state(self) -> FixedState:
        """Return a table without rows."""
        code = self.code
        words = aligned(code.state_words)
        hot = self._hot(words)
        final = initial_record(code.plan.accumulators)
        offsets = word_offsets(code.plan.accumulators)
        for a, hot_at, at in zip(code.plan.accumulators, code.hot_offsets, offsets, strict=True):
            if a.kind in ("min", "max"):
                hot[:, hot_at] = final[at]
        return FixedState(words)

    def _hot(self, words: Words) -> Words:
        code = self.code
        rows = code.slots + 1
        return words[code.hot_start : code.hot_start + rows * code.hot_words].reshape(rows, -1)

    def _records(self, words: Words) -> Words:
        """Return the final values [slots, words] of a thread's table."""
        code = self.code
        hot = self._hot(words)[:-1]
        cold = words[: (code.slots + 1) * code.cold_words].reshape(code.slots + 1, -1)[:-1]
        out = np.zeros((code.slots, record_words(code.plan.accumulators)), np.int64)
        offsets = word_offsets(code.plan.accumulators)
        for a, hot_at, at in zip(code.plan.accumulators, code.hot_offsets, offsets, strict=True):
            if a.partial:
                place = 2 * code.partials.index(a)
                out[:, at : at + 2] = cold[:, place : place + 2]
            else:
                out[:, at : at + a.words] = hot[:, hot_at : hot_at + a.words]
        return out

    def result(self, states: Sequence[ThreadState], dictionaries: Dictionaries) -> pa.Table:
        """Return a row per combination that some row had."""
        parts = [self._records(s.words) for s in states if isinstance(s, FixedState)]
        records = combined(self.code.plan.accumulators, parts)
        return dense_table(self.code, records, dictionaries)


def dense_table(code: DenseCode, records: Words, dictionaries: Dictionaries) -> pa.Table:
    """Return a row per combination that some row had, of final values [slots, words]."""
    offsets = word_offsets(code.plan.accumulators)
    taken = np.flatnonzero(records[:, offsets[code.presence]])
    places = taken.copy()
    columns: list[pa.Array[Any]] = []
    for key in reversed(code.keys):
        places, at = np.divmod(places, key.size)
        valid = at != key.size - 1 if key.nullable else None
        values = at + key.low
        if valid is not None:
            values = np.where(valid, values, 0)
            valid = None if bool(valid.all()) else valid
        columns.insert(0, stored_column(values, valid, key.key.expr.type, dictionaries))
    keys = [key.key for key in code.keys]
    return _table(keys, columns, code, records[taken], dictionaries)


class HashState:
    """One thread's hash table."""

    def __init__(self, code: HashCode, absorb: Loop, entries: int) -> None:
        """Begin with an empty table of some entries, a power of two."""
        self.code, self._absorb = code, absorb
        self.words = aligned(code.state_words)
        self._renew(entries)

    def _renew(self, entries: int) -> None:
        self.entries = entries
        self.table = np.zeros(entries * self.code.entry_words, np.int64)
        self.words[hashing.MASK] = entries - 1
        self.words[hashing.COUNT] = 0
        self.words[hashing.LIMIT] = entries // 2
        self.words[hashing.TABLE] = self.table.ctypes.data

    @property
    def address(self) -> int:
        """Where its words are in memory."""
        return self.words.ctypes.data

    @property
    def count(self) -> int:
        """Number of groups."""
        return int(self.words[hashing.COUNT])

    def make_room(self) -> None:
        """Grow so that another morsel of new groups fits."""
        self._grow(self.count + self.code.morsel_rows)

    def _grow(self, groups: int) -> None:
        entries, old, had = self.entries, self.table, self.entries
        while entries // 2 < groups:
            entries *= 2
        if entries == had:
            return
        self._renew(entries)
        self._take(old, had)

    def _take(self, table: Words, entries: int) -> None:
        if self._absorb(self.address, table.ctypes.data, 0, entries):
            raise KernelError

    def absorb(self, other: HashState) -> None:
        """Take another thread's groups in.

        Raises:
            KernelError: a sum is beyond 128 bits.
        """
        self._grow(self.count + other.count)
        self._take(other.table, other.entries)


class HashRun:
    """A hash table per thread."""

    def __init__(self, code: HashCode, absorb: Loop, rows: int) -> None:
        """Keep how entries are laid out, and what puts tables together."""
        self.code, self._absorb = code, absorb
        self.outs: list[Array] = []
        # A table is never fuller than half, with room for a whole morsel of new groups.
        self._entries = 4 * code.morsel_rows
        del rows

    def state(self) -> HashState:
        """Return an empty table."""
        return HashState(self.code, self._absorb, self._entries)

    def result(self, states: Sequence[ThreadState], dictionaries: Dictionaries) -> pa.Table:
        """Return a row per group."""
        tables = [state for state in states if isinstance(state, HashState)]
        tables.sort(key=lambda table: -table.count)
        whole = tables[0]
        for other in tables[1:]:
            whole.absorb(other)
        entries = whole.table.reshape(whole.entries, self.code.entry_words)
        entries = entries[entries[:, 0] != 0]
        columns: list[pa.Array[Any]] = []
        for position, key in enumerate(self.code.keys):
            valid: npt.NDArray[np.bool_] = (entries[:, 0] >> position) & 1 == 0
            words: Array = np.ascontiguousarray(entries[:, 1 + position])
            if isinstance(key.expr.type, Float):
                words = from_order_key(words)
            columns.append(
                stored_column(
                    words, None if bool(valid.all()) else valid, key.expr.type, dictionaries
                )
            )
        records = np.ascontiguousarray(entries[:, self.code.record_start :])
        return _table(self.code.keys, columns, self.code, records, dictionaries)
