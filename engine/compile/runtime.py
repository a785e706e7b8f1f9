"""Compiled programs at work: a `Runner` over machine code, with its cache and its tiers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from foveal.engine.compile.data import Inputs
from foveal.engine.compile.llvm.kernel import Kernel, compile_program
from foveal.engine.compile.llvm.machine import Level
from foveal.engine.compile.runtime_binding import BoundTable, bind
from foveal.engine.compile.runtime_builders import start_run
from foveal.engine.compile.runtime_folds import Dictionaries
from foveal.engine.compile.runtime_threads import available_threads, run_loop
from foveal.planner.ir.program import Program
from foveal.planner.ir.types import Code
from foveal.planner.protocols import CancelCheck

ALONE_ROWS = 1 << 14
"""Rows that the calling thread runs alone: waking another costs more."""


def run_kernel(
    kernel: Kernel, inputs: Inputs, check: CancelCheck, threads: int | None = None
) -> Mapping[str, pa.Table]:
    """Run a compiled program.

    Raises:
        KernelError: an operation raised for a row that reached it.
        QueryCanceled: `check` raised it.
    """
    program = kernel.program
    tables = {table.name: _bound_table(inputs, table.name) for table in program.tables}
    dictionaries = _dictionaries(program, inputs)
    results: dict[str, pa.Table] = {}
    for number, plan in enumerate(kernel.plans):
        rows = inputs.sources[plan.loop.source].rows
        run = start_run(plan, kernel, number, rows)
        arguments = bind(plan.loop, plan.layout, inputs, tables, run.outs)
        morsel = plan.code.morsel_rows
        wanted = threads or available_threads()
        count = 1 if rows <= ALONE_ROWS else max(1, min(wanted, -(-rows // morsel)))
        states = [run.state() for _ in range(count)]
        run_loop(kernel.loops[number], arguments, rows, morsel, states, check)
        made = run.result(states, dictionaries)
        if isinstance(made, BoundTable):
            tables[plan.loop.into] = made
        elif plan.loop.into in program.results:
            results[plan.loop.into] = made
    return results


def _bound_table(inputs: Inputs, name: str) -> BoundTable:
    """Return a table parameter, with a zero where it has no entry: place 0 is always read."""
    given = inputs.tables[name]
    size = len(given.values)
    values = given.values if size else np.zeros((1, *given.values.shape[1:]), given.values.dtype)
    valid = None
    if given.valid is not None:
        valid = np.ascontiguousarray(given.valid).view(np.uint8)
    return BoundTable(np.ascontiguousarray(values), valid if size else None, size)


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


class CompiledRunner:
    """Runs programs as machine code."""

    def __init__(self, threads: int | None = None, level: Level = "O3") -> None:
        """Keep how many threads may work (None: all processors), and how well to compile."""
        self.threads = threads
        self.level: Level = level
        self._kernels: dict[Program, Kernel] = {}

    def __call__(
        self, program: Program, inputs: Inputs, check: CancelCheck
    ) -> Mapping[str, pa.Table]:
        """Run a program, compiling it when it is new.

        Raises:
            KernelError: an operation raised for a row that reached it.
            QueryCanceled: `check` raised it.
            Unsupported: the program has no machine code.
        """
        kernel = self._kernels.get(program)
        if kernel is None:
            kernel = self._kernels[program] = compile_program(program, self.level)
        return run_kernel(kernel, inputs, check, self.threads)
