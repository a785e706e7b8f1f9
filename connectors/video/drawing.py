"""Drawing on pictures: a canvas of uint8 RGB pixels with text, lines, shapes and other pictures.

Coordinates are pixels from the top left corner, colours (red, green, blue) in 0..255.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from foveal.connectors.video.crops import encode_png
from foveal.errors import InternalError

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Point = tuple[float, float]

_BITS = 4
"""Bits behind the point of the coordinates that OpenCV draws lines with."""

__all__ = ["Canvas", "encode_jpeg", "encode_png", "fit", "mark", "text_width"]


class Canvas:
    """A picture to draw on. `pixels` is uint8 RGB [height, width, 3]."""

    def __init__(self, width: int, height: int, colour: Colour) -> None:
        """Begin with a picture of one colour."""
        self.pixels: Image = np.full((height, width, 3), colour, np.uint8)

    def paste(self, picture: Image, left: int, top: int) -> None:
        """Put a picture (uint8 RGB [h, w, 3]), which must lie inside, at a place."""
        height, width = picture.shape[:2]
        self.pixels[top : top + height, left : left + width] = picture

    def text(
        self, text: str, at: Point, colour: Colour, size: int, *, anchor: str = "start"
    ) -> None:
        """Write one line whose baseline begins, has its middle or ends (`anchor`) at a point."""
        shift = {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
        left = round(at[0] - shift * text_width(text, size))
        put: Any = cv2.putText  # the stubs know the old fonts only
        at_pixel = (left, round(at[1]))
        _, self.pixels = put(
            self.pixels, _line(text), at_pixel, colour, _font(), size, 0, 0, (0, 1 << 20)
        )

    def line(self, points: Sequence[Point], colour: Colour, width: int) -> None:
        """Draw a line from point to point."""
        cv2.polylines(self.pixels, [_fixed(points)], False, colour, width, cv2.LINE_AA, shift=_BITS)

    def dot(self, at: Point, radius: float, colour: Colour) -> None:
        """Draw a filled circle."""
        one = 1 << _BITS
        centre = (round(at[0] * one), round(at[1] * one))
        cv2.circle(self.pixels, centre, round(radius * one), colour, -1, cv2.LINE_AA, shift=_BITS)

    def area(self, points: Sequence[Point], colour: Colour, opacity: float = 1.0) -> None:
        """Fill a polygon, letting through what is below it where `opacity` is under 1."""
        over = self.pixels.copy()
        cv2.fillPoly(over, [_fixed(points)], colour, cv2.LINE_AA, shift=_BITS)
        cv2.addWeighted(over, opacity, self.pixels, 1 - opacity, 0, dst=self.pixels)


def text_width(text: str, size: int) -> int:
    """Return the width in pixels of a line of text of `size` pixels."""
    measure = cast("Any", cv2).getTextSize
    left, _, width, _ = measure((1 << 20, 1 << 20), _line(text), (0, 0), _font(), size)
    return int(left + width)


def fit(picture: Image, width: int) -> Image:
    """Return the picture no wider than `width`, its shape kept; a smaller one as it is."""
    if picture.shape[1] <= width:
        return picture
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    shrunk: Any = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return shrunk


def mark(
    picture: Image,
    boxes: npt.NDArray[np.floating[Any]],
    labels: Sequence[str],
    colours: Sequence[Colour],
) -> Image:
    """Return a copy of the picture with boxes [n, 4] (xmin, ymin, xmax, ymax) and their labels.

    A label stands on its box, or under the box's top edge where there is no room above it. A box
    that is not finite is left out.
    """
    height, width = picture.shape[:2]
    canvas = Canvas(1, 1, (0, 0, 0))
    canvas.pixels = picture.copy()
    thick = max(1, round(width / 400))
    size = min(18, max(11, round(width / 45)))
    for box, label, colour in zip(boxes, labels, colours, strict=True):
        if not np.isfinite(box).all():
            continue
        left, right = (float(np.clip(x, 0, width - 1)) for x in (box[0], box[2]))
        top, bottom = (float(np.clip(y, 0, height - 1)) for y in (box[1], box[3]))
        canvas.line(
            [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], colour, thick
        )
        if not label:
            continue
        wide, high = text_width(label, size) + 6, size + 4
        chip_left = max(0.0, min(left, width - 1.0 - wide))
        chip_top = top - high if top >= high else top
        chip = [
            (chip_left, chip_top),
            (chip_left + wide, chip_top),
            (chip_left + wide, chip_top + high),
            (chip_left, chip_top + high),
        ]
        canvas.area(chip, colour)
        ink: Colour = (0, 0, 0) if np.dot(colour, (0.299, 0.587, 0.114)) > 140 else (255, 255, 255)
        canvas.text(label, (chip_left + 3, chip_top + size), ink, size)
    return canvas.pixels


def encode_jpeg(picture: Image, quality: int = 85) -> bytes:
    """Return a picture (uint8 RGB [h, w, 3], not empty) as a JPEG file's bytes."""
    parameters = [cv2.IMWRITE_JPEG_QUALITY, quality]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), parameters)
    if not done:
        raise InternalError(f"cv2 did not encode a picture of shape {picture.shape} as JPEG")
    return data.tobytes()


@cache
def _font() -> Any:
    return cast("Any", cv2).FontFace("sans")


def _line(text: str) -> str:
    """Return text without the line breaks and controls that the font renderer would obey."""
    return "".join(c if c.isprintable() else " " for c in text)


def _fixed(points: Sequence[Point]) -> npt.NDArray[np.int32]:
    return np.round(np.asarray(points, np.float64) * (1 << _BITS)).astype(np.int32)
