"""Every operator of the interpreter is DuckDB's, errors included, over values at the edges."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import duckdb
import numpy as np
import pytest

from foveal.engine.compile.data import Inputs, KernelError
from foveal.engine.compile.interpreter_expressions import Frame, World, evaluate
from foveal.engine.compile.interpreter_values import Value, empty_values
from foveal.planner.ir import typing
from foveal.planner.ir.nodes import PARTS, Column, Expr
from foveal.planner.ir.types import (
    BOOL,
    DATE,
    F32,
    F64,
    I128,
    TIMESTAMP,
    Bool,
    Date,
    Decimal,
    Float,
    Int,
    Timestamp,
    Type,
    limits,
)

Row = tuple[Any, ...]

# fmt: off
INTEGERS = [Int(8), Int(16), Int(32), Int(64), Int(128),
            Int(8, False), Int(16, False), Int(32, False), Int(64, False)]
DECIMALS = [Decimal(3, 1), Decimal(4, 2), Decimal(9, 3), Decimal(15, 2), Decimal(18, 0),
            Decimal(18, 6), Decimal(30, 10), Decimal(38, 2)]
SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "idiv": "//", "mod": "%", "eq": "=",
         "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "and": "AND", "or": "OR",
         "bitand": "&", "bitor": "|", "shl": "<<", "shr": ">>"}
CALLS = {"least": "least", "greatest": "greatest", "bitxor": "xor", "pow": "pow",
         "atan2": "atan2"}
MATHS = {"sqrt": "sqrt", "cbrt": "cbrt", "exp": "exp", "log": "ln", "log2": "log2",
         "log10": "log10", "sin": "sin", "cos": "cos", "tan": "tan", "asin": "asin",
         "acos": "acos", "atan": "atan", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh",
         "is_nan": "isnan", "is_inf": "isinf", "floor": "floor", "ceil": "ceil",
         "trunc": "trunc", "round": "round"}
FLOATS = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 0.1, 0.005, 2.675, 127.5, -128.5, 1e-30,
          16777217.0, 2147483647.5, 9007199254740993.0, 9.223372036854776e18, -9.223372036854776e18,
          1e19, 1e37, 1e300, math.inf, -math.inf, math.nan, None]
# fmt: on


def name(type_: Type) -> str:
    """Return the SQL name of a type."""
    match type_:
        case Int(bits=b, signed=s):
            words = {8: "TINYINT", 16: "SMALLINT", 32: "INTEGER", 64: "BIGINT", 128: "HUGEINT"}
            return ("" if s else "U") + words[b]
        case Float(bits=b):
            return "FLOAT" if b == 32 else "DOUBLE"
        case Bool():
            return "BOOLEAN"
        case _:
            return str(type_).upper()


def edges(type_: Type) -> list[Any]:
    """Return stored values at the edges of a type, and NULL."""
    if isinstance(type_, Bool):
        return [True, False, None]
    if isinstance(type_, Float):
        if type_.bits == 64:
            return FLOATS
        with np.errstate(over="ignore"):
            return [None if v is None else float(np.float32(v)) for v in FLOATS]
    if isinstance(type_, Date):
        return [0, -1, 59, 365, 10957, 19782, -25509, -719528, 2147483646, -2147483646, None]
    if isinstance(type_, Timestamp):
        day = 86_400_000_000
        return [
            0,
            -1,
            10957 * day,
            -day - 1,
            123456789012345,
            -9223372022400000000,
            2**63 - 2,
            None,
        ]
    low, high = limits(type_)
    if type_ == I128:
        low = -(2**127)
    some = [0, 1, 2, 3, 5, 7, 10, 31, -1, -3, low, low + 1, high, high - 1, high // 2 + 1, 15, 155]
    return [*sorted({v for v in some if low <= v <= high}), None]


def written(value: Any, type_: Type) -> str:
    """Return a stored value as a SQL literal of the type."""
    if value is None:
        return f"NULL::{name(type_)}"
    match type_:
        case Decimal(scale=s):
            digits = str(abs(value)).rjust(s + 1, "0")
            text = ("-" if value < 0 else "") + digits[: len(digits) - s]
            return f"'{text}{'.' + digits[len(digits) - s :] if s else ''}'::{name(type_)}"
        case Date():
            return f"(DATE '1970-01-01' + ({value})::INTEGER)"
        case Timestamp():
            return f"make_timestamp(({value})::BIGINT)"
        case _:
            return f"'{value}'::{name(type_)}"


def stored(expression: str, type_: Type) -> str:
    """Return SQL that gives the stored value of an expression."""
    match type_:
        case Decimal(scale=s):
            return f"({expression})::VARCHAR, {s}"
        case Date():
            return f"({expression}) - DATE '1970-01-01', 0"
        case Timestamp():
            return f"epoch_us({expression}), 0"
        case _:
            return f"{expression}, 0"


@pytest.fixture(scope="module")
def connection() -> Iterator[Any]:
    """Return a connection of DuckDB."""
    made = duckdb.connect()
    yield made
    made.close()


def theirs(
    connection: Any, expression: str, operands: Sequence[Type], to: Type
) -> tuple[list[Row], list[Any]]:
    """Return DuckDB's values; "raises" where it does, told from NULL by `IS NULL` untried."""
    rows = list(product(*(edges(t) for t in operands)))
    values = ", ".join(
        "(" + ", ".join(map(str, [i, *map(written, row, operands)])) + ")"
        for i, row in enumerate(rows)
    )
    names = ", ".join(["i", "x", "y"][: len(operands) + 1])
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE t AS SELECT * FROM (VALUES {values}) t({names})"
    )
    found = connection.execute(
        f"SELECT {stored(f'TRY({expression})', to)} FROM t ORDER BY i"
    ).fetchall()
    out: list[Any] = []
    for value, scale in found:
        if isinstance(value, str):
            whole, _, part = value.partition(".")
            value = int(whole + part.ljust(scale, "0"))
        out.append(value)
    return rows, out


