"""Common subexpressions: what is equal, or equal but for the order of operands, becomes one object.

Code generation writes an expression once for every equal one; here they are made equal.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from foveal.planner.ir import program
from foveal.planner.ir.nodes import (
    Binary,
    Column,
    Expr,
    Iterate,
    Literal,
    Lookup,
    Parameter,
    Predict,
    Unary,
    Variable,
    children,
)
from foveal.planner.ir.passes.trees import Rewriter, mapped_loop
from foveal.planner.ir.types import BOOL, Decimal, Float, Int

_SWAPPED = {"gt": "lt", "ge": "le", "fgt": "flt", "fge": "fle"}
_COMMUTING = frozenset(
    ("eq", "ne", "feq", "fne", "add", "mul", "bitand", "bitor", "bitxor", "least", "greatest")
)


def share(whole: program.Program) -> program.Program:
    """Return the program with one object for each distinct expression."""
    sharer = _Sharer()
    rewriter = Rewriter(sharer.node)
    return replace(whole, loops=tuple(mapped_loop(loop, rewriter) for loop in whole.loops))


class _Sharer:
    """Keeps the first of equal expressions."""

    def __init__(self) -> None:
        self.kept: dict[Expr, Expr] = {}
        self.digests: dict[Expr, bytes] = {}

    def node(self, node: Expr) -> Expr:
        """Return the one object that stands for a node whose operands are shared."""
        if isinstance(node, Binary):
            node = self.ordered(node)
        return self.kept.setdefault(node, node)

    def ordered(self, node: Binary) -> Binary:
        """Return an operator with its operands in the normal order, where that changes nothing."""
        a, b = node.left, node.right
        if isinstance(a, Literal | Parameter) and not isinstance(b, Literal | Parameter):
            wrong = True
        elif isinstance(b, Literal | Parameter):
            wrong = False
        else:
            wrong = self.digest(b) < self.digest(a)
        if not wrong:
            return node
        if node.op in _SWAPPED or node.op in _SWAPPED.values():
            flipped = {**_SWAPPED, **{v: k for k, v in _SWAPPED.items()}}
            return Binary(flipped[node.op], b, a, BOOL)
        if node.op not in _COMMUTING or not _commutes(node):
            return node
        return Binary(node.op, b, a, node.type)

    def digest(self, node: Expr) -> bytes:
        """Return what orders expressions: the same in every process."""
        found = self.digests.get(node)
        if found is None:
            parts = [type(node).__name__, str(node.type)]
            match node:
                case Column() | Parameter() | Variable():
                    parts.append(node.name)
                case Literal():
                    parts.append(repr(node.value))
                case Unary() | Binary():
                    parts.append(node.op)
                case Lookup():
                    parts += [node.table, str(node.base)]
                case Predict():
                    parts += [node.model, str(node.output)]
                case Iterate():
                    parts += [v.name for v in node.variables]
                case _:
                    pass
            hashed = hashlib.blake2b("\0".join(parts).encode(), digest_size=16)
            for child in children(node):
                hashed.update(self.digest(child))
            found = self.digests[node] = hashed.digest()
        return found


def _commutes(node: Binary) -> bool:
    """Say whether an operator of these types gives the same for swapped operands, bit by bit."""
    kinds = (node.left.type, node.right.type)
    if node.op in ("least", "greatest"):
        # Of equals the left one is taken: 0.0 or -0.0.
        return not isinstance(node.type, Float)
    if node.op in ("add", "mul"):
        return all(isinstance(t, Int) for t in kinds) or all(
            isinstance(t, Decimal | Float) for t in kinds
        )
    return True
