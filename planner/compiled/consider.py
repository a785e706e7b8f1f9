"""A statement's blocks → the programs that could stand for parts of it, and why others cannot."""

from __future__ import annotations

from collections.abc import Mapping

from foveal.errors import Span
from foveal.planner.compiled.aggregate import Aggregation
from foveal.planner.compiled.plan import Candidate, Considered
from foveal.planner.compiled.reading import Reading
from foveal.planner.compiled.refusal import NotCompilable
from foveal.planner.compiled.tables import Facts


def tables_named(reading: Reading) -> frozenset[tuple[str, ...]]:
    """Return the dotted names of tables, folded, that a statement's FROMs mention."""
    found: set[tuple[str, ...]] = set()
    for block in reading.blocks:
        try:
            relations = reading.relations(block)
        except NotCompilable:
            continue
        found.update(r.table for r in relations if r.table)
    return frozenset(f for f in found if len(f) > 1 or not reading.hidden.issuperset(f))


def consider(
    reading: Reading,
    facts: Facts,
    parameters: Mapping[str, object],
    users: frozenset[str] = frozenset(),
) -> Considered:
    """Return the candidates of a statement, outer blocks before inner ones.

    `users`: folded names of the user's own functions and macros.
    """
    candidates: list[Candidate] = []
    refusals: list[NotCompilable] = []
    wanted: set[tuple[tuple[str, ...], str]] = set()
    for block in reading.blocks:
        if any(_holds(c, block.span) for c in candidates):
            continue
        try:
            made = Aggregation(
                reading, block, facts, parameters, f"compiled_{len(candidates)}", users
            )
            candidates.append(made.candidate())
        except NotCompilable as refusal:
            refusal.span = refusal.span or block.span
            refusals.append(refusal)
            if refusal.wanted_unique:
                wanted.update(refusal.wanted_unique)
    return Considered(tuple(candidates), tuple(refusals), frozenset(wanted))


def _holds(candidate: Candidate, span: Span) -> bool:
    """Say whether a block is gone with what a candidate replaces."""
    return any(e.span.start <= span.start and span.end <= e.span.end for e in candidate.edits)
