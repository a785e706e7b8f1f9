"""Whole programs: builders are DuckDB's, facts hold, texts come back, over generated programs."""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal as D
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from foveal.engine.compile.arrow import column_data
from foveal.engine.compile.data import Inputs, KernelError, SourceData
from foveal.engine.compile.interpreter import interpret
from foveal.engine.compile.interpreter_expressions import Frame, World, evaluate
from foveal.engine.compile.interpreter_values import Value, decode
from foveal.planner.ir import inference, program, typing
from foveal.planner.ir.nodes import PARTS, Column, Expr, Lookup, Variable, children
from foveal.planner.ir.text import parse_program, program_text
from foveal.planner.ir.types import (
    BOOL,
    DATE,
    F64,
    I8,
    I32,
    I64,
    TIMESTAMP,
    Code,
    Decimal,
    Type,
    physical,
)
from foveal.planner.ir.verify import verify


def table(rows: int, seed: int) -> Any:
    """Return a table of every kind of column, a third of the values NULL."""
    rng = random.Random(seed)

    def pick(values: list[Any]) -> list[Any]:
        return [None if rng.random() < 0.3 else rng.choice(values) for _ in range(rows)]

    return pa.table(
        {
            "a": pa.array(pick([0, 1, -1, 5, 100, -128, 127]), pa.int8()),
            "b": pa.array(pick([0, 2, 3, -7, 2**31 - 1, -(2**31)]), pa.int32()),
            "c": pa.array(pick([0, 1, 10, -(2**63), 2**63 - 1]), pa.int64()),
            "d": pa.array(
                pick([D("0.00"), D("0.05"), D("-99.99"), D("12.30")]), pa.decimal128(4, 2)
            ),
            "f": pa.array(pick([0.0, -0.0, 1.5, -2.5, math.nan, math.inf]), pa.float64()),
            "k": pa.array(pick(["x", "y", "zz", "é"])),
            "t": pa.array(pick([0, -1, 10957, 19782]), pa.int32()).cast(pa.date32()),
            "p": pa.array(pick([True, False]), pa.bool_()),
        }
    )


TYPES: dict[str, Type] = {"a": I8, "b": I32, "c": I64, "d": Decimal(4, 2), "f": F64, "k": Code("k"),
                          "t": DATE, "p": BOOL}  # fmt: skip


def inputs_of(rows: Any) -> tuple[Inputs, program.Source]:
    """Return a table as inputs, and its source with the bounds that hold."""
    columns = {
        n: column_data(rows[n], None if n != "k" else Code("k"), dictionary="k")
        for n in rows.column_names
    }
    declared = tuple(
        program.Column(n, TYPES[n], physical(TYPES[n]), c.validity is not None, c.low, c.high)
        for n, c in columns.items()
    )
    return Inputs({"s": SourceData(rows.num_rows, columns)}), program.Source("s", declared)


def run(whole: program.Program, inputs: Inputs) -> Any:
    """Verify and interpret a program."""
    verify(whole)
    return interpret(whole, inputs, lambda: None)


