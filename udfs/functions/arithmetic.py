"""Python's operators over numbers and dates as expressions of the loop language.

Where Python raises, or where the loop language could differ (beyond 64 bits, beyond 2**53 where an
integer meets a float), the caller is asked for a check; what fails a check runs in Python.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from foveal.planner.ir import typing as ir
from foveal.planner.ir.nodes import FALSE, Expr
from foveal.planner.ir.types import DATE, I32, I64, TIMESTAMP
from foveal.udfs.functions.values import (
    DAY,
    EXACT,
    Value,
    and_,
    as_float,
    as_int,
    constant,
    not_,
    number_literal,
    or_,
    real,
    select,
)

Need = Callable[[Expr, str], None]
"""Takes a condition without which Python raises (or might), and what it would then say."""

_FOLD: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Mod: operator.mod,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Pow: operator.pow,
    ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
    ast.LShift: operator.lshift, ast.RShift: operator.rshift,
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Eq: ("eq", operator.eq), ast.NotEq: ("ne", operator.ne), ast.Lt: ("lt", operator.lt),
    ast.LtE: ("le", operator.le), ast.Gt: ("gt", operator.gt), ast.GtE: ("ge", operator.ge),
}  # fmt: skip
NUMBERS = ("int", "float", "bool", "big")
_BITS: dict[type[ast.operator], str] = {
    ast.BitAnd: "bitand", ast.BitOr: "bitor", ast.BitXor: "bitxor",
}  # fmt: skip
_SIMPLE: dict[type[ast.operator], str] = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul"}


class Unsupported(Exception):
    """The operator does not take these operands here; its text says why."""


def binary(op: ast.operator, a: Value, b: Value, need: Need) -> Value:
    """Return the value of `a op b`.

    Raises:
        Unsupported: the loop language has nothing for it.
    """
    if a.known and b.known:
        folded = _folded(op, a.constant, b.constant, need)
        if folded is not None:
            return folded
    if not {a.kind, b.kind} <= set(NUMBERS):
        made = _of_dates(op, a, b)
        if made.kind in ("date", "timestamp"):
            need(in_calendar(made), "date value out of range")
        return made
    numpy = a.numpy or b.numpy
    if isinstance(op, ast.BitAnd | ast.BitOr | ast.BitXor | ast.LShift | ast.RShift):
        return _bits(op, a, b)
    if isinstance(op, ast.Pow):
        return _power(a, b, numpy, need)
    whole = a.kind in ("int", "bool") and b.kind in ("int", "bool")
    if type(op) in _SIMPLE:
        name = _SIMPLE[type(op)]
        if whole:
            return Value(ir.binary(name, as_int(a), as_int(b)), "int", numpy)
        return Value(ir.binary(name, as_float(a), as_float(b)), "float", numpy)
    if isinstance(op, ast.Div):
        for side in (a, b):
            if whole:
                exact(side, need)
        x, y = as_float(a), as_float(b)
        if not numpy:
            _not_zero(b, y, need)
        return Value(ir.binary("div", x, y), "float", numpy)
    if isinstance(op, ast.FloorDiv | ast.Mod):
        if whole:
            _not_zero(b, None, need)
            pair = _int_divmod(as_int(a), as_int(b), b)
            return Value(pair[isinstance(op, ast.Mod)], "int", numpy)
        _not_zero(b, as_float(b), need)
        pair = _float_divmod(as_float(a), as_float(b))
        return Value(pair[isinstance(op, ast.Mod)], "float", numpy)
    raise Unsupported(f"the operator {type(op).__name__}")


def compare(op: ast.cmpop, a: Value, b: Value, need: Need) -> Expr:
    """Return the condition `a op b`.

    Raises:
        Unsupported: the kinds do not compare here.
    """
    if type(op) not in _COMPARE:
        raise Unsupported(f"the operator {type(op).__name__}")
    name, fold = _COMPARE[type(op)]
    if a.known and b.known:
        try:
            return constant(bool(fold(a.constant, b.constant))).expr
        except TypeError as error:
            raise Unsupported(str(error)) from error
    kinds = {a.kind, b.kind}
    if kinds <= {"int", "bool"}:
        return ir.binary(name, as_int(a), as_int(b))
    if kinds <= set(NUMBERS):
        for side in (a, b):
            exact(side, need)
        return ir.binary("f" + name, as_float(a), as_float(b))
    if len(kinds) == 1 and kinds <= {"date", "timestamp", "days", "micros"}:
        return ir.binary(name, a.expr, b.expr)
    if kinds == {"days", "micros"}:
        return ir.binary(name, as_micros(a), as_micros(b))
    raise Unsupported(f"comparing {a.kind} and {b.kind}")


def negative(value: Value) -> Value:
    """Return `-value`."""
    if value.known and value.kind in NUMBERS:
        return constant(-value.constant)
    if value.kind == "float":
        return Value(ir.unary("neg", value.expr), "float", value.numpy)
    if value.kind in ("int", "bool"):
        return Value(ir.unary("neg", as_int(value)), "int", value.numpy)
    if value.kind in ("days", "micros"):
        return Value(ir.unary("neg", value.expr), value.kind)
    raise Unsupported(f"minus {value.kind}")


def truth(value: Value) -> Expr:
    """Return whether Python takes the value for true."""
    if value.known:
        return constant(bool(value.constant)).expr
    match value.kind:
        case "bool":
            return value.expr
        case "int" | "days" | "micros":
            return ir.binary("ne", value.expr, number_literal(0))
        case "float":
            return ir.binary("fne", value.expr, real(0.0))
        case "date" | "timestamp":
            return constant(True).expr
        case _:
            raise Unsupported(f"the truth of {value.kind}")


def exact(value: Value, need: Need) -> None:
    """Ask that an integer lose nothing as a float."""
    if value.kind == "big" or (value.known and value.kind == "int" and abs(value.constant) > EXACT):
        raise Unsupported("an integer beyond 2**53 beside a float")
    if value.kind == "int" and not value.known:
        low = ir.binary("ge", value.expr, number_literal(-EXACT))
        high = ir.binary("le", value.expr, number_literal(EXACT))
        need(and_(low, high), "an integer beyond 2**53")


def as_micros(value: Value) -> Expr:
    """Return a timedelta in microseconds."""
    if value.kind == "micros":
        return value.expr
    return ir.binary("mul", value.expr, number_literal(DAY))


def _folded(op: ast.operator, a: Any, b: Any, need: Need) -> Value | None:
    """Return the value of constants; what raises fails where it is reached."""
    if isinstance(op, ast.Pow | ast.LShift) and isinstance(b, int | float) and abs(b) > 1024:
        return None
    fold = _FOLD.get(type(op))
    if fold is None:
        return None
    try:
        value = fold(a, b)
    except ArithmeticError as error:
        need(FALSE, str(error))
        return constant(0.0)
    except (TypeError, ValueError) as error:
        raise Unsupported(str(error)) from error
    return None if isinstance(value, complex) else constant(value)


def _not_zero(divisor: Value, as_real: Expr | None, need: Need) -> None:
    if divisor.known:
        if divisor.constant == 0:
            need(FALSE, "division by zero")
        return
    if as_real is None:
        need(ir.binary("ne", as_int(divisor), number_literal(0)), "division by zero")
    else:
        need(ir.binary("fne", as_real, real(0.0)), "division by zero")


def _int_divmod(x: Expr, y: Expr, divisor: Value) -> tuple[Expr, Expr]:
    """Return floor division and its remainder, which has the divisor's sign."""
    quotient, rest = ir.binary("idiv", x, y), ir.binary("mod", x, y)
    zero = number_literal(0)
    if divisor.known and divisor.constant > 0:
        off = ir.binary("lt", rest, zero)
    elif divisor.known and divisor.constant < 0:
        off = ir.binary("gt", rest, zero)
    else:
        off = ir.binary("lt", ir.binary("bitxor", rest, y), zero)
        off = and_(ir.binary("ne", rest, zero), off)
    return (
        select(off, ir.binary("sub", quotient, number_literal(1)), quotient),
        select(off, ir.binary("add", rest, y), rest),
    )


