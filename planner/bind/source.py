"""Where a block's rows come from, followed through simple sub-queries to one video relation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlglot import exp

from foveal.planner.bind.references import Reference, enclosing_select, visible_ctes
from foveal.planner.logical import FRAME_LEVEL, RELATION_COLUMNS, Conjunct, Source
from foveal.planner.parse.statement import Block, Query, Token
from foveal.planner.text import quote

UNNAMED_ROWS = "__rows"
"""The alias, in texts of ours, of a sub-query that the user's text gives none."""


def from_clause(select: exp.Select) -> exp.Expr | None:
    """Return the thing after FROM, or None."""
    held = select.args.get("from_") or select.args.get("from")
    return held.this if held is not None else None


def has_joins(select: exp.Select) -> bool:
    """Whether more than one relation stands in FROM."""
    held = from_clause(select)
    return bool(
        select.args.get("joins")
        or select.args.get("laterals")
        or (held is not None and (held.args.get("joins") or held.args.get("laterals")))
    )


def close_of(tokens: tuple[Token, ...], i: int) -> int:
    """Return the index of the parenthesis that closes the one at `i`."""
    depth = 0
    for j in range(i, len(tokens)):
        depth += tokens[j].text in ("(", "[", "{")
        depth -= tokens[j].text in (")", "]", "}")
        if depth == 0:
            return j
    return len(tokens) - 1


@dataclass(frozen=True, slots=True)
class Base:
    """Where a block's rows come from, followed through simple sub-queries down to the relation.

    `levels` pairs each level's alias with its WHERE parts, innermost first, without the block's
    own; `texts` are the FROM items' source texts with `{rows}` for the relation's name.
    """

    ref: Reference
    alias: str
    sql: str
    levels: tuple[tuple[str, tuple[Conjunct, ...]], ...]


def follow(
    select: exp.Select,
    query: Query,
    refs: tuple[Reference, ...],
    conjuncts_of: Callable[[exp.Select, str, str], tuple[Conjunct, ...]],
) -> Base | None:
    """Return the one video relation under `select`, or None when its FROM is anything else.

    Sub-queries and common table expressions are followed where they only choose rows: a plain
    `SELECT *` or a list of bare columns with WHERE over one relation.
    """
    item = from_clause(select)
    if item is None or has_joins(select) or select.args.get("sample"):
        return None
    if item.args.get("sample") or item.args.get("pivots") or item.alias_column_names:
        return None
    if isinstance(item, exp.Table):
        for ref in refs:
            if ref.node is item:
                if ref.relation == "system":
                    return None
                return Base(ref, ref.alias, "{rows} AS " + quote(ref.alias), ())
        if item.args.get("db") is None:
            cte = visible_ctes(item).get(item.name.lower())
            if cte is not None and not _recursive(cte):
                if cte.alias_column_names:
                    return None
                return _through(cte.this, item.alias or item.name, query, refs, conjuncts_of)
        return None
    if isinstance(item, exp.Subquery) and isinstance(item.this, exp.Select):
        return _through(item.this, item.alias or UNNAMED_ROWS, query, refs, conjuncts_of)
    return None


def _recursive(cte: exp.CTE) -> bool:
    return bool(cte.parent is not None and cte.parent.args.get("recursive"))


def _through(
    inner: exp.Expr,
    alias: str,
    query: Query,
    refs: tuple[Reference, ...],
    conjuncts_of: Callable[[exp.Select, str, str], tuple[Conjunct, ...]],
) -> Base | None:
    if not isinstance(inner, exp.Select) or not only_chooses(inner):
        return None
    base = follow(inner, query, refs, conjuncts_of)
    if base is None:
        return None
    bare = [e for e in inner.expressions if isinstance(e, exp.Column) and not e.is_star]
    columns = {e.name.lower() for e in bare}
    if len(bare) != len(inner.expressions):
        if len(inner.expressions) != 1 or not inner.expressions[0].is_star:
            return None
        star = inner.expressions[0]
        star = star.this if isinstance(star, exp.Column) else star
        if any(star.args.get(key) for key in ("except_", "except", "replace", "rename")):
            return None
        items = "*"
    else:
        if not {"video", "frame"} <= columns:
            return None
        items = ", ".join(quote(e.name) for e in bare)
    conjuncts = conjuncts_of(inner, base.alias, base.ref.relation)
    where = " AND ".join(f"({c.text})" for c in conjuncts)
    sql = f"(SELECT {items} FROM {base.sql}" + (f" WHERE {where}" if where else "") + ")"
    return Base(
        base.ref, alias, f"{sql} AS {quote(alias)}", (*base.levels, (base.alias, conjuncts))
    )


