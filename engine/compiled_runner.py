"""Who runs programs: machine code, loaded at first use. Tests put the interpreter in its place."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pyarrow as pa

from foveal.engine.compile.data import Inputs, Runner
from foveal.engine.compiled_profile import machine
from foveal.errors import OperationalError
from foveal.planner.compiled.cost_device import place
from foveal.planner.ir.program import Program
from foveal.planner.protocols import CancelCheck


class Unsupported(Exception):
    """A program has no machine code; the text says why."""


class Programs:
    """Makes runners; counts the seconds that compiling took.

    `instead`: a runner that takes the place of machine code.
    """

    def __init__(self) -> None:
        """Load nothing yet."""
        self.instead: Runner | None = None
        self.compiled_seconds = 0.0
        self._runners: dict[int, Runner] = {}

    def runner(self, threads: int) -> Runner:
        """Return who runs programs on so many threads; 0: on all processors."""
        if self.instead is not None:
            return self.instead
        found = self._runners.get(threads)
        if found is None:
            found = self._runners[threads] = self._compiled(threads)
        return found

    def _compiled(self, threads: int) -> Runner:
        from foveal.engine.compile.llvm import cells
        from foveal.engine.compile.runtime import CompiledRunner

        machine_code = CompiledRunner(threads or None)
        known: set[Program] = set()

        def run(program: Program, inputs: Inputs, check: CancelCheck) -> Mapping[str, pa.Table]:
            started = time.perf_counter()
            try:
                found = machine_code(program, inputs, check)
            except cells.Unsupported as error:
                raise Unsupported(str(error)) from error
            if program not in known:  # the first run of a program is mostly its compilation
                known.add(program)
                self.compiled_seconds += time.perf_counter() - started
            return found

        return run

    def on_device(self, threads: int, *, forced: bool) -> Runner:
        """Return who runs programs on the GPU, and on so many threads what does not run there.

        `forced`: whatever the GPU can; else what is estimated to be faster there.
        """
        from foveal.engine.compile.llvm import cells
        from foveal.engine.compile.ptx.libcuda import DeviceError
        from foveal.engine.compile.ptx.runner import shared

        here = self.runner(threads)
        if self.instead is not None:
            return here
        try:
            there = shared()
        except DeviceError:
            return here  # a GPU of old that models run on; SET refuses where there is none

        def pays(program: Program, inputs: Inputs) -> bool:
            rows = {name: float(source.rows) for name, source in inputs.sources.items()}
            missing = there.missing(program, inputs)
            return place(program, rows, missing, machine(), there.figures()).device

        def run(program: Program, inputs: Inputs, check: CancelCheck) -> Mapping[str, pa.Table]:
            try:
                if forced or pays(program, inputs):
                    return there(program, inputs, check)
            except cells.Unsupported:
                pass  # EXPLAIN (COMPILED PTX) says why; the processor can do it
            return here(program, inputs, check)

        return run

    def code(self, program: Program, kind: str) -> str:
        """Return a program's code: `llvm`, optimised, `assembly`, or `ptx`.

        Raises:
            Unsupported: it has none.
        """
        from foveal.engine.compile.llvm import cells, kernel

        try:
            if kind == "ptx":
                from foveal.engine.compile.ptx.emission import ptx_of

                return ptx_of(program, "sm_80")
            return kernel.dump(program, "llvm" if kind == "llvm" else "assembly")
        except cells.Unsupported as error:
            raise Unsupported(str(error)) from error


def require_device() -> None:
    """Check that there is a GPU and a driver for it.

    Raises:
        OperationalError: there is none, 58000; the text says why.
    """
    from foveal.engine.compile.ptx.libcuda import Device, DeviceError

    try:
        Device().close()
    except DeviceError as error:
        raise OperationalError(
            f"no GPU to run on: {error}", hint="SET foveal.device = 'cpu' runs everything"
        ) from None