def _float_divmod(x: Expr, y: Expr) -> tuple[Expr, Expr]:
    """Return floor division and remainder of floats (CPython, Objects/floatobject.c)."""
    zero, one = real(0.0), real(1.0)
    raw = ir.binary("mod", x, y)
    whole = ir.binary("div", ir.binary("sub", x, raw), y)
    some = ir.binary("fne", raw, zero)
    signs = ir.binary("ne", ir.binary("flt", y, zero), ir.binary("flt", raw, zero))
    off = and_(some, signs)
    rest = select(some, raw, ir.binary("copysign", zero, y))
    rest = select(off, ir.binary("add", raw, y), rest)
    whole = select(off, ir.binary("sub", whole, one), whole)
    down = ir.unary("floor", whole)
    far = ir.binary("fgt", ir.binary("sub", whole, down), real(0.5))
    down = select(far, ir.binary("add", down, one), down)
    signed = ir.binary("copysign", zero, ir.binary("div", x, y))
    return select(ir.binary("fne", whole, zero), down, signed), rest


def _power(a: Value, b: Value, numpy: bool, need: Need) -> Value:
    """Return `a ** b`."""
    if b.known and isinstance(b.constant, int) and 0 <= b.constant <= 16:
        count = int(b.constant)
        if a.kind in ("int", "bool"):
            return Value(_product(as_int(a), count), "int", numpy)
        if count == 2 and not numpy:
            x = as_float(a)
            square = ir.binary("mul", x, x)
            need(_finite_from(square, x), "math range error")
            return Value(square, "float")
        if count == 2:
            return Value(ir.binary("mul", as_float(a), as_float(a)), "float", numpy)
    if a.kind in ("int", "bool") and b.kind in ("int", "bool") and not b.known:
        raise Unsupported("an integer to the power of an integer, which may be one or a float")
    if numpy and a.kind in ("int", "bool") and b.kind in ("int", "bool"):
        raise Unsupported("a power of a NumPy integer")
    if a.kind in ("int", "bool") and b.known and isinstance(b.constant, int) and b.constant > 16:
        raise Unsupported("a high power of an integer")
    exact(a, need)
    exact(b, need)
    x, y = as_float(a), as_float(b)
    result = ir.binary("pow", x, y)
    if not numpy:
        strange = and_(ir.unary("is_nan", result),
                       not_(or_(ir.unary("is_nan", x), ir.unary("is_nan", y))))  # fmt: skip
        need(not_(strange), "a power that is no real number")
        endless = or_(ir.unary("is_inf", x), ir.unary("is_inf", y))
        need(or_(not_(ir.unary("is_inf", result)), endless), "the power is too large")
    return Value(result, "float", numpy)


