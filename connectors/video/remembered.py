"""Content hashes and frame indexes, remembered in the user's cache directory.

A cache that cannot be read or written costs time, never the answer: it is logged and gone without.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sqlite3
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.connectors.cachedir import cache_dir, write_atomically
from foveal.connectors.video import packets
from foveal.connectors.video.faults import file_version, unreadable

if TYPE_CHECKING:
    from foveal.planner.protocols import CancelCheck

_LOG = logging.getLogger(__name__)

_CHUNK = 2**22

_SETTLED = 2.0
"""Seconds since the last change after which a file's stamps are trusted to show the next one."""

_TABLE = (
    "CREATE TABLE IF NOT EXISTS content (path TEXT PRIMARY KEY, size INT, mtime_ns INT, inode INT, "
    "hash TEXT) WITHOUT ROWID"
)


def content_hash(path: Path, *, cancel: CancelCheck = lambda: None) -> str:
    """Return the BLAKE2b-128 of a file's bytes in hex, from memory while the file is unchanged.

    Raises:
        OperationalError: 58P01, there is no such file; 58030, it cannot be read.
    """
    stamps = file_version(path)
    known = _recall(path, stamps)
    if known is not None:
        return known
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                cancel()
                digest.update(chunk)
    except OSError as error:
        raise unreadable(path, str(error.strerror).lower()) from error
    result = digest.hexdigest()
    # A file changed a moment ago could change again within the clock's resolution.
    if time.time() - stamps[1] / 1e9 > _SETTLED and file_version(path) == stamps:
        _note(path, stamps, result)
    return result


def _recall(path: Path, stamps: tuple[int, int, int]) -> str | None:
    store = cache_dir("content.sqlite")
    if not store.exists():
        return None
    try:
        with contextlib.closing(sqlite3.connect(store, timeout=5)) as connection:
            row = connection.execute(
                "SELECT hash FROM content WHERE path = ? AND size = ? AND mtime_ns = ? "
                "AND inode = ?",
                (str(path), *stamps),
            ).fetchone()
    except sqlite3.Error as error:
        _LOG.warning("the cache of content hashes, %s, cannot be read: %s", store, error)
        return None
    return str(row[0]) if row else None


def _note(path: Path, stamps: tuple[int, int, int], digest: str) -> None:
    store = cache_dir("content.sqlite")
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(store, timeout=5)) as connection, connection:
            connection.execute(_TABLE)
            connection.execute(
                "INSERT OR REPLACE INTO content VALUES (?, ?, ?, ?, ?)",
                (str(path), *stamps, digest),
            )
    except (OSError, sqlite3.Error) as error:
        _LOG.warning("the cache of content hashes, %s, cannot be written: %s", store, error)


def _index_file(digest: str, *, full: bool) -> Path:
    # Which packets yield a picture may change with the decoder, so its version is part of the key.
    kind = "full" if full else "index"
    return cache_dir("indexes") / f"{digest}-{packets.FORMAT}-av{version('av')}.{kind}.npz"


def recall_index(digest: str, *, full: bool) -> packets.PacketIndex | None:
    """Return the remembered index of a content, None if there is none that can be read."""
    file = _index_file(digest, full=full)
    try:
        return packets.load(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        _LOG.warning("the frame index %s cannot be read and is made anew: %s", file, error)
        return None


def note_index(digest: str, index: packets.PacketIndex, *, full: bool) -> None:
    """Remember the index of a content."""
    file = _index_file(digest, full=full)
    try:
        write_atomically(file, packets.dump(index))
    except OSError as error:
        _LOG.warning("the frame index %s cannot be kept: %s", file, error)


def _doubt_file(digest: str) -> Path:
    return cache_dir("indexes") / f"{digest}.doubt"


def is_doubted(digest: str) -> bool:
    """Say whether a frame of this content once failed to decode: then only full decoding tells."""
    return _doubt_file(digest).exists()


def note_doubt(digest: str) -> None:
    """Remember that the quick index of this content was wrong."""
    try:
        write_atomically(_doubt_file(digest), b"")
    except OSError as error:
        _LOG.warning("%s cannot be written: %s", _doubt_file(digest), error)
