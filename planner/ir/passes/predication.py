"""How a loop treats rows that its filter keeps out: by mask, by branch, or by compaction.

A mask computes every row, several at a time; a branch leaves rows out one by one and pays for wrong
guesses; compaction gathers the rows that pass in blocks before what is expensive (models).
"""

from __future__ import annotations

from dataclasses import replace

from foveal.planner.ir import program
from foveal.planner.ir.inference import Inference
from foveal.planner.ir.nodes import Iterate, Predict
from foveal.planner.ir.passes.estimates import cost, share
from foveal.planner.ir.passes.trees import mapped_loops, nodes_of
from foveal.planner.ir.text import expressions

LANES = 4.0
"""How many rows at a time masked code computes, about: 4 of 64 bits."""
MISS = 15.0
"""Cycles of a wrong guess at a branch."""
SKIP = 7.0
"""Cycles of a row that a branch leaves out, guessed rightly: loads and tests one row at a time."""
RARE = 0.02
"""Share of rows below which a branch is nearly always guessed rightly."""


def predicate(whole: program.Program) -> program.Program:
    """Return the program with a way chosen for each loop where none was."""
    return mapped_loops(whole, _chosen)


def _chosen(loop: program.Loop, inference: Inference) -> program.Loop:
    if loop.where is None or loop.how:
        return loop
    return replace(loop, how=way(loop, inference))


def way(loop: program.Loop, inference: Inference) -> str:
    """Return the way that should take the least time."""
    assert loop.where is not None
    body = expressions(loop.builder)
    inner = list(nodes_of(*body))
    if any(isinstance(node, Predict) for node in inner):
        return "compact"
    if any(isinstance(node, Iterate) for node in inner):
        return "branch"
    kept = share(loop.where, inference)
    everything = cost([loop.where, *body])
    filtering = cost([loop.where])
    own = everything - filtering + _merging(loop.builder)
    misses = 0.0 if kept < RARE else 2 * min(kept, 1 - kept)
    branch = filtering + SKIP + misses * MISS / 2 + kept * own
    mask = (filtering + own) / (1.0 if isinstance(loop.builder, program.Group) else LANES)
    return "branch" if branch < mask else "mask"


def _merging(builder: program.Builder) -> float:
    """Return the cycles of adding a row to a builder."""
    match builder:
        case program.Struct(fields=fields):
            return 1.0 * len(fields)
        case program.Group(keys=keys, fields=fields):
            return 2.0 * len(keys) + 3.0 * len(fields)
        case _:
            return 4.0
