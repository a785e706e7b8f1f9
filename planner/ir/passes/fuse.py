"""Horizontal fusion: loops over one source become one, so that its columns are read once.

Aggregates without keys always join: under different filters, each operand becomes NULL where its
own filter does not let the row pass. Groups join where keys and filters are equal, appended rows
where filters are. The results that the caller knows become parts of the joint one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from foveal.planner.ir import nodes, program, typing
from foveal.planner.ir.nodes import Expr
from foveal.planner.ir.types import BOOL

MAX_FIELDS = 32
"""Columns that a joint loop may make: compiling takes longer than in proportion."""


def fuse(whole: program.Program) -> program.Program:
    """Return the program with as few loops as there can be."""
    loops = list(whole.loops)
    parts = list(whole.parts)
    at = 0
    while at < len(loops):
        # A loop that makes rows is read by none after it: it can wait for its partner.
        partner = next((k for k in range(at + 1, len(loops)) if _fit(loops[at], loops[k])), None)
        if partner is None or not _waits(loops[at], loops):
            at += 1
            continue
        made, found = _joint(loops[at], loops[partner], _free(whole, loops))
        known = {part.name for part in parts if part.loop in (loops[at].into, loops[partner].into)}
        parts = [_through(part, found) for part in parts]
        parts += [part for part in found if part.name in whole.results and part.name not in known]
        loops[partner] = made
        del loops[at]
    if len(loops) == len(whole.loops):
        return whole
    return replace(whole, loops=tuple(loops), parts=tuple(parts))


def _waits(loop: program.Loop, loops: Sequence[program.Loop]) -> bool:
    """Say whether no later loop reads the rows of a loop."""
    return not any(other.source == loop.into for other in loops)


def _fit(a: program.Loop, b: program.Loop) -> bool:
    """Say whether two loops can be one."""
    if a.source != b.source or a.how != b.how:
        return False
    match a.builder, b.builder:
        case program.Struct(fields=x), program.Struct(fields=y):
            return len(x) + len(y) <= MAX_FIELDS
        case program.Group(), program.Group():
            keys = [tuple(replace(k, name="") for k in g.keys) for g in (a.builder, b.builder)]
            few = len(a.builder.fields) + len(b.builder.fields) <= MAX_FIELDS
            same = keys[0] == keys[1] and a.builder.strategy == b.builder.strategy
            return a.where == b.where and same and few
        case program.Append(fields=x), program.Append(fields=y):
            return a.where == b.where and len(x) + len(y) <= MAX_FIELDS
        case _:
            return False


def _free(whole: program.Program, loops: Sequence[program.Loop]) -> str:
    """Return a name that no loop has."""
    taken = {x.into for x in (*whole.loops, *loops)} | {t.name for t in whole.tables}
    number = 0
    while f"joint{number}" in taken:
        number += 1
    return f"joint{number}"


def _joint(a: program.Loop, b: program.Loop, name: str) -> tuple[program.Loop, list[program.Part]]:
    """Return the loop of two, and which of its columns are the results of each."""
    columns: dict[object, str] = {}
    parts: list[program.Part] = []
    keys: tuple[program.Key, ...] = ()
    same = a.where == b.where
    made: list[tuple[str, program.Fold]] = []
    rows: list[tuple[str, Expr]] = []
    for loop in (a, b):
        own: list[tuple[str, str]] = []
        builder = loop.builder
        if isinstance(builder, program.Group):
            if not keys:
                keys = tuple(replace(k, name=f"k{n}") for n, k in enumerate(builder.keys))
            own += [(k.name, kept.name) for k, kept in zip(builder.keys, keys, strict=True)]
        if isinstance(builder, program.Append):
            for field, x in builder.fields:
                if x not in columns:
                    columns[x] = f"x{len(rows)}"
                    rows.append((columns[x], x))
                own.append((field, columns[x]))
        elif isinstance(builder, program.Struct | program.Group):
            for field, fold in builder.fields:
                guarded = fold if same else _guarded(fold, loop.where)
                if guarded not in columns:
                    columns[guarded] = f"f{len(made)}"
                    made.append((columns[guarded], guarded))
                own.append((field, columns[guarded]))
        parts.append(program.Part(loop.into, name, tuple(own)))
    builder = b.builder
    if isinstance(builder, program.Group):
        builder = replace(builder, keys=keys, fields=tuple(made))
    elif isinstance(builder, program.Append):
        builder = program.Append(tuple(rows))
    else:
        builder = program.Struct(tuple(made))
    return program.Loop(name, b.source, builder, b.where if same else None, b.how), parts


def _guarded(fold: program.Fold, where: Expr | None) -> program.Fold:
    """Return an aggregate over the rows that pass a filter, as one over all rows."""
    if where is None:
        return fold
    operand = nodes.TRUE if fold.operand is None else fold.operand
    null = nodes.Literal(None, operand.type)
    kept = typing.select(where, operand, null)
    assert fold.operand is not None or kept.type == BOOL
    return program.Fold(fold.op, kept, fold.type)


def _through(part: program.Part, found: Sequence[program.Part]) -> program.Part:
    """Return a part of a loop that has itself become a part of another."""
    outer = next((x for x in found if x.name == part.loop), None)
    if outer is None:
        return part
    columns = dict(outer.columns)
    return program.Part(part.name, outer.loop, tuple((n, columns[c]) for n, c in part.columns))
