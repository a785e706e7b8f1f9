"""Between Arrow arrays and the flat buffers that programs run over, both ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from foveal.engine.compile.data import Array, ColumnData, KernelError
from foveal.planner.ir.types import (
    BOOL,
    DATE,
    F32,
    F64,
    TIMESTAMP,
    Bool,
    Code,
    Date,
    Decimal,
    Float,
    Int,
    Timestamp,
    Type,
    physical,
)

_compute: Any = pyarrow.compute
_coded_array: Any = pa.DictionaryArray

WORD = 8
"""Bytes of a validity word: bitmaps are padded to whole words."""
DECIMAL_LIMIT = 10**38
"""DECIMAL(38) and Arrow's decimal128 stop here; HUGEINT goes a little further."""

_INTEGERS: dict[pa.DataType, Type] = {
    pa.int8(): Int(8),
    pa.int16(): Int(16),
    pa.int32(): Int(32),
    pa.int64(): Int(64),
    pa.uint8(): Int(8, signed=False),
    pa.uint16(): Int(16, signed=False),
    pa.uint32(): Int(32, signed=False),
    pa.uint64(): Int(64, signed=False),
    pa.float32(): F32,
    pa.float64(): F64,
    pa.bool_(): BOOL,
    pa.date32(): DATE,
}


def machine_dtype(storage: Bool | Int | Float) -> np.dtype[Any]:
    """Return the NumPy dtype of a machine type; of 128-bit integers that of each word, int64."""
    match storage:
        case Bool():
            return np.dtype(np.uint8)
        case Float(bits=bits):
            return np.dtype(f"f{bits // 8}")
        case Int(bits=128):
            return np.dtype(np.int64)
        case Int(bits=bits, signed=signed):
            return np.dtype(f"{'i' if signed else 'u'}{bits // 8}")


def type_of_arrow(arrow: pa.DataType, dictionary: str = "strings") -> Type:
    """Return the SQL type of an Arrow type; strings and dictionaries of them are codes.

    `dictionary`: the name that the codes' type gets.

    Raises:
        TypeError: the loop language has no such type.
    """
    if arrow in _INTEGERS:
        return _INTEGERS[arrow]
    if pa.types.is_decimal(arrow) and arrow.precision <= 38:
        return Decimal(arrow.precision, arrow.scale)
    if pa.types.is_timestamp(arrow) and arrow.tz is None:
        return TIMESTAMP
    if pa.types.is_dictionary(arrow):
        arrow = arrow.value_type
    if pa.types.is_string(arrow) or pa.types.is_large_string(arrow) or arrow == pa.string_view():
        return Code(dictionary)
    raise TypeError(f"no column of {arrow}")


def column_data(
    array: pa.Array[Any] | pa.ChunkedArray[Any],
    type_: Type | None = None,
    *,
    dictionary: str = "strings",
    sort: bool = True,
) -> ColumnData:
    """Return an Arrow column, slices included, as the flat buffers of its machine type.

    Nothing is narrowed. `type_`: the SQL type where Arrow's does not say it (HUGEINT held as
    decimal(38, 0)); None: `type_of_arrow`. `sort`: codes get a dictionary in byte order; else
    entries keep the order in which they stand, as an ENUM's must.

    Raises:
        TypeError: no such type in the loop language, or `type_` is another one.
    """
    flat: Any = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    wanted = type_of_arrow(flat.type, dictionary) if type_ is None else type_
    entries: pa.Array[Any] | None = None
    if isinstance(wanted, Code):
        flat, entries = _coded(flat, sort=sort)
    valid: npt.NDArray[np.bool_] | None = None
    if flat.null_count:
        valid = np.asarray(_compute.is_valid(flat).to_numpy(zero_copy_only=False), np.bool_)
    values = _values(flat, wanted)
    if valid is not None:
        values[~valid] = 0
    low, high = bounds(values, valid, wanted)
    return ColumnData(wanted, values, pack_validity(valid), entries, low, high)


