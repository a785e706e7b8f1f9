"""Where an approximate column may go: projected, aliased, UNION ALLed, in affine expressions.

Anything else (WHERE, HAVING, a join key, ORDER BY .. LIMIT, an aggregate, a window) would turn an
interval into a decision or lose it, and is refused with the exact rewrite as hint.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from sqlglot import exp

from foveal.errors import NotSupportedError, Span
from foveal.planner.bind.references import enclosing_select, identifier_span, visible_ctes

_HINT = (
    "only projection, UNION ALL and affine arithmetic keep an interval: leave out ERROR WITHIN to "
    "use the exact value here"
)


Taint = Callable[[exp.Expr], "exp.Expr | None"]
"""Finds an approximate value inside an expression."""


class Approximation:
    """Follows approximate columns from the blocks that make them to the top of the statement."""

    def __init__(self, tree: exp.Expr, base: int, blocks: dict[int, Span]) -> None:
        """Take the tree, its offset in the statement, and the approximate SELECTs by id."""
        self.tree = tree
        self.base = base
        self.blocks = blocks
        self._columns: dict[int, frozenset[str]] = {}

    def check(self) -> None:
        """Raise where an approximate column is used as only an exact one may be.

        Raises:
            NotSupportedError: 0A000, at the use.
        """
        if self.blocks:
            self._visit(self.tree)

    def _visit(self, node: exp.Expr) -> frozenset[str]:
        """Return the names of the query's approximate output columns."""
        if isinstance(node, exp.Subquery):
            return self._visit(node.this)
        if isinstance(node, exp.SetOperation):
            self._visit_ctes(node)
            left, right = self._visit(node.left), self._visit(node.right)
            names = self._align(node, left, right)
            if names and (not isinstance(node, exp.Union) or node.args.get("distinct")):
                raise self._refused(node, "a set operation that compares rows")
            if names and node.args.get("order") and node.args.get("limit"):
                raise self._refused(node, "ORDER BY .. LIMIT")
            return names
        if isinstance(node, exp.Select):
            return self._select(node)
        names: frozenset[str] = frozenset()
        for select in self._top_queries(node):
            names |= self._visit(select)
        return names

    def _top_queries(self, node: exp.Expr) -> list[exp.Expr]:
        found: list[exp.Expr] = []
        for child in node.iter_expressions():
            if isinstance(child, exp.Select | exp.SetOperation):
                found.append(child)
            else:
                found.extend(self._top_queries(child))
        return found

    def _align(
        self, node: exp.SetOperation, left: frozenset[str], right: frozenset[str]
    ) -> frozenset[str]:
        names = [e.alias_or_name.lower() for e in node.left.selects]
        others = [e.alias_or_name.lower() for e in node.right.selects]
        found = set(left)
        for mine, theirs in zip(names, others, strict=False):
            if theirs in right:
                found.add(mine)
        return frozenset(found | ({"*"} if "*" in right else set()))

    def _visit_ctes(self, node: exp.Expr) -> None:
        held = node.args.get("with_") or node.args.get("with")
        if held is not None:
            for cte in held.expressions:
                self._columns[id(cte)] = self._rename(cte, self._visit(cte.this), cte.this)

    def _rename(self, holder: exp.Expr, names: frozenset[str], query: exp.Expr) -> frozenset[str]:
        alias = cast("Any", holder.args.get("alias"))
        columns = cast("list[exp.Expr]", (alias.args.get("columns") or []) if alias else [])
        listed = [column.name.lower() for column in columns]
        if not listed or not names:
            return names
        inner = [e.alias_or_name.lower() for e in getattr(query, "selects", [])]
        return frozenset(
            new for new, old in zip(listed, inner, strict=False) if old in names
        ) or frozenset(listed)

    def _select(self, select: exp.Select) -> frozenset[str]:
        self._visit_ctes(select)
        if id(select) in self.blocks:
            return self._block(select)
        sources = self._sources(select)
        approximate = frozenset(name for names in sources.values() for name in names)
        scalar = self._scalar_subqueries(select)
        if not approximate and not scalar:
            return frozenset()

        def tainted(node: exp.Expr) -> exp.Expr | None:
            for part in node.walk():
                if id(part) in scalar:
                    return part
                if isinstance(part, exp.Column) and enclosing_select(part) is select:
                    qualifier = part.table.lower()
                    names = sources.get(qualifier, frozenset()) if qualifier else approximate
                    if part.name.lower() in names or (names and part.is_star):
                        return part
            return None

        for key, what in (
            ("where", "WHERE"), ("having", "HAVING"), ("qualify", "QUALIFY"),
            ("group", "GROUP BY"), ("joins", "a join condition"),
        ):  # fmt: skip
            held = cast("Any", select.args.get(key))
            parts = cast("list[Any]", held if isinstance(held, list) else [held])
            for part in parts:
                condition = part.args.get("on") if isinstance(part, exp.Join) else part
                bad = tainted(condition) if condition is not None else None
                if isinstance(part, exp.Join):
                    for name in part.args.get("using") or ():
                        if name.name.lower() in approximate:
                            bad = name
                if bad is not None:
                    raise self._refused(bad, what)
        for join in select.args.get("joins") or ():
            if join.method.upper() == "NATURAL" and approximate:
                raise self._refused(join, "a NATURAL join, which may compare it")
        if select.args.get("distinct") and (
            approximate or any(tainted(item) is not None for item in select.expressions)
        ):
            raise self._refused(select, "DISTINCT")
        order = select.args.get("order")
        if order is not None and select.args.get("limit") is not None:
            bad = tainted(order)
            if bad is not None:
                raise self._refused(bad, "ORDER BY .. LIMIT")
        out: set[str] = set()
        for item in select.expressions:
            if item.is_star:
                out |= approximate
                continue
            bad = tainted(item)
            if bad is None:
                continue
            if not self._affine(item, tainted, scalar):
                raise self._refused(bad, "a function, an aggregate or a comparison")
            out.add(item.alias_or_name.lower() or "*")
        if order is not None and select.args.get("limit") is not None and out:
            for ordered in order.expressions:
                name = ordered.this.name.lower()
                position = name.isdigit() and int(name) <= len(select.expressions)
                if position:
                    name = select.expressions[int(name) - 1].alias_or_name.lower()
                if name in out:
                    raise self._refused(ordered.this, "ORDER BY .. LIMIT")
        return frozenset(out)

    def _block(self, select: exp.Select) -> frozenset[str]:
        """Check a block that makes approximate values; every aggregate in it is one."""
        scalar = self._scalar_subqueries(select)

        def tainted(node: exp.Expr) -> exp.Expr | None:
            for part in node.walk():
                if id(part) in scalar:
                    return part
                call = isinstance(part, exp.AggFunc) or (
                    isinstance(part, exp.Anonymous) and str(part.this).lower() == "fcount"
                )
                if call and enclosing_select(part) is select:
                    return part
            return None

        for key, what in (("where", "WHERE"), ("group", "GROUP BY")):
            held = select.args.get(key)
            bad = tainted(held) if held is not None else None
            if bad is not None:
                raise self._refused(bad, what)
        for key, what in (("having", "HAVING"), ("qualify", "QUALIFY")):
            held = select.args.get(key)
            if held is not None:
                raise self._refused(held.this, what)
        if select.args.get("distinct"):
            raise self._refused(select, "DISTINCT")
        out: set[str] = set()
        for item in select.expressions:
            bad = tainted(item)
            if bad is None:
                continue
            if not self._affine(item, tainted, scalar):
                raise self._refused(bad, "a function, an aggregate or a comparison")
            out.add(item.alias_or_name.lower() or "*")
        order, limit = select.args.get("order"), select.args.get("limit")
        if order is not None and limit is not None:
            for ordered in order.expressions:
                name = ordered.this.name.lower()
                if name.isdigit() and int(name) <= len(select.expressions):
                    name = select.expressions[int(name) - 1].alias_or_name.lower()
                    if tainted(select.expressions[int(ordered.this.name) - 1]) is None:
                        continue
                    raise self._refused(ordered.this, "ORDER BY .. LIMIT")
                if tainted(ordered) is not None or (name and name in out):
                    raise self._refused(ordered.this, "ORDER BY .. LIMIT")
        return frozenset(out)

    def _sources(self, select: exp.Select) -> dict[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        held = select.args.get("from_") or select.args.get("from")
        items = [held.this] if held is not None else []
        items += [join.this for join in select.args.get("joins") or ()]
        items += [lateral.this for lateral in select.args.get("laterals") or ()]
        for item in items:
            if isinstance(item, exp.Subquery):
                names = self._rename(item, self._visit(item.this), item.this)
                found[item.alias.lower()] = names
            elif isinstance(item, exp.Table) and item.args.get("db") is None:
                cte = visible_ctes(item).get(item.name.lower())
                if cte is not None:
                    found[item.alias_or_name.lower()] = self._columns.get(id(cte), frozenset())
        return {alias: names for alias, names in found.items() if names}

    def _scalar_subqueries(self, select: exp.Select) -> dict[int, bool]:
        """Return the ids of nested approximate queries that stand in expressions."""
        found: dict[int, bool] = {}
        places = [
            *select.expressions,
            *(select.args[k] for k in ("where", "having", "qualify", "order", "group")
              if select.args.get(k) is not None),
        ]  # fmt: skip
        joins = select.args.get("joins") or ()
        places += [join.args["on"] for join in joins if join.args.get("on") is not None]
        for place in places:
            for node in place.find_all(exp.Select, exp.SetOperation):
                if enclosing_select(node) is select and self._visit(node):
                    parent = node.parent
                    holder = parent if isinstance(parent, exp.Subquery) else node
                    if isinstance(holder.parent, exp.In | exp.Exists | exp.Any | exp.All):
                        raise self._refused(holder, "IN or EXISTS")
                    found[id(holder)] = True
        return found

    def _affine(self, node: exp.Expr, tainted: Taint, scalar: dict[int, bool]) -> bool:
        def is_tainted(part: exp.Expr) -> bool:
            return tainted(part) is not None

        if id(node) in scalar or not is_tainted(node):
            return True
        if isinstance(node, exp.Alias | exp.Paren | exp.Neg | exp.Subquery):
            return self._affine(node.this, tainted, scalar)
        if isinstance(node, exp.Cast):
            return node.to.is_type("double", "float") and self._affine(node.this, tainted, scalar)
        if isinstance(node, exp.Add | exp.Sub):
            return self._affine(node.left, tainted, scalar) and self._affine(
                node.right, tainted, scalar
            )
        if isinstance(node, exp.Mul):
            if is_tainted(node.left) and is_tainted(node.right):
                return False
            inner = node.left if is_tainted(node.left) else node.right
            return self._affine(inner, tainted, scalar)
        if isinstance(node, exp.Div):
            return not is_tainted(node.right) and self._affine(node.left, tainted, scalar)
        if isinstance(node, exp.Column):
            return True
        # A block's own call is the approximate value; a call over such a value is not affine.
        return tainted(node) is (node.this if isinstance(node, exp.Filter) else node)

    def _refused(self, node: exp.Expr, what: str) -> NotSupportedError:
        span = None
        for part in node.walk():
            if isinstance(part, exp.Identifier | exp.Anonymous | exp.AggFunc):
                span = identifier_span(part, self.base)
            if span is not None:
                break
        return NotSupportedError(
            f"an approximate value cannot be used in {what}", span=span, hint=_HINT
        )
