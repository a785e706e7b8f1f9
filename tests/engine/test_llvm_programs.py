"""Compiled programs give what the interpreter gives: expressions and aggregates."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from foveal.engine.compile.arrow import column_data
from foveal.engine.compile.data import ColumnData, Inputs, KernelError, SourceData
from foveal.engine.compile.interpreter import interpret
from foveal.engine.compile.llvm.machine import Level
from foveal.engine.compile.object_cache import ObjectFiles
from foveal.engine.compile.runtime import CompiledRunner
from foveal.planner.ir import nodes, program, typing
from foveal.planner.ir.types import F32, F64, I8, I32, I64, I128, Type, physical

_array: Any = pa.array
FILES = ObjectFiles(Path(tempfile.mkdtemp()) / "objects")
LEVELS: tuple[Level, ...] = ("O0", "O3")


def source_of(columns: Mapping[str, ColumnData]) -> program.Source:
    return program.Source(
        "t",
        tuple(
            program.Column(n, c.type, physical(c.type), c.validity is not None, c.low, c.high)
            for n, c in columns.items()
        ),
    )


def same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        close = math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-12)
        return close or (math.isnan(left) and math.isnan(right))
    return left == right


def run_all(
    whole: program.Program, inputs: Inputs, threads: Sequence[int] = (1, 2)
) -> dict[str, list[dict[str, Any]]] | None:
    """Run a program in every way; return its rows, None where it raises everywhere."""

    def rows_of(run: Any) -> dict[str, list[dict[str, Any]]] | None:
        try:
            made = run(whole, inputs, lambda: None)
        except KernelError:
            return None
        return {name: table.to_pylist() for name, table in made.items()}

    grouped = any(isinstance(loop.builder, program.Group) for loop in whole.loops)

    def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(rows, key=lambda row: str(list(row.values())[:3])) if grouped else rows

    wanted = rows_of(interpret)
    for level in LEVELS:
        for count in threads:
            got = rows_of(CompiledRunner(count, level, FILES))
            assert (got is None) == (wanted is None), (level, count, got, wanted)
            for name, rows in (wanted or {}).items():
                assert got is not None
                assert len(got[name]) == len(rows), (level, count)
                for mine, reference in zip(ordered(got[name]), ordered(rows), strict=True):
                    assert mine.keys() == reference.keys()
                    for key, value in reference.items():
                        assert same(mine[key], value), (level, count, key, mine, reference)
    return wanted


@pytest.mark.parametrize("rows", [0, 1, 2047, 2048, 2049, 65537])
@pytest.mark.parametrize("nulls", [False, True])
def test_a_filtered_sum_of_any_number_of_rows(rows: int, nulls: bool) -> None:
    random = np.random.default_rng(rows)

    def column(values: Any) -> ColumnData:
        mask = random.random(rows) < 0.2 if nulls else None
        array: Any = _array(values, mask=mask)
        return column_data(array)

    columns = {
        "a": column(random.integers(-100, 100, rows).astype(np.int32)),
        "b": column(random.integers(0, 11, rows).astype(np.int8)),
        "x": column(random.standard_normal(rows)),
    }
    source = source_of(columns)
    a, b, x = (nodes.Column(c.name, c.type) for c in source.columns)
    where = typing.both(
        typing.binary("ge", b, typing.literal(3, I8)),
        typing.binary("lt", a, typing.literal(50, I32)),
    )
    product = typing.arithmetic("mul", a, b)
    folds = program.Struct(
        (
            ("total", typing.fold("sum", product)),
            ("rows", typing.fold("count")),
            ("some", typing.fold("count", a)),
            ("least", typing.fold("min", product)),
            ("greatest", typing.fold("max", x)),
            ("mean", typing.fold("avg", x)),
            ("float_total", typing.fold("sum", x)),
        )
    )
    whole = program.Program("q", (source,), (program.Loop("r", "t", folds, where),), ("r",))
    made = run_all(whole, Inputs({"t": SourceData(rows, columns)}))
    assert made is not None
    assert len(made["r"]) == 1


ROWS = 70_001


@pytest.fixture(scope="module")
def table() -> dict[str, ColumnData]:
    random = np.random.default_rng(7)
    odd = np.array([0.0, -0.0, math.nan, math.inf, -math.inf, 1.5, -2.5, 1e300])

    def column(values: Any, nulls: float, type_: Any = None) -> ColumnData:
        mask = random.random(ROWS) < nulls if nulls else None
        array: Any = _array(values, type_, mask=mask)
        return column_data(array)

    words = np.array(["ash", "birch", "cedar", "elm", "oak"])
    return {
        "k": column(np.arange(ROWS), 0),
        "small": column(random.integers(-3, 4, ROWS).astype(np.int8), 0.1),
        "big": column(random.integers(-(2**62), 2**62, ROWS), 0.1),
        "many": column(random.integers(0, 30_000, ROWS), 0.05),
        "f": column(random.choice(odd, ROWS), 0.1),
        "x": column(random.standard_normal(ROWS), 0),
        "flag": column(random.random(ROWS) < 0.5, 0.2),
        "word": column(words[random.integers(0, 5, ROWS)], 0.1),
        "price": column(random.integers(0, 10**7, ROWS).tolist(), 0.1, pa.decimal128(24, 2)),
    }


def run_loops(
    columns: Mapping[str, ColumnData], *loops: program.Loop, results: tuple[str, ...] = ("r",)
) -> dict[str, list[dict[str, Any]]] | None:
    source = source_of(columns)
    whole = program.Program("q", (source,), loops, results)
    return run_all(whole, Inputs({"t": SourceData(ROWS, columns)}))


def refs(columns: Mapping[str, ColumnData]) -> dict[str, nodes.Column]:
    return {n: nodes.Column(n, c.type) for n, c in columns.items()}


def folds_of(columns: Mapping[str, ColumnData]) -> tuple[tuple[str, program.Fold], ...]:
    c = refs(columns)
    return (
        ("rows", typing.fold("count")),
        ("sum_small", typing.fold("sum", c["small"])),
        ("sum_big", typing.fold("sum", c["big"])),
        ("sum_price", typing.fold("sum", c["price"])),
        ("avg_price", typing.fold("avg", c["price"])),
        ("avg_big", typing.fold("avg", c["big"])),
        ("sum_x", typing.fold("sum", c["x"])),
        ("min_f", typing.fold("min", c["f"])),
        ("max_f", typing.fold("max", c["f"])),
        ("min_word", typing.fold("min", c["word"])),
        ("max_big", typing.fold("max", c["big"])),
        ("any_flag", typing.fold("max", c["flag"])),
        ("some", typing.fold("count", c["f"])),
    )


def test_folds_without_keys(table: dict[str, ColumnData]) -> None:
    c = refs(table)
    made = run_loops(table, program.Loop("r", "t", program.Struct(folds_of(table)), c["flag"]))
    assert made is not None
    assert made["r"][0]["rows"] > 20_000


@pytest.mark.parametrize("how", ["mask", "branch"])
@pytest.mark.parametrize(
    ("keys", "strategy"),
    [
        (("small", "word", "flag"), "dense"),
        (("small", "word", "flag"), "hash"),
        (("many",), "dense"),
        (("many",), "hash"),
        (("f",), "hash"),
        ((), "hash"),
    ],
)
def test_groups(
    table: dict[str, ColumnData], keys: tuple[str, ...], strategy: str, how: str
) -> None:
    c = refs(table)
    folds = folds_of(table) if len(keys) > 1 else folds_of(table)[:3]
    group = program.Group(
        tuple(
            program.Key(n, c[n], table[n].validity is not None, table[n].low, table[n].high)
            for n in keys
        ),
        folds,
        strategy,
    )
    where = typing.binary("ge", c["x"], typing.literal(-1.0, c["x"].type))
    made = run_loops(table, program.Loop("r", "t", group, where, how))
    assert made is not None


@pytest.mark.parametrize("filtered", [False, True])
def test_rows_are_appended_in_order(table: dict[str, ColumnData], filtered: bool) -> None:
    c = refs(table)
    fields = tuple((n, c[n]) for n in (c if filtered else ("k", "f", "word")))
    where = typing.binary("lt", c["x"], typing.literal(-2.0, c["x"].type)) if filtered else None
    made = run_loops(table, program.Loop("r", "t", program.Append(fields), where))
    assert made is not None
    assert [row["k"] for row in made["r"]] == sorted(row["k"] for row in made["r"])


@pytest.mark.parametrize("name", ["f", "x", "small", "word", "k"])
@pytest.mark.parametrize(("descending", "nulls_first"), [(False, False), (True, True)])
@pytest.mark.parametrize("limit", [0, 1, 100])
def test_the_first_rows(
    table: dict[str, ColumnData], name: str, descending: bool, nulls_first: bool, limit: int
) -> None:
    c = refs(table)
    orders = (program.Order(c[name], descending, nulls_first), program.Order(c["big"]))
    fields = (("k", c["k"]), ("f", c["f"]), ("price", c["price"]), ("word", c["word"]))
    made = run_loops(table, program.Loop("r", "t", program.TopK(limit, orders, fields)))
    assert made is not None
    assert len(made["r"]) == min(limit, ROWS)


def test_more_first_rows_than_there_are(table: dict[str, ColumnData]) -> None:
    c = refs(table)
    builder = program.TopK(ROWS + 5, (program.Order(c["f"]),), (("k", c["k"]), ("f", c["f"])))
    made = run_loops(table, program.Loop("r", "t", builder))
    assert made is not None
    assert len(made["r"]) == ROWS


def test_a_hash_table_grows(table: dict[str, ColumnData]) -> None:
    c = refs(table)
    group = program.Group((program.Key("k", c["k"]),), folds_of(table)[:2], "hash")
    made = run_loops(table, program.Loop("r", "t", group))
    assert made is not None
    assert len(made["r"]) == ROWS


def test_tables_of_earlier_loops_are_looked_up(table: dict[str, ColumnData]) -> None:
    c = refs(table)
    low, high = table["many"].low, table["many"].high
    assert low is not None
    assert high is not None
    where = typing.binary("lt", c["x"], typing.literal(-1.0, c["x"].type))
    present = program.Loop("seen", "t", program.Bitmap(c["many"], low, high), where)
    scatter = program.Loop("at", "t", program.Scatter(c["k"], c["word"], 0, ROWS - 1))
    seen = typing.lookup_named("seen", typing.literal(True, nodes.TRUE.type).type, c["many"], low)
    word = typing.lookup_named("at", c["word"].type, c["many"])
    last = program.Loop(
        "r", "t", program.Group((program.Key("word", word),), folds_of(table)[:2], "hash"), seen
    )
    made = run_loops(table, present, scatter, last)
    assert made is not None
    assert len(made["r"]) == 6


def test_a_key_that_comes_twice_raises(table: dict[str, ColumnData]) -> None:
    c = refs(table)
    scatter = program.Scatter(c["many"], c["x"], 0, 30_000)
    assert run_loops(table, program.Loop("t2", "t", scatter), results=()) is None


def test_an_index_out_of_bounds_raises(table: dict[str, ColumnData]) -> None:
    c = refs(table)
    assert (
        run_loops(table, program.Loop("b", "t", program.Bitmap(c["k"], 0, 7)), results=()) is None
    )


FLOATS = np.array([0.0, -0.0, math.nan, math.inf, -math.inf, 0.3, -0.7, 2.5, -3.5, 40.0, 1e-310])


@pytest.mark.parametrize("kind", [F32, F64])
def test_operators_of_floats(kind: Type) -> None:
    """Every one of them, over every pair of edges and NULL."""
    left, right = (grid.ravel() for grid in np.meshgrid(FLOATS, FLOATS))
    mask = np.arange(len(left)) % 7 == 3
    arrow = pa.float32() if kind == F32 else pa.float64()
    with np.errstate(all="ignore"):
        columns = {
            "k": column_data(_array(np.arange(len(left)))),
            "x": column_data(_array(left.astype(np.float32).astype(np.float64)).cast(arrow)),
            "y": column_data(_array(right, mask=mask).cast(arrow, safe=False)),
        }
    x, y = (nodes.Column(n, columns[n].type) for n in ("x", "y"))
    integral = (*nodes.LOGIC, *nodes.BITS, "idiv")
    fields: list[tuple[str, nodes.Expr]] = [
        *((op, typing.unary(op, y)) for op in nodes.UNARY if op != "not"),
        *((op, typing.binary(op, x, y)) for op in nodes.BINARY if op not in integral),
    ]
    source = source_of(columns)
    # Builders in turn: a loop of all operators takes long to compile.
    for start in range(0, len(fields), 12):
        append = program.Append(tuple(fields[start : start + 12]))
        whole = program.Program("q", (source,), (program.Loop("r", "t", append),), ("r",))
        made = run_all(whole, Inputs({"t": SourceData(len(left), columns)}), threads=(1,))
        assert made is not None


def test_a_loop_within_rows_counts_turns() -> None:
    """Collatz: how many turns until 1; rows that the filter leaves out would never end."""
    rows = 3000
    columns = {"a": column_data(_array(np.arange(rows) - 5))}
    a = nodes.Column("a", columns["a"].type)
    n, turns = nodes.Variable("n", I64), nodes.Variable("turns", I64)
    two, three, one = (typing.literal(v, I64) for v in (2, 3, 1))
    even = typing.binary("eq", typing.binary("mod", n, two), typing.literal(0, I64))
    odd_step = typing.binary("add", typing.binary("mul", n, three), one)
    step = typing.select(even, typing.binary("idiv", n, two), odd_step)
    counted = typing.iterate(
        [n, turns],
        [a, typing.literal(0, I64)],
        typing.binary("ne", n, one),
        [step, typing.binary("add", turns, one)],
        turns,
    )
    positive = typing.binary("gt", a, typing.literal(0, I64))
    chosen = typing.select(positive, counted, typing.literal(-1, I64))
    for x, where in ((counted, positive), (chosen, None)):
        loop = program.Loop("r", "t", program.Append((("turns", x),)), where)
        whole = program.Program("q", (source_of(columns),), (loop,), ("r",))
        made = run_all(whole, Inputs({"t": SourceData(rows, columns)}))
        assert made is not None
        assert max(row["turns"] for row in made["r"]) == 216


def test_sums_beyond_128_bits_when_morsels_meet() -> None:
    """Each morsel's sum fits; the third one's does not fit with the others'."""
    rows = 3 * (1 << 16)
    values = np.zeros(rows, np.int64)
    values[:: 1 << 16] = -(1 << 63)
    column = column_data(_array(values))
    wide = typing.cast(nodes.Column("x", I64), I128)
    square = typing.binary("mul", wide, wide)
    fields = (("s", typing.fold("sum", square)),)
    loop = program.Loop("out", "t", program.Struct(fields))
    whole = program.Program("p", (source_of({"x": column}),), (loop,), ("out",))
    inputs = Inputs({"t": SourceData(rows, {"x": column})})
    assert run_all(whole, inputs) is None