def as_value(values: Sequence[Any], type_: Type) -> Value:
    """Return stored values as the interpreter holds them."""
    out = empty_values(len(values), type_)
    for i, v in enumerate(values):
        out[i] = 0 if v is None else v
    return Value(out, np.array([v is not None for v in values], bool))


def ours(expr: Expr, rows: Sequence[Row], operands: Sequence[Type]) -> list[Any]:
    """Return the interpreter's values, "raises" where it does: together, else row by row."""

    def run(some: Sequence[Row]) -> list[Any]:
        columns = {
            n: as_value([row[j] for row in some], t)
            for j, (n, t) in enumerate(zip("xy", operands, strict=False))
        }
        frame = Frame(World(Inputs({}), {}, lambda: None), len(some), columns)
        value = evaluate(expr, frame)
        return [
            v if ok else None
            for v, ok in zip(value.values.tolist(), value.valid.tolist(), strict=True)
        ]

    try:
        return run(rows)
    except KernelError:
        out: list[Any] = []
        for row in rows:
            try:
                out += run([row])
            except KernelError:
                out.append("raises")
        assert "raises" in out
        return out


def same(mine: Any, other: Any, *, exact: bool, strict_null: bool) -> bool:
    """Compare one result with DuckDB's, whose NULL may stand for an error."""
    if mine == "raises":
        # DuckDB lets a sum reach the day before its first date: ours leaves that to it.
        return strict_null if other is None else other == -(2**31)
    if mine is None or other is None:
        return mine is other
    if isinstance(mine, float):
        if math.isnan(mine) or math.isnan(other):
            return math.isnan(mine) and math.isnan(other)
        if exact:
            return mine == other
        return mine == other or math.isclose(mine, other, rel_tol=1e-9, abs_tol=1e-300)
    return mine == other and isinstance(mine, bool) == isinstance(other, bool)


def compare(
    connection: Any,
    expr: Expr,
    sql: str,
    operands: Sequence[Type],
    *,
    exact: bool = True,
    skip: Callable[[Row], bool] = lambda row: False,
) -> None:
    """Compare an expression over all rows of edges with DuckDB."""
    rows, expected = theirs(connection, sql, operands, expr.type)
    mine = ours(expr, rows, operands)
    bad: list[Any] = []
    for row, m, other in zip(rows, mine, expected, strict=True):
        if skip(row):
            continue
        nulls = any(v is not None for v in row)
        if not same(m, other, exact=exact, strict_null=nulls):
            bad.append((row, m, other))
    assert not bad, (sql, [name(t) for t in operands], len(bad), bad[:5])


