"""Comparisons in the type of the column: casts that lose nothing are taken off both sides.

`l_discount as decimal(16,4) >= 0.0500` becomes `l_discount >= 0.05`, a date that was cast to a
timestamp is compared as a date. Arithmetic needs no rewriting: code generation takes the narrowest
machine type that ranges prove for every operator, casts between integers cost nothing there.
"""

from __future__ import annotations

from foveal.planner.ir import program, typing
from foveal.planner.ir.inference import Inference
from foveal.planner.ir.intervals import DAY
from foveal.planner.ir.nodes import COMPARISONS, Binary, Cast, Expr, Literal
from foveal.planner.ir.passes.trees import Rewriter, mapped_loop, mapped_loops
from foveal.planner.ir.types import BOOL, Bool, Date, Decimal, Int, Timestamp, limits

FLIPPED = {"eq": "eq", "ne": "ne", "lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}


def narrow(whole: program.Program) -> program.Program:
    """Return the program with comparisons as narrow as what they compare."""

    def one(loop: program.Loop, inference: Inference) -> program.Loop:
        return mapped_loop(loop, Rewriter(lambda x: _compared(x, inference)))

    return mapped_loops(whole, one)


def _compared(node: Expr, inference: Inference) -> Expr:
    """Return a comparison without its casts."""
    if not isinstance(node, Binary) or node.op not in COMPARISONS:
        return node
    if isinstance(node.left, Literal) and isinstance(node.right, Cast):
        return _compared(Binary(FLIPPED[node.op], node.right, node.left, BOOL), inference)
    x = node.left
    factor = _factor(x, inference)
    if factor is None or not isinstance(x, Cast):
        return node
    if isinstance(node.right, Literal) and node.right.value is not None:
        return _with_constant(node, x.operand, int(node.right.value), factor)
    y = node.right
    if isinstance(y, Cast) and _factor(y, inference) == factor and y.operand.type == x.operand.type:
        return Binary(node.op, x.operand, y.operand, BOOL)
    return node


def _factor(node: Expr, inference: Inference) -> int | None:
    """Return by how much a cast multiplies stored integers; None: it does more, or can raise."""
    if not isinstance(node, Cast) or inference.facts(node).checked:
        return None
    from_, to = node.operand.type, node.type
    match from_, to:
        case Int(), Int():
            return 1
        case Int() | Decimal(), Int() | Decimal():
            scales = [t.scale if isinstance(t, Decimal) else 0 for t in (from_, to)]
            return 10 ** (scales[1] - scales[0]) if scales[1] >= scales[0] else None
        case Date(), Timestamp():
            return DAY
        case _:
            return None


def _with_constant(node: Binary, x: Expr, value: int, factor: int) -> Expr:
    """Return `x * factor op value` as a comparison of x alone."""
    down, exact = value // factor, value % factor == 0
    op = node.op
    if not exact:
        # No x equals the constant: ranges cannot always say so, so equality stays as it is.
        if op in ("eq", "ne"):
            return node
        op = {"lt": "le", "le": "le", "gt": "gt", "ge": "gt"}[op]
    low, high = limits(x.type)
    if not low <= down <= high or isinstance(x.type, Bool):
        return node
    return Binary(op, x, typing.literal(down, x.type), BOOL)
