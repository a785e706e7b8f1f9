"""Random columns of every type: nulls, ranges up to the extremes, stored as narrow as they fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Context
from decimal import Decimal as Digits
from typing import Any

import numpy as np
import pyarrow as pa

from foveal.engine.compile.arrow import arrow_type, column_data, machine_dtype
from foveal.engine.compile.data import ColumnData
from foveal.planner.ir import program, types
from foveal.planner.ir.types import (
    BOOL,
    DATE,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    I128,
    TIMESTAMP,
    U8,
    U16,
    U32,
    U64,
    Bool,
    Code,
    Date,
    Decimal,
    Float,
    Int,
    Timestamp,
    Type,
    limits,
    physical,
)

WORDS = ("ash", "birch", "cedar", "elm", "fir", "oak")
TYPES: tuple[Type, ...] = (
    I8, I16, I32, I32, I64, I64, U8, U16, U32, U64, F32, F64, F64, BOOL, BOOL, DATE, DATE,
    TIMESTAMP, Decimal(4, 1), Decimal(9, 2), Decimal(15, 2), Decimal(15, 2), Decimal(18, 3),
    Decimal(25, 4),
)  # fmt: skip
RARE: tuple[Type, ...] = (I128, Decimal(38, 2), Decimal(18, 0), Decimal(3, 3))
WILD = (0.0, -0.0, math.nan, math.inf, -math.inf, 1.5, -2.5, 1e30, -1e-30, 16777217.0, 0.1)
_NARROW = (I8, U8, I16, U16, I32, U32, I64)


@dataclass(frozen=True, slots=True)
class Made:
    """A column: as the program declares it, as buffers, as Arrow for DuckDB.

    `tame`: floats that sum without surprises.
    """

    declared: program.Column
    data: ColumnData
    arrow: Any
    tame: bool


def random_column(
    random: np.random.Generator, name: str, rows: int, type_: Type | None = None
) -> Made:
    """Return a column of `rows` random values."""
    if type_ is None:
        if random.random() < 0.12:
            type_ = Code(f"d{random.integers(2)}")
        else:
            pool = RARE if random.random() < 0.05 else TYPES
            type_ = pool[random.integers(len(pool))]
    skip = int(random.integers(0, 9)) if random.random() < 0.2 else 0
    tame = True
    if isinstance(type_, Float):
        tame = random.random() < 0.7
        values = _floats(random, rows + skip, tame)
    else:
        values = _integers(random, rows + skip, type_)
    share = (0.0, 0.0, 0.2, 1.0)[random.choice(4, p=[0.4, 0.1, 0.45, 0.05])]
    missing = random.random(rows + skip) < share
    arrow = _arrow(values, missing, type_)[skip:]
    data = _coded(arrow, type_) if isinstance(type_, Code) else column_data(arrow, type_)
    data = _narrowed(random, data)
    nullable = data.validity is not None or random.random() < 0.1
    low, high = data.low, data.high
    if low is not None and high is not None and random.random() < 0.2:
        least, greatest = (0, len(WORDS) - 1) if isinstance(type_, Code) else limits(type_)
        least, greatest = max(least, low - 3), min(greatest, high + 3)
        holds = _bounds(data.values.dtype, type_)
        low, high = max(least, holds[0]), min(greatest, holds[1])
    elif random.random() < 0.1:
        low = high = None
    column = program.Column(name, type_, _storage(data.values, type_), nullable, low, high)
    return Made(column, data, arrow, tame)


def _bounds(dtype: np.dtype[Any], type_: Type) -> tuple[int, int]:
    if dtype.kind in "iu" and physical(type_) != I128:
        info = np.iinfo(dtype)
        return int(info.min), int(info.max)
    return limits(type_)


def _floats(random: np.random.Generator, rows: int, tame: bool) -> list[Any]:
    if tame:
        quarters: list[int] = random.integers(-4000, 4000, rows).tolist()
        return [v / 4 for v in quarters]
    picked: list[int] = random.integers(0, len(WILD), rows).tolist()
    return [WILD[k] for k in picked]


def _integers(random: np.random.Generator, rows: int, type_: Type) -> list[Any]:
    if isinstance(type_, Bool):
        return [bool(v) for v in random.integers(0, 2, rows)]
    if isinstance(type_, Code):
        return [int(v) for v in random.integers(0, len(WORDS), rows)]
    low, high = limits(type_)
    if isinstance(type_, Date | Timestamp):
        far = 100_000 if isinstance(type_, Date) else 10**15
        low, high = -far, far
    if type_ in (I128, Decimal(38, 2)):
        low, high = -(10**30), 10**30
    mode = random.choice(5, p=[0.35, 0.25, 0.15, 0.15, 0.1])
    if mode == 0:
        low, high = max(low, -3), min(high, 4)
    elif mode == 1:
        low, high = max(low, 0), min(high, 120)
    elif mode == 2:
        bits = int(random.integers(3, max(4, high.bit_length() + 1)))
        low, high = max(low, -(1 << bits)), min(high, 1 << bits)
    elif mode == 3:
        edges = [v for v in (low, low + 1, -1, 0, 1, 2, high - 1, high) if low <= v <= high]
        return [edges[k] for k in random.integers(0, len(edges), rows)]
    else:
        at = int(low + (high - low) * random.random())
        low, high = at, min(high, at + 10)
    return [low + int(random.random() * (high - low + 1)) for _ in range(rows)]


def _arrow(values: list[Any], missing: Any, type_: Type) -> Any:
    """Return stored values as an Arrow array."""
    if isinstance(type_, Code):
        words: list[str | None] = [
            None if m else WORDS[int(v)] for v, m in zip(values, missing, strict=True)
        ]
        return pa.array(words, pa.string())
    if isinstance(type_, Float):
        given: Any = np.array(values, np.float32 if type_.bits == 32 else np.float64)
        return pa.array(given, arrow_type(type_), mask=missing, from_pandas=False)
    kept = [None if m else v for v, m in zip(values, missing, strict=True)]
    match type_:
        case Decimal(scale=s):
            wide = Context(prec=60)
            digits = [None if v is None else Digits(v).scaleb(-s, wide) for v in kept]
            return pa.array(digits, arrow_type(type_))
        case Int(bits=128):
            return pa.array([None if v is None else Digits(v) for v in kept], arrow_type(type_))
        case Date():
            return pa.array(kept, pa.int32()).view(pa.date32())
        case Timestamp():
            return pa.array(kept, pa.int64()).view(pa.timestamp("us"))
        case _:
            return pa.array(kept, arrow_type(type_))


def _coded(arrow: Any, type_: Code) -> ColumnData:
    """Return codes over the one dictionary of all columns."""
    words: list[str | None] = list(arrow.to_pylist())
    indices = [None if v is None else WORDS.index(v) for v in words]
    coded: Any = pa.DictionaryArray
    array = coded.from_arrays(pa.array(indices, pa.int32()), pa.array(WORDS))
    return column_data(array, type_)


def _narrowed(random: np.random.Generator, data: ColumnData) -> ColumnData:
    """Return a column stored narrower, half of the times where it can be."""
    machine = physical(data.type)
    if not isinstance(machine, Int) or data.low is None or data.high is None:
        return data
    if random.random() < 0.5 or (data.values.ndim == 2 and data.high >= 1 << 63):
        return data
    fitting = [
        t
        for t in _NARROW
        if limits(t)[0] <= min(data.low, 0)
        and max(data.high, 0) <= limits(t)[1]
        and limits(machine)[0] <= limits(t)[0]
        and limits(t)[1] <= limits(machine)[1]
        and t.bits < machine.bits
    ]
    if not fitting or (data.values.ndim == 2 and data.low < -(1 << 63)):
        return data
    values = data.values if data.values.ndim == 1 else np.ascontiguousarray(data.values[:, 0])
    storage = fitting[random.integers(len(fitting))]
    return replace(data, values=values.astype(machine_dtype(storage)))


def _storage(values: Any, type_: Type) -> Bool | Int | Float:
    machine = physical(type_)
    if not isinstance(machine, Int) or values.ndim == 2:
        return machine
    return Int(values.dtype.itemsize * 8, values.dtype.kind == "i")


def dictionaries(columns: Mapping[str, Made]) -> dict[str, tuple[str, ...]]:
    """Return the entries of each dictionary."""
    kinds = [made.declared.type for made in columns.values()]
    return {k.dictionary: WORDS for k in kinds if isinstance(k, types.Code)}
