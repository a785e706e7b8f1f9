"""Constants as DuckDB types them: numbers, dates, timestamps, intervals; values of parameters."""

from __future__ import annotations

import datetime
import decimal
import math
import re
from calendar import monthrange
from dataclasses import dataclass

from foveal.planner.compiled.refusal import NotCompilable
from foveal.planner.compiled.syntax import Syntax
from foveal.planner.ir import typing
from foveal.planner.ir.nodes import Expr, Literal
from foveal.planner.ir.types import (
    BOOL,
    DATE,
    F64,
    I32,
    I64,
    I128,
    TIMESTAMP,
    Date,
    Decimal,
    Float,
    Int,
    Timestamp,
    Type,
    limits,
)

DAY = 86_400_000_000
"""Microseconds of a day."""
_EPOCH = datetime.date(1970, 1, 1)
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_TIMESTAMP = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[ T](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6}))?)?)?")
_FLOATS = {"nan": math.nan, "inf": math.inf, "infinity": math.inf, "-inf": -math.inf,
           "-infinity": -math.inf}  # fmt: skip
_UNITS = {"hour": 3_600_000_000, "minute": 60_000_000, "second": 1_000_000}


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer that is written out: it takes the type of what it meets, where it fits."""

    value: int


@dataclass(frozen=True, slots=True)
class Text:
    """A string that is written out: it is cast to the type of what it meets."""

    value: str


@dataclass(frozen=True, slots=True)
class Null:
    """NULL, of any type."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An INTERVAL: months, and days and microseconds apart, as DuckDB keeps them."""

    months: int = 0
    days: int = 0
    micros: int = 0


Loose = Whole | Text | Null | Interval
"""A constant whose type depends on what it meets."""


def number(text: str) -> Literal | Whole:
    """Return a written number: integers loose, 1.50 a DECIMAL(3, 2), 1e3 a DOUBLE."""
    if "e" in text.lower():
        return Literal(float(text), F64)
    whole, point, fraction = text.partition(".")
    if not point:
        return Whole(int(text))
    digits = sum(c.isdigit() for c in text)
    if digits > typing.MAX_DIGITS:
        return Literal(float(text), F64)
    stored = int(whole.lstrip("-") + fraction or "0")
    return Literal(-stored if text[0] == "-" else stored, Decimal(digits, len(fraction)))


def interval(node: Syntax) -> Interval:
    """Return a written interval."""
    n = int(node.parts[0].text)
    match node.text:
        case "year":
            return Interval(months=12 * n)
        case "month":
            return Interval(months=n)
        case "week":
            return Interval(days=7 * n)
        case "day":
            return Interval(days=n)
        case unit:
            return Interval(micros=n * _UNITS[unit])


def own_type(value: Whole) -> Int:
    """Return the type of a written integer by itself."""
    for type_ in (I32, I64, I128):
        low, high = limits(type_)
        if low <= value.value <= high:
            return type_
    raise NotCompilable("an integer of more than 128 bits")


def settled(value: Loose, other: Type | None, node: Syntax) -> Expr:
    """Return a loose constant as it meets a value of type `other` (None: nothing).

    Raises:
        NotCompilable: there is no such value of that type, or DuckDB would go by way of text.
    """
    match value:
        case Whole(n):
            if isinstance(other, Int):
                low, high = limits(other)
                if low <= n <= high:
                    return Literal(n, other)
            if isinstance(other, Float):
                return typing.literal(float(n), other)
            return Literal(n, own_type(value))
        case Null():
            return Literal(None, I32 if other is None else other)
        case Text(text) if isinstance(other, Date):
            return Literal(date(text, node), DATE)
        case Text(text) if isinstance(other, Timestamp):
            return Literal(timestamp(text, node), TIMESTAMP)
        case Text(text) if isinstance(other, Float) and text.lower() in _FLOATS:
            return Literal(_FLOATS[text.lower()], other)
        case _:
            raise NotCompilable("a constant of this type here", node.span)


def date(text: str, node: Syntax) -> int:
    """Return the days of a date written as DuckDB reads it without doubt, `YYYY-MM-DD`."""
    found = _DATE.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError(text)
        return (datetime.date(*(int(part) for part in found.groups())) - _EPOCH).days
    except ValueError:
        raise NotCompilable("a date of this form", node.span) from None


def timestamp(text: str, node: Syntax) -> int:
    """Return the microseconds of a timestamp written `YYYY-MM-DD[ HH:MM[:SS[.ffffff]]]`."""
    found = _TIMESTAMP.fullmatch(text.strip())
    if found is None:
        raise NotCompilable("a timestamp of this form", node.span)
    day, hour, minute, second, fraction = found.groups()
    h, m, s = int(hour or 0), int(minute or 0), int(second or 0)
    if h > 23 or m > 59 or s > 59:
        raise NotCompilable("a timestamp of this form", node.span)
    micros = ((h * 60 + m) * 60 + s) * 1_000_000 + int((fraction or "").ljust(6, "0"))
    return date(day, node) * DAY + micros


def shifted(point: Literal, by: Interval, sign: int, node: Syntax) -> Literal:
    """Return a constant date or timestamp plus (or minus) an interval: a timestamp, as in DuckDB.

    Months clip to the last day of theirs: January 31 and one month is the end of February.
    """
    assert isinstance(point.value, int)
    stored = point.value * (DAY if isinstance(point.type, Date) else 1)
    days, micros = divmod(stored, DAY)
    if by.months:
        try:
            at = _EPOCH + datetime.timedelta(days=days)
            year, month = divmod(at.year * 12 + at.month - 1 + sign * by.months, 12)
            last = monthrange(year, month + 1)[1]
            days = (datetime.date(year, month + 1, min(at.day, last)) - _EPOCH).days
        except (ValueError, OverflowError):
            raise NotCompilable("a date out of the calendar's range", node.span) from None
    out = (days + sign * by.days) * DAY + micros + sign * by.micros
    if not -(2**62) < out < 2**62:
        raise NotCompilable("a date out of the calendar's range", node.span)
    return Literal(out, TIMESTAMP)


def bound(value: object, node: Syntax) -> Literal | Null:
    """Return the value of a parameter with the type that DuckDB gives it."""
    match value:
        case None:
            return Null()
        case bool():
            return Literal(value, BOOL)
        case int():
            return Literal(value, own_type(Whole(value)))
        case float():
            return Literal(value, F64)
        case decimal.Decimal() if value.is_finite():
            found = number(format(value, "f"))
            return found if isinstance(found, Literal) else Literal(found.value, I32)
        case datetime.datetime() if value.tzinfo is None:
            since = value - datetime.datetime(1970, 1, 1)
            micros = since // datetime.timedelta(microseconds=1)
            return Literal(micros, TIMESTAMP)
        case datetime.date() if not isinstance(value, datetime.datetime):
            return Literal((value - _EPOCH).days, DATE)
        case _:
            raise NotCompilable(f"a parameter of type {type(value).__name__}", node.span)
