"""Float arithmetic and comparisons: IEEE's, and SQL's with NaN as the greatest."""

from __future__ import annotations

from foveal.engine.compile.llvm.cells import Cell
from foveal.engine.compile.llvm.text import FALSE, Function, Value, integer, number

ARITHMETIC = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_ORDERED = {"feq": "oeq", "fne": "une", "flt": "olt", "fle": "ole", "fgt": "ogt", "fge": "oge"}


def ieee_compare(f: Function, op: str, x: Value, y: Value) -> Value:
    """Return an IEEE comparison: with NaN only `fne` is true."""
    return f.compare(_ORDERED[op], x, y)


def is_nan(f: Function, x: Value) -> Value:
    """Return whether a float is NaN; constants are decided here."""
    if x.text.startswith("0x"):
        bits = int(x.text, 16)
        exponent_full = bits >> 52 & 0x7FF == 0x7FF
        return Value("true", "i1") if exponent_full and bits & ((1 << 52) - 1) else FALSE
    return f.compare("uno", x, x)


def sql_compare(f: Function, op: str, x: Value, y: Value) -> Value:
    """Return SQL's comparison: a total order with NaN last, both zeros equal."""
    match op:
        case "eq":
            return f.either(f.compare("oeq", x, y), f.both(is_nan(f, x), is_nan(f, y)))
        case "ne":
            return f.negate(sql_compare(f, "eq", x, y))
        case "gt":
            return sql_compare(f, "lt", y, x)
        case "ge":
            return sql_compare(f, "le", y, x)
        case "le":
            return f.either(f.compare("ole", x, y), is_nan(f, y))
        case _:
            nan = is_nan(f, y)
            above = FALSE if nan == FALSE else f.both(nan, f.negate(is_nan(f, x)))
            return f.either(f.compare("olt", x, y), above)


def intrinsic(f: Function, name: str, *arguments: Value) -> Value:
    """Call an LLVM intrinsic of doubles or floats."""
    type_ = arguments[0].type
    suffix = "f64" if type_ == "double" else "f32"
    return f.call(type_, f"llvm.{name}.{suffix}", *arguments)


def as_double(f: Function, value: Value) -> Value:
    """Return a float as a double."""
    return f.convert("fpext", value, "double")


def rounded(f: Function, x: Value) -> Value:
    """Return a double rounded half away from zero."""
    return intrinsic(f, "round", x)


def sign(f: Function, x: Value) -> Value:
    """Return -1, 0 or 1 as i8; 0 of NaN."""
    zero = number(0.0, x.type)
    above = f.resize(f.compare("ogt", x, zero), "i8", signed=False)
    return f.op("sub", above, f.resize(f.compare("olt", x, zero), "i8", signed=False))


def order_key(f: Function, x: Value) -> Value:
    """Return a float as a signed i64 that sorts as SQL does: -0.0 is 0.0, NaN one and last."""
    wide = as_double(f, x)
    plain = f.op("fadd", wide, number(0.0))
    nan = is_nan(f, wide)
    if nan != FALSE:
        plain = f.select(nan, number(float("nan")), plain)
    bits = f.convert("bitcast", plain, "i64")
    flipped = f.op("and", f.op("ashr", bits, integer(63)), integer((1 << 63) - 1))
    return f.op("xor", bits, flipped)


def cell_double(f: Function, cell: Cell) -> Value:
    """Return a float cell's value as a double."""
    return as_double(f, cell.value)
