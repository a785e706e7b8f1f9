"""Measure what decoding costs on this machine: a video in, seconds per frame and seek out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foveal.planner.protocols import DecodeCounters

if TYPE_CHECKING:
    from foveal.planner.protocols import CancelCheck, Video

RUN = 24
"""Frames read in one go at each of the two places."""


def profile(video: Video, *, cancel: CancelCheck = lambda: None) -> tuple[float, float]:
    """Return (seconds per decoded frame with its RGB picture, seconds per seek beyond that).

    Reads 24 frames from keyframes near a quarter and near two thirds of the video, then the
    keyframes alone, after one frame that warms up; at most 64 frames.

    Raises:
        OperationalError: 58030, the video cannot be read.
    """
    index = video.index
    keys = np.flatnonzero(index.is_key)
    if not len(keys):
        keys = np.zeros(1, np.int64)
    spots = np.array([index.frames // 4, index.frames * 2 // 3])
    begin = np.unique(keys[np.maximum(np.searchsorted(keys, spots, side="right") - 1, 0)])
    runs = (begin[:, None] + np.arange(RUN)).ravel()
    _cost(video, begin[:1], cancel)
    run = _cost(video, np.unique(runs[runs < index.frames]), cancel)
    frame = run.seconds / max(run.frames_decoded, 1)
    places = np.unique(np.concatenate((begin, keys[np.linspace(0, len(keys) - 1, 4, dtype=int)])))
    jump = _cost(video, places, cancel)
    seek = (jump.seconds - jump.frames_decoded * frame) / max(jump.seeks, 1)
    return frame, max(seek, 0.0)


def _cost(video: Video, frames: np.ndarray, cancel: CancelCheck) -> DecodeCounters:
    counters = DecodeCounters()
    for _ in video.read(frames.astype(np.int64), counters=counters, cancel=cancel):
        pass
    return counters
