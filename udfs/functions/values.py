"""Values while a function is translated: an expression and what Python would hold in its place."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from foveal.planner.ir import typing as ir
from foveal.planner.ir.nodes import FALSE, TRUE, Expr, Literal, Select, Unary
from foveal.planner.ir.types import BOOL, DATE, F64, I64, TIMESTAMP, Type

TYPES: dict[str, Type] = {
    "bool": BOOL, "int": I64, "float": F64, "date": DATE, "timestamp": TIMESTAMP, "days": I64,
    "micros": I64,
}  # fmt: skip
"""Kinds of values, and what holds them. `days`, `micros`: a timedelta of whole days, any other."""

EXACT = 1 << 53
"""Integers up to this are floats exactly."""
DAY = 86_400_000_000
EPOCH = date(1970, 1, 1)
NOT_CONSTANT = object()


@dataclass(frozen=True, slots=True)
class Value:
    """One value. `kind`: a key of TYPES, or none, big (an integer beyond 64 bits), object.

    `numpy`: it is surely a NumPy scalar, whose division by zero and the like gives inf or NaN
    where Python raises. `constant`: its value, where that is known. `nullable`: it may be None.
    """

    expr: Expr
    kind: str
    numpy: bool = False
    constant: Any = NOT_CONSTANT
    nullable: bool = False

    @property
    def known(self) -> bool:
        """Whether it is a constant."""
        return self.constant is not NOT_CONSTANT


def constant(value: Any) -> Value:
    """Return a constant of Python or NumPy as a value."""
    numpy = isinstance(value, np.generic)
    plain: Any = value
    if numpy:
        plain = plain.item()
    if plain is None:
        return Value(TRUE, "none", constant=None, nullable=True)
    if isinstance(plain, bool):
        return Value(TRUE if plain else FALSE, "bool", numpy, plain)
    if isinstance(plain, int):
        if -(1 << 63) <= plain < 1 << 63:
            return Value(Literal(plain, I64), "int", numpy, plain)
        return Value(TRUE, "big", constant=plain)
    if isinstance(plain, float):
        return Value(Literal(plain, F64), "float", numpy, plain)
    if isinstance(plain, datetime) and plain.tzinfo is None:
        micros = (plain - datetime(1970, 1, 1)) // timedelta(microseconds=1)
        return Value(Literal(micros, TIMESTAMP), "timestamp", constant=plain)
    if type(plain) is date:
        return Value(Literal((plain - EPOCH).days, DATE), "date", constant=plain)
    if isinstance(plain, timedelta):
        micros = plain // timedelta(microseconds=1)
        if micros % DAY == 0:
            return Value(Literal(micros // DAY, I64), "days", constant=plain)
        if abs(micros) < 1 << 63:
            return Value(Literal(micros, I64), "micros", constant=plain)
    return Value(TRUE, "object", constant=value)


def not_(x: Expr) -> Expr:
    """Return the negation of a condition that is never NULL."""
    if isinstance(x, Literal):
        return FALSE if x.value else TRUE
    if isinstance(x, Unary) and x.op == "not":
        return x.operand
    return ir.unary("not", x)


def and_(a: Expr, b: Expr) -> Expr:
    """Return AND, constants folded."""
    if isinstance(a, Literal):
        return b if a.value else FALSE
    if isinstance(b, Literal):
        return a if b.value else FALSE
    return ir.binary("and", a, b)


def or_(a: Expr, b: Expr) -> Expr:
    """Return OR, constants folded."""
    if isinstance(a, Literal):
        return TRUE if a.value else b
    if isinstance(b, Literal):
        return TRUE if b.value else a
    return ir.binary("or", a, b)


def select(condition: Expr, yes: Expr, no: Expr) -> Expr:
    """Return CASE WHEN, constants folded."""
    if isinstance(condition, Literal):
        return yes if condition.value else no
    if yes == no:
        return yes
    if yes.type == BOOL:
        if isinstance(no, Literal):
            return or_(not_(condition), yes) if no.value else and_(condition, yes)
        if isinstance(yes, Literal):
            return or_(condition, no) if yes.value else and_(not_(condition), no)
    return Select(condition, yes, no, yes.type)


def number_literal(value: int) -> Literal:
    """Return an integer constant."""
    return Literal(value, I64)


def real(value: float) -> Literal:
    """Return a float constant."""
    return Literal(float(value), F64)


def as_float(value: Value) -> Expr:
    """Return a number as a float, rounded as Python's float() would."""
    if value.kind in ("int", "big") and value.known:
        try:
            return real(float(value.constant))
        except OverflowError:
            return real(math.inf)
    if value.kind == "bool":
        return select(value.expr, real(1.0), real(0.0))
    return ir.cast(value.expr, F64)


def as_int(value: Value) -> Expr:
    """Return an int or bool as an integer."""
    if value.kind == "bool":
        return select(value.expr, number_literal(1), number_literal(0))
    return value.expr


def merged(condition: Expr, yes: Value, no: Value) -> Value | None:
    """Return the value that is `yes` where the condition holds, else `no`; None: no one kind."""
    if isinstance(condition, Literal):
        return yes if condition.value else no
    if yes == no:
        return yes
    if yes.kind == "none" or no.kind == "none":
        some = no if yes.kind == "none" else yes
        if some.kind not in TYPES:
            return None
        null = Literal(None, TYPES[some.kind])
        parts = (null, some.expr) if yes.kind == "none" else (some.expr, null)
        expr = Select(condition, *parts, TYPES[some.kind])
        return Value(expr, some.kind, some.numpy, nullable=True)
    nullable = yes.nullable or no.nullable
    if yes.kind == no.kind and yes.kind in TYPES:
        expr = select(condition, yes.expr, no.expr)
        return Value(expr, yes.kind, yes.numpy and no.numpy, nullable=nullable)
    kinds = {yes.kind, no.kind}
    if not kinds <= {"int", "float", "bool", "big"}:
        return None
    if "float" in kinds and "bool" not in kinds:
        # An integer takes a float's place only where that loses nothing of it.
        for side in (yes, no):
            if side.kind != "float" and not (side.known and abs(side.constant) <= EXACT):
                return None
            if side.kind != "float" and side.nullable:
                return None
        expr = select(condition, as_float(yes), as_float(no))
        return Value(expr, "float", nullable=nullable)
    return None


def plain(value: Value) -> Value:
    """Return the value without what is known of it as a constant."""
    return replace(value, constant=NOT_CONSTANT) if value.kind in TYPES else value
