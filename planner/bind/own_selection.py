"""A block with FNR WITHIN or FPR WITHIN: which frames may be wrong, and how many of them.

The scan under the block becomes a `SelectFrames`; the block's text stays as it is and reads the
rows of the frames that were chosen. With FPR WITHIN frames may be returned without a look, and so
without their objects: where the block reads nothing of them it gets one row per frame, and its
conditions on objects, which the choice of frames stands for, become TRUE.
"""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from foveal.errors import ProgrammingError
from foveal.planner.bind.binding import Binding
from foveal.planner.bind.predicates import flatten_and
from foveal.planner.bind.quantities import quantity_heads, quantity_of
from foveal.planner.bind.references import Reference, enclosing_select, used_columns, visible_ctes
from foveal.planner.bind.source import (
    Base,
    decided_by_frame,
    follow,
    from_clause,
    has_joins,
    source_of,
)
from foveal.planner.logical import (
    FRAME_LEVEL,
    RELATION_COLUMNS,
    Conjunct,
    Frames,
    Logical,
    Project,
    SelectFrames,
)
from foveal.planner.parse.statement import Block
from foveal.planner.protocols import Quantity
from foveal.planner.text import Edit


def bind_selection(binding: Binding, index: int, block: Block, counts: bool) -> None:
    """Let the block read the frames that are chosen, or note why every frame must be looked at.

    Raises:
        ProgrammingError: an aggregate. DataError: 22023, a rate out of range.
    """
    clauses = block.clauses
    bound = clauses.fnr or clauses.fpr
    assert bound is not None
    frames_of_groups = block.group_by is not None and block.having is not None
    aggregates = block.group_by is None and _aggregates(binding.selects.get(index))
    grouped = block.group_by is not None and not frames_of_groups
    if counts or clauses.error is not None or aggregates or grouped:
        raise ProgrammingError(
            f"{bound.kind.upper()} WITHIN bounds the wrong frames of a selection, not of an "
            "aggregate",
            span=bound.span,
            hint="use ERROR WITHIN for aggregates",
        )
    fnr = binding.numbers.rate(clauses.fnr) if clauses.fnr else None
    fpr = binding.numbers.rate(clauses.fpr) if clauses.fpr else None
    confidence = binding.numbers.confidence(clauses.confidence)
    select = binding.selects.get(index)
    base = None
    if select is not None:
        base = follow(select, binding.query, binding.refs, binding.predicates.of)
    why = _why_every_frame(binding, block, select, base)
    if why or select is None or base is None:
        binding.selections.append((fnr, fpr, confidence, why))
        return
    own = binding.predicates.of(select, base.alias, base.ref.relation)
    levels = [c for _, level in base.levels for c in level]
    tests = [c for c in (*levels, *own) if not c.frame_only]
    having = binding.render(block.having).strip() if block.having is not None else ""
    source = source_of(base, own)
    frame_conjuncts = tuple(c for _, cs in source.levels for c in cs if c.columns and c.pure)
    scan: Logical = binding.scan(base.ref, frames=frame_conjuncts)
    columns = {"video", "frame", "ts", *used_columns(binding.query, base.ref)}
    ordered = tuple(c for c in RELATION_COLUMNS["objects"] if c in columns)
    rows = Project(scan.child if isinstance(scan, Project) else scan, ordered)
    by_frame = fpr is not None and _reads_frames_only(block, select, base, tests)
    node = SelectFrames(
        rows, Frames(base.ref.table, frame_conjuncts), base.ref.table, source, own, having,
        _quantity(binding, select, having, tests, base), fnr, fpr, confidence, by_frame, block.span,
    )  # fmt: skip
    for i, (span, item) in enumerate(binding.inputs):
        if span == base.ref.span:
            binding.inputs[i] = (span, replace(item, child=node))
    if by_frame:
        binding.edits += [Edit(c.span, "true") for c in tests]


