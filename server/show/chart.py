"""Numbers over time as a chart: result rows and intervals in, shapes on a plane out.

The shapes are drawn by `svg` or `sheet`; here nothing is drawn, only placed. Coordinates are pixels
from the top left corner.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, cast

from foveal import types

if TYPE_CHECKING:
    import pyarrow as pa

    from foveal.result_set import Description, Row

WIDTH, HEIGHT = 960, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 24, 20, 52
TEXT = 13

Point = tuple[float, float]
Bounds = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """One line: `points` ascend in x; `bands[i]` is the interval of point i, None without one."""

    name: str
    points: tuple[Point, ...]
    bands: tuple[Bounds | None, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """What is to be drawn. `calendar` says that x is seconds since 1970 and not a plain number."""

    x_name: str
    y_name: str
    series: tuple[Series, ...]
    calendar: bool

    @property
    def banded(self) -> bool:
        """Whether some point has an interval."""
        return any(band is not None for one in self.series for band in one.bands)


@dataclass(frozen=True, slots=True)
class Shape:
    """A thing to draw. `kind`: line, area, dot or text; `role`: ink, grid, or a series' number.

    A text has one point, and `anchor` says which part of it stands there.
    """

    kind: str
    role: str
    points: tuple[Point, ...]
    text: str = ""
    anchor: str = "start"


def over_time(description: Sequence[Description]) -> bool:
    """Whether the first column can be an axis of time and another one holds numbers to draw."""
    if len(description) < 2:
        return False
    first = description[0][1]
    timely = first == types.DATETIME or (first == types.NUMBER and first != "BOOLEAN")
    return timely and bool(_number_columns(description))


def read_chart(
    description: Sequence[Description], rows: Sequence[Row], intervals: pa.Table | None
) -> Chart:
    """Return the chart of rows: the first column across, every other column of numbers up.

    A column of text cuts the rows into a line for each of its values. `intervals` are those of the
    statement's report, by the number of the row and the name of the column.
    """
    calendar = description[0][1] == types.DATETIME
    kept = [(number, row) for number, row in enumerate(rows) if row[0] is not None]
    kept.sort(key=lambda pair: _place(pair[1][0]))
    ups = _number_columns(description)
    texts = [
        i for i, (_, code, *_) in enumerate(description) if i and i not in ups and code == "VARCHAR"
    ]
    known = _intervals(intervals)
    lines: dict[str, list[tuple[Point, Bounds | None]]] = {}
    for number, row in kept:
        group = " ".join(str(row[i]) for i in texts)
        for i in ups:
            value = row[i]
            if value is None or not math.isfinite(float(value)):
                continue
            own = description[i][0] if len(ups) > 1 or not texts else ""
            name = " ".join(part for part in (group, own) if part)
            point = (_place(row[0]), float(value))
            lines.setdefault(name, []).append((point, known.get((number, description[i][0]))))
    y_name = description[ups[0]][0] if len(ups) == 1 else ""
    series = tuple(
        Series(name, tuple(p for p, _ in pairs), tuple(b for _, b in pairs))
        for name, pairs in lines.items()
    )
    return Chart(description[0][0], y_name, series, calendar)


def _intervals(table: pa.Table | None) -> dict[tuple[int, str], Bounds]:
    """Return the ends of each interval by its row's number and its column's name."""
    if table is None:
        return {}
    rows = cast("list[Mapping[str, Any]]", table.to_pylist())
    return {
        (int(row["row"]), str(row["column"])): (float(row["low"]), float(row["high"]))
        for row in rows
        if row["low"] is not None and row["high"] is not None
    }


def _number_columns(description: Sequence[Description]) -> list[int]:
    return [
        i
        for i, (_, code, *_) in enumerate(description)
        if i and code == types.NUMBER and code != "BOOLEAN"
    ]


def _place(value: object) -> float:
    """Return where a value of the first column stands on its axis."""
    match value:
        case datetime():
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        case date():
            return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
        case time():
            return value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6
        case timedelta():
            return value.total_seconds()
        case _:
            return float(cast("float", value))


def lay_out(chart: Chart, *, width: int = WIDTH, height: int = HEIGHT) -> list[Shape]:
    """Return the chart's shapes on a plane of `width` x `height` pixels, back to front."""
    every = [point for one in chart.series for point in one.points]
    ends = [end for one in chart.series for band in one.bands if band is not None for end in band]
    xs, ys = [x for x, _ in every], [y for _, y in every] + ends
    x_low, x_high = _range(min(xs, default=0.0), max(xs, default=1.0))
    y_low, y_high = _range(min(0.0, *ys) if ys else 0.0, max(ys, default=1.0))
    y_ticks = ticks(y_low, y_high, 6)
    y_high = max(y_high, y_ticks[-1])
    right, bottom = width - _RIGHT, height - _BOTTOM

    def place(x: float, y: float) -> Point:
        return (
            _LEFT + (x - x_low) / (x_high - x_low) * (right - _LEFT),
            bottom - (y - y_low) / (y_high - y_low) * (bottom - _TOP),
        )

    shapes: list[Shape] = []
    for y in y_ticks:
        _, at = place(x_low, y)
        shapes.append(Shape("line", "grid", ((_LEFT, at), (right, at))))
        shapes.append(Shape("text", "ink", ((_LEFT - 8, at + 4),), _tick_text(y, y_ticks), "end"))
    across = calendar_ticks(x_low, x_high) if chart.calendar else ticks(x_low, x_high, 9)
    for x in across:
        at, _ = place(x, y_low)
        shapes.append(Shape("line", "ink", ((at, bottom), (at, bottom + 5))))
        text = _moment_text(x, across) if chart.calendar else _tick_text(x, across)
        shapes.append(Shape("text", "ink", ((at, bottom + 20),), text, "middle"))
    shapes.append(Shape("line", "ink", ((_LEFT, bottom), (right, bottom))))
    shapes.append(
        Shape("text", "ink", (((_LEFT + right) / 2, height - 10),), chart.x_name, "middle")
    )
    if chart.y_name:
        shapes.append(Shape("text", "ink", ((8, _TOP - 6),), chart.y_name))
    for number, one in enumerate(chart.series):
        shapes += _drawn(one, str(number), place)
    if len(chart.series) > 1:
        for number, one in enumerate(chart.series[:12]):
            top = _TOP + 8 + number * 18
            shapes.append(Shape("line", str(number), ((right - 24, top), (right, top))))
            shapes.append(Shape("text", "ink", ((right - 30, top + 4),), one.name, "end"))
    return shapes


