"""One Arrow table in one file: encoded, checksummed, written durably, read back verified.

A file is written under a temporary name, synced, and only renamed by the transaction that also
writes its manifest row; so a killed process leaves a temporary file at worst, never a torn one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from foveal.errors import FovealError, OperationalError

if TYPE_CHECKING:
    import numpy.typing as npt

SUFFIX = ".arrow"
RAW_SUFFIX = ".raw"
TEMPORARY_PREFIX = "tmp-"

FileWriter = Callable[[Path, memoryview], None]
"""Writes the bytes to a new file and returns when they are on disk; raises OSError."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What the manifest knows of one file: its name, its length in bytes and its SHA-256."""

    name: str
    length: int
    checksum: bytes


class DamagedFile(Exception):
    """A stored file is missing, cut short or altered. Caught inside the cache, never shown."""


def write_durably(path: Path, content: memoryview) -> None:
    """Write a new file and sync it."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames within `folder` survive a power loss (Windows cannot, and needs not)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def os_error(error: OSError, folder: Path) -> FovealError:
    """Return the error that the user sees for a failed file operation: 53100 or 58030."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OperationalError(
            f"could not keep results in {folder}: {reason}",
            sqlstate="53100",
            hint="free some disk space; everything kept so far is still there",
        )
    return OperationalError(
        f"could not use the cache folder {folder}: {reason}",
        sqlstate="58030",
        hint="check that the folder exists and that you may write to it",
    )


def encode_table(table: pa.Table, metadata: Mapping[bytes, bytes]) -> memoryview:
    """Return the table as an Arrow IPC file whose schema carries `metadata`."""
    marked = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
    sink = pa.BufferOutputStream()
    with pyarrow.ipc.new_file(sink, marked.schema) as writer:
        writer.write_table(marked)
    return memoryview(sink.getvalue())


def new_file(content: memoryview, suffix: str = SUFFIX) -> StoredFile:
    """Return a fresh unique name for `content`, with its length and checksum."""
    name = uuid.uuid4().hex + suffix
    return StoredFile(name, content.nbytes, hashlib.sha256(content).digest())


def read_table(folders: tuple[Path, ...], stored: StoredFile) -> pa.Table:
    """Return the table of a stored file, found in the first of `folders` that has it.

    Raises:
        DamagedFile: it is missing, cut short, altered or no Arrow file.
        OSError: it is there and cannot be read.
    """
    content = read_checked(folders, stored)
    try:
        return pyarrow.ipc.open_file(content).read_all()
    except pa.ArrowInvalid as error:
        raise DamagedFile(f"{stored.name} is no Arrow file: {error}") from error


def find_file(folders: tuple[Path, ...], stored: StoredFile) -> Path:
    """Return where a stored file is: the first of `folders` that has it.

    Raises:
        DamagedFile: none has it, or it is of another length.
    """
    for folder in folders:
        path = folder / stored.name
        try:
            length = path.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            continue
        if length != stored.length:
            raise DamagedFile(f"{stored.name} has {length} bytes instead of {stored.length}")
        return path
    raise DamagedFile(f"{stored.name} is missing")


def read_checked(folders: tuple[Path, ...], stored: StoredFile) -> bytes:
    """Return the bytes of a stored file, found in the first of `folders` that has it.

    Raises:
        DamagedFile: it is missing, cut short or altered.
        OSError: it is there and cannot be read.
    """
    content: bytes | None = None
    for folder in folders:
        try:
            content = (folder / stored.name).read_bytes()
            break
        except (FileNotFoundError, NotADirectoryError):
            continue
    if content is None:
        raise DamagedFile(f"{stored.name} is missing")
    if len(content) != stored.length:
        raise DamagedFile(f"{stored.name} has {len(content)} bytes instead of {stored.length}")
    if hashlib.sha256(content).digest() != stored.checksum:
        raise DamagedFile(f"{stored.name} does not match its checksum")
    return content


def pack_frames(frames: npt.NDArray[np.int64]) -> bytes:
    """Return sorted unique frame numbers as zlib-compressed int64 differences.

    >>> unpack_frames(pack_frames(np.array([3, 4, 9]))).tolist()
    [3, 4, 9]
    """
    return zlib.compress(np.diff(frames, prepend=np.int64(0)).astype("<i8").tobytes(), 1)


def unpack_frames(packed: bytes) -> npt.NDArray[np.int64]:
    """Return the frame numbers of `pack_frames`.

    Raises:
        DamagedFile: the bytes are none of ours.
    """
    try:
        steps = np.frombuffer(zlib.decompress(packed), dtype="<i8")
    except (zlib.error, ValueError) as error:
        raise DamagedFile(f"the list of frames is unreadable: {error}") from error
    frames = np.cumsum(steps, dtype=np.int64)
    if frames.size and (int(steps[0]) < 0 or (frames.size > 1 and int(steps[1:].min()) < 1)):
        raise DamagedFile("the list of frames is not ascending")
    return frames
