"""What can be wrong with a video file: paths in, errors and file versions out. Loads no codec."""

from __future__ import annotations

from pathlib import Path

from foveal.errors import OperationalError


class UndecodableFrame(OperationalError):
    """A frame of the index did not come out of the decoder (58030): the index was too hopeful."""

    sqlstate = "58030"


def unreadable(path: Path, why: str, *, hint: str | None = None) -> OperationalError:
    """Return the error for a file that cannot be read as video."""
    return OperationalError(f'cannot read "{path}": {why}', sqlstate="58030", hint=hint)


def file_version(path: Path) -> tuple[int, int, int]:
    """Return (size in bytes, mtime in ns, inode): equal as long as the file was not replaced.

    Raises:
        OperationalError: 58P01, there is no such file; 58030, it cannot be looked at.
    """
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise OperationalError(f'video "{path}" does not exist', sqlstate="58P01") from None
    except OSError as error:
        raise unreadable(path, reason(error)) from error
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def reason(error: BaseException) -> str:
    """Return an I/O error's text without its file name, beginning in lower case."""
    text = getattr(error, "strerror", None) or str(error)
    return text[:1].lower() + text[1:]
