"""Masks and pictures of objects in, values out: the scalar functions of FrameQL's columns.

Functions over `mask` are SQL text that DuckDB runs, or Python over polygons (`masks`); functions
over `content` (an object's picture) and `image` (a frame's) are Python over decoded pixels.
Source: Kang et al., "BlazeIt", VLDB 2019, section 3 (`area(mask)`, `redness(content)`,
`classify(content)`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveal.errors import DataError
from foveal.udfs.masks import PolygonFunction, inside, iou

Image = npt.NDArray[np.uint8]
PixelFunction = Callable[[Image], float | bytes | None]


@dataclass(frozen=True, slots=True)
class Function:
    """One scalar function.

    `argument` names its arguments: mask is STRUCT(x DOUBLE, y DOUBLE)[], the corners of a polygon
    in pixels; content is a handle whose pixels are given as uint8 RGB [h, w, 3]. `returns`: an SQL
    type. One of these says how it runs: `body`, SQL over the arguments; `call`, from one picture to
    a value (None is NULL); `polygons`, over columns of masks; `classify` has none of them, for its
    second argument names the model. A NULL argument gives NULL without a call, and so does a
    picture without a pixel: a box that lies outside of its frame. `cost`: seconds per call where
    none was measured. `kept`: whether an answer is kept, to be looked up the next time.
    """

    name: str
    argument: str
    returns: str
    doc: str
    body: str | None = None
    call: PixelFunction | None = None
    polygons: PolygonFunction | None = None
    cost: float = 1e-4
    kept: bool = True

    @property
    def arguments(self) -> tuple[str, ...]:
        """The names of its arguments."""
        return tuple(part.strip() for part in self.argument.split(","))

    @property
    def pixels(self) -> bool:
        """Whether it looks at pictures."""
        return self.arguments[0] == "content"


_AREA = (
    "abs(list_sum(list_transform(range(1, len(mask) + 1), lambda i: "
    "mask[i].x * mask[i % len(mask) + 1].y - mask[i % len(mask) + 1].x * mask[i].y))) / 2"
)
"""The shoelace formula; lists count from 1 in DuckDB, so the corner after i is i mod n + 1."""


def _extreme(which: str, axis: str) -> str:
    return f"list_{which}(list_transform(mask, lambda corner: corner.{axis}))"


def _means(image: Image) -> npt.NDArray[np.float64] | None:
    """Return float64 [3]: the mean of red, green and blue, 0..255; None without a pixel."""
    if image.size == 0:
        return None
    return image.reshape(-1, 3).mean(axis=0, dtype=np.float64)


def _excess(image: Image, channel: int) -> float | None:
    means = _means(image)
    if means is None:
        return None
    others = (means.sum() - means[channel]) / 2
    return float(means[channel] - others)


def redness(image: Image) -> float | None:
    """Return by how much the mean red exceeds the mean of green and blue: -255 to 255, grey is 0.

    BlazeIt gives a threshold (`redness(content) >= 17.5`) and no formula; the excess over the other
    two channels does not depend on how bright the picture is, as a mean of red alone would.
    """
    return _excess(image, 0)


def greenness(image: Image) -> float | None:
    """Return by how much the mean green exceeds the mean of red and blue: -255 to 255."""
    return _excess(image, 1)


def blueness(image: Image) -> float | None:
    """Return by how much the mean blue exceeds the mean of red and green: -255 to 255."""
    return _excess(image, 2)


def brightness(image: Image) -> float | None:
    """Return the mean luma of the pixels, 0 to 255 (ITU-R BT.601 weights .299, .587, .114)."""
    means = _means(image)
    return None if means is None else float(means @ np.array([0.299, 0.587, 0.114]))


def png(image: Image) -> bytes | None:
    """Return the picture as a PNG file.

    Raises:
        DataError: 22000, the picture cannot be encoded.
    """
    if image.size == 0:
        return None
    import cv2

    done, encoded = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    if not done:
        raise DataError(f"a picture of {image.shape[1]}x{image.shape[0]} cannot be made a PNG")
    return encoded.tobytes()


def _mask(name: str, body: str, doc: str) -> Function:
    return Function(name, "mask", "DOUBLE", doc, body=body)


def _content(name: str, returns: str, call: PixelFunction, doc: str) -> Function:
    return Function(name, "content", returns, doc, call=call)


_BOX = (
    "[{'x': xmin, 'y': ymin}, {'x': xmax, 'y': ymin}, {'x': xmax, 'y': ymax}, "
    "{'x': xmin, 'y': ymax}]::STRUCT(x DOUBLE, y DOUBLE)[]"
)

_ROWS = (
    _mask("area", _AREA, "area of the mask in square pixels"),
    _mask("width", f"{_extreme('max', 'x')} - {_extreme('min', 'x')}", "width of the mask"),
    _mask("height", f"{_extreme('max', 'y')} - {_extreme('min', 'y')}", "height of the mask"),
    _mask("xmin", _extreme("min", "x"), "leftmost x of the mask, in pixels"),
    _mask("xmax", _extreme("max", "x"), "rightmost x of the mask, in pixels"),
    _mask("ymin", _extreme("min", "y"), "topmost y of the mask, in pixels"),
    _mask("ymax", _extreme("max", "y"), "bottommost y of the mask, in pixels"),
    Function("box", "xmin, ymin, xmax, ymax", "STRUCT(x DOUBLE, y DOUBLE)[]",
             "the mask of a box", body=_BOX),
    Function("iou", "mask, mask", "DOUBLE", "shared area of two masks over their joint area, 0..1",
             polygons=iou),
    Function("inside", "mask, polygon", "BOOLEAN",
             "whether the foot of the mask, the middle of its lower edge, lies in the polygon",
             polygons=inside),
    _content("redness", "DOUBLE", redness, "mean red less the mean of green and blue, -255..255"),
    _content("greenness", "DOUBLE", greenness, "mean green less the mean of red and blue"),
    _content("blueness", "DOUBLE", blueness, "mean blue less the mean of red and green"),
    _content("brightness", "DOUBLE", brightness, "mean luma of the picture, 0..255"),
    Function("classify", "content, model", "VARCHAR",
             "the likeliest label of an ONNX classification model", cost=5e-3),
    Function("png", "content", "BLOB", "the picture as a PNG file", call=png, kept=False),
)  # fmt: skip

FUNCTIONS: dict[str, Function] = {row.name: row for row in _ROWS}
"""Every function over masks and pictures, by name. To add one, add its row."""