def expression(rng: random.Random, type_: Type, depth: int) -> Expr:
    """Return a random expression of a type."""
    columns = [Column(n, t) for n, t in TYPES.items() if t == type_]
    if depth == 0 or rng.random() < 0.15:
        if columns and rng.random() < 0.8:
            return rng.choice(columns)
        if type_ == F64:
            return typing.literal(rng.choice([0.0, -0.0, 2.5, -1e300, math.nan, None]), F64)
        if type_ == BOOL:
            return typing.literal(rng.choice([True, False, None]), BOOL)
        return typing.literal(rng.choice([0, 1, 3, None]), type_)

    def sub(t: Type) -> Expr:
        return expression(rng, t, depth - 1)

    makes: list[Callable[[], Expr]] = [
        lambda: typing.select(sub(BOOL), sub(type_), sub(type_)),
        lambda: typing.coalesce(sub(type_), sub(type_)),
        lambda: typing.binary(rng.choice(["least", "greatest"]), sub(type_), sub(type_)),
    ]
    if type_ in (I8, I32, I64):
        ops = ["add", "sub", "mul", "idiv", "mod", "bitand", "bitor", "bitxor", "shl", "shr"]
        makes += [
            lambda: typing.binary(rng.choice(ops), sub(type_), sub(type_)),
            lambda: typing.unary(rng.choice(["neg", "abs"]), sub(type_)),
            lambda: typing.cast(sub(rng.choice([I8, I32, I64, BOOL, F64, Decimal(4, 2)])), type_),
        ] * 2
        if type_ == I64:
            makes.append(
                lambda: typing.unary(rng.choice(PARTS), sub(rng.choice([DATE, TIMESTAMP])))
            )
            makes.append(lambda: typing.binary("sub", sub(DATE), sub(DATE)))
            makes.append(lambda: loop_in_row(rng, depth))
    elif type_ == F64:
        makes += [
            lambda: typing.binary(
                rng.choice(["add", "mul", "div", "mod", "pow"]), sub(F64), sub(F64)
            ),
            lambda: typing.unary(rng.choice(["neg", "floor", "sqrt", "round"]), sub(F64)),
            lambda: typing.cast(sub(rng.choice([I8, I64, Decimal(4, 2)])), F64),
        ] * 2
    elif type_ == BOOL:
        kinds = [I8, I32, I64, F64, DATE, Decimal(4, 2), Code("k")]

        def compared() -> Expr:
            kind = rng.choice(kinds)
            return typing.binary(rng.choice(["eq", "ne", "lt", "ge"]), sub(kind), sub(kind))

        makes += [
            compared,
            compared,
            lambda: typing.binary(rng.choice(["and", "or"]), sub(BOOL), sub(BOOL)),
            lambda: typing.unary("not", sub(BOOL)),
            lambda: typing.unary("is_null", sub(rng.choice([I64, F64]))),
        ]
    elif isinstance(type_, Decimal):
        makes += [
            lambda: typing.cast(
                typing.binary(rng.choice(["add", "mul"]), sub(type_), sub(type_)), type_
            ),
            lambda: typing.cast(sub(rng.choice([I32, F64])), type_),
        ]
    elif type_ == DATE:
        makes += [
            lambda: typing.binary("add", sub(DATE), sub(I32)),
            lambda: typing.cast(sub(TIMESTAMP), DATE),
        ]
    elif type_ == TIMESTAMP:
        makes += [lambda: typing.cast(sub(DATE), TIMESTAMP)]
    return rng.choice(makes)()


def loop_in_row(rng: random.Random, depth: int) -> Expr:
    """Return an iterate that ends."""
    i, n = Variable("i", I64), Variable("n", I64)
    one = typing.literal(1, I64)
    small = typing.binary("lt", i, typing.literal(rng.choice([0, 3, 5]), I64))
    step = typing.binary(rng.choice(["add", "sub", "bitxor"]), n, i)
    start = expression(rng, I64, depth - 1)
    return typing.iterate(
        [i, n], [typing.literal(0, I64), start], small, [typing.binary("add", i, one), step], n
    )


def check_facts(node: Expr, frame: Frame, inferred: inference.Inference, seen: set[Expr]) -> None:
    """Compare facts with values, for every part that is computed over all rows."""
    if node in seen or isinstance(node, Variable):
        return
    seen.add(node)
    facts = inferred.facts(node)
    try:
        value = evaluate(node, frame)
    except KernelError:
        assert facts.can_raise, node
    else:
        kept = value.values[value.valid]
        if not facts.nullable:
            assert value.valid.all(), node
        if facts.low is not None and len(kept):
            assert facts.low <= int(kept.min()), node
            assert facts.high is not None
            assert int(kept.max()) <= facts.high, node
        if facts.constant is not None and facts.constant.value is not None:
            assert all(repr(v) == repr(facts.constant.value) for v in value.values.tolist()), node
        elif facts.constant is not None:
            assert not value.valid.any(), node
    if not any(isinstance(child, Variable) for child in children(node)):
        for child in children(node):
            if not _uses_variables(child):
                check_facts(child, frame, inferred, seen)


def _uses_variables(node: Expr) -> bool:
    return isinstance(node, Variable) or any(_uses_variables(c) for c in children(node))


