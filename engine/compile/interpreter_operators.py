"""Operators of the interpreter: each over whole arrays, all of whose rows are meant to be computed.

Rows that a CASE or a filter leaves out are never handed in, so whatever raises here raises rightly.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from foveal.engine.compile.data import Array, KernelError
from foveal.engine.compile.interpreter_values import (
    Mask,
    Value,
    divided,
    empty_values,
    extent,
    finite,
    integers,
    roomy,
)
from foveal.planner.ir.nodes import (
    BITS,
    COMPARISONS,
    FLOATING,
    IEEE_COMPARISONS,
    PARTS,
    SELECTING,
)
from foveal.planner.ir.types import (
    I8,
    Bool,
    Date,
    Decimal,
    Float,
    Int,
    Timestamp,
    Type,
)

DAY = 86_400_000_000
"""Microseconds of a day."""

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le,
    "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip

_BITWISE: dict[str, Callable[[Any, Any], Any]] = {
    "bitand": operator.and_, "bitor": operator.or_, "bitxor": operator.xor,
}  # fmt: skip


def _elementwise(function: Callable[[float], float]) -> Callable[[Array], Array]:
    """Return a function of floats as one of arrays."""
    return lambda x: np.array([function(float(v)) for v in x], np.float64)


_FLOAT: dict[str, Callable[[Array], Array]] = {
    "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "sqrt": np.sqrt, "cbrt": np.cbrt,
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2,
    "log10": np.log10, "log1p": np.log1p, "erf": _elementwise(math.erf),
    "erfc": _elementwise(math.erfc), "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh,
    "tanh": np.tanh,
}  # fmt: skip
_FLOAT_PAIRS: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "mod": np.fmod,
    "pow": np.power, "atan2": np.arctan2, "hypot": np.hypot, "copysign": np.copysign,
}  # fmt: skip


# --- one operand --------------------------------------------------------------------------------


def unary(op: str, x: Value, from_: Type, to: Type) -> Value:
    """Return a unary operator over valid and invalid rows.

    Raises:
        KernelError: a row overflows, or is an infinite date.
    """
    if op == "is_null":
        return Value(~x.valid, np.ones_like(x.valid))
    if op == "not":
        return Value(x.valid & ~x.values, x.valid)
    if op in PARTS:
        return Value(np.where(x.valid, _part(op, finite(x, from_), from_), 0), x.valid)
    with np.errstate(all="ignore"):
        if isinstance(from_, Float):
            return _unary_float(op, x, to)
    wide = x.values.astype(object)
    match op:
        case "neg":
            return integers(-wide, x.valid, to)
        case "abs":
            return integers(np.abs(wide), x.valid, to)
        case _:
            assert op == "sign", op
            sign = (x.values > 0).astype(np.int64) - (x.values < 0).astype(np.int64)
            return integers(sign, x.valid, I8)


def _unary_float(op: str, x: Value, to: Type) -> Value:
    """Return an operator of floats: IEEE results, computed in doubles."""
    wide = x.values.astype(np.float64)
    match op:
        case "neg":
            out = -wide
        case "abs":
            out = np.abs(wide)
        case "sign":
            out = (wide > 0).astype(np.int64) - (wide < 0).astype(np.int64)
        case "is_nan":
            out = np.isnan(wide)
        case "is_inf":
            out = np.isinf(wide)
        case "round":
            whole = np.trunc(wide)
            # Exact: the difference of a double and its whole part is one.
            away = np.abs(wide - whole) >= 0.5
            out = np.where(away, whole + np.copysign(1.0, wide), whole)
        case _:
            out = _FLOAT[op](wide)
    kept = empty_values(len(out), to)
    kept[x.valid] = out[x.valid]
    return Value(kept, x.valid)


def _part(op: str, x: Value, from_: Type) -> Array:
    """Return a part of dates or timestamps in the proleptic Gregorian calendar."""
    stamp = x.values.astype(np.int64)
    days, micros = (
        (stamp // DAY, stamp % DAY) if isinstance(from_, Timestamp) else (stamp, 0 * stamp)
    )
    date = days.astype("M8[D]")
    match op:
        case "hour":
            return micros // 3_600_000_000
        case "minute":
            return micros // 60_000_000 % 60
        case "second":
            return micros // 1_000_000 % 60
        case "dayofweek":
            return (days + 4) % 7
        case "day":
            return (date - date.astype("M8[M]").astype("M8[D]")).astype(np.int64) + 1
        case "dayofyear":
            return (date - date.astype("M8[Y]").astype("M8[D]")).astype(np.int64) + 1
        case "year":
            return date.astype("M8[Y]").astype(np.int64) + 1970
        case _:
            month = date.astype("M8[M]").astype(np.int64) % 12
            return month + 1 if op == "month" else month // 3 + 1


# --- two operands -------------------------------------------------------------------------------


def binary(op: str, a: Value, b: Value, left: Type, right: Type, to: Type) -> Value:
    """Return a strict binary operator, or LEAST or GREATEST; AND and OR are not among them.

    Raises:
        KernelError: a row overflows, divides by zero, or is an infinite date.
    """
    if op in SELECTING:
        return _selecting(op, a, b, left)
    valid = a.valid & b.valid
    if op in COMPARISONS:
        return Value(valid & _compared(op, a.values, b.values, left), valid)
    if op in IEEE_COMPARISONS:
        return Value(valid & _COMPARE[op[1:]](a.values, b.values).astype(np.bool_), valid)
    if isinstance(to, Float):
        with np.errstate(all="ignore"):
            if op in FLOATING:
                out = _FLOAT_PAIRS[op](a.values.astype(np.float64), b.values.astype(np.float64))
            else:
                out = _FLOAT_PAIRS[op](a.values, b.values)
            kept = empty_values(len(out), to)
            kept[valid] = out[valid]
        return Value(kept, valid)
    if op in BITS:
        return _bits(op, a.values, b.values, valid, to)
    finite(Value(a.values, valid), left)
    finite(Value(b.values, valid), right)
    return integers(_exact(op, a.values, b.values, valid, to), valid, to)


def _compared(op: str, a: Array, b: Array, type_: Type) -> Mask:
    """Return SQL's comparison: NaN equals itself and is above all numbers."""
    if not isinstance(type_, Float):
        return np.asarray(_COMPARE[op](a, b), np.bool_)
    nan_a, nan_b = np.isnan(a), np.isnan(b)
    equal = (a == b) | (nan_a & nan_b)
    below = (a < b) | (~nan_a & nan_b)
    match op:
        case "eq":
            return equal
        case "ne":
            return ~equal
        case "lt":
            return below
        case "le":
            return below | equal
        case "gt":
            return ~(below | equal)
        case _:
            return ~below


