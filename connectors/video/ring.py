"""Shared memory for decoded pictures: an anonymous file, mapped by two processes through one fd.

There is no name that could leak: the kernel frees the memory when both processes are gone, however
they end. (multiprocessing.shared_memory names its segments and leaves them behind on a kill.)
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

BYTES = 192 * 2**20
"""The ring's bound; a single picture may exceed it."""

SLOTS = 8
"""Pictures that a decoder may be ahead of its reader unless more are asked for."""


def slots_for(picture_bytes: int, ahead: int = SLOTS) -> int:
    """Return how many pictures of this size the ring holds: 2 to `ahead`, within its bound."""
    return max(2, min(ahead, BYTES // max(picture_bytes, 1)))


class Ring:
    """A growable piece of memory shared with a child process. Slots are the user's convention."""

    def __init__(self, fd: int | None = None) -> None:
        """Create the memory, or map the one behind an inherited file descriptor."""
        self.fd = _anonymous_file() if fd is None else fd
        self._owner = fd is None
        self._map: mmap.mmap | None = None
        self._size = 0

    def reserve(self, size: int) -> None:
        """Have at least `size` bytes; only the creator enlarges the file."""
        if size <= self._size:
            return
        if self._map is not None:
            self._map.close()
        if self._owner:
            os.ftruncate(self.fd, size)
        self._map = mmap.mmap(self.fd, size)
        self._size = size

    def write(self, offset: int, picture: npt.NDArray[np.uint8]) -> None:
        """Copy a contiguous picture to `offset` bytes."""
        assert self._map is not None
        self._map[offset : offset + picture.nbytes] = picture.data.cast("B")

    def read(self, offset: int, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        """Return a copy of the uint8 array at `offset` bytes; the caller owns it."""
        assert self._map is not None
        out = np.empty(shape, np.uint8)
        with memoryview(self._map) as view, view[offset : offset + out.nbytes] as part:
            out.data.cast("B")[:] = part
        return out

    def close(self) -> None:
        """Unmap and close the file descriptor."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("foveal-pictures")
    fd, name = tempfile.mkstemp(prefix="foveal-")
    os.unlink(name)
    return fd
