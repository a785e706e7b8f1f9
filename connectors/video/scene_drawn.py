"""What the rendered scene is painted with: polygons, sprites, lamps, and the light on them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from foveal.connectors.video.scene_camera import Floats

Colour = tuple[float, float, float]
Picture = npt.NDArray[np.uint8]
CLASSES = ("car", "person")


@dataclass(frozen=True, slots=True)
class Light:
    """How the scene is lit: colour factors [3] and, by day, the way the sunlight travels."""

    dusk: bool
    tint: Colour
    sun: Colour | None

    def shade(self, colour: Colour, lift: float) -> Colour:
        """Return `colour` under this light, made brighter or darker by the factor `lift`."""
        r, g, b = (min(255.0, c * t * lift) for c, t in zip(colour, self.tint, strict=True))
        return r, g, b


@dataclass(frozen=True, slots=True, eq=False)
class Lamp:
    """A light that is on: its place in the picture, its glow's radius in pixels and colour."""

    x: float
    y: float
    radius: float
    colour: Colour


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """One object as it stands in one picture, nearest last when painted.

    `polygons`: (points float64 [k, 2], colour), in painting order. `outline`: convex hull [m, 2].
    `box`: xmin, ymin, xmax, ymax in pixels, not cut at the picture's edge. `shadows`: hulls.
    """

    ident: int
    kind: int
    depth: float
    polygons: list[tuple[Floats, Colour]]
    outline: Floats
    box: tuple[float, float, float, float]
    shadows: list[Floats]
    lamps: list[Lamp]


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """Something fixed that hides what is behind it: `rgb` uint8 [h, w, 3], `cover` uint8 [h, w]."""

    depth: float
    x: int
    y: int
    rgb: Picture
    cover: Picture


def hull(points: Floats) -> Floats:
    """Return the convex hull of picture points as float64 [m, 2]."""
    return cv2.convexHull(points.astype(np.float32)).reshape(-1, 2).astype(np.float64)


def fill(image: npt.NDArray[np.uint8], points: Floats, colour: Colour | int) -> None:
    """Fill a convex polygon given in pixels from the picture's corner, with smooth edges."""
    fixed = np.round((np.clip(points, -4000, 4000) - 0.5) * 16).astype(np.int32)
    cv2.fillConvexPoly(image, fixed, colour, lineType=cv2.LINE_AA, shift=4)


def times(colour: Colour, lift: float) -> Colour:
    """Return the colour made brighter or darker by `lift`."""
    r, g, b = (min(255.0, c * lift) for c in colour)
    return r, g, b
