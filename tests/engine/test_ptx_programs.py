"""Programs on a GPU, played on this processor, give what the interpreter gives; PTX is emitted."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from decimal import Decimal as D
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from foveal.engine.compile.arrow import column_data
from foveal.engine.compile.data import ColumnData, Inputs, KernelError, SourceData, TableData
from foveal.engine.compile.interpreter import interpret
from foveal.engine.compile.llvm.cells import Unsupported
from foveal.engine.compile.ptx.emission import (
    ARCHITECTURES,
    Architecture,
    assembled,
    assembler,
    ptx_of,
)
from foveal.engine.compile.ptx.emulated_library import EmulatedLibrary
from foveal.engine.compile.ptx.grid import module_text
from foveal.engine.compile.ptx.libcuda import Device
from foveal.engine.compile.ptx.planning import plan_grid
from foveal.engine.compile.ptx.runner import CudaRunner
from foveal.engine.compile.ptx.target import Emulated, Nvptx
from foveal.planner.ir import nodes, program, typing
from foveal.planner.ir.types import (
    BOOL,
    F64,
    I16,
    I32,
    I64,
    Code,
    Decimal,
    Float,
    Int,
    physical,
)

_array: Any = pa.array
SIZES = (0, 1, 2049)
Rows = dict[str, list[dict[str, Any]]]


def source_of(columns: Mapping[str, ColumnData]) -> program.Source:
    """Return the source; columns without a valid integer are within any bounds, as 0 .. 0."""

    def declared(name: str, c: ColumnData) -> program.Column:
        low, high = c.low, c.high
        if low is None and not isinstance(c.type, Float):
            low = high = 0
        return program.Column(name, c.type, physical(c.type), c.validity is not None, low, high)

    return program.Source("t", tuple(declared(n, c) for n, c in columns.items()))


def same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        close = math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9)
        return close or (math.isnan(left) and math.isnan(right))
    return left == right


def rows_of(run: Any, whole: program.Program, inputs: Inputs) -> Rows | None:
    """Return a program's rows; None: a row raised."""
    try:
        made = run(whole, inputs, lambda: None)
    except KernelError:
        return None
    return {
        name: sorted(table.to_pylist(), key=lambda row: str(list(row.values())[:2]))
        for name, table in made.items()
    }


def run_both(whole: program.Program, inputs: Inputs, workers: int = 1) -> Rows | None:
    """Run a program emulated and interpreted; return its rows, None where it raises in both."""
    library = EmulatedLibrary(workers=workers)
    library.learn(whole)
    runner = CudaRunner(Device(library))
    wanted, got = rows_of(interpret, whole, inputs), rows_of(runner, whole, inputs)
    runner.close()
    assert library.allocated == 0
    assert (got is None) == (wanted is None), (got, wanted)
    for name, rows in (wanted or {}).items():
        assert got is not None
        assert len(got[name]) == len(rows)
        for mine, reference in zip(got[name], rows, strict=True):
            assert mine.keys() == reference.keys()
            for key, value in reference.items():
                assert same(mine[key], value), (key, mine, reference)
    return wanted


def table(rows: int, seed: int, nulls: float) -> dict[str, ColumnData]:
    """Return columns of every kind."""
    rng = np.random.default_rng(seed)

    def column(values: Any, type_: Any = None) -> ColumnData:
        mask = rng.random(rows) < nulls if nulls else None
        array: Any = _array(values, type_, mask=mask)
        return column_data(array, dictionary="words")

    odd = np.array([0.0, -0.0, math.nan, math.inf, -math.inf, 1.5, -2.5, 1e300])
    words = np.array(["ash", "birch", "cedar", "elm"])
    return {
        "a": column(rng.integers(-100, 100, rows).astype(np.int8)),
        "b": column(rng.integers(-5000, 5000, rows).astype(np.int16)),
        "c": column(rng.integers(-(2**31), 2**31, rows).astype(np.int32)),
        "d": column(rng.integers(-(2**62), 2**62, rows)),
        "u": column(rng.integers(0, 2**64, rows, dtype=np.uint64)),
        "x": column(rng.standard_normal(rows)),
        "y": column(rng.standard_normal(rows).astype(np.float32)),
        "f": column(rng.choice(odd, rows)),
        "p": column(rng.random(rows) < 0.5),
        "k": column(words[rng.integers(0, 4, rows)]),
        "t": column(rng.integers(0, 20000, rows).astype(np.int32), pa.date32()),
        "money": column(rng.integers(0, 10**7, rows).tolist(), pa.decimal128(15, 2)),
        "wide": column(rng.integers(0, 10**9, rows).tolist(), pa.decimal128(30, 2)),
    }


