"""Vertical fusion: a loop over the rows that an earlier loop appends runs over that one's source.

The expressions of the appended columns take the columns' place, both filters join, and a loop whose
rows nobody wants any more is dropped. Columns that can raise stay: they raise for rows that the
later filter might keep out.
"""

from __future__ import annotations

from dataclasses import replace

from foveal.planner.ir import nodes, program, typing
from foveal.planner.ir.inference import of_loop
from foveal.planner.ir.nodes import Expr, Lookup
from foveal.planner.ir.passes.trees import Rewriter, mapped_loop, nodes_of
from foveal.planner.ir.text import expressions


def inline(whole: program.Program) -> program.Program:
    """Return the program with no loop over another's rows, where that can be."""
    loops: list[program.Loop] = []
    used: set[str] = set()
    for loop in whole.loops:
        earlier = next((x for x in loops if x.into == loop.source), None)
        if earlier is None or not _can_move(whole, earlier):
            loops.append(loop)
            continue
        used.add(earlier.into)
        loops.append(_merged(whole, earlier, loop))
    if not used:
        return whole
    named = {*whole.results, *(part.loop for part in whole.parts)}
    kept = [x for x in loops if x.into in named or x.into not in used or _is_read(x.into, loops)]
    return replace(whole, loops=tuple(kept))


def _can_move(whole: program.Program, earlier: program.Loop) -> bool:
    """Say whether a loop's columns may be computed elsewhere."""
    if not isinstance(earlier.builder, program.Append):
        return False
    inference = of_loop(whole, earlier)
    return not any(inference.facts(x).can_raise for _, x in earlier.builder.fields)


def _merged(whole: program.Program, earlier: program.Loop, loop: program.Loop) -> program.Loop:
    """Return a loop over the rows of an earlier one, as one over its source."""
    assert isinstance(earlier.builder, program.Append)
    fields = dict(earlier.builder.fields)

    def column(node: Expr) -> Expr:
        return fields[node.name] if isinstance(node, nodes.Column) else node

    made = mapped_loop(replace(loop, source=earlier.source), Rewriter(column))
    first = earlier.where
    if first is None:
        return made
    if made.where is None:
        return replace(made, where=first)
    if of_loop(whole, earlier).facts(first).nullable and not isinstance(first, nodes.Coalesce):
        # Behind a NULL the later filter would be computed, and could raise.
        first = typing.coalesce(first, nodes.FALSE)
    return replace(made, where=typing.binary("and", first, made.where))


def _is_read(name: str, loops: list[program.Loop]) -> bool:
    """Say whether a loop reads another's rows or table."""
    return any(
        loop.source == name
        or any(
            isinstance(x, Lookup) and x.table == name
            for x in nodes_of(*filter(None, (loop.where,)), *expressions(loop.builder))
        )
        for loop in loops
    )
