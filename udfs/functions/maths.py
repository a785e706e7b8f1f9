"""Scalar functions of `math`, NumPy and Python itself as expressions of the loop language.

`math` raises where a result is no number (ValueError) or too large (OverflowError); NumPy gives NaN
and inf. A failed check runs in Python, which words the error.
"""

from __future__ import annotations

import ast
import builtins
import datetime
import math
from collections.abc import Callable, Sequence

import numpy as np

from foveal.planner.ir import typing as ir
from foveal.planner.ir.nodes import Expr
from foveal.planner.ir.types import DATE, F64, I64
from foveal.udfs.functions.arithmetic import (
    NUMBERS,
    Need,
    Unsupported,
    as_micros,
    compare,
    remainder,
    to_int,
    truth,
)
from foveal.udfs.functions.values import (
    DAY,
    Value,
    and_,
    as_float,
    as_int,
    constant,
    merged,
    not_,
    number_literal,
    or_,
    real,
    select,
)

Call = Callable[[Sequence[Value], Need], Value]


def _over(op: str, x: Expr, y: float) -> Expr:
    return ir.binary(op, x, real(y))


def _nan(x: Expr) -> Expr:
    return ir.unary("is_nan", x)


def _endless(x: Expr) -> Expr:
    return ir.unary("is_inf", x)


def _bounded(x: Expr, low: float, high: float) -> Expr:
    return or_(_nan(x), and_(_over("fge", x, low), _over("fle", x, high)))


# What must hold so that `math`'s function does not raise: of the argument, and of the result.
_DOMAIN: dict[str, Callable[[Expr], Expr]] = {
    "sqrt": lambda x: or_(_nan(x), _over("fge", x, 0.0)),
    "log": lambda x: or_(_nan(x), _over("fgt", x, 0.0)),
    "log2": lambda x: or_(_nan(x), _over("fgt", x, 0.0)),
    "log10": lambda x: or_(_nan(x), _over("fgt", x, 0.0)),
    "log1p": lambda x: or_(_nan(x), _over("fgt", x, -1.0)),
    "asin": lambda x: _bounded(x, -1.0, 1.0),
    "acos": lambda x: _bounded(x, -1.0, 1.0),
    "sin": lambda x: not_(_endless(x)),
    "cos": lambda x: not_(_endless(x)),
    "tan": lambda x: not_(_endless(x)),
}
_GROWING = ("exp", "exp2", "expm1", "sinh", "cosh")
_ANYWHERE = ("cbrt", "erf", "erfc", "atan", "tanh")
_NUMPY_NAMES = {
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "fabs": "abs", "floor": "floor",
    "ceil": "ceil", "trunc": "trunc",
    "sqrt": "sqrt", "log": "log", "log2": "log2", "log10": "log10", "log1p": "log1p", "sin": "sin",
    "cos": "cos", "tan": "tan", "exp": "exp", "exp2": "exp2", "expm1": "expm1", "sinh": "sinh",
    "cosh": "cosh", "cbrt": "cbrt", "tanh": "tanh",
}  # fmt: skip


def _numbers(values: Sequence[Value], count: int, at_most: int | None = None) -> None:
    if not count <= len(values) <= (at_most or count):
        raise Unsupported(f"a call with {len(values)} argument(s)")
    for value in values:
        if value.kind not in NUMBERS:
            raise Unsupported(f"a number where there is a {value.kind}")


def _math_unary(op: str) -> Call:
    def call(values: Sequence[Value], need: Need) -> Value:
        _numbers(values, 1)
        x = as_float(values[0])
        if op in _DOMAIN:
            need(_DOMAIN[op](x), "math domain error")
        result = ir.unary(op, x)
        if op in _GROWING:
            need(or_(not_(_endless(result)), _endless(x)), "math range error")
        return Value(result, "float")

    return call


def _numpy_unary(op: str) -> Call:
    def call(values: Sequence[Value], need: Need) -> Value:
        _numbers(values, 1)
        return Value(ir.unary(op, as_float(values[0])), "float", numpy=True)

    return call


def _rounded(how: str) -> Call:
    def call(values: Sequence[Value], need: Need) -> Value:
        _numbers(values, 1)
        if values[0].kind in ("int", "bool"):
            return Value(as_int(values[0]), "int")
        x = as_float(values[0])
        # The cast raises by itself, but only where somebody reads its result.
        need(not_(or_(_nan(x), _endless(x))), "cannot convert to an integer")
        return Value(to_int(x, how), "int")

    return call


