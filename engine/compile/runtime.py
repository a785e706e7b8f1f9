"""Compiled programs at work: a `Runner` over machine code, with its cache and its tiers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, TypeAlias

import pyarrow as pa

from foveal.engine.compile.data import Inputs
from foveal.engine.compile.llvm.kernel import Kernel, cache_key, load_kernel, object_code
from foveal.engine.compile.llvm.machine import Level
from foveal.engine.compile.llvm.planning import LoopPlan, plan_program
from foveal.engine.compile.model_facts import specialised
from foveal.engine.compile.object_cache import KERNELS, KernelMemory, ObjectFiles, linked
from foveal.engine.compile.results import results_of
from foveal.engine.compile.runtime_binding import BoundTable, bind, bound_table, dictionaries_of
from foveal.engine.compile.runtime_builders import start_run
from foveal.engine.compile.runtime_threads import available_threads, run_loop
from foveal.planner.ir.program import Program
from foveal.planner.protocols import CancelCheck

Tier: TypeAlias = Literal["auto", "O0", "O3"]

ALONE_ROWS = 1 << 14
"""Rows that the calling thread runs alone: waking another costs more."""


def run_kernel(
    kernel: Kernel, inputs: Inputs, check: CancelCheck, threads: int | None = None
) -> Mapping[str, pa.Table]:
    """Run a compiled program.

    Raises:
        KernelError: an operation raised for a row that reached it.
        QueryCanceled: `check` raised it.
    """
    program = kernel.program
    tables = {table.name: bound_table(inputs, table.name) for table in program.tables}
    dictionaries = dictionaries_of(program, inputs)
    results: dict[str, pa.Table] = {}
    for number, plan in enumerate(kernel.plans):
        rows = inputs.sources[plan.loop.source].rows
        run = start_run(plan, kernel, number, rows)
        arguments = bind(plan.loop, plan.layout, inputs, tables, run.outs)
        morsel = plan.morsel_rows
        wanted = threads or available_threads()
        alone = min(ALONE_ROWS, morsel)
        count = 1 if rows <= alone else max(1, min(wanted, -(-rows // morsel)))
        states = [run.state() for _ in range(count)]
        run_loop(kernel.loops[number], arguments, rows, morsel, states, check, endless=plan.endless)
        made = run.result(states, dictionaries)
        if isinstance(made, BoundTable):
            tables[plan.loop.into] = made
        else:
            results[plan.loop.into] = made
    return results_of(program, results)


class CompiledRunner:
    """Runs programs as machine code.

    `tier` "auto": code from the cache, else quickly made code now and optimised code, compiled
    behind the scenes, from the next run on. "O0", "O3": that code only.
    """

    def __init__(
        self,
        threads: int | None = None,
        tier: Tier = "auto",
        files: ObjectFiles | None = None,
        memory: KernelMemory | None = None,
    ) -> None:
        """Keep how many threads may work (None: all processors), the tier, and the caches."""
        self.threads = threads
        self._tier: Tier = tier
        self._files = ObjectFiles() if files is None else files
        self._memory = KernelMemory() if memory is None else memory
        self._plans: dict[Program, list[LoopPlan]] = {}
        self._pending: dict[str, Future[None]] = {}

    def __call__(
        self, program: Program, inputs: Inputs, check: CancelCheck
    ) -> Mapping[str, pa.Table]:
        """Run a program, compiling it when it is new.

        Raises:
            KernelError: an operation raised for a row that reached it.
            QueryCanceled: `check` raised it.
            Unsupported: the program has no machine code.
        """
        program, inputs = specialised(program, inputs)
        kernel = self.kernel(program)
        out = run_kernel(kernel, inputs, check, self.threads)
        if self._tier == "auto" and kernel.level == "O0":
            self._improve(program)
        return out

    def kernel(self, program: Program) -> Kernel:
        """Return the best code that there is at once, or that the tier asks for.

        Raises:
            Unsupported: the program has no machine code.
        """
        if self._tier != "auto":
            return self._made(program, self._tier)
        return self._kept(program, "O3") or self._made(program, "O0")

    def cached(self, program: Program) -> bool:
        """Say whether optimised code is at hand, in memory or on disk."""
        return self._kept(program, "O3") is not None

    def settle(self) -> None:
        """Wait for what is being compiled behind the scenes."""
        for pending in list(self._pending.values()):
            pending.result()

    def _planned(self, program: Program) -> list[LoopPlan]:
        if program not in self._plans:
            if len(self._plans) >= KERNELS:
                self._plans.clear()
            self._plans[program] = plan_program(program)
        return self._plans[program]

    def _kept(self, program: Program, level: Level) -> Kernel | None:
        """Return code from memory or disk."""
        key = cache_key(program, level)
        kernel = self._memory.get(key)
        if kernel is not None:
            return kernel
        plans = self._planned(program)
        found = linked(self._files, key, lambda code: load_kernel(program, plans, code, level))
        return None if found is None else self._memory.put(key, found)

    def _made(self, program: Program, level: Level) -> Kernel:
        """Return code of a level, compiled where no cache has it."""
        kept = self._kept(program, level)
        if kept is not None:
            return kept
        # Code generation writes into its plans: each compilation has its own.
        code = object_code(plan_program(program), level)
        key = cache_key(program, level)
        if level == "O3":  # quickly made code is made as quickly again
            self._files.store(key, code)
        kernel = load_kernel(program, self._planned(program), code, level)
        return self._memory.put(key, kernel)

    def _improve(self, program: Program) -> None:
        """Compile optimised code behind the scenes, unless that is under way."""
        key = cache_key(program, "O3")
        if key not in self._pending:
            self._pending[key] = _compiler().submit(self._finish, program, key)

    def _finish(self, program: Program, key: str) -> None:
        try:
            self._made(program, "O3")
        finally:
            self._pending.pop(key, None)


@functools.cache
def _compiler() -> ThreadPoolExecutor:
    """Return the thread that compiles behind the scenes: LLVM takes one at a time anyway."""
    return ThreadPoolExecutor(1, thread_name_prefix="foveal-compiler")
