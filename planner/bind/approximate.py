"""Where an approximate column may go: projected, aliased, UNION ALLed, in affine expressions.

Anything else (WHERE, HAVING, a join key, ORDER BY .. LIMIT, an aggregate, a window) would turn an
interval into a decision or lose it, and is refused with the exact rewrite as hint.
"""

from __future__ import annotations

from typing import Any, cast

from sqlglot import exp

from foveal.errors import NotSupportedError, Span
from foveal.planner.bind.references import enclosing_select, visible_ctes
from foveal.planner.bind.scope import ANY, HINT, UNNAMED, Scope, among, output_name, refused
from foveal.planner.bind.source import has_joins, only_chooses

_ORDER_HINT = (
    "the order may decide which rows are used: put ORDER BY at the end of the statement, without "
    "LIMIT, or leave out ERROR WITHIN to order by the exact value"
)
_NONE: frozenset[str] = frozenset()


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
            self._visit_ctes(node)
            names = self._visit(node.this)
            if names and node.args.get("order"):
                self._check_outer_order(node, names)
            self._exact_only(node.args.get("limit"), node.args.get("offset"))
            return names
        if isinstance(node, exp.SetOperation):
            self._visit_ctes(node)
            names = self._align(node, self._visit(node.left), self._visit(node.right))
            if names and (not isinstance(node, exp.Union) or node.args.get("distinct")):
                raise self._refused(node, "a set operation that compares rows")
            if names and node.args.get("order"):
                self._check_outer_order(node, names)
            self._exact_only(node.args.get("limit"), node.args.get("offset"))
            return names
        if isinstance(node, exp.Select):
            return self._select(node)
        self._visit_ctes(node)
        if isinstance(node, exp.Pivot):
            self._exact_only(node, what="PIVOT or UNPIVOT")
        elif isinstance(node, exp.Update | exp.Delete | exp.Merge):
            self._write(node)
        else:
            for query in self._top_queries(node):
                self._visit(query)
        return _NONE

    def _top_queries(self, node: exp.Expr) -> list[exp.Expr]:
        found: list[exp.Expr] = []
        for child in node.iter_expressions():
            if isinstance(child, exp.Select | exp.SetOperation):
                found.append(child)
            elif not isinstance(child, exp.With):
                found.extend(self._top_queries(child))
        return found

    def _exact_only(self, *places: exp.Expr | None, what: str = "") -> None:
        """Refuse approximate queries, and names of such, below the places."""
        for place in places:
            for node in place.find_all(exp.Table) if place is not None else ():
                if self._cte_columns(node):
                    raise self._refused(node, what or "a place other than a select list")
            for query in self._top_queries(place) if place is not None else ():
                if self._visit(query):
                    raise self._refused(query, what or "a place other than a select list")

    def _write(self, node: exp.Expr) -> None:
        """Check UPDATE, DELETE and MERGE: SET may store a value, nothing may choose rows by it."""
        what = "the rows that a statement changes"
        values = node.expressions if isinstance(node, exp.Update) else []
        for key, held in node.args.items():
            parts = cast("list[Any]", held if isinstance(held, list) else [held])
            if key not in ("expressions", "with_", "with"):
                self._exact_only(*(p for p in parts if isinstance(p, exp.Expr)), what=what)
        for value in values:
            scalar = self._scalar_queries([value], None)
            scope = Scope(None, {}, scalar)
            bad = scope.find(value.expression)
            if bad is not None and not scope.affine(value.expression):
                raise self._refused(bad, "a function, an aggregate or a comparison")

    def _align(
        self, node: exp.SetOperation, left: frozenset[str], right: frozenset[str]
    ) -> frozenset[str]:
        if not right or node.args.get("by_name"):
            return left | right
        mine = [output_name(e) for e in node.left.selects]
        theirs = [output_name(e) for e in node.right.selects]
        if ANY in mine or ANY in theirs:
            return left if left == right and mine == theirs else left | {ANY}
        return left | {a for a, b in zip(mine, theirs, strict=False) if b in right}

    def _visit_ctes(self, node: exp.Expr) -> None:
        held = node.args.get("with_") or node.args.get("with")
        recursive = held is not None and held.args.get("recursive")
        # A recursive query reads itself: its own columns are known the second time.
        for again in range(2 if recursive else 1):
            for cte in held.expressions if held is not None else ():
                self._columns[id(cte)] = self._rename(cte, self._visit(cte.this), cte.this)
                reads = cte.this.find_all(exp.Table) if again and self._columns[id(cte)] else ()
                if any(visible_ctes(table).get(table.name.lower()) is cte for table in reads):
                    raise self._refused(cte, "a recursive query")

    def _cte_columns(self, table: exp.Table) -> frozenset[str]:
        cte = visible_ctes(table).get(table.name.lower()) if table.args.get("db") is None else None
        return self._columns.get(id(cte), _NONE)

    def _rename(self, holder: exp.Expr, names: frozenset[str], query: exp.Expr) -> frozenset[str]:
        alias = cast("Any", holder.args.get("alias"))
        columns = cast("list[exp.Expr]", (alias.args.get("columns") or []) if alias else [])
        listed = [column.name.lower() for column in columns]
        if not listed or not names:
            return names
        inner = [output_name(e) for e in getattr(query, "selects", [])]
        if not inner or ANY in names or ANY in inner:  # a table's columns are not looked up
            return frozenset({ANY})
        outer = [*listed, *inner[len(listed) :]]
        return frozenset(new for new, old in zip(outer, inner, strict=False) if old in names)

    def _select(self, select: exp.Select) -> frozenset[str]:
        self._visit_ctes(select)
        makes = id(select) in self.blocks
        items, joins = _from_items(select)
        scope = Scope(select, self._sources(items), self._scalar_subqueries(select, joins), makes)
        self._exact_only(*(select.args.get(k) for k in ("limit", "offset", "sample")))
        if not (makes or scope.sources or scope.scalar):
            return _NONE
        self._check_correlated(select, scope)
        for item in select.expressions:
            if isinstance(item, exp.Alias) and scope.find(item) is not None:
                scope.own.add(item.alias.lower())
        self._check_conditions(select, scope, joins)
        out: set[str] = set()
        for item in select.expressions:
            out |= self._starred(item, scope) if item.is_star else self._item(item, scope)
        self._check_order(select, scope)
        return frozenset(out)

    def _item(self, item: exp.Expr, scope: Scope) -> set[str]:
        bad = scope.find(item)
        if bad is None:
            return set()
        if not scope.affine(item):
            raise self._refused(bad, "a function, an aggregate or a comparison")
        return {output_name(item)}

    def _starred(self, item: exp.Expr, scope: Scope) -> set[str]:
        names = set(scope.starred(item))
        star = item.this if isinstance(item, exp.Column) else item
        for dropped in star.args.get("except_") or star.args.get("except") or ():
            names.discard(dropped.name.lower())
        for replaced in star.args.get("replace") or ():
            names.discard(replaced.alias.lower())
            names |= self._item(replaced, scope)
        for renamed in star.args.get("rename") or ():
            if renamed.this.name.lower() in names:
                names.discard(renamed.this.name.lower())
                names.add(renamed.alias.lower())
        return names

    def _check_conditions(self, select: exp.Select, scope: Scope, joins: list[exp.Join]) -> None:
        for key, what in (
            ("where", "WHERE"), ("having", "HAVING"), ("qualify", "QUALIFY"),
            ("group", "GROUP BY"), ("windows", "WINDOW"),
        ):  # fmt: skip
            held = cast("Any", select.args.get(key))
            for part in cast("list[Any]", held if isinstance(held, list) else [held]):
                bad = scope.find(part) if part is not None else None
                if bad is None and part is not None and scope.makes and key in _AFTER_GROUPS:
                    bad = part.this
                if bad is not None:
                    raise self._refused(bad, what)
        for join in joins:
            on = join.args.get("on")
            bad = scope.find(on) if on is not None else None
            for name in join.args.get("using") or ():
                if name.name.lower() in scope.columns:
                    bad = name
            if bad is not None:
                raise self._refused(bad, "a join condition")
            if join.method.upper() == "NATURAL" and scope.sources:
                raise self._refused(join, "a NATURAL join, which may compare it")
        if select.args.get("distinct") and (
            scope.makes or scope.sources or any(scope.find(e) for e in select.expressions)
        ):
            raise self._refused(select, "DISTINCT")
        group = select.args.get("group")
        if group is not None:
            keys = [self._meant(key, select, scope) for key in group.expressions]
            if group.args.get("all") and not scope.makes:
                keys += select.expressions
            for key in keys:
                if scope.find(key) is not None:
                    raise self._refused(key, "GROUP BY")

    def _check_order(self, select: exp.Select, scope: Scope) -> None:
        order = select.args.get("order")
        if order is None:
            return
        for ordered in order.expressions:
            keys = [self._meant(ordered.this, select, scope)]
            if isinstance(ordered.this, exp.Var) and ordered.this.name.upper() == "ALL":
                keys = select.expressions
            for key in keys:
                if scope.find(key) is not None:
                    self._check_order_shows(select, key)

    def _check_outer_order(self, node: Any, names: frozenset[str]) -> None:
        outputs = [output_name(e) for e in node.selects]
        for ordered in node.args["order"].expressions:
            key = ordered.this
            name = key.name.lower() if isinstance(key, exp.Column) else ANY
            if isinstance(key, exp.Literal) and 0 < int(key.name) <= len(outputs):
                name = outputs[int(key.name) - 1]
            if name in (ANY, UNNAMED) or among(name, names):
                self._check_order_shows(node, key)

    def _check_order_shows(self, query: exp.Expr, key: exp.Expr) -> None:
        """Refuse an order by an approximate value that may decide which rows are used.

        It may stand at the end of the statement, or in queries around which all only choose rows
        by other means: then it is the order in which the result is shown.
        """
        if _cuts(query):
            raise self._refused(key, "ORDER BY .. LIMIT")
        node: exp.Expr = query
        while node is not self.tree:
            holder = node.parent
            if holder is self.tree or isinstance(getattr(holder, "parent", None), exp.Subquery):
                assert holder is not None
                node = holder
                continue
            around = _reader(node)
            if around is None or not only_chooses(around) or has_joins(around):
                raise self._refused(key, "ORDER BY of a sub-query", _ORDER_HINT)
            calls = around.find_all(exp.Func, exp.Window)
            if any(enclosing_select(c) is around and not isinstance(c, exp.Cast) for c in calls):
                raise self._refused(key, "ORDER BY of a sub-query", _ORDER_HINT)
            node = around

    def _meant(self, key: exp.Expr, select: exp.Select, scope: Scope) -> exp.Expr:
        """Return the item that a position stands for: an approximate star, if there is one."""
        if not (isinstance(key, exp.Literal) and key.name.isdigit()):
            return key
        for item in select.expressions:
            if output_name(item) == ANY and scope.find(item) is not None:
                return item
        place = int(key.name)
        return select.expressions[place - 1] if 0 < place <= len(select.expressions) else key

    def _check_correlated(self, select: exp.Select, scope: Scope) -> None:
        """Refuse approximate columns that nested queries read from this one."""
        for column in select.find_all(exp.Column):
            holder = enclosing_select(column)
            if holder is select or not scope.sources:
                continue
            qualifier, name = column.table.lower(), column.name.lower()
            within = scope.sources.get(qualifier, _NONE) if qualifier else scope.columns
            node: exp.Expr | None = column
            inner = False
            while name in within and not inner and node is not select and node is not None:
                if isinstance(node, exp.Select):
                    inner = _provides(node, qualifier, name)
                elif not qualifier and isinstance(node, exp.From | exp.Join | exp.With):
                    inner = True  # a query in FROM looks outside only for what it does not have
                node = node.parent
            if name in within and not inner:
                raise self._refused(column, "a correlated sub-query")

    def _sources(self, items: list[exp.Expr]) -> dict[str, frozenset[str]]:
        """Return the approximate columns that FROM gives, by the alias that qualifies them."""
        found: dict[str, frozenset[str]] = {}
        for item in items:
            names = _NONE
            if isinstance(item, exp.Subquery | exp.Lateral):
                query = item.this.this if isinstance(item.this, exp.Subquery) else item.this
                if isinstance(query, exp.Select | exp.SetOperation):
                    names = self._visit(query)
                    if names and item.args.get("order"):
                        self._check_outer_order(item, names)
                    names = self._rename(item, names, query)
            elif isinstance(item, exp.Table):
                names = self._rename(item, self._cte_columns(item), item)
                if not isinstance(item.this, exp.Identifier):
                    self._exact_only(item)
            if names and item.args.get("pivots"):
                raise self._refused(item, "PIVOT or UNPIVOT")
            if names:
                alias = item.alias_or_name.lower()
                found[alias] = found.get(alias, _NONE) | names
        return found

    def _scalar_subqueries(self, select: exp.Select, joins: list[exp.Join]) -> frozenset[int]:
        """Return the ids of nested approximate queries that stand in expressions."""
        held = [select.args.get(k) for k in ("where", "having", "qualify", "order", "group")]
        places = [*select.expressions, *held, *(join.args.get("on") for join in joins)]
        return self._scalar_queries([p for p in places if p is not None], select)

    def _scalar_queries(self, places: list[exp.Expr], select: exp.Select | None) -> frozenset[int]:
        found: set[int] = set()
        for place in places:
            for node in place.find_all(exp.Select, exp.SetOperation):
                if enclosing_select(node) is select and self._visit(node):
                    parent = node.parent
                    holder = parent if isinstance(parent, exp.Subquery) else node
                    if isinstance(holder.parent, exp.In | exp.Exists | exp.Any | exp.All):
                        raise self._refused(holder, "IN or EXISTS")
                    found.add(id(holder))
        return frozenset(found)

    def _refused(self, node: exp.Expr, what: str, hint: str = HINT) -> NotSupportedError:
        return refused(node, self.base, what, hint)


