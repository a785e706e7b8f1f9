"""DuckDB's type texts → types of the loop language."""

from __future__ import annotations

import re

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
    Code,
    Decimal,
    Type,
)

_PLAIN: dict[str, Type] = {
    "BOOLEAN": BOOL,
    "TINYINT": I8,
    "SMALLINT": I16,
    "INTEGER": I32,
    "BIGINT": I64,
    "HUGEINT": I128,
    "UTINYINT": U8,
    "USMALLINT": U16,
    "UINTEGER": U32,
    "UBIGINT": U64,
    "FLOAT": F32,
    "DOUBLE": F64,
    "DATE": DATE,
    "TIMESTAMP": TIMESTAMP,
}
_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")


def ir_type(duckdb_type: str, dictionary: str = "strings") -> Type | None:
    """Return the type that DuckDB's text names, None where programs have no such type.

    `dictionary` names the dictionary of a VARCHAR or ENUM.

    >>> str(ir_type("DECIMAL(15,2)")), str(ir_type("VARCHAR")), ir_type("INTEGER[]")
    ('decimal(15,2)', 'code(strings)', None)
    """
    if duckdb_type in _PLAIN:
        return _PLAIN[duckdb_type]
    if duckdb_type == "VARCHAR" or (duckdb_type.startswith("ENUM(") and duckdb_type[-1] == ")"):
        return Code(dictionary)
    found = _DECIMAL.fullmatch(duckdb_type)
    return None if found is None else Decimal(int(found[1]), int(found[2]))