def pack_validity(valid: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.uint8] | None:
    """Return bool [rows] as a bitmap of whole words; None where all are valid."""
    if valid is None or bool(valid.all()):
        return None
    packed = np.packbits(valid, bitorder="little")
    out = np.zeros(-(-len(packed) // WORD) * WORD, np.uint8)
    out[: len(packed)] = packed
    return out


def unpack_validity(
    bitmap: npt.NDArray[np.uint8] | None, rows: int
) -> npt.NDArray[np.bool_] | None:
    """Return a bitmap as bool [rows]; None where all are valid."""
    if bitmap is None:
        return None
    return np.unpackbits(bitmap, count=rows, bitorder="little").astype(np.bool_)


def bounds(
    values: Array, valid: npt.NDArray[np.bool_] | None, type_: Type
) -> tuple[int | None, int | None]:
    """Return the least and the greatest stored integer of valid rows; None, None: no such."""
    kept = values if valid is None else values[valid]
    if isinstance(type_, Float) or not len(kept):
        return None, None
    if kept.ndim == 2:
        return _wide_extreme(kept, greatest=False), _wide_extreme(kept, greatest=True)
    return int(kept.min()), int(kept.max())


def _wide_extreme(words: Array, *, greatest: bool) -> int:
    """Return the least or greatest of 128-bit integers as int64 [rows, 2]."""
    pick = np.max if greatest else np.min
    high = int(pick(words[:, 1]))
    low = int(pick(words[words[:, 1] == high, 0].view(np.uint64)))
    return (high << 64) + low


def wide_integers(words: Array) -> npt.NDArray[np.object_]:
    """Return int64 [rows, 2] as Python integers."""
    low = np.ascontiguousarray(words[:, 0]).view(np.uint64)
    return words[:, 1].astype(object) * (1 << 64) + low.astype(object)


def wide_words(values: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    """Return Python integers that fit 128 bits as int64 [rows, 2], the low word first."""
    out = np.empty((len(values), 2), np.int64)
    out[:, 0] = (values & ((1 << 64) - 1)).astype(np.uint64).view(np.int64)
    out[:, 1] = (values >> 64).astype(np.int64)
    return out


def _coded(flat: Any, *, sort: bool) -> tuple[Any, pa.Array[Any]]:
    """Return int32 codes, NULL where the string is, and their distinct entries."""
    if not pa.types.is_dictionary(flat.type):
        flat = _compute.dictionary_encode(flat.cast(pa.string()))
    entries = flat.dictionary.cast(pa.string())
    codes = flat.indices.cast(pa.int32())
    distinct: Any = _compute.unique(entries).drop_null()
    if sort:
        distinct = distinct.take(_compute.sort_indices(distinct))
    # An entry that is NULL, or stands twice, maps to NULL or to the one place.
    places: Any = _compute.index_in(entries, value_set=distinct)
    return places.take(codes), distinct


def _values(flat: Any, type_: Type) -> Array:
    """Return a writable copy of an array's values in the machine type of `type_`."""
    machine = physical(type_)
    if pa.types.is_decimal(flat.type):
        return _decimal_values(flat, type_)
    if isinstance(type_, Int) and type_.bits == 128:
        filled = _compute.fill_null(flat, 0).cast(pa.int64()).to_numpy(zero_copy_only=False)
        return np.stack([filled, filled >> 63], axis=1)
    natural = Code if isinstance(type_, Code) else type(type_of_arrow(flat.type))
    if natural is not type(type_):
        raise TypeError(f"a column of {flat.type} is no {type_}")
    if isinstance(type_, Timestamp):
        flat = flat.cast(pa.timestamp("us")).cast(pa.int64())
    elif isinstance(type_, Date):
        flat = flat.cast(pa.int32())
    zero: Any = False if isinstance(type_, Bool) else 0
    filled: Any = flat
    if flat.null_count:
        filled = _compute.fill_null(flat, pa.scalar(zero, flat.type))
    out = np.array(filled.to_numpy(zero_copy_only=False), machine_dtype(machine))
    return np.ascontiguousarray(out)


def _decimal_values(flat: Any, type_: Type) -> Array:
    """Return the stored integers of a decimal array."""
    hugeint = isinstance(type_, Int) and type_.bits == 128 and flat.type.scale == 0
    if not hugeint and type_ != Decimal(flat.type.precision, flat.type.scale):
        raise TypeError(f"a column of {flat.type} is no {type_}")
    width = flat.type.bit_width // 8
    buffer = flat.buffers()[1]
    raw: Array = np.zeros(0, np.uint8)
    if buffer is not None:
        raw = np.frombuffer(buffer, np.uint8)[
            flat.offset * width : (flat.offset + len(flat)) * width
        ]
    machine = physical(type_)
    if width == 16:
        words = np.array(raw.view(np.int64).reshape(-1, 2))
        if machine == Int(128):
            return words
        return np.ascontiguousarray(words[:, 0].astype(machine_dtype(machine)))
    narrow = raw.view(f"i{width}")
    if machine == Int(128):
        return np.stack([narrow.astype(np.int64), narrow.astype(np.int64) >> 63], axis=1)
    return narrow.astype(machine_dtype(machine))


def arrow_type(type_: Type) -> pa.DataType:
    """Return the Arrow type that results of a SQL type have."""
    match type_:
        case Decimal(precision=p, scale=s):
            return pa.decimal128(p, s)
        case Int(bits=128):
            return pa.decimal128(38, 0)
        case Int(bits=bits, signed=signed):
            return pa.from_numpy_dtype(f"{'i' if signed else 'u'}{bits // 8}")  # pyright: ignore[reportArgumentType]
        case Float(bits=bits):
            return pa.float32() if bits == 32 else pa.float64()
        case Bool():
            return pa.bool_()
        case Date():
            return pa.date32()
        case Timestamp():
            return pa.timestamp("us")
        case Code():
            return pa.dictionary(pa.int32(), pa.string())


def to_arrow(
    values: Array,
    valid: npt.NDArray[np.bool_] | None,
    type_: Type,
    dictionary: pa.Array[Any] | None = None,
) -> pa.Array[Any]:
    """Return values [rows] (128-bit ones int64 [rows, 2]) in their machine type as Arrow.

    Values of invalid rows are ignored.

    Raises:
        KernelError: a 128-bit integer of 39 digits, which Arrow's decimals do not hold.
    """
    null_mask = None if valid is None else ~valid
    arrow = arrow_type(type_)
    if pa.types.is_decimal(arrow):
        if values.ndim == 1:
            wide = values.astype(np.int64)
            values = np.stack([wide, wide >> 63], axis=1)
        low, high = bounds(values, valid, type_)
        if low is not None and high is not None and max(-low, high) >= DECIMAL_LIMIT:
            raise KernelError
        bitmap = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little").data)
        data = pa.py_buffer(np.ascontiguousarray(values).data)
        return pa.Array.from_buffers(arrow, len(values), [bitmap, data])
    if isinstance(type_, Code):
        indices = pa.array(np.asarray(values, np.int32), mask=null_mask)
        entries = pa.array([], pa.string()) if dictionary is None else dictionary
        return _coded_array.from_arrays(indices, entries.cast(pa.string()))
    if isinstance(type_, Bool):
        return pa.array(np.asarray(values, np.bool_), mask=null_mask)
    if isinstance(type_, Timestamp):
        return pa.array(np.asarray(values, np.int64), mask=null_mask).view(pa.timestamp("us"))
    if isinstance(type_, Date):
        return pa.array(np.asarray(values, np.int32), mask=null_mask).view(pa.date32())
    # Not from_pandas: a NaN is a value.
    return pa.array(np.asarray(values), arrow, mask=null_mask, from_pandas=False)
