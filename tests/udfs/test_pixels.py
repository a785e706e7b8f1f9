"""The functions over masks run in DuckDB; those over pictures on pixels made by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.udfs.pixels import FUNCTIONS

RECTANGLE = [(10.0, 20.0), (40.0, 20.0), (40.0, 30.0), (10.0, 30.0)]
TRIANGLE = [(0.0, 0.0), (8.0, 0.0), (0.0, 6.0)]


def in_duckdb(name: str, corners: list[tuple[float, float]] | None) -> Any:
    duckdb = pytest.importorskip("duckdb")
    mask = None if corners is None else [{"x": x, "y": y} for x, y in corners]
    with duckdb.connect() as connection:
        body = FUNCTIONS[name].body
        connection.execute(f"CREATE MACRO foveal_{name}(mask) AS {body}")
        kind = "STRUCT(x DOUBLE, y DOUBLE)[]"
        return connection.execute(f"SELECT foveal_{name}(CAST(? AS {kind}))", [mask]).fetchall()[0][
            0
        ]


@pytest.mark.parametrize(
    ("name", "value"), [("area", 300), ("xmin", 10), ("xmax", 40), ("ymin", 20), ("ymax", 30)]
)
def test_functions_over_a_rectangle(name: str, value: float) -> None:
    assert in_duckdb(name, RECTANGLE) == value
    assert in_duckdb(name, list(reversed(RECTANGLE))) == value


def test_area_of_a_polygon_and_of_nothing() -> None:
    assert in_duckdb("area", TRIANGLE) == 24
    assert in_duckdb("area", []) is None
    assert in_duckdb("area", None) is None
    assert in_duckdb("xmin", None) is None


def called(name: str, image: np.ndarray) -> float | bytes | None:
    call = FUNCTIONS[name].call
    assert call is not None
    return call(image)


def test_colours() -> None:
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    image[0] = (200, 100, 50)
    assert called("redness", image) == pytest.approx(100 - (50 + 25) / 2)
    assert called("greenness", image) == pytest.approx(50 - (100 + 25) / 2)
    assert called("blueness", image) == pytest.approx(25 - (100 + 50) / 2)
    assert called("brightness", image) == pytest.approx(0.299 * 100 + 0.587 * 50 + 0.114 * 25)
    assert called("brightness", np.full((3, 3, 3), 255, dtype=np.uint8)) == pytest.approx(255)


def test_a_view_that_is_not_contiguous_gives_the_same() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    part = image[5:30:2, 3:41]
    assert called("redness", part) == called("redness", part.copy())
    assert called("png", part) == called("png", part.copy())


def test_png_keeps_every_pixel(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    image = np.random.default_rng(1).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    encoded = called("png", image)
    assert isinstance(encoded, bytes)
    decoded = cv2.imdecode(np.frombuffer(encoded, dtype=np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decoded[..., ::-1], image)


@pytest.mark.parametrize("name", [n for n, f in FUNCTIONS.items() if f.call is not None])
def test_a_picture_without_pixels_has_no_value(name: str) -> None:
    assert called(name, np.empty((0, 5, 3), dtype=np.uint8)) is None


def test_each_function_has_exactly_one_way_to_run() -> None:
    for name, function in FUNCTIONS.items():
        assert function.name == name
        ways = [function.body, function.call, function.polygons]
        assert sum(way is not None for way in ways) == (name != "classify")
        assert function.pixels == (function.argument.split(",")[0] == "content")
        assert not (function.pixels and function.body)


def test_sizes_of_a_mask() -> None:
    assert in_duckdb("width", RECTANGLE) == 30
    assert in_duckdb("height", RECTANGLE) == 10
    assert in_duckdb("width", None) is None