def pairs() -> Iterator[tuple[str, Type, Type, Expr]]:
    """Return operators with the types that they take."""
    kinds = [*INTEGERS, *DECIMALS, F32, F64, BOOL, DATE, TIMESTAMP]
    for op in (*SIGNS, *CALLS):
        for a in kinds:
            if op in ("add", "sub", "mul", "mod") and isinstance(a, Decimal):
                others = [a, Decimal(9, 3), Decimal(18, 6), Decimal(38, 2), Int(32)]
            elif isinstance(a, Date):
                others = [a, Int(32), TIMESTAMP]
            else:
                mixed = isinstance(a, Int) and op in ("add", "mul", "lt")
                others = [a, Int(32)] if mixed else [a]
            for b in others:
                try:
                    yield op, a, b, typing.arithmetic(op, Column("x", a), Column("y", b))
                except typing.IrTypeError:
                    continue


@pytest.mark.parametrize("op", [*SIGNS, *CALLS])
def test_binary_operators(op: str, connection: Any) -> None:
    """Arithmetic, comparisons, logic, bits."""
    for o, a, b, expr in list(pairs()):
        if o != op or (Timestamp in (type(a), type(b)) and op in ("add", "sub")):
            continue
        sql = f"x {SIGNS[op]} y" if op in SIGNS else f"{CALLS[op]}(x, y)"
        exact = op not in ("pow", "atan2") and not (op == "mod" and isinstance(expr.type, Float))
        compare(connection, expr, sql, (a, b), exact=exact)


@pytest.mark.parametrize("type_", [*INTEGERS, *DECIMALS, F32, F64], ids=name)
def test_signs(type_: Type, connection: Any) -> None:
    """Minus, abs, sign; the least integer has no opposite."""
    for op, sql in (("neg", "-x"), ("abs", "abs(x)"), ("sign", "sign(x)")):
        compare(connection, typing.unary(op, Column("x", type_)), sql, (type_,))


@pytest.mark.parametrize("op", MATHS)
def test_functions_of_floats(op: str, connection: Any) -> None:
    """IEEE results in place of errors."""
    for type_ in (F64, F32) if op in ("floor", "ceil", "trunc", "round") else (F64,):
        sql = f"{MATHS[op]}(x)"
        huge = op in ("sin", "cos", "tan")
        compare(
            connection,
            typing.unary(op, Column("x", type_)),
            sql,
            (type_,),
            exact=False,
            skip=lambda row, huge=huge: huge and row[0] is not None and abs(row[0]) > 1e15,
        )


@pytest.mark.parametrize("part", PARTS)
def test_parts(part: str, connection: Any) -> None:
    """Calendars far back and far ahead, times before 1970."""
    for type_ in (DATE, TIMESTAMP):
        compare(connection, typing.unary(part, Column("x", type_)), f"{part}(x)", (type_,))


@pytest.mark.parametrize("from_", [*INTEGERS, *DECIMALS, F32, F64, BOOL, DATE, TIMESTAMP], ids=name)
def test_casts(from_: Type, connection: Any) -> None:
    """Rounding, and what does not fit."""
    for to in [*INTEGERS, *DECIMALS, F32, F64, BOOL, DATE, TIMESTAMP]:
        if not typing.casts(from_, to) or from_ == to:
            continue
        expr = typing.cast(Column("x", from_), to)
        compare(connection, expr, f"x::{name(to)}", (from_,), exact=to != F64)


def test_null_and_not(connection: Any) -> None:
    """IS NULL, NOT, CASE, COALESCE."""
    x, y = Column("x", BOOL), Column("y", BOOL)
    compare(connection, typing.unary("not", x), "NOT x", (BOOL,))
    compare(connection, typing.unary("is_null", x), "x IS NULL", (BOOL,))
    compare(connection, typing.select(x, y, typing.unary("not", y)),
            "CASE WHEN x THEN y ELSE NOT y END", (BOOL, BOOL))  # fmt: skip
    compare(connection, typing.coalesce(x, y), "coalesce(x, y)", (BOOL, BOOL))


def test_infinite_dates_are_left_to_duckdb() -> None:
    """Arithmetic and parts do not guess; comparisons need not."""
    infinite, x = 2**31 - 1, Column("x", DATE)
    for expr in (
        typing.arithmetic("add", x, typing.literal(1, Int(32))),
        typing.binary("sub", x, x),
        typing.unary("year", x),
        typing.cast(x, TIMESTAMP),
    ):
        assert ours(expr, [(infinite,)], (DATE,)) == ["raises"]
        assert ours(expr, [(-infinite,)], (DATE,)) == ["raises"]
    assert ours(typing.binary("eq", x, x), [(infinite,)], (DATE,)) == [True]
