"""A SELECT's WHERE as conjuncts over one relation, and those of them that can go to its scan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

from sqlglot import exp

from foveal.errors import Span
from foveal.planner.bind.references import Reference, enclosing_select, visible_ctes
from foveal.planner.bind.source import has_joins, only_chooses, relation_columns
from foveal.planner.logical import RELATION_COLUMNS, Conjunct
from foveal.planner.parse.statement import Query

_VOLATILE = frozenset({"random", "uuid", "nextval", "setseed", "gen_random_uuid"})


class Predicates:
    """Reads the WHERE clauses of one query."""

    def __init__(
        self,
        query: Query,
        selects: Mapping[int, exp.Select],
        render: Callable[[Span], str],
        user_functions: frozenset[str],
    ) -> None:
        """Take the query, sqlglot's SELECT of each block, and what writes a span's text.

        A call of one of `user_functions`, which may hide one of DuckDB's, is never pure.
        """
        self._user_functions = user_functions
        self._query = query
        self._selects = selects
        self._render = render

    def pushable(self, ref: Reference) -> tuple[Conjunct, ...]:
        """Return the conjuncts on frames that a row of the relation must satisfy to matter.

        They come from the SELECT whose FROM holds the relation and from those around it, as long
        as each only chooses rows and columns of the one inside: through sub-queries, and through
        common table expressions that are mentioned once. Nothing passes an outer join, for a row
        that fails the predicate there still stands for a missing one.
        """
        found: list[Conjunct] = []
        for select, alias in self.readers(ref):
            single = not select.args.get("joins")
            found += [
                c
                for c in self.of(select, alias, ref.relation, single=single)
                if c.columns and c.frame_only and c.pure
            ]
        return tuple(found)

    def on_rows(self, ref: Reference) -> tuple[Conjunct, ...]:
        """Return the pure conjuncts that a row of the relation must satisfy to matter."""
        return tuple(
            c
            for select, alias in self.readers(ref)
            for c in self.of(select, alias, ref.relation, single=not select.args.get("joins"))
            if c.columns and c.pure
        )

    def readers(self, ref: Reference) -> Iterator[tuple[exp.Select, str]]:
        """Yield the SELECTs that see the relation's rows as they are, from the inside out.

        Each comes with the name that it knows them by.
        """
        select, alias = ref.select, ref.alias
        if ref.node.alias_column_names:
            return  # the names that others read are not the relation's
        while select is not None and _keeps_rows(select):
            yield select, alias
            if not only_chooses(select) or not _keeps_names(select, alias):
                return
            select, alias = self._outside(select)

    def _outside(self, select: exp.Select) -> tuple[exp.Select | None, str]:
        """Return the SELECT that reads this one in its FROM, and by what name, if there is one."""
        holder = select.parent
        if isinstance(holder, exp.Subquery) and isinstance(holder.parent, exp.From | exp.Join):
            alias = holder.args.get("alias")
            if alias is not None and not alias.args.get("columns"):
                return enclosing_select(holder), holder.alias
        if isinstance(holder, exp.CTE) and not holder.args["alias"].args.get("columns"):
            name = holder.alias.lower()
            readers = [
                table
                for table in self._query.tree.find_all(exp.Table)
                if table.name.lower() == name
                and not table.args.get("db")
                and visible_ctes(table).get(name) is holder
            ]
            if len(readers) == 1 and isinstance(readers[0].parent, exp.From | exp.Join):
                return enclosing_select(readers[0]), readers[0].alias_or_name
        return None, ""

    def of(
        self, select: exp.Select, alias: str, relation: str, *, single: bool = True
    ) -> tuple[Conjunct, ...]:
        """Return the SELECT's WHERE as conjuncts over one relation of its FROM.

        With `single` false other relations are in scope, so unqualified names do not count as
        the relation's and a conjunct that reads any of them is left out.
        """
        index = next((i for i, s in self._selects.items() if s is select), None)
        where = select.args.get("where")
        if index is None or where is None:
            return ()
        block = self._query.blocks[index]
        nodes, spans = flatten_and(where.this), list(block.conjuncts)
        if len(nodes) != len(spans):
            nodes, spans = [where.this], [block.where] if block.where else []
        found = [
            self._conjunct(node, span, alias, relation)
            for node, span in zip(nodes, spans, strict=True)
            if single or _speaks_only_of(node, alias)
        ]
        return tuple(found)

    def _conjunct(self, node: exp.Expr, span: Span, alias: str, relation: str) -> Conjunct:
        nested = node.find(exp.Select, exp.SetOperation) is not None
        strange = [
            c
            for c in node.find_all(exp.Column)
            if c.name.lower() not in RELATION_COLUMNS[relation]
            or c.table.lower() not in ("", alias.lower())
        ]
        home = enclosing_select(node)
        return Conjunct(
            self._render(span).strip(),
            alias,
            relation_columns(node, alias, relation),
            not (nested or strange or is_volatile(node) or self._calls_users_function(span)),
            span,
            " ".join(self._query.text[span.start : span.end].split()),
            any(enclosing_select(c) is home for c in strange),
        )

    def _calls_users_function(self, span: Span) -> bool:
        inside = [t for t in self._query.tokens if span.start <= t.start and t.end <= span.end]
        return any(
            following.text == "(" and token.name.lower() in self._user_functions
            for token, following in pairwise(inside)
        )


def flatten_and(node: exp.Expr) -> list[exp.Expr]:
    """Return the operands of a chain of ANDs, left to right."""
    if isinstance(node, exp.And):
        return [*flatten_and(node.left), *flatten_and(node.right)]
    return [node]


def _keeps_rows(select: exp.Select) -> bool:
    """Whether WHERE sees every row of the FROM's relations as it is: no outer join, no lateral."""
    joins = select.args.get("joins") or ()
    plain = not any(j.side or j.kind in ("SEMI", "ANTI") or j.method for j in joins)
    return plain and not select.args.get("laterals")


def _keeps_names(select: exp.Select, alias: str) -> bool:
    """Whether the columns go out under their own names."""
    if has_joins(select):
        return False
    for item in select.expressions:
        star = item.this if isinstance(item, exp.Column) and item.is_star else item
        if isinstance(star, exp.Star):
            if any(star.args.get(key) for key in ("replace", "rename", "except_", "except")):
                return False
        elif not isinstance(item, exp.Column) or item.table.lower() not in ("", alias.lower()):
            return False
    return True


def _speaks_only_of(node: exp.Expr, alias: str) -> bool:
    if node.find(exp.Select, exp.SetOperation) is not None:
        return False
    return all(c.table.lower() == alias.lower() for c in node.find_all(exp.Column))


def is_volatile(node: exp.Expr) -> bool:
    """Whether an expression may give another value each time."""
    for call in node.find_all(exp.Func):
        name = str(call.this) if isinstance(call, exp.Anonymous) else call.sql_name()
        if isinstance(call, exp.Rand) or name.lower() in _VOLATILE:
            return True
    return False
