"""Measure what decoding costs here: a video in, seconds per frame, seek and thumbnail out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foveal.planner.protocols import DecodeCounters

if TYPE_CHECKING:
    from foveal.planner.protocols import CancelCheck, Video

RUN = 24
"""Frames read in one go at each of the two places."""


def profile(video: Video, *, cancel: CancelCheck = lambda: None) -> tuple[float, float, float]:
    """Return seconds per decoded frame, per seek beyond that, and per thumbnail.

    The first is a frame of a straight read with its RGB picture, the last a thumbnail of one,
    decoding included. Reads 24 frames from keyframes near a quarter and near two thirds of the
    video, then the keyframes alone, then those frames' thumbnails, after one frame each that
    warms up; at most 120 frames.

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
    frames = np.unique(runs[runs < index.frames])
    run = _cost(video, frames, cancel)
    frame = run.seconds / max(run.frames_decoded, 1)
    places = np.unique(np.concatenate((begin, keys[np.linspace(0, len(keys) - 1, 4, dtype=int)])))
    jump = _cost(video, places, cancel)
    seek = (jump.seconds - jump.frames_decoded * frame) / max(jump.seeks, 1)
    seek = max(seek, 0.0)
    _look(video, begin[:1], cancel)
    looks = _look(video, frames, cancel)
    least = looks.seconds / 2 / max(looks.frames_decoded, 1)  # where seeks seem to take it all
    look = (looks.seconds - looks.seeks * seek) / max(looks.frames_decoded, 1)
    return frame, seek, max(look, least)


def _look(video: Video, frames: np.ndarray, cancel: CancelCheck) -> DecodeCounters:
    counters = DecodeCounters()
    for _ in video.thumbnails(frames.astype(np.int64), counters=counters, cancel=cancel):
        pass
    return counters


def _cost(video: Video, frames: np.ndarray, cancel: CancelCheck) -> DecodeCounters:
    counters = DecodeCounters()
    for _ in video.read(frames.astype(np.int64), counters=counters, cancel=cancel):
        pass
    return counters
