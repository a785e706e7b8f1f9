"""Casts by DuckDB's rules: what does not fit raises, of rows that reach the cast."""

from __future__ import annotations

from foveal.engine.compile.llvm import floats, integers
from foveal.engine.compile.llvm.calendar import DAY, flag_infinite
from foveal.engine.compile.llvm.cells import (
    Cell,
    Context,
    Unsupported,
    bits_for,
    llvm_type,
    widened,
)
from foveal.engine.compile.llvm.text import Value, bits_of, integer, number
from foveal.planner.ir import nodes, types
from foveal.planner.ir.types import Bool, Date, Decimal, Float, Timestamp, limits

EXACT = 1 << 53
"""Integers up to this are doubles exactly."""


def cast(context: Context, node: nodes.Cast, operand: Cell) -> Value:
    """Return the value of a cast whose operand is in a cell."""
    from_, to = node.operand.type, node.type
    f = context.f
    match from_, to:
        case (Date(), Timestamp()):
            flag_infinite(context, node.operand, operand)
            days = integers.known(context, node.operand)
            day = Cell(integer(DAY, "i64"), adapts=True)
            return integers.arithmetic(context, "mul", (operand, days), (day, (DAY, DAY)), to)
        case (Timestamp(), Date()):
            flag_infinite(context, node.operand, operand)
            return f.resize(_floor_divide(context, widened(f, operand, 64), DAY), "i32")
        case Float(), Bool():
            return f.compare("une", operand.value, number(0.0, operand.value.type))
        case Bool(), Bool():
            return operand.value
        case _, Bool():
            return f.compare("ne", operand.value, integer(0, operand.value.type))
        case Float(), Float():
            return _between_floats(context, operand.value, llvm_type(to))
        case _, Float():
            return _to_float(context, node, operand)
        case Float(), _:
            return _from_float(context, operand.value, to)
        case _:
            return _between_integers(context, node, operand)


def _floor_divide(context: Context, value: Value, divisor: int) -> Value:
    """Return floor(value / divisor), the divisor a positive constant."""
    f = context.f
    quotient = f.op("sdiv", value, integer(divisor, value.type))
    rest = f.op("sub", value, f.op("mul", quotient, integer(divisor, value.type)))
    below = f.compare("slt", rest, integer(0, value.type))
    return f.op("sub", quotient, f.resize(below, value.type, signed=False))


def _between_floats(context: Context, value: Value, type_: str) -> Value:
    """Return a float in another width; a finite one that becomes infinite raises."""
    f = context.f
    if value.type == type_ or type_ == "double":
        return f.convert("fpext", value, type_)
    narrow = f.convert("fptrunc", value, type_)
    infinite = f.compare("oeq", floats.intrinsic(f, "fabs", narrow), number(float("inf"), "float"))
    was = f.compare("oeq", floats.intrinsic(f, "fabs", value), number(float("inf")))
    context.flag(f.both(infinite, f.negate(was)))
    return narrow


def _to_float(context: Context, node: nodes.Cast, operand: Cell) -> Value:
    """Return an integer or decimal as a float; see the interpreter for decimals too long for it."""
    f, type_ = context.f, llvm_type(node.type)
    if operand.value.type == "i1":
        return f.emit(type_, f"uitofp {operand.value} to {type_}")
    low, high = integers.known(context, node.operand)
    if bits_of(operand.value.type) > 64:
        if bits_for(low, high) > 64:
            raise Unsupported("a float of a 128-bit integer")
        operand = Cell(widened(f, operand, 64), operand.valid)

    def converted(value: Value, wanted: str) -> Value:
        return f.emit(wanted, f"sitofp {value} to {wanted}")

    scale = node.operand.type.scale if isinstance(node.operand.type, Decimal) else 0
    if not scale:
        return converted(operand.value, type_)
    if scale > 22:
        raise Unsupported("a float of a decimal with more than 22 digits of fraction")
    # FLOAT is rounded from DOUBLE, as in DuckDB.
    power = number(float(10**scale))
    at_once = f.op("fdiv", converted(operand.value, "double"), power)
    if low >= -EXACT and high <= EXACT:
        return f.convert("fptrunc", at_once, type_)
    if scale > 18:
        raise Unsupported("a float of a long decimal with more than 18 digits of fraction")
    x = widened(f, operand, 64)
    divisor = integer(10**scale)
    whole, part = f.op("sdiv", x, divisor), f.op("srem", x, divisor)
    fraction = f.op("fdiv", converted(part, "double"), power)
    two = f.op("fadd", converted(whole, "double"), fraction)
    inside = f.compare("ule", f.op("add", x, integer(EXACT)), integer(2 * EXACT))
    return f.convert("fptrunc", f.select(inside, at_once, two), type_)


