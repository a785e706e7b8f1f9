"""The types that DuckDB casts operands to implicitly, before an operator is applied."""

from __future__ import annotations

from foveal.planner.ir.nodes import COMPARISONS, FLOATING, IEEE_COMPARISONS, LOGIC, SELECTING
from foveal.planner.ir.types import (
    BOOL,
    DATE,
    F32,
    F64,
    I32,
    I64,
    I128,
    TIMESTAMP,
    Bool,
    Date,
    Decimal,
    Float,
    Int,
    Timestamp,
    Type,
)

MAX_DIGITS = 38
"""Digits of DuckDB's widest decimal."""


_INTEGER_DIGITS = {8: 3, 16: 5, 32: 10, 64: 19, 128: 38}


class IrTypeError(TypeError):
    """An operator does not take operands of these types."""


def as_decimal(type_: Type) -> Decimal:
    """Return the decimal that DuckDB takes an integer for: BIGINT is DECIMAL(19, 0).

    Raises:
        IrTypeError: neither an integer nor a decimal.
    """
    if isinstance(type_, Decimal):
        return type_
    if not isinstance(type_, Int):
        raise IrTypeError(f"{type_} is no number of decimal digits")
    return Decimal(20 if type_ == Int(64, signed=False) else _INTEGER_DIGITS[type_.bits], 0)


def common_type(a: Type, b: Type) -> Type:
    """Return the type that both sides of a comparison, CASE, COALESCE or GREATEST are cast to.

    Raises:
        IrTypeError: DuckDB has none, or only by way of text.
    """
    if a == b:
        return a
    match a, b:
        case Bool(), Int():
            return b
        case Int(), Bool():
            return a
        case Int(), Int():
            return _common_integer(a, b, for_arithmetic=False)
        case Float(), Int() | Decimal() | Float():
            return F64 if b == F64 else a
        case Int() | Decimal(), Float():
            return b
        case Decimal(), Decimal():
            return _common_decimal(a, b)
        case Decimal(), Int():
            return _with_integer(a, b)
        case Int(), Decimal():
            return _with_integer(b, a)
        case (Date(), Timestamp()) | (Timestamp(), Date()):
            return TIMESTAMP
        case _:
            raise IrTypeError(f"{a} and {b} have no common type")


def _common_integer(a: Int, b: Int, *, for_arithmetic: bool) -> Int:
    """Return the integer type that holds both; operators know fewer types than CASE does."""
    if a.signed == b.signed:
        return a if a.bits >= b.bits else b
    signed, unsigned = (a, b) if a.signed else (b, a)
    if signed.bits > unsigned.bits:
        return signed
    if unsigned.bits == 64:
        return I128
    return I64 if for_arithmetic else Int(unsigned.bits * 2)


def _common_decimal(a: Decimal, b: Decimal) -> Decimal:
    """Return the decimal that holds both; past 38 digits, fractions give way."""
    scale = max(a.scale, b.scale)
    whole = max(a.precision - a.scale, b.precision - b.scale)
    if whole + scale > MAX_DIGITS:
        return Decimal(MAX_DIGITS, MAX_DIGITS - whole)
    return Decimal(whole + scale, scale)


def _with_integer(a: Decimal, b: Int) -> Decimal:
    """Return a decimal's and an integer's common type: the scale stays."""
    whole = max(a.precision - a.scale, as_decimal(b).precision)
    return Decimal(min(whole + a.scale, MAX_DIGITS), a.scale)


def operand_types(op: str, a: Type, b: Type) -> tuple[Type, Type]:
    """Return the types that DuckDB casts the operands of a binary operator to.

    Raises:
        IrTypeError: the operator does not take them.
    """
    if op in LOGIC:
        return BOOL, BOOL
    if op in COMPARISONS or op in IEEE_COMPARISONS or op in SELECTING:
        kind = common_type(a, b)
        return kind, kind
    if op in FLOATING:
        return _both_numbers(op, a, b, F64)
    if op == "div":
        return _both_numbers(op, a, b, F32 if F32 in (a, b) and F64 not in (a, b) else F64)
    match a, b:
        case Int(), Int():
            kind = _common_integer(a, b, for_arithmetic=True)
            return kind, kind
        case (Float(), Int() | Decimal() | Float()) | (Int() | Decimal(), Float()):
            if op in ("add", "sub", "mul", "mod"):
                return _both_numbers(op, a, b, F64 if F64 in (a, b) else F32)
        case (Decimal(), Int() | Decimal()) | (Int(), Decimal()):
            return _decimal_operands(op, a, b)
        case (Date(), Int()) if op in ("add", "sub") and _fits_days(b):
            return DATE, I32
        case (Int(), Date()) if op == "add" and _fits_days(a):
            return I32, DATE
        case (Date(), Date()) | (Timestamp(), Timestamp()) if op == "sub":
            return a, b
        case (Timestamp(), Int(bits=64, signed=True)) if op in ("add", "sub"):
            return a, b
        case _:
            pass
    raise IrTypeError(f"{op} of {a} and {b}")


def _fits_days(type_: Type) -> bool:
    """Say whether DuckDB casts an integer to the INTEGER that is added to a date."""
    return isinstance(type_, Int) and (type_.bits <= 32 if type_.signed else type_.bits <= 16)


def _both_numbers(op: str, a: Type, b: Type, kind: Float) -> tuple[Type, Type]:
    """Return a float type for both operands, which must be numbers."""
    for type_ in (a, b):
        if not isinstance(type_, Int | Float | Decimal):
            raise IrTypeError(f"{op} of {a} and {b}")
    return kind, kind


def _decimal_operands(op: str, a: Type, b: Type) -> tuple[Type, Type]:
    """Return what an operator of decimals casts to: one scale, but for products."""
    x, y = as_decimal(a), as_decimal(b)
    if op == "mul":
        return x, y
    scale = max(x.scale, y.scale)
    wide_x, wide_y = x.precision - x.scale + scale, y.precision - y.scale + scale
    if op in ("add", "sub"):
        return Decimal(min(wide_x, MAX_DIGITS), scale), Decimal(min(wide_y, MAX_DIGITS), scale)
    if op == "mod":
        # Past 38 digits DuckDB divides doubles, but raises at zero as decimals do: left to it.
        if max(wide_x, wide_y) > MAX_DIGITS:
            raise IrTypeError(f"mod of {a} and {b}")
        both = Decimal(max(wide_x, wide_y), scale)
        return both, both
    raise IrTypeError(f"{op} of {a} and {b}")
