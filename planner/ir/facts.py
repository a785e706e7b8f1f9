"""What is known of a value: bounds, NULLs, whether it can raise, whether it is constant.

One rule per operator, from what is known of its operands; `inference` applies them to whole
expressions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from foveal.planner.ir import intervals
from foveal.planner.ir.intervals import Interval
from foveal.planner.ir.nodes import (
    COMPARISONS,
    LOGIC,
    PARTS,
    SELECTING,
    Binary,
    Literal,
    Unary,
)
from foveal.planner.ir.types import (
    BOOL,
    Bool,
    Date,
    Decimal,
    Float,
    Int,
    Timestamp,
    Type,
    limits,
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What holds of an expression's value.

    `low`, `high`: bounds of the stored integers of valid values (bools 0 and 1); None for floats.
    `nullable`: it can be NULL. `checked`: its own operator can raise. `can_raise`: it or anything
    under it can. `constant`: the value it has unless it raises; None: not known.
    """

    low: int | None
    high: int | None
    nullable: bool = False
    checked: bool = False
    can_raise: bool = False
    constant: Literal | None = None

    @property
    def interval(self) -> Interval:
        """The bounds of a value that has integers."""
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high

    @property
    def always(self) -> bool:
        """Whether a condition is true for every row."""
        return self.low == 1 and not self.nullable

    @property
    def never(self) -> bool:
        """Whether a condition is true for no row: false or NULL."""
        return self.high == 0 or (self.constant is not None and self.constant.value is None)


def ranged(
    type_: Type,
    low: int | None = None,
    high: int | None = None,
    *,
    nullable: bool = False,
) -> Facts:
    """Return the facts of a value with bounds; None: those of its type."""
    if isinstance(type_, Float):
        return Facts(None, None, nullable)
    least, greatest = limits(type_)
    return settled(
        type_, (least if low is None else low, greatest if high is None else high), nullable
    )


def settled(
    type_: Type, bounds: Interval | None, nullable: bool, checked: bool = False, below: bool = False
) -> Facts:
    """Return facts, with the constant that equal bounds make."""
    if bounds is None:
        return Facts(None, None, nullable, checked, checked or below)
    constant = None
    if bounds[0] == bounds[1] and not nullable:
        value = bool(bounds[0]) if isinstance(type_, Bool) else bounds[0]
        constant = Literal(value, type_)
    return Facts(bounds[0], bounds[1], nullable, checked, checked or below, constant)


def of_literal(node: Literal) -> Facts:
    """Return the facts of a constant."""
    if node.value is None:
        bounds = (None, None) if isinstance(node.type, Float) else (0, 0)
        return Facts(*bounds, nullable=True, constant=node)
    if isinstance(node.type, Float):
        return Facts(None, None, constant=node)
    return Facts(int(node.value), int(node.value), constant=node)


def joined(type_: Type, *parts: Facts) -> Facts:
    """Return what holds of a value that is one of several."""
    kept = [p for p in parts if p.constant is None or p.constant.value is not None]
    nullable = any(p.nullable for p in parts)
    below = any(p.can_raise for p in parts)
    if not kept:
        return replace(parts[0], checked=False, can_raise=below)
    if isinstance(type_, Float):
        same = kept[0].constant if len({p.constant for p in parts}) == 1 else None
        return Facts(None, None, nullable, False, below, same)
    return settled(type_, intervals.union(*(p.interval for p in kept)), nullable, below=below)


def of_unary(node: Unary, x: Facts) -> Facts:
    """Return the facts of a unary operator or a part of a date."""
    from_ = node.operand.type
    op = node.op
    if op == "is_null":
        certain = x.constant is not None and x.constant.value is None
        bounds = (1, 1) if certain else (0, 1) if x.nullable else (0, 0)
        return settled(BOOL, bounds, nullable=False, below=x.can_raise)
    if x.constant is not None and x.constant.value is None:
        return replace(of_literal(Literal(None, node.type)), can_raise=x.can_raise)
    if isinstance(from_, Float):
        bounds = (0, 1) if node.type == BOOL else (-1, 1) if op == "sign" else None
        return settled(node.type, bounds, x.nullable, below=x.can_raise)
    checked = False
    if op in PARTS:
        bounds = intervals.part(op, x.interval, from_)
        checked = not intervals.within(x.interval, intervals.finite_limits(from_))
    elif op == "not":
        bounds = (1 - x.interval[1], 1 - x.interval[0])
    elif op == "sign":
        bounds = intervals.sign(x.interval)
    else:
        bounds = (intervals.negated if op == "neg" else intervals.magnitude)(x.interval)
        checked = not intervals.within(bounds, limits(node.type))
        bounds = intervals.clipped(bounds, limits(node.type))
    return settled(node.type, bounds, x.nullable, checked, x.can_raise)


