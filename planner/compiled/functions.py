"""DuckDB's functions by name: which operator of the loop language each is, and its argument."""

from __future__ import annotations

import re

from foveal.planner.ir.types import (
    BOOL,
    DATE,
    F32,
    F64,
    TIMESTAMP,
    Decimal,
    Float,
    Int,
    Type,
)

_INTEGERS = {"tinyint": 8, "int1": 8, "smallint": 16, "int2": 16, "short": 16, "int16": 16,
             "integer": 32, "int": 32, "int4": 32, "signed": 32, "int32": 32, "bigint": 64,
             "int8": 64, "long": 64, "int64": 64, "hugeint": 128, "int128": 128}  # fmt: skip
_OTHERS: dict[str, Type] = {
    "boolean": BOOL, "bool": BOOL, "logical": BOOL, "float": F32, "float4": F32, "real": F32,
    "double": F64, "float8": F64, "date": DATE, "timestamp": TIMESTAMP, "datetime": TIMESTAMP,
}  # fmt: skip
_DECIMAL = re.compile(r"(?:decimal|numeric|dec)(?:\((\d+)(?:,(\d+))?\))?")

PART_NAMES = {"year": "year", "month": "month", "day": "day", "dayofmonth": "day",
              "quarter": "quarter", "dayofweek": "dayofweek", "dow": "dayofweek",
              "weekday": "dayofweek", "dayofyear": "dayofyear", "doy": "dayofyear",
              "hour": "hour", "minute": "minute", "second": "second"}  # fmt: skip
"""Parts of dates by the names that functions and `date_part` know them by."""

OPERATOR_NAMES = {"add": "add", "subtract": "sub", "multiply": "mul", "divide": "idiv",
                  "mod": "mod", "pow": "pow", "power": "pow", "atan2": "atan2"}  # fmt: skip
"""Functions of two arguments that are operators."""

_FLOATS = {"sqrt": "sqrt", "cbrt": "cbrt", "exp": "exp", "ln": "log", "log": "log10",
           "log10": "log10", "log2": "log2", "sin": "sin", "cos": "cos", "tan": "tan",
           "asin": "asin", "acos": "acos", "atan": "atan", "sinh": "sinh", "cosh": "cosh",
           "tanh": "tanh"}  # fmt: skip
"""Functions that cast their argument to DOUBLE."""

UNARY = {
    **_FLOATS,
    "abs": "abs",
    "@": "abs",
    "floor": "floor",
    "ceil": "ceil",
    "ceiling": "ceil",
    "trunc": "trunc",
    "round": "round",
    "sign": "sign",
    "isnan": "is_nan",
    "isinf": "is_inf",
}
"""Functions of one argument to operators."""


def type_named(text: str) -> Type | None:
    """Return the type of a name in lower case, or None."""
    if text in _INTEGERS:
        return Int(_INTEGERS[text])
    if text[:1] == "u" and text[1:] in _INTEGERS and _INTEGERS[text[1:]] < 128:
        return Int(_INTEGERS[text[1:]], signed=False)
    if text in _OTHERS:
        return _OTHERS[text]
    found = _DECIMAL.fullmatch(text)
    if found is None:
        return None
    digits, scale = found.groups()
    if digits is None:
        return Decimal(18, 3)
    p, s = int(digits), int(scale or 0)
    return Decimal(p, s) if 0 < p <= 38 and s <= p else None


def takes(name: str, argument: Type) -> Type | None:
    """Return the type that a function of one number casts its argument to, None: not ours."""
    if not isinstance(argument, Int | Decimal | Float):
        return None
    if name in _FLOATS:
        return F64
    if name in ("abs", "@", "sign"):
        return argument
    if isinstance(argument, Float):
        return argument
    if isinstance(argument, Int) and name in ("floor", "ceil", "ceiling"):
        return F64
    return None
