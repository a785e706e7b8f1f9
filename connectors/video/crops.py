"""Pixels of objects: a video, frame numbers and boxes in; cut-out pictures and PNG bytes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.errors import InternalError
from foveal.planner.protocols import DecodeCounters

if TYPE_CHECKING:
    import numpy.typing as npt

    from foveal.planner.protocols import CancelCheck, Frames, Image, Video


def crops(
    video: Video,
    frames: Frames,
    boxes: npt.NDArray[np.floating[Any]],
    *,
    counters: DecodeCounters | None = None,
    cancel: CancelCheck = lambda: None,
) -> list[Image]:
    """Return the picture (uint8 RGB [h, w, 3]) inside each box, in the order given.

    `frames` int64 [n] may repeat and stand in any order; every frame is decoded once. `boxes`
    [n, 4] are xmin, ymin, xmax, ymax in pixels, widened to whole pixels and cut at the picture's
    edge; a box that lies outside, or holds a NaN, gives a picture of no pixels [0, 0, 3].

    Raises:
        OperationalError: 58030, a frame cannot be decoded.
    """
    wanted, which = np.unique(np.asarray(frames, np.int64), return_inverse=True)
    order = np.argsort(which, kind="stable")
    edges = np.concatenate(([0], np.cumsum(np.bincount(which, minlength=wanted.shape[0]))))
    out: list[Image] = [np.empty((0, 0, 3), np.uint8)] * len(which)
    pictures = video.read(wanted, counters=counters or DecodeCounters(), cancel=cancel)
    for place, (_, picture) in enumerate(pictures):
        for row in order[edges[place] : edges[place + 1]].tolist():
            out[row] = crop(picture, boxes[row])
    return out


def crop(picture: Image, box: npt.NDArray[np.floating[Any]]) -> Image:
    """Return a copy of the part of `picture` inside `box` (see `crops`)."""
    if not np.isfinite(box).all():
        return np.empty((0, 0, 3), np.uint8)
    height, width = picture.shape[:2]
    left, top = (max(0, int(np.floor(edge))) for edge in box[:2])
    right, bottom = min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))
    if left >= right or top >= bottom:
        return np.empty((0, 0, 3), np.uint8)
    return picture[top:bottom, left:right].copy()


def encode_png(picture: Image) -> bytes:
    """Return a picture (uint8 RGB [h, w, 3], not empty) as a PNG file's bytes."""
    import cv2

    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise InternalError(f"cv2 did not encode a picture of shape {picture.shape} as PNG")
    return data.tobytes()


def decode_image(data: bytes) -> Image:
    """Return the picture (uint8 RGB [h, w, 3]) of a PNG or JPEG file's bytes.

    Raises:
        ValueError: these bytes are no picture.
    """
    import cv2

    decoded: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if decoded is None:
        raise ValueError("these bytes are no picture")
    return decoded
