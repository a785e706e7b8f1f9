"""What the code of an expression leaves behind: a value, whether it is valid, and what may raise.

A cell's integer may be narrower than its SQL type where facts show that it fits: it is always to be
read as signed. Booleans are i1. Values never depend on whether a row is wanted: what could trap
runs on a harmless operand instead, and says so in a flag that counts only for rows that reach it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from foveal.engine.compile.llvm.text import FALSE, TRUE, Function, Value, bits_of, integer, number
from foveal.planner.ir import nodes, types
from foveal.planner.ir.nodes import Expr

OPERATOR_ERROR = 1
"""The bit of the error mask for an operator's own error."""
MESSAGES = 61
"""Messages beyond share the last bit of the error mask."""
MAX_EXACT_BITS = 128


class Unsupported(Exception):
    """No machine code for this program: it stays with DuckDB. The text says why."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A value and whether it is valid; `adapts`: it costs nothing to change its width."""

    value: Value
    valid: Value = TRUE
    adapts: bool = False


@dataclass(frozen=True, slots=True)
class Flag:
    """A condition under which evaluating a node raises, if the row reaches it.

    `code`: the bit of the error mask, or a mask (i64) that only the run knows.
    """

    condition: Value
    code: int | Value = OPERATOR_ERROR


@dataclass(slots=True)
class Context:
    """What the code of one operator needs: where it writes, what is known, which flags it set."""

    f: Function
    facts: Facts
    flags: list[Flag] = field(default_factory=list[Flag])

    def flag(self, condition: Value, code: int | Value = OPERATOR_ERROR) -> None:
        """Say that the node raises under a condition."""
        if condition != FALSE:
            self.flags.append(Flag(condition, code))


class Facts(Protocol):
    """What is known of expressions before they run."""

    def range(self, expression: Expr) -> tuple[int, int] | None:
        """Return bounds of the valid values as stored integers; None of floats."""
        ...

    def nullable(self, expression: Expr) -> bool:
        """Say whether it can be NULL."""
        ...

    def can_raise(self, expression: Expr) -> bool:
        """Say whether evaluating it can raise."""
        ...


def message_code(message: int) -> int:
    """Return the bit of the error mask for a message of the program."""
    return 1 << (min(message, MESSAGES) + 1)


def bits_for(low: int, high: int) -> int:
    """Return the narrowest of 8, 16, .. 128 bits that holds an interval, signed.

    Raises:
        Unsupported: not even 128 do.
    """
    for bits in (8, 16, 32, 64, 128):
        if -(1 << (bits - 1)) <= low and high < 1 << (bits - 1):
            return bits
    raise Unsupported("integers beyond 128 bits")


def llvm_type(type_: types.Type) -> str:
    """Return the LLVM type of a value of a SQL type; unsigned 64-bit integers need 128 signed."""
    match types.physical(type_):
        case types.Bool():
            return "i1"
        case types.Float(bits=bits):
            return "float" if bits == 32 else "double"
        case types.Int(bits=bits, signed=signed):
            return f"i{bits if signed else bits * 2}"


def zero_of(type_: str) -> Value:
    """Return the zero of an LLVM type."""
    if type_ == "i1":
        return FALSE
    return number(0.0, type_) if type_ in ("float", "double") else integer(0, type_)


def constant(literal: nodes.Literal) -> Cell:
    """Return a literal's cell, as narrow as its value allows."""
    if literal.value is None:
        zero = zero_of(llvm_type(literal.type))
        return Cell(zero, FALSE, adapts=zero.type not in ("i1", "float", "double"))
    if isinstance(literal.value, bool):
        return Cell(TRUE if literal.value else FALSE)
    if isinstance(literal.value, float):
        return Cell(number(literal.value, llvm_type(literal.type)))
    bits = bits_for(literal.value, literal.value)
    return Cell(integer(literal.value, f"i{bits}"), adapts=True)


def width_of(cell: Cell, known: tuple[int, int] | None) -> int:
    """Return the bits that an integer cell asks of an operation."""
    if cell.value.type == "i1":
        return 8
    if cell.adapts and known is not None:
        return bits_for(*known)
    return bits_of(cell.value.type)


def widened(f: Function, cell: Cell, bits: int) -> Value:
    """Return an integer cell's value in some bits; narrower only where it is known to fit."""
    return f.resize(cell.value, f"i{bits}")


def is_float(type_: types.Type) -> bool:
    """Say whether values of a type are held as floats."""
    return isinstance(type_, types.Float)
