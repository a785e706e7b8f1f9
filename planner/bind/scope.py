"""What of one SELECT is approximate: the names it reads, its own calls, nested values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from foveal.errors import NotSupportedError
from foveal.planner.bind.references import enclosing_select, identifier_span

HINT = (
    "only projection, UNION ALL and affine arithmetic keep an interval: leave out ERROR WITHIN to "
    "use the exact value here"
)
ANY = "*"
"""Stands for any column, where it is not known which of a query's columns is approximate."""
UNNAMED = "()"
"""Stands for a column that DuckDB names by its text, which is no plain name."""


def among(name: str, names: frozenset[str]) -> bool:
    """Whether the column called `name` is one of `names`."""
    return name in names or ANY in names or (UNNAMED in names and not name.isidentifier())


def output_name(item: exp.Expr) -> str:
    """Return the name that a select item goes out under, as `names` holds it."""
    if isinstance(item, exp.Alias):
        return item.alias.lower()
    if isinstance(item, exp.Paren):
        return output_name(item.this)
    if item.is_star or isinstance(item, exp.Columns):
        return ANY
    return item.name.lower() if isinstance(item, exp.Column) else UNNAMED


@dataclass(slots=True)
class Scope:
    """The approximate things that expressions of `select` can name.

    `sources` are the approximate columns by the FROM item's alias; `scalar` the ids of nested
    queries with an approximate value; `makes` says that its aggregates are approximate; `own`
    are aliases of its approximate items, which DuckDB lets other clauses name.
    """

    select: exp.Select | None
    sources: Mapping[str, frozenset[str]]
    scalar: frozenset[int]
    makes: bool = False
    own: set[str] = field(default_factory=set[str])

    @property
    def columns(self) -> frozenset[str]:
        """The approximate columns that an unqualified name may mean."""
        return frozenset(name for names in self.sources.values() for name in names)

    def starred(self, star: exp.Expr) -> frozenset[str]:
        """Return the approximate columns that a star stands for."""
        qualifier = star.text("table").lower()
        return self.sources.get(qualifier, frozenset()) if qualifier else self.columns

    def find(self, node: exp.Expr) -> exp.Expr | None:
        """Return the first approximate part of an expression."""
        return next((part for part in node.walk() if self._holds(part)), None)

    def _holds(self, part: exp.Expr) -> bool:
        if id(part) in self.scalar:
            return True
        if enclosing_select(part) is not self.select:
            return False
        if isinstance(part, exp.Column):
            name, qualifier = part.name.lower(), part.table.lower()
            if part.is_star:
                return bool(self.starred(part))
            if qualifier:
                return among(name, self.sources.get(qualifier, frozenset()))
            return among(name, self.columns) or name in self.own or name in self.sources
        if isinstance(part, exp.Columns | exp.PositionalColumn):
            return bool(self.sources)
        if isinstance(part, exp.Star):
            held = isinstance(part.parent, exp.Count | exp.Column | exp.Columns)
            return bool(self.sources) and not held
        call = isinstance(part, exp.AggFunc) or (
            isinstance(part, exp.Anonymous) and str(part.this).lower() == "fcount"
        )
        return self.makes and call

    def affine(self, node: exp.Expr) -> bool:
        """Whether an expression keeps an interval: a sum of approximate values and constants."""
        if id(node) in self.scalar or self.find(node) is None:
            return True
        if isinstance(node, exp.Alias | exp.Paren | exp.Neg | exp.Subquery):
            return self.affine(node.this)
        if isinstance(node, exp.Cast):
            return node.to.is_type("double") and self.affine(node.this)
        if isinstance(node, exp.Add | exp.Sub):
            return self.affine(node.left) and self.affine(node.right)
        if isinstance(node, exp.Mul):
            if self.find(node.left) is not None and self.find(node.right) is not None:
                return False
            return self.affine(node.left) and self.affine(node.right)
        if isinstance(node, exp.Div):
            return self.find(node.right) is None and self.affine(node.left)
        if isinstance(node, exp.Column):
            # A FROM item's own name is its whole row.
            row = not node.table and node.name.lower() in self.sources
            return not row or among(node.name.lower(), self.columns)
        # A block's own call is the approximate value; a call over such a value is not affine.
        return self.find(node) is (node.this if isinstance(node, exp.Filter) else node)


def refused(node: exp.Expr, base: int, what: str, hint: str = HINT) -> NotSupportedError:
    """Return the error that refuses an approximate value at `node`, whose text begins at `base`."""
    span = None
    for part in node.walk():
        if isinstance(part, exp.Identifier | exp.Anonymous | exp.AggFunc):
            span = identifier_span(part, base)
        if span is not None:
            break
    return NotSupportedError(f"an approximate value cannot be used in {what}", span=span, hint=hint)
