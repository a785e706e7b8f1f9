"""Threads that run the morsels of one loop, in native calls that hold no interpreter lock."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Protocol

import numpy as np
import numpy.typing as npt

from foveal.engine.compile.data import KernelError
from foveal.engine.compile.llvm.cells import MESSAGES, OPERATOR_ERROR
from foveal.engine.compile.llvm.layout import (
    BUDGET,
    CANCEL,
    CONTROL_WORDS,
    ERROR,
    FULL,
    MORSEL,
    ROWS,
)
from foveal.engine.compile.runtime_binding import Arguments, aligned
from foveal.planner.protocols import CancelCheck

SLICE = 0.005
"""Seconds of native work on the calling thread between two looks at whether the user cancelled."""
UNBOUNDED = 1 << 62

Loop = Callable[[int, int, int, int], int]


class ThreadState(Protocol):
    """What one thread keeps between morsels."""

    @property
    def address(self) -> int:
        """Where its words are in memory; may change by `make_room`."""
        ...

    def make_room(self) -> None:
        """Make room for another morsel's rows."""
        ...


class FixedState:
    """A state whose size does not change."""

    def __init__(self, words: npt.NDArray[np.int64]) -> None:
        """Keep the words, which begin on a cache line."""
        self.words = words

    @property
    def address(self) -> int:
        """Where its words are in memory."""
        return self.words.ctypes.data

    def make_room(self) -> None:
        """Refuse: it has all the room that it ever needs."""
        raise AssertionError("a state of fixed size is never full")


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return the threads beside the calling one; they stay for the life of the process."""
    return ThreadPoolExecutor(threads, thread_name_prefix="foveal-compiled")


def available_threads() -> int:
    """Return how many processors this process may use."""
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_loop(
    loop: Loop,
    arguments: Arguments,
    rows: int,
    morsel: int,
    states: Sequence[ThreadState],
    check: CancelCheck,
    *,
    endless: bool = False,
) -> None:
    """Run a loop over all rows, a thread per state.

    The calling thread works too, a few milliseconds at a time between two checks. `endless`: a row
    may take any time; then it only checks, and what it raises stops the others.

    Raises:
        KernelError: a row raised.
        BaseException: whatever `check` raised; the native threads have stopped by then.
    """
    control = aligned(CONTROL_WORDS)
    control[ROWS], control[MORSEL] = rows, morsel
    where = arguments.words.ctypes.data, control.ctypes.data
    others: list[Future[None]] = []
    try:
        helped = states if endless else states[1:]
        if helped:
            pool = _pool(max(available_threads(), len(states)))
            others = [pool.submit(_work, loop, where, state) for state in helped]
        budget = 1
        while not endless:
            began = time.perf_counter()
            reason = loop(*where, states[0].address, budget)
            check()
            if reason == FULL:
                states[0].make_room()
            elif reason != BUDGET:
                break
            elif time.perf_counter() - began < SLICE / 2:
                budget = min(2 * budget, UNBOUNDED)
        while wait(others, timeout=SLICE).not_done:
            check()
        for other in others:
            other.result()
    except BaseException:
        control[CANCEL] = 1
        wait(others)
        raise
    if control[ERROR]:
        raise KernelError(message_of(int(control[ERROR])))


def _work(loop: Loop, where: tuple[int, int], state: ThreadState) -> None:
    """Take morsels until none is left."""
    while loop(*where, state.address, UNBOUNDED) == FULL:
        state.make_room()


def message_of(mask: int) -> int | None:
    """Return which message of the program an error mask means; None: an operator's own."""
    if mask & OPERATOR_ERROR:
        return None
    return min(bit for bit in range(MESSAGES + 1) if mask >> (bit + 1) & 1)
