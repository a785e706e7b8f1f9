"""A query being bound: what was found of it, and the edits that lead to what DuckDB reads."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from foveal.errors import Span
from foveal.planner.bind.block_text import BlockText
from foveal.planner.bind.numbers import Numbers
from foveal.planner.bind.predicates import Predicates
from foveal.planner.bind.references import (
    Reference,
    enclosing_select,
    find,
    identifier_span,
    used_columns,
)
from foveal.planner.bind.wanted import wanted_tracks
from foveal.planner.bind.with_clause import carried_with, inside
from foveal.planner.logical import (
    RELATION_COLUMNS,
    Conjunct,
    Detect,
    Filter,
    Frames,
    Input,
    Logical,
    Project,
    SystemTable,
    Track,
    Tracks,
)
from foveal.planner.parse.statement import Block, Query
from foveal.planner.protocols import Snapshot
from foveal.planner.text import Edit, apply, quote
from foveal.settings import Value, defaults


class Binding:
    """One query being bound: its references and selects, and the edits and inputs found so far."""

    def __init__(self, query: Query, snapshot: Snapshot) -> None:
        """Find the references, and pair blocks with selects."""
        self.query = query
        self.snapshot = snapshot
        self.settings: dict[str, Value] = {**defaults(), **snapshot.settings}
        self.numbers = Numbers(snapshot.parameters, self.settings)
        self.refs = find(query, snapshot)
        self.edits: list[Edit] = []
        self.inputs: list[tuple[Span, Input]] = []
        self.names = 0
        self.selects = self._pair_selects()
        self.predicates = Predicates(query, self.selects, self.render, snapshot.user_functions)
        self.approximate: dict[int, Span] = {}
        self.writers: dict[int, tuple[BlockText, str]] = {}
        self.selections: list[tuple[float | None, float | None, float, str]] = []
        self.notices: list[str] = []
        self.budget: tuple[float | None, int | None] = (None, None)

    def fresh_name(self) -> str:
        """Return a name for the next input."""
        self.names += 1
        return f"__fv{self.names - 1}"

    def render(self, span: Span, extra: Sequence[Edit] = ()) -> str:
        """Return the text of `span` with the edits so far."""
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
                inner = self.innermost(span)
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

    def innermost(self, span: Span) -> int | None:
        """Return the index of the smallest block around `span`."""
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

    def scan(self, ref: Reference, *, frames: tuple[Conjunct, ...] = ()) -> Logical:
        """Return the relation of a reference, with `frames` or all conjuncts that can be pushed."""
        if ref.relation == "system":
            return SystemTable(ref.table)
        node: Logical = Frames(ref.table)
        if ref.relation != "frames":
            node = Detect(node, ref.table)
            wanted = wanted_tracks(ref, self.predicates.readers(ref), self.snapshot.parameters)
            node = Track(node, ref.table, *wanted)
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

    def replace_reference(self, ref: Reference) -> None:
        """Put an input's name in place of the relation's."""
        name = self.fresh_name()
        alias = "" if ref.has_alias or self._is_bare(ref.span) else f" AS {quote(ref.alias)}"
        self.edits.append(Edit(ref.span, name + alias))
        self.inputs.append((ref.span, Input(name, self.scan(ref))))

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

    def drop_column_prefixes(self) -> None:
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

    def keep_names(self, block: Block, select: exp.Select | None) -> None:
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

    def has_aggregates(self, index: int) -> bool:
        """Whether the block's select list aggregates."""
        select = self.selects.get(index)
        return select is not None and any(
            isinstance(n, exp.AggFunc)
            for item in select.expressions
            for n in item.walk()
            if enclosing_select(n) is select
        )

    def limit_statement(self, block: Block) -> None:
        """Rows cannot be cut short and stay true: the whole statement gets the limit."""
        tolerance = self.numbers.tolerance(block)
        self.budget = (tolerance.seconds, tolerance.calls)

    def take_inputs(self, span: Span) -> list[Input]:
        """Take the inputs that stand inside `span` out of the enclosing fragment's."""
        inside = [i for s, i in self.inputs if span.start <= s.start and s.end <= span.end]
        self.inputs = [(s, i) for s, i in self.inputs if i not in inside]
        return inside

    def with_clause(self, block: Block, select: exp.Select) -> tuple[str, list[Input]]:
        """Return the WITH clause that the block's text mentions, and the inputs inside it."""
        span = carried_with(self.query, block, select)
        if span is None:
            return "", []
        return self.render(span) + " ", [i for s, i in self.inputs if inside(s, span)]


_BEFORE_TABLE = frozenset({"as", "all", "union", "except", "intersect", "name", "distinct"})


def _in_cte_name(node: exp.Expr, select: exp.Select) -> bool:
    parent = node.parent
    while parent is not None and parent is not select:
        if isinstance(parent, exp.With | exp.CTE):
            return True
        parent = parent.parent
    return False
