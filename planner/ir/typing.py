"""The type of every operator, by DuckDB's rules, and the constructors that apply them.

`unary`, `binary`, `select` and so on are strict: operands must have the types that the operator
takes. `arithmetic` and `merge` first cast as DuckDB casts implicitly (`operand_types`,
`common_type`), as a SQL front end wants.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foveal.planner.ir import nodes, program
from foveal.planner.ir.implicit import (
    MAX_DIGITS,
    IrTypeError,
    as_decimal,
    common_type,
    operand_types,
)
from foveal.planner.ir.nodes import (
    BITS,
    COMPARISONS,
    FLOATING,
    IEEE_COMPARISONS,
    LOGIC,
    PARTS,
    SELECTING,
    Expr,
)
from foveal.planner.ir.types import (
    BOOL,
    DATE,
    F32,
    F64,
    I8,
    I32,
    I64,
    TIMESTAMP,
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

# fmt: off
__all__ = [
    "FOLDS", "MAX_DIGITS", "PRODUCT_DIGITS", "IrTypeError", "arithmetic", "as_decimal",
    "binary", "binary_type", "both", "cast", "casts", "check", "coalesce", "common_type",
    "fold", "fold_type", "is_index", "iterate", "literal", "lookup", "lookup_named", "merge",
    "operand_types", "predict", "select", "unary", "unary_type",
]
# fmt: on

PRODUCT_DIGITS = 18
"""Where products of decimals that fit 64 bits stop growing (DuckDB keeps them in 64 bits)."""
FOLDS = ("sum", "min", "max", "count", "avg", "first")


def unary_type(op: str, x: Type) -> Type:
    """Return the type of a unary operator or a part of a date.

    Raises:
        IrTypeError: the operator does not take the operand.
    """
    if op == "is_null":
        return BOOL
    if op in PARTS:
        if isinstance(x, Date | Timestamp):
            return I64
    elif op == "not":
        if x == BOOL:
            return BOOL
    elif op in ("neg", "abs"):
        if isinstance(x, Int | Float | Decimal):
            return x
    elif op == "sign":
        if isinstance(x, Int | Float | Decimal):
            return I8
    elif op in ("is_nan", "is_inf"):
        if isinstance(x, Float):
            return BOOL
    elif op in nodes.UNARY:
        if isinstance(x, Float):
            return x
    else:
        raise IrTypeError(f"no operator {op}")
    raise IrTypeError(f"{op} of {x}")


def binary_type(op: str, a: Type, b: Type) -> Type:
    """Return the type of a binary operator.

    Raises:
        IrTypeError: the operator does not take the operands as they are.
    """
    if op not in nodes.BINARY:
        raise IrTypeError(f"no operator {op}")
    if a == b:
        result = _of_equals(op, a)
    elif isinstance(a, Decimal) and isinstance(b, Decimal):
        result = _of_decimals(op, a, b)
    else:
        result = None
        if op in ("add", "sub") and (a, b) in ((DATE, I32), (TIMESTAMP, I64)):
            result = a
        elif op == "add" and (a, b) == (I32, DATE):
            result = DATE
    if result is None:
        raise IrTypeError(f"{op} of {a} and {b}")
    return result


def _of_equals(op: str, a: Type) -> Type | None:
    """Return the type of an operator over two operands of one type."""
    if op in COMPARISONS:
        return BOOL
    if op in SELECTING:
        return a
    match a:
        case Bool():
            return BOOL if op in LOGIC else None
        case Int():
            return a if op in ("add", "sub", "mul", "idiv", "mod", *BITS) else None
        case Float():
            if op in IEEE_COMPARISONS:
                return BOOL
            return a if op in ("add", "sub", "mul", "div", "mod", *FLOATING) else None
        case Decimal():
            return _of_decimals(op, a, a)
        case Date() | Timestamp():
            return I64 if op == "sub" else None
        case Code():
            return None


def _of_decimals(op: str, a: Decimal, b: Decimal) -> Type | None:
    """Return the type of arithmetic on decimals."""
    if op == "mul":
        scale, digits = a.scale + b.scale, a.precision + b.precision
        if scale > MAX_DIGITS:
            raise IrTypeError(f"a product of scale {scale}")
        narrow = max(a.precision, b.precision) <= PRODUCT_DIGITS and scale < PRODUCT_DIGITS
        if digits > PRODUCT_DIGITS and narrow:
            return Decimal(PRODUCT_DIGITS, scale)
        return Decimal(min(digits, MAX_DIGITS), scale)
    if op in ("add", "sub") and a.scale == b.scale:
        return Decimal(min(max(a.precision, b.precision) + 1, MAX_DIGITS), a.scale)
    return a if op == "mod" and a == b else None


def casts(from_: Type, to: Type) -> bool:
    """Say whether a value of one type can be cast to another in this language."""
    if from_ == to:
        return True
    number = (Bool, Int, Float, Decimal)
    if isinstance(from_, number) and isinstance(to, number):
        return True
    return isinstance(from_, Date | Timestamp) and isinstance(to, Date | Timestamp)


def fold_type(op: str, operand: Type | None) -> Type:
    """Return the type of an aggregate; `operand` None: COUNT(*).

    Raises:
        IrTypeError: there is no such aggregate of the operand.
    """
    if op == "count":
        return I64
    if op not in FOLDS or operand is None:
        raise IrTypeError(f"no aggregate {op} of {'rows' if operand is None else operand}")
    if op in ("min", "max", "first"):
        return operand
    if op == "avg":
        if isinstance(operand, Int | Float | Decimal):
            return F64
        raise IrTypeError(f"no avg of {operand}")
    try:
        return program.sum_type(operand)
    except TypeError as error:
        raise IrTypeError(str(error)) from None


def is_index(type_: Type) -> bool:
    """Say whether values of a type can index a table, a bitmap or a scatter."""
    return isinstance(type_, Int | Date | Code | Bool)


# --- constructors -------------------------------------------------------------------------------


def unary(op: str, x: Expr) -> nodes.Unary:
    """Return a unary operator or a part of a date."""
    return nodes.Unary(op, x, unary_type(op, x.type))


def binary(op: str, a: Expr, b: Expr) -> nodes.Binary:
    """Return a binary operator over operands of the types that it takes."""
    return nodes.Binary(op, a, b, binary_type(op, a.type, b.type))


def arithmetic(op: str, a: Expr, b: Expr) -> nodes.Binary:
    """Return a binary operator with the operands cast as DuckDB would."""
    left, right = operand_types(op, a.type, b.type)
    return binary(op, cast(a, left), cast(b, right))


def cast(x: Expr, type_: Type) -> Expr:
    """Return a cast, or the expression itself where it has the type; NULL literals change type."""
    if x.type == type_:
        return x
    if isinstance(x, nodes.Literal) and x.value is None:
        return nodes.Literal(None, type_)
    if not casts(x.type, type_):
        raise IrTypeError(f"no cast of {x.type} to {type_}")
    return nodes.Cast(x, type_)


def select(condition: Expr, yes: Expr, no: Expr) -> nodes.Select:
    """Return CASE WHEN condition THEN yes ELSE no; both sides of one type."""
    if condition.type != BOOL:
        raise IrTypeError(f"select on {condition.type}")
    if yes.type != no.type:
        raise IrTypeError(f"select of {yes.type} and {no.type}")
    return nodes.Select(condition, yes, no, yes.type)


def coalesce(*operands: Expr) -> nodes.Coalesce:
    """Return COALESCE of operands of one type."""
    if not operands or any(x.type != operands[0].type for x in operands):
        raise IrTypeError(f"coalesce of {', '.join(str(x.type) for x in operands)}")
    return nodes.Coalesce(operands, operands[0].type)


def merge(*operands: Expr) -> tuple[Expr, ...]:
    """Return operands cast to their common type, as CASE and COALESCE do."""
    kind = operands[0].type
    for x in operands[1:]:
        kind = common_type(kind, x.type)
    return tuple(cast(x, kind) for x in operands)


def literal(value: bool | int | float | None, type_: Type) -> nodes.Literal:
    """Return a constant: the stored integer of decimals, dates, timestamps and codes.

    Raises:
        IrTypeError: the type does not hold the value.
    """
    if value is None:
        return nodes.Literal(None, type_)
    if isinstance(type_, Float):
        value = float(value)
        if type_ == F32:
            value = _as_single(value)
        return nodes.Literal(value, type_)
    if isinstance(type_, Bool):
        if not isinstance(value, bool):
            raise IrTypeError(f"{value!r} is no bool")
        return nodes.Literal(value, type_)
    low, high = limits(type_)
    if isinstance(value, bool | float) or not low <= value <= high:
        raise IrTypeError(f"{value!r} is no {type_}")
    return nodes.Literal(value, type_)


def _as_single(value: float) -> float:
    """Return a float rounded to 32 bits."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def both(*conditions: Expr) -> Expr:
    """Return the AND of conditions; of none, TRUE."""
    if not conditions:
        return nodes.TRUE
    out = conditions[0]
    for condition in conditions[1:]:
        out = binary("and", out, condition)
    return out


