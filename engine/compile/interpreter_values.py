"""Values of the interpreter: a NumPy array and which rows are valid, exact whatever their size.

Booleans are bool arrays, floats float32 or float64, everything else int64, or Python integers in
object arrays where 64 bits might not do. Values of invalid rows are zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.engine.compile.arrow import machine_dtype, wide_integers, wide_words
from foveal.engine.compile.data import Array, KernelError
from foveal.planner.ir.intervals import finite_limits
from foveal.planner.ir.types import (
    Bool,
    Date,
    Float,
    Int,
    Timestamp,
    Type,
    limits,
    physical,
)

Mask = npt.NDArray[np.bool_]

_WORD = 1 << 63


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A value for each row: `values` [rows], `valid` bool [rows]."""

    values: Array
    valid: Mask

    def take(self, rows: npt.NDArray[np.int64]) -> Value:
        """Return the value of some rows."""
        return Value(self.values[rows], self.valid[rows])


def zero_of(type_: Type) -> Any:
    """Return what stands under a NULL."""
    return False if isinstance(type_, Bool) else 0


def empty_values(rows: int, type_: Type) -> Array:
    """Return zeros of the dtype in which the interpreter holds values of a type."""
    match type_:
        case Bool():
            return np.zeros(rows, np.bool_)
        case Float(bits=bits):
            return np.zeros(rows, np.float32 if bits == 32 else np.float64)
        case _:
            wide = limits(type_)[1] >= _WORD
            return np.zeros(rows, object if wide else np.int64)


def constant(value: bool | int | float | None, type_: Type, rows: int) -> Value:
    """Return one value for all rows."""
    values = empty_values(rows, type_)
    if value is not None:
        values[:] = value
    return Value(values, np.full(rows, value is not None))


def decode(stored: Array, valid: Mask | None, type_: Type) -> Value:
    """Return stored values [rows] (128-bit ones [rows, 2]) as the interpreter holds them."""
    mask = np.ones(len(stored), np.bool_) if valid is None else valid
    values: Array
    if stored.ndim == 2:
        values = wide_integers(stored)
    elif isinstance(type_, Bool):
        values = stored.astype(np.bool_)
    elif isinstance(type_, Float):
        values = stored.astype(np.float32 if type_.bits == 32 else np.float64)
    elif stored.dtype == np.uint64 or empty_values(0, type_).dtype == object:
        values = stored.astype(object)
    else:
        values = stored.astype(np.int64)
    return Value(np.where(mask, values, zero_of(type_)), mask)


def encode(value: Value, type_: Type) -> Array:
    """Return the values in the machine type, 128-bit integers as int64 [rows, 2]."""
    machine = physical(type_)
    if isinstance(machine, Int) and machine.bits == 128:
        return wide_words(value.values.astype(object))
    return value.values.astype(machine_dtype(machine))


def integers(values: Array, valid: Mask, type_: Type) -> Value:
    """Return integers of a type, zero where invalid.

    Raises:
        KernelError: a valid row is beyond the type's limits; infinite dates are.
    """
    kept = np.where(valid, values, 0)
    low, high = finite_limits(type_)
    if len(kept) and (kept.min() < low or kept.max() > high):
        raise KernelError
    # Python's integers where the type is wide: NumPy's would overflow among them.
    return Value(kept.astype(np.int64 if high < _WORD else object), valid)


def finite(value: Value, type_: Type) -> Value:
    """Return a date or timestamp that arithmetic may use; other types as they are.

    Raises:
        KernelError: a valid row is infinite.
    """
    if isinstance(type_, Date | Timestamp):
        integers(value.values, value.valid, type_)
    return value


def extent(values: Array) -> int:
    """Return the largest magnitude, as a Python integer."""
    return max(abs(int(values.min())), abs(int(values.max()))) if len(values) else 0


def roomy(a: Array, b: Array, bound: int) -> tuple[Array, Array]:
    """Return both arrays as they are where `bound` fits 64 bits, else as Python integers."""
    if bound < _WORD and a.dtype != object and b.dtype != object:
        return a, b
    return a.astype(object), b.astype(object)


def divided(values: Array, divisor: int) -> Array:
    """Return integers divided by a positive one, rounded half away from zero."""
    if divisor == 1:
        return values
    wide = values.astype(object)
    magnitude = np.abs(wide)
    rounded = (2 * magnitude + divisor) // (2 * divisor)
    return np.where(wide < 0, -rounded, rounded)
