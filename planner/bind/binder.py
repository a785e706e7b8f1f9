"""Names to relations: one parsed query becomes a fragment of SQL over bound inputs of ours.

The walk: find the extension relations; take out, from the inside out, the blocks that own our
clauses (each becomes a named input); put input names in place of relation names; the rest of the
user's text is DuckDB's and stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from foveal.errors import NotSupportedError, ProgrammingError, Span
from foveal.planner.bind.approximate import Approximation
from foveal.planner.bind.binding import Binding
from foveal.planner.bind.classes import check_classes
from foveal.planner.bind.interval_columns import Carried
from foveal.planner.bind.intervals import Intervals
from foveal.planner.bind.own_aggregate import bind_aggregate
from foveal.planner.bind.own_gap import bind_gap
from foveal.planner.bind.own_selection import bind_selection
from foveal.planner.logical import (
    Fragment,
    FrameAggregate,
    Input,
    Logical,
    PixelFilter,
    Project,
    Selection,
)
from foveal.planner.parse.statement import Query
from foveal.planner.pixel_order import called
from foveal.planner.protocols import Snapshot
from foveal.planner.text import Edit, Mapped, apply
from foveal.planner.tree import Node, transform_up


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound statement: its logical plan, and how its text maps back to the user's.

    `approximate`: some column of the result carries an interval instead of a value.
    `notices`: what the user should know of the binding. `budget`: seconds and detector calls that
    the statement may spend where it has no interval to answer with, None for no limit. `carrying`:
    the text to run in place of the plan's where the result has intervals: behind its columns stand
    hidden ones, which `carried` describes.
    """

    plan: Logical
    mapped: Mapped
    approximate: bool
    notices: tuple[str, ...] = ()
    budget: tuple[float | None, int | None] = (None, None)
    carrying: Mapped | None = None
    carried: tuple[Carried, ...] = ()


def bind(query: Query, snapshot: Snapshot) -> Bound:
    """Return the bound plan of a query over extension relations.

    Raises:
        ProgrammingError: a name, class or grouping is wrong (42xxx).
        NotSupportedError: 0A000, understood but refused.
        DataError: 22023, a clause's number is out of range.
    """
    binding = Binding(query, snapshot)
    for span, key in binding.query.parameters:
        if binding.query.text[span.start : span.end] != f"${key}":
            binding.edits.append(Edit(span, f"${key}"))
    for ref in binding.refs:
        check_classes(binding.query, ref, binding.predicates.readers(ref), binding.snapshot)
        binding.replace_reference(ref)
    binding.drop_column_prefixes()
    order = sorted(range(len(binding.query.blocks)), key=lambda i: -binding.query.blocks[i].depth)
    for i in order:
        _own(binding, i)
    Approximation(binding.query.tree, binding.query.query.start, binding.approximate).check()
    mapped = apply(binding.query.blanked, binding.edits)
    inputs = tuple(_tested(binding, span, i) for span, i in binding.inputs)
    plan: Logical = Fragment(mapped.text, inputs, binding.query.kind)
    for fnr, fpr, confidence, why in binding.selections:
        plan = Selection(plan, fnr, fpr, confidence, why)
    carrying, carried = None, ()
    if binding.approximate and query.kind == "select":
        carrying, carried, shares = Intervals(binding).carry()
        plan = _surer(plan, shares)
    return Bound(
        plan, mapped, bool(binding.approximate), tuple(binding.notices), binding.budget, carrying,
        carried,
    )  # fmt: skip


def _tested(binding: Binding, span: Span, item: Input) -> Input:
    """Return an input whose rows are tested before the fragment, if a test looks at pixels."""
    functions = binding.snapshot.pixel_functions
    refs = [r for r in binding.refs if r.span == span and r.relation in ("objects", "frames")]
    if not functions or not refs or not isinstance(item.child, Project):
        return item
    conjuncts = tuple(c for c in binding.predicates.on_rows(refs[0]) if not c.frame_only)
    if not any(called(c.text, functions) for c in conjuncts):
        return item
    return replace(item, child=PixelFilter(item.child, conjuncts))


def _surer(plan: Logical, confidences: Mapping[Span, float]) -> Logical:
    """Return the plan with the confidences that its blocks are to hold at."""

    def once(node: Node) -> Node:
        if not isinstance(node, FrameAggregate):
            return node
        asked = confidences.get(node.span, node.tolerance.confidence)
        if asked == node.tolerance.confidence:
            return node
        return replace(node, tolerance=replace(node.tolerance, confidence=asked))

    found = transform_up(plan, once)
    assert isinstance(found, Logical)
    return found


def _own(binding: Binding, index: int) -> None:
    block = binding.query.blocks[index]
    counts = [s for s in binding.query.fcounts if binding.innermost(s) == index]
    clauses = block.clauses
    if clauses.fnr is not None or clauses.fpr is not None:
        bind_selection(binding, index, block, bool(counts))
    aggregate = (
        bool(counts)
        or clauses.error is not None
        or (clauses.budget is not None and clauses.gap is None and binding.has_aggregates(index))
    )
    if not aggregate:
        binding.keep_names(block, binding.selects.get(index))
    if clauses.gap is not None:
        if counts or clauses.error is not None:
            raise NotSupportedError(
                "GAP spaces rows of frames; it cannot space aggregates",
                span=clauses.gap.span,
                hint="leave out GAP, or select frames instead of an aggregate",
            )
        bind_gap(binding, index, block)
    elif aggregate:
        bind_aggregate(binding, index, block, counts)
    elif clauses.bounds is not None:
        raise ProgrammingError("BOUNDS needs ERROR WITHIN beside it", span=clauses.bounds.span)
    elif clauses.budget is not None:
        binding.limit_statement(block)


__all__ = ["Bound", "bind"]
