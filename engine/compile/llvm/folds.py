"""Code of `Struct`: accumulators in registers, added to the thread's state after each morsel."""

from __future__ import annotations

from foveal.engine.compile.llvm.accumulators import (
    Accumulator,
    FoldPlan,
    added,
    contribution,
    identity,
    may_wrap,
    register_type,
    wrapped,
)
from foveal.engine.compile.llvm.builders import PlainCode
from foveal.engine.compile.llvm.cells import OPERATOR_ERROR, Flag
from foveal.engine.compile.llvm.row import Row
from foveal.engine.compile.llvm.text import FALSE, Function, Value, integer


def word_offsets(accumulators: list[Accumulator]) -> list[int]:
    """Return the first word of each accumulator's final value in a record."""
    out: list[int] = []
    words = 0
    for accumulator in accumulators:
        out.append(words)
        words += accumulator.words
    return out


def record_words(accumulators: list[Accumulator]) -> int:
    """Return the words of a record of final values."""
    return sum(accumulator.words for accumulator in accumulators)


class FoldsCode(PlainCode):
    """Folds without keys. The state is one record of final values."""

    branches = False

    def __init__(self, plan: FoldPlan) -> None:
        """Keep what is to be accumulated."""
        self.plan = plan
        self.state_words = record_words(plan.accumulators)
        self._state: Value | None = None

    def start(self, f: Function, state: Value, outs: list[Value], start: Value) -> None:
        """Write what comes before a morsel's rows."""
        self._state = state

    def running(self) -> list[Value]:
        """Return the initial values of what runs along in registers."""
        return [identity(accumulator) for accumulator in self.plan.accumulators]

    def row(self, row: Row, keep: Value, running: list[Value], index: Value) -> list[Value]:
        """Write one row; return the registers after it."""
        out: list[Value] = []
        for accumulator, before in zip(self.plan.accumulators, running, strict=True):
            contributed = contribution(row, accumulator, keep)
            after = added(row.f, accumulator, before, contributed)
            if may_wrap(accumulator):
                row.raise_if(Flag(wrapped(row.f, before, contributed, after), OPERATOR_ERROR))
            out.append(after)
        for accumulator in self.plan.accumulators:
            if accumulator.operand is not None:
                row.check(accumulator.operand, keep)
        return out

    def finish(self, f: Function, running: list[Value]) -> Value:
        """Add the morsel's values to the state; return whether a sum went beyond 128 bits."""
        assert self._state is not None
        accumulators = self.plan.accumulators
        return f.either(
            *(
                merge_word(f, accumulator, f.at(self._state, "i64", integer(offset)), value)
                for accumulator, offset, value in zip(
                    accumulators, word_offsets(accumulators), running, strict=True
                )
            )
        )


def merge_word(f: Function, accumulator: Accumulator, place: Value, value: Value) -> Value:
    """Add a register's value to the final value in memory; return whether a sum wrapped."""
    if accumulator.kind == "sum":
        wide = f.resize(value, "i128")
        before = f.load("i128", place)
        after = f.op("add", before, wide)
        f.store(after, place)
        return wrapped(f, before, wide, after) if may_wrap(accumulator) else FALSE
    before = f.load(register_type(accumulator), place)
    f.store(added(f, accumulator, before, value), place)
    return FALSE
