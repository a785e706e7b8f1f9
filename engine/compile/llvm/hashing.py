"""Code of `Group` over any keys: each thread's own hash table, with open addressing.

An entry is a header (bit 63: taken; bit k: key k is NULL), a word per key, then final values. The
table grows between morsels, from outside: `absorb_k` puts all entries of a table into another one,
which also combines the threads' tables.
"""

from __future__ import annotations

from foveal.engine.compile.llvm import floats
from foveal.engine.compile.llvm.accumulators import (
    Accumulator,
    FoldPlan,
    contribution,
    identity,
    plan_folds,
    register_type,
)
from foveal.engine.compile.llvm.builders import PlainCode
from foveal.engine.compile.llvm.cells import Facts, Flag, Unsupported, bits_for, is_float
from foveal.engine.compile.llvm.folds import merge_word, record_words, word_offsets
from foveal.engine.compile.llvm.row import Row
from foveal.engine.compile.llvm.text import FALSE, TRUE, Function, Value, integer
from foveal.planner.ir.program import Group

# Words of the state.
MASK, COUNT, LIMIT, TABLE = 0, 1, 2, 3
TAKEN = -(1 << 63)
MULTIPLIER = -0x61C8864680B583EB
"""2**64 over the golden ratio, as a signed number."""
MORSEL = 1 << 14
MAX_KEYS = 60