def refs(columns: Mapping[str, ColumnData]) -> dict[str, nodes.Column]:
    return {n: nodes.Column(n, c.type) for n, c in columns.items()}


def looped(
    columns: Mapping[str, ColumnData], rows: int, *loops: program.Loop, results: Any = ("r",)
) -> tuple[program.Program, Inputs]:
    whole = program.Program("q", (source_of(columns),), loops, results)
    return whole, Inputs({"t": SourceData(rows, columns)})


def folds_of(c: Mapping[str, nodes.Column]) -> tuple[tuple[str, program.Fold], ...]:
    product = typing.arithmetic("mul", typing.cast(c["b"], I32), typing.cast(c["a"], I32))
    return (
        ("rows", typing.fold("count")),
        ("sum_a", typing.fold("sum", c["a"])),
        ("sum_d", typing.fold("sum", c["d"])),
        ("sum_u", typing.fold("sum", c["u"])),
        ("sum_product", typing.fold("sum", product)),
        ("sum_money", typing.fold("sum", c["money"])),
        ("avg_money", typing.fold("avg", c["money"])),
        ("sum_wide", typing.fold("sum", c["wide"])),
        ("sum_x", typing.fold("sum", c["x"])),
        ("avg_y", typing.fold("avg", c["y"])),
        ("min_f", typing.fold("min", c["f"])),
        ("max_f", typing.fold("max", c["f"])),
        ("min_k", typing.fold("min", c["k"])),
        ("max_t", typing.fold("max", c["t"])),
        ("min_d", typing.fold("min", c["d"])),
        ("some", typing.fold("count", c["f"])),
        ("any", typing.fold("max", c["p"])),
    )


def keys_of(
    columns: Mapping[str, ColumnData], c: Mapping[str, nodes.Column], *names: str
) -> tuple[program.Key, ...]:
    return tuple(
        program.Key(n, c[n], columns[n].validity is not None, columns[n].low, columns[n].high)
        for n in names
    )


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("nulls", [0.0, 0.3, 1.0])
def test_folds_of_every_type(rows: int, nulls: float) -> None:
    columns = table(rows, rows, nulls)
    c = refs(columns)
    where = typing.binary("lt", c["b"], typing.literal(3000, I16))
    whole, inputs = looped(
        columns, rows, program.Loop("r", "t", program.Struct(folds_of(c)), where)
    )
    made = run_both(whole, inputs)
    assert made is not None
    assert len(made["r"]) == 1


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("nulls", [0.0, 0.3])
@pytest.mark.parametrize("filtered", [False, True])
def test_groups_of_bounded_keys(rows: int, nulls: float, filtered: bool) -> None:
    columns = table(rows, 7 + rows, nulls)
    c = refs(columns)
    group = program.Group(keys_of(columns, c, "k", "p"), folds_of(c), "dense")
    where = typing.binary("lt", c["b"], typing.literal(3000, I16)) if filtered else None
    whole, inputs = looped(columns, rows, program.Loop("r", "t", group, where))
    run_both(whole, inputs)


def test_blocks_that_run_at_once_add_exactly() -> None:
    """Blocks on four processor threads share tables: no addition may get lost."""
    rows = 60_001
    columns = table(rows, 3, 0.2)
    c = refs(columns)
    group = program.Group(keys_of(columns, c, "k"), folds_of(c), "dense")
    whole, inputs = looped(columns, rows, program.Loop("r", "t", group))
    made = run_both(whole, inputs, workers=4)
    assert made is not None
    assert sum(row["rows"] for row in made["r"]) == rows