def _from_float(context: Context, value: Value, to: types.Type) -> Value:
    """Return a float as an integer (half to even) or a decimal (half away from zero)."""
    f, type_ = context.f, llvm_type(to)
    wide = floats.as_double(f, value)
    if isinstance(to, Decimal):
        whole = floats.rounded(f, f.op("fmul", wide, number(float(10**to.scale))))
    else:
        whole = floats.intrinsic(f, "rint", wide)
    low, high = limits(to)
    if isinstance(to, types.Int) and to.bits == 128:
        raise Unsupported("a 128-bit integer of a float")
    if bits_of(type_) > 64:
        raise Unsupported(f"a {to} of a float")
    # The least double above the limits: of 2**63 - 1 that is 2**63, so compare below it.
    above = number(float(high + 1)) if float(high) == float(high + 1) else number(float(high))
    inside = f.both(
        f.compare("oge", whole, number(float(low))),
        f.compare("olt" if float(high) == float(high + 1) else "ole", whole, above),
    )
    context.flag(f.negate(inside))
    harmless = f.select(inside, whole, number(0.0))
    return f.emit(type_, f"fptosi {harmless} to {type_}")


def _between_integers(context: Context, node: nodes.Cast, operand: Cell) -> Value:
    """Return an integer, boolean or decimal as another, rescaled half away from zero."""
    f, from_, to = context.f, node.operand.type, node.type
    scale = from_.scale if isinstance(from_, Decimal) else 0
    wanted = to.scale if isinstance(to, Decimal) else 0
    bounds = integers.known(context, node.operand)
    cell = operand
    if operand.value.type == "i1":
        cell = Cell(f.resize(operand.value, "i8", signed=False), operand.valid)
    low, high = limits(to)
    if wanted > scale:
        factor = 10 ** (wanted - scale)
        step = Cell(integer(factor, f"i{bits_for(factor, factor)}"), adapts=True)
        return integers.arithmetic(context, "mul", (cell, bounds), (step, (factor, factor)), to)
    value = cell.value
    if wanted < scale:
        divisor = 10 ** (scale - wanted)
        half = divisor // 2
        bits = max(bits_of(value.type), bits_for(bounds[0] - half, bounds[1] + half))
        if bits > 64:
            raise Unsupported("rounding of 128-bit decimals")
        x = f.resize(value, f"i{bits}")
        below = f.compare("slt", x, integer(0, x.type))
        away = f.select(below, integer(-half, x.type), integer(half, x.type))
        value = f.op("sdiv", f.op("add", x, away), integer(divisor, x.type))
        bounds = _rounded(bounds[0], divisor), _rounded(bounds[1], divisor)
    context.flag(integers.outside(f, value, low, high, bounds))
    if bits_of(value.type) > bits_of(llvm_type(to)):
        return f.resize(value, llvm_type(to))
    return value


def _rounded(value: int, divisor: int) -> int:
    """Return an integer divided, half away from zero."""
    magnitude = (2 * abs(value) + divisor) // (2 * divisor)
    return -magnitude if value < 0 else magnitude