def _log(values: Sequence[Value], need: Need) -> Value:
    _numbers(values, 1, 2)
    parts = [_math_unary("log")([value], need) for value in values]
    if len(parts) == 1:
        return parts[0]
    below = parts[1].expr
    need(ir.binary("fne", below, real(0.0)), "division by zero")
    return Value(ir.binary("div", parts[0].expr, below), "float")


def _pair(op: str, *, numpy: bool) -> Call:
    def call(values: Sequence[Value], need: Need) -> Value:
        _numbers(values, 2)
        x, y = as_float(values[0]), as_float(values[1])
        result = ir.binary(op, x, y)
        if op in ("pow", "hypot") and not numpy:
            need(not_(_nan(result)), "math domain error")
            need(not_(_endless(result)), "math range error")
        return Value(result, "float", numpy)

    return call


def _fmod(values: Sequence[Value], need: Need) -> Value:
    _numbers(values, 2)
    x, y = as_float(values[0]), as_float(values[1])
    result = remainder(x, y)
    need(or_(not_(_nan(result)), or_(_nan(x), _nan(y))), "math domain error")
    return Value(result, "float")


def _scaled(factor: float, *, numpy: bool) -> Call:
    def call(values: Sequence[Value], need: Need) -> Value:
        _numbers(values, 1)
        return Value(_over("mul", as_float(values[0]), factor), "float", numpy)

    return call


def _tested(op: str) -> Call:
    def call(values: Sequence[Value], need: Need) -> Value:
        _numbers(values, 1)
        x = as_float(values[0])
        if op == "finite":
            return Value(and_(not_(_nan(x)), not_(_endless(x))), "bool")
        return Value(ir.unary(op, x), "bool")

    return call


def _abs(values: Sequence[Value], need: Need) -> Value:
    _numbers(values, 1)
    value = values[0]
    if value.known:
        return constant(abs(value.constant))
    if value.kind in ("int", "bool"):
        return Value(ir.unary("abs", as_int(value)), "int", value.numpy)
    return Value(ir.unary("abs", as_float(value)), "float", value.numpy)


def _numpy_abs(values: Sequence[Value], need: Need) -> Value:
    made = _abs(values, need)
    return Value(made.expr, made.kind, numpy=True)


def _fabs(values: Sequence[Value], need: Need) -> Value:
    _numbers(values, 1)
    return Value(ir.unary("abs", as_float(values[0])), "float")


def _extreme(*, largest: bool) -> Call:
    """Python's min and max: the first of equals, and NaN as its comparisons have it."""
    op: ast.cmpop = ast.Gt() if largest else ast.Lt()

    def call(values: Sequence[Value], need: Need) -> Value:
        if len(values) < 2:
            raise Unsupported("min or max of a sequence")
        best = values[0]
        for value in values[1:]:
            chosen = merged(compare(op, value, best, need), value, best)
            if chosen is None:
                raise Unsupported(f"min or max of {value.kind} and {best.kind}")
            best = chosen
        return best

    return call


def _numpy_extreme(*, largest: bool) -> Call:
    """NumPy's minimum and maximum: NaN if either is."""

    def call(values: Sequence[Value], need: Need) -> Value:
        _numbers(values, 2)
        a, b = values
        if a.kind == b.kind == "int":
            better = ir.binary("gt" if largest else "lt", a.expr, b.expr)
            return Value(select(better, a.expr, b.expr), "int", numpy=True)
        x, y = as_float(a), as_float(b)
        better = or_(ir.binary("fgt" if largest else "flt", x, y), _nan(x))
        return Value(select(better, x, y), "float", numpy=True)

    return call


def _clip(values: Sequence[Value], need: Need) -> Value:
    _numbers(values, 3)
    low = _numpy_extreme(largest=True)(values[:2], need)
    return _numpy_extreme(largest=False)([low, values[2]], need)


def _where(values: Sequence[Value], need: Need) -> Value:
    if len(values) != 3:
        raise Unsupported(f"np.where with {len(values)} argument(s)")
    made = merged(truth(values[0]), values[1], values[2])
    if made is None:
        raise Unsupported(f"np.where of {values[1].kind} and {values[2].kind}")
    return Value(made.expr, made.kind, numpy=True)


