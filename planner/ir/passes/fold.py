"""Constants folded, comparisons that ranges decide, identities that hold for every value.

Floats keep every bit: no identity is used that -0.0 or NaN would break.
"""

from __future__ import annotations

import math
from dataclasses import replace

from foveal.planner.ir import program, typing
from foveal.planner.ir.inference import Inference
from foveal.planner.ir.nodes import (
    COMPARISONS,
    FALSE,
    TRUE,
    Binary,
    Cast,
    Check,
    Coalesce,
    Expr,
    Literal,
    Select,
    Unary,
)
from foveal.planner.ir.passes.trees import Rewriter, mapped_loop, mapped_loops
from foveal.planner.ir.types import (
    BOOL,
    F64,
    Bool,
    Date,
    Decimal,
    Float,
    Int,
    Timestamp,
    limits,
)

OPPOSITES = {"eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "gt": "le", "le": "gt"}
EXACT = 1 << 53
"""Integers up to this are doubles exactly."""
_EXACT_POWER = 22
"""Powers of ten up to this exponent are doubles exactly."""


def fold(whole: program.Program) -> program.Program:
    """Return the program with what is known before it runs computed."""
    return mapped_loops(whole, _folded)


def _folded(loop: program.Loop, inference: Inference) -> program.Loop:
    folder = _Folder(inference)
    expression = Rewriter(folder.node)
    made = mapped_loop(loop, expression, lambda x: folder.condition(expression(x)))
    return replace(made, where=None) if made.where == TRUE else made


class _Folder:
    """Folds nodes whose operands are folded."""

    def __init__(self, inference: Inference) -> None:
        self.inference = inference

    def raises(self, node: Expr) -> bool:
        return self.inference.facts(node).can_raise

    def nullable(self, node: Expr) -> bool:
        return self.inference.facts(node).nullable

    def node(self, node: Expr) -> Expr:
        """Return what a node can be replaced by for every row, raising where it does."""
        if isinstance(node, Literal):
            return node
        facts = self.inference.facts(node)
        if facts.constant is not None and not facts.can_raise and facts.constant.type == node.type:
            return facts.constant
        match node:
            case Unary():
                return self.unary(node)
            case Binary(op="and" | "or"):
                return self.logic(node)
            case Binary():
                return self.binary(node)
            case Cast():
                return self.cast(node)
            case Select():
                return self.select(node)
            case Coalesce():
                return self.coalesce(node)
            case Check():
                held = self.inference.facts(node.condition)
                if held.always and not held.can_raise:
                    return node.value
                condition = self.condition(node.condition)
                return Check(condition, node.value, node.message, node.type)
            case _:
                return node

    def unary(self, node: Unary) -> Expr:
        """Take double negations away, and NOT into comparisons."""
        x = node.operand
        if isinstance(x, Unary) and x.op == node.op == "not":
            return x.operand
        if isinstance(x, Unary) and x.op == node.op == "neg":
            inner = self.inference.facts(x)
            return node if inner.checked else x.operand
        if isinstance(x, Unary) and x.op == node.op == "abs":
            return x
        if node.op == "not" and isinstance(x, Binary) and x.op in COMPARISONS:
            return Binary(OPPOSITES[x.op], x.left, x.right, BOOL)
        return node

    def logic(self, node: Binary) -> Expr:
        """Take out sides that decide, or that say nothing."""
        decides, neutral = (FALSE, TRUE) if node.op == "and" else (TRUE, FALSE)
        if node.left in (decides, neutral):
            return node.right if node.left == neutral else decides
        if node.right == neutral or node.left == node.right:
            return node.left
        if node.right == decides and not self.raises(node.left):
            return decides
        return node

    def binary(self, node: Binary) -> Expr:
        """Apply identities of whole numbers; compute what has only constants of doubles."""
        a, b = node.left, node.right
        if isinstance(node.type, Float):
            return self.doubles(node)
        if node.op in ("least", "greatest") and a == b:
            return a
        if isinstance(node.type, Date | Timestamp | Bool):
            return node
        if node.op in ("add", "sub") and _is(b, 0) and _keeps(a, node):
            return typing.cast(a, node.type)
        if node.op == "add" and _is(a, 0) and _keeps(b, node):
            return typing.cast(b, node.type)
        if node.op == "mul":
            for x, other in ((a, b), (b, a)):
                one = isinstance(other.type, Int) or _scale(other) == 0
                if one and _is(other, 1) and _keeps(x, node):
                    return typing.cast(x, node.type)
        if node.op == "idiv" and _is(b, 1):
            return a
        if node.op in ("bitor", "bitxor", "shl", "shr") and _is(b, 0):
            # A shift of a negative number to the left raises.
            return node if node.op == "shl" and self.raises(node) else a
        return node

    def doubles(self, node: Binary) -> Expr:
        """Return the IEEE result of two constants, where it is finite."""
        a, b = node.left, node.right
        if not (isinstance(a, Literal) and isinstance(b, Literal) and node.type == F64):
            return node
        if a.value is None or b.value is None:
            return node
        x, y = float(a.value), float(b.value)
        match node.op:
            case "add":
                made = x + y
            case "sub":
                made = x - y
            case "mul":
                made = x * y
            case "div" if y != 0:
                made = x / y
            case _:
                return node
        return Literal(made, F64) if math.isfinite(made) else node

    def cast(self, node: Cast) -> Expr:
        """Take out casts whose operand another cast made without a loss."""
        x = node.operand
        if isinstance(x, Literal) and x.value is not None and node.type == F64:
            return self.literal_double(node, x)
        if isinstance(x, Cast) and self.lossless(x) and typing.casts(x.operand.type, node.type):
            return typing.cast(x.operand, node.type)
        return node

    def literal_double(self, node: Cast, x: Literal) -> Expr:
        """Return a constant as a double, where one division gives it."""
        assert x.value is not None
        if isinstance(x.type, Float):
            return Literal(float(x.value), F64)
        scale = x.type.scale if isinstance(x.type, Decimal) else 0
        if abs(int(x.value)) > EXACT or scale > _EXACT_POWER:
            return node
        if isinstance(x.type, Date | Timestamp):
            return node
        return Literal(int(x.value) / float(10**scale), F64)

    def lossless(self, node: Cast) -> bool:
        """Say whether a cast keeps every value as the same number, and never raises."""
        facts = self.inference.facts(node)
        if facts.checked:
            return False
        from_, to = node.operand.type, node.type
        match from_, to:
            case Int() | Bool(), Int() | Decimal():
                return True
            case Decimal(scale=s), Decimal(scale=t):
                return t >= s
            case Decimal(scale=s), Int():
                return s == 0
            case Float(bits=a), Float(bits=b):
                return b >= a
            case Int(), Float(bits=64):
                low, high = self.inference.facts(node.operand).interval
                return low >= -EXACT and high <= EXACT
            case Date(), Timestamp():
                return True
            case _:
                return False

    def select(self, node: Select) -> Expr:
        """Take the arm that is always taken; conditions as they are."""
        held = self.inference.facts(node.condition)
        if not held.can_raise:
            if held.always:
                return node.yes
            if held.never:
                return node.no
            if node.yes == node.no:
                return node.yes
        condition = self.condition(node.condition)
        if node.yes == TRUE and node.no == FALSE and not self.nullable(condition):
            return condition
        return Select(condition, node.yes, node.no, node.type)

    def coalesce(self, node: Coalesce) -> Expr:
        """Drop operands that are NULL, and those after one that never is."""
        kept: list[Expr] = []
        for x in node.operands:
            if x not in kept and not (isinstance(x, Literal) and x.value is None):
                kept.append(x)
            if not self.nullable(x):
                break
        if not kept:
            return Literal(None, node.type)
        return kept[0] if len(kept) == 1 else Coalesce(tuple(kept), node.type)

    # --- where NULL is as good as false ----------------------------------------------------------

    def condition(self, node: Expr) -> Expr:
        """Return what is true for the same rows; it may be false where the other is NULL."""
        if isinstance(node, Binary) and node.op in ("and", "or"):
            # Where the left side were no longer NULL, the right one would not be evaluated.
            left = node.left if self.raises(node.right) else self.condition(node.left)
            right = self.condition(node.right)
            if left is node.left and right is node.right:
                return node
            return self.node(Binary(node.op, left, right, BOOL))
        facts = self.inference.facts(node)
        if facts.can_raise:
            return node
        if facts.never:
            return FALSE
        if isinstance(node, Coalesce) and node.operands[1:] == (FALSE,):
            return self.condition(node.operands[0])
        if isinstance(node, Select) and (node.yes, node.no) == (TRUE, FALSE):
            return self.condition(node.condition)
        if facts.low == 1 and isinstance(node, Binary) and node.op in COMPARISONS:
            # True wherever it is not NULL.
            present = [
                typing.unary("not", typing.unary("is_null", x))
                for x in dict.fromkeys((node.left, node.right))
                if self.nullable(x)
            ]
            return typing.both(*present)
        return node


def _is(node: Expr, value: int) -> bool:
    return isinstance(node, Literal) and node.value is not None and node.value == value


def _scale(node: Expr) -> int:
    return node.type.scale if isinstance(node.type, Decimal) else 0


def _keeps(x: Expr, node: Binary) -> bool:
    """Say whether an operand is of the result's kind, with a type that holds no more values."""
    if isinstance(x.type, Int):
        return x.type == node.type
    if not (isinstance(x.type, Decimal) and isinstance(node.type, Decimal)):
        return False
    held, given = limits(node.type), limits(x.type)
    return x.type.scale == node.type.scale and held[0] <= given[0] and given[1] <= held[1]
