"""A block with FNR WITHIN or FPR WITHIN: which frames may be wrong, and how many of them."""

from __future__ import annotations

from foveal.errors import ProgrammingError
from foveal.planner.bind.binding import Binding
from foveal.planner.parse.statement import Block


def bind_selection(binding: Binding, block: Block, counts: bool) -> None:
    """Note the bounds; they hold for the whole statement.

    Raises:
        ProgrammingError: an aggregate. DataError: 22023, a rate out of range.
    """
    clauses = block.clauses
    bound = clauses.fnr or clauses.fpr
    assert bound is not None
    if counts or clauses.error is not None or block.group_by is not None:
        raise ProgrammingError(
            f"{bound.kind.upper()} WITHIN bounds the wrong frames of a selection, not of an "
            "aggregate",
            span=bound.span,
            hint="use ERROR WITHIN for aggregates",
        )
    fnr = binding.numbers.rate(clauses.fnr) if clauses.fnr else None
    fpr = binding.numbers.rate(clauses.fpr) if clauses.fpr else None
    binding.selections.append((fnr, fpr, binding.numbers.confidence(clauses.confidence)))