def _sign(values: Sequence[Value], need: Need) -> Value:
    _numbers(values, 1)
    if values[0].kind != "float":
        raise Unsupported("np.sign of an integer")
    x = as_float(values[0])
    signed = select(_over("flt", x, 0.0), real(-1.0), select(_over("fgt", x, 0.0), real(1.0),
                    select(_nan(x), x, real(0.0))))  # fmt: skip
    return Value(signed, "float", numpy=True)


def _rint(values: Sequence[Value], need: Need) -> Value:
    """Round half to even, to a float; what is large is whole already."""
    _numbers(values, 1)
    x = as_float(values[0])
    small = _over("flt", ir.unary("abs", x), float(1 << 52))
    whole = ir.cast(ir.cast(select(small, x, real(0.0)), I64), F64)
    return Value(select(small, ir.binary("copysign", whole, x), x), "float", numpy=True)


def _square(values: Sequence[Value], need: Need) -> Value:
    _numbers(values, 1)
    x = as_float(values[0])
    return Value(ir.binary("mul", x, x), "float", numpy=True)


def _int(values: Sequence[Value], need: Need) -> Value:
    if not values:
        return constant(0)
    return _rounded("trunc")(values, need)


def _float(values: Sequence[Value], need: Need) -> Value:
    _numbers(values, 1)
    if values[0].known:
        return constant(float(values[0].constant))
    return Value(as_float(values[0]), "float")


def _numpy_float(values: Sequence[Value], need: Need) -> Value:
    _numbers(values, 1)
    return Value(as_float(values[0]), "float", numpy=True)


def _bool(values: Sequence[Value], need: Need) -> Value:
    if len(values) != 1:
        raise Unsupported("bool() of nothing")
    return Value(truth(values[0]), "bool")


def _round(values: Sequence[Value], need: Need) -> Value:
    if len(values) != 1:
        raise Unsupported("round() to a number of digits, which works on decimal text")
    return _rounded("round")(values, need)


def _date(values: Sequence[Value], need: Need) -> Value:
    if all(value.known for value in values):
        try:
            return constant(datetime.date(*(value.constant for value in values)))
        except (TypeError, ValueError) as error:
            raise Unsupported(str(error)) from error
    raise Unsupported("date() of what is no constant")


def _logical(kind: str) -> Call:
    def call(values: Sequence[Value], need: Need) -> Value:
        parts = [truth(value) for value in values]
        if kind == "not":
            return Value(not_(parts[0]), "bool")
        return Value((and_ if kind == "and" else or_)(parts[0], parts[1]), "bool")

    return call


def _calls() -> dict[int, tuple[object, Call]]:
    found: list[tuple[object, Call]] = []
    plain = [op for op in (*_DOMAIN, *_GROWING, *_ANYWHERE) if op != "log"]
    found += [(getattr(math, op), _math_unary(op)) for op in plain]
    found += [(getattr(np, name), _numpy_unary(op)) for name, op in _NUMPY_NAMES.items()]
    for how in ("floor", "ceil", "trunc"):
        found.append((getattr(math, how), _rounded(how)))
    for name, op in (("pow", "pow"), ("atan2", "atan2"), ("hypot", "hypot"),
                     ("copysign", "copysign")):  # fmt: skip
        found.append((getattr(math, name), _pair(op, numpy=False)))
    for name, op in (("arctan2", "atan2"), ("hypot", "hypot"), ("copysign", "copysign")):
        found.append((getattr(np, name), _pair(op, numpy=True)))
    found += [
        (math.log, _log), (math.fmod, _fmod), (np.fmod, _pair("mod", numpy=True)),
        (math.fabs, _fabs),
        (math.degrees, _scaled(180.0 / math.pi, numpy=False)),
        (math.radians, _scaled(math.pi / 180.0, numpy=False)),
        (np.degrees, _scaled(180.0 / math.pi, numpy=True)),
        (np.radians, _scaled(math.pi / 180.0, numpy=True)),
        (np.deg2rad, _scaled(math.pi / 180.0, numpy=True)),
        (np.rad2deg, _scaled(180.0 / math.pi, numpy=True)),
        (math.isnan, _tested("is_nan")), (math.isinf, _tested("is_inf")),
        (math.isfinite, _tested("finite")), (np.isnan, _tested("is_nan")),
        (np.isinf, _tested("is_inf")), (np.isfinite, _tested("finite")),
        (builtins.abs, _abs), (np.abs, _numpy_abs), (np.sign, _sign), (np.rint, _rint),
        (np.square, _square), (np.where, _where), (np.clip, _clip),
        (np.maximum, _numpy_extreme(largest=True)), (np.minimum, _numpy_extreme(largest=False)),
        (builtins.max, _extreme(largest=True)), (builtins.min, _extreme(largest=False)),
        (builtins.int, _int), (builtins.float, _float), (np.float64, _numpy_float),
        (builtins.bool, _bool), (builtins.round, _round), (datetime.date, _date),
        (np.logical_and, _logical("and")), (np.logical_or, _logical("or")),
        (np.logical_not, _logical("not")),
    ]  # fmt: skip
    return {id(function): (function, call) for function, call in found}


