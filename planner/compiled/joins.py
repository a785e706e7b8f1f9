"""Joins that a scan does on its way: tables by dense unique keys become arrays to look up in.

A block's tables form a tree: the root is scanned, every other one hangs on its parent by an
equality with an integer key of its own that is unique and dense. It runs first, filtered by its own
conjuncts, and leaves a bitmap of the keys that are left and, per column that is needed above, an
array by key. So the scan joins by loading from arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from foveal.planner.compiled.facts import ColumnFacts, TableFacts
from foveal.planner.compiled.refusal import NotCompilable
from foveal.planner.compiled.tables import split
from foveal.planner.ir import typing
from foveal.planner.ir.nodes import Binary, Cast, Column, Expr, Lookup, children, rebuilt
from foveal.planner.ir.program import Bitmap, Builder, Loop, Scatter
from foveal.planner.ir.types import BOOL, Int, Type

MAX_KEYS = 1 << 27
"""Keys of the largest array by key."""
SPARSE = 16
"""Keys per row above which a key does not count as dense."""


@dataclass(frozen=True, slots=True)
class Edge:
    """An equality between columns of two tables."""

    left: Column
    right: Column
    condition: Expr


@dataclass(slots=True)
class Node:
    """A table in the tree. `key`: its own; `foreign`: the parent's column that equals it."""

    alias: str
    parent: str | None = None
    key: Column | None = None
    foreign: Column | None = None
    below: list[str] = field(default_factory=list[str])
    where: list[Expr] = field(default_factory=list[Expr])


class Tree:
    """The tables of a block as a tree; makes the loops that run it."""

    def __init__(
        self,
        tables: Mapping[str, TableFacts],
        names: Mapping[str, tuple[str, ...]],
        where: Sequence[Expr],
    ) -> None:
        """Choose the root and hang the other tables.

        Raises:
            NotCompilable: some table has no dense unique key to hang on.
        """
        self.tables, self.names = tables, names
        self.wanted: set[str] = set()
        edges = [edge for c in where if (edge := _edge(c)) is not None]
        self.nodes, used = self._hung(edges)
        self.root = next(a for a, node in self.nodes.items() if node.parent is None)
        self._same = {n.key.name: n.foreign for n in self.nodes.values() if n.key and n.foreign}
        for condition in where:
            if not any(condition is edge.condition for edge in used):
                self._place(condition).where.append(condition)
        self._columns: dict[tuple[str, str], Column] = {}

    def column(self, name: str) -> ColumnFacts:
        """Return the facts of `alias.column`."""
        alias, column = split(name)
        found = self.tables[alias].column(column)
        assert found is not None
        return found

    # --- the shape ---------------------------------------------------------------------------

    def _hung(self, edges: Sequence[Edge]) -> tuple[dict[str, Node], list[Edge]]:
        roots = sorted(self.tables, key=lambda a: -self.tables[a].rows)
        for root in roots:
            nodes, used = {root: Node(root)}, list[Edge]()
            grown = True
            while grown and len(nodes) < len(self.tables):
                grown = False
                for edge in edges:
                    for foreign, key in ((edge.left, edge.right), (edge.right, edge.left)):
                        parent, alias = split(foreign.name)[0], split(key.name)[0]
                        small = self.tables[alias].rows <= self.tables[parent].rows
                        if parent in nodes and alias not in nodes and small and self._dense(key):
                            nodes[alias] = Node(alias, parent, key, foreign)
                            nodes[parent].below.append(alias)
                            used.append(edge)
                            grown = True
            if len(nodes) == len(self.tables):
                return nodes, used
        refusal = NotCompilable("a join without a dense unique key")
        keys = (split(name) for name in self.wanted)
        refusal.wanted_unique = frozenset((self.names[alias], column) for alias, column in keys)
        raise refusal

    def _dense(self, key: Column) -> bool:
        facts = self.column(key.name)
        table = self.tables[split(key.name)[0]]
        if not isinstance(key.type, Int) or not dense(facts, table.rows):
            return False
        if facts.unique is None:
            self.wanted.add(key.name)
        return facts.unique is True

    def _place(self, condition: Expr) -> Node:
        """Return the lowest table in the tree that sees all that a condition reads."""
        wanted = {split(c.name)[0] for c in columns_of(condition)}
        node = self.nodes[self.root]
        while True:
            below = [self.nodes[a] for a in node.below if wanted <= self._under(a)]
            if not below or not wanted:
                return node
            node = below[0]

    def _under(self, alias: str) -> set[str]:
        found = {alias}
        for below in self.nodes[alias].below:
            found |= self._under(below)
        return found

    # --- the loops ---------------------------------------------------------------------------

    def loops(
        self,
        into: str,
        how: Callable[[Callable[[Expr], Expr]], Builder],
        more: Sequence[Loop] = (),
    ) -> tuple[Loop, ...]:
        """Return the loops, the root's last. `how` makes its builder, given what rewrites columns.

        `more`: loops that come first (of semi-joins).
        """
        made: dict[str, list[Loop]] = {}
        needs: dict[str, dict[str, Column]] = {a: {} for a in self.nodes}

        def seen_from(alias: str) -> Callable[[Expr], Expr]:
            return lambda expr: self._seen(expr, alias, needs)

        builder = how(seen_from(self.root))
        order = self._order()
        wheres: dict[str, list[Expr]] = {}
        for alias in order:  # parents first: what they need of their children is known then
            see = seen_from(alias)
            wheres[alias] = [see(c) for c in self.nodes[alias].where]
            for wanted in list(needs[alias].values()):
                see(wanted)
        exists = {a: self._existence(a, wheres, needs) for a in order if a != self.root}
        for alias in order:
            node = self.nodes[alias]
            see = seen_from(alias)
            below = sorted(node.below, key=self._span)  # small arrays stay in the caches
            tests = [exists[b](see(_of(self.nodes[b].foreign))) for b in below]
            own = sorted(wheres[alias], key=_looks_up)  # what waits for memory comes last
            last = [c for c in own if _looks_up(c)]
            parts = [*own[: len(own) - len(last)], *tests, *last]
            where = typing.both(*parts) if parts else None
            mode = "branch" if tests or last else ""
            if alias == self.root:
                made[alias] = [Loop(into, alias, builder, where, mode)]
            else:
                made[alias] = self._tables(node, where, needs[alias], see, mode)
        loops = [loop for alias in reversed(order) for loop in made[alias]]
        return (*more, *loops)

    def _order(self) -> list[str]:
        """Return the aliases, parents before children."""
        order, at = [self.root], 0
        while at < len(order):
            order += self.nodes[order[at]].below
            at += 1
        return order

    def _seen(self, expr: Expr, alias: str, needs: dict[str, dict[str, Column]]) -> Expr:
        """Return an expression as the loop over `alias` computes it."""
        if isinstance(expr, Column):
            own, name = split(expr.name)
            if own == alias:
                return Column(name, expr.type)
            same = self._same.get(expr.name)
            if same is not None:  # the key of an inner join equals the foreign one
                return typing.cast(self._seen(same, alias, needs), expr.type)
            child = next(b for b in self.nodes[alias].below if own in self._under(b))
            needs[child][expr.name] = expr
            node = self.nodes[child]
            index = self._seen(_of(node.foreign), alias, needs)
            low, _ = self._bounds(node)
            return typing.lookup_named(f"{child}: {expr.name}", expr.type, index, low)
        parts = children(expr)
        if not parts:
            return expr
        return rebuilt(expr, tuple(self._seen(p, alias, needs) for p in parts))

    def _bounds(self, node: Node) -> tuple[int, int]:
        facts = self.column(_of(node.key).name)
        return facts.low or 0, facts.high or 0

    def _span(self, alias: str) -> int:
        low, high = self._bounds(self.nodes[alias])
        return high - low

    def _existence(
        self, alias: str, wheres: Mapping[str, list[Expr]], needs: Mapping[str, dict[str, Column]]
    ) -> Callable[[Expr], Expr]:
        """Return the test that a key is among a child's: its bitmap, or a value that is no NULL."""
        node = self.nodes[alias]
        low, _ = self._bounds(node)
        for column in needs[alias].values():
            if not self.column(column.name).nullable and split(column.name)[0] == alias:
                name = f"{alias}: {column.name}"
                type_ = column.type
                return lambda index: typing.unary(
                    "not", typing.unary("is_null", Lookup(name, index, type_, low))
                )
        return lambda index: Lookup(f"{alias}: keys", index, BOOL, low)

    def _tables(
        self,
        node: Node,
        where: Expr | None,
        wanted: Mapping[str, Column],
        see: Callable[[Expr], Expr],
        how: str,
    ) -> list[Loop]:
        """Return the loops that make a table's arrays by key."""
        low, high = self._bounds(node)
        key = see(_of(node.key))
        loops = [
            Loop(f"{node.alias}: {c.name}", node.alias, Scatter(key, see(c), low, high), where, how)
            for c in wanted.values()
        ]
        nullable = all(
            self.column(c.name).nullable or split(c.name)[0] != node.alias for c in wanted.values()
        )
        if nullable:  # no value tells by itself whether the key is there
            bits = Bitmap(key, low, high)
            loops.append(Loop(f"{node.alias}: keys", node.alias, bits, where, how))
        return loops


