"""PTX of a program's kernels, by LLVM's NVPTX back end; assembled by `ptxas` where there is one.

A device needs no `ptxas`: the driver assembles PTX itself. It is for checking, without a device,
that PTX is well formed and how many registers it takes.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from foveal.engine.compile.ptx.grid import module_text
from foveal.engine.compile.ptx.planning import plan_grid
from foveal.engine.compile.ptx.target import Nvptx
from foveal.planner.ir.program import Program

Architecture: TypeAlias = Literal["sm_80", "sm_90", "sm_100"]

ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
"""Ampere, Hopper, Blackwell; a device runs the PTX of every architecture up to its own."""
TRIPLE = "nvptx64-nvidia-cuda"


@functools.cache
def _llvm() -> Any:
    """Return llvmlite's binding with the back end for PTX."""
    from llvmlite import binding  # pyright: ignore[reportMissingTypeStubs]

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    return binding


def architecture_of(capability: tuple[int, int]) -> Architecture | None:
    """Return the newest architecture that a device of a compute capability runs; None: none.

    >>> architecture_of((8, 6)), architecture_of((12, 0)), architecture_of((7, 5))
    ('sm_80', 'sm_100', None)
    """
    number = 10 * capability[0] + capability[1]
    fitting: list[Architecture] = [a for a in ARCHITECTURES if int(a.removeprefix("sm_")) <= number]
    return fitting[-1] if fitting else None


def ptx_of(program: Program, architecture: Architecture) -> str:
    """Return a program as PTX: kernels `loop_k`, and `clear_k` and `merge_k` where they fold.

    Raises:
        Unsupported: the program does not run on a GPU.
        RuntimeError: LLVM refuses the text, which is a fault of ours.
    """
    return ptx_of_text(module_text(plan_grid(program), Nvptx()), architecture)


def ptx_of_text(ir: str, architecture: Architecture) -> str:
    """Return LLVM's IR text, verified and optimised, as PTX."""
    llvm = _llvm()
    module = llvm.parse_assembly(ir)
    target = llvm.Target.from_triple(TRIPLE)
    machine = target.create_target_machine(cpu=architecture, opt=3)
    module.triple, module.data_layout = TRIPLE, str(machine.target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return str(machine.emit_assembly(module))


class AssemblyError(Exception):
    """`ptxas` refused PTX; the text is what it said."""


def assembler() -> str | None:
    """Return where `ptxas` is on the path; None: there is none."""
    return shutil.which("ptxas")


def assembled(ptx: str, architecture: Architecture) -> tuple[bytes, str]:
    """Return PTX as machine code of an architecture, and what `ptxas` said of each kernel.

    Raises:
        FileNotFoundError: there is no `ptxas` on the path.
        AssemblyError: it refused the text.
    """
    command = assembler()
    if command is None:
        raise FileNotFoundError("there is no ptxas on the path")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(ptx)
        cubin = source.with_suffix(".cubin")
        done = subprocess.run(
            [command, "-v", f"-arch={architecture}", str(source), "-o", str(cubin)],
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        if done.returncode:
            raise AssemblyError(said)
        return cubin.read_bytes(), said
