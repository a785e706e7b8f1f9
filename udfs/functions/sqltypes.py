"""SQL types of a function's parameters and result: written, in Arrow, in the IR, and in Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from foveal.errors import DataError
from foveal.planner.ir import types as ir


@dataclass(frozen=True, slots=True)
class SqlType:
    """One type. `ir`: None where compiled loops have none. `python`: of the values of a call."""

    text: str
    arrow: pa.DataType
    ir: ir.Type | None
    python: tuple[type, ...]


# fmt: off
_INTEGERS = {
    "TINYINT": (pa.int8(), ir.I8), "SMALLINT": (pa.int16(), ir.I16),
    "INTEGER": (pa.int32(), ir.I32), "BIGINT": (pa.int64(), ir.I64),
    "UTINYINT": (pa.uint8(), ir.U8), "USMALLINT": (pa.uint16(), ir.U16),
    "UINTEGER": (pa.uint32(), ir.U32), "UBIGINT": (pa.uint64(), ir.U64),
}
_ALIASES = {
    "INT": "INTEGER", "INT4": "INTEGER", "INT8": "BIGINT", "INT2": "SMALLINT", "INT1": "TINYINT",
    "LONG": "BIGINT", "SHORT": "SMALLINT", "FLOAT8": "DOUBLE", "FLOAT4": "FLOAT", "REAL": "FLOAT",
    "DOUBLE PRECISION": "DOUBLE", "BOOL": "BOOLEAN", "LOGICAL": "BOOLEAN", "TEXT": "VARCHAR",
    "STRING": "VARCHAR", "CHAR": "VARCHAR", "BPCHAR": "VARCHAR", "BYTEA": "BLOB",
    "DATETIME": "TIMESTAMP", "NUMERIC": "DECIMAL",
}
_OTHERS = {
    "DOUBLE": SqlType("DOUBLE", pa.float64(), ir.F64, (float,)),
    "FLOAT": SqlType("FLOAT", pa.float32(), ir.F32, (float,)),
    "BOOLEAN": SqlType("BOOLEAN", pa.bool_(), ir.BOOL, (bool,)),
    "VARCHAR": SqlType("VARCHAR", pa.string(), None, (str,)),
    "BLOB": SqlType("BLOB", pa.binary(), None, (bytes,)),
    "DATE": SqlType("DATE", pa.date32(), ir.DATE, (date,)),
    "TIMESTAMP": SqlType("TIMESTAMP", pa.timestamp("us"), ir.TIMESTAMP, (datetime,)),
}
# fmt: on
_DECIMAL = re.compile(r"DECIMAL(?:\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?")


def sql_type(text: str) -> SqlType:
    """Return the type that `text` names.

    Raises:
        DataError: 42704, no type that functions can take or return.
    """
    word = " ".join(text.upper().split())
    word = re.sub(r"^NUMERIC", "DECIMAL", word)
    word = _ALIASES.get(word, word)
    if word in _INTEGERS:
        arrow, machine = _INTEGERS[word]
        return SqlType(word, arrow, machine, (int,))
    if word in _OTHERS:
        return _OTHERS[word]
    found = _DECIMAL.fullmatch(word)
    if found is not None:
        digits = int(found[1] or 18)
        scale = int(found[2] or (0 if found[1] else 3))
        if 1 <= digits <= 38 and scale <= digits:
            return SqlType(
                f"DECIMAL({digits},{scale})",
                pa.decimal128(digits, scale),
                ir.Decimal(digits, scale),
                (Decimal, int),
            )
    if word.endswith("[]"):
        inner = sql_type(word[:-2])
        return SqlType(f"{inner.text}[]", pa.list_(inner.arrow), None, (list, tuple))
    raise DataError(
        f'a function can neither take nor return "{text}"',
        sqlstate="42704",
        hint="use BOOLEAN, an integer type, DOUBLE, FLOAT, DECIMAL(p, s), VARCHAR, BLOB, DATE, "
        "TIMESTAMP, or a list of one such as DOUBLE[]",
    )


def converter(returns: SqlType) -> Callable[[Any], Any]:
    """Return what takes a Python (or NumPy) value of a call to a value of the type for Arrow.

    The one that it returns raises TypeError: the value is of another kind; OverflowError: it does
    not fit. A float is not taken for an integer, nor a number for a string: the function says int()
    or str() where it means that.
    """
    wanted = returns.python

    def convert(value: Any) -> Any:
        if value is None or value.__class__ in wanted:
            return value
        value = unboxed(value)
        if value is None or type(value) in wanted:
            return value
        if isinstance(value, bool):
            if int in wanted or float in wanted:
                return wanted[-1](value)
        elif isinstance(value, int) and float in wanted:
            return float(value)
        elif isinstance(value, float) and Decimal in wanted:
            return Decimal(repr(value))
        elif isinstance(value, datetime) and datetime not in wanted:
            pass  # a datetime is a date to isinstance, and would lose its hours
        elif isinstance(value, wanted):
            return value
        raise TypeError(f"it returned {value!r} of type {type(value).__name__}")

    return convert


def unboxed(value: Any) -> Any:
    """Return the Python value of a NumPy scalar or an array of no dimension, others as they are."""
    boxed: Any = value
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        boxed = boxed.item()
    return boxed


def from_annotation(annotation: Any) -> str | None:
    """Return the SQL type that a Python annotation (a type or its text) stands for, else None."""
    names = {
        float: "DOUBLE", int: "BIGINT", bool: "BOOLEAN", str: "VARCHAR", bytes: "BLOB",
        date: "DATE", datetime: "TIMESTAMP", Decimal: "DECIMAL(18,3)",
        np.float64: "DOUBLE", np.float32: "FLOAT", np.int64: "BIGINT", np.int32: "INTEGER",
    }  # fmt: skip
    if isinstance(annotation, str):
        by_name = {kind.__name__: name for kind, name in names.items()}
        if annotation in by_name:
            return by_name[annotation]
        try:
            return sql_type(annotation).text
        except DataError:
            return None
    return names.get(annotation)
