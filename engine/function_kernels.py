"""A translated function over a batch of Arrow arrays: one program that a runner runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from foveal.engine.compile.arrow import column_data
from foveal.engine.compile.data import Inputs, Runner, SourceData
from foveal.planner.ir.function import IrFunction, apply
from foveal.planner.ir.nodes import Column as Read
from foveal.planner.ir.program import Append, Column, Loop, Program, Source
from foveal.planner.ir.types import physical
from foveal.planner.protocols import CancelCheck

_ROWS = "rows"


def program_of(function: IrFunction) -> Program:
    """Return the program that reads the parameters as columns and appends the results.

    It depends on the function alone, so that one compilation serves all batches.
    """
    columns = tuple(
        Column(f"a{i}", type_, physical(type_)) for i, (_, type_) in enumerate(function.parameters)
    )
    body = apply(function, [Read(column.name, column.type) for column in columns])
    loop = Loop("out", _ROWS, Append((("value", body),)))
    return Program(
        function.name, (Source(_ROWS, columns),), (loop,), ("out",), messages=function.messages
    )


def run_kernel(
    program: Program, arguments: Sequence[pa.Array[Any]], runner: Runner, check: CancelCheck
) -> pa.Array[Any]:
    """Return the function's values for arguments of its parameters' types.

    Raises:
        KernelError: a row raised, or might have where Python would not.
    """
    source = program.sources[0]
    rows = len(arguments[0]) if arguments else 1
    columns: Mapping[str, Any] = {
        column.name: replace(column_data(argument, column.type), dictionary=None)
        for column, argument in zip(source.columns, arguments, strict=True)
    }
    inputs = Inputs({_ROWS: SourceData(rows, columns)})
    made: Any = runner(program, inputs, check)["out"].column(0).combine_chunks()
    return made
