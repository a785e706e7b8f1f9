"""Polygons in, values out: shared area of two masks, and points in polygons.

A polygon is simple (its edges do not cross), in pixels, with its corners in either direction.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, cast

from foveal.errors import DataError

Point = tuple[float, float]
Polygon = tuple[Point, ...]
PolygonFunction = Callable[[Sequence[Any]], object]
"""From the arguments, masks as lists of {x, y} or None, to a value."""

_WKT = re.compile(r"\s*POLYGON\s*\(\s*\(([^()]*)\)\s*\)\s*\Z", re.IGNORECASE)


def corners(mask: Any) -> Polygon | None:
    """Return a mask's corners, None for NULL, for no corner and for one that is not a number."""
    if not mask:
        return None
    found = tuple((corner["x"], corner["y"]) for corner in mask)
    if not all(x is not None and y is not None and math.isfinite(x + y) for x, y in found):
        return None
    return found


def signed_area(polygon: Polygon) -> float:
    """Return the area by the shoelace formula, negative where the corners run the other way."""
    ends = zip(polygon, (*polygon[1:], polygon[0]), strict=True)
    return sum(x * v - u * y for (x, y), (u, v) in ends) / 2


def shared_area(a: Polygon, b: Polygon) -> float:
    """Return the area of the intersection of two simple polygons, exact but for rounding.

    Each polygon is a signed sum of the triangles of its first corner and an edge: their indicator
    functions, with the sign of their direction, add up to the polygon's. So the intersection's area
    is the signed sum over pairs of triangles, which are convex and clipped edge by edge.
    Source: Sutherland and Hodgman, "Reentrant polygon clipping", CACM 17(1), 1974.
    """
    box_a, box_b = _box(a), _box(b)
    wide = min(box_a[2], box_b[2]) - max(box_a[0], box_b[0])
    high = min(box_a[3], box_b[3]) - max(box_a[1], box_b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    if _is_box(a, box_a) and _is_box(b, box_b):
        return wide * high
    total = 0.0
    for first, sign in _triangles(a):
        for second, other in _triangles(b):
            total += sign * other * abs(signed_area(_clipped(first, second) or ((0.0, 0.0),)))
    return abs(total)


def iou(arguments: Sequence[Any]) -> float | None:
    """Return the shared area of two masks over their joint area, 0..1; NULL for two of no area."""
    a, b = (corners(mask) for mask in arguments)
    if a is None or b is None:
        return None
    both = shared_area(a, b)
    joint = abs(signed_area(a)) + abs(signed_area(b)) - both
    return min(1.0, both / joint) if joint > 0 else None


def inside(arguments: Sequence[Any]) -> bool | None:
    """Return whether the foot of a mask lies in a polygon, its left and top edges included.

    The foot is the middle of the lower edge of the mask's bounding box: where a thing that stands
    on the ground touches it.

    Raises:
        DataError: 22023, the polygon cannot be read.
    """
    mask, text = arguments
    polygon = read_polygon(text) if text is not None else None
    points = corners(mask)
    if points is None or polygon is None:
        return None
    xmin, _, xmax, ymax = _box(points)
    return contains(polygon, ((xmin + xmax) / 2, ymax))


def contains(polygon: Polygon, point: Point) -> bool:
    """Return whether a point lies in a polygon, by the even-odd rule.

    Of two polygons that share an edge just one contains a point on it.
    """
    x, y = point
    odd = False
    for (x1, y1), (x2, y2) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            odd = not odd
    return odd


@lru_cache(maxsize=256)
def read_polygon(text: str) -> Polygon:
    """Return the polygon of `[[x, y], ..]` or of WKT `POLYGON((x y, ..))` without holes.

    Raises:
        DataError: 22023, it is neither, or has fewer than three corners.
    """
    points: list[Point] = []
    matched = _WKT.match(text)
    try:
        if matched is not None:
            for pair in matched[1].split(","):
                x, y = pair.split()
                points.append((float(x), float(y)))
            if len(points) > 1 and points[0] == points[-1]:
                points.pop()  # WKT closes its rings
        else:
            for x, y in cast("list[list[float]]", json.loads(text)):
                points.append((float(x), float(y)))
    except (ValueError, TypeError):
        points = []
    if len(points) < 3 or not all(math.isfinite(x + y) for x, y in points):
        raise DataError(
            f"this is no polygon: {text[:60]}",
            sqlstate="22023",
            hint="give [[x, y], [x, y], [x, y], ..] or 'POLYGON((x y, x y, x y, ..))', in pixels",
        )
    return tuple(points)


def _box(polygon: Polygon) -> tuple[float, float, float, float]:
    xs, ys = [x for x, _ in polygon], [y for _, y in polygon]
    return min(xs), min(ys), max(xs), max(ys)


def _is_box(polygon: Polygon, box: tuple[float, float, float, float]) -> bool:
    xmin, ymin, xmax, ymax = box
    return len(polygon) == 4 and set(polygon) == {
        (xmin, ymin), (xmax, ymin), (xmax, ymax), (xmin, ymax)
    }  # fmt: skip


def _triangles(polygon: Polygon) -> list[tuple[Polygon, float]]:
    """Return the fan of triangles, each with its sign and made to run the positive way."""
    found: list[tuple[Polygon, float]] = []
    for second, third in pairwise(polygon[1:]):
        triangle = (polygon[0], second, third)
        area = signed_area(triangle)
        if area:
            found.append((triangle if area > 0 else triangle[::-1], math.copysign(1.0, area)))
    return found


def _clipped(subject: Polygon, clip: Polygon) -> Polygon:
    """Return the part of a convex polygon inside another one that runs the positive way."""
    out = list(subject)
    for (x1, y1), (x2, y2) in zip(clip, (*clip[1:], clip[0]), strict=True):
        given, out = out, []
        sides = [(x2 - x1) * (y - y1) - (y2 - y1) * (x - x1) for x, y in given]
        for k, (point, side) in enumerate(zip(given, sides, strict=True)):
            before, was = given[k - 1], sides[k - 1]
            if (side >= 0) != (was >= 0):
                share = was / (was - side)
                out.append(
                    (
                        before[0] + share * (point[0] - before[0]),
                        before[1] + share * (point[1] - before[1]),
                    )
                )
            if side >= 0:
                out.append(point)
    return tuple(out)
