"""The statement's text once more, with a hidden column beside each approximate one: its interval.

Approximate values reach the result through sums, differences and products with exact values alone
(`Approximation` refuses the rest), so DuckDB itself can carry their intervals along: a block gives
a struct of bounds beside each estimate, and every select list above hands on the bounds of its own
items. The result's rows and their intervals then belong together whatever joins and orders them.
"""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from foveal.errors import NotSupportedError, Span
from foveal.planner.bind.binding import Binding
from foveal.planner.bind.interval_columns import (
    Carried,
    Columns,
    Given,
    Source,
    Traced,
    bare,
    either,
    exact,
    from_items,
    holder_of,
    in_from,
    named,
    passed,
    place_of,
    within,
)
from foveal.planner.bind.interval_items import ItemReader
from foveal.planner.bind.interval_text import INTERVAL, ShadowText, confidences, read_through
from foveal.planner.bind.references import enclosing_select, visible_ctes
from foveal.planner.bind.scope import refused
from foveal.planner.parse.statement import Block
from foveal.planner.text import Mapped

_LIST_THEM = "list the columns by name in place of the star"


class Intervals:
    """Writes the text that carries intervals, for a statement that `Approximation` let pass."""

    def __init__(self, binding: Binding) -> None:
        """Take a binding whose blocks have all been bound."""
        self.binding = binding
        self._query = binding.query
        self.index = _pairs(binding)
        self._ctes: dict[int, Columns] = {}
        self._resolved: dict[int, list[Given | None]] = {}
        self._items = 0
        self._names = 0

    def carry(self) -> tuple[Mapped, tuple[Carried, ...], dict[Span, float]]:
        """Return the text, the approximate columns of its result, and the blocks' confidences.

        A block whose values are combined with others' is to hold at a higher confidence than its
        own, so that the combination holds at the one that was asked for: they are given by span.

        Raises:
            NotSupportedError: 0A000, it cannot be told which column of the result is approximate.
        """
        text = ShadowText(self.binding.query.blanked, self.binding.edits)
        columns = self.emit(self._query.tree, None, text)
        blocks = {
            index: (span, self.binding.numbers.tolerance(self.block(index)).confidence)
            for index, span in (
                (self.index[key], span) for key, span in self.binding.approximate.items()
            )
        }
        joint = self.binding.settings["group_guarantee"] == "joint"
        found = [(i, c) for i, c in enumerate(columns) if c is not None and c.hidden]
        shares, sure = confidences(
            {index: confidence for index, (_, confidence) in blocks.items()},
            [c.parts for _, c in found],
            joint=joint,
        )
        carried = tuple(
            Carried(c.name, place_of(columns, i), c.hidden, confidence)
            for (i, c), confidence in zip(found, sure, strict=True)
        )
        return text.whole(), carried, {blocks[i][0]: shares[i] for i in shares}

    def block(self, index: int) -> Block:
        """Return a block of the statement."""
        return self._query.blocks[index]

    def _fresh(self) -> str:
        self._names += 1
        return f"{INTERVAL}{self._names - 1}"

    # --- queries --------------------------------------------------------------------------------

    def emit(
        self, node: exp.Expr, wanted: list[tuple[int, str]] | None, text: ShadowText
    ) -> Columns:
        """Let the query hand up hidden columns; by default one for each approximate column."""
        given = self.resolve(node, text)
        if wanted is None:
            wanted = [(i, self._fresh()) for i, g in enumerate(given) if g and g.approximate]
        self._write(node, wanted, text)
        hidden = dict(wanted)
        return [None if g is None else Traced(g.name, hidden.get(i, ""), g.parts)
                for i, g in enumerate(given)]  # fmt: skip

    def resolve(self, node: exp.Expr, text: ShadowText) -> list[Given | None]:
        """Return the query's columns; the queries in its FROM are written on the way."""
        if isinstance(node, exp.Subquery):
            return self.resolve(node.this, text)
        if isinstance(node, exp.SetOperation):
            self._read_ctes(node, text)
            found: list[Given | None] = self._united(node, text)
        elif isinstance(node, exp.Select):
            self._read_ctes(node, text)
            found = self._select(node, text)
        else:
            found = [None]
        self._resolved[id(node)] = found
        return found

    def _write(self, node: exp.Expr, wanted: list[tuple[int, str]], text: ShadowText) -> None:
        if isinstance(node, exp.Subquery):
            self._write(node.this, wanted, text)
        elif isinstance(node, exp.SetOperation):
            for arm in (node.left, node.right):
                mine = wanted
                if node.args.get("by_name"):
                    names = [g.name for g in self._resolved[id(node)] if g is not None]
                    held = [g.name if g else "" for g in self._resolved[id(bare(arm))]]
                    mine = [(held.index(names[i]), h) for i, h in wanted if names[i] in held]
                self._write(arm, mine, text)
        elif wanted:
            given = self._resolved[id(node)]
            items = [f"{g.struct()} AS {h}" for i, h in wanted if (g := given[i]) is not None]
            self._append(node, items, text)

    def _append(self, select: exp.Expr, items: list[str], text: ShadowText) -> None:
        block = self.block(self.index[id(select)])
        made = self.binding.writers.get(id(select))
        if made is not None:
            writer, result = made
            text.replace(block.span, writer.outer(result, items))
        elif block.items:
            text.insert(self._end(block.items[-1]), ", " + ", ".join(items))
        else:
            text.insert(block.span.start, ", " + ", ".join(items) + " ")

    def _end(self, span: Span) -> int:
        return span.start + len(self._query.text[span.start : span.end].rstrip())

    def _united(self, node: exp.SetOperation, text: ShadowText) -> list[Given | None]:
        left, right = self.resolve(node.left, text), self.resolve(node.right, text)
        if not any(g and g.approximate for g in (*left, *right)):
            return left if None not in left else [None]
        if None in left or None in right:
            raise refused(
                node, self._query.query.start, "UNION ALL with a star over unknown columns",
                _LIST_THEM,
            )  # fmt: skip
        if node.args.get("by_name"):
            names = dict.fromkeys(g.name for g in (*left, *right) if g is not None)
            pairs = [(named(left, n), named(right, n)) for n in names]
        else:
            pairs = list(zip(left, right, strict=False))
        return [either(a, b) for a, b in pairs]

    def _read_ctes(self, node: exp.Expr, text: ShadowText) -> None:
        held = node.args.get("with_") or node.args.get("with")
        for cte in held.expressions if held is not None else ():
            self._ctes[id(cte)] = self._renamed(cte, self.emit(cte.this, None, text))

    # --- SELECT ---------------------------------------------------------------------------------

    def _select(self, select: exp.Select, text: ShadowText) -> list[Given | None]:
        sources, merged = self._sources(select, text)
        makes = id(select) in self.binding.writers and id(select) in self.binding.approximate
        index = self.index.get(id(select))
        hidden = [c for s in sources for c in s.columns if c is not None and c.hidden]
        items = list(select.expressions)
        spans = [] if index is None else list(self.block(index).items)
        if index is None or (spans and len(spans) != len(items)):
            if hidden or makes:
                raise self.refuse(select, "a select list of this form", _LIST_THEM)
            return [None]
        reader = ItemReader(self, select, sources, text)
        if not spans:
            before = self.block(index).span.start
            if hidden:
                listed = ", ".join(c.hidden for c in hidden)
                text.insert(before, f"SELECT * EXCLUDE ({listed}) ")
            return passed(sources, "", merged=merged)
        found: list[Given | None] = []
        for item, span in zip(items, spans, strict=True):
            if isinstance(item, exp.Columns) or (hidden and item.find(exp.Columns) is not None):
                if hidden:
                    raise self.refuse(item, "COLUMNS(..)", _LIST_THEM)
                found.append(None)
            elif item.is_star:
                found += self._starred(item, span, sources, text, merged=merged)
            else:
                found.append(reader.item(item, span))
        if self.block(index).clauses.gap is not None and any(g and g.approximate for g in found):
            bad = next((i for i in items if i.find(exp.Subquery) is not None), select)
            raise self.refuse(bad, "a block with GAP", "put the block with GAP in a sub-query")
        return found

    def refuse(self, node: exp.Expr, what: str, hint: str) -> NotSupportedError:
        """Return the error that refuses an approximate value at `node`."""
        return refused(node, self._query.query.start, what, hint)

    def _starred(
        self, item: exp.Expr, span: Span, sources: list[Source], text: ShadowText, *, merged: bool
    ) -> list[Given | None]:
        star = item.this if isinstance(item, exp.Column) else item
        qualifier = item.text("table").lower()
        columns = passed(sources, qualifier, merged=merged)
        hidden = [
            c.hidden
            for s in sources if not qualifier or s.alias.lower() == qualifier
            for c in s.columns if c is not None and c.hidden
        ]  # fmt: skip
        if not hidden:
            plain = not any(star.args.get(k) for k in ("except_", "except", "replace", "rename"))
            return columns if plain else [None]
        text.exclude(self._query.tokens, span, hidden)
        dropped = {
            e.name.lower() for e in star.args.get("except_") or star.args.get("except") or ()
        }
        renamed = {r.this.name.lower(): r.alias.lower() for r in star.args.get("rename") or ()}
        for value in star.args.get("replace") or ():
            reader = ItemReader(self, holder_of(item), sources, text)
            if any(reader.columns(value.this)) or value.find(exp.Select) is not None:
                raise self.refuse(value, "REPLACE", "select the expression beside the star")
            columns = [exact(g) if g and g.name == value.alias.lower() else g for g in columns]
        kept = [g for g in columns if g is None or g.name not in dropped]
        return [replace(g, name=renamed[g.name]) if g and g.name in renamed else g for g in kept]

    def _sources(self, select: exp.Select, text: ShadowText) -> tuple[list[Source], bool]:
        """Return what FROM gives, in order, and whether a join merges columns of it."""
        found: list[Source] = []
        merged = False
        for item, join in from_items(select):
            if join is not None and (join.args.get("using") or join.method.upper() == "NATURAL"):
                merged = True
            columns: Columns = [None]
            if isinstance(item, exp.Subquery | exp.Lateral):
                query = item.this.this if isinstance(item.this, exp.Subquery) else item.this
                if isinstance(query, exp.Select | exp.SetOperation):
                    columns = self._renamed(item, self.emit(query, None, text))
            elif isinstance(item, exp.Table) and item.args.get("db") is None:
                cte = visible_ctes(item).get(item.name.lower())
                columns = self._renamed(item, self._ctes.get(id(cte), [None]))
            self._items += 1
            step = self._items
            columns = [c and replace(c, parts=read_through(c.parts, step)) for c in columns]
            found.append(Source(item.alias_or_name, columns))
        for sub in select.find_all(exp.Subquery):
            inside_items = any(within(sub, e) for e in select.expressions)
            if enclosing_select(sub) is select and not inside_items and not in_from(sub, select):
                self.resolve(sub.this, text)  # its stars leave hidden columns out
        return found, merged

    def _renamed(self, holder: exp.Expr, columns: Columns) -> Columns:
        alias = holder.args.get("alias")
        listed = [c.name.lower() for c in (alias.args.get("columns") or ())] if alias else []
        if not listed:
            return columns
        first = columns[: len(listed)]
        if None in first or len(first) < len(listed):
            if any(c is not None and c.hidden for c in columns):
                raise self.refuse(holder, "a list of column names over a star", _LIST_THEM)
            return [None]
        named = [replace(c, name=n) for c, n in zip(first, listed, strict=True) if c is not None]
        return [*named, *columns[len(listed) :]]


def _pairs(binding: Binding) -> dict[int, int]:
    """Return each SELECT's block, by id; one without any name is known by its turn."""
    found = {id(select): i for i, select in binding.selects.items()}
    selects = [s for s in binding.query.tree.find_all(exp.Select, bfs=False) if id(s) not in found]
    blocks = [i for i in range(len(binding.query.blocks)) if i not in binding.selects]
    if len(selects) == len(blocks):
        for select, i in zip(selects, blocks, strict=True):
            if len(select.expressions) == len(binding.query.blocks[i].items):
                found[id(select)] = i
    return found
