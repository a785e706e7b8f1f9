"""The side of a loop's code that takes rows in: what every builder offers to the loop around it."""

from __future__ import annotations

from typing import Protocol

from foveal.engine.compile.llvm.accumulators import MORSEL_ROWS
from foveal.engine.compile.llvm.row import Row
from foveal.engine.compile.llvm.text import FALSE, Function, Value

BLOCK = 2048
"""Rows between two unpackings of validity bitmaps; morsels are multiples of it."""


class BuilderCode(Protocol):
    """How a builder's code is written into a loop.

    `outs`: how many arrays it writes to. `state_words`: 64-bit words of each thread's state.
    `branches`: rows that do not pass the filter must not come to `row` at all. `morsel_rows`: rows
    taken at a time. `room_check`: before each morsel the state must have room for its rows.
    """

    @property
    def outs(self) -> int:
        """How many arrays the builder writes to, besides its state."""
        ...

    @property
    def state_words(self) -> int:
        """64-bit words of a thread's state."""
        ...

    @property
    def branches(self) -> bool:
        """Whether only rows that pass may come to `row`."""
        ...

    @property
    def morsel_rows(self) -> int:
        """Rows that a thread takes at a time."""
        ...

    @property
    def flush_rows(self) -> int | None:
        """After how many rows at most partial sums must be flushed; None: never."""
        ...

    def start(self, f: Function, state: Value, outs: list[Value], start: Value) -> None:
        """Write what comes before a morsel's rows."""
        ...

    def running(self) -> list[Value]:
        """Return the initial values of what runs along in registers."""
        ...

    def row(self, row: Row, keep: Value, running: list[Value], index: Value) -> list[Value]:
        """Write one row, kept where `keep` is true; return the registers after it."""
        ...

    def finish(self, f: Function, running: list[Value]) -> Value:
        """Write what comes after a morsel's rows; return whether a sum went beyond its type."""
        ...

    def functions(self) -> list[Function]:
        """Return further functions of the module."""
        ...

    def room(self, f: Function, state: Value) -> Value | None:
        """Write whether a thread's state has room for another morsel; None: it always has."""
        ...


class PlainCode:
    """What most builders have in common: nothing in registers, no sums to flush, always room."""

    branches = True
    morsel_rows = MORSEL_ROWS
    flush_rows: int | None = None
    state_words = 1
    outs = 0

    def running(self) -> list[Value]:
        """Return the initial values of what runs along in registers."""
        return []

    def finish(self, f: Function, running: list[Value]) -> Value:
        """Write what comes after a morsel's rows; return whether a sum went beyond its type."""
        return FALSE

    def functions(self) -> list[Function]:
        """Return further functions of the module."""
        return []

    def room(self, f: Function, state: Value) -> Value | None:
        """Return nothing: there is always room."""
        return None
