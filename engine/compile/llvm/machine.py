"""LLVM itself, through llvmlite: IR text in, objects of machine code out and into this process.

The one place that touches llvmlite; it is loaded when the first function here is called.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

Level: TypeAlias = Literal["O0", "O3"]

LOOP_FUNCTION = ctypes.CFUNCTYPE(
    ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64
)
"""A loop of a kernel: (arguments, control, the thread's state, morsels at most) -> why it ended."""


@functools.cache
def _llvm() -> Any:
    """Return llvmlite's binding, ready for this machine; 30 ms at the first call."""
    from llvmlite import binding  # pyright: ignore[reportMissingTypeStubs]

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding


@functools.cache
def host() -> tuple[str, str, str, str]:
    """Return LLVM's version and this machine's triple, CPU name and features."""
    llvm = _llvm()
    version = ".".join(map(str, llvm.llvm_version_info))
    features: str = llvm.get_host_cpu_features().flatten()
    return version, llvm.get_process_triple(), llvm.get_host_cpu_name(), features


def _machine(level: Level) -> Any:
    """Return a target machine; each compilation has its own, they are not shared by threads."""
    llvm = _llvm()
    _, triple, cpu, features = host()
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=3 if level == "O3" else 0, reloc="pic", codemodel="default"
    )


def _optimised(ir: str, level: Level) -> tuple[Any, Any]:
    """Return the module after LLVM's passes, and its target machine."""
    llvm = _llvm()
    # In the global context: llvmlite calls LLVM under one lock, and a context of our own could be
    # freed before what lives in it.
    module = llvm.parse_assembly(ir)
    machine = _machine(level)
    # Passes estimate costs by the layout: it must be the target's.
    module.triple, module.data_layout = host()[1], str(machine.target_data)
    module.verify()
    fast = level == "O3"
    options = llvm.create_pipeline_tuning_options(speed_level=3 if fast else 0)
    options.loop_vectorization = options.slp_vectorization = options.loop_interleaving = fast
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module, machine


def compile_ir(ir: str, level: Level) -> bytes:
    """Return IR text as an object file in this machine's code.

    Raises:
        RuntimeError: LLVM refuses the text, which is a fault of ours.
    """
    module, machine = _optimised(ir, level)
    return bytes(machine.emit_object(module))


def optimised_ir(ir: str, level: Level) -> str:
    """Return IR text after LLVM's passes."""
    return str(_optimised(ir, level)[0])


def assembly(ir: str, level: Level) -> str:
    """Return IR text as this machine's assembly."""
    module, machine = _optimised(ir, level)
    return str(machine.emit_assembly(module))


class Loaded:
    """An object in this process. Its code lives as long as this does: keep it while calling."""

    def __init__(self, code: bytes) -> None:
        """Link the object.

        Raises:
            RuntimeError: it is no object of this machine.
        """
        llvm = _llvm()
        empty = llvm.parse_assembly("")
        self._engine = llvm.create_mcjit_compiler(empty, _machine("O0"))
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()

    def address(self, name: str) -> int:
        """Return a function's address.

        Raises:
            KeyError: there is none of this name.
        """
        found: int = self._engine.get_function_address(name)
        if not found:
            raise KeyError(name)
        return found

    def loop(self, name: str) -> Callable[[int, int, int, int], int]:
        """Return a loop as a callable; a call drops the interpreter lock."""
        return LOOP_FUNCTION(self.address(name))