def dense(facts: ColumnFacts, rows: int) -> bool:
    """Say whether an array by this key is of reasonable size."""
    if facts.low is None or facts.high is None:
        return not facts.resident  # not known yet: it may be
    keys = facts.high - facts.low + 1
    return keys <= MAX_KEYS and keys <= SPARSE * rows + 4096


def _edge(condition: Expr) -> Edge | None:
    if not isinstance(condition, Binary) or condition.op != "eq":
        return None
    left, right = _bare(condition.left), _bare(condition.right)
    if left is None or right is None or split(left.name)[0] == split(right.name)[0]:
        return None
    return Edge(left, right, condition)


def _bare(expr: Expr) -> Column | None:
    """Return the integer column that an expression is, perhaps widened."""
    if isinstance(expr, Cast) and isinstance(expr.type, Int):
        expr = expr.operand
    return expr if isinstance(expr, Column) and isinstance(expr.type, Int) else None


def _looks_up(expr: Expr) -> bool:
    """Say whether an expression looks up an array by key (dictionaries' tables are small)."""
    if isinstance(expr, Lookup) and ": " in expr.table:
        return True
    return any(_looks_up(part) for part in children(expr))


def _of(column: Column | None) -> Column:
    assert column is not None
    return column


def columns_of(expr: Expr) -> list[Column]:
    """Return the columns that an expression reads."""
    if isinstance(expr, Column):
        return [expr]
    return [c for part in children(expr) for c in columns_of(part)]


def type_of(column: Column) -> Type:
    """Return a column's type."""
    return column.type
