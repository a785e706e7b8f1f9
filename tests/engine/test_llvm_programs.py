"""Compiled programs give what the interpreter gives: expressions and aggregates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from foveal.engine.compile.arrow import column_data
from foveal.engine.compile.data import ColumnData, Inputs, KernelError, SourceData
from foveal.engine.compile.interpreter import interpret
from foveal.engine.compile.llvm.machine import Level
from foveal.engine.compile.runtime import CompiledRunner
from foveal.planner.ir import nodes, program, typing
from foveal.planner.ir.types import I8, I32, physical

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

    wanted = rows_of(interpret)
    for level in LEVELS:
        for count in threads:
            got = rows_of(CompiledRunner(count, level))
            assert (got is None) == (wanted is None), (level, count, got, wanted)
            for name, rows in (wanted or {}).items():
                assert got is not None
                assert len(got[name]) == len(rows), (level, count)
                for mine, reference in zip(got[name], rows, strict=True):
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
        array: Any = pa.array(values, mask=mask)
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