def _drawn(one: Series, role: str, place: Any) -> list[Shape]:
    """Return a series' shapes: bands (alone a point has a whisker), line and dots."""
    shapes: list[Shape] = []
    pairs = list(zip(one.points, one.bands, strict=True))
    run: list[tuple[float, Bounds]] = []
    for (x, _), band in [*pairs, ((0.0, 0.0), None)]:
        if band is not None:
            run.append((x, band))
            continue
        if len(run) > 1:
            upper = [place(x, high) for x, (_, high) in run]
            lower = [place(x, low) for x, (low, _) in reversed(run)]
            shapes.append(Shape("area", role, (*upper, *lower)))
        else:
            shapes += [Shape("line", role, (place(x, a), place(x, b))) for x, (a, b) in run]
        run = []
    if len(one.points) > 1:
        shapes.append(Shape("line", role, tuple(place(*point) for point in one.points)))
    if len(one.points) <= 200:
        shapes += [Shape("dot", role, (place(*point),)) for point in one.points]
    return shapes


def _range(low: float, high: float) -> Bounds:
    """Return a range that is not empty."""
    if high > low:
        return low, high
    half = abs(high) / 2 or 0.5
    return low - half if low else 0.0, high + half


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return about `most` round numbers between two, at least one.

    >>> ticks(0, 9.3, 6)
    [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step *= next(f for f in (1, 2, 5, 10, 20) if (high - low) / (step * f) <= most)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)] or [low]


_CALENDAR_STEPS = (
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200),
    *(86400, 172800, 604800, 1209600, 2592000, 7776000, 31536000),
)


def calendar_ticks(low: float, high: float) -> list[float]:
    """Return moments (seconds since 1970) at round seconds, minutes, hours or days between two."""
    if high - low < 8:
        return ticks(low, high, 8)
    step = next((s for s in _CALENDAR_STEPS if (high - low) / s <= 8), _CALENDAR_STEPS[-1])
    first = math.ceil(low / step)
    return [float(n * step) for n in range(first, math.floor(high / step) + 1)] or [low]


def _tick_text(value: float, among: Sequence[float]) -> str:
    step = among[1] - among[0] if len(among) > 1 else abs(value) or 1.0
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{places}f}" if abs(value) < 1e15 and places < 10 else f"{value:g}"


def _moment_text(value: float, among: Sequence[float]) -> str:
    moment = datetime.fromtimestamp(value, UTC)
    step = among[1] - among[0] if len(among) > 1 else 1.0
    if step >= 86400:
        return moment.strftime("%Y-%m-%d")
    clock = moment.strftime("%H:%M" if step >= 60 else "%H:%M:%S")
    crosses = (
        datetime.fromtimestamp(among[0], UTC).date()
        != datetime.fromtimestamp(among[-1], UTC).date()
    )
    return moment.strftime("%m-%d ") + clock if crosses else clock
