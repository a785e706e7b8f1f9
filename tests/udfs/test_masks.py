"""Shared areas and points in polygons, against counting the points of a fine grid."""

from typing import Any

import numpy as np
import pytest

from foveal.errors import DataError
from foveal.udfs.masks import contains, inside, iou, read_polygon, shared_area, signed_area

CONCAVE = ((0.0, 0.0), (10.0, 0.0), (10.0, 8.0), (5.0, 2.0), (0.0, 8.0))


def mask(*points: tuple[float, float]) -> list[dict[str, float]]:
    return [{"x": x, "y": y} for x, y in points]


def box(xmin: float, ymin: float, xmax: float, ymax: float) -> list[dict[str, float]]:
    return mask((xmin, ymin), (xmax, ymin), (xmax, ymax), (xmin, ymax))


def test_boxes() -> None:
    assert iou([box(0, 0, 10, 10), box(5, 0, 15, 10)]) == pytest.approx(50 / 150)
    assert iou([box(0, 0, 10, 10), box(0, 0, 10, 10)]) == 1
    assert iou([box(0, 0, 10, 10), box(10, 0, 20, 10)]) == 0
    assert iou([box(0, 0, 10, 10)[::-1], box(2, 2, 4, 4)]) == pytest.approx(4 / 100)


def test_what_has_no_value() -> None:
    assert iou([None, box(0, 0, 1, 1)]) is None
    assert iou([[], box(0, 0, 1, 1)]) is None
    assert iou([box(1, 1, 1, 1), box(2, 2, 2, 2)]) is None
    assert iou([mask((0, 0), (float("nan"), 1), (1, 1)), box(0, 0, 1, 1)]) is None
    assert inside([None, "[[0,0],[1,0],[1,1]]"]) is None
    assert inside([box(0, 0, 1, 1), None]) is None


@pytest.mark.parametrize("seed", range(12))
def test_any_simple_polygons(seed: int) -> None:
    draw = np.random.default_rng(seed)

    def star(corners: int, cx: float, cy: float) -> tuple[tuple[float, float], ...]:
        turns = np.sort(draw.uniform(0, 2 * np.pi, corners))
        radii = draw.uniform(1, 5, corners)
        points = tuple(
            (float(cx + r * np.cos(t)), float(cy + r * np.sin(t)))
            for t, r in zip(turns, radii, strict=True)
        )
        return points[:: draw.choice([1, -1])]

    a, b = star(7, 5, 5), star(6, 6, 5)
    steps = np.arange(-1, 12, 0.1) + 0.05
    counted = sum(
        contains(a, (x, y)) and contains(b, (x, y)) for x in steps.tolist() for y in steps.tolist()
    )
    assert shared_area(a, b) == pytest.approx(counted * 0.01, abs=0.5)
    assert shared_area(a, b) == pytest.approx(shared_area(b, a))
    assert shared_area(a, a) == pytest.approx(abs(signed_area(a)))


def test_the_foot_decides() -> None:
    lane = "[[0, 50], [100, 50], [100, 100], [0, 100]]"
    assert inside([box(10, 0, 30, 60), lane]) is True  # stands in the lane, its centre above
    assert inside([box(10, 60, 30, 120), lane]) is False  # stands below, its centre inside
    assert inside([box(90, 0, 120, 60), lane]) is False


def test_edges_belong_to_one_side() -> None:
    left, right = (((0.0, 0.0), (5.0, 0.0), (5.0, 9.0), (0.0, 9.0)),
                   ((5.0, 0.0), (9.0, 0.0), (9.0, 9.0), (5.0, 9.0)))  # fmt: skip
    assert [contains(p, (5.0, 3.0)) for p in (left, right)] == [False, True]
    assert contains(CONCAVE, (1.0, 5.0))
    assert not contains(CONCAVE, (5.0, 5.0))


def test_polygons_are_read() -> None:
    square = ((0.0, 0.0), (2.0, 0.0), (2.0, 2.5), (0.0, 2.5))
    assert read_polygon("[[0, 0], [2.0, 0.0], [2, 2.5], [0, 2.5]]") == square
    assert read_polygon("POLYGON((0 0, 2 0, 2 2.5, 0 2.5, 0 0))") == square
    assert read_polygon(" polygon ( (0 0,2 0,2 2.5,0 2.5) ) ") == square


@pytest.mark.parametrize(
    "text",
    ["", "x", "[[1, 2]]", "[[1, 2], [3, 4]]", "[[1, 2, 3], [1, 2, 3], [1, 2, 3]]", "7", "null",
     "POLYGON((0 0, 1 1))", "POLYGON((0 0, 9 0, 9 9), (1 1, 2 2, 3 3))", "[[0,0],[1,0],[1,1e999]]",
     "POINT(1 2)"],
)  # fmt: skip
def test_what_is_no_polygon(text: Any) -> None:
    with pytest.raises(DataError) as caught:
        read_polygon(text)
    assert caught.value.sqlstate == "22023"
    assert "POLYGON" in (caught.value.hint or "")
