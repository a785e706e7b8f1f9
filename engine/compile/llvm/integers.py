"""Checked integer arithmetic: of integers, decimals, dates and timestamps as stored integers.

Where facts show that the exact result fits the type, it is computed plainly, in the narrowest
width that holds it; else in a wider one and compared with the limits, or by detecting the carry.
No instruction carries nsw or nuw: rows that do not count may wrap.
"""

from __future__ import annotations

from foveal.engine.compile.llvm.cells import (
    MAX_EXACT_BITS,
    Cell,
    Context,
    Unsupported,
    bits_for,
    llvm_type,
    widened,
    width_of,
)
from foveal.engine.compile.llvm.text import FALSE, Function, Value, bits_of, integer
from foveal.planner.ir import nodes, types
from foveal.planner.ir.types import limits

Interval = tuple[int, int]


def known(context: Context, x: nodes.Expr) -> Interval:
    """Return an expression's bounds; of booleans 0 and 1."""
    return context.facts.range(x) or limits(x.type)


def add_sub_mul(context: Context, node: nodes.Binary, left: Cell, right: Cell) -> Value:
    """Return a sum, difference or product; flags what does not fit the node's type."""
    a, b = known(context, node.left), known(context, node.right)
    return arithmetic(context, node.op, (left, a), (right, b), node.type)


def arithmetic(
    context: Context,
    op: str,
    left: tuple[Cell, Interval],
    right: tuple[Cell, Interval],
    type_: types.Type,
) -> Value:
    """Return an operation on cells with bounds; flags what does not fit `type_`."""
    f, (x, a), (y, b) = context.f, left, right
    exact = _exact(op, a, b)
    low, high = limits(type_)
    asked = max(width_of(x, a), width_of(y, b))
    fits = low <= exact[0] and exact[1] <= high
    if fits:
        bits = max(asked, bits_for(*exact))
        return _plain(f, op, bits, (x, a), (y, b))
    natural = bits_of(llvm_type(type_))
    try:
        needed = max(asked, bits_for(*exact))
    except Unsupported:
        needed = 2 * MAX_EXACT_BITS
    if needed <= max(natural, 64):
        value = _plain(f, op, needed, (x, a), (y, b))
        context.flag(_outside(f, value, low, high, exact))
        return f.resize(value, f"i{natural}") if natural < needed else value
    bits = max(natural, asked)
    if bits == 128 and op == "mul":
        if needed > MAX_EXACT_BITS:
            raise Unsupported("a product of 128-bit integers that may overflow")
        value = _plain(f, op, 128, (x, a), (y, b))
        context.flag(_outside(f, value, low, high, exact))
        return value
    u, v = widened(f, x, bits), widened(f, y, bits)
    if op == "mul":
        pair = f.call(f"{{ i{bits}, i1 }}", f"llvm.smul.with.overflow.i{bits}", u, v)
        value = f.emit(f"i{bits}", f"extractvalue {pair}, 0")
        context.flag(f.emit("i1", f"extractvalue {pair}, 1"))
    else:
        # By hand: the vectoriser leaves loops with llvm.sadd.with.overflow alone.
        value = f.op(op, u, v)
        moved = f.op("xor", u, value)
        other = f.op("xor", v, value) if op == "add" else f.op("xor", u, v)
        context.flag(f.compare("slt", f.op("and", moved, other), integer(0, f"i{bits}")))
    if (low, high) != (-(1 << (bits - 1)), (1 << (bits - 1)) - 1):
        context.flag(_outside(f, value, low, high, None))
    return value


def _exact(op: str, a: Interval, b: Interval) -> Interval:
    """Return the bounds of the exact result."""
    if op == "add":
        return a[0] + b[0], a[1] + b[1]
    if op == "sub":
        return a[0] - b[1], a[1] - b[0]
    corners = [x * y for x in a for y in b]
    return min(corners), max(corners)


def _plain(
    f: Function, op: str, bits: int, left: tuple[Cell, Interval], right: tuple[Cell, Interval]
) -> Value:
    """Return the operation in some bits, without a check."""
    values: list[Value] = []
    for cell, interval in (left, right):
        value = cell.value
        if op == "mul" and bits == 64 and value.type == "i64" and bits_for(*interval) <= 32:
            # So LLVM sees that a 32 x 32 -> 64 multiply will do; vectors of 64 x 64 are slow.
            value = f.resize(value, "i32")
        values.append(f.resize(value, f"i{bits}"))
    return f.op(op, values[0], values[1])


def _outside(f: Function, value: Value, low: int, high: int, exact: Interval | None) -> Value:
    """Return whether a value is not in low .. high; sides that `exact` excludes are left out."""
    below = above = FALSE
    if exact is None or exact[0] < low:
        below = f.compare("slt", value, integer(low, value.type))
    if exact is None or exact[1] > high:
        above = f.compare("sgt", value, integer(high, value.type))
    return f.either(below, above)


