"""The reference interpreter: what a program means, in NumPy and Python integers.

Slow and simple on purpose. Compiled code is compared with it; where no compiler is to be had, it
runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from foveal.engine.compile.arrow import arrow_type, unpack_validity
from foveal.engine.compile.data import Inputs
from foveal.engine.compile.interpreter_builders import (
    Dictionaries,
    bitmap,
    column,
    grouped,
    scatter,
    structure,
    top,
)
from foveal.engine.compile.interpreter_expressions import Frame, World, evaluate
from foveal.engine.compile.interpreter_values import Value, decode
from foveal.engine.compile.results import results_of
from foveal.planner.ir.program import (
    Append,
    Bitmap,
    Group,
    Loop,
    Program,
    Scatter,
    Source,
    Struct,
    TopK,
)
from foveal.planner.ir.types import Code, Type
from foveal.planner.protocols import CancelCheck


def interpret(program: Program, inputs: Inputs, check: CancelCheck) -> Mapping[str, pa.Table]:
    """Run a program: a `Runner`.

    Raises:
        KernelError: an operation raised for a row that reached it.
        QueryCanceled: `check` raised it.
    """
    tables = {
        table.name: decode(
            inputs.tables[table.name].values, inputs.tables[table.name].valid, table.type
        )
        for table in program.tables
    }
    world = World(inputs, tables, check)
    frames = {source.name: _frame(source, world) for source in program.sources}
    dictionaries = _dictionaries(program, inputs)
    results: dict[str, pa.Table] = {}
    for loop in program.loops:
        check()
        frame = frames[loop.source]
        if loop.where is not None:
            passed = evaluate(loop.where, frame)
            frame = frame.part(passed.valid & passed.values)
        made = _made(loop, frame)
        if isinstance(made, Value):
            world.tables[loop.into] = made
        else:
            results[loop.into] = _table(made, dictionaries)
            if isinstance(loop.builder, Append):
                columns = {name: value for name, _, value in made}
                rows = int(frame.rows)
                frames[loop.into] = Frame(world, rows, columns)
    return results_of(program, results)


def _frame(source: Source, world: World) -> Frame:
    """Return all rows of a source."""
    data = world.inputs.sources[source.name]
    columns: dict[str, Value] = {}
    for declared in source.columns:
        stored = data.columns[declared.name]
        valid = unpack_validity(stored.validity, data.rows)
        columns[declared.name] = decode(stored.values, valid, declared.type)
    return Frame(world, data.rows, columns)


def _dictionaries(program: Program, inputs: Inputs) -> Dictionaries:
    """Return the entries of dictionaries by the names that the program's types give them."""
    out: dict[str, pa.Array[Any]] = {}
    for source in program.sources:
        for declared in source.columns:
            entries = inputs.sources[source.name].columns[declared.name].dictionary
            if isinstance(declared.type, Code) and entries is not None:
                out[declared.type.dictionary] = entries
    for table in program.tables:
        entries = inputs.tables[table.name].dictionary
        if isinstance(table.type, Code) and entries is not None:
            out[table.type.dictionary] = entries
    return out


def _made(loop: Loop, frame: Frame) -> list[tuple[str, Type, Value]] | Value:
    """Return what the loop's builder makes: columns of results, or a table for later loops."""
    match loop.builder:
        case Struct(fields=fields):
            return structure(fields, frame)
        case Group():
            return grouped(loop.builder, frame)
        case Append(fields=fields):
            return [(name, expr.type, evaluate(expr, frame)) for name, expr in fields]
        case TopK(fields=fields):
            rows = top(loop.builder, frame)
            return [(name, expr.type, evaluate(expr, frame).take(rows)) for name, expr in fields]
        case Bitmap():
            return bitmap(loop.builder, frame)
        case Scatter():
            return scatter(loop.builder, frame)


def _table(made: list[tuple[str, Type, Value]], dictionaries: Dictionaries) -> pa.Table:
    """Return named values as an Arrow table."""
    schema = pa.schema([pa.field(name, arrow_type(type_)) for name, type_, _ in made])
    arrays = [column(value, type_, dictionaries) for _, type_, value in made]
    return pa.Table.from_arrays(arrays, schema=schema)
