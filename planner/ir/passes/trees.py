"""Walks over the expressions of programs: each distinct expression once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

from foveal.planner.ir import program
from foveal.planner.ir.inference import Inference, of_loop
from foveal.planner.ir.nodes import Binary, Expr, Iterate, children, rebuilt

Rewrite: TypeAlias = Callable[[Expr], Expr]


class Rewriter:
    """Rewrites expressions from the leaves up by a rule for one node, remembering what it did.

    `rule` takes a node whose operands are rewritten already. `inside`: it holds within loops of
    rows (`Iterate`) too, where variables stand for other values in every turn.
    """

    def __init__(self, rule: Rewrite, *, inside: bool = True) -> None:
        """Keep the rule."""
        self._rule = rule
        self._inside = inside
        self._known: dict[Expr, Expr] = {}

    def __call__(self, node: Expr) -> Expr:
        """Return the rewritten expression."""
        found = self._known.get(node)
        if found is None:
            found = self._known[node] = self._rule(self._below(node))
        return found

    def _below(self, node: Expr) -> Expr:
        if isinstance(node, Iterate) and not self._inside:
            n = len(node.variables)
            parts = children(node)
            return rebuilt(node, (*map(self, parts[:n]), *parts[n:]))
        old = children(node)
        new = tuple(map(self, old))
        if all(a is b for a, b in zip(old, new, strict=True)):
            return node
        return rebuilt(node, new)


def mapped_builder(builder: program.Builder, f: Rewrite) -> program.Builder:
    """Return a builder over other expressions of the same types."""
    match builder:
        case program.Struct(fields=fields):
            return program.Struct(_folds(fields, f))
        case program.Group(keys=keys, fields=fields):
            return replace(
                builder,
                keys=tuple(replace(k, expr=f(k.expr)) for k in keys),
                fields=_folds(fields, f),
            )
        case program.Append(fields=fields):
            return program.Append(tuple((name, f(x)) for name, x in fields))
        case program.Bitmap():
            return replace(builder, index=f(builder.index))
        case program.Scatter():
            return replace(builder, index=f(builder.index), value=f(builder.value))
        case program.TopK(order=order, fields=fields):
            return replace(
                builder,
                order=tuple(replace(o, expr=f(o.expr)) for o in order),
                fields=tuple((name, f(x)) for name, x in fields),
            )


def _folds(
    fields: tuple[tuple[str, program.Fold], ...], f: Rewrite
) -> tuple[tuple[str, program.Fold], ...]:
    return tuple(
        (name, fold if fold.operand is None else replace(fold, operand=f(fold.operand)))
        for name, fold in fields
    )


def mapped_loop(loop: program.Loop, f: Rewrite, where: Rewrite | None = None) -> program.Loop:
    """Return a loop over other expressions; `where`: what rewrites the filter, if not `f`."""
    condition = None if loop.where is None else (where or f)(loop.where)
    return replace(loop, builder=mapped_builder(loop.builder, f), where=condition)


def mapped_loops(
    whole: program.Program, f: Callable[[program.Loop, Inference], program.Loop]
) -> program.Program:
    """Return a program with each loop rewritten, by what is known of its expressions."""
    loops = tuple(f(loop, of_loop(whole, loop)) for loop in whole.loops)
    return whole if loops == whole.loops else replace(whole, loops=loops)


def nodes_of(*roots: Expr) -> Iterator[Expr]:
    """Yield each distinct expression, operands before what uses them."""
    seen: set[Expr] = set()

    def visit(node: Expr) -> Iterator[Expr]:
        if node not in seen:
            seen.add(node)
            for child in children(node):
                yield from visit(child)
            yield node

    for root in roots:
        yield from visit(root)


def conjuncts(node: Expr) -> list[Expr]:
    """Return the terms of a conjunction, from left to right."""
    if isinstance(node, Binary) and node.op == "and":
        return [*conjuncts(node.left), *conjuncts(node.right)]
    return [node]
