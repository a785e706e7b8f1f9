"""The items of a SELECT, for intervals: which approximate values each holds, and where."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Protocol

from sqlglot import exp

from foveal.errors import NotSupportedError, Span
from foveal.planner.bind.binding import Binding
from foveal.planner.bind.block_text import BlockText, without_alias
from foveal.planner.bind.interval_columns import Columns, Given, Source, Traced
from foveal.planner.bind.interval_text import Group, ShadowText, combined
from foveal.planner.bind.predicates import is_volatile
from foveal.planner.bind.references import enclosing_select, identifier_span
from foveal.planner.parse.statement import Block
from foveal.planner.text import quote

NAME_IT = "name the column with AS and use that name"


class Walk(Protocol):
    """The walk over the statement's queries, for those nested in items."""

    binding: Binding
    index: dict[int, int]

    def emit(
        self, node: exp.Expr, wanted: list[tuple[int, str]] | None, text: ShadowText
    ) -> Columns:
        """Let a query hand up its intervals."""
        ...

    def resolve(self, node: exp.Expr, text: ShadowText) -> list[Given | None]:
        """Return a query's columns."""
        ...

    def block(self, index: int) -> Block:
        """Return a block of the statement."""
        ...

    def refuse(self, node: exp.Expr, what: str, hint: str) -> NotSupportedError:
        """Return the error that refuses an approximate value at `node`."""
        ...


class ItemReader:
    """Reads the items of one SELECT: which approximate values they hold, and what they become."""

    def __init__(
        self, intervals: Walk, select: exp.Select, sources: list[Source], text: ShadowText
    ) -> None:
        """Take the SELECT, what its FROM gives, and the text that is being written."""
        self._intervals = intervals
        self._binding = intervals.binding
        self._select = select
        self._sources = sources
        self._text = text
        self._base = self._binding.query.query.start
        made = self._binding.writers.get(id(select))
        self._writer: BlockText | None = made[0] if made is not None else None
        self._makes = made is not None and id(select) in self._binding.approximate
        self._aliases: dict[str, tuple[Span, list[Group]]] = {}

    def item(self, item: exp.Expr, span: Span) -> Given:
        """Return one column of the select list."""
        inside = without_alias(self._binding.query.tokens, span, item)
        groups = [*self.columns(item), *self._calls(inside), *self._scalars(item)]
        name = item.alias_or_name.lower() if isinstance(item, exp.Alias | exp.Column) else ""
        if not name and self._writer is not None:
            name = self._writer.default_name(span).lower()
        parts = combined([g.parts for g in groups])
        if groups and is_volatile(item):
            raise self._intervals.refuse(
                item, "an expression that is not the same each time", "leave the random value out"
            )
        if groups and isinstance(item, exp.Alias):
            self._aliases[item.alias.lower()] = (inside, groups)
        base = list(self._writer.edits) if self._writer is not None else []
        struct = partial(self._text.struct, inside, tuple(groups), tuple(base))
        return Given(name, bool(groups), parts, struct)

    def columns(self, item: exp.Expr) -> list[Group]:
        """Return the approximate columns that an expression names, each with its places."""
        found: dict[tuple[str, str], Group] = {}
        for column in item.find_all(exp.Column):
            if enclosing_select(column) is not self._select or column.is_star:
                continue
            span = identifier_span(column.this, self._base)
            first = identifier_span(column.args.get("table"), self._base)
            source, traced = self._look_up(column)
            lateral = None if traced is not None or column.table else self._lateral(column)
            if lateral is not None and span is not None:
                inside, groups = lateral
                for group in groups:
                    old = found.get(group.key, replace(group, places=(), nested=()))
                    nested = (*old.nested, (span, inside, group))
                    found[group.key] = replace(old, nested=nested)
                continue
            if traced is None or not traced.hidden or span is None:
                continue
            place = Span((first or span).start, span.end)
            qualified = f"{quote(source)}.{traced.hidden}" if source else traced.hidden
            old = found.get((source, traced.hidden), Group((source, traced.hidden), qualified,
                                                           traced.parts))  # fmt: skip
            found[source, traced.hidden] = replace(old, places=(*old.places, place))
        return list(found.values())

    def _look_up(self, column: exp.Column) -> tuple[str, Traced | None]:
        name, qualifier = column.name.lower(), column.table.lower()
        unnamed = False
        for source in self._sources:
            if qualifier and source.alias.lower() != qualifier:
                continue
            traced = source.find(name)
            if traced is not None:
                return source.alias, traced
            unnamed |= any(c is not None and c.hidden and not c.name for c in source.columns)
        if unnamed and not name.isidentifier():
            raise self._intervals.refuse(column, "an expression that names it by its text",
                                          NAME_IT)  # fmt: skip
        return "", None

    def _lateral(self, column: exp.Column) -> tuple[Span, list[Group]] | None:
        """Return the earlier item of the same list that a name stands for."""
        found = self._aliases.get(column.name.lower())
        if found is None:
            return None
        if not self._makes and any(c is None for s in self._sources for c in s.columns):
            raise self._intervals.refuse(
                column, "an expression by an alias of the same list", "repeat the expression"
            )
        return found

    def _calls(self, inside: Span) -> list[Group]:
        """Return the block's own aggregates in an item."""
        if self._writer is None or not self._makes:
            return []
        found: dict[str, Group] = {}
        path = frozenset([frozenset([(self._intervals.index[id(self._select)],)])])
        for edit in self._writer.edits:
            if edit.text.startswith("__a") and inside.start <= edit.span.start < inside.end:
                hidden = edit.text.replace("__a", "__i")
                old = found.get(hidden, Group(("", hidden), hidden, path))
                found[hidden] = replace(old, places=(*old.places, edit.span))
        return list(found.values())

    def _scalars(self, item: exp.Expr) -> list[Group]:
        """Return the approximate values of queries nested in an item."""
        found: list[Group] = []
        for sub in item.find_all(exp.Subquery):
            if enclosing_select(sub) is not self._select:
                continue
            inner = self._text.fork()
            columns = self._intervals.emit(sub.this, None, inner)
            first = columns[0] if columns else None
            self._intervals.resolve(sub.this, self._text)
            if first is None or not first.hidden:
                continue
            index = self._intervals.index.get(id(sub.this))
            if index is None:
                raise self._intervals.refuse(sub, "a set operation in an expression", NAME_IT)
            span = self._intervals.block(index).span
            body = f"SELECT {first.hidden}.{{field}} FROM ({inner.part(span)})"
            found.append(Group(("()", str(span.start)), "", first.parts, (span,), body=body))
        return found
