"""Which table names of a query are extension relations, and what of them the query reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from sqlglot import exp

from foveal.errors import ProgrammingError, Span, did_you_mean
from foveal.planner.logical import RELATION_COLUMNS
from foveal.planner.parse.statement import Query
from foveal.planner.protocols import Snapshot

_WRITES = frozenset({"insert", "update", "delete", "merge"})


@dataclass(frozen=True, slots=True)
class Reference:
    """One mention of an extension relation in table position.

    `relation`: objects, frames, tracks or system. `table`: the video table or system table.
    `alias`: the name that qualifies its columns. `has_alias`: whether the text gives one.
    `span`: the dotted name. `select`: the sqlglot SELECT whose FROM mentions it, if any.
    """

    relation: str
    table: str
    alias: str
    has_alias: bool
    span: Span
    select: exp.Select | None
    node: exp.Table


def identifier_span(node: exp.Expr | None, base: int) -> Span | None:
    """Return where an identifier stands in the statement, or None if sqlglot lost it."""
    if node is None:
        return None
    meta = node.meta
    if "start" not in meta or "end" not in meta:
        return None
    return Span(base + int(meta["start"]), base + int(meta["end"]) + 1)


def visible_ctes(node: exp.Expr) -> dict[str, exp.CTE]:
    """Return the common table expressions that `node` can see, by folded name, nearest first."""
    found: dict[str, exp.CTE] = {}
    child: exp.Expr = node
    parent = node.parent
    while parent is not None:
        ctes: list[exp.CTE] = []
        if isinstance(parent, exp.With):
            ctes = [cte for cte in parent.expressions if isinstance(cte, exp.CTE)]
            at = next((i for i, cte in enumerate(ctes) if cte is child), len(ctes))
            ctes = ctes[: at + 1] if parent.args.get("recursive") else ctes[:at]
        elif child.key != "with":
            held = parent.args.get("with_") or parent.args.get("with")
            if isinstance(held, exp.With):
                ctes = [cte for cte in held.expressions if isinstance(cte, exp.CTE)]
        for cte in reversed(ctes):
            found.setdefault(cte.alias.lower(), cte)
        child, parent = parent, parent.parent
    return found


def enclosing_select(node: exp.Expr) -> exp.Select | None:
    """Return the nearest SELECT above `node`."""
    parent = node.parent
    while parent is not None and not isinstance(parent, exp.Select):
        parent = parent.parent
    return parent


def find(query: Query, snapshot: Snapshot) -> tuple[Reference, ...]:
    """Return every mention of an extension relation, in text order.

    Raises:
        ProgrammingError: 42P01, no such relation of a video table or system schema; 42809, a
            video table is written to.
    """
    found = [ref for ref in _references(query, snapshot) if ref is not None]
    found.sort(key=lambda ref: ref.span.start)
    if query.kind == "insert":
        _check_insert(query, snapshot)
    if query.kind in _WRITES:
        target = query.tree.this
        for ref in found:
            if ref.node is target or (isinstance(target, exp.Schema) and ref.node is target.this):
                raise _not_writable(ref.table, ref.span)
    return tuple(found)


def _check_insert(query: Query, snapshot: Snapshot) -> None:
    """Refuse an INSERT into a video table; its target stands before the query."""
    head = [t for t in query.tokens if t.end <= query.query.start]
    for i, token in enumerate(head):
        if token.kind == "word" and token.text.lower() == "into":
            rest = head[i + 1 :]
            if len(rest) > 2 and rest[1].text == "." and rest[0].name.lower() == "main":
                rest = rest[2:]
            qualified = len(rest) > 1 and rest[1].text == "."
            if rest and not qualified and rest[0].name.lower() in snapshot.video_tables:
                raise _not_writable(rest[0].name, Span(rest[0].start, rest[0].end))
            return


def _not_writable(name: str, span: Span) -> ProgrammingError:
    return ProgrammingError(
        f'cannot write to "{name}": it is a video table',
        sqlstate="42809",
        span=span,
        hint="its rows are what the detector sees; REFRESH VIDEO TABLE looks again",
    )


def _references(query: Query, snapshot: Snapshot) -> Iterator[Reference | None]:
    base = query.query.start
    for node in query.tree.find_all(exp.Table):
        name_node, db_node = node.args.get("this"), node.args.get("db")
        if not isinstance(name_node, exp.Identifier):
            continue
        name, db = node.name.lower(), node.db.lower()
        first = identifier_span(db_node if isinstance(db_node, exp.Identifier) else name_node, base)
        last = identifier_span(name_node, base)
        if first is None or last is None:
            continue
        span = Span(first.start, last.end)
        alias = node.alias
        select = enclosing_select(node)

        made = partial(
            Reference,
            alias=alias or node.name,
            has_alias=bool(alias),
            span=span,
            select=select,
            node=node,
        )
        if not db or (db == "main" and name in snapshot.video_tables):
            if name in snapshot.video_tables and (db or name not in visible_ctes(node)):
                yield made("objects", name)
        elif db in snapshot.video_tables:
            if name not in ("frames", "tracks"):
                raise ProgrammingError(
                    f'video table "{db}" has no relation "{name}"',
                    sqlstate="42P01",
                    span=span,
                    hint=did_you_mean(name, ("frames", "tracks"))
                    or f"there are {db}, {db}.frames and {db}.tracks",
                )
            yield made(name, db)
        elif db == "foveal" and "foveal" not in snapshot.schemas:
            if name not in snapshot.system_tables:
                raise ProgrammingError(
                    f'there is no system table "foveal.{name}"',
                    sqlstate="42P01",
                    span=span,
                    hint=did_you_mean(name, snapshot.system_tables)
                    or "there are " + ", ".join(sorted(snapshot.system_tables)),
                )
            yield made("system", name)


def used_columns(query: Query, ref: Reference) -> tuple[str, ...]:
    """Return the relation's columns that the statement may read, in relation order.

    Errs on the side of reading: a column counts as used when its name stands anywhere in the
    statement, and all count where a star, a whole-row reference or a form whose columns are not
    listed could reach them. A column that stars only exclude is not read. A star does not reach
    `trackid`, for a track needs every frame of the video: it is read where it is named.
    """
    columns = RELATION_COLUMNS[ref.relation]
    names = [t.name.lower() for t in query.tokens if t.kind in ("word", "quoted")]
    excluded: list[str] = []
    every = query.kind in ("summarize", "pivot") or any(
        t.kind == "word"
        and t.text.lower() in ("natural", "columns", "pivot", "unpivot", "summarize")
        for t in query.tokens
    )
    every = every or any(t.kind == "op" and t.text == "#" for t in query.tokens)
    renamed = len(ref.node.alias_column_names)
    every = every or renamed > 0
    for star in query.tree.find_all(exp.Star):
        parent = star.parent
        if isinstance(parent, exp.Count) or (
            isinstance(parent, exp.Anonymous) and str(parent.this).lower() == "fcount"
        ):
            continue
        if isinstance(parent, exp.Column) and parent.table:
            if parent.table.lower() != ref.alias.lower():
                continue
        elif not _reaches(star, ref):
            continue
        dropped = [
            e.name.lower() for e in star.args.get("except_") or star.args.get("except") or ()
        ]
        excluded.extend(dropped)
        every = True
    alias = ref.alias.lower()
    for column in query.tree.find_all(exp.Column):
        if not column.table and column.name.lower() == alias:
            every = True
    mentioned = set(names)
    if every:
        only_excluded = {c for c in excluded if names.count(c) == excluded.count(c)}
        unnamed = {"trackid"} - mentioned - set(columns[:renamed])
        unnamed = unnamed if ref.relation == "objects" else set[str]()
        return tuple(c for c in columns if c not in only_excluded | unnamed)
    return tuple(c for c in columns if c in mentioned)


def _reaches(star: exp.Expr, ref: Reference) -> bool:
    """Whether an unqualified star can expand to the relation's own columns.

    It does where the star's own FROM has the relation. What a sub-query hands up is named by its
    own items, which are looked at by themselves.
    """
    return ref.select is None or enclosing_select(star) is ref.select
