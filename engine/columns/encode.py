"""Batches of a DuckDB stream → one flat, narrow array per column, written in place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from foveal.engine.compile.arrow import machine_dtype, pack_validity
from foveal.engine.compile.data import Array, ColumnData
from foveal.planner.ir.types import BOOL, I8, I16, I32, I64, Bool, Float, Int, Type

_compute: Any = pyarrow.compute

_WIDTHS = {32: np.int32, 64: np.int64}


def narrowest(low: int, high: int) -> Int | None:
    """Return the narrowest signed machine type that holds low .. high; None beyond 64 bits.

    >>> str(narrowest(0, 127)), str(narrowest(-129, 0)), narrowest(0, 1 << 63)
    ('i8', 'i16', None)
    """
    for type_ in (I8, I16, I32, I64):
        if -(1 << (type_.bits - 1)) <= low and high < 1 << (type_.bits - 1):
            return type_
    return None


def _bits(buffer: Any, offset: int, rows: int) -> npt.NDArray[np.uint8]:
    """Return bits offset .. offset + rows of a buffer as uint8 0/1."""
    first = offset // 8
    taken = np.frombuffer(buffer, np.uint8, (offset + rows + 7) // 8 - first, first)
    return np.unpackbits(taken, bitorder="little")[offset % 8 : offset % 8 + rows]


def stored(array: pa.Array[Any]) -> Array:
    """Return the stored numbers of an array, whatever stands where it is NULL.

    Of decimals (128 bits) the low words, as int64: right where the value fits 64 bits.
    """
    kind: Any = array.type
    rows, offset = len(array), array.offset
    buffer: Any = array.buffers()[1]
    if pa.types.is_boolean(kind):
        return _bits(buffer, offset, rows)
    if pa.types.is_decimal128(kind):
        return np.frombuffer(buffer, np.int64, 2 * rows, 16 * offset)[::2]
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        dtype = np.dtype(cast("Any", kind.to_pandas_dtype()))
    else:  # decimal32, decimal64, date32, timestamp
        dtype = np.dtype(_WIDTHS[kind.bit_width])
    return np.frombuffer(buffer, dtype, rows, dtype.itemsize * offset)


def stored_integer(array: pa.Array[Any]) -> int | None:
    """Return the stored integer of the only row, up to 128 bits; None for NULL."""
    if array.null_count:
        return None
    if pa.types.is_decimal128(array.type):
        buffer: Any = array.buffers()[1]
        words = np.frombuffer(buffer, np.int64, 2, 16 * array.offset)
        return (int(words[1]) << 64) | (int(words[0]) & ((1 << 64) - 1))
    return int(stored(array)[0])


@dataclass(eq=False)
class Target:
    """One column on its way: `allocate` its array, then write batches one after another.

    `dictionary`: of codes, all entries in order. `as_strings`: batches hold the strings themselves.
    """

    type: Type
    storage: Bool | Int | Float
    rows: int
    nulls: int
    low: int | None = None
    high: int | None = None
    dictionary: pa.Array[Any] | None = None
    as_strings: bool = False
    values: Array = field(init=False)
    valid: npt.NDArray[np.bool_] | None = field(init=False, default=None)

    @property
    def nbytes(self) -> int:
        """Bytes of the finished column."""
        own = self.rows * machine_dtype(self.storage).itemsize
        own += 0 if self.dictionary is None else self.dictionary.nbytes
        return own + ((self.rows + 63) // 64 * 8 if self.nulls else 0)

    def allocate(self) -> None:
        """Take the memory."""
        self.values = np.zeros(self.rows, machine_dtype(self.storage))
        self.valid = np.zeros(self.rows, np.bool_) if self.nulls else None

    def write(self, at: int, array: pa.Array[Any]) -> bool:
        """Write a batch's column from row `at` on. Return whether it was as announced."""
        here = slice(at, at + len(array))
        if self.as_strings:
            array = self._codes(array)
        numbers = stored(array)
        if array.null_count == 0:
            self.values[here] = numbers
            if self.valid is not None:
                self.valid[here] = True
            return True
        if self.valid is None:
            return False
        valid = _bits(array.buffers()[0], array.offset, len(array)).view(np.bool_)
        np.copyto(self.values[here], numbers, casting="unsafe", where=valid)
        self.valid[here] = valid
        return True

    def finish(self) -> ColumnData:
        """Return the column."""
        return ColumnData(
            self.type,
            self.values,
            pack_validity(self.valid),
            self.dictionary,
            self.low,
            self.high,
        )

    def _codes(self, array: Any) -> pa.Array[Any]:
        """Return strings as positions in the dictionary."""
        if array.type != pa.string():
            array = array.cast(pa.string())
        coded = array.dictionary_encode()
        places = _compute.index_in(coded.dictionary, value_set=self.dictionary)
        return places.take(coded.indices)


def storage_of(type_: Type, bounds: tuple[int, int] | None) -> Bool | Int | Float | None:
    """Return the machine type to store a column in; None where 64 bits do not hold its values."""
    if isinstance(type_, Float):
        return type_
    if isinstance(type_, Bool):
        return BOOL
    return I8 if bounds is None else narrowest(*bounds)
