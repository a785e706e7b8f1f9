"""SQL types: one table of DuckDB type name, Arrow type, PEP 249 type object and Postgres OID.

Take a type from its SQL name, never from Arrow: UUID and JSON arrive there as string, BIT as
binary, HUGEINT as decimal128, TIMETZ as a time without its zone.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


class TypeObject:
    """A PEP 249 type object: equals every type code (a DuckDB type text) of its family.

    >>> "DECIMAL(10,2)" == NUMBER, "VARCHAR" == NUMBER
    (True, False)
    """

    def __init__(self, name: str) -> None:
        """Keep the family's name."""
        self.name = name

    def __eq__(self, other: object) -> bool:
        """Return whether `other` is this object or a type text of its family."""
        if isinstance(other, str):
            return lookup(other).family is self
        return self is other

    def __hash__(self) -> int:
        """Hash by name."""
        return hash(self.name)

    def __repr__(self) -> str:
        """Return the name as Python code."""
        return f"foveal.{self.name}"


STRING = TypeObject("STRING")
BINARY = TypeObject("BINARY")
NUMBER = TypeObject("NUMBER")
DATETIME = TypeObject("DATETIME")
ROWID = TypeObject("ROWID")
"""No column of foveal has this type; the name is PEP 249's."""


@dataclass(frozen=True, slots=True)
class SqlType:
    """One row of the table.

    `arrow` is pyarrow's alias, "" where the type text's parameters decide. `oid`, `array_oid` and
    `length` (bytes, -1 if it varies) are PostgreSQL 15's. `text` names the wire's text form.
    """

    name: str
    arrow: str
    family: TypeObject | None
    oid: int
    array_oid: int
    length: int
    text: str


_ROWS = (
    SqlType("BOOLEAN", "bool", NUMBER, 16, 1000, 1, "t or f"),
    SqlType("TINYINT", "int8", NUMBER, 21, 1005, 2, "digits"),
    SqlType("UTINYINT", "uint8", NUMBER, 21, 1005, 2, "digits"),
    SqlType("SMALLINT", "int16", NUMBER, 21, 1005, 2, "digits"),
    SqlType("USMALLINT", "uint16", NUMBER, 23, 1007, 4, "digits"),
    SqlType("INTEGER", "int32", NUMBER, 23, 1007, 4, "digits"),
    SqlType("UINTEGER", "uint32", NUMBER, 20, 1016, 8, "digits"),
    SqlType("BIGINT", "int64", NUMBER, 20, 1016, 8, "digits"),
    SqlType("UBIGINT", "uint64", NUMBER, 1700, 1231, -1, "digits"),
    SqlType("HUGEINT", "", NUMBER, 1700, 1231, -1, "digits"),
    SqlType("UHUGEINT", "", NUMBER, 1700, 1231, -1, "digits"),
    SqlType("BIGNUM", "string", NUMBER, 1700, 1231, -1, "digits"),
    SqlType("DECIMAL", "", NUMBER, 1700, 1231, -1, "digits with the scale kept"),
    SqlType("FLOAT", "float", NUMBER, 700, 1021, 4, "shortest"),
    SqlType("DOUBLE", "double", NUMBER, 701, 1022, 8, "shortest"),
    SqlType("VARCHAR", "string", STRING, 25, 1009, -1, "as is"),
    SqlType("ENUM", "", STRING, 25, 1009, -1, "as is"),
    SqlType("NULL", "null", STRING, 25, 1009, -1, "as is"),
    SqlType("BLOB", "binary", BINARY, 17, 1001, -1, r"\x and hex"),
    SqlType("GEOMETRY", "binary", BINARY, 17, 1001, -1, r"\x and hex"),
    SqlType("DATE", "date32", DATETIME, 1082, 1182, 4, "ISO"),
    SqlType("TIME", "time64[us]", DATETIME, 1083, 1183, 8, "ISO"),
    SqlType("TIME_NS", "time64[ns]", DATETIME, 1083, 1183, 8, "ISO"),
    SqlType("TIME WITH TIME ZONE", "time64[us]", DATETIME, 1266, 1270, 12, "ISO"),
    SqlType("TIMESTAMP", "timestamp[us]", DATETIME, 1114, 1115, 8, "ISO"),
    SqlType("TIMESTAMP_S", "timestamp[s]", DATETIME, 1114, 1115, 8, "ISO"),
    SqlType("TIMESTAMP_MS", "timestamp[ms]", DATETIME, 1114, 1115, 8, "ISO"),
    SqlType("TIMESTAMP_NS", "timestamp[ns]", DATETIME, 1114, 1115, 8, "ISO"),
    SqlType("TIMESTAMP WITH TIME ZONE", "", DATETIME, 1184, 1185, 8, "ISO with offset"),
    SqlType(
        "INTERVAL", "month_day_nano_interval", DATETIME, 1186, 1187, 16, "1 mon 1 day 01:02:03"
    ),
    SqlType("UUID", "string", STRING, 2950, 2951, 16, "as is"),
    SqlType("JSON", "string", STRING, 114, 199, -1, "JSON"),
    SqlType("BIT", "binary", STRING, 1562, 1563, -1, "0 and 1"),
    SqlType("STRUCT", "", None, 114, 199, -1, "JSON"),
    SqlType("MAP", "", None, 114, 199, -1, "JSON"),
    SqlType("UNION", "", None, 114, 199, -1, "JSON"),
    SqlType("VARIANT", "", None, 114, 199, -1, "JSON"),
    SqlType("LIST", "", None, 0, 0, -1, "{1,NULL}"),
    SqlType("ARRAY", "", None, 0, 0, -1, "{1,NULL}"),
)

