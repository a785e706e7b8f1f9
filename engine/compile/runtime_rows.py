"""The runtime's side of `Append`, `TopK`, `Bitmap` and `Scatter`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from foveal.engine.compile.arrow import arrow_type, machine_dtype
from foveal.engine.compile.data import Array
from foveal.engine.compile.llvm import topk
from foveal.engine.compile.llvm.accumulators import MORSEL_ROWS
from foveal.engine.compile.llvm.appending import AppendCode
from foveal.engine.compile.llvm.tables import VALID, TableCode
from foveal.engine.compile.llvm.topk import TopKCode, field_words
from foveal.engine.compile.runtime_binding import BoundTable, aligned
from foveal.engine.compile.runtime_folds import Dictionaries, Words, stored_column
from foveal.engine.compile.runtime_threads import FixedState, ThreadState
from foveal.planner.ir.nodes import Expr
from foveal.planner.ir.program import Scatter
from foveal.planner.ir.types import Bool, Int, Type, physical

_EVERYTHING = (1 << 63) - 1


def array_of(rows: int, type_: Type) -> Array:
    """Return an array of a type's machine values, not set; 128-bit integers as [rows, 2]."""
    machine = physical(type_)
    wide = isinstance(machine, Int) and machine.bits == 128
    return np.empty((rows, 2) if wide else rows, machine_dtype(machine))


def _schema(fields: Sequence[tuple[str, Expr]]) -> pa.Schema:
    return pa.schema([pa.field(name, arrow_type(x.type)) for name, x in fields])


class AppendRun:
    """Outputs as long as the source, of which each morsel fills the head of its part."""

    def __init__(self, code: AppendCode, rows: int) -> None:
        """Reserve the outputs; pages that no row is written to cost nothing."""
        self.code, self._rows = code, rows
        self._counts = np.zeros(-(-rows // MORSEL_ROWS) + 1, np.int64)
        self.outs: list[Array] = [self._counts]
        for (_, x), nullable in zip(code.fields, code.nullable, strict=True):
            self.outs.append(array_of(max(rows, 1), x.type))
            if nullable:
                self.outs.append(np.empty(max(rows, 1), np.uint8))

    def state(self) -> FixedState:
        """Return nothing much: all is in the outputs."""
        return FixedState(aligned(1))

    def result(self, states: Sequence[ThreadState], dictionaries: Dictionaries) -> pa.Table:
        """Return the rows of all morsels in order."""
        arrays = iter(self.outs[1:])
        columns: list[pa.Array[Any]] = []
        for (_, x), nullable in zip(self.code.fields, self.code.nullable, strict=True):
            values = self._compact(next(arrays))
            valid = self._compact(next(arrays)).view(np.bool_) if nullable else None
            if valid is not None and bool(valid.all()):
                valid = None
            columns.append(stored_column(values, valid, x.type, dictionaries))
        return pa.Table.from_arrays(columns, schema=_schema(self.code.fields))

    def _compact(self, array: Array) -> Array:
        """Return the heads of the morsels' parts, one after the other."""
        if not self.code.filtered:
            return array[: self._rows]
        parts = [
            array[morsel * MORSEL_ROWS : morsel * MORSEL_ROWS + count]
            for morsel, count in enumerate(self._counts.tolist())
            if count
        ]
        return np.concatenate(parts) if parts else array[:0]


class TopKState:
    """One thread's candidates."""

    def __init__(self, code: TopKCode, limit: int) -> None:
        """Begin with an empty buffer of which `limit` rows are kept when it is full."""
        self.code, self._limit = code, limit
        self._capacity = 2 * limit + 4 * code.morsel_rows
        self._buffer = np.empty((self._capacity, code.record_words), np.int64)
        self.words = aligned(code.state_words)
        self.words[topk.LIMIT] = self._capacity
        self.words[topk.BUFFER] = self._buffer.ctypes.data
        self.words[topk.RANK], self.words[topk.KEY] = 1, _EVERYTHING

    @property
    def address(self) -> int:
        """Where its words are in memory."""
        return self.words.ctypes.data

    @property
    def candidates(self) -> Words:
        """The candidates [rows, words] gathered so far."""
        return self._buffer[: int(self.words[topk.COUNT])]

    def make_room(self) -> None:
        """Keep only the first candidates; rows behind the last of them are out from now on."""
        kept = first_rows(self.code, self.candidates, self._limit)
        self._buffer[: len(kept)] = kept
        self.words[topk.COUNT] = len(kept)
        if len(kept) == self._limit and self._limit and self.code.builder.order:
            self.words[topk.RANK], self.words[topk.KEY] = kept[-1, 0], kept[-1, 1]


def first_rows(code: TopKCode, candidates: Words, limit: int) -> Words:
    """Return the first candidates in order; rows break ties."""
    words = [candidates[:, k] for k in range(code.row_word + 1)]
    return candidates[np.lexsort(words[::-1])[:limit]]


class TopKRun:
    """A buffer of candidates per thread."""

    def __init__(self, code: TopKCode, rows: int) -> None:
        """Keep how candidates are laid out."""
        self.code = code
        self._limit = min(code.builder.limit, rows)
        self.outs: list[Array] = []

    def state(self) -> TopKState:
        """Return an empty buffer."""
        return TopKState(self.code, self._limit)

    def result(self, states: Sequence[ThreadState], dictionaries: Dictionaries) -> pa.Table:
        """Return the first rows, sorted."""
        code = self.code
        parts = [state.candidates for state in states if isinstance(state, TopKState)]
        kept = first_rows(code, np.concatenate(parts), self._limit)
        columns: list[pa.Array[Any]] = []
        for (_, x), at in zip(code.builder.fields, code.field_offsets, strict=True):
            width = field_words(x.type)
            valid = kept[:, at + width] != 0
            values = _from_words(np.ascontiguousarray(kept[:, at : at + width]), x.type)
            mask = None if bool(valid.all()) else valid
            columns.append(stored_column(values, mask, x.type, dictionaries))
        return pa.Table.from_arrays(columns, schema=_schema(code.builder.fields))


def _from_words(words: Words, type_: Type) -> Array:
    """Return values that were stored at the head of a word each."""
    machine = physical(type_)
    if isinstance(machine, Int) and machine.bits == 128:
        return words if words.shape[1] == 2 else words[:, 0]
    dtype = machine_dtype(machine)
    each = 8 // dtype.itemsize
    return np.ascontiguousarray(words.view(dtype)[:, 0]) if each else words[:, 0]


class TableRun:
    """A table that all threads write."""

    def __init__(self, code: TableCode) -> None:
        """Reserve the table, nothing in it."""
        self.code = code
        size = max(code.size, 1)
        if isinstance(code.builder, Scatter):
            values = array_of(size, code.builder.value.type)
            values[...] = 0
            self.outs: list[Array] = [values, np.zeros(size, np.uint8)]
        else:
            self.outs = [np.zeros(size, machine_dtype(Bool()))]

    def state(self) -> FixedState:
        """Return nothing much: all is in the table."""
        return FixedState(aligned(1))

    def result(self, states: Sequence[ThreadState], dictionaries: Dictionaries) -> BoundTable:
        """Return the table for later loops; entries that no row has are not valid."""
        if len(self.outs) == 1:
            return BoundTable(self.outs[0], None, self.code.size)
        return BoundTable(self.outs[0], (self.outs[1] == VALID).view(np.uint8), self.code.size)