def _selecting(op: str, a: Value, b: Value, type_: Type) -> Value:
    """Return LEAST or GREATEST: the valid one, the left one of equals."""
    better = _compared("lt" if op == "least" else "gt", b.values, a.values, type_)
    right = b.valid & (~a.valid | better)
    return Value(np.where(right, b.values, a.values), a.valid | b.valid)


def _exact(op: str, a: Array, b: Array, valid: Mask, to: Type) -> Array:
    """Return integer arithmetic without overflow."""
    size_a, size_b = extent(a), extent(b)
    bound = size_a * size_b if op == "mul" else size_a + size_b
    a, b = roomy(a, b, bound)
    match op:
        case "add":
            return a + b
        case "sub":
            return a - b
        case "mul":
            return a * b
        case _:
            if bool((valid & (b == 0)).any()):
                raise KernelError
            safe = np.where(valid, b, 1)
            quotient = np.abs(a) // np.abs(safe)
            quotient = np.where((a < 0) != (safe < 0), -quotient, quotient)
            if op == "idiv":
                return quotient
            assert op == "mod", op
            # DuckDB divides first: the least integer % -1 overflows.
            integers(quotient, valid, to)
            return a - quotient * safe


def _bits(op: str, a: Array, b: Array, valid: Mask, to: Type) -> Value:
    """Return operators of bits; a shift that loses bits raises, as in DuckDB."""
    assert isinstance(to, Int)
    if not op.startswith("sh"):
        left, right = roomy(a, b, 0)
        return integers(_BITWISE[op](left, right), valid, to)
    wide, shift = a.astype(object), b.astype(object)
    inside = (shift >= 0) & (shift < to.bits)
    safe = np.where(inside, shift, 0)
    if op == "shr":
        return integers(np.where(inside, wide >> safe, 0), valid, to)
    if bool((valid & ((wide < 0) | (shift < 0) | ((wide != 0) & ~inside))).any()):
        raise KernelError
    return integers(np.where(inside, wide << safe, 0), valid, to)


