"""What is decided about each loop before code is written: facts, arguments, the builder's form."""

from __future__ import annotations

from dataclasses import dataclass

from foveal.engine.compile.llvm.accumulators import plan_folds
from foveal.engine.compile.llvm.appending import AppendCode
from foveal.engine.compile.llvm.builders import BuilderCode
from foveal.engine.compile.llvm.cells import Unsupported
from foveal.engine.compile.llvm.dense import DenseCode
from foveal.engine.compile.llvm.folds import FoldsCode
from foveal.engine.compile.llvm.hashing import HashCode
from foveal.engine.compile.llvm.layout import Layout, expressions, lay_out
from foveal.engine.compile.llvm.tables import TableCode
from foveal.engine.compile.llvm.topk import TopKCode
from foveal.planner.ir.inference import Inference, of_loop
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
from foveal.planner.ir.types import Float


class Known:
    """Facts of a loop's expressions, as code generation asks for them."""

    def __init__(self, inference: Inference) -> None:
        """Keep the inference of the loop's source."""
        self._inference = inference

    def range(self, expression: Expr) -> tuple[int, int] | None:
        """Return bounds of the valid values as stored integers; None of floats."""
        if isinstance(expression.type, Float):
            return None
        return self._inference.facts(expression).interval

    def nullable(self, expression: Expr) -> bool:
        """Say whether it can be NULL."""
        return self._inference.facts(expression).nullable

    def can_raise(self, expression: Expr) -> bool:
        """Say whether evaluating it can raise."""
        return self._inference.facts(expression).can_raise


SCORED_ROWS = 1 << 13
"""Rows that a thread takes at a time where models are applied; outputs in order need more."""


@dataclass(frozen=True, slots=True, eq=False)
class LoopPlan:
    """One loop, ready to be written, and what its caller must pass to it."""

    loop: Loop
    facts: Known
    layout: Layout
    code: BuilderCode

    @property
    def morsel_rows(self) -> int:
        """Rows that a thread takes at a time: fewer where each one costs much."""
        slow = self.layout.models and not isinstance(self.code, AppendCode)
        return min(self.code.morsel_rows, SCORED_ROWS) if slow else self.code.morsel_rows

    @property
    def endless(self) -> bool:
        """Whether a row may take any time: it loops by itself."""
        return any(_iterates(x) for x in expressions(self.loop))


def _iterates(x: Expr) -> bool:
    return isinstance(x, Iterate) or any(_iterates(child) for child in children(x))


def plan_program(program: Program) -> list[LoopPlan]:
    """Return a plan for each loop. Cheap, and the same in every process.

    Raises:
        Unsupported: a loop without machine code.
    """
    out: list[LoopPlan] = []
    for number, loop in enumerate(program.loops):
        facts = Known(of_loop(program, loop))
        code = _builder(loop, number, facts)
        out.append(LoopPlan(loop, facts, lay_out(program, loop, code.outs), code))
    return out


def _builder(loop: Loop, number: int, facts: Known) -> BuilderCode:
    """Return the code of a loop's builder."""
    match loop.builder:
        case Struct(fields=fields):
            return FoldsCode(plan_folds(fields, facts))
        case Group(strategy="hash"):
            return HashCode(loop.builder, number, facts)
        case Group(strategy="dense"):
            return DenseCode(loop.builder, number, facts)
        case Group():
            return _group(loop.builder, number, facts)
        case Append():
            return AppendCode(loop.builder, facts, filtered=loop.where is not None)
        case Bitmap() | Scatter():
            return TableCode(loop.builder)
        case TopK():
            return TopKCode(loop.builder, facts)


DENSE_SLOTS = 1 << 12
"""Combinations of keys up to which a table per thread beats hashing, when nobody has chosen."""


def _group(group: Group, number: int, facts: Known) -> BuilderCode:
    """Choose how to group: by place where there are few combinations of bounded keys."""
    try:
        dense = DenseCode(group, number, facts)
    except Unsupported:
        return HashCode(group, number, facts)
    return dense if dense.slots <= DENSE_SLOTS else HashCode(group, number, facts)
