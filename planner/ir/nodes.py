"""Expressions of the loop language: what is computed for one row.

Every value is a pair of a value and whether it is valid (not NULL). Operators are strict (NULL in,
NULL out) unless said otherwise. A node whose evaluation can raise does so only for rows that reach
it: those that pass the loop's filter, and in `Select`, `Coalesce`, AND and OR only where that part
decides. Nodes are compared by structure; `typing` makes them with the right type.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from foveal.planner.ir.types import BOOL, Type

# fmt: off
ARITHMETIC = ("add", "sub", "mul")
"""Checked on integers, decimals, dates and timestamps; IEEE on floats."""
DIVISION = ("div", "idiv", "mod")
"""`div`: floats, IEEE. `idiv`, `mod`: integers, truncating; by zero raises; floats' `mod`: fmod."""
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
"""SQL's: NaN equals NaN and is greater than every number; -0.0 equals 0.0."""
IEEE_COMPARISONS = ("feq", "fne", "flt", "fle", "fgt", "fge")
"""IEEE's, for functions written in Python: every comparison with NaN but `fne` is false."""
LOGIC = ("and", "or")
"""Three-valued. The right side's errors count only where the left side does not decide."""
BITS = ("bitand", "bitor", "bitxor", "shl", "shr")
SELECTING = ("least", "greatest")
"""SQL's: NULLs are ignored, unlike in strict operators."""
FLOATING = ("pow", "atan2", "hypot", "copysign")
BINARY = (
    *ARITHMETIC, *DIVISION, *COMPARISONS, *IEEE_COMPARISONS, *LOGIC, *BITS, *SELECTING, *FLOATING,
)
UNARY = (
    "neg", "abs", "not", "is_null", "sign", "floor", "ceil", "trunc", "round",
    "sqrt", "cbrt", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "erf", "erfc",
    "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "is_nan", "is_inf",
)
"""`not` three-valued; `is_null` never NULL; `neg`, `abs` checked on integers; `round` half away
from zero; the rest on floats, with IEEE results in place of errors."""
PARTS = ("year", "month", "day", "quarter", "dayofweek", "dayofyear", "hour", "minute", "second")
"""Parts of a date or timestamp, as I64: unary operators too. dayofweek: Sunday is 0."""
# fmt: on


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the loop's source, by name."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Parameter:
    """A scalar of the program, by name: the same for every row, known when it runs."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: bool, float, int (the stored one of decimals, dates, codes), None for NULL."""

    value: bool | int | float | None
    type: Type

    def __post_init__(self) -> None:
        """Refuse to call 1, 1.0 and True the same literal: hashing would."""
        if self.value is not None:
            wanted = {"Bool": bool, "Float": float}.get(type(self.type).__name__, int)
            assert type(self.value) is wanted, f"{self.value!r} for {self.type}"

    def __eq__(self, other: object) -> bool:
        """Compare types too, and tell 0.0 from -0.0 and NaN equal to itself."""
        return (
            isinstance(other, Literal)
            and self.type == other.type
            and repr(self.value) == repr(other.value)
        )

    def __hash__(self) -> int:
        """Hash what equality compares."""
        return hash((self.type, repr(self.value)))


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of an `Iterate`, by name."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Unary:
    """One of UNARY or PARTS."""

    op: str
    operand: Expr
    type: Type
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Hash once: trees are keys of many dictionaries."""
        object.__setattr__(self, "_hash", hash((self.op, self.operand, self.type)))

    def __hash__(self) -> int:
        """Return the kept hash."""
        return self._hash


@dataclass(frozen=True, slots=True)
class Binary:
    """One of BINARY."""

    op: str
    left: Expr
    right: Expr
    type: Type
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Hash once: trees are keys of many dictionaries."""
        object.__setattr__(self, "_hash", hash((self.op, self.left, self.right, self.type)))

    def __hash__(self) -> int:
        """Return the kept hash."""
        return self._hash


