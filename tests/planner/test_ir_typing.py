"""Every operator has the type that DuckDB gives it, and takes what DuckDB takes."""

from collections.abc import Callable, Iterator

import duckdb
import pytest

from foveal.planner.ir import nodes, typing
from foveal.planner.ir.nodes import Column
from foveal.planner.ir.types import (
    BOOL,
    DATE,
    F32,
    F64,
    I32,
    I64,
    TIMESTAMP,
    Code,
    Date,
    Decimal,
    Float,
    Int,
    Timestamp,
    Type,
)

Ask = Callable[..., str | None]

# fmt: off
SQL: dict[Type, str] = {
    Int(8): "TINYINT", Int(16): "SMALLINT", Int(32): "INTEGER", Int(64): "BIGINT",
    Int(128): "HUGEINT", Int(8, False): "UTINYINT", Int(16, False): "USMALLINT",
    Int(32, False): "UINTEGER", Int(64, False): "UBIGINT", F32: "FLOAT", F64: "DOUBLE",
    BOOL: "BOOLEAN", DATE: "DATE", TIMESTAMP: "TIMESTAMP",
    **{Decimal(p, s): f"DECIMAL({p},{s})"
       for p, s in [(4, 2), (9, 3), (15, 2), (18, 0), (18, 9), (18, 17), (30, 10), (38, 2)]},
}
OPS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "idiv": "//", "mod": "%",
       "bitand": "&", "bitor": "|", "shl": "<<", "shr": ">>", "pow": "**"}
# fmt: on


@pytest.fixture(scope="module")
def typeof() -> Iterator[Ask]:
    """Return a function: the type of a SQL expression over x and y of two types; None: refused."""
    connection = duckdb.connect()

    def ask(expression: str, a: str, b: str = "INTEGER") -> str | None:
        try:
            row = connection.execute(
                f"SELECT typeof({expression}) FROM (SELECT NULL::{a} x, NULL::{b} y)"
            ).fetchone()
        except (duckdb.BinderException, duckdb.OutOfRangeException):
            return None
        assert row is not None
        return row[0]

    yield ask
    connection.close()


@pytest.mark.parametrize("op", OPS)
def test_arithmetic(op: str, typeof: Ask) -> None:
    """Over all pairs of types: the same result or no operator; ours may lack some of theirs."""
    for a, a_sql in SQL.items():
        for b, b_sql in SQL.items():
            try:
                ours = SQL.get(t := typing.arithmetic(op, Column("x", a), Column("y", b)).type)
                ours = ours or str(t).upper()
            except typing.IrTypeError:
                ours = None
            theirs = typeof(f"x {OPS[op]} y", a_sql, b_sql)
            if ours is None and (theirs is None or op in ("idiv", "mod") or theirs == "INTERVAL"):
                continue
            if theirs is None or theirs == "INTERVAL":
                # Microseconds stand for intervals here.
                assert Timestamp in (type(a), type(b)), (op, a_sql, b_sql, ours)
                continue
            assert ours == theirs, (op, a_sql, b_sql)


def test_common_types(typeof: Ask) -> None:
    """COALESCE, CASE and GREATEST cast to one type."""
    for a, a_sql in SQL.items():
        for b, b_sql in SQL.items():
            try:
                t = typing.common_type(a, b)
                ours = SQL.get(t) or str(t).upper()
            except typing.IrTypeError:
                ours = None
            assert ours == typeof("coalesce(x, y)", a_sql, b_sql), (a_sql, b_sql)


def test_unary_and_folds(typeof: Ask) -> None:
    """Signs, parts of dates and aggregates."""
    parts = ("year", "hour", "dayofweek", "second", "quarter")
    calls = {"neg": "-x", **{op: f"{op}(x)" for op in ("abs", "sign", *parts)}}
    for a, a_sql in SQL.items():
        for op, call in calls.items():
            try:
                ours = SQL[typing.unary_type(op, a)]
            except typing.IrTypeError:
                ours = None
            assert ours == typeof(call, a_sql), (op, a_sql)
        for op in ("sum", "avg", "min", "max", "count", "first"):
            try:
                t = typing.fold_type(op, a)
                ours = SQL.get(t) or str(t).upper()
            except typing.IrTypeError:
                ours = None
            theirs = typeof(f"{op}(x)", a_sql)
            if op == "avg" and isinstance(a, Date | Timestamp):
                theirs = None
            assert ours == theirs, (op, a_sql)
    for op in ("floor", "ceil", "trunc", "round"):
        for a in (F32, F64):
            assert SQL[typing.unary_type(op, a)] == typeof(f"{op}(x)", SQL[a])


def test_constructors_are_strict() -> None:
    """Operands of the wrong type are refused where they are put together."""
    x, y = Column("x", I32), Column("y", I64)
    code = Column("c", Code("d"))
    for build in (
        lambda: typing.binary("add", x, y),
        lambda: typing.select(x, x, x),
        lambda: typing.select(nodes.TRUE, x, y),
        lambda: typing.coalesce(x, y),
        lambda: typing.coalesce(),
        lambda: typing.cast(x, DATE),
        lambda: typing.unary("sqrt", x),
        lambda: typing.unary("nosuch", x),
        lambda: typing.binary("nosuch", x, x),
        lambda: typing.binary("eq", code, Column("d", Code("other"))),
        lambda: typing.literal(2**31, I32),
        lambda: typing.literal(1, BOOL),
        lambda: typing.literal(True, I32),
        lambda: typing.literal(1000, Decimal(3, 1)),
        lambda: typing.fold("median", x),
        lambda: typing.iterate([nodes.Variable("v", I64)], [x], nodes.TRUE, [y], y),
    ):
        with pytest.raises(typing.IrTypeError):
            build()
    assert typing.cast(x, I32) is x
    assert typing.cast(typing.literal(None, I32), DATE) == typing.literal(None, DATE)
    assert typing.literal(0.1, F32).value == pytest.approx(0.1, rel=1e-6)
    assert isinstance(typing.literal(0.1, F32).type, Float)
    assert typing.binary("lt", code, code).type == BOOL
