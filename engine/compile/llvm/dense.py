"""Code of `Group` over bounded keys: a record per combination of keys, in each thread's own table.

NULL is the last place of its key. Rows that do not pass go to a spare record: adding to it is
cheaper than a branch. Sums of small values are kept in 64 bits and flushed before they overflow.
"""

from __future__ import annotations

from dataclasses import dataclass

from foveal.engine.compile.llvm.accumulators import (
    Accumulator,
    FoldPlan,
    added,
    contribution,
    may_wrap,
    plan_folds,
    register_type,
    wrapped,
)
from foveal.engine.compile.llvm.builders import PlainCode
from foveal.engine.compile.llvm.cells import Facts, Flag, Unsupported, bits_for, is_float
from foveal.engine.compile.llvm.row import Row
from foveal.engine.compile.llvm.text import TRUE, Function, Value, integer
from foveal.planner.ir.program import Group, Key

MAX_BYTES = 1 << 26
"""Of one thread's table."""
FLUSH_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True)
class DenseKey:
    """A key's places: `size` of them from `low` on, the last for NULL where it can be."""

    key: Key
    low: int
    size: int
    nullable: bool


class DenseCode(PlainCode):
    """A table of records. The state: totals of partial sums [slots + 1], then records."""

    branches = False

    def __init__(self, group: Group, number: int, facts: Facts) -> None:
        """Lay out the table.

        Raises:
            Unsupported: a key without bounds, or too many combinations.
        """
        self.keys = [_dense_key(key, facts) for key in group.keys]
        self.plan: FoldPlan = plan_folds(group.fields, facts)
        self.presence = self.plan.index(Accumulator("count", None))
        self._name = f"flush_{number}"
        self.slots = 1
        for key in self.keys:
            self.slots *= key.size
        self.partials = [a for a in self.plan.accumulators if a.partial]
        self.hot_offsets: list[int] = []
        self.hot_words = 0
        for accumulator in self.plan.accumulators:
            self.hot_offsets.append(self.hot_words)
            self.hot_words += 1 if accumulator.partial else accumulator.words
        self.cold_words = 2 * len(self.partials)
        self.hot_start = -(-(self.slots + 1) * self.cold_words // 8) * 8
        self.state_words = self.hot_start + (self.slots + 1) * self.hot_words
        if self.state_words * 8 > MAX_BYTES:
            raise Unsupported(f"{self.slots} combinations of keys")
        if self.partials:
            self.flush_rows = min(FLUSH_LIMIT // max(a.bound, 1) for a in self.partials)
        self._hot: Value | None = None

    def start(self, f: Function, state: Value, outs: list[Value], start: Value) -> None:
        """Find the records."""
        self._hot = f.at(state, "i64", integer(self.hot_start))

    def place(self, row: Row) -> tuple[Value, Value]:
        """Return a row's record as i64, and whether it is one: the bounds of the keys hold."""
        f, place = row.f, integer(0)
        for key in self.keys:
            at = _place(row, key)
            scaled = f.op("mul", place, integer(key.size)) if place.text != "0" else None
            place = at if scaled is None else f.op("add", scaled, at)
        return place, f.compare("ult", place, integer(self.slots))

    def row(self, row: Row, keep: Value, running: list[Value], index: Value) -> list[Value]:
        """Add one row to its record."""
        f = row.f
        assert self._hot is not None
        place, inside = self.place(row)
        place = f.select(row.both(keep, inside), place, integer(self.slots))
        record = f.at(self._hot, "i64", f.op("mul", place, integer(self.hot_words)))
        for accumulator, offset in zip(self.plan.accumulators, self.hot_offsets, strict=True):
            contributed = contribution(row, accumulator, TRUE)
            where = f.at(record, "i64", integer(offset))
            before = f.load(register_type(accumulator), where)
            after = added(f, accumulator, before, contributed)
            f.store(after, where)
            if may_wrap(accumulator):
                row.raise_if(Flag(row.both(keep, wrapped(f, before, contributed, after))))
        # Bounds that do not hold would be a fault of ours, or a column changed under us.
        row.raise_if(Flag(row.both(keep, row.negate(inside))))
        for key in self.keys:
            row.check(key.key.expr, keep)
        for accumulator in self.plan.accumulators:
            if accumulator.operand is not None:
                row.check(accumulator.operand, keep)
        return []

    def functions(self) -> list[Function]:
        """Return what adds the partial sums to their totals."""
        if not self.partials:
            return []
        f = Function(self._name, "void", [("ptr", "state")], "nounwind", "internal")
        cold = f.parameters["state"]
        hot = f.at(cold, "i64", integer(self.hot_start))
        entry, turn, done = f.block, f.label("slot"), f.label("done")
        f.branch(turn)
        f.open(turn)
        slot = f.phi("i64")
        slot.add(integer(0), entry)
        record = f.at(hot, "i64", f.op("mul", slot.value, integer(self.hot_words)))
        totals = f.at(cold, "i64", f.op("mul", slot.value, integer(self.cold_words)))
        for place, accumulator in enumerate(self.partials):
            offset = self.hot_offsets[self.plan.accumulators.index(accumulator)]
            part = f.at(record, "i64", integer(offset))
            total = f.at(totals, "i64", integer(2 * place))
            wide = f.resize(f.load("i64", part), "i128")
            f.store(f.op("add", f.load("i128", total), wide), total)
            f.store(integer(0), part)
        following = f.op("add", slot.value, integer(1))
        slot.add(following, turn)
        f.branch_if(f.compare("ult", following, integer(self.slots + 1)), turn, done)
        f.open(done)
        f.ret()
        return [f]


def _dense_key(key: Key, facts: Facts) -> DenseKey:
    """Return the places of a key."""
    known = facts.range(key.expr)
    if is_float(key.expr.type) or known is None:
        raise Unsupported("a dense group by floats")
    low = known[0] if key.low is None else key.low
    high = known[1] if key.high is None else key.high
    if max(bits_for(low, low), bits_for(*known)) > 64:
        raise Unsupported("a group by integers of more than 64 bits")
    nullable = facts.nullable(key.expr)
    return DenseKey(key, low, max(high - low + 1, 0) + int(nullable), nullable)


def _place(row: Row, key: DenseKey) -> Value:
    """Return a row's place among a key's, as i64; past the end where the bounds do not hold."""
    f = row.f
    cell = row.cell(key.key.expr)
    signed = cell.value.type != "i1"
    place = f.resize(cell.value, "i64", signed=signed)
    if key.low:
        place = f.op("sub", place, integer(key.low))
    if not key.nullable:
        return place
    return f.select(cell.valid, place, integer(key.size - 1))
