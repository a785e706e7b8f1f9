"""Code of `Append`: each morsel writes the rows that pass to its own part of the output.

A row is always written and counted only if it passes: no branch. The parts are put together after
the loop, so the source's order stays.
"""

from __future__ import annotations

from foveal.engine.compile.llvm.accumulators import MORSEL_ROWS
from foveal.engine.compile.llvm.builders import PlainCode
from foveal.engine.compile.llvm.cells import Cell, Facts, llvm_type
from foveal.engine.compile.llvm.layout import storage_type
from foveal.engine.compile.llvm.row import Row
from foveal.engine.compile.llvm.text import FALSE, Function, Value, integer
from foveal.planner.ir.program import Append
from foveal.planner.ir.types import Type, physical


class AppendCode(PlainCode):
    """Outputs: rows per morsel, then of each field its values and, where nullable, its validity."""

    branches = False
    state_words = 1

    def __init__(self, builder: Append, facts: Facts, *, filtered: bool) -> None:
        """Lay out the outputs; `filtered`: not all rows may pass."""
        self.fields = builder.fields
        self.nullable = [facts.nullable(x) for _, x in builder.fields]
        self.outs = 1 + len(self.fields) + sum(self.nullable)
        self.filtered = filtered
        self._outs: list[Value] = []
        self._start = integer(0)

    def start(self, f: Function, state: Value, outs: list[Value], start: Value) -> None:
        """Keep where the outputs are."""
        self._outs, self._start = outs, start

    def running(self) -> list[Value]:
        """Return the place that the next row is written to."""
        return [self._start]

    def row(self, row: Row, keep: Value, running: list[Value], index: Value) -> list[Value]:
        """Write one row; the next takes its place unless it is kept."""
        f = row.f
        place = running[0] if self.filtered else index
        pointers = iter(self._outs[1:])
        for (_, x), nullable in zip(self.fields, self.nullable, strict=True):
            cell = row.cell(x, keep)
            value = stored_value(f, cell, x.type)
            f.store(value, f.at(next(pointers), value.type, place))
            if nullable:
                byte = f.resize(cell.valid, "i8", signed=False)
                f.store(byte, f.at(next(pointers), "i8", place))
            row.check(x, keep)
        return [f.op("add", running[0], f.resize(keep, "i64", signed=False))]

    def finish(self, f: Function, running: list[Value]) -> Value:
        """Note how many rows the morsel has."""
        morsel = f.op("udiv", self._start, integer(MORSEL_ROWS))
        count = f.op("sub", running[0], self._start)
        f.store(count, f.at(self._outs[0], "i64", morsel))
        return FALSE


def stored_value(f: Function, cell: Cell, type_: Type) -> Value:
    """Return a cell's value as an array of its type holds it."""
    wanted = llvm_type(type_)
    if wanted in ("float", "double"):
        return cell.value
    return f.resize(cell.value, storage_type(physical(type_)), signed=wanted != "i1")
