"""Names to relations: one parsed query becomes a fragment of SQL over bound inputs of ours.

The walk: find the extension relations; take out, from the inside out, the blocks that own our
clauses (each becomes a named input); put input names in place of relation names; the rest of the
user's text is DuckDB's and stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from foveal.errors import NotSupportedError, ProgrammingError, Span
from foveal.planner.bind.approximate import Approximation
from foveal.planner.bind.block_text import BlockText
from foveal.planner.bind.classes import check_classes
from foveal.planner.bind.numbers import Numbers
from foveal.planner.bind.predicates import Predicates, flatten_and
from foveal.planner.bind.references import (
    Reference,
    enclosing_select,
    find,
    identifier_span,
    used_columns,
)
from foveal.planner.bind.source import (
    UNNAMED_ROWS,
    Base,
    decided_by_frame,
    follow,
    has_joins,
    mixes_frames_and_objects,
    outer_qualifier,
    source_of,
)
from foveal.planner.bind.with_clause import carried_with, inside
from foveal.planner.logical import (
    RELATION_COLUMNS,
    Conjunct,
    Detect,
    Filter,
    Fragment,
    FrameAggregate,
    Frames,
    GapLimit,
    Input,
    Logical,
    Project,
    Selection,
    SystemTable,
    Track,
    Tracks,
)
from foveal.planner.parse.statement import Block, Query
from foveal.planner.protocols import Snapshot
from foveal.planner.text import Edit, Mapped, apply, quote
from foveal.settings import Value, defaults


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound statement: its logical plan, and how its text maps back to the user's.

    `approximate`: some column of the result carries an interval instead of a value.
    `notices`: what the user should know of the binding. `budget`: seconds and detector calls that
    the statement may spend where it has no interval to answer with, None for no limit.
    """

    plan: Logical
    mapped: Mapped
    approximate: bool
    notices: tuple[str, ...] = ()
    budget: tuple[float | None, int | None] = (None, None)


def bind(query: Query, snapshot: Snapshot) -> Bound:
    """Return the bound plan of a query over extension relations.

    Raises:
        ProgrammingError: a name, class or grouping is wrong (42xxx).
        NotSupportedError: 0A000, understood but refused.
        DataError: 22023, a clause's number is out of range.
    """
    return _Binder(query, snapshot).bind()