def outside(f: Function, value: Value, low: int, high: int, exact: Interval) -> Value:
    """Return whether a value within `exact` is not in low .. high."""
    return _outside(f, value, low, high, exact)


def divide(context: Context, node: nodes.Binary, left: Cell, right: Cell) -> Value:
    """Return the truncated quotient or the remainder; flags 0 and what overflows."""
    f = context.f
    a, b = known(context, node.left), known(context, node.right)
    bits = max(width_of(left, a), width_of(right, b))
    if bits > 64:
        raise Unsupported("division of 128-bit integers")
    x, y = widened(f, left, bits), widened(f, right, bits)
    zero = FALSE
    if b[0] <= 0 <= b[1]:
        zero = f.compare("eq", y, integer(0, y.type))
        context.flag(zero)
    lowest = limits(node.type)[0]
    bottom = -(1 << (bits - 1))
    overflow = FALSE
    if b[0] <= -1 <= b[1] and a[0] <= max(lowest, bottom):
        # In the node's width the quotient does not fit; in the machine's it traps.
        at_bottom = f.compare("eq", x, integer(max(lowest, bottom), x.type))
        overflow = f.both(at_bottom, f.compare("eq", y, integer(-1, y.type)))
        if a[0] <= lowest and not isinstance(node.type, types.Decimal):
            context.flag(overflow)
    # Invalid rows hold 0, whatever the bounds say of valid ones.
    if right.valid.text != "true" and zero == FALSE:
        zero = f.compare("eq", y, integer(0, y.type))
    harmless = f.select(f.either(zero, overflow), integer(1, y.type), y)
    return f.op("sdiv" if node.op == "idiv" else "srem", x, harmless)


def negate(context: Context, node: nodes.Unary, operand: Cell) -> Value:
    """Return 0 - x; the smallest integer raises."""
    zero = Cell(integer(0, "i8"), adapts=True)
    bounds = known(context, node.operand)
    return arithmetic(context, "sub", (zero, (0, 0)), (operand, bounds), node.type)


def absolute(context: Context, node: nodes.Unary, operand: Cell) -> Value:
    """Return |x|; the smallest integer raises."""
    f = context.f
    if known(context, node.operand)[0] >= 0:
        return operand.value
    flags = len(context.flags)
    value = negate(context, node, operand)
    x = f.resize(operand.value, value.type)
    below = f.compare("slt", x, integer(0, x.type))
    # -x overflows only where x is negative: at the smallest.
    context.flags[flags:] = [
        type(flag)(f.both(flag.condition, below), flag.code) for flag in context.flags[flags:]
    ]
    return f.select(below, value, x)


def compare(context: Context, op: str, node: nodes.Binary, left: Cell, right: Cell) -> Value:
    """Return an integer comparison, in the narrowest width that both sides have anyway."""
    f = context.f
    predicate = {"eq": "eq", "ne": "ne", "lt": "slt", "le": "sle", "gt": "sgt", "ge": "sge"}[op]
    if left.value.type == "i1" and right.value.type == "i1":
        return f.compare(predicate.replace("s", "u"), left.value, right.value)
    u, v = align(context, (left, node.left), (right, node.right))
    return f.compare(predicate, u, v)


def align(context: Context, *cells: tuple[Cell, nodes.Expr]) -> list[Value]:
    """Return integer cells in one width that holds them all."""
    bits = max(width_of(cell, context.facts.range(x)) for cell, x in cells)
    return [widened(context.f, cell, bits) for cell, _ in cells]


def bitwise(context: Context, node: nodes.Binary, left: Cell, right: Cell) -> Value:
    """Return and, or, xor and shifts, in the width of the type."""
    f, type_ = context.f, llvm_type(node.type)
    x, y = f.resize(left.value, type_), f.resize(right.value, type_)
    if node.op in ("bitand", "bitor", "bitxor"):
        return f.op(node.op[3:], x, y)
    return _shift(context, node, x, y)


def _shift(context: Context, node: nodes.Binary, x: Value, y: Value) -> Value:
    """Return a shift; left shifts that lose bits, and negative counts, raise."""
    f, type_ = context.f, x.type
    machine = types.physical(node.type)
    assert isinstance(machine, types.Int)
    count = integer(machine.bits, type_)
    too_far = f.compare("uge", y, count)
    harmless = f.select(too_far, integer(0, type_), y)
    if node.op == "shr":
        shifted = f.op("ashr", x, harmless)
        return f.select(too_far, integer(0, type_), shifted)
    negative = f.either(
        f.compare("slt", x, integer(0, type_)), f.compare("slt", y, integer(0, type_))
    )
    value = f.op("shl", x, harmless)
    lost = f.compare("ne", f.op("ashr", value, harmless), x)
    some = f.compare("ne", x, integer(0, type_))
    _, high = limits(node.type)
    wide = f.compare("sgt", value, integer(high, type_))
    context.flag(f.either(negative, f.both(some, too_far), lost, wide))
    return f.select(too_far, integer(0, type_), value)