CALLS = _calls()
"""By the function's id, so that it does not matter under which name it is imported."""


def call_of(function: object) -> Call | None:
    """Return how a call of the function is translated, None where it is not known."""
    found = CALLS.get(id(function))
    return None if found is None else found[1]


def timedelta_of(values: Sequence[Value], names: Sequence[str], need: Need) -> Value:
    """Return timedelta(days, seconds, ..) over integers; `names` as it calls them.

    Raises:
        Unsupported: a part is no integer.
    """
    units = {"days": DAY, "seconds": 1_000_000, "microseconds": 1, "milliseconds": 1000,
             "minutes": 60_000_000, "hours": 3_600_000_000, "weeks": 7 * DAY}  # fmt: skip
    if all(value.known for value in values):
        return constant(
            datetime.timedelta(**{n: v.constant for n, v in zip(names, values, strict=True)})
        )
    total: Expr | None = None
    whole = all(name in ("days", "weeks") for name in names)
    for value, name in zip(values, names, strict=True):
        if value.kind not in ("int", "bool"):
            raise Unsupported("a timedelta of what is no integer")
        factor = units[name] // (DAY if whole else 1)
        part = as_int(value)
        if factor != 1:
            part = ir.binary("mul", part, number_literal(factor))
        total = part if total is None else ir.binary("add", total, part)
    if total is None:
        return constant(datetime.timedelta())
    limit = 999_999_999 * (1 if whole else DAY)
    if limit < 1 << 63:
        inside = and_(ir.binary("le", total, number_literal(limit)),
                      ir.binary("ge", total, number_literal(-limit)))  # fmt: skip
        need(inside, "days out of range for a timedelta")
    return Value(total, "days" if whole else "micros")


def attribute(value: Value, name: str) -> Value | None:
    """Return an attribute of a date, timestamp, timedelta or number; None: it has none here."""
    parts = ("year", "month", "day")
    if value.kind == "timestamp":
        parts = (*parts, "hour", "minute", "second")
    if value.kind in ("date", "timestamp") and name in parts:
        return Value(ir.unary(name, value.expr), "int")
    if value.kind == "days" and name == "days":
        return Value(value.expr, "int")
    if value.kind == "float" and name == "real":
        return value
    return None


def method(value: Value, name: str, arguments: Sequence[Value]) -> Value | None:
    """Return what a method of a date, timestamp, timedelta or float gives; None: not known."""
    if arguments:
        return None
    if value.kind in ("date", "timestamp"):
        day = ir.unary("dayofweek", value.expr)
        if name == "isoweekday":
            sunday = ir.binary("eq", day, number_literal(0))
            return Value(select(sunday, number_literal(7), day), "int")
        if name == "weekday":
            shifted = ir.binary("add", day, number_literal(6))
            return Value(ir.binary("mod", shifted, number_literal(7)), "int")
        if name == "toordinal" and value.kind == "date":
            days = ir.binary("sub", value.expr, ir.literal(0, DATE))
            return Value(ir.binary("add", days, number_literal(719163)), "int")
        if name == "date" and value.kind == "timestamp":
            return Value(ir.cast(value.expr, DATE), "date")
    if value.kind in ("days", "micros") and name == "total_seconds":
        micros = ir.cast(as_micros(value), F64)
        return Value(_over("div", micros, 1e6), "float")
    if value.kind == "float" and name == "is_integer":
        whole = ir.binary("feq", ir.unary("floor", value.expr), value.expr)
        return Value(and_(whole, not_(_endless(value.expr))), "bool")
    return None
