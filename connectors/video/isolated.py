"""Decoding in child processes: a path and frame numbers in, pictures out; a crash is an error.

Video files are untrusted input to large C libraries. Here they are opened in a child
(`foveal.connectors.video.worker`), which also decodes ahead while the caller works. Children are
reused, and end when the parent ends or closes them. POSIX only: the ring is inherited as a file
descriptor.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.connectors.video import packets
from foveal.connectors.video.child import Child
from foveal.connectors.video.ring import SLOTS

if TYPE_CHECKING:
    from foveal.planner.protocols import CancelCheck, DecodeCounters, Frames, Image

IDLE = 2
"""Children kept for the next read."""


class Pool:
    """The children at rest. Thread-safe; everything is closed at exit."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._lock = threading.Lock()
        self._idle: list[Child] = []
        self._all: set[Child] = set()

    def take(self, index: packets.PacketIndex | None = None) -> Child:
        """Return a child of the caller's own, rather one that already holds `index`."""
        taken: Child | None = None
        with self._lock:
            dead = [child for child in self._idle if not child.alive]
            self._idle = [child for child in self._idle if child.alive]
            if self._idle:
                knows = [child for child in self._idle if child.index is index]
                taken = knows[0] if knows else self._idle[-1]
                self._idle.remove(taken)
        for child in dead:
            self._end(child)
        if taken is None:
            taken = Child()
            with self._lock:
                self._all.add(taken)
        return taken

    def give(self, child: Child) -> None:
        """Take a child back."""
        with self._lock:
            if child.alive and len(self._idle) < IDLE:
                self._idle.append(child)
                return
        self._end(child)

    def _end(self, child: Child) -> None:
        child.close()
        with self._lock:
            self._all.discard(child)

    def close(self) -> None:
        """End every child, those in use as well."""
        with self._lock:
            children, self._idle = list(self._all), []
        for child in children:
            self._end(child)

    def forget(self) -> None:
        """Drop the children without touching them: after a fork they belong to the parent."""
        self._lock = threading.Lock()
        _FORGOTTEN.extend(self._all)
        self._idle, self._all = [], set()


_FORGOTTEN: list[Child] = []
"""Children of the process that we were forked from, kept so that nothing finalises them."""

POOL = Pool()
atexit.register(POOL.close)
os.register_at_fork(after_in_child=POOL.forget)


def build_index(
    path: Path, *, full: bool = False, cancel: CancelCheck = lambda: None
) -> packets.PacketIndex:
    """Return the index of a file (see `index.build_index`), built in a child process.

    Raises:
        OperationalError: 58030, the file cannot be read, or its decoder crashed.
    """
    child = POOL.take()
    try:
        return child.build_index(path, full=full, cancel=cancel)
    finally:
        POOL.give(child)


def read_frames(
    path: Path,
    index: packets.PacketIndex,
    frames: Frames,
    *,
    counters: DecodeCounters,
    cancel: CancelCheck,
    ahead: int = SLOTS,
) -> Iterator[tuple[int, Image]]:
    """Yield (frame number, picture uint8 RGB [H, W, 3]), decoded ahead in a child process.

    The child runs up to `ahead` pictures ahead, memory permitting. `counters.seconds` is the time
    that it spent decoding, part of it while the caller worked. `cancel` is polled every `POLL`
    seconds while waiting.

    Raises:
        OperationalError: 58030, the file cannot be read, a frame cannot be decoded, or the decoder
            crashed; the next read starts a fresh child.
    """
    child = POOL.take(index)
    try:
        yield from child.read(path, index, frames, counters=counters, cancel=cancel, ahead=ahead)
    finally:
        POOL.give(child)


def read_thumbnails(
    path: Path,
    index: packets.PacketIndex,
    frames: Frames,
    *,
    counters: DecodeCounters,
    cancel: CancelCheck,
) -> Iterator[tuple[Frames, Image]]:
    """Yield (frame numbers int64 [k], thumbnails uint8 [k, 96, 96]), decoded ahead in a child.

    Counters, cancellation and errors as in `read_frames`.
    """
    child = POOL.take(index)
    try:
        yield from child.thumbnails(path, index, frames, counters=counters, cancel=cancel)
    finally:
        POOL.give(child)
