"""Which tracks a query can see: the classes it asks for, and whether rows without a track matter.

Where both are settled, tracking need not look at every frame: see `udfs/tracking`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlglot import exp

from foveal.planner.bind.predicates import flatten_and
from foveal.planner.bind.references import Reference, enclosing_select
from foveal.planner.bind.source import has_joins, relation_columns
from foveal.planner.logical import FRAME_LEVEL

Readers = Iterable[tuple[exp.Select, str]]

NO_CLASS = "it asks for every class: say which in WHERE, as in class = 'bus'"
UNTRACKED = "rows that belong to no track count as well: add trackid IS NOT NULL"


def wanted_tracks(
    ref: Reference, readers: Readers, parameters: Mapping[str, object]
) -> tuple[tuple[str, ...], str, bool]:
    """Return the classes whose tracks alone are seen, or none and why; and whether they are whole.

    Whole: no condition looks at objects but for their class, so that a track is seen with all its
    rows in the frames that are looked at.

    `readers`: the SELECTs that read the relation's rows, from the inside out, with the name that
    they know them by: what the WHERE of any of them refuses is never seen.
    """
    if ref.node.args.get("sample") or ref.node.args.get("pivots"):
        return (), "a sample is taken of the rows as they are", False
    classes: frozenset[str] | None = None
    tracked = ref.relation == "tracks"
    whole = True
    last: tuple[exp.Select, str] | None = None
    for select, alias in readers:
        last = (select, alias)
        where = select.args.get("where")
        names = {alias.lower()} if has_joins(select) else {alias.lower(), ""}
        for node in flatten_and(where.this) if where is not None else ():
            found = _classes(node, names, parameters)
            if found is not None:
                classes = found if classes is None else classes & found
            tracked = tracked or _refuses_null(node, names)
            read = relation_columns(node, alias, ref.relation)
            of_frames = bool(read) and read <= FRAME_LEVEL
            whole = whole and (found is not None or of_frames or _is_tracked(node, names))
    if classes is None:
        return (), NO_CLASS, False
    if not tracked and (last is None or not counts_tracks(*last)):
        return (), UNTRACKED, False
    return tuple(sorted(classes)), "", whole


def counts_tracks(select: exp.Select, alias: str) -> bool:
    """Whether a SELECT gives numbers of distinct tracks and nothing else."""
    if any(select.args.get(k) for k in ("group", "having", "qualify", "windows", "distinct")):
        return False
    if has_joins(select):
        return False
    aggregates = [
        call for item in select.expressions for call in item.find_all(exp.AggFunc, exp.Anonymous)
    ]
    columns = [column for item in select.expressions for column in item.find_all(exp.Column)]
    counted = [_counted(call, alias) for call in aggregates]
    inside = [c for c in counted if c is not None]
    return (
        bool(aggregates)
        and len(inside) == len(aggregates)
        and len(columns) == len(inside)
        and not any(True for item in select.expressions for _ in item.find_all(exp.Select))
        and all(enclosing_select(call) is select for call in aggregates)
        and not select.args.get("order")
    )


def _counted(call: exp.Expr, alias: str) -> exp.Column | None:
    """Return the column of COUNT(DISTINCT trackid), or None for any other call."""
    if not isinstance(call, exp.Count) or isinstance(call.parent, exp.Filter | exp.Window):
        return None
    distinct = call.this
    if not isinstance(distinct, exp.Distinct) or len(distinct.expressions) != 1:
        return None
    column = distinct.expressions[0]
    return column if _is(column, "trackid", {alias.lower(), ""}) else None


def _is(node: object, name: str, qualifiers: set[str]) -> bool:
    return (
        isinstance(node, exp.Column)
        and node.name.lower() == name
        and node.table.lower() in qualifiers
    )


def _classes(
    node: exp.Expr, qualifiers: set[str], parameters: Mapping[str, object]
) -> frozenset[str] | None:
    """Return the classes that a condition leaves, None where it is about something else."""
    if isinstance(node, exp.Paren):
        return _classes(node.this, qualifiers, parameters)
    if isinstance(node, exp.EQ):
        left, right = node.left, node.right
        if _is(right, "class", qualifiers):
            left, right = right, left
        values = [right]
    elif isinstance(node, exp.In) and not node.args.get("query"):
        left, values = node.this, node.expressions
    else:
        return None
    if not _is(left, "class", qualifiers) or not values:
        return None
    texts = [_text(value, parameters) for value in values]
    return None if None in texts else frozenset(t for t in texts if t is not None)


def _text(node: exp.Expr, parameters: Mapping[str, object]) -> str | None:
    """Return the string that a literal or a bound parameter stands for."""
    if isinstance(node, exp.Literal) and node.is_string:
        return node.name
    if isinstance(node, exp.Parameter | exp.Placeholder):
        value = parameters.get(node.name)
        return value if isinstance(value, str) else None
    return None


def _refuses_null(node: exp.Expr, qualifiers: set[str]) -> bool:
    """Whether a condition is never true of a row whose trackid is NULL."""
    if isinstance(node, exp.Paren):
        return _refuses_null(node.this, qualifiers)
    if _is_tracked(node, qualifiers):
        return True
    if isinstance(node, exp.EQ | exp.NEQ | exp.LT | exp.LTE | exp.GT | exp.GTE):
        return any(_is(side, "trackid", qualifiers) for side in (node.left, node.right))
    return isinstance(node, exp.In | exp.Between) and _is(node.this, "trackid", qualifiers)


def _is_tracked(node: exp.Expr, qualifiers: set[str]) -> bool:
    """Whether a condition is trackid IS NOT NULL."""
    while isinstance(node, exp.Paren):
        node = node.this
    inside = node.this if isinstance(node, exp.Not) else None
    return (
        isinstance(inside, exp.Is)
        and _is(inside.this, "trackid", qualifiers)
        and isinstance(inside.expression, exp.Null)
    )
