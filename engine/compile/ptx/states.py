"""Where threads of a GPU keep what they fold: records in global memory, and who may write them.

Without keys every thread has a record of its own, so nothing is shared. With keys the threads of a
block share a table and add to it atomically: sums of integers in two 64-bit words with the carry,
which is exact in any order; sums of floats in the order in which threads come.
"""

from __future__ import annotations

from foveal.engine.compile.llvm.accumulators import (
    Accumulator,
    contribution,
    identity,
    may_wrap,
    register_type,
)
from foveal.engine.compile.llvm.cells import Facts, Flag, Unsupported
from foveal.engine.compile.llvm.dense import DenseCode
from foveal.engine.compile.llvm.folds import FoldsCode, merge_word, record_words, word_offsets
from foveal.engine.compile.llvm.row import Row
from foveal.engine.compile.llvm.text import TRUE, Function, Value, integer
from foveal.planner.ir.program import Group

MAX_SLOTS_BYTES = 1 << 26
"""Bytes of one block's table."""


class ThreadFolds(FoldsCode):
    """Folds without keys: registers, added to the thread's own record at the end of its rows."""


class BlockTable(DenseCode):
    """Folds by bounded keys: a table of records, which the threads of a block share.

    The last record is for rows whose keys are not within their bounds; they raise.
    """

    branches = True

    def __init__(self, group: Group, number: int, facts: Facts) -> None:
        """Lay out the table.

        Raises:
            Unsupported: a key without bounds, too many combinations, sums that may wrap.
        """
        super().__init__(group, number, facts)
        accumulators = self.plan.accumulators
        if any(may_wrap(accumulator) for accumulator in accumulators):
            raise Unsupported("a sum per group that may not fit 128 bits")
        self.record_words = record_words(accumulators)
        self.state_words = (self.slots + 1) * self.record_words
        if self.state_words * 8 > MAX_SLOTS_BYTES:
            raise Unsupported(f"{self.slots} combinations of keys")
        self.flush_rows = None

    def start(self, f: Function, state: Value, outs: list[Value], start: Value) -> None:
        """Keep where the block's table is."""
        self._hot = state

    def row(self, row: Row, keep: Value, running: list[Value], index: Value) -> list[Value]:
        """Add one row to its record."""
        f, accumulators = row.f, self.plan.accumulators
        assert self._hot is not None
        place, inside = self.place(row)
        place = f.select(row.both(keep, inside), place, integer(self.slots))
        record = f.at(self._hot, "i64", f.op("mul", place, integer(self.record_words)))
        contributions = [contribution(row, accumulator, TRUE) for accumulator in accumulators]
        row.raise_if(Flag(row.both(keep, row.negate(inside))))
        for key in self.keys:
            row.check(key.key.expr, keep)
        for accumulator in accumulators:
            if accumulator.operand is not None:
                row.check(accumulator.operand, keep)
        for accumulator, offset, contributed in zip(
            accumulators, word_offsets(accumulators), contributions, strict=True
        ):
            _add(f, accumulator, f.at(record, "i64", integer(offset)), contributed)
        return []

    def functions(self) -> list[Function]:
        """Return nothing: there are no partial sums to flush."""
        return []


def _add(f: Function, accumulator: Accumulator, place: Value, value: Value) -> None:
    """Add a contribution to a final value that other threads add to as well."""
    match accumulator.kind:
        case "float_sum":
            _atomic(f, "fadd", place, value)
        case "min" | "max":
            _atomic(f, accumulator.kind, place, value)
        case "count":
            _atomic(f, "add", place, value)
        case "sum":
            _add_wide(f, place, value)


def _atomic(f: Function, op: str, place: Value, value: Value) -> Value:
    return f.emit(value.type, f"atomicrmw {op} {place}, {value} monotonic, align 8")


def _add_wide(f: Function, place: Value, value: Value) -> None:
    """Add to 128 bits: the low word, then what it carries and the high word, if that is not 0.

    Each carry belongs to one addition to the low word, whatever comes between the two: modulo
    2**128 the sum is exact once all threads are done.
    """
    if value.type == "i64":
        low, high = value, f.op("ashr", value, integer(63))
    else:
        shifted = f.op("lshr", value, integer(64, "i128"))
        low, high = f.resize(value, "i64"), f.resize(shifted, "i64")
    before = _atomic(f, "add", place, low)
    carried = f.compare("ult", f.op("add", before, low), low)
    rest = f.op("add", high, f.resize(carried, "i64", signed=False))
    more, done = f.label("high"), f.label("added")
    f.branch_if(f.compare("ne", rest, integer(0)), more, done)
    f.open(more)
    _atomic(f, "add", f.at(place, "i64", integer(1)), rest)
    f.branch(done)
    f.open(done)


# --- records, before and after a loop -------------------------------------------------------------


def write_initial(f: Function, accumulators: list[Accumulator], record: Value) -> None:
    """Store what a record starts from."""
    for accumulator, offset in zip(accumulators, word_offsets(accumulators), strict=True):
        start = identity(accumulator)
        if accumulator.kind == "sum":
            start = integer(0, "i128")
        f.store(start, f.at(record, "i64", integer(offset)))


def write_merged(
    f: Function, accumulators: list[Accumulator], record: Value, other: Value
) -> Value:
    """Add another record to a record that nobody else writes; return whether a sum wrapped."""
    wrapped: list[Value] = []
    for accumulator, offset in zip(accumulators, word_offsets(accumulators), strict=True):
        type_ = "i128" if accumulator.kind == "sum" else register_type(accumulator)
        value = f.load(type_, f.at(other, "i64", integer(offset)))
        place = f.at(record, "i64", integer(offset))
        wrapped.append(merge_word(f, accumulator, place, value))
    return f.either(*wrapped)
