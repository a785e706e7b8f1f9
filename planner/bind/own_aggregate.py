"""A block with FCOUNT or ERROR WITHIN becomes a `FrameAggregate`; its text reads the result."""

from __future__ import annotations

import re
from dataclasses import replace

from sqlglot import exp

from foveal.errors import NotSupportedError, ProgrammingError, Span
from foveal.planner.bind.binding import Binding
from foveal.planner.bind.block_text import BlockText
from foveal.planner.bind.predicates import flatten_and
from foveal.planner.bind.quantities import LEARNABLE, quantity_of
from foveal.planner.bind.references import Reference, identifier_span, used_columns
from foveal.planner.bind.source import (
    Base,
    follow,
    has_joins,
    mixes_frames_and_objects,
    outer_qualifier,
    source_of,
)
from foveal.planner.logical import (
    RELATION_COLUMNS,
    Aggregate,
    Conjunct,
    FrameAggregate,
    Frames,
    Input,
    Logical,
    Project,
)
from foveal.planner.parse.statement import Block
from foveal.planner.protocols import Quantity
from foveal.planner.text import Edit


def bind_aggregate(binding: Binding, index: int, block: Block, counts: list[Span]) -> None:
    """Take the block out; a simple relation under it can be sampled.

    Raises:
        ProgrammingError: 42601, no FROM or no aggregate.
        NotSupportedError: 0A000, joins, windows and correlation.
    """
    select = binding.selects.get(index)
    clauses = block.clauses
    where = counts[0] if counts else (clauses.spans[0] if clauses.spans else block.span)
    if select is None:
        raise ProgrammingError(
            "FCOUNT and ERROR WITHIN need a FROM clause", sqlstate="42601", span=where
        )
    base = follow(select, binding.query, binding.refs, binding.predicates.of)
    if base is None or base.ref.relation == "tracks":
        if counts:
            joined = has_joins(select)
            raise NotSupportedError(
                "FCOUNT over a join" if joined else "FCOUNT needs one video table in FROM",
                span=counts[0],
                hint="count frames in a sub-query of their own and join its result",
            )
        if clauses.error is not None and not binding.has_aggregates(index):
            raise _no_aggregate(clauses.error.span)
        # Answered exactly by DuckDB: an exact answer meets every tolerance.
        binding.limit_statement(block)
        return
    if block.qualify is not None or block.window is not None:
        raise NotSupportedError(
            "QUALIFY and WINDOW cannot stand in a block that has FCOUNT or ERROR WITHIN",
            span=block.qualify or block.window,
            hint="put the block in a sub-query and the window around it",
        )
    outside = outer_qualifier(select)
    if outside is not None:
        raise NotSupportedError(
            "a correlated sub-query cannot have FCOUNT or ERROR WITHIN",
            span=identifier_span(outside.this, binding.query.query.start),
            hint="GROUP BY the correlated column in a sub-query and join its result",
        )
    own = binding.predicates.of(select, base.alias, base.ref.relation)
    tolerance = binding.numbers.tolerance(block)
    if clauses.error is not None:
        _refuse_mixed_or(binding, select, block, base)
    writer = BlockText(binding.query, block, select, base, binding.render)
    aggregates = writer.find_aggregates()
    if not aggregates:
        raise _no_aggregate(clauses.error.span if clauses.error else where)
    keys = writer.find_keys()
    name = binding.fresh_name()
    text = writer.outer(name)
    binding.writers[id(select)] = (writer, name)
    if base.ref.relation == "objects":
        conditions = [c for _, level in base.levels for c in level] + list(own)
        conditions = [c for c in conditions if not c.frame_only]
        aggregates = tuple(
            replace(a, quantity=_quantity(a, conditions, base.alias, binding)) for a in aggregates
        )
    source = source_of(base, own)
    base_ref = base.ref
    base_name = _input_name(binding, base_ref)
    prefix, carried = binding.with_clause(block, select)
    others = [i for i in [*binding.take_inputs(block.span), *carried] if i.name != base_name]
    # A sub-query beside the aggregates is read where their result is, not below them.
    binding.inputs += [(block.span, i) for i in others if _mentions(text, i.name)]
    frame_conjuncts = tuple(c for _, cs in source.levels for c in cs if c.columns and c.pure)
    columns = tuple(dict.fromkeys(["video", "frame", "ts", *used_columns(binding.query, base_ref)]))
    columns = tuple(c for c in RELATION_COLUMNS[base_ref.relation] if c in columns)
    rows = Project(_without_project(binding.scan(base_ref, frames=frame_conjuncts)), columns)
    frames = Frames(base_ref.table, frame_conjuncts)
    below = " ".join(
        [prefix, source.sql, *(c.text for c in own), *(k.text for k in keys),
         *(a.call for a in aggregates)]
    )  # fmt: skip
    inputs = tuple(i for i in others if _mentions(below, i.name))
    node = FrameAggregate(
        rows, frames, inputs, base_ref.table, base_ref.relation, prefix, source, own, keys,
        aggregates, tolerance, block.span,
    )  # fmt: skip
    binding.inputs.append((block.span, Input(name, node)))
    binding.edits.append(Edit(block.span, text))
    if not tolerance.exact and binding.settings["guarantee"] != "exact":
        binding.approximate[id(select)] = block.span


