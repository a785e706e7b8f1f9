"""Aggregates in their plainest form, so that siblings share what they keep.

COUNT(x) of what is never NULL is COUNT(*); COUNT of a strict expression counts its column; SUM and
AVG look through casts that lose nothing. AVG and SUM of one expression share the sum and
the count in generated code, which keeps equal accumulators once.
"""

from __future__ import annotations

from dataclasses import replace

from foveal.planner.ir import nodes, program, typing
from foveal.planner.ir.inference import Inference
from foveal.planner.ir.nodes import Binary, Cast, Expr, Unary
from foveal.planner.ir.passes.trees import mapped_loops
from foveal.planner.ir.program import Fold
from foveal.planner.ir.types import Decimal, Int


def simplify_sums(whole: program.Program) -> program.Program:
    """Return the program with plainer aggregates."""

    def one(loop: program.Loop, inference: Inference) -> program.Loop:
        match loop.builder:
            case program.Struct(fields=fields) | program.Group(fields=fields):
                made = tuple((name, _plain(fold, inference)) for name, fold in fields)
                return replace(loop, builder=replace(loop.builder, fields=made))
            case _:
                return loop

    return mapped_loops(whole, one)


def _plain(fold: Fold, inference: Inference) -> Fold:
    x = fold.operand
    if x is None or inference.facts(x).can_raise:
        return fold
    if fold.op == "count":
        if not inference.facts(x).nullable:
            return typing.fold("count")
        return typing.fold("count", _counted(x, inference))
    if fold.op in ("sum", "avg"):
        while isinstance(x, Cast) and _same_number(x):
            x = x.operand
        return Fold(fold.op, x, fold.type)
    return fold


def _same_number(node: Cast) -> bool:
    """Say whether a cast, which does not raise, keeps the stored integer and its scale."""
    match node.operand.type, node.type:
        case Int(), Int():
            return True
        case Decimal(scale=a), Decimal(scale=b):
            return a == b
        case _:
            return False


def _counted(x: Expr, inference: Inference) -> Expr:
    """Return the part of an expression that alone makes it NULL."""
    strict = (
        *nodes.ARITHMETIC, *nodes.DIVISION, *nodes.COMPARISONS, *nodes.IEEE_COMPARISONS,
        *nodes.BITS, *nodes.FLOATING,
    )  # fmt: skip
    match x:
        case Cast(operand=part):
            return _counted(part, inference)
        case Unary(op=op, operand=part) if op != "is_null":
            return _counted(part, inference)
        case Binary(op=op) if op in strict:
            parts = [p for p in (x.left, x.right) if inference.facts(p).nullable]
            if len(set(parts)) == 1:
                return _counted(parts[0], inference)
            return x
        case _:
            return x
