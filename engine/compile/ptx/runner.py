"""Programs at work on a GPU: a `Runner` over one device, with its columns and its modules."""

from __future__ import annotations

import functools
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from foveal.engine.compile.data import Array, Inputs
from foveal.engine.compile.llvm.cells import Unsupported
from foveal.engine.compile.ptx.emission import Architecture, architecture_of, ptx_of
from foveal.engine.compile.ptx.execution import Execution
from foveal.engine.compile.ptx.libcuda import Device, DeviceError, Library
from foveal.engine.compile.ptx.planning import GridPlan, plan_grid
from foveal.engine.compile.ptx.residency import Residency
from foveal.engine.compile.results import results_of
from foveal.planner.compiled.cost_device import DeviceFigures
from foveal.planner.ir.program import Program
from foveal.planner.protocols import CancelCheck

SHARE = 0.5
"""Share of a device's memory that columns may take."""
MODULES = 64
"""Programs whose modules are kept."""
_SAMPLE = 1 << 25
"""Bytes that measuring a device copies and writes."""


@dataclass(frozen=True, slots=True)
class Available:
    """Whether programs can run on a GPU here; `reason`: why not, or the device's name."""

    yes: bool
    reason: str

    def __bool__(self) -> bool:
        """Return whether they can."""
        return self.yes


def available(functions: Library | None = None) -> Available:
    """Say whether there is a device that programs run on, and why not."""
    try:
        device = Device(functions)
    except DeviceError as error:
        return Available(False, str(error))
    try:
        if architecture_of(device.capability) is None:
            major, minor = device.capability
            text = f"{device.name} has compute capability {major}.{minor}, programs need 8.0"
            return Available(False, text)
        return Available(True, device.name)
    finally:
        device.close()


@dataclass(slots=True)
class _Module:
    """A program's module on the device, and its kernels by name."""

    handle: int
    plans: list[GridPlan]
    kernels: dict[str, int]


class CudaRunner:
    """Runs programs on one device, one at a time; columns stay there as long as there is room.

    Columns are known by their arrays: whoever keeps a column keeps its copy on the device useful.
    """

    def __init__(self, device: Device | None = None, memory: int | None = None) -> None:
        """Open the device. `memory`: bytes that columns may take (None: `SHARE` of the device's).

        Raises:
            DeviceError: there is no device that programs run on.
        """
        self.device = Device() if device is None else device
        architecture = architecture_of(self.device.capability)
        if architecture is None:
            raise DeviceError(f"{self.device.name} is older than what programs run on")
        self.architecture: Architecture = architecture
        limit = int(SHARE * self.device.memory) if memory is None else memory
        self.columns = Residency(self.device, limit)
        self._modules: OrderedDict[Program, _Module] = OrderedDict()
        self._lock = threading.Lock()
        self._figures: DeviceFigures | None = None

    def __call__(
        self, program: Program, inputs: Inputs, check: CancelCheck
    ) -> Mapping[str, pa.Table]:
        """Run a program.

        Raises:
            KernelError: an operation raised for a row that reached it.
            QueryCanceled: `check` raised it.
            Unsupported: the program does not run on a GPU, or not on this one as busy as it is.
        """
        with self._lock:
            try:
                self.device.enter()
                module = self._module(program)
                with ExitStack() as held:
                    execution = Execution(
                        self.device, self.columns, module.plans, module.kernels, held, check
                    )
                    made = execution.run(program, inputs)
                self.columns.trim()
            except DeviceError as error:
                raise Unsupported(str(error)) from error
        return results_of(program, made)

    def missing(self, program: Program, inputs: Inputs) -> int:
        """Return the bytes that running a program would copy to the device.

        Raises:
            Unsupported: it does not run on a GPU.
        """
        arrays: list[Array] = []
        for source, name in _read(program):
            column = inputs.sources[source].columns[name]
            arrays += [column.values, *([] if column.validity is None else [column.validity])]
        with self._lock:
            return self.columns.missing(arrays)

    def figures(self) -> DeviceFigures:
        """Return what the device does in a second, measured at the first call.

        Raises:
            Unsupported: the device refuses.
        """
        with self._lock:
            if self._figures is None:
                try:
                    self._figures = self._measured()
                except DeviceError as error:
                    raise Unsupported(str(error)) from error
            return self._figures

    def _measured(self) -> DeviceFigures:
        """Measure copies to the device, and how fast it writes its memory."""
        device, sample = self.device, np.zeros(_SAMPLE, np.uint8)
        device.enter()
        copies: list[float] = []
        writes: list[float] = []
        with self.columns.scratch(_SAMPLE) as address:
            for _ in range(3):
                started = time.perf_counter()
                device.upload(address, sample)
                device.synchronize()
                copies.append(time.perf_counter() - started)
                started = time.perf_counter()
                device.fill(address, 0, _SAMPLE)
                device.synchronize()
                writes.append(time.perf_counter() - started)
        return DeviceFigures(_SAMPLE / min(copies), _SAMPLE / min(writes))

    def close(self) -> None:
        """Give all memory and modules back."""
        with self._lock:
            self.device.enter()
            self.columns.clear()
            for module in self._modules.values():
                self.device.unload(module.handle)
            self._modules.clear()
            self.device.close()

    def _module(self, program: Program) -> _Module:
        """Return a program's module, made when it is new.

        Raises:
            Unsupported: the program does not run on a GPU.
            DeviceError: the driver refuses it.
        """
        found = self._modules.get(program)
        if found is not None:
            self._modules.move_to_end(program)
            return found
        text = ptx_of(program, self.architecture)
        handle = self.device.load(text)
        names = [
            word.partition("(")[0]
            for line in text.splitlines()
            if line.startswith(".visible .entry ")
            for word in line.split()[2:3]
        ]
        kernels = {name: self.device.function(handle, name) for name in names}
        # Code generation writes into its plans: running has its own.
        found = self._modules[program] = _Module(handle, plan_grid(program), kernels)
        while len(self._modules) > MODULES:
            _, old = self._modules.popitem(last=False)
            self.device.unload(old.handle)
        return found


@functools.lru_cache(256)
def _read(program: Program) -> tuple[tuple[str, str], ...]:
    """Return the columns that a program reads, by source.

    Raises:
        Unsupported: it does not run on a GPU.
    """
    return tuple((p.loop.source, name) for p in plan_grid(program) for name in p.layout.columns)


@functools.cache
def shared() -> CudaRunner:
    """Return the process's runner: all sessions share the device and the columns on it.

    Raises:
        DeviceError: there is no device that programs run on.
    """
    return CudaRunner()
