"""Random expressions over some columns: every node and operator of the loop language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pipelines_data import Made

from foveal.planner.ir import nodes, program, typing
from foveal.planner.ir.nodes import Expr
from foveal.planner.ir.types import (
    BOOL,
    F64,
    I32,
    I64,
    Bool,
    Code,
    Date,
    Decimal,
    Float,
    Int,
    Timestamp,
    Type,
    limits,
)


class Writer:
    """Writes expressions over the columns of one source."""

    def __init__(self, random: np.random.Generator, columns: Mapping[str, Made]) -> None:
        """Start with no scalars, tables or messages."""
        self.random = random
        self.columns = columns
        self.refs = [nodes.Column(n, m.declared.type) for n, m in columns.items()]
        self.scalars: dict[str, tuple[program.Scalar, Any]] = {}
        self.tables: dict[str, tuple[program.Table, list[Any]]] = {}
        self.earlier: list[program.Loop] = []
        self.messages: list[str] = []
        self.given: list[Any] = []
        self.maths = random.random() < 0.15

    def chance(self, share: float) -> bool:
        """Return true for a share of the calls."""
        return bool(self.random.random() < share)

    def pick(self, *options: Any) -> Any:
        """Return one of some options."""
        return options[int(self.random.integers(len(options)))]

    # --- leaves ---

    def column(self, *kinds: type) -> Expr | None:
        """Return a column of some kinds of type, if there is one."""
        found = [c for c in self.refs if not kinds or isinstance(c.type, kinds)]
        return self.pick(*found) if found else None

    def constant(self, type_: Type) -> Expr:
        """Return a literal or a scalar."""
        value = self.value(type_)
        self.given.append(value)
        if self.chance(0.25):
            name = f"s{len(self.scalars)}"
            low = high = None
            if value is not None and not isinstance(type_, Float) and self.chance(0.7):
                least, greatest = limits(type_)
                low, high = max(least, int(value) - 5), min(greatest, int(value) + 5)
            nullable = value is None or self.chance(0.2)
            self.scalars[name] = (program.Scalar(name, type_, nullable, low, high), value)
            return nodes.Parameter(name, type_)
        return typing.literal(value, type_)

    def value(self, type_: Type) -> Any:
        """Return a stored value, mostly a small one."""
        if self.chance(0.04):
            return None
        match type_:
            case Bool():
                return self.chance(0.5)
            case Float():
                return float(self.pick(0.0, -0.0, 1.0, 0.5, -2.5, 3.0, 100.0))
            case Code():
                return int(self.random.integers(0, 6))
            case Date():
                return int(self.pick(0, 9000, -1, 20000))
            case Timestamp():
                return int(self.pick(0, 10**12, -(10**9)))
            case _:
                low, high = limits(type_)
                edge = (low, high) if self.chance(0.1) else ()
                return int(max(low, min(high, self.pick(0, 1, 2, 3, -1, 5, 7, 10, 100, *edge))))

    # --- values ---

    def any(self, depth: int) -> Expr:
        """Return an expression of any type."""
        kind = self.random.random()
        if kind < 0.6:
            return self.number(depth)
        if kind < 0.75:
            return self.condition(depth)
        return self.column() if self.chance(0.5) or depth == 0 else self.other(depth)  # type: ignore[return-value]

    def other(self, depth: int) -> Expr:
        """Return a date, time, string or whatever there is."""
        x = self.column(Date, Timestamp, Code) or self.column()
        assert x is not None
        match x.type:
            case Code():
                y = self.column(Code)
                assert y is not None
                if y.type == x.type and self.chance(0.5):
                    return self.mixed(x, y, depth)
                return self.mixed(x, self.constant(x.type), depth)
            case Date() | Timestamp() if self.chance(0.6):
                return self.stamp(x, depth)
            case _:
                return self.mixed(x, self.constant(x.type), depth)

    def stamp(self, x: Expr, depth: int) -> Expr:
        """Return arithmetic of dates, or another form of one."""
        match int(self.random.integers(4)):
            case 0 if isinstance(x.type, Date):
                return typing.arithmetic(self.pick("add", "sub"), x, self.constant(I32))
            case 0:
                return typing.cast(x, Date())
            case 1:
                return typing.cast(x, self.pick(Date(), Timestamp()))
            case _:
                return self.mixed(x, self.constant(x.type), depth)

    def mixed(self, x: Expr, y: Expr, depth: int) -> Expr:
        """Return one of two of a type, by a condition or by size."""
        match int(self.random.integers(4)):
            case 0:
                return typing.coalesce(x, y)
            case 1:
                return typing.binary(self.pick("least", "greatest"), x, y)
            case _:
                return typing.select(self.condition(depth - 1), x, y)

    def number(self, depth: int) -> Expr:
        """Return a number."""
        if depth <= 0:
            found = self.column(Int, Decimal, Float)
            if found is not None and self.chance(0.85):
                return found
            if found is None and self.chance(0.5):
                flag = self.column(Bool)
                if flag is not None:
                    return typing.cast(flag, self.pick(I32, I64))
            return self.constant(self.pick(I32, I64, Decimal(9, 2), F64))
        way = self.random.random()
        try:
            if way < 0.5:
                return self.operation(depth)
            if way < 0.62:
                return self.signed(depth)
            if way < 0.74:
                x = self.number(depth - 1)
                return typing.cast(x, self.cast_type(x.type))
            if way < 0.82:
                a, b = typing.merge(self.number(depth - 1), self.number(depth - 1))
                return self.mixed(a, b, depth)
            if way < 0.86:
                return self.guarded(depth)
            if way < 0.90:
                stamp = self.column(Date, Timestamp)
                if stamp is not None:
                    if self.chance(0.3) and isinstance(stamp.type, Date):
                        return typing.binary("sub", stamp, self.column(Date) or stamp)
                    return typing.unary(self.pick(*nodes.PARTS), stamp)
            if way < 0.95:
                return self.lookup(depth)
            if way < 0.97:
                return self.checked(depth)
            if way < 0.985 and self.maths:
                return self.math(depth)
            return self.bits(depth)
        except typing.IrTypeError:
            return self.number(depth - 1)

    def operation(self, depth: int) -> Expr:
        """Return arithmetic; divisions mostly by constants."""
        a = self.number(depth - 1)
        op = self.pick("add", "sub", "mul", "add", "sub", "mul", "mod", "idiv", "div")
        b = self.constant(a.type) if self.chance(0.35) else self.number(depth - 1)
        if op in ("idiv", "mod") and self.chance(0.8):
            value = self.pick(2, 3, 7, 10)
            if not isinstance(a.type, Int):
                return typing.arithmetic("sub", a, b)
            b = typing.literal(min(value, limits(a.type)[1]), a.type)
        return typing.arithmetic(op, a, b)

    def signed(self, depth: int) -> Expr:
        """Return an operator of one number."""
        x = self.number(depth - 1)
        ops = ["neg", "abs", "sign"]
        if isinstance(x.type, Float):
            ops += ["floor", "ceil", "trunc", "round"]
        return typing.unary(self.pick(*ops), x)

    def cast_type(self, from_: Type) -> Type:
        """Return a type to cast a number to."""
        kinds = [I32, I64, I64, F64, Int(16), Decimal(15, 2), Decimal(18, 4), Decimal(9, 1)]
        kinds += [Float(32), Int(8), Int(32, signed=False), Decimal(30, 6)]
        if isinstance(from_, Decimal):
            kinds += [Decimal(min(38, from_.precision + 3), from_.scale)] * 3
        return self.pick(*kinds)

    def guarded(self, depth: int) -> Expr:
        """Return what would raise, behind a condition that keeps it from doing so."""
        x, y = self.column(Int) or self.number(0), self.column(Int) or self.number(0)
        if not isinstance(x.type, Int) or not isinstance(y.type, Int):
            raise typing.IrTypeError("no integers")
        risky = typing.arithmetic(self.pick("idiv", "mod"), x, y)
        zero = typing.literal(0, risky.right.type)
        safe = typing.binary("ne", risky.right, zero)
        if limits(risky.type)[0] < 0 and self.chance(0.5):
            safe = typing.both(
                safe, typing.binary("ne", risky.right, typing.literal(-1, zero.type))
            )
        return typing.select(safe, risky, self.constant(risky.type))

    def lookup(self, depth: int) -> Expr:
        """Return an entry of a table, by an index that may lie beside it."""
        if self.earlier and self.chance(0.6):
            loop = self.pick(*self.earlier)
            builder = loop.builder
            alike = [c for c in self.refs if c.type == builder.index.type]
            index = self.pick(*alike) if alike else builder.index
            kind = builder.value.type if isinstance(builder, program.Scatter) else BOOL
            found = typing.lookup_named(loop.into, kind, index, builder.low)
            return found if isinstance(kind, Int | Decimal | Float) else typing.cast(found, I32)
        index = self.column(Int, Date, Code)
        if index is None or index.type == Int(128):
            raise typing.IrTypeError("no index")
        type_ = self.pick(I32, I64, Decimal(9, 2), F64, Int(8), Int(16, signed=False))
        name = f"l{len(self.tables)}"
        size = int(self.random.integers(0, 7))
        values = [self.value(type_) for _ in range(size)]
        low = int(self.pick(0, 0, -2, 3))
        if isinstance(index.type, Code) or limits(index.type)[0] >= 0:
            low = max(low, 0)
        known = [int(v) for v in values if v is not None] if not isinstance(type_, Float) else []
        bounds = (min(known), max(known)) if known and self.chance(0.7) else (None, None)
        nullable = None in values or self.chance(0.3)
        given = size if self.chance(0.6) else None
        self.tables[name] = (program.Table(name, type_, given, nullable, *bounds), values)
        return typing.lookup(self.tables[name][0], index, low)

    def checked(self, depth: int) -> Expr:
        """Return a value with a condition that mostly holds."""
        x = self.number(depth - 1)
        held = typing.unary("not", typing.unary("is_null", x))
        condition = typing.binary("or", held, typing.unary("is_null", x))
        if self.chance(0.2):
            condition = held
        self.messages.append(f"message {len(self.messages)}")
        return typing.check(condition, x, len(self.messages) - 1)

    def math(self, depth: int) -> Expr:
        """Return a function of doubles."""
        x = typing.cast(self.number(depth - 1), F64)
        op = self.pick("exp", "log", "log2", "log10", "sin", "cos", "tan", "cbrt", "atan", "tanh",
                       "sqrt", "asin", "acos", "sinh", "cosh", "pow", "atan2")  # fmt: skip
        if op in ("pow", "atan2"):
            return typing.binary(op, x, typing.cast(self.number(0), F64))
        return typing.unary(op, x)

    def bits(self, depth: int) -> Expr:
        """Return an operator of bits."""
        x = self.column(Int)
        if x is None:
            raise typing.IrTypeError("no integers")
        op = self.pick(*nodes.BITS)
        y = self.column(Int) if op.startswith("bit") else typing.literal(self.pick(0, 1, 3), x.type)
        assert y is not None
        return typing.arithmetic(op, x, y)

    # --- conditions ---

    def condition(self, depth: int) -> Expr:
        """Return a boolean."""
        way = self.random.random()
        if depth <= 0 or way < 0.5:
            return self.comparison(depth)
        if way < 0.7:
            a, b = self.condition(depth - 1), self.condition(depth - 1)
            return typing.binary(self.pick("and", "or"), a, b)
        if way < 0.78:
            return typing.unary("not", self.condition(depth - 1))
        if way < 0.86:
            return typing.unary("is_null", self.any(depth - 1))
        flag = self.column(Bool)
        if flag is not None and way < 0.93:
            return flag
        x = self.column(Float)
        if x is not None:
            return typing.unary(self.pick("is_nan", "is_inf"), x)
        return self.comparison(depth)

    def comparison(self, depth: int) -> Expr:
        """Return a comparison, of nothing whose last digits differ from library to library."""
        maths, self.maths = self.maths, False
        try:
            x = self.any(depth - 1) if depth > 1 else (self.column() or self.number(0))
            if self.chance(0.6):
                y = self.constant(x.type)
            else:
                y = self.column(type(x.type)) or self.constant(x.type)
            op = self.pick(*nodes.COMPARISONS)
            if isinstance(x.type, Float) and self.chance(0.15):
                op = self.pick(*nodes.IEEE_COMPARISONS)
            if isinstance(x.type, Code) and x.type != y.type:
                y = self.constant(x.type)
            return typing.arithmetic(op, x, y)
        except typing.IrTypeError:
            return typing.unary("is_null", self.column() or self.number(0))
        finally:
            self.maths = maths
