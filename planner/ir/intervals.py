"""Interval arithmetic over stored integers: bounds in, bounds out, exact in Python integers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np

from foveal.planner.ir.types import Date, Int, Timestamp, Type, limits

Interval: TypeAlias = tuple[int, int]

DAY = 86_400_000_000
"""Microseconds of a day."""
_PARTS: dict[str, Interval] = {
    "month": (1, 12), "day": (1, 31), "quarter": (1, 4), "dayofweek": (0, 6),
    "dayofyear": (1, 366), "hour": (0, 23), "minute": (0, 59), "second": (0, 59),
}  # fmt: skip


def finite_limits(type_: Type) -> Interval:
    """Return the limits of results: a type's, without the infinities of dates and timestamps.

    DuckDB's finite dates end two short of 32 bits; its timestamps begin at the first midnight whose
    day 64 bits hold.

    Raises:
        TypeError: of a Float.
    """
    match type_:
        case Date():
            return -(1 << 31) + 2, (1 << 31) - 2
        case Timestamp():
            return -9223372022400000000, (1 << 63) - 2
        case _:
            return limits(type_)


def within(x: Interval, outer: Interval) -> bool:
    """Say whether one interval lies in another."""
    return outer[0] <= x[0] and x[1] <= outer[1]


def clipped(x: Interval, outer: Interval) -> Interval:
    """Return what of an interval lies in another; of disjoint ones the nearest point."""
    low = min(max(x[0], outer[0]), outer[1])
    return low, max(min(x[1], outer[1]), low)


def union(*parts: Interval) -> Interval:
    """Return the least interval around all."""
    return min(p[0] for p in parts), max(p[1] for p in parts)


def _corners(values: Iterable[int]) -> Interval:
    """Return the interval of some values."""
    kept = list(values)
    return min(kept), max(kept)


def _product(a: Interval, b: Interval) -> Interval:
    return _corners(x * y for x in a for y in b)


def truncated(a: int, b: int) -> int:
    """Return a / b rounded toward zero."""
    quotient = abs(a) // abs(b)
    return -quotient if (a < 0) != (b < 0) else quotient


def _quotient(a: Interval, b: Interval) -> Interval:
    """Return bounds of the truncating division where the divisor is not zero."""
    divisors = [d for d in (*b, -1, 1) if d and b[0] <= d <= b[1]]
    if not divisors:
        return 0, 0
    return _corners(
        truncated(x, d) for x in (*a, *([0] if a[0] <= 0 <= a[1] else [])) for d in divisors
    )


def _remainder(a: Interval, b: Interval) -> Interval:
    """Return bounds of the remainder, which has the dividend's sign."""
    most = max(max(abs(b[0]), abs(b[1])) - 1, 0)
    return max(min(a[0], 0), -most), min(max(a[1], 0), most)


def _bitand(a: Interval, b: Interval) -> Interval:
    tops = [x[1] for x in (a, b) if x[0] >= 0]
    if tops:
        return 0, min(tops)
    return _signed_bits(a, b)


def _bits_of_either(a: Interval, b: Interval) -> Interval:
    if a[0] >= 0 and b[0] >= 0:
        return 0, (1 << max(a[1], b[1]).bit_length()) - 1
    return _signed_bits(a, b)


def _signed_bits(a: Interval, b: Interval) -> Interval:
    """Return the integers of as many bits as the operands need."""
    bits = max(v.bit_length() if v >= 0 else (~v).bit_length() for v in (*a, *b))
    return -(1 << bits), (1 << bits) - 1


ARITHMETIC: dict[str, Callable[[Interval, Interval], Interval]] = {
    "add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "mul": _product,
    "idiv": _quotient,
    "mod": _remainder,
    "bitand": _bitand,
    "bitor": _bits_of_either,
    "bitxor": _bits_of_either,
}


def shifted_left(a: Interval, b: Interval, type_: Int) -> tuple[Interval, bool]:
    """Return the bounds of a left shift, and whether it can raise."""
    fits = a[0] >= 0 and b[0] >= 0 and b[1] < type_.bits
    if fits and a[1] << b[1] <= limits(type_)[1]:
        return (a[0] << b[0], a[1] << b[1]), False
    return (0, limits(type_)[1]), True


def shifted_right(a: Interval, b: Interval, type_: Int) -> Interval:
    """Return the bounds of a right shift, which gives 0 for shifts beyond the bits."""
    if b[0] >= 0 and b[1] < type_.bits:
        return _corners(x >> s for x in a for s in b)
    return min(a[0], 0), max(a[1], 0)


def negated(a: Interval) -> Interval:
    """Return the bounds of the opposite."""
    return -a[1], -a[0]


def magnitude(a: Interval) -> Interval:
    """Return the bounds of the absolute value."""
    if a[0] <= 0 <= a[1]:
        return 0, max(-a[0], a[1])
    return _corners(abs(v) for v in a)


def sign(a: Interval) -> Interval:
    """Return the bounds of the sign."""
    return (a[0] > 0) - (a[0] < 0), (a[1] > 0) - (a[1] < 0)


def part(op: str, a: Interval, type_: Type) -> Interval:
    """Return the bounds of a part of finite dates or timestamps."""
    a = clipped(a, finite_limits(type_))
    if op in ("hour", "minute", "second") and isinstance(type_, Date):
        return 0, 0
    if op != "year":
        return _PARTS[op]
    days = np.array(a, np.int64) // (DAY if isinstance(type_, Timestamp) else 1)
    years = days.astype("M8[D]").astype("M8[Y]").astype(np.int64) + 1970
    return int(years[0]), int(years[1])


def decided(op: str, a: Interval, b: Interval) -> bool | None:
    """Return what a comparison always gives; None: the bounds do not decide it."""
    match op:
        case "gt":
            return decided("lt", b, a)
        case "ge":
            return decided("le", b, a)
        case "lt":
            return True if a[1] < b[0] else False if a[0] >= b[1] else None
        case "le":
            return True if a[1] <= b[0] else False if a[0] > b[1] else None
        case "ne":
            equal = decided("eq", a, b)
            return None if equal is None else not equal
        case _:
            if a[1] < b[0] or b[1] < a[0]:
                return False
            return True if a[0] == a[1] == b[0] == b[1] else None


def rescaled(a: Interval, from_scale: int, to_scale: int) -> Interval:
    """Return the bounds after a change of scale, rounding half away from zero."""
    if to_scale >= from_scale:
        factor = 10 ** (to_scale - from_scale)
        return a[0] * factor, a[1] * factor
    divisor = 10 ** (from_scale - to_scale)
    low, high = ((2 * abs(v) + divisor) // (2 * divisor) * (-1 if v < 0 else 1) for v in a)
    return low, high
