"""The canvas: shapes stand where they are told to, and pictures survive their encodings."""

import numpy as np
import pytest

from foveal.connectors.video.crops import decode_image
from foveal.connectors.video.drawing import (
    Canvas,
    encode_jpeg,
    encode_png,
    fit,
    mark,
    text_width,
)

RED, WHITE = (255, 0, 0), (255, 255, 255)


def changed(before: np.ndarray, after: np.ndarray) -> tuple[int, int, int, int]:
    """Return xmin, ymin, xmax, ymax of the pixels that differ."""
    ys, xs = np.nonzero((before != after).any(axis=2))
    return int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())


def test_boxes_stand_where_they_should_and_the_original_is_untouched() -> None:
    picture = np.full((200, 300, 3), 128, np.uint8)
    boxes = np.array([[50, 60, 120, 150], [np.nan, 0, 1, 1]])
    marked = mark(picture, boxes, ["", ""], [RED, RED])
    assert (picture == 128).all()
    near = np.array(changed(picture, marked)) - [50, 60, 120, 150]
    assert (abs(near) <= 1).all()
    assert abs(marked[60, 80].astype(int) - RED).max() < 32  # anti-aliased
    assert tuple(marked[100, 80]) == (128, 128, 128)


def test_a_box_beyond_the_edge_is_cut_and_its_label_stays_inside() -> None:
    picture = np.full((80, 120, 3), 40, np.uint8)
    marked = mark(picture, np.array([[90.0, -20.0, 400.0, 500.0]]), ["bicycle 0.99"], [WHITE])
    assert marked.shape == picture.shape
    left, top, right, bottom = changed(picture, marked)
    assert (right, bottom) == (119, 79)
    assert top == 0
    assert left < 90  # the label was moved into the picture


@pytest.mark.parametrize("anchor", ["start", "middle", "end"])
def test_text_has_its_anchor(anchor: str) -> None:
    canvas = Canvas(400, 60, WHITE)
    blank = canvas.pixels.copy()
    canvas.text("Zürich ±0.2 人", (200, 40), (0, 0, 0), 20, anchor=anchor)
    left, _, right, _ = changed(blank, canvas.pixels)
    wide = text_width("Zürich ±0.2 人", 20)
    start = {"start": 200, "middle": 200 - wide / 2, "end": 200 - wide}[anchor]
    assert abs(left - start) <= 4
    assert abs(right - left - wide) <= 6


def test_line_breaks_and_controls_are_one_line() -> None:
    canvas = Canvas(300, 60, WHITE)
    blank = canvas.pixels.copy()
    canvas.text("a\nb\x1b[31m\tc", (10, 30), (0, 0, 0), 16)
    assert changed(blank, canvas.pixels)[3] < 40


def test_fit_keeps_the_shape_and_never_enlarges() -> None:
    picture = np.zeros((90, 160, 3), np.uint8)
    assert fit(picture, 80).shape == (45, 80, 3)
    assert fit(picture, 500) is picture
    assert fit(np.zeros((1, 4000, 3), np.uint8), 10).shape == (1, 10, 3)


def test_encodings_decode_again() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
    assert (decode_image(encode_png(picture)) == picture).all()
    flat = np.full((32, 48, 3), (200, 30, 60), np.uint8)
    assert abs(decode_image(encode_jpeg(flat)).astype(int) - flat).max() < 8