@pytest.mark.parametrize("seed", range(150))
def test_generated_programs(seed: int) -> None:
    """Well formed, read back the same, and within what is known of them."""
    rng = random.Random(seed)
    inputs, source = inputs_of(table(rng.choice([1, 7, 40]), seed))
    nodes = [expression(rng, t, 4) for t in (I64, F64, BOOL, Decimal(4, 2), DATE)]
    loop = program.Loop("r", "s", program.Append(tuple((f"y{i}", n) for i, n in enumerate(nodes))),
                        nodes[2])  # fmt: skip
    whole = program.Program("p", (source,), (loop,), ("r",))
    verify(whole)
    text = program_text(whole)
    assert parse_program(text) == whole
    assert program_text(parse_program(text)) == text
    data = inputs.sources["s"]
    columns: dict[str, Value] = {}
    for c in source.columns:
        stored = data.columns[c.name]
        bits = None
        if stored.validity is not None:
            bits = np.unpackbits(stored.validity, count=data.rows, bitorder="little").astype(bool)
        columns[c.name] = decode(stored.values, bits, c.type)
    frame = Frame(World(inputs, {}, lambda: None), data.rows, columns)
    inferred = inference.of_loop(whole, loop)
    seen: set[Expr] = set()
    for node in nodes:
        check_facts(node, frame, inferred, seen)