def of_binary(node: Binary, a: Facts, b: Facts) -> Facts:
    """Return the facts of a binary operator."""
    op, left = node.op, node.left.type
    below, nullable = a.can_raise or b.can_raise, a.nullable or b.nullable
    if op in LOGIC:
        return _logic(op, a, b)
    if op in SELECTING:
        return _selecting(node, a, b)
    if any(x.constant is not None and x.constant.value is None for x in (a, b)):
        return replace(of_literal(Literal(None, node.type)), can_raise=below)
    if isinstance(left, Float):
        return settled(node.type, (0, 1) if node.type == BOOL else None, nullable, below=below)
    if op in COMPARISONS:
        truth = intervals.decided(op, a.interval, b.interval)
        bounds = (0, 1) if truth is None else (int(truth), int(truth))
        return settled(BOOL, bounds, nullable, below=below)
    if op in ("shl", "shr"):
        assert isinstance(node.type, Int)
        checked = False
        if op == "shl":
            bounds, checked = intervals.shifted_left(a.interval, b.interval, node.type)
        else:
            bounds = intervals.shifted_right(a.interval, b.interval, node.type)
        return settled(node.type, bounds, nullable, checked, below)
    bounds = intervals.ARITHMETIC[op](a.interval, b.interval)
    outer = intervals.finite_limits(node.type)
    checked = not intervals.within(bounds, outer)
    if op in ("idiv", "mod"):
        quotient = intervals.ARITHMETIC["idiv"](a.interval, b.interval)
        overflows = not intervals.within(quotient, limits(node.type))
        checked = b.interval[0] <= 0 <= b.interval[1] or overflows
    for x, type_ in ((a, left), (b, node.right.type)):
        if isinstance(type_, Date | Timestamp):
            checked |= not intervals.within(x.interval, intervals.finite_limits(type_))
    return settled(node.type, intervals.clipped(bounds, outer), nullable, checked, below)


def _logic(op: str, a: Facts, b: Facts) -> Facts:
    """Return the facts of three-valued AND or OR."""
    pick = min if op == "and" else max
    bounds = (pick(a.interval[0], b.interval[0]), pick(a.interval[1], b.interval[1]))
    null_a, null_b = (x.constant is not None and x.constant.value is None for x in (a, b))
    if null_a or null_b:
        # NULL AND x is NULL or false; NULL OR x is NULL or true.
        bounds = (0, 0) if op == "and" else (1, 1)
    decides = 0 if op == "and" else 1
    settled_a, settled_b = (x.interval == (decides, decides) and not x.nullable for x in (a, b))
    nullable = (a.nullable or b.nullable) and not (settled_a or settled_b)
    below = a.can_raise or (b.can_raise and not settled_a)
    if settled_a or settled_b:
        bounds = (decides, decides)
    elif null_a and null_b:
        return replace(of_literal(Literal(None, BOOL)), can_raise=below)
    return settled(BOOL, bounds, nullable, below=below)


def _selecting(node: Binary, a: Facts, b: Facts) -> Facts:
    """Return the facts of LEAST or GREATEST, which pass NULLs over."""
    below, nullable = a.can_raise or b.can_raise, a.nullable and b.nullable
    for x, other in ((a, b), (b, a)):
        if x.constant is not None and x.constant.value is None:
            return replace(other, checked=False, can_raise=below)
    if isinstance(node.type, Float):
        return Facts(None, None, nullable, False, below)
    pick = min if node.op == "least" else max
    both = (pick(a.interval[0], b.interval[0]), pick(a.interval[1], b.interval[1]))
    alone = [x.interval for x, other in ((a, b), (b, a)) if other.nullable]
    return settled(node.type, intervals.union(both, *alone), nullable, below=below)


def of_cast(x: Facts, from_: Type, to: Type) -> Facts:
    """Return the facts of a cast."""
    if x.constant is not None and x.constant.value is None:
        return replace(of_literal(Literal(None, to)), can_raise=x.can_raise)
    if isinstance(to, Float):
        checked = isinstance(from_, Float) and to.bits < from_.bits
        return settled(to, None, x.nullable, checked, x.can_raise)
    if isinstance(from_, Float):
        checked = not isinstance(to, Bool)
        return settled(to, limits(to), x.nullable, checked, x.can_raise)
    if isinstance(to, Bool):
        truth = intervals.decided("ne", x.interval, (0, 0))
        bounds = (0, 1) if truth is None else (int(truth), int(truth))
        return settled(to, bounds, x.nullable, below=x.can_raise)
    checked = False
    if isinstance(from_, Date | Timestamp):
        checked = not intervals.within(x.interval, intervals.finite_limits(from_))
        scale = intervals.DAY
        low, high = intervals.clipped(x.interval, intervals.finite_limits(from_))
        bounds = (
            (low * scale, high * scale)
            if isinstance(from_, Date)
            else (low // scale, high // scale)
        )
    else:
        scales = [t.scale if isinstance(t, Decimal) else 0 for t in (from_, to)]
        bounds = intervals.rescaled(x.interval, scales[0], scales[1])
    outer = intervals.finite_limits(to)
    checked = checked or not intervals.within(bounds, outer)
    return settled(to, intervals.clipped(bounds, outer), x.nullable, checked, x.can_raise)
