"""libcuda's functions over this process's memory, for tests on machines without a GPU.

They are C functions, called through ctypes with the arguments that the real ones get: a launch
finds its parameters where `cuLaunchKernel` is told that they are, and runs the emulated kernels of
the program whose PTX was loaded. Memory begins as garbage, ends at guards, and is never confused
with the process's other arrays: addresses are checked as the driver would.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.engine.compile.ptx.emission import Architecture, ptx_of
from foveal.engine.compile.ptx.emulation import EmulatedModule
from foveal.engine.compile.ptx.grid import parameter_count
from foveal.engine.compile.ptx.libcuda import OUT_OF_MEMORY, PROTOTYPES
from foveal.planner.ir.program import Program

INVALID_VALUE, NO_BINARY, INVALID_HANDLE, NOT_FOUND, ILLEGAL_ADDRESS = 1, 209, 400, 500, 700
INVALID_CONTEXT = 201
_NAMES = {
    INVALID_VALUE: (b"CUDA_ERROR_INVALID_VALUE", b"invalid argument"),
    OUT_OF_MEMORY: (b"CUDA_ERROR_OUT_OF_MEMORY", b"out of memory"),
    INVALID_CONTEXT: (b"CUDA_ERROR_INVALID_CONTEXT", b"invalid device context"),
    NO_BINARY: (b"CUDA_ERROR_NO_BINARY_FOR_GPU", b"no kernel image for execution on the device"),
    INVALID_HANDLE: (b"CUDA_ERROR_INVALID_HANDLE", b"invalid resource handle"),
    NOT_FOUND: (b"CUDA_ERROR_NOT_FOUND", b"named symbol not found"),
    ILLEGAL_ADDRESS: (b"CUDA_ERROR_ILLEGAL_ADDRESS", b"an illegal memory access was encountered"),
}
_ALIGNMENT, _GUARD, _GARBAGE, _FENCE = 256, 64, 0xA5, 0x5C
_CONTEXT = 0xC0DE


@dataclass(slots=True)
class _Block:
    """One allocation: `raw` holds it, aligned, with guard bytes behind."""

    raw: npt.NDArray[np.uint8]
    nbytes: int


@dataclass(slots=True)
class EmulatedLibrary:
    """One device with `memory` bytes. `workers`: processor threads that run blocks.

    `calls`: how often each function was called; `fail`: error numbers that functions return next.
    """

    architecture: Architecture = "sm_90"
    memory: int = 1 << 30
    multiprocessors: int = 2
    workers: int = 1
    devices: int = 1
    calls: dict[str, int] = field(default_factory=dict[str, int])
    fail: dict[str, int] = field(default_factory=dict[str, int])
    _programs: dict[bytes, Program] = field(default_factory=dict[bytes, Program])
    _modules: dict[int, tuple[EmulatedModule, Program]] = field(
        default_factory=dict[int, tuple[EmulatedModule, Program]]
    )
    _functions: dict[int, tuple[int, str]] = field(default_factory=dict[int, tuple[int, str]])
    _blocks: dict[int, _Block] = field(default_factory=dict[int, _Block])
    _made: dict[str, Any] = field(default_factory=dict[str, Any])
    _handles: int = 0
    _entered: bool = False

    def learn(self, program: Program) -> None:
        """Take note of a program, so that its PTX is known when it is loaded."""
        self._programs[ptx_of(program, self.architecture).encode()] = program

    @property
    def allocated(self) -> int:
        """Bytes that are allocated."""
        return sum(block.nbytes for block in self._blocks.values())

    def __getattr__(self, name: str) -> Callable[..., int]:
        """Return a function of libcuda as a C function.

        Raises:
            AttributeError: there is none of this name.
        """
        if name not in PROTOTYPES:
            raise AttributeError(name)
        if name not in self._made:
            own: Callable[..., int] = getattr(self, f"_{name.removesuffix('_v2')}")

            def called(*arguments: Any) -> int:
                self.calls[name] = self.calls.get(name, 0) + 1
                if name in self.fail:
                    return self.fail.pop(name)
                if name.startswith(("cuMem", "cuModule", "cuLaunch")) and not self._entered:
                    return INVALID_CONTEXT
                return own(*arguments)

            kind = ctypes.CFUNCTYPE(ctypes.c_int, *PROTOTYPES[name])
            self._made[name] = kind(called)
        return self._made[name]

    def _handle(self) -> int:
        self._handles += 16
        return 0x7000_0000 + self._handles

    # --- devices ---

    def _cuInit(self, flags: int) -> int:
        return 0 if flags == 0 else INVALID_VALUE

    def _cuDeviceGetCount(self, count: Any) -> int:
        count[0] = self.devices
        return 0

    def _cuDeviceGet(self, device: Any, number: int) -> int:
        device[0] = number
        return 0 if 0 <= number < self.devices else INVALID_VALUE

    def _cuDeviceGetName(self, name: int, size: int, device: int) -> int:
        ctypes.memmove(name, b"Emulated GPU\0", min(13, size))
        return 0

    def _cuDeviceGetAttribute(self, value: Any, attribute: int, device: int) -> int:
        number = int(self.architecture.removeprefix("sm_"))
        known = {75: number // 10, 76: number % 10, 16: self.multiprocessors}
        if attribute not in known:
            return INVALID_VALUE
        value[0] = known[attribute]
        return 0

    def _cuDeviceTotalMem(self, size: Any, device: int) -> int:
        size[0] = self.memory
        return 0

    def _cuDevicePrimaryCtxRetain(self, context: Any, device: int) -> int:
        context[0] = _CONTEXT
        return 0

    def _cuDevicePrimaryCtxRelease(self, device: int) -> int:
        return 0

    def _cuCtxSetCurrent(self, context: int | None) -> int:
        self._entered = context == _CONTEXT
        return 0 if self._entered else INVALID_CONTEXT

    def _cuCtxSynchronize(self) -> int:
        return 0

    def _cuGetErrorName(self, code: int, text: Any) -> int:
        return self._told(code, text, 0)

    def _cuGetErrorString(self, code: int, text: Any) -> int:
        return self._told(code, text, 1)

    def _told(self, code: int, text: Any, which: int) -> int:
        if code not in _NAMES:
            return INVALID_VALUE
        text[0] = _NAMES[code][which]
        return 0

    # --- modules ---

    def _cuModuleLoadData(self, module: Any, image: int) -> int:
        program = self._programs.get(ctypes.string_at(image))
        if program is None:
            return NO_BINARY
        module[0] = handle = self._handle()
        self._modules[handle] = EmulatedModule(program, workers=self.workers), program
        return 0

    def _cuModuleGetFunction(self, function: Any, module: int, name: bytes) -> int:
        if module not in self._modules:
            return INVALID_HANDLE
        if parameter_count(self._modules[module][1], name.decode()) is None:
            return NOT_FOUND
        function[0] = handle = self._handle()
        self._functions[handle] = module, name.decode()
        return 0

    def _cuModuleUnload(self, module: int) -> int:
        return 0 if self._modules.pop(module, None) is not None else INVALID_HANDLE

    # --- memory ---

    def _cuMemAlloc(self, address: Any, nbytes: int) -> int:
        if nbytes == 0:
            return INVALID_VALUE
        if self.allocated + nbytes > self.memory:
            return OUT_OF_MEMORY
        raw = np.full(nbytes + _ALIGNMENT + _GUARD, _GARBAGE, np.uint8)
        start = -raw.ctypes.data % _ALIGNMENT
        raw[start + nbytes :] = _FENCE
        address[0] = raw.ctypes.data + start
        self._blocks[raw.ctypes.data + start] = _Block(raw, nbytes)
        return 0

    def _cuMemFree(self, address: int) -> int:
        block = self._blocks.pop(address, None)
        if block is None:
            return INVALID_VALUE
        end = address - block.raw.ctypes.data + block.nbytes
        return 0 if bool((block.raw[end:] == _FENCE).all()) else ILLEGAL_ADDRESS

    def _inside(self, address: int, nbytes: int) -> bool:
        return any(
            start <= address and address + nbytes <= start + block.nbytes
            for start, block in self._blocks.items()
        )

    def _cuMemcpyHtoD(self, address: int, source: int, nbytes: int) -> int:
        if not self._inside(address, nbytes):
            return INVALID_VALUE
        ctypes.memmove(address, source, nbytes)
        return 0

    def _cuMemcpyDtoH(self, target: int, address: int, nbytes: int) -> int:
        if not self._inside(address, nbytes):
            return INVALID_VALUE
        ctypes.memmove(target, address, nbytes)
        return 0

    def _cuMemsetD8(self, address: int, byte: int, nbytes: int) -> int:
        if not self._inside(address, nbytes):
            return INVALID_VALUE
        ctypes.memset(address, byte, nbytes)
        return 0

    # --- kernels ---

    def _cuLaunchKernel(
        self, function: int, *rest: Any
    ) -> int:  # grid x y z, block x y z, shared bytes, stream, parameters, extra
        grid, threads, parameters = rest[0:3], rest[3:6], rest[8]
        if function not in self._functions:
            return INVALID_HANDLE
        module, name = self._functions[function]
        if module not in self._modules:
            return INVALID_HANDLE
        if grid[1:] != (1, 1) or threads[1:] != (1, 1) or not 0 < threads[0] <= 1024:
            return INVALID_VALUE
        code, program = self._modules[module]
        count = parameter_count(program, name)
        assert count is not None
        words = [ctypes.c_uint64.from_address(parameters[place]).value for place in range(count)]
        code.launch(name, grid[0], threads[0], words)
        return 0
