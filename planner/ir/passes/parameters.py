"""Literals become scalars, so that one compiled object serves all constants.

A constant that a column is compared with says nothing that makes code better but how wide it is: it
enters as a class of values, those of its machine width. Constants of arithmetic on floats have no
class. All others stay: they feed the proofs that a product fits, are divided by, or are looked up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from foveal.planner.ir import program
from foveal.planner.ir.nodes import (
    ARITHMETIC,
    COMPARISONS,
    IEEE_COMPARISONS,
    Binary,
    Expr,
    Literal,
    Parameter,
)
from foveal.planner.ir.passes.trees import Rewriter, mapped_loop
from foveal.planner.ir.types import Bool, Float, Type, limits

_WIDTHS = (8, 16, 32, 64, 128)


def parametrize(
    whole: program.Program,
) -> tuple[program.Program, Mapping[str, bool | int | float | None]]:
    """Return the program with scalars in place of constants, and the values of these scalars.

    Equal comparisons share their scalar; equal constants of different ones do not, or programs
    whose constants happen to be equal would be programs of their own.
    """
    taker = _Taker({s.name for s in whole.scalars})
    rewriter = Rewriter(taker.node)
    loops = tuple(mapped_loop(loop, rewriter) for loop in whole.loops)
    if not taker.scalars:
        return whole, {}
    made = replace(whole, loops=loops, scalars=(*whole.scalars, *taker.scalars))
    return made, taker.values


class _Taker:
    """Takes constants out of expressions."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = taken
        self.scalars: list[program.Scalar] = []
        self.values: dict[str, bool | int | float | None] = {}
        self.number = 0

    def node(self, node: Expr) -> Expr:
        """Return an operator with a scalar in place of its constant."""
        if not isinstance(node, Binary):
            return node
        compares = node.op in COMPARISONS or node.op in IEEE_COMPARISONS
        computes = node.op in ARITHMETIC and isinstance(node.type, Float)
        if not compares and not computes:
            return node
        a, b = node.left, node.right
        if isinstance(a, Literal) == isinstance(b, Literal):
            return node
        if isinstance(b, Literal):
            return Binary(node.op, a, self.scalar(b), node.type)
        assert isinstance(a, Literal)
        return Binary(node.op, self.scalar(a), b, node.type)

    def scalar(self, literal: Literal) -> Expr:
        """Return the scalar that stands for a constant; NULL and booleans stay."""
        if literal.value is None or isinstance(literal.type, Bool):
            return literal
        while f"p{self.number}" in self.taken:
            self.number += 1
        name = f"p{self.number}"
        self.number += 1
        low, high = value_class(literal.value, literal.type)
        self.scalars.append(program.Scalar(name, literal.type, False, low, high))
        self.values[name] = literal.value
        return Parameter(name, literal.type)


def value_class(value: int | float, type_: Type) -> tuple[int | None, int | None]:
    """Return the integers of a value's machine width that its type has; of floats all."""
    if isinstance(type_, Float):
        return None, None
    low, high = limits(type_)
    for bits in _WIDTHS:
        least, greatest = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        if least <= value <= greatest:
            return max(low, least), min(high, greatest)
    return low, high
