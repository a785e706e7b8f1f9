"""A program's few rows as SQL text: DuckDB reads VALUES sooner than it takes on an Arrow table."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Sequence

import pyarrow as pa

from foveal.planner.ir.types import Bool, Code, Date, Decimal, Float, Int, Type
from foveal.planner.text import literal, quote

MOST_CELLS = 256
"""Values that are written out at most."""


def as_values(rows: pa.Table, types: Sequence[Type]) -> str | None:
    """Return rows as an item of FROM, `(VALUES ..) AS ..`, or None where that is no gain.

    Every value reads back as itself; the columns' types are for the caller to cast.
    """
    if not 0 < rows.num_rows * rows.num_columns <= MOST_CELLS:
        return None
    columns: list[list[str]] = []
    for column, type_ in zip(rows.columns, types, strict=True):
        cells = [_cell(value, type_) for value in column.to_pylist()]
        if any(cell is None for cell in cells):
            return None
        columns.append([cell for cell in cells if cell is not None])
    lines = ", ".join(f"({', '.join(row)})" for row in zip(*columns, strict=True))
    names = ", ".join(quote(name) for name in rows.column_names)
    return f"(VALUES {lines}) AS __foveal_values({names})"


def _cell(value: object, type_: Type) -> str | None:
    """Return a value as a literal, None where it has no plain one."""
    match value, type_:
        case None, _:
            return "NULL"
        case bool(), Bool():
            return str(value)
        case int(), Int():
            return str(value)
        case decimal.Decimal(), Int() | Decimal():
            return format(value, "f")
        case float(), Float():
            return f"'{value!r}'::DOUBLE"
        case str(), Code():
            return literal(value) if "\0" not in value else None
        case datetime.date(), Date():
            return f"DATE '{value.isoformat()}'"
        case _:
            return None