def rows_of(found: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return rows in an order of their own, NaN and zeros told apart from nothing else."""
    return sorted(
        (tuple("nan" if v != v else 0.0 if v == 0 else v for v in row) for row in found), key=repr
    )


@pytest.mark.parametrize("key", ["a", "b", "f", "k", "t", "p", "d"])
def test_groups_are_duckdbs(key: str) -> None:
    """Keys with NULL, NaN and two zeros; every fold of every type."""
    rows = table(200, 7)
    inputs, source = inputs_of(rows)
    folds: list[tuple[str, program.Fold]] = []
    sql: list[str] = []
    for n, t in TYPES.items():
        for op in ("sum", "min", "max", "count", "avg"):
            try:
                folds.append((f"{op}_{n}", typing.fold(op, Column(n, t))))
            except typing.IrTypeError:
                continue
            sql.append(f"{op}({n})")
    folds.append(("n", typing.fold("count")))
    group = program.Group((program.Key(key, Column(key, TYPES[key])),), tuple(folds))
    where = typing.unary("not", Column("p", BOOL))
    found = run(
        program.Program("g", (source,), (program.Loop("r", "s", group, where),), ("r",)), inputs
    )["r"]
    con = duckdb.connect()
    con.register("s", rows)
    expected = con.execute(
        f"SELECT {key}, {', '.join(sql)}, count(*) FROM s WHERE NOT p GROUP BY {key}"
    ).fetchall()
    con.close()
    mine = [tuple(row.values()) for row in found.to_pylist()]
    for a, b in zip(rows_of(mine), rows_of(expected), strict=True):
        for x, y in zip(a, b, strict=True):
            assert x == y or math.isclose(x, y, rel_tol=1e-12), (a, b)


def test_order_limit_is_duckdbs() -> None:
    """NULLs last or first, NaN on top, ties by row."""
    rows = table(60, 3).append_column("i", pa.array(range(60), pa.int64()))
    con = duckdb.connect()
    con.register("s", rows)
    inputs, source = inputs_of(rows.drop(["i"]))
    columns = {**inputs.sources["s"].columns, "i": column_data(rows["i"])}
    inputs = Inputs({"s": SourceData(60, columns)})
    source = program.Source("s", (*source.columns, program.Column("i", I64, I64, False)))
    for key, down, first in [
        ("f", True, False),
        ("f", False, True),
        ("k", True, True),
        ("d", False, False),
    ]:
        order = (program.Order(Column(key, TYPES[key]), down, first),)
        top = program.TopK(17, order, (("i", Column("i", I64)),))
        found = run(program.Program("t", (source,), (program.Loop("r", "s", top),), ("r",)), inputs)
        by = f"{key} {'DESC' if down else 'ASC'} NULLS {'FIRST' if first else 'LAST'}"
        expected = con.execute(f"SELECT i FROM s ORDER BY {by}, i LIMIT 17").fetchall()
        assert found["r"]["i"].to_pylist() == [row[0] for row in expected]
    con.close()


def one_column(values: list[Any], type_: Any = None) -> tuple[Inputs, program.Source]:
    """Return inputs of one column x and its source."""
    data = column_data(pa.array(values, type_ or pa.int64()))
    return (
        Inputs({"s": SourceData(len(values), {"x": data})}),
        program.Source("s", (program.Column("x", data.type, physical(data.type)),)),
    )


def test_tables_feed_later_loops() -> None:
    """A semi-join by bitmap, a join by scatter; a key twice raises."""
    inputs, source = one_column([1, 3, None, 9])
    x = Column("x", I64)
    loops = (
        program.Loop("b", "s", program.Bitmap(x, 1, 9)),
        program.Loop("v", "s", program.Scatter(x, typing.binary("mul", x, x), 1, 9)),
        program.Loop("r", "s", program.Append((
            ("in", Lookup("b", typing.binary("add", x, typing.literal(2, I64)), BOOL, 1)),
            ("square", Lookup("v", x, I64, 1)),
        ))),
    )  # fmt: skip
    whole = program.Program("j", (source,), loops, ("r",))
    assert run(whole, inputs)["r"].to_pylist() == [
        {"in": True, "square": 1}, {"in": False, "square": 9},
        {"in": None, "square": None}, {"in": None, "square": 81},
    ]  # fmt: skip
    twice, _ = one_column([1, 1])
    with pytest.raises(KernelError):
        run(whole, twice)


def test_errors_only_for_rows_that_reach_them() -> None:
    """WHERE, CASE, COALESCE, AND keep rows from what would raise; a check says which message."""
    inputs, source = one_column([0, 1, 2, None])
    x, zero = Column("x", I64), typing.literal(0, I64)
    quotient = typing.binary("idiv", typing.literal(10, I64), x)
    safe = typing.binary("ne", x, zero)
    fine = [
        program.Loop("r", "s", program.Append((("y", quotient),)), safe),
        program.Loop("r", "s", program.Append((("y", typing.select(safe, quotient, zero)),))),
        program.Loop("r", "s", program.Append((("y", typing.coalesce(x, quotient)),))),
        program.Loop("r", "s", program.Append(
            (("y", typing.binary("and", safe, typing.binary("gt", quotient, zero))),))),
    ]  # fmt: skip
    for loop in fine:
        run(program.Program("e", (source,), (loop,), ("r",)), inputs)
    bad = program.Loop("r", "s", program.Append((("y", quotient),)))
    with pytest.raises(KernelError) as error:
        run(program.Program("e", (source,), (bad,), ("r",)), inputs)
    assert error.value.message is None
    checked = program.Loop("r", "s", program.Append((("y", typing.check(safe, x, 1)),)))
    with pytest.raises(KernelError) as error:
        run(program.Program("e", (source,), (checked,), ("r",), messages=("a", "b")), inputs)
    assert error.value.message == 1


def test_sums_are_exact() -> None:
    """Past 64 bits; past HUGEINT's decimal digits it raises."""
    inputs, source = one_column([2**63 - 1] * 5)
    total = program.Loop("r", "s", program.Struct((("s", typing.fold("sum", Column("x", I64))),)))
    whole = program.Program("s", (source,), (total,), ("r",))
    assert run(whole, inputs)["r"]["s"].to_pylist() == [D(5 * (2**63 - 1))]
    empty, _ = one_column([])
    assert run(whole, empty)["r"].to_pylist() == [{"s": None}]


class Doubler:
    """A model of one feature."""

    kind = "doubler"
    arrays: Sequence[Any] = ()

    def predict(self, features: Sequence[Any], valid: Sequence[Any]) -> list[Any]:
        """Return twice the feature, and a masked one."""
        return [features[0] * 2, np.ma.masked_array(features[0], features[0] > 2)]


def test_models_are_asked_once_per_output() -> None:
    """A mask in a model's output is NULL."""
    inputs, source = one_column([1.0, 2.5, None], pa.float64())
    model = program.Model("m", "doubler", (F64,), (F64, F64))
    x = Column("x", F64)
    fields = tuple((f"y{i}", typing.predict(model, [x], i)) for i in range(2))
    loop = program.Loop("r", "s", program.Append(fields))
    whole = program.Program("m", (source,), (loop,), ("r",), models=(model,))
    inputs = Inputs(inputs.sources, models={"m": Doubler()})
    found = run(whole, inputs)["r"]
    assert found["y0"].to_pylist() == [2.0, 5.0, 0.0]
    assert found["y1"].to_pylist() == [1.0, None, 0.0]
