"""What was recorded of a stream: its windows as lines of JSON, appended, beside their files.

A line is written when a window was recorded and looked at; a line `gone` says that its file was
deleted. A line cut off by a crash counts as not written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foveal.errors import OperationalError
from foveal.reports import StreamWindow

_NAME = "windows.jsonl"


@dataclass(frozen=True, slots=True)
class Logged:
    """A window with what only the recording needs to know of it.

    `file`: its file's name in the stream's folder; `gone`: that was deleted. `dts` and `inode`:
    where in which file the recording stood at its end, None where it cannot go on from there.
    """

    window: StreamWindow
    file: str
    dts: int | None
    inode: tuple[int, int] | None
    gone: bool = False


class StreamLog:
    """The log of one stream's folder. One process writes it at a time: who holds the database."""

    def __init__(self, folder: Path) -> None:
        """Read nothing yet; the folder need not exist."""
        self.folder = folder
        self._read: tuple[int, list[Logged]] | None = None

    def windows(self) -> list[Logged]:
        """Return every window, oldest first.

        Raises:
            OperationalError: 58030, the log cannot be read.
        """
        path = self.folder / _NAME
        try:
            size = path.stat().st_size
            if self._read is None or self._read[0] != size:
                self._read = (size, _parse(path.read_bytes()))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unusable(path, error) from error
        return self._read[1]

    def add(self, logged: Logged) -> None:
        """Write down a window.

        Raises:
            OperationalError: 58030, the log cannot be written.
        """
        window = asdict(logged.window)
        window["started"] = logged.window.started.timestamp()
        line = {"window": window, "file": logged.file, "dts": logged.dts, "inode": logged.inode}
        self._append(line)

    def forget(self, logged: Logged) -> None:
        """Delete a window's file; what is known of it stays."""
        self._append({"gone": logged.window.number})
        (self.folder / logged.file).unlink(missing_ok=True)

    def _append(self, line: Mapping[str, object]) -> None:
        path = self.folder / _NAME
        try:
            with path.open("ab+") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        file.write(b"\n")  # after a line that a crash cut off
                file.write(json.dumps(line).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unusable(path, error) from error


def _parse(data: bytes) -> list[Logged]:
    found: dict[int, Logged] = {}
    for line in data.split(b"\n"):
        try:
            held: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        if "gone" in held:
            old = found.get(held["gone"])
            if old is not None:
                found[held["gone"]] = Logged(old.window, old.file, old.dts, old.inode, gone=True)
            continue
        told = dict(held["window"])
        told["started"] = datetime.fromtimestamp(told["started"], UTC)
        inode = held["inode"]
        window = StreamWindow(**told)
        found[window.number] = Logged(
            window, held["file"], held["dts"], None if inode is None else (inode[0], inode[1])
        )
    return list(found.values())


def _unusable(path: Path, error: OSError) -> OperationalError:
    return OperationalError(f'"{path}": {error.strerror or error}', sqlstate="58030")
