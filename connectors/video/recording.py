"""A stream being recorded: an address and a folder in, finished windows out, one after the other.

The source is opened in a child process (`foveal.connectors.video.recorder`), which writes files
and decodes nothing, so that recording goes on while the caller looks at earlier windows.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.errors import OperationalError

if TYPE_CHECKING:
    from foveal.connectors.video.addresses import Address
    from foveal.planner.protocols import CancelCheck

_POLL = 0.05
"""Seconds between two looks at the caller's cancel flag."""

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A finished window. `ts`, `seconds` are of the stream, `started` is Unix time.

    `received`: packets of pictures that came since the last window's end; `kept`: those in the
    file. `dts`: the last packet's decoding stamp in the source's own units, None where it has none.
    """

    number: int
    path: Path
    ts: float
    seconds: float
    received: int
    kept: int
    started: float
    dts: int | None


class Recording:
    """Records from now on until it is closed or the source ends. Used by one thread."""

    def __init__(
        self,
        address: Address,
        folder: Path,
        *,
        window: float,
        stall: float,
        reconnect: float,
        first: int = 0,
        ts: float = 0.0,
        resume: int | None = None,
    ) -> None:
        """Start.

        Args:
            address: the source.
            folder: where the windows' files go; what an earlier recording left unfinished there
                is deleted.
            window: seconds of a window.
            stall: seconds of silence after which a file has ended and a connection is lost.
            reconnect: seconds for which a lost connection is tried again.
            first: number of the first window.
            ts: seconds of the stream before the first window.
            resume: decoding stamp up to which a file was recorded before.

        Raises:
            OperationalError: 58030, the folder cannot be written.
        """
        self.address = address
        self.notes: list[str] = []
        """What happened since somebody looked: connections lost and found."""
        self.ended = ""
        """Why there is no more, empty as long as there may be."""
        self._folder = folder
        self._inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._closed = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._discard()
        except OSError as error:
            raise OperationalError(
                f'"{folder}" cannot be written: {error.strerror or error}', sqlstate="58030"
            ) from error
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed in `close`
        paths = os.pathsep.join(part for part in sys.path if part)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "foveal.connectors.video.recorder"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        request = {
            "scheme": address.scheme,
            "address": address.text,
            "folder": str(folder),
            "window": window,
            "stall": stall,
            "reconnect": reconnect,
            "first": first,
            "ts": ts,
            "resume": resume,
        }
        requests = self._process.stdin
        assert requests is not None
        with contextlib.suppress(BrokenPipeError):  # it died: its answers' end says so
            requests.write(json.dumps(request).encode() + b"\n")
            requests.flush()
        self._reader = threading.Thread(target=self._receive_all, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def waiting(self) -> int:
        """About how many finished windows nobody took yet."""
        return self._inbox.qsize()

    def _receive_all(self) -> None:
        answers = self._process.stdout
        assert answers is not None
        for line in answers:
            try:
                self._inbox.put(json.loads(line))
            except ValueError:
                break  # cut off in the middle of a line
        self._inbox.put(None)

    def next(self, cancel: CancelCheck) -> Recorded | None:
        """Wait for the next finished window and return it; None when there will be no more.

        Raises:
            OperationalError: 58030, the source cannot be opened or read, or its reader crashed.
        """
        while not self.ended:
            cancel()
            try:
                message = self._inbox.get(timeout=_POLL)
            except queue.Empty:
                continue
            if message is None:
                raise self._crashed()
            if "segment" in message:
                told: dict[str, Any] = message["segment"]
                told["path"] = Path(told["path"])
                return Recorded(**told)
            if "note" in message:
                self.notes.append(str(message["note"]))
            elif "error" in message:
                self.ended = str(message["error"]["message"])
                raise OperationalError(
                    f'cannot record "{self.address.shown}": {self.ended}',
                    sqlstate=str(message["error"]["sqlstate"]),
                )
            else:
                self.ended = str(message["end"])
        return None

    def _crashed(self) -> OperationalError:
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        reason = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        self.ended = f"the recorder ended ({reason})"
        return OperationalError(
            f'the recorder of "{self.address.shown}" ended ({reason})',
            sqlstate="58030",
            hint="what was recorded before is kept; start again to go on",
            detail=said[-2000:] or None,
        )

    def close(self) -> None:
        """End the recording. What was not taken from it is deleted. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._errors.close()
        while not self._inbox.empty():
            message = self._inbox.get()
            if message is not None and "segment" in message:
                Path(message["segment"]["path"]).unlink(missing_ok=True)
        self._discard()

    def _discard(self) -> None:
        for part in self._folder.glob("*.part"):
            part.unlink(missing_ok=True)