def only_chooses(select: exp.Select) -> bool:
    """Whether a SELECT has nothing but items, FROM and WHERE."""
    allowed = {"expressions", "from_", "from", "where", "kind", "hint"}
    return all(not value or key in allowed for key, value in select.args.items())


def source_of(base: Base, own: tuple[Conjunct, ...]) -> Source:
    """Return the block's source with the frame-only conjuncts of every level."""
    levels = [(alias, tuple(c for c in cs if c.frame_only)) for alias, cs in base.levels]
    levels.append((base.alias, tuple(c for c in own if c.frame_only)))
    return Source(base.sql, tuple(levels))


def mixes_frames_and_objects(node: exp.Expr, alias: str, relation: str) -> bool:
    """Whether an OR has a branch that speaks of frames only and one that speaks of objects."""
    either: list[exp.Expr] = list(node.find_all(exp.Or))
    for negated in node.find_all(exp.Not):  # NOT (a AND b) is an OR as well
        either += list(negated.find_all(exp.And))
    for chain in either:
        branches = [relation_columns(b, alias, relation) for b in chain.flatten()]
        frame = any(b and b <= FRAME_LEVEL for b in branches)
        if frame and any(b - FRAME_LEVEL for b in branches):
            return True
    return False


def relation_columns(node: exp.Expr, alias: str, relation: str) -> frozenset[str]:
    """Return the relation's columns that an expression reads (names inside sub-queries count)."""
    known = set(RELATION_COLUMNS[relation])
    return frozenset(
        column.name.lower()
        for column in node.find_all(exp.Column)
        if column.name.lower() in known and column.table.lower() in ("", alias.lower())
    )


def decided_by_frame(block: Block, select: exp.Select, ref: Reference, videos: int) -> bool:
    """Whether the block's rows follow from one frame at a time, in any order of frames."""
    if has_joins(select) or block.order_by or block.window or block.qualify:
        return False
    choosers = _choosers(select)
    if any(all(node is not c for c in choosers) for node in select.find_all(exp.Select)):
        return False
    if select.find(exp.Window) is not None or ref.relation == "tracks":
        return False
    if block.group_by is None:
        return not any(isinstance(n, exp.AggFunc) for n in select.walk())
    group = select.args.get("group")
    keys = {e.name.lower() for e in group.expressions} if group is not None else set[str]()
    return "frame" in keys and ("video" in keys or videos == 1)


def _choosers(select: exp.Select) -> list[exp.Select]:
    """Return the SELECT and those in its FROM, one inside the other, that only choose rows."""
    found = [select]
    while True:
        item = from_clause(found[-1])
        inner = item.this if isinstance(item, exp.Subquery) else None
        if not isinstance(inner, exp.Select) or not only_chooses(inner) or has_joins(inner):
            return found
        found.append(inner)


def local_aliases(select: exp.Select) -> frozenset[str]:
    """Return the names that qualify columns within `select` and below it."""
    names: set[str] = set()
    for node in select.find_all(exp.Table, exp.Subquery, exp.CTE, exp.Lateral):
        names.add(node.alias_or_name.lower())
    return frozenset(names)


def outer_qualifier(select: exp.Select) -> exp.Column | None:
    """Return a column that belongs to an enclosing query, or None: is the block correlated?"""
    local = local_aliases(select)
    outside: set[str] = set()
    parent = enclosing_select(select)
    while parent is not None:
        outside |= set(local_aliases(parent))
        parent = enclosing_select(parent)
    for column in select.find_all(exp.Column):
        if column.table and column.table.lower() not in local and column.table.lower() in outside:
            return column
    return None
