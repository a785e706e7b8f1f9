"""Loops within a row that differ in their results only are one loop in machine code."""

import pyarrow as pa

from foveal.engine.compile.arrow import column_data
from foveal.engine.compile.data import Inputs, SourceData
from foveal.engine.compile.interpreter import interpret
from foveal.engine.compile.llvm.kernel import module_text
from foveal.engine.compile.llvm.planning import plan_program
from foveal.engine.compile.runtime import CompiledRunner
from foveal.planner.ir import typing as ir
from foveal.planner.ir.nodes import Column as Read
from foveal.planner.ir.nodes import Expr, Iterate, Literal, Variable
from foveal.planner.ir.program import Append, Column, Loop, Program, Source
from foveal.planner.ir.types import I64


def steps(n: Expr, result: str, by: int = 1) -> Iterate:
    """Return `i` or `total` after counting to n, adding i up."""
    i, total = Variable("i", I64), Variable("total", I64)
    zero = Literal(0, I64)
    return Iterate(
        (i, total), (zero, zero), ir.binary("lt", i, n),
        (ir.binary("add", i, Literal(by, I64)), ir.binary("add", total, i)),
        {"i": i, "total": total}[result], I64,
    )  # fmt: skip


def test_one_loop_for_several_results() -> None:
    n = Read("n", I64)
    fields = (("i", steps(n, "i")), ("total", steps(n, "total")), ("odd", steps(n, "i", 2)))
    source = Source("t", (Column("n", I64, I64, nullable=True),))
    program = Program("p", (source,), (Loop("out", "t", Append(fields)),), ("out",))
    alone = Program("p", (source,), (Loop("out", "t", Append(fields[:1])),), ("out",))

    def loops(of: Program) -> int:
        text = module_text(plan_program(of))
        return sum(line.startswith("turn") for line in text.split("\n"))

    assert loops(alone) > 0
    assert loops(program) == 2 * loops(alone)
    data = column_data(pa.array([0, 5, None, 9]), I64)
    inputs = Inputs({"t": SourceData(4, {"n": data})})
    found = CompiledRunner(1)(program, inputs, lambda: None)["out"].to_pylist()
    assert found == interpret(program, inputs, lambda: None)["out"].to_pylist()
    assert found[1] == {"i": 5, "total": 10, "odd": 6}
