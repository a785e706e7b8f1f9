"""Programs as machine code: text of the module, compiled object, functions ready to be called."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from foveal.engine.compile.llvm import machine
from foveal.engine.compile.llvm.loops import LoopWriter
from foveal.engine.compile.llvm.machine import Level, Loaded
from foveal.engine.compile.llvm.mathlib import library
from foveal.engine.compile.llvm.planning import LoopPlan, plan_program
from foveal.engine.compile.llvm.scored import ScoredLoopWriter
from foveal.planner.ir.program import Program
from foveal.planner.ir.text import program_text

CODEGEN_VERSION = 4
"""To be raised with every change of the generated code: objects of others are not loaded."""

DumpKind: TypeAlias = Literal["ir", "llvm", "assembly"]

_WEIGHTS = (
    '!0 = !{!"branch_weights", i32 1000, i32 1}\n!1 = !{!"branch_weights", i32 1, i32 1000}\n'
)


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """A program in machine code. `loops`: a function for each loop of `plans`."""

    program: Program
    level: Level
    plans: list[LoopPlan]
    loaded: Loaded
    loops: list[Callable[[int, int, int, int], int]]


def module_text(plans: list[LoopPlan]) -> str:
    """Return the module of a program's loops as LLVM's text.

    Raises:
        Unsupported: an expression without machine code.
    """
    functions = [
        function
        for number, plan in enumerate(plans)
        for function in _writer(plan, number).functions()
    ]
    used = set[str]().union(*(function.library for function in functions))
    functions += library(used)
    declared = sorted(set[str]().union(*(f.declarations | f.globals for f in functions)))
    return "\n".join([*declared, *(function.text() for function in functions), _WEIGHTS])


def _writer(plan: LoopPlan, number: int) -> LoopWriter:
    """Return what writes a loop: rows in blocks where models are applied."""
    writer = ScoredLoopWriter if plan.layout.models else LoopWriter
    return writer(plan.loop, number, plan.layout, plan.code, plan.facts)


@functools.lru_cache(1024)
def cache_key(program: Program, level: Level) -> str:
    """Return the name of a program's object: what it means, for which machine, by which writer."""
    parts = (program_text(program), *machine.host(), str(CODEGEN_VERSION), level)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def object_code(plans: list[LoopPlan], level: Level) -> bytes:
    """Compile a program's loops to an object file.

    Raises:
        Unsupported: an expression without machine code.
    """
    return machine.compile_ir(module_text(plans), level)


def load_kernel(program: Program, plans: list[LoopPlan], code: bytes, level: Level) -> Kernel:
    """Link an object of a program.

    Raises:
        RuntimeError, KeyError: it is not one.
    """
    loaded = Loaded(code)
    loops = [loaded.loop(f"loop_{number}") for number in range(len(plans))]
    return Kernel(program, level, plans, loaded, loops)


def compile_program(program: Program, level: Level = "O3") -> Kernel:
    """Compile a program without any cache.

    Raises:
        Unsupported: the program has no machine code.
    """
    plans = plan_program(program)
    return load_kernel(program, plans, object_code(plans, level), level)


def dump(program: Program, kind: DumpKind, level: Level = "O3") -> str:
    """Return the code of a program: LLVM's IR as written, as optimised, or the assembly.

    Raises:
        Unsupported: the program has no machine code.
    """
    text = module_text(plan_program(program))
    if kind == "ir":
        return text
    return machine.optimised_ir(text, level) if kind == "llvm" else machine.assembly(text, level)
