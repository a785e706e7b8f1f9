"""Parts of dates and timestamps, in the proleptic Gregorian calendar.

Source: civil_from_days, Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
"""

from __future__ import annotations

from foveal.engine.compile.llvm.cells import Cell, Context, widened
from foveal.engine.compile.llvm.text import Function, Value, integer
from foveal.planner.ir import nodes, types

DAY = 86_400_000_000
"""Microseconds of a day."""
FINITE_DATE = (1 << 31) - 2
FINITE_TIMESTAMP = (-9223372022400000000, (1 << 63) - 2)
EPOCH = 719_468
"""Days from 0000-03-01 to 1970-01-01."""
ERA = 146_097
"""Days of 400 years."""


def finite_limits(type_: types.Type) -> tuple[int, int] | None:
    """Return the first and last stored integer that is not infinite; None: all are finite."""
    match type_:
        case types.Date():
            return -FINITE_DATE, FINITE_DATE
        case types.Timestamp():
            return FINITE_TIMESTAMP
        case _:
            return None


def flag_infinite(context: Context, x: nodes.Expr, cell: Cell) -> None:
    """Flag rows whose date or timestamp is infinite: neither arithmetic nor parts know them."""
    finite, bounds = finite_limits(x.type), context.facts.range(x)
    if finite is None or bounds is None or (finite[0] <= bounds[0] and bounds[1] <= finite[1]):
        return
    f = context.f
    value = f.resize(cell.value, "i32" if isinstance(x.type, types.Date) else "i64")
    context.flag(
        f.either(
            f.compare("slt", value, integer(finite[0], value.type)),
            f.compare("sgt", value, integer(finite[1], value.type)),
        )
    )


def _divide(f: Function, value: Value, divisor: int) -> Value:
    """Return a non-negative value divided, as unsigned."""
    return f.op("udiv", value, integer(divisor, value.type))


def _times(f: Function, value: Value, factor: int) -> Value:
    return f.op("mul", value, integer(factor, value.type))


def _floor(f: Function, value: Value, divisor: int) -> tuple[Value, Value]:
    """Return floor(value / divisor) and the remainder, of signed values."""
    quotient = f.op("sdiv", value, integer(divisor, value.type))
    rest = f.op("sub", value, _times(f, quotient, divisor))
    below = f.compare("slt", rest, integer(0, value.type))
    quotient = f.op("sub", quotient, f.resize(below, value.type, signed=False))
    rest = f.select(below, f.op("add", rest, integer(divisor, value.type)), rest)
    return quotient, rest


def part(context: Context, node: nodes.Unary, operand: Cell) -> Value:
    """Return a part of a date or timestamp as i64."""
    flag_infinite(context, node.operand, operand)
    f, op = context.f, node.op
    stamp = widened(f, operand, 64)
    if isinstance(node.operand.type, types.Timestamp):
        days, micros = _floor(f, stamp, DAY)
    else:
        days, micros = stamp, integer(0)
    match op:
        case "hour":
            return _divide(f, micros, 3_600_000_000)
        case "minute":
            return f.op("urem", _divide(f, micros, 60_000_000), integer(60))
        case "second":
            return f.op("urem", _divide(f, micros, 1_000_000), integer(60))
        case "dayofweek":
            return _floor(f, f.op("add", days, integer(4)), 7)[1]
        case _:
            return _civil(f, op, days)


def _civil(f: Function, op: str, days: Value) -> Value:
    """Return year, month, day, quarter or dayofyear of days since 1970."""
    era, of_era = _floor(f, f.op("add", days, integer(EPOCH)), ERA)
    leaps = f.op("sub", of_era, _divide(f, of_era, 1460))
    leaps = f.op("add", leaps, _divide(f, of_era, 36_524))
    leaps = f.op("sub", leaps, _divide(f, of_era, ERA - 1))
    year_of_era = _divide(f, leaps, 365)
    before = f.op("sub", _times(f, year_of_era, 365), _divide(f, year_of_era, 100))
    before = f.op("add", before, _divide(f, year_of_era, 4))
    of_year = f.op("sub", of_era, before)  # from March 1
    shifted = _divide(f, f.op("add", _times(f, of_year, 5), integer(2)), 153)
    late = f.compare("ult", shifted, integer(10))
    month = f.op("add", shifted, f.select(late, integer(3), integer(-9)))
    if op == "day":
        first = _divide(f, f.op("add", _times(f, shifted, 153), integer(2)), 5)
        return f.op("add", f.op("sub", of_year, first), integer(1))
    if op == "month":
        return month
    if op == "quarter":
        return _divide(f, f.op("add", month, integer(2)), 3)
    year = f.op("add", year_of_era, _times(f, era, 400))
    year = f.op("add", year, f.select(late, integer(0), integer(1)))
    if op == "year":
        return year
    return _day_of_year(f, of_year, late, year)


def _day_of_year(f: Function, of_year: Value, late: Value, year: Value) -> Value:
    """Return the day of the year from the day since March 1."""
    by_4 = f.compare("eq", f.op("and", year, integer(3)), integer(0))
    by_100 = f.compare("eq", f.op("srem", year, integer(100)), integer(0))
    by_400 = f.compare("eq", f.op("srem", year, integer(400)), integer(0))
    leap = f.both(by_4, f.either(f.negate(by_100), by_400))
    march = f.op("add", f.resize(leap, "i64", signed=False), integer(60))
    return f.op("add", of_year, f.select(late, march, integer(-305)))
