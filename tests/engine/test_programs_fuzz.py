"""Random programs mean the same interpreted, rewritten by any passes, compiled, and in DuckDB.

What such runs have found stands below, each in its smallest form.
"""

from __future__ import annotations

import importlib
import sys
from decimal import Decimal as Digits
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from foveal.engine.compile.arrow import column_data
from foveal.engine.compile.data import ColumnData, Inputs, KernelError, SourceData
from foveal.engine.compile.interpreter import interpret
from foveal.engine.compile.llvm.cells import Unsupported
from foveal.engine.compile.llvm.kernel import compile_program
from foveal.engine.compile.runtime import run_kernel
from foveal.planner.ir import program, typing
from foveal.planner.ir.nodes import Column, Expr, Parameter
from foveal.planner.ir.types import F32, F64, I128, Decimal, Type, physical

BENCHES = Path(__file__).resolve().parents[2] / "benches"
PIECES, PIECE = 12, 25


@pytest.fixture(scope="module")
def pipelines() -> Any:
    """Return the bench that makes and checks programs."""
    sys.path.insert(0, str(BENCHES))
    try:
        found: ModuleType = importlib.import_module("pipelines")
    finally:
        sys.path.remove(str(BENCHES))
    return found


@pytest.mark.parametrize("piece", range(PIECES))
def test_random_programs(pipelines: Any, piece: int) -> None:
    seeds = range(1_000_000 + piece * PIECE, 1_000_000 + (piece + 1) * PIECE)
    checker = pipelines.run(seeds, quiet=True)
    assert not checker.tally.bad
    counts = checker.tally.counts
    assert counts["programs"] == PIECE
    assert counts["in duckdb"] >= PIECE
    assert counts["compiled"] >= PIECE
    assert not counts["duckdb refuses"]


# --- found by such programs ----------------------------------------------------------------------


def ways(whole: program.Program, inputs: Inputs) -> list[Any]:
    """Return the rows of result r: interpreted, and compiled; "raises" for an error."""
    out: list[Any] = []
    for run in (
        lambda: interpret(whole, inputs, lambda: None),
        lambda: run_kernel(compile_program(whole, "O0"), inputs, lambda: None, 1),
    ):
        try:
            out.append(run()["r"].to_pylist())
        except KernelError:
            out.append("raises")
    return out


def one_column(data: ColumnData, *builders: program.Builder, **scalars: Any) -> list[Any]:
    """Run a builder over a column x."""
    column = program.Column(
        "x", data.type, physical(data.type), data.validity is not None, data.low, data.high
    )
    whole = program.Program(
        "q",
        (program.Source("t", (column,)),),
        (program.Loop("r", "t", builders[0]),),
        ("r",),
        tuple(program.Scalar(n, F64) for n in scalars),
    )
    return ways(whole, Inputs({"t": SourceData(data.rows, {"x": data})}, scalars))


def digits(values: list[int], type_: Decimal) -> ColumnData:
    made: Any = pa.array([Digits(v).scaleb(-type_.scale) for v in values], pa.decimal128(
        type_.precision, type_.scale
    ))  # fmt: skip
    return column_data(made, type_)


def appended(x: Expr) -> program.Append:
    return program.Append((("v", x),))


def test_a_decimal_as_float_is_rounded_once_from_double() -> None:
    """27196061.960::FLOAT is 27196062 in DuckDB; in single precision all along it is ..060."""
    type_ = Decimal(18, 3)
    data = digits([27196061960, -81687956571], type_)
    for rows in one_column(data, appended(typing.cast(Column("x", type_), F32))):
        assert [row["v"] for row in rows] == [27196062.0, -81687960.0]


def test_extremes_of_wide_types_stored_narrow_are_integers_of_any_size() -> None:
    """NumPy's 64-bit integers among Python's overflowed as they were taken apart into words."""
    type_ = Decimal(25, 4)
    data = digits([5, 7], type_)
    narrow = ColumnData(type_, data.values[:, 0].astype(np.int64), None, None, 5, 7)
    fold = typing.fold("max", Column("x", type_))
    column = program.Column("x", type_, physical(Decimal(18, 0)), False, 5, 7)
    whole = program.Program(
        "q",
        (program.Source("t", (column,)),),
        (program.Loop("r", "t", program.Struct((("v", fold),))),),
        ("r",),
    )
    first, second = ways(whole, Inputs({"t": SourceData(2, {"x": narrow})}))
    assert first == second
    assert str(first[0]["v"]) == "0.0007"


def test_an_average_raises_where_its_sum_is_beyond_hugeint() -> None:
    type_ = Decimal(38, 0)
    data = column_data(_hugeints([10**38 - 1] * 3), type_)
    made = one_column(data, program.Struct((("v", typing.fold("avg", Column("x", type_))),)))
    assert made == ["raises", "raises"]


def test_scalars_of_floats_have_no_width_to_adapt() -> None:
    data = column_data(pa.array([1.5, None]))
    x = typing.coalesce(Column("x", F64), Parameter("s", F64))
    for rows in one_column(data, appended(x), s=-2.5):
        assert [row["v"] for row in rows] == [1.5, -2.5]


def test_groups_by_place_know_keys_beyond_64_bits_only_as_unsupported() -> None:
    wide: Type = I128
    at = 10**30
    data = column_data(_hugeints([at, at + 1]), wide)
    key = program.Key("k", Column("x", wide), False, at, at + 1)
    group = program.Group((key,), (("n", typing.fold("count")),), "dense")
    with pytest.raises(Unsupported):
        one_column(data, group)


def test_rows_of_unsigned_words_keep_their_validity() -> None:
    """They are computed in 128 bits, but stored in 64: validity was sought a word further."""
    data = column_data(pa.array([7, 2**63 - 1], pa.uint64()))
    x = Column("x", data.type)
    top = program.TopK(2, (program.Order(x, descending=True),), (("v", x), ("w", x)))
    for rows in one_column(data, top):
        assert [(row["v"], row["w"]) for row in rows] == [(2**63 - 1, 2**63 - 1), (7, 7)]


def test_a_count_raises_as_its_operand_does() -> None:
    data = column_data(pa.array([1, 30_000], pa.int16()))
    x = Column("x", data.type)
    count = typing.fold("count", typing.arithmetic("add", x, x))
    assert one_column(data, program.Struct((("v", count),))) == ["raises", "raises"]


def _hugeints(values: list[int]) -> Any:
    return pa.array([Digits(v) for v in values], pa.decimal128(38, 0))
