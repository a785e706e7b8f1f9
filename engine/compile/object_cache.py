"""Compiled objects on disk and linked kernels in memory.

Objects are native code, so a file is loaded only when it and its folder belong to this user and
nobody else may write them. Files are written beside and renamed into place, carry a checksum, and
are dropped, the longest unused first, when they take too much room.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from foveal.connectors.cachedir import cache_dir
from foveal.engine.compile.llvm.kernel import Kernel

MAGIC = b"foveal object 1\n"
DIGEST_BYTES = 32
DISK_BYTES = 64 << 20
"""Room that objects may take on disk; one is some 10 kB."""
KERNELS = 128
"""Kernels that stay linked in memory."""
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class ObjectFiles:
    """A folder of object files by key."""

    def __init__(self, folder: Path | None = None, disk_bytes: int = DISK_BYTES) -> None:
        """Use a folder, by default the user's own; it need not exist yet."""
        self.folder = cache_dir("compiled") if folder is None else folder
        self._disk_bytes = disk_bytes

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.o"

    def load(self, key: str) -> bytes | None:
        """Return an object; None where there is none that may be trusted and is whole."""
        try:
            if not _is_ours(os.lstat(self.folder), directory=True):
                return None
            # Not through a link, and judged by what was opened rather than by its name.
            descriptor = os.open(self._path(key), os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
            with open(descriptor, "rb") as file:
                if not _is_ours(os.fstat(file.fileno()), directory=False):
                    return None
                data = file.read()
        except OSError:
            return None
        head = len(MAGIC) + DIGEST_BYTES
        code = data[head:]
        whole = data.startswith(MAGIC) and data[len(MAGIC) : head] == hashlib.sha256(code).digest()
        if not whole:
            self.drop(key)
            return None
        with contextlib.suppress(OSError):
            os.utime(self._path(key))  # its last use decides when it is dropped
        return code

    def store(self, key: str, code: bytes) -> bool:
        """Keep an object; False where the folder is not ours or cannot be written.

        A disk that is full or read-only costs a compilation at the next start, no statement.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_ours(os.lstat(self.folder), directory=True):
                return False
            with tempfile.NamedTemporaryFile(
                dir=self.folder, prefix=".part-", delete=False
            ) as file:
                try:
                    file.write(MAGIC + hashlib.sha256(code).digest() + code)
                    file.flush()
                    os.replace(file.name, self._path(key))
                except BaseException:
                    os.unlink(file.name)
                    raise
            self._trim()
        except OSError:
            return False
        return True

    def drop(self, key: str) -> None:
        """Remove an object, if it is there."""
        with contextlib.suppress(OSError):
            self._path(key).unlink()

    def _trim(self) -> None:
        """Remove the objects that were not used for longest until the rest fits."""
        found: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process trims too
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        room = sum(size for _, size, _ in found) - self._disk_bytes
        for _, size, path in sorted(found):
            if room <= 0:
                break
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            room -= size


def _is_ours(status: os.stat_result, *, directory: bool) -> bool:
    """Say whether a file or folder is this user's and no other's to write."""
    kind = stat.S_ISDIR if directory else stat.S_ISREG
    if not kind(status.st_mode):
        return False
    if not hasattr(os, "getuid"):  # Windows: the profile's own access list guards the folder
        return True
    return status.st_uid == os.getuid() and not status.st_mode & _OTHERS_WRITE


class KernelMemory:
    """Linked kernels, the longest unused forgotten first. A kernel in use lives on by itself."""

    def __init__(self, size: int = KERNELS) -> None:
        """Keep at most `size` kernels."""
        self._size = size
        self._kernels: OrderedDict[str, Kernel] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Kernel | None:
        """Return a kernel that is linked already."""
        with self._lock:
            if key in self._kernels:
                self._kernels.move_to_end(key)
            return self._kernels.get(key)

    def put(self, key: str, kernel: Kernel) -> Kernel:
        """Keep a kernel and return it, or the one that somebody else has put there meanwhile."""
        with self._lock:
            kept = self._kernels.setdefault(key, kernel)
            self._kernels.move_to_end(key)
            while len(self._kernels) > self._size:
                self._kernels.popitem(last=False)
            return kept


def linked(files: ObjectFiles, key: str, link: Callable[[bytes], Kernel]) -> Kernel | None:
    """Return a kernel from its object on disk.

    The checksum has been compared: LLVM ends the process over what is no object.
    """
    code = files.load(key)
    return None if code is None else link(code)