_AFTER_GROUPS = ("having", "qualify")


def _reader(query: exp.Expr) -> exp.Select | None:
    """Return the SELECT whose FROM is this sub-query and nothing before it, if there is one."""
    holder = query.parent
    if isinstance(holder, exp.Subquery) and isinstance(holder.parent, exp.From):
        return enclosing_select(holder)
    return None


def _cuts(query: exp.Expr) -> bool:
    """Whether only some rows of an ordered query go out."""
    return query.args.get("limit") is not None or query.args.get("offset") is not None


def _from_items(select: exp.Select) -> tuple[list[exp.Expr], list[exp.Join]]:
    """Return what stands in FROM and its joins, those in parentheses too."""
    held = select.args.get("from_") or select.args.get("from")
    joins: list[exp.Join] = list(select.args.get("joins") or ())
    pending: list[exp.Expr] = [held.this] if held is not None else []
    pending += [join.this for join in joins]
    pending += select.args.get("laterals") or ()
    items: list[exp.Expr] = []
    while pending:
        item = pending.pop()
        nested: list[exp.Join] = list(item.args.get("joins") or ())
        joins += nested
        pending += [join.this for join in nested]
        bracket = isinstance(item, exp.Subquery) and not item.alias
        if bracket and isinstance(item.this, exp.Table | exp.Subquery):
            pending.append(item.this)
        else:
            items.append(item)
    return items, joins


def _provides(select: exp.Select, qualifier: str, name: str) -> bool:
    """Whether the SELECT's own FROM has the column, as far as its text tells."""
    for item in _from_items(select)[0]:
        if qualifier:
            if item.alias_or_name.lower() == qualifier:
                return True
            continue
        query: exp.Expr | None = item.this if isinstance(item, exp.Subquery) else None
        if isinstance(item, exp.Table):
            query = visible_ctes(item).get(item.name.lower())
            query = query.this if query is not None else None
        outputs = {output_name(e) for e in getattr(query, "selects", [])}
        if name in outputs or ANY in outputs:
            return True
    return False
