"""Columns on their way up, for intervals: what a query hands up, what a SELECT's items give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from sqlglot import exp

from foveal.planner.bind.interval_text import EXACT, Parts, ShadowText
from foveal.planner.bind.references import enclosing_select
from foveal.planner.text import quote


@dataclass(frozen=True, slots=True)
class Carried:
    """An approximate column of the result. Its interval is the struct in the column `hidden`.

    `place` counts the visible columns from the start, or from the end if negative; None where it
    is known by its name only. `confidence` is that of each of its intervals.
    """

    name: str
    place: int | None
    hidden: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Traced:
    """A column that a query hands up; an exact one has no hidden column beside it."""

    name: str
    hidden: str = ""
    parts: Parts = EXACT


@dataclass(frozen=True, slots=True)
class Given:
    """A column of a SELECT: `struct` writes its interval as SQL over the SELECT's FROM."""

    name: str
    approximate: bool
    parts: Parts
    struct: Callable[[], str]


Columns = list[Traced | None]
"""A query's columns in order; None stands for any number of exact ones that are not known."""


@dataclass(frozen=True, slots=True)
class Source:
    """An item of FROM: the name that qualifies its columns, and the columns."""

    alias: str
    columns: Columns

    def find(self, name: str) -> Traced | None:
        """Return the column of a name."""
        return next((c for c in self.columns if c is not None and c.name == name), None)


def passed(sources: list[Source], qualifier: str, *, merged: bool) -> list[Given | None]:
    """Return what a star stands for."""
    found: list[Given | None] = []
    for source in sources:
        if qualifier and source.alias.lower() != qualifier:
            continue
        of = f"{quote(source.alias)}." if source.alias else ""
        for column in source.columns:
            if column is None or (merged and not column.hidden):
                found.append(None)  # USING shows a column of both sides once
            elif column.hidden:
                struct = partial(str, f"{of}{column.hidden}")
                found.append(Given(column.name, True, column.parts, struct))
            else:
                struct = partial(exact_struct, f"{of}{quote(column.name)}")
                found.append(Given(column.name, False, EXACT, struct))
    return found


def exact_struct(text: str) -> str:
    """Return SQL of the struct of bounds of an exact column."""
    return ShadowText.exact(text)


def exact(given: Given) -> Given:
    """Return the column as one that an exact value replaces."""
    return replace(given, approximate=False, parts=EXACT)


def named(columns: list[Given | None], name: str) -> Given | None:
    """Return the column of a name."""
    return next((c for c in columns if c is not None and c.name == name), None)


def either(a: Given | None, b: Given | None) -> Given | None:
    """Return the column of a union whose rows come from either arm."""
    if a is None or b is None:
        return a or b
    if not (a.approximate or b.approximate):
        return a
    parts = frozenset(p for g in (a, b) if g.approximate for p in g.parts)
    return Given(a.name, True, parts, a.struct)


def place_of(columns: Columns, i: int) -> int | None:
    """Return where a column stands among the visible ones: see `Carried.place`."""
    if None not in columns[:i]:
        return i
    return i - len(columns) if None not in columns[i:] else None


# --- the tree -----------------------------------------------------------------------------------


def bare(node: exp.Expr) -> exp.Expr:
    """Return what stands in the brackets."""
    while isinstance(node, exp.Subquery):
        node = node.this
    return node


def holder_of(item: exp.Expr) -> exp.Select:
    """Return the SELECT whose item this is."""
    select = enclosing_select(item)
    assert select is not None
    return select


def within(node: exp.Expr, around: exp.Expr) -> bool:
    """Whether a node lies below another, or is it."""
    at: exp.Expr | None = node
    while at is not None and at is not around:
        at = at.parent
    return at is not None


def in_from(node: exp.Expr, select: exp.Select) -> bool:
    """Whether a node belongs to the FROM of a SELECT."""
    return any(within(node, item) for item, _ in from_items(select))


def from_items(select: exp.Select) -> Iterator[tuple[exp.Expr, exp.Join | None]]:
    """Yield what FROM lists, in order, each with the join that brings it; brackets are opened."""
    held = select.args.get("from_") or select.args.get("from")
    if held is not None:
        yield from _opened(held.this, None)
    for join in select.args.get("joins") or ():
        yield from _opened(join.this, join)
    for lateral in select.args.get("laterals") or ():
        yield lateral, None


def _opened(item: exp.Expr, join: exp.Join | None) -> Iterator[tuple[exp.Expr, exp.Join | None]]:
    bracket = isinstance(item, exp.Subquery) and not item.alias
    if bracket and isinstance(item.this, exp.Table | exp.Subquery):
        yield from _opened(item.this, join)
    else:
        yield item, join
    for nested in item.args.get("joins") or ():
        yield from _opened(nested.this, nested)