def _aggregates(select: exp.Select | None) -> bool:
    """Whether the select list aggregates; a call over a window does not."""
    calls = (
        [] if select is None else [c for e in select.expressions for c in e.find_all(exp.AggFunc)]
    )
    return any(enclosing_select(c) is select and c.find_ancestor(exp.Window) is None for c in calls)


def _why_every_frame(
    binding: Binding, block: Block, select: exp.Select | None, base: Base | None
) -> str:
    """Return why the block's frames cannot be chosen one by one, or ""."""
    if select is None or base is None:
        joined = select is not None and has_joins(select)
        return "the block reads a join" if joined else "the block reads no one video table"
    if base.ref.relation != "objects":
        return f"the rows are {base.ref.relation}"
    if block.clauses.gap is not None:
        return "GAP looks at frames in an order of its own"
    if block.window is not None or block.qualify is not None or select.find(exp.Window):
        return "a window function reads the rows of other frames"
    if "trackid" in used_columns(binding.query, base.ref):
        return "trackid needs every frame"
    if _read_elsewhere(binding, base.ref):
        return "its common table expression is read elsewhere too"
    conjuncts = [c for _, level in base.levels for c in level]
    conjuncts += binding.predicates.of(select, base.alias, base.ref.relation)
    strange = [c.source for c in conjuncts if not c.pure or c.foreign or "$" in c.text]
    if strange:
        return f"{strange[0]} is not decided by a frame alone"
    videos = len(binding.snapshot.video_tables[base.ref.table].videos)
    if block.group_by is not None and not decided_by_frame(
        replace(block, order_by=None), select, base.ref, videos
    ):
        return "its groups are not the frames"
    if block.having is not None and "$" in binding.render(block.having):
        return "HAVING has a parameter"
    if not any(not c.frame_only for c in conjuncts) and block.having is None:
        return "no condition on objects is given"
    return ""


def _read_elsewhere(binding: Binding, ref: Reference) -> bool:
    """Whether a common table expression around the reference has more than one reader."""
    node: exp.Expr | None = ref.node
    while node is not None:
        if isinstance(node, exp.CTE):
            name = node.alias.lower()
            readers = [
                table
                for table in binding.query.tree.find_all(exp.Table)
                if table.name.lower() == name
                and not table.args.get("db")
                and visible_ctes(table).get(name) is node
            ]
            if len(readers) != 1:
                return True
        node = node.parent
    return False


def _reads_frames_only(block: Block, select: exp.Select, base: Base, tests: list[Conjunct]) -> bool:
    """Whether the block shows and orders by nothing of the objects, so that a row is a frame."""
    if block.group_by is not None or from_clause(select) is None or not tests:
        return False
    # Several conditions that one sqlglot node stands for are replaced together.
    where = select.args.get("where")
    if where is not None and len(flatten_and(where.this)) != len(block.conjuncts):
        return False
    order = select.args.get("order")
    parts = [*select.expressions, *([order] if order is not None else [])]
    aliases = {e.alias.lower() for e in select.expressions if isinstance(e, exp.Alias)}
    for part in parts:
        if part.find(exp.Star, exp.Select) is not None or part.is_star:
            return False
        for column in part.find_all(exp.Column):
            name = column.name.lower()
            if enclosing_select(column) is not select or name == base.alias.lower():
                return False
            if name not in FRAME_LEVEL and not (part is order and name in aliases):
                return False
    return bool(block.items)


def _quantity(
    binding: Binding, select: exp.Select, having: str, tests: list[Conjunct], base: Base
) -> Quantity | None:
    """Return what a proxy may learn for the frame to be selected, where that is one quantity."""
    users = binding.snapshot.user_functions
    if not having:
        return quantity_of(tests, base.alias, user_functions=users)
    held = select.args.get("having")
    heads = quantity_heads(held.this, tests, base.alias, user_functions=users) if held else None
    if heads is None or len(heads) != 1 or heads[0][1] != 1:
        return None
    return heads[0][0]