# --- casts --------------------------------------------------------------------------------------


def cast(x: Value, from_: Type, to: Type) -> Value:
    """Return a cast by DuckDB's rules.

    Raises:
        KernelError: a row does not fit.
    """
    match from_, to:
        case (Date(), Timestamp()):
            return integers(_wide(finite(x, from_)) * DAY, x.valid, to)
        case (Timestamp(), Date()):
            return integers(finite(x, from_).values // DAY, x.valid, to)
        case _, Bool():
            return Value(x.valid & (x.values != 0), x.valid)
        case Float(), Float():
            return _narrowed(x, to)
        case _, Float():
            return _as_float(x, from_, to)
        case Float(), _:
            return _from_float(x, to)
        case _:
            scale = from_.scale if isinstance(from_, Decimal) else 0
            wanted = to.scale if isinstance(to, Decimal) else 0
            wide = _wide(x)
            if wanted >= scale:
                return integers(wide * 10 ** (wanted - scale), x.valid, to)
            return integers(divided(wide, 10 ** (scale - wanted)), x.valid, to)


def _wide(x: Value) -> Array:
    """Return integers, or booleans as such, as Python integers."""
    return (
        x.values.astype(np.int64).astype(object)
        if x.values.dtype == bool
        else x.values.astype(object)
    )


def _narrowed(x: Value, to: Type) -> Value:
    """Return floats in another width; a finite one that only infinity could stand for raises."""
    with np.errstate(all="ignore"):
        out = x.values.astype(empty_values(0, to).dtype)
    if bool((x.valid & np.isinf(out) & ~np.isinf(x.values)).any()):
        raise KernelError
    return Value(out, x.valid)


def _as_float(x: Value, from_: Type, to: Type) -> Value:
    """Return integers or decimals as floats.

    A decimal that a double does not hold exactly is its whole part plus its fraction, both rounded
    (DuckDB's way, which loses less than dividing once); FLOAT is rounded from DOUBLE.
    """
    dtype = empty_values(0, to).dtype
    if not isinstance(from_, Decimal) or from_.scale == 0:
        return Value(x.values.astype(dtype), x.valid)
    wide = _wide(x)
    power = 10**from_.scale
    magnitude = np.abs(wide)
    exact = magnitude <= 1 << 53
    sign = np.where(wide < 0, -1, 1)
    whole: Array = (magnitude // power * sign).astype(np.float64)
    part: Array = (magnitude % power * sign).astype(np.float64) / float(power)
    at_once: Array = np.where(exact, wide, 0).astype(np.float64) / float(power)
    return Value(np.where(exact, at_once, whole + part).astype(dtype), x.valid)


def _from_float(x: Value, to: Type) -> Value:
    """Return floats as integers (half to even) or decimals (half away from zero, after scaling)."""
    wide = np.where(x.valid, x.values.astype(np.float64), 0.0)
    with np.errstate(all="ignore"):
        if isinstance(to, Decimal):
            scaled = wide * float(10**to.scale)
            whole = np.trunc(scaled)
            away = np.abs(scaled - whole) >= 0.5
            rounded = np.where(away, whole + np.copysign(1.0, scaled), whole).astype(np.float64)
        else:
            rounded = np.asarray(np.rint(wide), np.float64)
    if not bool(np.isfinite(rounded).all()):
        raise KernelError
    whole_numbers: list[float] = rounded.tolist()
    return integers(np.array([int(v) for v in whole_numbers], object), x.valid, to)
