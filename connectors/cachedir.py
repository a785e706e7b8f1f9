"""Where foveal keeps what it can make or fetch again: the user's cache directory."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import platformdirs


def cache_dir(part: str = "") -> Path:
    """Return the cache directory, or a part of it; `FOVEAL_CACHE_DIR` overrides its place.

    The directory need not exist: whoever writes there creates it.
    """
    given = os.environ.get("FOVEAL_CACHE_DIR")
    base = Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("foveal"))
    return base / part if part else base


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that readers see all of it or nothing.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