def lookup(table: program.Table, index: Expr, base: int = 0) -> nodes.Lookup:
    """Return the entry of a table of the program."""
    return lookup_named(table.name, table.type, index, base)


def lookup_named(table: str, type_: Type, index: Expr, base: int = 0) -> nodes.Lookup:
    """Return the entry of a table by name: a parameter's, or an earlier loop's result."""
    if not is_index(index.type):
        raise IrTypeError(f"lookup at {index.type}")
    return nodes.Lookup(table, index, type_, base)


def check(condition: Expr, value: Expr, message: int) -> nodes.Check:
    """Return `value`, raising message number `message` where the condition is not true."""
    if condition.type != BOOL:
        raise IrTypeError(f"check of {condition.type}")
    return nodes.Check(condition, value, message, value.type)


def iterate(
    variables: Sequence[nodes.Variable],
    initial: Sequence[Expr],
    condition: Expr,
    step: Sequence[Expr],
    result: Expr,
) -> nodes.Iterate:
    """Return a loop within a row; every step has its variable's type."""
    kinds = [v.type for v in variables]
    if not kinds or [x.type for x in initial] != kinds or [x.type for x in step] != kinds:
        raise IrTypeError("initial values and steps must have their variables' types")
    if len({v.name for v in variables}) != len(variables):
        raise IrTypeError("two variables of one name")
    if condition.type != BOOL:
        raise IrTypeError(f"iterate while {condition.type}")
    return nodes.Iterate(
        tuple(variables), tuple(initial), condition, tuple(step), result, result.type
    )


def predict(model: program.Model, arguments: Sequence[Expr], output: int = 0) -> nodes.Predict:
    """Return a model's output; arguments have the types of its signature."""
    if tuple(x.type for x in arguments) != model.features:
        raise IrTypeError(
            f"model {model.name} takes ({', '.join(map(str, model.features))}), "
            f"not ({', '.join(str(x.type) for x in arguments)})"
        )
    if not 0 <= output < len(model.outputs):
        raise IrTypeError(f"model {model.name} has {len(model.outputs)} outputs")
    return nodes.Predict(model.name, tuple(arguments), model.outputs[output], output)


def fold(op: str, operand: Expr | None = None) -> program.Fold:
    """Return an aggregate with the type that DuckDB gives it; without operand: COUNT(*)."""
    return program.Fold(op, operand, fold_type(op, None if operand is None else operand.type))
