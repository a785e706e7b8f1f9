"""Rewrites that keep a program's meaning, one file each; each can be switched off.

A pass is a pure function from program to program. `rewrite` runs them in the order of `PASSES`,
those of a group until nothing changes, and verifies what each leaves behind. `parametrized` comes
last: it takes literals out, so that one object serves all constants.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from foveal.planner.ir.passes.fold import fold
from foveal.planner.ir.passes.fuse import fuse
from foveal.planner.ir.passes.inline import inline
from foveal.planner.ir.passes.narrow import narrow
from foveal.planner.ir.passes.ordering import order
from foveal.planner.ir.passes.parameters import parametrize
from foveal.planner.ir.passes.predication import predicate
from foveal.planner.ir.passes.sharing import share
from foveal.planner.ir.passes.strategy import group_strategy
from foveal.planner.ir.passes.sums import simplify_sums
from foveal.planner.ir.program import Program
from foveal.planner.ir.text import program_text
from foveal.planner.ir.verify import verify

Trace: TypeAlias = Callable[[str, Program], None]
"""Told the name of each pass that changed the program, and the program after it."""


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass by name. `needs`: what it goes by; `repeated`: run with its group to a fixpoint."""

    name: str
    run: Callable[[Program], Program]
    needs: str
    repeated: bool = True


PASSES: tuple[Pass, ...] = (
    Pass("inline", inline, "loops over the rows that an earlier loop appends"),
    Pass("fold", fold, "constants, ranges and NULLs of columns, scalars and tables"),
    Pass("narrow", narrow, "ranges that show a cast to lose nothing"),
    Pass("sums", simplify_sums, "NULLs and ranges of what is aggregated"),
    Pass("share", share, "nothing"),
    Pass("fuse", fuse, "loops over one source", repeated=False),
    Pass("order", order, "ranges, for the share of rows that pass", repeated=False),
    Pass("strategy", group_strategy, "ranges of keys", repeated=False),
    Pass("predicate", predicate, "ranges, for the share of rows that pass", repeated=False),
)
"""All passes in their order; `parameters` comes after them."""
PARAMETERS = "parameters"
"""The name of the pass that `parametrized` runs."""
NAMES = (*(p.name for p in PASSES), PARAMETERS)
ROUNDS = 8
"""How often the repeated passes run at most."""


def rewrite(
    program: Program, off: Collection[str] = frozenset(), trace: Trace | None = None
) -> Program:
    """Return a program that means the same, by all passes but those whose names are in `off`.

    Raises:
        InternalError: a pass broke the program.
    """
    for _ in range(ROUNDS):
        before = program
        for one in PASSES:
            if one.repeated:
                program = _ran(one, program, off, trace)
        if program == before:
            break
    for one in PASSES:
        if not one.repeated:
            program = _ran(one, program, off, trace)
    return program


def parametrized(
    program: Program, off: Collection[str] = frozenset(), trace: Trace | None = None
) -> tuple[Program, Mapping[str, bool | int | float | None]]:
    """Return a rewritten program with its literals as scalars, and their values.

    To be run with `Inputs.scalars` joined by the values. With "parameters" in `off` there are none.

    Raises:
        InternalError: a pass broke the program.
    """
    program = rewrite(program, off, trace)
    if PARAMETERS in off:
        return program, {}
    made, values = parametrize(program)
    verify(made)
    if trace is not None and made != program:
        trace(PARAMETERS, made)
    return made, values


def traced(program: Program, off: Collection[str] = frozenset()) -> str:
    """Return what each pass makes of a program, as text."""
    parts = [f"-- as written\n{program_text(program)}"]
    parametrized(program, off, lambda name, made: parts.append(f"-- {name}\n{program_text(made)}"))
    return "\n".join(parts)


def _ran(one: Pass, program: Program, off: Collection[str], trace: Trace | None) -> Program:
    """Return what a pass makes of a program, verified."""
    if one.name in off:
        return program
    made = one.run(program)
    if made == program:
        # The same in meaning may still share more objects.
        return made if one.name == "share" else program
    verify(made)
    if trace is not None:
        trace(one.name, made)
    return made