def test_blocks_share_one_table_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks run long enough to meet: the same additions without atomics lose some."""
    monkeypatch.setattr("foveal.engine.compile.ptx.execution.TABLE_BYTES", 1)
    rows, rng = 1_500_000, np.random.default_rng(0)
    values, keys = rng.integers(-(2**62), 2**62, rows), rng.integers(0, 2, rows).astype(np.int8)
    columns = {"k": column_data(_array(keys)), "d": column_data(_array(values))}
    c = refs(columns)
    folds = (("rows", typing.fold("count")), ("sum_d", typing.fold("sum", c["d"])))
    group = program.Group(keys_of(columns, c, "k"), folds, "dense")
    whole, inputs = looped(columns, rows, program.Loop("r", "t", group))
    library = EmulatedLibrary(workers=4)
    library.learn(whole)
    made = rows_of(CudaRunner(Device(library)), whole, inputs)
    assert made is not None
    for row in made["r"]:
        own = values[keys == row["k"]]
        high = int((own >> 32).sum())
        assert row["rows"] == len(own)
        assert int(row["sum_d"]) == (high << 32) + int((own & (2**32 - 1)).sum())


def test_rows_in_several_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foveal.engine.compile.ptx.execution.SLICE_ROWS", 700)
    columns = table(2049, 5, 0.3)
    c = refs(columns)
    struct = program.Loop("r", "t", program.Struct(folds_of(c)))
    group = program.Group(keys_of(columns, c, "k", "p"), folds_of(c), "dense")
    run_both(*looped(columns, 2049, struct, program.Loop("g", "t", group), results=("r", "g")))


def q6(c: Mapping[str, nodes.Column]) -> program.Loop:
    """Return TPC-H query 6, about."""
    tests = (
        typing.binary("ge", c["shipdate"], typing.literal(8766, c["shipdate"].type)),
        typing.binary("lt", c["shipdate"], typing.literal(9131, c["shipdate"].type)),
        typing.binary("ge", c["discount"], typing.literal(5, c["discount"].type)),
        typing.binary("le", c["discount"], typing.literal(7, c["discount"].type)),
        typing.binary("lt", c["quantity"], typing.literal(2400, c["quantity"].type)),
    )
    where: nodes.Expr = tests[0]
    for test in tests[1:]:
        where = typing.both(where, test)
    revenue = typing.arithmetic("mul", c["price"], c["discount"])
    return program.Loop(
        "r", "t", program.Struct((("revenue", typing.fold("sum", revenue)),)), where
    )


def q1(columns: Mapping[str, ColumnData], c: Mapping[str, nodes.Column]) -> program.Loop:
    """Return TPC-H query 1, about."""
    one = typing.literal(100, Decimal(15, 2))
    sold = typing.arithmetic("mul", c["price"], typing.arithmetic("sub", one, c["discount"]))
    folds = (
        ("quantity", typing.fold("sum", c["quantity"])),
        ("base", typing.fold("sum", c["price"])),
        ("sold", typing.fold("sum", sold)),
        ("average", typing.fold("avg", c["quantity"])),
        ("rows", typing.fold("count")),
    )
    keys = keys_of(columns, c, "flag", "status")
    last = typing.literal(10471, c["shipdate"].type)
    where = typing.binary("le", c["shipdate"], last)
    return program.Loop("r", "t", program.Group(keys, folds, "dense"), where)


def lineitem(rows: int) -> dict[str, ColumnData]:
    rng = np.random.default_rng(1)
    money = pa.decimal128(15, 2)

    def decimals(low: int, high: int) -> Any:
        cents = rng.integers(low, high, rows).tolist()
        return _array([D(n).scaleb(-2) for n in cents], money)

    dates: Any = _array(rng.integers(8000, 10500, rows).astype(np.int32), pa.date32())
    flags: Any = _array(np.array(["A", "N", "R"])[rng.integers(0, 3, rows)])
    status: Any = _array(np.array(["F", "O"])[rng.integers(0, 2, rows)])
    return {
        "shipdate": column_data(dates),
        "discount": column_data(decimals(0, 11)),
        "quantity": column_data(decimals(100, 5001)),
        "price": column_data(decimals(90000, 10**7)),
        "flag": column_data(flags, dictionary="flags"),
        "status": column_data(status, dictionary="statuses"),
    }


@pytest.mark.parametrize("query", ["q6", "q1"])
def test_queries_of_tpch(query: str) -> None:
    rows = 20_011
    columns = lineitem(rows)
    c = refs(columns)
    loop = q6(c) if query == "q6" else q1(columns, c)
    made = run_both(*looped(columns, rows, loop), workers=2)
    assert made is not None
    assert len(made["r"]) == (1 if query == "q6" else 6)


def test_tables_of_earlier_loops_and_parameters() -> None:
    rows = 2049
    columns = table(rows, 11, 0.2)
    columns["key"] = column_data(_array(np.arange(rows)))
    c = refs(columns)
    low, high = columns["b"].low, columns["b"].high
    assert low is not None
    assert high is not None
    where = typing.binary("lt", c["x"], typing.literal(0.0, F64))
    seen = program.Loop("seen", "t", program.Bitmap(c["b"], low, high), where)
    at = program.Loop("at", "t", program.Scatter(c["key"], c["money"], 0, rows - 1))
    passed = typing.lookup_named("seen", BOOL, c["b"], low)
    money = typing.lookup_named("at", c["money"].type, typing.arithmetic("add", c["b"], c["a"]))
    tree = nodes.Lookup("tree", c["k"], I64)
    folds = (
        ("rows", typing.fold("count")),
        ("money", typing.fold("sum", money)),
        ("tree", typing.fold("sum", tree)),
    )
    last = program.Loop("r", "t", program.Struct(folds), passed)
    given = TableData(np.array([10, 20, 30, 40]), np.array([True, True, False, True]))
    whole = program.Program(
        "q", (source_of(columns),), (seen, at, last), ("r",),
        tables=(program.Table("tree", I64, 4, True, 10, 40),),
    )  # fmt: skip
    made = run_both(whole, Inputs({"t": SourceData(rows, columns)}, tables={"tree": given}))
    assert made is not None
    assert made["r"][0]["rows"] > 0


@pytest.mark.parametrize("value", [7, None])
def test_scalars(value: int | None) -> None:
    columns = table(2049, 2, 0.1)
    c = refs(columns)
    limit, factor = nodes.Parameter("limit", I32), nodes.Parameter("factor", F64)
    where = typing.binary("lt", typing.cast(c["a"], I32), limit)
    folds = (
        ("n", typing.fold("count")),
        ("x", typing.fold("sum", typing.binary("mul", c["x"], factor))),
    )
    whole = program.Program(
        "q", (source_of(columns),), (program.Loop("r", "t", program.Struct(folds), where),), ("r",),
        scalars=(program.Scalar("limit", I32, True), program.Scalar("factor", F64)),
    )  # fmt: skip
    inputs = Inputs({"t": SourceData(2049, columns)}, {"limit": value, "factor": 0.5})
    made = run_both(whole, inputs)
    assert made is not None
    assert (made["r"][0]["n"] > 0) == (value is not None)


def test_a_row_that_raises_in_any_thread() -> None:
    columns = table(2049, 4, 0.0)
    c = refs(columns)
    thrice = typing.arithmetic("add", typing.arithmetic("add", c["d"], c["d"]), c["d"])
    struct = program.Struct((("total", typing.fold("sum", thrice)),))
    whole, inputs = looped(columns, 2049, program.Loop("r", "t", struct))
    assert run_both(whole, inputs) is None
    small = typing.binary("lt", typing.unary("abs", c["d"]), typing.literal(2**61, I64))
    whole, inputs = looped(columns, 2049, program.Loop("r", "t", struct, small))
    assert run_both(whole, inputs) is not None


def test_a_message_of_the_program_says_which() -> None:
    columns = table(2049, 4, 0.0)
    c = refs(columns)
    held = typing.check(typing.binary("lt", c["a"], typing.literal(90, c["a"].type)), c["a"], 5)
    struct = program.Struct((("total", typing.fold("sum", held)),))
    whole, inputs = looped(columns, 2049, program.Loop("r", "t", struct))
    library = EmulatedLibrary()
    library.learn(whole)
    with pytest.raises(KernelError) as caught:
        CudaRunner(Device(library))(whole, inputs, lambda: None)
    assert caught.value.message == 5


def test_a_sum_beyond_128_bits_raises_whichever_thread_sees_it() -> None:
    # Modulo 2**128 the sum is 0: only who adds can tell.
    values: Any = _array([2**126, *[0] * 300] * 4, pa.decimal128(38, 0))
    columns = {"h": column_data(values, Int(128))}
    c = refs(columns)
    struct = program.Struct((("total", typing.fold("sum", c["h"])),))
    whole, inputs = looped(columns, 1204, program.Loop("r", "t", struct))
    assert run_both(whole, inputs) is None


# --- generated programs ------------------------------------------------------------------------


Make = Callable[[nodes.Expr, nodes.Expr], nodes.Expr]


def generated(
    rng: random.Random, c: Mapping[str, nodes.Column], kind: str, depth: int
) -> nodes.Expr:
    """Return a random expression: "int", "float" or "bool"."""
    if depth == 0 or rng.random() < 0.15:
        if kind == "int":
            return c[rng.choice(["a", "b", "c", "d"])]
        return c[rng.choice(["x", "f"])] if kind == "float" else c["p"]

    def sub(other: str) -> nodes.Expr:
        return generated(rng, c, other, depth - 1)

    def binary(op: str) -> Make:
        return lambda x, y: typing.binary(op, x, y)

    def merged(make: Make, x: nodes.Expr, y: nodes.Expr) -> nodes.Expr:
        type_ = typing.common_type(x.type, y.type)
        return make(*(p if p.type == type_ else typing.cast(p, type_) for p in (x, y)))

    choices: list[Callable[[], nodes.Expr]]
    if kind == "bool":
        side, op = rng.choice(["int", "float"]), rng.choice(nodes.COMPARISONS)
        choices = [
            lambda: merged(binary(op), sub(side), sub(side)),
            lambda: typing.both(sub("bool"), sub("bool")),
            lambda: typing.binary("or", sub("bool"), sub("bool")),
            lambda: typing.unary("not", sub("bool")),
            lambda: typing.unary("is_null", sub(side)),
        ]
        return rng.choice(choices)()
    condition = sub("bool")
    choices = [
        lambda: merged(lambda x, y: typing.select(condition, x, y), sub(kind), sub(kind)),
        lambda: merged(binary("least"), sub(kind), sub(kind)),
        lambda: merged(lambda x, y: typing.coalesce(x, y), sub(kind), sub(kind)),
    ]
    if kind == "int":
        of_integers = rng.choice(["add", "sub", "mul", "idiv", "mod"])
        choices += [lambda: merged(binary(of_integers), sub(kind), sub(kind))] * 3
        choices.append(lambda: typing.unary(rng.choice(nodes.PARTS), c["t"]))
    else:
        of_floats = rng.choice(["add", "sub", "mul", "div"])
        choices += [
            lambda: typing.binary(of_floats, sub(kind), sub(kind)),
            lambda: typing.unary(rng.choice(["abs", "floor", "round", "sqrt", "neg"]), sub(kind)),
        ] * 2
    return rng.choice(choices)()


@pytest.mark.parametrize("seed", range(36))
def test_generated_programs(seed: int) -> None:
    rng = random.Random(seed)
    rows = SIZES[seed % 3] if seed % 3 < 2 else 2049
    columns = table(rows, seed, 0.3 if seed % 2 else 0.0)
    c = refs(columns)
    fields: list[tuple[str, program.Fold]] = [("rows", typing.fold("count"))]
    for place in range(3):
        kind = rng.choice(["int", "float"])
        x = generated(rng, c, kind, 3)
        op = rng.choice(["min", "max", "count"] + (["sum", "avg"] if kind == "int" else []))
        fields.append((f"v{place}", typing.fold(op, x)))
    where = generated(rng, c, "bool", 2) if rng.random() < 0.7 else None
    builder: program.Builder = program.Struct(tuple(fields))
    if seed % 4 == 1:
        keys = (program.Key("k", c["k"], columns["k"].validity is not None, 0, 3),)
        builder = program.Group(keys, tuple(fields), "dense")
    try:
        run_both(*looped(columns, rows, program.Loop("r", "t", builder, where)))
    except Unsupported as reason:
        pytest.skip(str(reason))


FUNCTIONS = ("exp", "log", "sin", "tan", "atan", "cbrt", "erf", "tanh", "log10", "expm1")


def test_functions_of_floats() -> None:
    columns = table(2049, 9, 0.2)
    c = refs(columns)
    folds = [(op, typing.fold("max", typing.unary(op, c["x"]))) for op in FUNCTIONS]
    folds += [
        (op, typing.fold("min", typing.binary(op, c["x"], c["f"])))
        for op in ("pow", "mod", "atan2")
    ]
    struct = program.Struct(tuple(folds))
    whole, inputs = looped(columns, 2049, program.Loop("r", "t", struct))
    run_both(whole, inputs)
    assert ".extern" not in ptx_of(whole, "sm_90")


# --- what is emitted ------------------------------------------------------------------------------


def every_kind() -> list[program.Program]:
    columns = table(100, 1, 0.2)
    c = refs(columns)
    seen = program.Loop("seen", "t", program.Bitmap(c["b"], -5000, 5000))
    at = program.Loop("at", "t", program.Scatter(c["c"], c["k"], -(2**20), 2**20))
    struct = program.Loop("r", "t", program.Struct(folds_of(c)))
    group = program.Group(keys_of(columns, c, "k", "p"), folds_of(c), "dense")
    tpch = lineitem(100)
    t = refs(tpch)
    return [
        looped(columns, 100, seen, at, struct)[0],
        looped(columns, 100, program.Loop("r", "t", group))[0],
        looped(tpch, 100, q6(t))[0],
        looped(tpch, 100, q1(tpch, t))[0],
    ]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_ptx_of_every_architecture(architecture: Architecture) -> None:
    for whole in every_kind():
        text = ptx_of(whole, architecture)
        assert f".target {architecture}" in text
        assert ".visible .entry loop_0(" in text
        assert ".extern" not in text  # no function of any library is called
        assert text == ptx_of(whole, architecture)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_ptx_is_assembled(architecture: Architecture) -> None:
    if assembler() is None:
        pytest.skip("there is no ptxas on the path")
    for whole in every_kind():
        code, said = assembled(ptx_of(whole, architecture), architecture)
        assert code[:4] == b"\x7fELF"
        assert "Compiling entry function 'loop_0'" in said


def test_columns_are_read_as_constant_global_memory() -> None:
    text = ptx_of(every_kind()[2], "sm_90")
    loop = text[text.index("loop_0") : text.index("clear_0")]
    assert "ld.global.nc" in loop
    assert "ld.b" not in loop  # no generic load


def test_floats_are_ieee() -> None:
    """No contraction, no approximate division or square root, no flushing of small numbers."""
    columns = table(10, 1, 0.0)
    c = refs(columns)
    narrow = typing.binary("div", c["y"], c["y"])
    root = typing.unary("sqrt", c["y"])
    terms = typing.binary("add", typing.binary("mul", c["x"], c["f"]), c["x"])
    folds = (
        ("a", typing.fold("max", typing.binary("mul", narrow, root))),
        ("b", typing.fold("max", terms)),
    )
    text = ptx_of(looped(columns, 10, program.Loop("r", "t", program.Struct(folds)))[0], "sm_90")
    assert "div.rn.f32" in text
    assert "sqrt.rn.f32" in text
    assert "fma" not in text
    assert ".ftz" not in text
    assert ".approx" not in text


def test_the_bodies_are_the_same_for_both_targets() -> None:
    for whole in every_kind():
        texts = [module_text(plan_grid(whole), target) for target in (Nvptx(), Emulated())]
        bodies = [[part for part in text.split("\n}") if "alwaysinline" in part] for text in texts]
        stripped = [[part[part.index("define internal") :] for part in one] for one in bodies]
        assert stripped[0] == stripped[1]
        assert stripped[0]


def test_what_does_not_run_on_a_gpu_says_why() -> None:
    columns = table(10, 1, 0.0)
    c = refs(columns)
    source = source_of(columns)
    turn = nodes.Variable("n", I64)
    endless = typing.iterate([turn], [c["d"]], c["p"], [turn], turn)
    reasons = {
        "hashing": program.Group((program.Key("d", c["d"]),), (), "hash"),
        "rows in order": program.Append((("d", c["d"]),)),
        "first rows": program.TopK(1, (), (("d", c["d"]),)),
        "cancel": program.Struct((("n", typing.fold("sum", endless)),)),
    }
    for reason, builder in reasons.items():
        whole = program.Program("q", (source,), (program.Loop("r", "t", builder),), ("r",))
        with pytest.raises(Unsupported, match=reason):
            ptx_of(whole, "sm_90")


def test_codes_of_two_dictionaries_do_not_compare() -> None:
    columns = table(10, 1, 0.0)
    c = refs(columns)
    other = nodes.Column("k", Code("others"))
    unequal = nodes.Binary("eq", c["k"], other, BOOL)
    struct = program.Struct((("n", typing.fold("count")),))
    whole, _ = looped(columns, 10, program.Loop("r", "t", struct, unequal))
    with pytest.raises(Unsupported):
        ptx_of(whole, "sm_80")
