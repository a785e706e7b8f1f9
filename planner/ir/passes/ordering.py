"""The terms of a filter by how much they cost for each row that they keep out.

Only neighbours that cannot raise change places: what comes before a term that raises decides for
which rows it does.
"""

from __future__ import annotations

from dataclasses import replace

from foveal.planner.ir import program, typing
from foveal.planner.ir.inference import Inference
from foveal.planner.ir.nodes import Expr
from foveal.planner.ir.passes.estimates import cost, share
from foveal.planner.ir.passes.trees import conjuncts, mapped_loops


def order(whole: program.Program) -> program.Program:
    """Return the program with the terms of its filters in the best order."""
    return mapped_loops(whole, _ordered)


def _ordered(loop: program.Loop, inference: Inference) -> program.Loop:
    if loop.where is None:
        return loop
    terms: list[Expr] = []
    run: list[Expr] = []
    for term in conjuncts(loop.where):
        if inference.facts(term).can_raise:
            terms += [*_sorted(run, inference), term]
            run = []
        else:
            run.append(term)
    made = typing.both(*dict.fromkeys([*terms, *_sorted(run, inference)]))
    return replace(loop, where=made)


def _sorted(terms: list[Expr], inference: Inference) -> list[Expr]:
    """Return terms by (share kept - 1) / cost, least first (Hellerstein and Stonebraker 1993)."""
    return sorted(terms, key=lambda x: (share(x, inference) - 1) / max(cost([x]), 1.0))
