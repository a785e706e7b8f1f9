"""The range of an aggregated expression holds every value that the expression can take."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import DataError, Span
from foveal.planner.bounds import bounds_of
from foveal.planner.protocols import DetectorInfo, Profile, VideoFacts, VideoTable

TABLE = VideoTable(
    "street",
    DetectorInfo("pool", "heatmap", "k", ("car",), 64, 96, confidence=0.4),
    20,
    (
        VideoFacts("a.mp4", 900, 90.0, 96, 48, 12.0, 0),
        VideoFacts("b.mp4", 600, 120.0, 80, 64, 12.0, 0),
    ),
    Profile(decode_frame=0.001, seek=0.006, detect_frame=0.04),
)
SPAN = Span(7, 21)

Row = Mapping[str, float]


def found(expression: str, table: VideoTable = TABLE) -> tuple[float, float]:
    return bounds_of(expression, None, None, table, SPAN)


@pytest.mark.parametrize(
    ("expression", "low", "high"),
    [
        ("xmin", 0, 96),
        ("XMAX", 0, 96),
        ("ymin", 0, 64),
        ("s.ymax", 0, 64),
        ("confidence", 0, 1),
        ("ts", 0, 120),
        ("frame", 0, 900),
        ("2.5", 2.5, 2.5),
        ("-3", -3, -3),
        ("(xmax)", 0, 96),
        ("xmax AS width", 0, 96),
        ("xmax - xmin", -96, 96),
        ("xmin + 4", 4, 100),
        ("(xmax - xmin) * (ymax - ymin)", -96 * 64, 96 * 64),
        ("confidence * -2", -2, 0),
        ("xmin / 4", 0, 24),
        ("10 / (confidence + 1)", 5, 10),
        ("xmin / (confidence - 3)", -48, 0),
        ("abs(xmax - xmin)", 0, 96),
        ("abs(confidence + 2)", 2, 3),
        ("abs(confidence - 5)", 4, 5),
        ("-confidence", -1, 0),
        ("class = 'car'", 0, 1),
        ("class <> 'car'", 0, 1),
        ("class IN ('car', 'bus')", 0, 1),
        ("class LIKE 'c%' AND xmin < 9 OR NOT ymin >= 2", 0, 1),
        ("class IS NULL", 0, 1),
        ("frame BETWEEN 3 AND 9", 0, 1),
        ("TRUE", 0, 1),
        ("(class = 'car')::INT", 0, 1),
        ("CAST(xmin > 4 AS DOUBLE) * 3", 0, 3),
    ],
)
def test_range(expression: str, low: float, high: float) -> None:
    assert found(expression) == (low, high)


@pytest.mark.parametrize(
    "expression",
    [
        "trackid",
        "zone",
        "'7'",
        "sqrt(xmin)",
        "frame % 7",
        "CASE WHEN class = 'car' THEN 1 END",
        "xmin / (xmax - 3)",  # the divisor may be 0
        "1 / confidence",
        "xmin + zone",
        "zone - xmin",
        "-zone",
        "abs(zone)",
        "xmin::TINYINT",  # rounds, and may fail
        "(class = 'car')::VARCHAR",
        "1e200 * 1e200",
        "1e308 + 1e308",
        "-1e308 - 1e308",
        "1e999",
        "xmin +",
        "'unclosed",
    ],
)
def test_what_nothing_bounds_is_refused(expression: str) -> None:
    with pytest.raises(DataError, match="is not known, so no error bound holds") as caught:
        found(expression)
    assert caught.value.sqlstate == "22023"
    assert caught.value.span == SPAN
    assert "BOUNDS (lowest, highest)" in (caught.value.hint or "")


def test_declared_bounds_win() -> None:
    assert bounds_of("zone", -2, 7, TABLE, SPAN) == (-2, 7)
    assert bounds_of("xmin", 5, 6, TABLE, SPAN) == (5, 6)


def test_a_table_without_videos_bounds_by_nothing() -> None:
    empty = replace(TABLE, videos=())
    for column in ("xmin", "ymax", "ts", "frame"):
        assert found(column, empty) == (0, 0)


@dataclass(frozen=True)
class Term:
    """SQL text, and what it computes of a row."""

    text: str
    value: Callable[[Row], float]


CEILINGS = {"xmin": 96, "xmax": 96, "ymin": 64, "ymax": 64, "confidence": 1, "ts": 120}


def column(name: str) -> Term:
    return Term(name, lambda row: row[name])


def constant(value: int) -> Term:
    return Term(f"({value})", lambda _: float(value))


def grown(inner: st.SearchStrategy[Term]) -> st.SearchStrategy[Term]:
    def pair(symbol: str, compute: Callable[[float, float], float]) -> st.SearchStrategy[Term]:
        def joined(a: Term, b: Term) -> Term:
            text = f"({a.text} {symbol} {b.text})"
            return Term(text, lambda row: compute(a.value(row), b.value(row)))

        return st.builds(joined, inner, inner)

    def single(shape: str, compute: Callable[[float], float]) -> st.SearchStrategy[Term]:
        def wrapped(a: Term) -> Term:
            return Term(shape.format(a.text), lambda row: compute(a.value(row)))

        return st.builds(wrapped, inner)

    return st.one_of(
        pair("+", lambda a, b: a + b),
        pair("-", lambda a, b: a - b),
        pair("*", lambda a, b: a * b),
        pair("/", lambda a, b: a / b if b else math.nan),
        pair("<", lambda a, b: float(a < b)),
        single("-{}", lambda a: -a),
        single("abs({})", abs),
        single("({} > 1)::INT", lambda a: float(a > 1)),
    )


TERMS = st.recursive(
    st.sampled_from(sorted(CEILINGS)).map(column) | st.integers(-9, 9).map(constant),
    grown,
    max_leaves=8,
)
ROWS = st.fixed_dictionaries(
    {name: st.floats(0, high) | st.sampled_from([0.0, high]) for name, high in CEILINGS.items()}
)


@given(TERMS, st.lists(ROWS, min_size=1, max_size=8))
def test_every_value_lies_in_the_range(term: Term, rows: list[Row]) -> None:
    try:
        low, high = found(term.text)
    except DataError:
        return
    for row in rows:
        assert low <= term.value(row) <= high
