"""The table of SQL types: rows, lookup, Arrow and Postgres forms."""

import pyarrow as pa
import pytest

import foveal
from foveal import types


@pytest.mark.parametrize(
    ("text", "name", "oid"),
    [
        ("BOOLEAN", "BOOLEAN", 16),
        ("DECIMAL(10,2)", "DECIMAL", 1700),
        ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP WITH TIME ZONE", 1184),
        ("timestamptz", "TIMESTAMP WITH TIME ZONE", 1184),
        ("INTEGER[]", "LIST", 1007),
        ("VARCHAR[3]", "ARRAY", 1009),
        ("DOUBLE[][]", "LIST", 1022),
        ("STRUCT(x INTEGER[])", "STRUCT", 114),
        ("MAP(VARCHAR, INTEGER)", "MAP", 114),
        ("ENUM('a', 'b[]')", "ENUM", 25),
        ('"NULL"', "NULL", 25),
        ("mood", "VARCHAR", 25),
    ],
)
def test_lookup(text: str, name: str, oid: int) -> None:
    assert types.lookup(text).name == name
    assert types.postgres_oid(text) == oid


def test_type_modifier_of_decimal() -> None:
    assert types.postgres_typmod("DECIMAL(10,2)") == ((10 << 16) | 2) + 4
    assert types.postgres_typmod("INTEGER") == -1


@pytest.mark.parametrize(
    ("text", "arrow"),
    [
        ("BIGINT", pa.int64()),
        ("DECIMAL(4,1)", pa.decimal128(4, 1)),
        ("HUGEINT", pa.decimal128(38, 0)),
        ("TIMESTAMP_MS", pa.timestamp("ms")),
        ("TIMESTAMP WITH TIME ZONE", pa.timestamp("us", tz="UTC")),
        ("INTEGER[][3]", pa.list_(pa.list_(pa.int32()), 3)),
        ("MAP(VARCHAR, DECIMAL(4,1))", pa.map_(pa.string(), pa.decimal128(4, 1))),
        (
            'STRUCT(x INTEGER, "a ""b, c" VARCHAR[])',
            pa.struct([("x", pa.int32()), ('a "b, c', pa.list_(pa.string()))]),
        ),
        ("ENUM('a', 'b')", pa.dictionary(pa.uint8(), pa.string())),
        ("INTERVAL", pa.month_day_nano_interval()),
    ],
)
def test_arrow_type(text: str, arrow: pa.DataType) -> None:
    assert types.arrow_type(text) == arrow


def test_type_objects_equal_the_type_codes_of_their_family() -> None:
    assert foveal.NUMBER == "DECIMAL(10,2)"
    assert foveal.STRING == "ENUM('a')"
    assert foveal.DATETIME == "DATE"
    assert foveal.BINARY == "BLOB"
    assert foveal.NUMBER != "VARCHAR"
    assert foveal.NUMBER != foveal.STRING
    assert foveal.STRING != "INTEGER[]"
    assert len({foveal.NUMBER, foveal.STRING, foveal.NUMBER}) == 2
    assert not any(name == foveal.ROWID for name in types.SQL_TYPES)


def test_every_row_has_an_arrow_type() -> None:
    inside = {"MAP": "MAP(VARCHAR, INTEGER)", "STRUCT": "STRUCT(a INTEGER)"}
    inside |= {"UNION": "UNION(a INTEGER)", "LIST": "INTEGER[]", "ARRAY": "INTEGER[2]"}
    for name in types.SQL_TYPES:
        assert isinstance(types.arrow_type(inside.get(name, name)), pa.DataType)
