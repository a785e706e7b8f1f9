"""NVIDIA's driver library through ctypes: a device's memory, modules and launches.

Source: CUDA Driver API reference, sections on initialization, primary contexts, modules, memory and
execution. Nothing else of CUDA is needed: the driver assembles PTX itself.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_ubyte, c_uint, c_uint64, c_void_p
from typing import Any, Protocol

import numpy as np

from foveal.engine.compile.data import Array

_INT_P, _WORD_P, _POINTER_P = POINTER(c_int), POINTER(c_uint64), POINTER(c_void_p)
PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDeviceGetCount": (_INT_P,),
    "cuDeviceGet": (_INT_P, c_int),
    "cuDeviceGetName": (c_void_p, c_int, c_int),
    "cuDeviceGetAttribute": (_INT_P, c_int, c_int),
    "cuDeviceTotalMem_v2": (POINTER(c_size_t), c_int),
    "cuDevicePrimaryCtxRetain": (_POINTER_P, c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxSetCurrent": (c_void_p,),
    "cuCtxSynchronize": (),
    "cuModuleLoadData": (_POINTER_P, c_void_p),
    "cuModuleGetFunction": (_POINTER_P, c_void_p, c_char_p),
    "cuModuleUnload": (c_void_p,),
    "cuMemAlloc_v2": (_WORD_P, c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemcpyHtoD_v2": (c_uint64, c_void_p, c_size_t),
    "cuMemcpyDtoH_v2": (c_void_p, c_uint64, c_size_t),
    "cuMemsetD8_v2": (c_uint64, c_ubyte, c_size_t),
    "cuLaunchKernel": (c_void_p, *[c_uint] * 7, c_void_p, _POINTER_P, _POINTER_P),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
}
"""Argument types of the functions that are used; each returns an error number, 0 for none."""

OUT_OF_MEMORY = 2
_MAJOR, _MINOR, _MULTIPROCESSORS = 75, 76, 16
"""Attributes: the two numbers of the compute capability, and how many multiprocessors."""
_NAMES = ("libcuda.so.1", "libcuda.so", "nvcuda.dll")


class Library(Protocol):
    """The functions of `PROTOTYPES`, as attributes."""

    def __getattr__(self, name: str) -> Callable[..., int]:
        """Return a function by name."""
        ...


class DeviceError(Exception):
    """There is no device, or the driver refused something; the text says what."""

    def __init__(self, text: str, code: int = 0) -> None:
        """Keep the driver's error number, 0 where it is not the driver's."""
        super().__init__(text)
        self.code = code


@functools.cache
def library() -> Library:
    """Return the driver library of this machine.

    Raises:
        DeviceError: there is none.
    """
    for name in _NAMES:
        try:
            found: Any = ctypes.CDLL(name)
        except OSError:
            continue
        for function, arguments in PROTOTYPES.items():
            try:
                entry = getattr(found, function)
            except AttributeError:
                raise DeviceError(f"{name} has no {function}: the driver is too old") from None
            entry.argtypes, entry.restype = arguments, c_int
        return found
    raise DeviceError("libcuda is not installed: no NVIDIA driver on this machine")


class Device:
    """One GPU, through its primary context, which other libraries in the process share."""

    def __init__(self, functions: Library | None = None, number: int = 0) -> None:
        """Open a device; `functions` takes the place of the installed library.

        Raises:
            DeviceError: there is no library, no device of this number, or it does not start.
        """
        self._cuda = library() if functions is None else functions
        self._call("cuInit", 0)
        count = c_int()
        self._call("cuDeviceGetCount", ctypes.byref(count))
        if number >= count.value:
            raise DeviceError(f"the driver knows {count.value} devices, none of number {number}")
        handle = c_int()
        self._call("cuDeviceGet", ctypes.byref(handle), number)
        self._device = handle.value
        text = ctypes.create_string_buffer(128)
        self._call("cuDeviceGetName", text, len(text), self._device)
        self.name = text.value.decode(errors="replace")
        self.capability = self._attribute(_MAJOR), self._attribute(_MINOR)
        self.multiprocessors = self._attribute(_MULTIPROCESSORS)
        size = c_size_t()
        self._call("cuDeviceTotalMem_v2", ctypes.byref(size), self._device)
        self.memory = size.value
        context = c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._context = context

    def _call(self, name: str, *arguments: Any) -> None:
        """Call a function of the library.

        Raises:
            DeviceError: it returned an error.
        """
        code = int(getattr(self._cuda, name)(*arguments))
        if code:
            raise DeviceError(f"{name}: {self._described(code)}", code)

    def _described(self, code: int) -> str:
        """Return an error's name and text, as the driver has them."""
        said: list[str] = []
        for function in ("cuGetErrorName", "cuGetErrorString"):
            text = c_char_p()
            known = int(getattr(self._cuda, function)(code, ctypes.byref(text))) == 0
            if known and text.value is not None:
                said.append(text.value.decode(errors="replace"))
        return ": ".join(said) or f"error {code}"

    def _attribute(self, number: int) -> int:
        value = c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), number, self._device)
        return value.value

    def enter(self) -> None:
        """Make the device the calling thread's: before anything below, in every thread.

        Raises:
            DeviceError: the driver refuses; so do all below.
        """
        self._call("cuCtxSetCurrent", self._context)

    def close(self) -> None:
        """Give the context back; modules and memory must be gone."""
        self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    # --- modules ---

    def load(self, ptx: str) -> int:
        """Return a module of PTX, which the driver assembles for the device."""
        module = c_void_p()
        text = ctypes.create_string_buffer(ptx.encode())
        self._call("cuModuleLoadData", ctypes.byref(module), text)
        return module.value or 0

    def function(self, module: int, name: str) -> int:
        """Return a kernel of a module."""
        found = c_void_p()
        self._call("cuModuleGetFunction", ctypes.byref(found), module, name.encode())
        return found.value or 0

    def unload(self, module: int) -> None:
        """Let go of a module."""
        self._call("cuModuleUnload", module)

    # --- memory ---

    def allocate(self, nbytes: int) -> int:
        """Return the address of new memory on the device, at least one byte, aligned to 256."""
        address = c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), max(nbytes, 1))
        return address.value

    def free(self, address: int) -> None:
        """Give memory back."""
        self._call("cuMemFree_v2", address)

    def upload(self, address: int, array: Array) -> None:
        """Copy a contiguous array to the device."""
        assert array.flags.c_contiguous
        if array.nbytes:
            self._call("cuMemcpyHtoD_v2", address, array.ctypes.data, array.nbytes)

    def download(self, array: Array, address: int) -> None:
        """Copy from the device into a contiguous array; waits for kernels before it."""
        assert array.flags.c_contiguous
        if array.nbytes:
            self._call("cuMemcpyDtoH_v2", array.ctypes.data, address, array.nbytes)

    def fill(self, address: int, byte: int, nbytes: int) -> None:
        """Set bytes on the device."""
        if nbytes:
            self._call("cuMemsetD8_v2", address, byte, nbytes)

    # --- kernels ---

    def launch(self, function: int, blocks: int, threads: int, words: Sequence[int]) -> None:
        """Start a kernel. `words`: its parameters as 64 bits each; a float is in the low half."""
        held = np.array([word & (1 << 64) - 1 for word in words], np.uint64)
        base = held.ctypes.data
        pointers = (c_void_p * len(words))(*(base + 8 * place for place in range(len(words))))
        self._call(
            "cuLaunchKernel", function, blocks, 1, 1, threads, 1, 1, 0, None, pointers, None
        )  # the driver copies the parameters before it returns

    def synchronize(self) -> None:
        """Wait for all kernels; what went wrong in one is raised here."""
        self._call("cuCtxSynchronize")