class _Binder:
    def __init__(self, query: Query, snapshot: Snapshot) -> None:
        self.query = query
        self.snapshot = snapshot
        self.settings: dict[str, Value] = {**defaults(), **snapshot.settings}
        self.numbers = Numbers(snapshot.parameters, self.settings)
        self.refs = find(query, snapshot)
        self.edits: list[Edit] = []
        self.inputs: list[tuple[Span, Input]] = []
        self.names = 0
        self.selects = self._pair_selects()
        self.predicates = Predicates(query, self.selects, self._render, snapshot.user_functions)
        self.approximate: dict[int, Span] = {}
        self.selections: list[tuple[float | None, float | None, float]] = []
        self.notices: list[str] = []
        self.budget: tuple[float | None, int | None] = (None, None)

    # --- the walk -------------------------------------------------------------------------------

    def bind(self) -> Bound:
        for span, key in self.query.parameters:
            if self.query.text[span.start : span.end] != f"${key}":
                self.edits.append(Edit(span, f"${key}"))
        for ref in self.refs:
            check_classes(self.query, ref, self.predicates.readers(ref), self.snapshot)
            self._replace_reference(ref)
        self._drop_column_prefixes()
        order = sorted(range(len(self.query.blocks)), key=lambda i: -self.query.blocks[i].depth)
        for i in order:
            self._own(i)
        Approximation(self.query.tree, self.query.query.start, self.approximate).check()
        mapped = apply(self.query.blanked, self.edits)
        plan: Logical = Fragment(mapped.text, tuple(i for _, i in self.inputs), self.query.kind)
        for fnr, fpr, confidence in self.selections:
            plan = Selection(plan, fnr, fpr, confidence)
        return Bound(plan, mapped, bool(self.approximate), tuple(self.notices), self.budget)

    def _name(self) -> str:
        self.names += 1
        return f"__fv{self.names - 1}"

    def _render(self, span: Span, extra: Sequence[Edit] = ()) -> str:
        return apply(self.query.blanked, [*extra, *self.edits], span).text

    def _pair_selects(self) -> dict[int, exp.Select]:
        """Pair each block, by index, with sqlglot's SELECT, through the names inside them."""
        base = self.query.query.start
        found: dict[int, exp.Select] = {}
        for select in self.query.tree.find_all(exp.Select):
            for node in select.find_all(exp.Identifier, exp.Anonymous, exp.AggFunc):
                holder = enclosing_select(node)
                span = identifier_span(node, base)
                if holder is not select or span is None or _in_cte_name(node, select):
                    continue
                inner = self._innermost(span)
                if inner is not None:
                    found.setdefault(inner, select)
                break
        for i in reversed(range(len(self.query.blocks))):
            # SELECT * FROM (..) has no name of its own: it is what holds the blocks inside it.
            for j, block in enumerate(self.query.blocks):
                outside = enclosing_select(found[j]) if block.parent == i and j in found else None
                if outside is not None and all(outside is not s for s in found.values()):
                    found.setdefault(i, outside)
        return found

    def _innermost(self, span: Span) -> int | None:
        best: int | None = None
        for i, block in enumerate(self.query.blocks):
            if block.span.start <= span.start and span.end <= block.span.end:
                size = block.span.end - block.span.start
                if best is None or size <= (
                    self.query.blocks[best].span.end - self.query.blocks[best].span.start
                ):
                    best = i
        return best

    # --- references -----------------------------------------------------------------------------

    def _scan(self, ref: Reference, *, frames: tuple[Conjunct, ...] = ()) -> Logical:
        if ref.relation == "system":
            return SystemTable(ref.table)
        node: Logical = Frames(ref.table)
        if ref.relation != "frames":
            node = Detect(node, ref.table)
            node = Track(node, ref.table)
        if ref.relation == "tracks":
            node = Tracks(node, ref.table)
        conjuncts = frames or self.predicates.pushable(ref)
        if conjuncts and ref.relation != "tracks":
            node = Filter(node, conjuncts)
        columns = used_columns(self.query, ref)
        if (
            ref.relation == "objects"
            and len(columns) == len(RELATION_COLUMNS["objects"]) - 1
            and ("trackid" not in columns)
        ):
            top = [self.query.tree, *self.query.tree.find_all(exp.SetOperation)]
            shown = [e for q in top if isinstance(q, exp.Select) for e in q.expressions]
            if any(e.is_star for e in shown):
                self.notices = ["trackid is NULL: a star does not compute tracks, name it"]
        return Project(node, columns)

    def _replace_reference(self, ref: Reference) -> None:
        name = self._name()
        alias = "" if ref.has_alias or self._is_bare(ref.span) else f" AS {quote(ref.alias)}"
        self.edits.append(Edit(ref.span, name + alias))
        self.inputs.append((ref.span, Input(name, self._scan(ref))))

    def _is_bare(self, span: Span) -> bool:
        """Whether the name stands where no alias may follow: TABLE name, DESCRIBE name."""
        if self.query.kind in ("describe", "summarize") and span.start == self.query.query.start:
            return True
        before = [t for t in self.query.tokens if t.end <= span.start]
        if not before or before[-1].text.lower() != "table":
            return False
        return (
            len(before) == 1 or before[-2].kind == "op" or before[-2].text.lower() in _BEFORE_TABLE
        )

    def _drop_column_prefixes(self) -> None:
        """`street.frames.ts` names a column by its table's full name, which DuckDB never sees."""
        base = self.query.query.start
        relations = {(r.table, r.relation) for r in self.refs}
        for column in self.query.tree.find_all(exp.Column):
            db, table = column.args.get("db"), column.args.get("table")
            if db is None or table is None:
                continue
            if (db.name.lower(), table.name.lower()) in relations:
                first, last = identifier_span(db, base), identifier_span(table, base)
                if first is not None and last is not None:
                    self.edits.append(Edit(Span(first.start, last.start), ""))

    # --- blocks that own our clauses ------------------------------------------------------------

    def _own(self, index: int) -> None:
        block = self.query.blocks[index]
        counts = [s for s in self.query.fcounts if self._innermost(s) == index]
        clauses = block.clauses
        if clauses.fnr is not None or clauses.fpr is not None:
            self._own_selection(block, bool(counts))
        aggregate = (
            bool(counts)
            or clauses.error is not None
            or (clauses.budget is not None and clauses.gap is None and self._aggregates(index))
        )
        if not aggregate:
            self._keep_names(block, self.selects.get(index))
        if clauses.gap is not None:
            if counts or clauses.error is not None:
                raise NotSupportedError(
                    "GAP spaces rows of frames; it cannot space aggregates",
                    span=clauses.gap.span,
                    hint="leave out GAP, or select frames instead of an aggregate",
                )
            self._own_gap(index, block)
        elif aggregate:
            self._own_aggregate(index, block, counts)
        elif clauses.bounds is not None:
            raise ProgrammingError("BOUNDS needs ERROR WITHIN beside it", span=clauses.bounds.span)
        elif clauses.budget is not None:
            self._own_budget(block)

    def _keep_names(self, block: Block, select: exp.Select | None) -> None:
        """Name the items that hold a relation of ours as they are written.

        DuckDB names an item by its text, and would show the names that it knows our inputs by.
        """
        items = select.expressions if select is not None else []
        for i, span in enumerate(block.items):
            at = span.start + len(self.query.text[span.start : span.end].rstrip())
            source = self.query.text[span.start : at]
            if len(items) == len(block.items):
                named = isinstance(items[i], exp.Alias) or items[i].is_star
            else:
                named = not (source.startswith("(") and source.endswith(")"))
            if not named and any(inside(held, span) for held, _ in self.inputs):
                self.edits.append(Edit(Span(at, at), f" AS {quote(' '.join(source.split()))}"))

    def _aggregates(self, index: int) -> bool:
        select = self.selects.get(index)
        return select is not None and any(
            isinstance(n, exp.AggFunc)
            for item in select.expressions
            for n in item.walk()
            if enclosing_select(n) is select
        )

    def _own_budget(self, block: Block) -> None:
        """Rows cannot be cut short and stay true: the whole statement gets the limit."""
        tolerance = self.numbers.tolerance(block)
        self.budget = (tolerance.seconds, tolerance.calls)

    def _own_selection(self, block: Block, counts: bool) -> None:
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
        fnr = self.numbers.rate(clauses.fnr) if clauses.fnr else None
        fpr = self.numbers.rate(clauses.fpr) if clauses.fpr else None
        self.selections.append((fnr, fpr, self.numbers.confidence(clauses.confidence)))

    def _spaced(self, select: exp.Select | None) -> tuple[Reference | None, str]:
        """Return the video relation whose frames GAP spaces, and the name that qualifies it."""
        if select is None:
            return None, ""
        base = follow(select, self.query, self.refs, self.predicates.of)
        if base is not None:
            return base.ref, base.alias
        refs = [r for r in self.refs if r.select is select]
        return (refs[0], refs[0].alias) if len(refs) == 1 else (None, "")

    def _own_gap(self, index: int, block: Block) -> None:
        clauses, gap = block.clauses, block.clauses.gap
        assert gap is not None
        select = self.selects.get(index)
        if block.limit is None:
            raise ProgrammingError(
                "GAP needs LIMIT before it", span=gap.span, hint="write LIMIT n GAP m"
            )
        ref, alias = self._spaced(select)
        if select is None or ref is None or ref.relation == "tracks" or block.in_set:
            raise NotSupportedError(
                "GAP needs a block over one video table or its frames",
                span=gap.span,
                hint="put the block that has GAP in a sub-query of its own",
            )
        limit = self.numbers.whole(self._render(block.limit), block.limit, "LIMIT")
        offset = (
            self.numbers.whole(self._render(block.offset), block.offset, "OFFSET")
            if block.offset is not None
            else 0
        )
        distance = self.numbers.number(gap.value, gap.span)
        of = f"{quote(alias)}." if alias != UNNAMED_ROWS else ""
        place = "ts" if gap.unit == "seconds" else "frame"
        if block.distinct:
            raise NotSupportedError(
                "GAP cannot follow SELECT DISTINCT", span=gap.span, hint="use GROUP BY instead"
            )
        if block.group_by is not None or self._aggregates(index):
            hidden = f"any_value({of}video) AS __video, min({of}{place}) AS __place"
        else:
            hidden = f"{of}video AS __video, {of}{place} AS __place"
        edits = list(self.edits)
        end_of_items = block.items[-1].end if block.items else None
        if end_of_items is None:
            edits.append(Edit(Span(block.span.start, block.span.start), f"SELECT *, {hidden} "))
        else:
            edits.append(Edit(Span(end_of_items, end_of_items), f", {hidden}"))
        first = block.order_by or block.limit
        start = self._keyword_before(first)
        body_end = self._keyword_before(block.limit)
        order = self._render(block.order_by) if block.order_by is not None else ""
        head = apply(self.query.blanked, edits, Span(block.span.start, min(start, body_end))).text
        ordering = f"{order}, __video, __place" if order else "__video, __place"
        prefix, carried = self._with_clause(block, select)
        text = f"{prefix}{head.rstrip()} ORDER BY {ordering}"
        child_inputs = [*self._take_inputs(block.span), *carried]
        child_inputs = [_add_columns(item, ref, ("video", place)) for item in child_inputs]
        child = Fragment(text, tuple(child_inputs), "select")
        tolerance = self.numbers.tolerance(block)
        videos = len(self.snapshot.video_tables[ref.table].videos)
        by_frame = len(child_inputs) == 1 and decided_by_frame(block, select, ref, videos)
        if clauses.budget is not None and not by_frame:
            self._own_budget(block)
        name = self._name()
        node = GapLimit(
            child, limit, offset, distance, gap.unit, by_frame, tolerance.seconds, tolerance.calls
        )
        self.inputs.append((block.span, Input(name, node)))
        self.edits.append(Edit(block.span, f"SELECT * FROM {name}"))

    def _keyword_before(self, span: Span) -> int:
        """Return where the keyword (or the two words) that opens a clause begins."""
        tokens = [t for t in self.query.tokens if t.end <= span.start]
        last = tokens[-1]
        return tokens[-2].start if last.text.lower() == "by" else last.start

    def _take_inputs(self, span: Span) -> list[Input]:
        """Take the inputs that stand inside `span` out of the enclosing fragment's."""
        inside = [i for s, i in self.inputs if span.start <= s.start and s.end <= span.end]
        self.inputs = [(s, i) for s, i in self.inputs if i not in inside]
        return inside

    def _with_clause(self, block: Block, select: exp.Select) -> tuple[str, list[Input]]:
        """Return the WITH clause that the block's text mentions, and the inputs inside it."""
        span = carried_with(self.query, block, select)
        if span is None:
            return "", []
        return self._render(span) + " ", [i for s, i in self.inputs if inside(s, span)]

    # --- aggregate blocks -----------------------------------------------------------------------

    def _own_aggregate(self, index: int, block: Block, counts: list[Span]) -> None:
        select = self.selects.get(index)
        clauses = block.clauses
        where = counts[0] if counts else (clauses.spans[0] if clauses.spans else block.span)
        if select is None:
            raise ProgrammingError(
                "FCOUNT and ERROR WITHIN need a FROM clause", sqlstate="42601", span=where
            )
        base = follow(select, self.query, self.refs, self.predicates.of)
        if base is None or base.ref.relation == "tracks":
            if counts:
                joined = has_joins(select)
                raise NotSupportedError(
                    "FCOUNT over a join" if joined else "FCOUNT needs one video table in FROM",
                    span=counts[0],
                    hint="count frames in a sub-query of their own and join its result",
                )
            # Answered exactly by DuckDB: an exact answer meets every tolerance.
            self._own_budget(block)
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
                span=identifier_span(outside.this, self.query.query.start),
                hint="GROUP BY the correlated column in a sub-query and join its result",
            )
        own = self.predicates.of(select, base.alias, base.ref.relation)
        tolerance = self.numbers.tolerance(block)
        if clauses.error is not None:
            self._refuse_mixed_or(select, block, base)
        writer = BlockText(self.query, block, select, base, self._render)
        aggregates = writer.find_aggregates()
        if not aggregates:
            raise ProgrammingError(
                "ERROR WITHIN needs an aggregate",
                span=clauses.error.span if clauses.error else where,
                hint="use FCOUNT(*), COUNT, SUM or AVG in the select list",
            )
        keys = writer.find_keys()
        name = self._name()
        text = writer.outer(name)
        source = source_of(base, own)
        base_ref = base.ref
        base_name = self._input_name(base_ref)
        prefix, carried = self._with_clause(block, select)
        others = [i for i in [*self._take_inputs(block.span), *carried] if i.name != base_name]
        # A sub-query beside the aggregates is read where their result is, not below them.
        self.inputs += [(block.span, i) for i in others if _mentions(text, i.name)]
        frame_conjuncts = tuple(c for _, cs in source.levels for c in cs if c.columns and c.pure)
        columns = tuple(
            dict.fromkeys(["video", "frame", "ts", *used_columns(self.query, base_ref)])
        )
        columns = tuple(c for c in RELATION_COLUMNS[base_ref.relation] if c in columns)
        rows = Project(_without_project(self._scan(base_ref, frames=frame_conjuncts)), columns)
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
        self.inputs.append((block.span, Input(name, node)))
        self.edits.append(Edit(block.span, text))
        if not tolerance.exact and self.settings["guarantee"] != "exact":
            self.approximate[id(select)] = block.span

    def _input_name(self, ref: Reference) -> str:
        for span, item in self.inputs:
            if span == ref.span:
                return item.name
        for edit in self.edits:
            if edit.span == ref.span:
                return edit.text.split(" ")[0]
        return ""

    def _refuse_mixed_or(self, select: exp.Select, block: Block, base: Base) -> None:
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


_BEFORE_TABLE = frozenset({"as", "all", "union", "except", "intersect", "name", "distinct"})


def _mentions(text: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None


def _in_cte_name(node: exp.Expr, select: exp.Select) -> bool:
    parent = node.parent
    while parent is not None and parent is not select:
        if isinstance(parent, exp.With | exp.CTE):
            return True
        parent = parent.parent
    return False


def _without_project(node: Logical) -> Logical:
    return node.child if isinstance(node, Project) else node


def _add_columns(item: Input, ref: Reference, columns: tuple[str, ...]) -> Input:
    child = item.child
    if not isinstance(child, Project):
        return item
    wanted = {*child.columns, *columns}
    every = RELATION_COLUMNS.get(ref.relation, ())
    return replace(item, child=replace(child, columns=tuple(c for c in every if c in wanted)))


__all__ = ["Bound", "bind"]