def _product(x: Expr, count: int) -> Expr:
    if count == 0:
        return number_literal(1)
    half = _product(x, count // 2)
    if count == 1:
        return x
    square = ir.binary("mul", half, half)
    return ir.binary("mul", square, x) if count % 2 else square


def _finite_from(result: Expr, x: Expr) -> Expr:
    return or_(not_(ir.unary("is_inf", result)), ir.unary("is_inf", x))


def _bits(op: ast.operator, a: Value, b: Value) -> Value:
    if a.kind == b.kind == "bool":
        if isinstance(op, ast.BitAnd):
            return Value(and_(a.expr, b.expr), "bool")
        if isinstance(op, ast.BitOr):
            return Value(or_(a.expr, b.expr), "bool")
        if isinstance(op, ast.BitXor):
            return Value(ir.binary("ne", a.expr, b.expr), "bool")
    if not {a.kind, b.kind} <= {"int", "bool"}:
        raise Unsupported("bits of what is no integer")
    x, y = as_int(a), as_int(b)
    if (name := _BITS.get(type(op))) is not None:
        return Value(ir.binary(name, x, y), "int")
    if not (b.known and 0 <= int(b.constant) <= 62):
        raise Unsupported("a shift that is not by a constant of 0 .. 62")
    factor = constant(1 << int(b.constant))
    if isinstance(op, ast.LShift):
        return Value(ir.binary("mul", x, factor.expr), "int")
    return Value(_int_divmod(x, factor.expr, factor)[0], "int")


def _of_dates(op: ast.operator, a: Value, b: Value) -> Value:
    """Return dates and timedeltas added and subtracted, timedeltas scaled."""
    minus = isinstance(op, ast.Sub)
    if isinstance(op, ast.Add) or minus:
        name = "sub" if minus else "add"
        if a.kind == b.kind == "date" and minus:
            return Value(ir.binary("sub", a.expr, b.expr), "days")
        if a.kind == b.kind == "timestamp" and minus:
            return Value(ir.binary("sub", a.expr, b.expr), "micros")
        if a.kind in ("days", "micros") and b.kind in ("date", "timestamp") and not minus:
            a, b = b, a
        if a.kind == "date" and b.kind == "days":
            return Value(ir.binary(name, a.expr, ir.cast(b.expr, I32)), "date")
        if a.kind == "timestamp" and b.kind in ("days", "micros"):
            return Value(ir.binary(name, a.expr, as_micros(b)), "timestamp")
        if a.kind == b.kind == "days":
            return Value(ir.binary(name, a.expr, b.expr), "days")
        if {a.kind, b.kind} <= {"days", "micros"}:
            return Value(ir.binary(name, as_micros(a), as_micros(b)), "micros")
    if isinstance(op, ast.Mult):
        if b.kind in ("days", "micros"):
            a, b = b, a
        if a.kind in ("days", "micros") and b.kind == "int":
            return Value(ir.binary("mul", a.expr, b.expr), a.kind)
    if isinstance(op, ast.FloorDiv) and b.known and b.kind == "days" and a.kind == "days":
        days = constant(b.constant.days)
        if days.constant > 0:
            return Value(_int_divmod(a.expr, days.expr, days)[0], "int")
    raise Unsupported(f"{type(op).__name__} of {a.kind} and {b.kind}")


def in_calendar(value: Value) -> Expr:
    """Return whether Python's calendar has the date or timestamp: the years 1 to 9999."""
    if value.kind == "date":
        low, high = ir.literal(-719162, DATE), ir.literal(2932896, DATE)
    else:
        low = ir.literal(-719162 * DAY, TIMESTAMP)
        high = ir.literal(2932897 * DAY - 1, TIMESTAMP)
    return and_(ir.binary("ge", value.expr, low), ir.binary("le", value.expr, high))


def to_int(x: Expr, how: str) -> Expr:
    """Return a float made whole by floor, ceil, trunc or round (half to even), as an integer."""
    if how == "round":
        return ir.cast(x, I64)
    return ir.cast(ir.unary(how, x), I64)


def remainder(x: Expr, y: Expr) -> Expr:
    """Return C's fmod."""
    return ir.binary("mod", x, y)
