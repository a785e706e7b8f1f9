"""Thumbnails on demand: frames not in the store are decoded small and kept, once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from foveal.engine.catalog.videos import LiveTable, Positions
from foveal.engine.context import QueryContext
from foveal.planner.protocols import THUMBNAIL, DecodeCounters

if TYPE_CHECKING:
    from foveal.planner.protocols import Frames, Image

KEEP_FRAMES = 2048
KEEP_SECONDS = 10.0
"""Thumbnails are made durable after this many (19 MB) or seconds, whichever comes first."""


def ensure_thumbnails(table: LiveTable, positions: Positions, context: QueryContext) -> None:
    """See to it that the thumbnails of these frames (sorted positions) are stored.

    Progress stage "look", in thumbnails. What was decoded before a cancellation or an error is
    kept. Decoding is accounted in the context and the profiles, as for detections.

    Raises:
        QueryCanceled: 57014. OperationalError: 53400, the statement's BUDGET of seconds is spent;
            58030, a video fails; 53100, the disk is full.
    """
    missing = positions[~table.thumbnailed()[positions]]
    if not len(missing):
        return
    total, done = len(missing), 0
    context.advance("look", 0, total)
    for i, frames in table.split(missing):
        done = _look_at_video(table, i, frames, context, done, total)


def _look_at_video(
    table: LiveTable, i: int, frames: Positions, context: QueryContext, done: int, total: int
) -> int:
    video = table.videos[i]
    counters = DecodeCounters()
    pending = _Pending(table, video.content_hash)
    try:
        for numbers, pictures in video.thumbnails(frames, counters=counters, cancel=context.check):
            pending.add(numbers, pictures)
            done += len(numbers)
            context.advance("look", done, total)
            context.check_budget(0)
    finally:
        pending.keep()
        context.counters.frames_decoded += counters.frames_decoded
        context.counters.seeks += counters.seeks
        context.counters.seconds += counters.seconds
        table.storage.profiles.looked(video.content_hash, table.video_facts(i), counters)
    return done


class _Pending:
    """Thumbnails of one video that are not durable yet."""

    def __init__(self, table: LiveTable, video_hash: str) -> None:
        self._store = table.storage.thumbnails
        self._hash = video_hash
        self._frames: list[Frames] = []
        self._pictures: list[Image] = []
        self._since = time.perf_counter()

    def add(self, frames: Frames, pictures: Image) -> None:
        self._frames.append(frames)
        self._pictures.append(pictures)
        count = sum(len(part) for part in self._frames)
        if count >= KEEP_FRAMES or time.perf_counter() - self._since > KEEP_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Write them to the store."""
        if self._frames:
            frames, pictures = np.concatenate(self._frames), np.concatenate(self._pictures)
            self._frames, self._pictures = [], []
            self._store.append(self._hash, frames, pictures)
        self._since = time.perf_counter()


def thumbnails_at(table: LiveTable, positions: Positions) -> Image:
    """Return the thumbnails uint8 [n, 96, 96] of frames (sorted positions), all of them stored.

    Memory: 9 kB a frame; whoever wants many asks for some thousands at a time.

    Raises:
        OperationalError: 58030, some are not stored, or turned out damaged.
    """
    out = np.empty((len(positions), THUMBNAIL, THUMBNAIL), np.uint8)
    begin = 0
    for i, frames in table.split(positions):
        read = table.storage.thumbnails.read(table.videos[i].content_hash, frames)
        if len(frames) == len(positions):
            return read
        out[begin : begin + len(frames)] = read
        begin += len(frames)
    return out
