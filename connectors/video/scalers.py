"""What is made of decoded frames: RGB pictures and gray thumbnails, through one scaler each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from av.video.reformatter import VideoReformatter

from foveal.connectors.video.packets import PacketIndex
from foveal.planner.protocols import THUMBNAIL

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from foveal.planner.protocols import Image


class Rgb:
    """Frames in, pictures uint8 RGB [height, width, 3] out, through one shared scaler."""

    def __init__(self, index: PacketIndex) -> None:
        """Prepare for the pictures of `index`."""
        self._scaler = VideoReformatter()
        self._turns = index.rotation // 90 % 4
        turned = self._turns % 2 == 1
        self._width = index.height if turned else index.width
        self._height = index.width if turned else index.height

    def __call__(self, frame: VideoFrame) -> Image:
        """Return the picture, upright and of the index's size."""
        picture: Any = self._scaler.reformat(
            frame, self._width, self._height, "rgb24", threads=1
        ).to_ndarray()
        # PyAV shows rows that FFmpeg padded (of widths that are no multiple of 32, say) as a view.
        return np.ascontiguousarray(np.rot90(picture, self._turns) if self._turns else picture)


class Gray:
    """Frames in, thumbnails uint8 [THUMBNAIL, THUMBNAIL] out, through one shared scaler.

    Each pixel is the area average of the luma under it, in 0..255 whatever range the file uses.
    One scaler of one thread: a fresh one per frame costs two to five times as much.
    """

    def __init__(self, index: PacketIndex) -> None:
        """Prepare for the pictures of `index`."""
        self._scaler = VideoReformatter()
        self._turns = index.rotation // 90 % 4

    def __call__(self, frame: VideoFrame) -> Image:
        """Return the thumbnail, upright."""
        picture: Any = self._scaler.reformat(
            frame, THUMBNAIL, THUMBNAIL, "gray", interpolation="AREA", threads=1
        ).to_ndarray()
        return np.rot90(picture, self._turns) if self._turns else picture
