"""What an expression costs per row, and what share of rows a filter lets pass, by ranges alone.

Values are taken to be spread evenly over their ranges, and columns to be independent; comparisons
of one column with constants are joined into one interval first. Rough, as choices between ways to
run a loop need no more.
"""

from __future__ import annotations

from collections.abc import Iterable

from foveal.planner.ir.inference import Inference
from foveal.planner.ir.nodes import (
    ARITHMETIC,
    COMPARISONS,
    FLOATING,
    PARTS,
    Binary,
    Cast,
    Check,
    Expr,
    Iterate,
    Literal,
    Lookup,
    Predict,
    Select,
    Unary,
)
from foveal.planner.ir.passes.narrow import FLIPPED
from foveal.planner.ir.passes.trees import conjuncts, nodes_of
from foveal.planner.ir.types import Float, Int, physical

UNKNOWN = 1 / 3
"""Share of rows that pass a condition of which nothing is known."""
EQUAL = 0.05
"""Share of rows that equal something of which nothing is known."""
NULLS = 0.05
"""Share of NULLs in what can be NULL."""
_CHEAP = frozenset(
    ("neg", "abs", "not", "is_null", "sign", "is_nan", "is_inf", "floor", "ceil", "trunc", "round")
)


def cost(expressions: Iterable[Expr]) -> float:
    """Return about how many cycles a row's expressions take, each distinct one counted once."""
    return sum(_own(node) for node in nodes_of(*expressions))


def _own(node: Expr) -> float:
    """Return the cycles of one operator."""
    match node:
        case Binary(op=op) if op in COMPARISONS:
            return 1.0
        case Binary(op=op) if op in ARITHMETIC:
            machine = physical(node.type)
            wide = isinstance(machine, Int) and machine.bits > 64
            return 6.0 if wide else 1.0
        case Binary(op=op) if op in ("idiv", "mod"):
            return 20.0
        case Binary(op="div"):
            return 4.0
        case Binary(op=op) if op in FLOATING:
            return 60.0
        case Unary(op=op) if op in PARTS:
            return 12.0
        case Unary(op=op):
            return 1.0 if op in _CHEAP else 5.0 if op == "sqrt" else 25.0
        case Cast():
            narrows = isinstance(node.operand.type, Float) != isinstance(node.type, Float)
            return 2.0 if narrows else 0.5
        case Lookup():
            return 4.0
        case Select() | Check():
            return 1.0
        case Iterate():
            return 100.0
        case Predict():
            return 500.0
        case _:
            return 0.0


def share(condition: Expr | None, inference: Inference) -> float:
    """Return about what share of the rows a filter lets pass, in 0 .. 1."""
    if condition is None:
        return 1.0
    intervals: dict[Expr, tuple[float, float]] = {}
    out = 1.0
    for term in dict.fromkeys(conjuncts(condition)):
        interval = _interval(term, inference)
        if interval is None:
            out *= _term(term, inference)
            continue
        x, low, high = interval
        known = intervals.get(x, (-float("inf"), float("inf")))
        intervals[x] = max(known[0], low), min(known[1], high)
    for x, (low, high) in intervals.items():
        out *= _within(x, low, high, inference)
    return min(max(out, 0.0), 1.0)


def _interval(term: Expr, inference: Inference) -> tuple[Expr, float, float] | None:
    """Return the expression that a comparison keeps within an interval, and the interval."""
    if not isinstance(term, Binary) or term.op not in FLIPPED or term.op == "ne":
        return None
    op, x, value = term.op, term.left, term.right
    if isinstance(x, Literal):
        op, x, value = FLIPPED[op], value, x
    if not isinstance(value, Literal) or value.value is None or isinstance(x.type, Float):
        return None
    at = float(value.value)
    match op:
        case "lt":
            return x, -float("inf"), at - 1
        case "le":
            return x, -float("inf"), at
        case "gt":
            return x, at + 1, float("inf")
        case "ge":
            return x, at, float("inf")
        case _:
            return x, at, at


def _within(x: Expr, low: float, high: float, inference: Inference) -> float:
    """Return the share of values within an interval."""
    facts = inference.facts(x)
    least, greatest = facts.interval
    inside = min(high, float(greatest)) - max(low, float(least)) + 1
    out = max(inside, 0.0) / (float(greatest) - float(least) + 1)
    return out * (1 - NULLS * facts.nullable)


def _term(term: Expr, inference: Inference) -> float:
    """Return the share of rows for which a condition is true."""
    facts = inference.facts(term)
    if facts.always:
        return 1.0
    if facts.never:
        return 0.0
    match term:
        case Binary(op="and"):
            return share(term, inference)
        case Binary(op="or"):
            return 1 - (1 - share(term.left, inference)) * (1 - share(term.right, inference))
        case Binary(op="eq" | "feq"):
            return EQUAL
        case Binary(op="ne" | "fne"):
            return 1 - EQUAL
        case Unary(op="not"):
            return 1 - share(term.operand, inference)
        case Unary(op="is_null"):
            return NULLS
        case _:
            return UNKNOWN