class HashCode(PlainCode):
    """A hash table. The state: its mask, count, limit and address."""

    morsel_rows = MORSEL
    state_words = 8

    def __init__(self, group: Group, number: int, facts: Facts) -> None:
        """Lay out the entries.

        Raises:
            Unsupported: keys of more than 64 bits, or too many.
        """
        self.keys = group.keys
        for key in group.keys:
            known = facts.range(key.expr)
            if known is not None and bits_for(*known) > 64:
                raise Unsupported("a group by integers of more than 64 bits")
        if len(group.keys) > MAX_KEYS:
            raise Unsupported(f"a group by {len(group.keys)} keys")
        self.plan: FoldPlan = plan_folds(group.fields, facts)
        self.record_start = 1 + len(group.keys)
        self.entry_words = self.record_start + record_words(self.plan.accumulators)
        self._number = number
        self._state: Value | None = None

    def start(self, f: Function, state: Value, outs: list[Value], start: Value) -> None:
        """Keep where the table is described."""
        self._state = state

    def room(self, f: Function, state: Value) -> Value | None:
        """Return whether another morsel of new groups would fit."""
        count = f.load("i64", f.at(state, "i64", integer(COUNT)))
        limit = f.load("i64", f.at(state, "i64", integer(LIMIT)))
        return f.compare("sle", f.op("add", count, integer(self.morsel_rows)), limit)

    def row(self, row: Row, keep: Value, running: list[Value], index: Value) -> list[Value]:
        """Find or make the row's entry and add the row to it."""
        f = row.f
        assert self._state is not None
        header, words = integer(TAKEN), list[Value]()
        for position, key in enumerate(self.keys):
            cell = row.cell(key.expr)
            if is_float(key.expr.type):
                word = floats.order_key(f, cell.value)
            else:
                word = f.resize(cell.value, "i64", signed=cell.value.type != "i1")
            words.append(f.select(cell.valid, word, integer(0)))
            null = f.select(cell.valid, integer(0), integer(1 << position))
            header = null_mask(f, header, null)
            row.check(key.expr, TRUE)
        contributions = [contribution(row, a, TRUE) for a in self.plan.accumulators]
        for accumulator in self.plan.accumulators:
            if accumulator.operand is not None:
                row.check(accumulator.operand, TRUE)
        entry = f.call("ptr", f"find_{self._number}", self._state, header, *words)
        for accumulator, offset, value in self._parts(contributions):
            place = f.at(entry, "i64", integer(self.record_start + offset))
            row.raise_if(Flag(merge_word(f, accumulator, place, value)))
        return []

    def _parts(self, values: list[Value]) -> list[tuple[Accumulator, int, Value]]:
        offsets = word_offsets(self.plan.accumulators)
        return list(zip(self.plan.accumulators, offsets, values, strict=True))

    def functions(self) -> list[Function]:
        """Return the search for an entry, and what puts one table into another."""
        return [self._find(), self._absorb()]

    def _find(self) -> Function:
        keys = [f"key{k}" for k in range(len(self.keys))]
        f = Function(
            f"find_{self._number}", "ptr",
            [("ptr noalias", "state"), ("i64", "header"), *(("i64", key) for key in keys)],
            "nounwind", "internal",
        )  # fmt: skip
        state, header = f.parameters["state"], f.parameters["header"]
        words = [f.parameters[key] for key in keys]
        hashed = header
        for word in words:
            mixed = f.op("mul", f.op("xor", hashed, word), integer(MULTIPLIER))
            hashed = f.op("xor", mixed, f.op("lshr", mixed, integer(32)))
        mask = f.load("i64", f.at(state, "i64", integer(MASK)))
        table = f.load("ptr", f.at(state, "i64", integer(TABLE)))
        entry, probe, taken, following, empty, found = f.block, *(
            f.label(x) for x in ("probe", "taken", "next", "empty", "found")
        )  # fmt: skip
        first = f.op("and", hashed, mask)
        f.branch(probe)
        f.open(probe)
        slot = f.phi("i64")
        slot.add(first, entry)
        place = f.at(table, "i64", f.op("mul", slot.value, integer(self.entry_words)))
        stored = f.load("i64", place)
        f.branch_if(f.compare("eq", stored, integer(0)), empty, taken)
        f.open(taken)
        equal = [f.compare("eq", stored, header)]
        for position, word in enumerate(words):
            other = f.load("i64", f.at(place, "i64", integer(1 + position)))
            equal.append(f.compare("eq", other, word))
        f.branch_if(f.both(*equal), found, following)
        f.open(following)
        after = f.op("and", f.op("add", slot.value, integer(1)), mask)
        slot.add(after, following)
        f.branch(probe)
        f.open(empty)
        f.store(header, place)
        for position, word in enumerate(words):
            f.store(word, f.at(place, "i64", integer(1 + position)))
        for accumulator, offset, start in self._parts(
            [identity(a) for a in self.plan.accumulators]
        ):
            if accumulator.kind in ("min", "max"):
                f.store(start, f.at(place, "i64", integer(self.record_start + offset)))
        count = f.at(state, "i64", integer(COUNT))
        f.store(f.op("add", f.load("i64", count), integer(1)), count)
        f.branch(found)
        f.open(found)
        f.ret(place)
        return f

    def _absorb(self) -> Function:
        """Write i64 absorb_k(ptr state, ptr table, ptr unused, i64 entries): 1 if a sum wraps."""
        f = Function(
            f"absorb_{self._number}", "i64",
            [("ptr noalias", "state"), ("ptr noalias", "table"), ("ptr", "unused"),
             ("i64", "entries")],
            "nounwind",
        )  # fmt: skip
        entry, turn, taken, following, done = f.block, *(
            f.label(x) for x in ("turn", "taken", "next", "done")
        )  # fmt: skip
        f.branch(turn)
        f.open(turn)
        slot, failed = f.phi("i64"), f.phi("i64")
        slot.add(integer(0), entry)
        failed.add(integer(0), entry)
        source = f.at(
            f.parameters["table"], "i64", f.op("mul", slot.value, integer(self.entry_words))
        )
        header = f.load("i64", source)
        f.branch_if(f.compare("eq", header, integer(0)), following, taken)
        f.open(taken)
        words = [
            f.load("i64", f.at(source, "i64", integer(1 + position)))
            for position in range(len(self.keys))
        ]
        target = f.call("ptr", f"find_{self._number}", f.parameters["state"], header, *words)
        wraps = FALSE
        for accumulator, offset, _ in self._parts([integer(0)] * len(self.plan.accumulators)):
            at = integer(self.record_start + offset)
            type_ = "i128" if accumulator.kind == "sum" else register_type(accumulator)
            value = f.load(type_, f.at(source, "i64", at))
            wraps = f.either(wraps, merge_word(f, accumulator, f.at(target, "i64", at), value))
        after = f.op("or", failed.value, f.resize(wraps, "i64", signed=False))
        taken_end = f.block
        f.branch(following)
        f.open(following)
        so_far = f.phi("i64")
        so_far.add(failed.value, turn)
        so_far.add(after, taken_end)
        more = f.op("add", slot.value, integer(1))
        slot.add(more, following)
        failed.add(so_far.value, following)
        f.branch_if(f.compare("slt", more, f.parameters["entries"]), turn, done)
        f.open(done)
        f.ret(so_far.value)
        return f


def null_mask(f: Function, header: Value, null: Value) -> Value:
    """Return a header with a key's NULL bit in it."""
    return header if null.text == "0" else f.op("or", header, null)
