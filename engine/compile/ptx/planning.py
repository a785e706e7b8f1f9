"""Which programs run on a GPU: loops that fold, group by bounded keys, or fill a table."""

from __future__ import annotations

from dataclasses import dataclass

from foveal.engine.compile.llvm.accumulators import plan_folds
from foveal.engine.compile.llvm.builders import BuilderCode
from foveal.engine.compile.llvm.cells import Unsupported
from foveal.engine.compile.llvm.layout import Layout, expressions, lay_out
from foveal.engine.compile.llvm.planning import Known
from foveal.engine.compile.llvm.tables import TableCode
from foveal.engine.compile.ptx.states import BlockTable, ThreadFolds
from foveal.planner.ir.inference import of_loop
from foveal.planner.ir.nodes import Expr, Iterate, children
from foveal.planner.ir.program import (
    Append,
    Bitmap,
    Group,
    Loop,
    Program,
    Scatter,
    Struct,
    TopK,
)

MAX_SLOTS = 500
"""Arguments of a kernel: 4 KiB of them is what every device takes."""


@dataclass(frozen=True, slots=True, eq=False)
class GridPlan:
    """One loop, ready to be written."""

    loop: Loop
    facts: Known
    layout: Layout
    code: BuilderCode


def plan_grid(program: Program) -> list[GridPlan]:
    """Return a plan for each loop. Cheap, and the same in every process.

    Raises:
        Unsupported: a loop that does not run on a GPU; the text says why.
    """
    out: list[GridPlan] = []
    for number, loop in enumerate(program.loops):
        facts = Known(of_loop(program, loop))
        code = _builder(loop, number, facts)
        layout = lay_out(program, loop, code.outs)
        if layout.models:
            raise Unsupported("a model on a GPU")
        if any(_iterates(x) for x in expressions(loop)):
            raise Unsupported("a loop within a row on a GPU: nobody could cancel it")
        if len(layout.slots) > MAX_SLOTS:
            raise Unsupported(f"a kernel of {len(layout.slots)} arguments")
        out.append(GridPlan(loop, facts, layout, code))
    return out


def _iterates(x: Expr) -> bool:
    return isinstance(x, Iterate) or any(_iterates(child) for child in children(x))


def _builder(loop: Loop, number: int, facts: Known) -> BuilderCode:
    """Return the code of a loop's builder."""
    match loop.builder:
        case Struct(fields=fields):
            return ThreadFolds(plan_folds(fields, facts))
        case Group(strategy="hash"):
            raise Unsupported("a group by hashing on a GPU")
        case Group():
            return BlockTable(loop.builder, number, facts)
        case Bitmap() | Scatter():
            return TableCode(loop.builder)
        case Append():
            raise Unsupported("rows in order on a GPU")
        case TopK():
            raise Unsupported("the first rows on a GPU")
