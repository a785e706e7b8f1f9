"""Kernels played on this processor: the same bodies as on a GPU, every thread in turn.

For tests without a device. Blocks may run on several threads of the processor at once, so atomics
are put to the test too; the threads of one block run one after the other, which is one of the
orders that a GPU may take, since no kernel waits for another thread.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from foveal.engine.compile.llvm import machine
from foveal.engine.compile.llvm.machine import Level, Loaded
from foveal.engine.compile.ptx.grid import module_text
from foveal.engine.compile.ptx.planning import plan_grid
from foveal.engine.compile.ptx.target import Emulated
from foveal.planner.ir.program import Program

_BLOCK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
Launch = Callable[[int, int, Sequence[int]], None]


class EmulatedModule:
    """The kernels of one program in this machine's code."""

    def __init__(self, program: Program, level: Level = "O3", workers: int = 1) -> None:
        """Compile them. `workers`: how many threads of the processor run blocks.

        Raises:
            Unsupported: the program does not run on a GPU.
        """
        text = module_text(plan_grid(program), Emulated())
        self._loaded = Loaded(machine.compile_ir(text, level))
        self._workers = workers

    def launch(self, name: str, blocks: int, threads: int, words: Sequence[int]) -> None:
        """Run a kernel over a grid. `words`: its parameters as 64 bits each.

        Raises:
            KeyError: there is no such kernel.
        """
        block = _BLOCK(self._loaded.address(name))
        held = np.array([word & (1 << 64) - 1 for word in words], np.uint64)

        def run(number: int) -> None:
            block(held.ctypes.data, number, blocks, threads)

        if self._workers == 1:
            for number in range(blocks):
                run(number)
            return
        with ThreadPoolExecutor(self._workers) as pool:
            list(pool.map(run, range(blocks)))