@dataclass(frozen=True, slots=True)
class Cast:
    """A conversion by DuckDB's rules; what does not fit raises.

    Float to integer rounds half to even, decimal to integer half away from zero.
    """

    operand: Expr
    type: Type
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Hash once: trees are keys of many dictionaries."""
        object.__setattr__(self, "_hash", hash(("cast", self.operand, self.type)))

    def __hash__(self) -> int:
        """Return the kept hash."""
        return self._hash


@dataclass(frozen=True, slots=True)
class Select:
    """`yes` where the condition is true, `no` where it is false or NULL."""

    condition: Expr
    yes: Expr
    no: Expr
    type: Type
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Hash once: trees are keys of many dictionaries."""
        kept = hash(("select", self.condition, self.yes, self.no))
        object.__setattr__(self, "_hash", kept)

    def __hash__(self) -> int:
        """Return the kept hash."""
        return self._hash


@dataclass(frozen=True, slots=True)
class Coalesce:
    """The first operand that is valid."""

    operands: tuple[Expr, ...]
    type: Type


@dataclass(frozen=True, slots=True)
class Lookup:
    """The entry of a table of the program at an integer, date or code.

    NULL where the index is NULL, outside of 0 .. size - 1 after `base` is taken off, or the entry
    is NULL. `base`: the smallest index of the table. A table is a parameter (`program.Table`) or
    the result of an earlier loop (`Bitmap`, `Scatter`).
    """

    table: str
    index: Expr
    type: Type
    base: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """`value`, but raise the program's message number `message` where the condition is not true."""

    condition: Expr
    value: Expr
    message: int
    type: Type


@dataclass(frozen=True, slots=True)
class Iterate:
    """A loop within a row: from `initial`, while `condition`, take `step`; then `result`.

    `variables`, `initial` and `step` are of one length; the three expressions may use `Variable`s
    of these names. A variable that is NULL makes the result NULL.
    """

    variables: tuple[Variable, ...]
    initial: tuple[Expr, ...]
    condition: Expr
    step: tuple[Expr, ...]
    result: Expr
    type: Type


@dataclass(frozen=True, slots=True)
class Predict:
    """A model of the program (`program.Model`) applied to feature values.

    Arguments are numbers or codes, as the model's signature says; NULL is the model's missing value
    (for kinds that know none: NULL in, NULL out). `output` picks one of the model's outputs.
    """

    model: str
    arguments: tuple[Expr, ...]
    type: Type
    output: int = 0


Expr: TypeAlias = (
    Column
    | Parameter
    | Literal
    | Variable
    | Unary
    | Binary
    | Cast
    | Select
    | Coalesce
    | Lookup
    | Check
    | Iterate
    | Predict
)

TRUE, FALSE = Literal(True, BOOL), Literal(False, BOOL)


def children(node: Expr) -> tuple[Expr, ...]:
    """Return a node's operands, in the order in which `rebuilt` takes them."""
    match node:
        case Unary() | Cast():
            return (node.operand,)
        case Binary():
            return (node.left, node.right)
        case Select():
            return (node.condition, node.yes, node.no)
        case Coalesce():
            return node.operands
        case Lookup():
            return (node.index,)
        case Check():
            return (node.condition, node.value)
        case Iterate():
            return (*node.initial, node.condition, *node.step, node.result)
        case Predict():
            return node.arguments
        case _:
            return ()


def rebuilt(node: Expr, operands: tuple[Expr, ...]) -> Expr:
    """Return the node over other operands of the same types."""
    match node:
        case Unary():
            return Unary(node.op, operands[0], node.type)
        case Cast():
            return Cast(operands[0], node.type)
        case Binary():
            return Binary(node.op, operands[0], operands[1], node.type)
        case Select():
            return Select(*operands, node.type)  # pyright: ignore[reportCallIssue]
        case Coalesce():
            return Coalesce(operands, node.type)
        case Lookup():
            return Lookup(node.table, operands[0], node.type, node.base)
        case Check():
            return Check(operands[0], operands[1], node.message, node.type)
        case Iterate():
            n = len(node.variables)
            return Iterate(
                node.variables,
                operands[:n],
                operands[n],
                operands[n + 1 : 2 * n + 1],
                operands[2 * n + 1],
                node.type,
            )
        case Predict():
            return Predict(node.model, operands, node.type, node.output)
        case _:
            return node
