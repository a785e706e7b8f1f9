"""The rendered scene's camera: points of the world to points of the picture, and back to the road.

World: metres, x to the camera's right, y away from it, z up; the road lies in z = 0. Picture:
pixels from the upper left corner, so that the first pixel spans 0..1 (boxes use the same measure).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NEAR = 1.0
"""Metres in front of the camera below which nothing is projected."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera on a mast. Angles in radians, `focal` in pixels, `mast` in metres."""

    width: int
    height: int
    focal: float
    mast: float
    pitch: float
    roll: float

    def axes(self) -> Floats:
        """Return the camera's right, down and forward axes as rows, float64 [3, 3]."""
        sin, cos = math.sin(self.pitch), math.cos(self.pitch)
        right = np.array([1.0, 0.0, 0.0])
        down = np.array([0.0, -sin, -cos])
        forward = np.array([0.0, cos, -sin])
        turn_sin, turn_cos = math.sin(self.roll), math.cos(self.roll)
        return np.stack(
            [
                turn_cos * right + turn_sin * down,
                -turn_sin * right + turn_cos * down,
                forward,
            ]
        )

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Return picture points float64 [n, 2] and depth in metres [n] of world points [n, 3].

        Depth is cut off at `NEAR`: points behind the camera give far-off picture points.
        """
        seen = (points - np.array([0.0, 0.0, self.mast])) @ self.axes().T
        depth = np.maximum(seen[:, 2], NEAR)
        picture = seen[:, :2] * (self.focal / depth)[:, None]
        return picture + np.array([self.width / 2, self.height / 2]), depth

    def ground(self, scale: int = 1) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
        """Return where each pixel meets the road: x, y in metres and whether it does.

        The picture is sampled `scale` times more finely in each direction; all three results are
        [height * scale, width * scale]. Pixels at or above the horizon get the far distance 1e4.
        """
        across = (np.arange(self.width * scale) + 0.5) / scale - self.width / 2
        along = (np.arange(self.height * scale) + 0.5) / scale - self.height / 2
        right, down, forward = self.axes()
        column = across[None, :] / self.focal
        row = along[:, None] / self.focal
        fall = -(right[2] * column + down[2] * row + forward[2])
        below = fall > self.mast / 1e4
        reach = self.mast / np.where(below, fall, self.mast / 1e4)
        x = reach * (right[0] * column + down[0] * row + forward[0])
        y = reach * (right[1] * column + down[1] * row + forward[1])
        return x, y, below
