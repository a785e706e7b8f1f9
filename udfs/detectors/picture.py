"""Pictures in, network input out: resizing, padding, colour order and scale, and the way back.

A `Picture` says what a family was trained on; `place` brings one picture into the input tensor and
returns the `Placement` that takes boxes back to the picture's own pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from foveal.udfs.detectors.boxes import Floats

Image = npt.NDArray[np.uint8]
Fit = Literal["stretch", "corner", "centre"]
Order = Literal["rgb", "bgr"]

VERSION = 1
"""Raise when any change here alters what a detector sees: stored detections are keyed by it."""

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Mean and deviation of ImageNet's pixels, RGB, on the scale 0..255."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What the network expects: value = (pixel 0..255 - mean) / std, per channel in `order`.

    `fit`: stretch fills the input; corner and centre keep the shape and pad with `pad`, with the
    picture at the top left or in the middle.
    """

    fit: Fit
    order: Order = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    pad: int = 114
    interpolation: Literal["linear", "area", "cubic"] = "linear"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a picture lies in the input: input = picture * scale + offset, per axis."""

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float

    def back(self, boxes: Floats) -> Floats:
        """Return the boxes (input pixels) in pixels of the picture."""
        offset = np.array([self.offset_x, self.offset_y] * 2, dtype=np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, dtype=np.float32)
        return (boxes - offset) / scale


def _resize(image: Image, width: int, height: int, how: str) -> Image:
    if image.shape[:2] == (height, width):
        return image
    import cv2

    code = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA, "cubic": cv2.INTER_CUBIC}[how]
    resized = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=code)
    return np.asarray(resized, dtype=np.uint8)


def fitted(image: Image, height: int, width: int, picture: Picture) -> tuple[Image, Placement]:
    """Return the picture resized and padded to uint8 RGB [height, width, 3], and its placement."""
    rows, columns = int(image.shape[0]), int(image.shape[1])
    if picture.fit == "stretch":
        scaled = _resize(image, width, height, picture.interpolation)
        return scaled, Placement(width / columns, height / rows, 0.0, 0.0)
    ratio = min(height / rows, width / columns)
    if picture.fit == "corner":  # YOLOX truncates the scaled sides
        inner_w, inner_h = max(1, int(columns * ratio)), max(1, int(rows * ratio))
        left = top = 0
    else:  # Ultralytics rounds them, and gives an odd pixel of padding to the right and bottom
        inner_w, inner_h = max(1, round(columns * ratio)), max(1, round(rows * ratio))
        left = max(0, round((width - inner_w) / 2 - 0.1))
        top = max(0, round((height - inner_h) / 2 - 0.1))
    scaled = _resize(image, inner_w, inner_h, picture.interpolation)
    if (inner_h, inner_w) == (height, width):
        padded = scaled
    else:
        padded = np.full((height, width, 3), picture.pad, dtype=np.uint8)
        padded[top : top + inner_h, left : left + inner_w] = scaled
    return padded, Placement(ratio, ratio, float(left), float(top))


def fill(slot: npt.NDArray[np.generic], image: Image, picture: Picture, *, planar: bool) -> None:
    """Write one fitted picture into `slot`, [3, H, W] if `planar` else [H, W, 3], of any dtype."""
    channels = (0, 1, 2) if picture.order == "rgb" else (2, 1, 0)
    for to, channel in enumerate(channels):
        plane = slot[to] if planar else slot[..., to]
        mean, std = picture.mean[to], picture.std[to]
        if mean == 0.0 and std == 1.0:
            plane[...] = image[..., channel]
        else:
            plane[...] = (image[..., channel].astype(np.float32) - np.float32(mean)) / np.float32(
                std
            )
