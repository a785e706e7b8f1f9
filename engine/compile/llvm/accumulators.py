"""What aggregates keep per group while rows go by, and the code that adds a row to it.

SUM, AVG, MIN, MAX, COUNT and FIRST come down to five kinds of accumulator; equal ones are kept once
(AVG and SUM of one expression share the sum and the count).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from foveal.engine.compile.llvm import floats
from foveal.engine.compile.llvm.cells import Cell, Facts, Unsupported, bits_for
from foveal.engine.compile.llvm.row import Row
from foveal.engine.compile.llvm.text import Function, Value, integer, number
from foveal.planner.ir.nodes import Expr
from foveal.planner.ir.program import Fold
from foveal.planner.ir.types import Float

Kind: TypeAlias = Literal["count", "sum", "float_sum", "min", "max"]

MORSEL_ROWS = 1 << 16
"""Rows that a thread takes at a time: partial sums of so many must fit 64 bits."""
PARTIAL_LIMIT = (1 << 62) // MORSEL_ROWS
"""Magnitude up to which sums are kept in 64 bits within a morsel."""
LEAST, GREATEST = -(1 << 63), (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Accumulator:
    """One running value. `bound`: the greatest magnitude of what a sum adds."""

    kind: Kind
    operand: Expr | None
    bound: int = 0

    @property
    def partial(self) -> bool:
        """Whether a sum is kept in 64 bits and added to 128 now and then."""
        return self.kind == "sum" and self.bound <= PARTIAL_LIMIT

    @property
    def words(self) -> int:
        """64-bit words of a final value in memory."""
        return 2 if self.kind == "sum" else 1


@dataclass(frozen=True, slots=True)
class Output:
    """A result column: which accumulators it is made of."""

    name: str
    fold: Fold
    value: int
    count: int


@dataclass(slots=True)
class FoldPlan:
    """The accumulators of a builder's folds, and the results they make."""

    accumulators: list[Accumulator] = field(default_factory=list[Accumulator])
    outputs: list[Output] = field(default_factory=list[Output])

    def index(self, accumulator: Accumulator) -> int:
        """Return an accumulator's place, adding it when it is new."""
        if accumulator not in self.accumulators:
            self.accumulators.append(accumulator)
        return self.accumulators.index(accumulator)


def plan_folds(fields: tuple[tuple[str, Fold], ...], facts: Facts) -> FoldPlan:
    """Return what the folds keep.

    Raises:
        Unsupported: a fold without code.
    """
    plan = FoldPlan()
    for name, fold in fields:
        x = fold.operand
        matters = x is not None and (
            facts.nullable(x) or (fold.op == "count" and facts.can_raise(x))
        )
        counted = x if matters else None
        count = plan.index(Accumulator("count", counted))
        value = count if x is None or fold.op == "count" else plan.index(_valued(fold, x, facts))
        plan.outputs.append(Output(name, fold, value, count))
    return plan


def _valued(fold: Fold, x: Expr, facts: Facts) -> Accumulator:
    """Return the accumulator of a fold other than COUNT."""
    if fold.op in ("sum", "avg"):
        if isinstance(x.type, Float):
            return Accumulator("float_sum", x)
        low, high = facts.range(x) or (0, 1)
        return Accumulator("sum", x, max(-low, high))
    if not isinstance(x.type, Float):
        low, high = facts.range(x) or (0, 1)
        if bits_for(low, high) > 64:
            raise Unsupported(f"{fold.op} of 128-bit integers")
    # FIRST may be any valid value: the greatest keeps the loop free of a dependence between rows.
    return Accumulator("min" if fold.op == "min" else "max", x)


def operands(plan: FoldPlan) -> list[Expr]:
    """Return the expressions that the accumulators read."""
    return list(dict.fromkeys(a.operand for a in plan.accumulators if a.operand is not None))


# --- code ---------------------------------------------------------------------------------------


def register_type(accumulator: Accumulator) -> str:
    """Return the LLVM type that runs along in a register."""
    if accumulator.kind == "float_sum":
        return "double"
    return "i128" if accumulator.kind == "sum" and not accumulator.partial else "i64"


def identity(accumulator: Accumulator) -> Value:
    """Return what an accumulator starts from."""
    match accumulator.kind:
        case "float_sum":
            return number(0.0)
        case "min":
            return integer(GREATEST)
        case "max":
            return integer(LEAST)
        case _:
            return integer(0, register_type(accumulator))


def contribution(row: Row, accumulator: Accumulator, keep: Value) -> Value:
    """Return what a row adds: the accumulator's identity where it is not kept or is NULL."""
    f = row.f
    if accumulator.operand is None:
        return f.resize(keep, "i64", signed=False)
    cell = row.cell(accumulator.operand, keep)
    counts = row.both(keep, cell.valid)
    if accumulator.kind == "count":
        return f.resize(counts, "i64", signed=False)
    value = _wide(row, accumulator, cell)
    return f.select(counts, value, identity(accumulator))


def _wide(row: Row, accumulator: Accumulator, cell: Cell) -> Value:
    """Return a cell's value in the accumulator's type; extremes of floats as keys that sort."""
    f = row.f
    assert accumulator.operand is not None
    if isinstance(accumulator.operand.type, Float):
        if accumulator.kind == "float_sum":
            return floats.as_double(f, cell.value)
        return floats.order_key(f, cell.value)
    return f.resize(cell.value, register_type(accumulator), signed=cell.value.type != "i1")


def added(f: Function, accumulator: Accumulator, before: Value, contributed: Value) -> Value:
    """Return an accumulator with a contribution in it."""
    match accumulator.kind:
        case "float_sum":
            # SQL fixes no order of a sum: any may be taken, here and nowhere else.
            return f.emit("double", f"fadd reassoc nsz {before}, {contributed.text}")
        case "min" | "max":
            return f.call("i64", f"llvm.s{accumulator.kind}.i64", before, contributed)
        case _:
            return f.op("add", before, contributed)


def wrapped(f: Function, before: Value, contributed: Value, after: Value) -> Value:
    """Return whether a 128-bit sum went beyond 128 bits."""
    moved = f.op("xor", before, after)
    return f.compare(
        "slt", f.op("and", moved, f.op("xor", contributed, after)), integer(0, before.type)
    )


def may_wrap(accumulator: Accumulator) -> bool:
    """Say whether 128 bits may not do for a sum over any table."""
    return accumulator.kind == "sum" and accumulator.bound >= 1 << 80