SQL_TYPES: Mapping[str, SqlType] = {row.name: row for row in _ROWS}

_ALIASES = {
    "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE",
    "TIMETZ": "TIME WITH TIME ZONE",
    "BOOL": "BOOLEAN",
    "TEXT": "VARCHAR",
    '"NULL"': "NULL",
}
_LIST = re.compile(r"(?s)(?P<element>.+)\[(?P<size>\d*)\]\Z")
_SHAPE = re.compile(r"DECIMAL\(\s*(\d+)\s*,\s*(\d+)\s*\)\Z", re.IGNORECASE)


@functools.lru_cache(maxsize=512)
def lookup(type_text: str) -> SqlType:
    """Return the row of a DuckDB type text such as `DECIMAL(10,2)` or `INTEGER[]`.

    A name that is not in the table is a user's own type, which reads as VARCHAR.
    """
    listed = _LIST.match(type_text)
    if listed is not None:
        return SQL_TYPES["ARRAY" if listed["size"] else "LIST"]
    name = type_text.split("(", 1)[0].strip().upper()
    return SQL_TYPES.get(_ALIASES.get(name, name), SQL_TYPES["VARCHAR"])


def decimal_shape(type_text: str) -> tuple[int, int] | None:
    """Return (precision, scale) of a DECIMAL's type text, None for any other type."""
    shape = _SHAPE.match(type_text)
    return (int(shape[1]), int(shape[2])) if shape is not None else None


def element_type(type_text: str) -> str | None:
    """Return the type text of a list's or array's elements, None for any other type."""
    listed = _LIST.match(type_text)
    return listed["element"] if listed is not None else None


def postgres_oid(type_text: str) -> int:
    """Return the Postgres type OID that the type goes over the wire as."""
    element = element_type(type_text)
    if element is None:
        return lookup(type_text).oid
    while (deeper := element_type(element)) is not None:
        element = deeper  # Postgres has one array type for every number of dimensions.
    return lookup(element).array_oid


def postgres_typmod(type_text: str) -> int:
    """Return the Postgres type modifier: precision and scale of a DECIMAL, else -1."""
    shape = decimal_shape(type_text)
    return -1 if shape is None else ((shape[0] << 16) | shape[1]) + 4


@functools.lru_cache(maxsize=512)
def arrow_type(type_text: str) -> pa.DataType:
    """Return the Arrow type that a DuckDB type text arrives as."""
    import pyarrow as pa

    listed = _LIST.match(type_text)
    if listed is not None:
        element = arrow_type(listed["element"])
        size = listed["size"]
        return pa.list_(element, int(size)) if size else pa.list_(element)
    row = lookup(type_text)
    if row.arrow:
        return pa.type_for_alias(row.arrow)  # pyright: ignore
    match row.name:
        case "DECIMAL":
            precision, scale = decimal_shape(type_text) or (18, 3)
            return pa.decimal128(precision, scale)
        case "HUGEINT" | "UHUGEINT":
            return pa.decimal128(38, 0)
        case "TIMESTAMP WITH TIME ZONE":
            return pa.timestamp("us", tz="UTC")
        case "ENUM":
            return pa.dictionary(pa.uint8(), pa.string())
        case "MAP":
            key, value = _arguments(type_text)
            return pa.map_(arrow_type(key), arrow_type(value))
        case "STRUCT":
            return pa.struct(_fields(type_text))
        case "UNION":
            return pa.sparse_union(_fields(type_text))
        case _:
            return pa.struct(
                [pa.field("metadata", pa.binary(), nullable=False), ("value", pa.binary())]
            )


def _fields(type_text: str) -> list[pa.Field[pa.DataType]]:
    import pyarrow as pa

    named: list[pa.Field[pa.DataType]] = []
    for argument in _arguments(type_text):
        name, of = _name_and_type(argument)
        named.append(pa.field(name, arrow_type(of)))
    return named


def _name_and_type(argument: str) -> tuple[str, str]:
    """Split a field such as `"a b" INTEGER[]` into its name, unquoted, and its type text."""
    if argument.startswith('"'):
        quoted = re.match(r'"((?:[^"]|"")*)"\s*', argument)
        if quoted is not None:
            return quoted[1].replace('""', '"'), argument[quoted.end() :]
    name, _, of = argument.partition(" ")
    return name, of.strip()


def _arguments(type_text: str) -> Sequence[str]:
    """Return the top-level arguments between a type text's parentheses."""
    inside = type_text[type_text.index("(") + 1 : type_text.rindex(")")]
    return list(_split_at_commas(inside))


def _split_at_commas(text: str) -> Iterator[str]:
    depth, start, quote = 0, 0, ""
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in "([":
            depth += 1
        elif char in ")]":
            depth -= 1
        elif char == "," and depth == 0:
            yield text[start:at].strip()
            start = at + 1
    yield text[start:].strip()
