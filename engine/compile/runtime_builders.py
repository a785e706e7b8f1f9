"""The runtime's side of builders: a thread's state before a loop, the result after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import pyarrow as pa

from foveal.engine.compile.arrow import arrow_type
from foveal.engine.compile.data import Array
from foveal.engine.compile.llvm.appending import AppendCode
from foveal.engine.compile.llvm.dense import DenseCode
from foveal.engine.compile.llvm.folds import FoldsCode
from foveal.engine.compile.llvm.hashing import HashCode
from foveal.engine.compile.llvm.kernel import Kernel
from foveal.engine.compile.llvm.planning import LoopPlan
from foveal.engine.compile.llvm.tables import TableCode
from foveal.engine.compile.llvm.topk import TopKCode
from foveal.engine.compile.runtime_binding import BoundTable, aligned
from foveal.engine.compile.runtime_folds import (
    Dictionaries,
    Words,
    combined,
    fold_columns,
    initial_record,
)
from foveal.engine.compile.runtime_groups import DenseRun, HashRun
from foveal.engine.compile.runtime_rows import AppendRun, TableRun, TopKRun
from foveal.engine.compile.runtime_threads import FixedState, ThreadState

Made: TypeAlias = pa.Table | BoundTable


class LoopRun(Protocol):
    """One execution of one loop."""

    @property
    def outs(self) -> list[Array]:
        """Arrays that all threads write to."""
        ...

    def state(self) -> ThreadState:
        """Return a new thread's state."""
        ...

    def result(self, states: Sequence[ThreadState], dictionaries: Dictionaries) -> Made:
        """Return what the loop made; a table for later loops, or for the caller."""
        ...


class FoldsRun:
    """Folds without keys: one record per thread."""

    def __init__(self, code: FoldsCode) -> None:
        """Keep what the folds are."""
        self.code = code
        self.outs: list[Array] = []

    def state(self) -> FixedState:
        """Return a record of no rows."""
        words = aligned(self.code.state_words)
        words[: self.code.state_words] = initial_record(self.code.plan.accumulators)
        return FixedState(words)

    def result(self, states: Sequence[ThreadState], dictionaries: Dictionaries) -> pa.Table:
        """Return the one row."""
        width = self.code.state_words
        parts = [state.words[None, :width] for state in states if isinstance(state, FixedState)]
        records = combined(self.code.plan.accumulators, parts)
        return folds_table(self.code, records, dictionaries)


def folds_table(code: FoldsCode, records: Words, dictionaries: Dictionaries) -> pa.Table:
    """Return the one row of folds without keys, of final values [1, words]."""
    columns = fold_columns(code.plan, records, dictionaries)
    schema = pa.schema([pa.field(o.name, arrow_type(o.fold.type)) for o in code.plan.outputs])
    return pa.Table.from_arrays(columns, schema=schema)


def start_run(plan: LoopPlan, kernel: Kernel, number: int, rows: int) -> LoopRun:
    """Return an execution of a loop over some rows."""
    match plan.code:
        case FoldsCode():
            return FoldsRun(plan.code)
        case DenseCode():
            return DenseRun(plan.code)
        case HashCode():
            return HashRun(plan.code, kernel.loaded.loop(f"absorb_{number}"), rows)
        case AppendCode():
            return AppendRun(plan.code, rows)
        case TableCode():
            return TableRun(plan.code)
        case TopKCode():
            return TopKRun(plan.code, rows)
        case _:
            raise AssertionError(plan.code)