def _no_aggregate(span: Span) -> ProgrammingError:
    return ProgrammingError(
        "ERROR WITHIN needs an aggregate",
        span=span,
        hint="use FCOUNT(*), COUNT, SUM or AVG in the select list",
    )


def _quantity(
    aggregate: Aggregate, conditions: list[Conjunct], alias: str, binding: Binding
) -> Quantity | None:
    """Return what a frame contributes to an aggregate, where a proxy may learn it."""
    argument = aggregate.argument.strip()
    value = argument if aggregate.kind == "sum" else "1"
    if aggregate.kind == "count":
        if _plain_column(argument, alias) not in LEARNABLE:
            return None
    elif aggregate.kind not in ("fcount", "count_star", "sum"):
        return None
    if aggregate.kind == "fcount" and argument not in ("", "*"):
        return None
    wanted: list[Conjunct | str] = [*conditions]
    if aggregate.filter:
        inside = re.fullmatch(
            r"FILTER\s*\(\s*WHERE\s(.*)\)", aggregate.filter.strip(), re.IGNORECASE | re.DOTALL
        )
        if inside is None:
            return None
        wanted.append(inside.group(1))
    return quantity_of(wanted, alias, value, user_functions=binding.snapshot.user_functions)


def _plain_column(argument: str, alias: str) -> str:
    return argument.lower().removeprefix(f"{alias.lower()}.").strip('"')


def _input_name(binding: Binding, ref: Reference) -> str:
    for span, item in binding.inputs:
        if span == ref.span:
            return item.name
    for edit in binding.edits:
        if edit.span == ref.span:
            return edit.text.split(" ")[0]
    return ""


def _refuse_mixed_or(binding: Binding, select: exp.Select, block: Block, base: Base) -> None:
    where = select.args.get("where")
    if where is None:
        return
    nodes = flatten_and(where.this)
    spans = block.conjuncts if len(nodes) == len(block.conjuncts) else (block.where,)
    for node, span in zip(nodes, spans, strict=False):
        if mixes_frames_and_objects(node, base.alias, base.ref.relation):
            raise NotSupportedError(
                "an OR of a frame predicate and an object predicate leaves open which frames "
                "ERROR WITHIN averages over",
                span=span,
                hint="split it into two blocks and UNION ALL them, or leave out ERROR WITHIN",
            )


def _mentions(text: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None


def _without_project(node: Logical) -> Logical:
    return node.child if isinstance(node, Project) else node
