"""A block with LIMIT .. GAP becomes a `GapLimit` over a fragment that shows each row's frame."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from foveal.errors import NotSupportedError, ProgrammingError, Span
from foveal.planner.bind.binding import Binding
from foveal.planner.bind.frame_heads import heads_of
from foveal.planner.bind.references import Reference
from foveal.planner.bind.source import UNNAMED_ROWS, Base, decided_by_frame, follow
from foveal.planner.logical import RELATION_COLUMNS, Fragment, GapLimit, Input, Project
from foveal.planner.parse.statement import Block
from foveal.planner.text import Edit, apply, quote


def _spaced(
    binding: Binding, select: exp.Select | None, base: Base | None
) -> tuple[Reference | None, str]:
    """Return the video relation whose frames GAP spaces, and the name that qualifies it."""
    if base is not None:
        return base.ref, base.alias
    refs = [r for r in binding.refs if select is not None and r.select is select]
    return (refs[0], refs[0].alias) if len(refs) == 1 else (None, "")


def bind_gap(binding: Binding, index: int, block: Block) -> None:
    """Take the block out; its rows come spaced.

    Raises:
        ProgrammingError: GAP without LIMIT. NotSupportedError: 0A000, no one video relation.
    """
    clauses, gap = block.clauses, block.clauses.gap
    assert gap is not None
    select = binding.selects.get(index)
    if block.limit is None:
        raise ProgrammingError(
            "GAP needs LIMIT before it", span=gap.span, hint="write LIMIT n GAP m"
        )
    base = (
        follow(select, binding.query, binding.refs, binding.predicates.of)
        if select is not None
        else None
    )
    ref, alias = _spaced(binding, select, base)
    if select is None or ref is None or ref.relation == "tracks" or block.in_set:
        raise NotSupportedError(
            "GAP needs a block over one video table or its frames",
            span=gap.span,
            hint="put the block that has GAP in a sub-query of its own",
        )
    limit = binding.numbers.whole(binding.render(block.limit), block.limit, "LIMIT")
    offset = (
        binding.numbers.whole(binding.render(block.offset), block.offset, "OFFSET")
        if block.offset is not None
        else 0
    )
    distance = binding.numbers.number(gap.value, gap.span)
    of = f"{quote(alias)}." if alias != UNNAMED_ROWS else ""
    place = "ts" if gap.unit == "seconds" else "frame"
    if block.distinct:
        raise NotSupportedError(
            "GAP cannot follow SELECT DISTINCT", span=gap.span, hint="use GROUP BY instead"
        )
    if block.group_by is not None or binding.has_aggregates(index):
        hidden = f"any_value({of}video) AS __video, min({of}{place}) AS __place"
    else:
        hidden = f"{of}video AS __video, {of}{place} AS __place"
    edits = list(binding.edits)
    end_of_items = block.items[-1].end if block.items else None
    if end_of_items is None:
        edits.append(Edit(Span(block.span.start, block.span.start), f"SELECT *, {hidden} "))
    else:
        edits.append(Edit(Span(end_of_items, end_of_items), f", {hidden}"))
    first = block.order_by or block.limit
    start = _keyword_before(binding, first)
    body_end = _keyword_before(binding, block.limit)
    order = binding.render(block.order_by) if block.order_by is not None else ""
    head = apply(binding.query.blanked, edits, Span(block.span.start, min(start, body_end))).text
    ordering = f"{order}, __video, __place" if order else "__video, __place"
    prefix, carried = binding.with_clause(block, select)
    text = f"{prefix}{head.rstrip()} ORDER BY {ordering}"
    child_inputs = [*binding.take_inputs(block.span), *carried]
    child_inputs = [_add_columns(item, ref, ("video", place)) for item in child_inputs]
    child = Fragment(text, tuple(child_inputs), "select")
    tolerance = binding.numbers.tolerance(block)
    videos = len(binding.snapshot.video_tables[ref.table].videos)
    by_frame = len(child_inputs) == 1 and decided_by_frame(block, select, ref, videos)
    if clauses.budget is not None and not by_frame:
        binding.limit_statement(block)
    heads = heads_of(binding, select, base) if by_frame and base is not None else ()
    name = binding.fresh_name()
    node = GapLimit(
        child, limit, offset, distance, gap.unit, by_frame, tolerance.seconds, tolerance.calls,
        heads,
    )  # fmt: skip
    binding.inputs.append((block.span, Input(name, node)))
    binding.edits.append(Edit(block.span, f"SELECT * FROM {name}"))


def _keyword_before(binding: Binding, span: Span) -> int:
    """Return where the keyword (or the two words) that opens a clause begins."""
    tokens = [t for t in binding.query.tokens if t.end <= span.start]
    last = tokens[-1]
    return tokens[-2].start if last.text.lower() == "by" else last.start


def _add_columns(item: Input, ref: Reference, columns: tuple[str, ...]) -> Input:
    child = item.child
    if not isinstance(child, Project):
        return item
    wanted = {*child.columns, *columns}
    every = RELATION_COLUMNS.get(ref.relation, ())
    return replace(item, child=replace(child, columns=tuple(c for c in every if c in wanted)))
