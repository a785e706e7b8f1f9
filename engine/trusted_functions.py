"""Which Python functions of a database file this user made on this machine, and so may run.

A database file can come from anybody, and Python text in it can do anything. So a function that is
stored in a file runs by itself only where this user wrote it: its text's digest is kept in a file
of the user's own, outside of the database.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import platformdirs


def trusted_file() -> Path:
    """Return where the digests are kept, one a line."""
    return Path(platformdirs.user_data_dir("foveal", appauthor=False)) / "trusted_functions"


def digest(text: str) -> str:
    """Return the digest of a function's definition."""
    return hashlib.sha256(text.encode()).hexdigest()


def trust(text: str) -> bool:
    """Note that the user made this definition; False: the note cannot be kept."""
    path = trusted_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, f"{digest(text)}\n".encode())
        finally:
            os.close(handle)
    except OSError:
        return False
    return True


def is_trusted(text: str) -> bool:
    """Whether the user made this definition here: a file that others may write says nothing."""
    path = trusted_file()
    try:
        state = path.stat()
        if state.st_uid != os.getuid() or state.st_mode & 0o022:
            return False
        return digest(text) in path.read_text().split()
    except OSError:
        return False
