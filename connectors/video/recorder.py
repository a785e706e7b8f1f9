"""The recording child process: a source's packets in, files of one window each out, not decoded.

Started as `python -m foveal.connectors.video.recorder`. One line of JSON on stdin says what to do
(see `recording.Recording`); every answer is a line of JSON on stdout: `segment` (a window's file is
finished), `note` (something to tell the user), then `end` or `error`. When stdin closes, nobody
wants the rest, and the process leaves at once; what it was writing keeps its name ending in .part.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import av
from av.error import FFmpegError, InvalidDataError
from av.logging import PANIC, set_level

from foveal.connectors.video.addresses import PROTOCOLS
from foveal.connectors.video.faults import reason
from foveal.connectors.video.segments import Cutter
from foveal.connectors.video.stream import FORMATS

if TYPE_CHECKING:
    from av.container import InputContainer

Message = dict[str, Any]

_POLL = 0.05
"""Seconds between two looks at a file that may grow."""
_RETRY = (0.2, 0.5, 1.0, 2.0)
"""Seconds before each further try to connect again; the last one repeats."""
_NO_PROTOCOL = "none"
"""A whitelist without any protocol: a file is read by us, and may name no other address."""


class Lost(Exception):
    """The source cannot be opened, ended, or fell silent; the text says which."""


class GrowingFile:
    """A file that is read while somebody still writes it: at its end one waits for more.

    PyAV reads from it. It cannot be sought in, so no demuxer runs ahead of the writer.
    """

    def __init__(self, path: Path, patience: float) -> None:
        """Open a file that counts as ended after `patience` seconds without growing."""
        self._file = path.open("rb", buffering=0)
        self._path = path
        self._patience = patience

    def read(self, size: int) -> bytes:
        """Return at least one byte, or none when the file no longer grows."""
        grew = time.monotonic()
        while True:
            data = self._file.read(size)
            if data or time.monotonic() - grew > self._patience or self._replaced():
                return data or b""
            time.sleep(_POLL)

    def at(self, place: int, size: int) -> bytes:
        """Return up to `size` bytes from a place, waiting for the first of them."""
        self._file.seek(place)
        return self.read(size)

    def _replaced(self) -> bool:
        """Whether the name means another file by now, or this one was cut off."""
        try:
            now = self._path.stat()
        except OSError:
            return True
        mine = os.fstat(self._file.fileno())
        return (now.st_ino, now.st_dev) != (mine.st_ino, mine.st_dev) or (
            now.st_size < self._file.tell()
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Recorder:
    """Records one source until it ends."""

    def __init__(self, request: Message, answers: IO[bytes]) -> None:
        """Take what to record and where to answer."""
        self._scheme = str(request["scheme"])
        self._address = str(request["address"])
        self._stall = float(request["stall"])
        self._reconnect = float(request["reconnect"])
        self._resume: int | None = request.get("resume")
        self._answers = answers
        self._cutter = Cutter(
            Path(request["folder"]),
            float(request["window"]),
            first=int(request["first"]),
            ts=float(request["ts"]),
            tell=lambda segment: self._send({"segment": segment}),
        )

    def _send(self, message: Message) -> None:
        self._answers.write(json.dumps(message).encode() + b"\n")
        self._answers.flush()

    def run(self) -> None:
        """Record; every way in which it can end is an answer."""
        try:
            self._record(self._open())
        except Lost as lost:
            self._send({"error": {"sqlstate": "58030", "message": str(lost)}})
            return
        if self._scheme == "file":
            self._send({"end": "the file no longer grows"})
            return
        while True:
            container = self._open_again()
            if container is None:
                self._send({"end": f"the source did not come back in {self._reconnect:g} s"})
                return
            self._record(container)

    # --- opening ---------------------------------------------------------------------------

    def _open(self) -> InputContainer:
        """Open the source.

        Raises:
            Lost: it cannot be opened, or holds no pictures that could be kept.
        """
        try:
            container = self._opened()
        except (FFmpegError, OSError) as error:
            raise Lost(f"it cannot be opened ({reason(error)})") from error
        stream = container.streams.best("video")
        if stream is None:
            container.close()
            raise Lost("it holds no video stream")
        if stream.codec_context.name == "rawvideo":
            container.close()
            raise Lost("its pictures are not compressed, which would fill the disk")
        return container

    def _opened(self) -> InputContainer:
        options = {"format_whitelist": FORMATS}
        if self._scheme == "file":
            return self._opened_file(options)
        if self._scheme == "camera":
            name, kind = _camera(int(self._address))
            wanted = {"input_format": "mjpeg"} if kind == "v4l2" else {}
            return self._connected(name, wanted, kind)
        options["protocol_whitelist"] = PROTOCOLS[self._scheme]
        if self._scheme == "rtsp":
            # Over TCP no packet is lost between camera and here. The demuxer is FFmpeg's own for
            # this scheme, and no file can ask for it.
            options |= {"rtsp_transport": "tcp", "format_whitelist": f"{FORMATS},rtsp"}
        return self._connected(self._address, options)

    def _connected(
        self, address: str, options: dict[str, str], kind: str | None = None
    ) -> InputContainer:
        patience: Any = (self._stall, self._stall)  # the stubs want a Real, which no float is
        return av.open(address, "r", kind, options, metadata_errors="replace", timeout=patience)

    def _opened_file(self, options: dict[str, str]) -> InputContainer:
        path = Path(self._address)
        layout = mp4_layout(path, self._stall)
        if layout == "unfinished":
            raise Lost(
                "it is an MP4 whose table is written at its end, so it cannot be read before; "
                "record fragmented MP4, MKV or TS, or wait for its end"
            )
        if layout == "table last":
            options["protocol_whitelist"] = "file"
            return av.open(f"file:{path}", "r", options=options, metadata_errors="replace")
        options["protocol_whitelist"] = _NO_PROTOCOL
        growing: Any = GrowingFile(path, self._stall)
        opened = av.open(growing, "r", options=options, metadata_errors="replace")
        return cast("InputContainer", opened)

    def _open_again(self) -> InputContainer | None:
        """Try to open the source until it works, None when the patience for that is over."""
        begin, tries = time.monotonic(), 0
        while (left := begin + self._reconnect - time.monotonic()) > 0:
            time.sleep(min(left, _RETRY[min(tries, len(_RETRY) - 1)]))
            tries += 1
            try:
                container = self._open()
            except Lost:
                continue
            self._send({"note": f"connected again after {time.monotonic() - begin:.1f} s"})
            return container
        return None

    # --- recording -------------------------------------------------------------------------

    def _record(self, container: InputContainer) -> None:
        """Record what an open source gives, until it ends or fails."""
        stream = container.streams.best("video")
        assert stream is not None
        why, failed = "the source ended", False
        self._cutter.begin(stream, after=self._resume)
        self._resume = None
        try:
            for packet in _packets(container, stream):
                self._cutter.take(packet)
        except (FFmpegError, OSError) as error:
            why = f"reading failed ({reason(error)})"
            failed = True
        finally:
            self._cutter.finish()
            container.close()
        if self._scheme != "file":
            self._send({"note": f"connection lost: {why}"})
        elif failed:
            raise Lost(why)


def _packets(container: InputContainer, stream: Any) -> Iterator[Any]:
    """Yield the video packets; damage is stepped over as long as the source goes on."""
    failures = 0
    demux = cast("Callable[[Any], Iterator[Any]]", container.demux)
    demuxed = demux(stream)
    while True:
        try:
            packet = next(demuxed, None)
        except InvalidDataError:
            failures += 1
            if failures > 100:
                raise
            demuxed = demux(stream)
            continue
        if packet is None or (packet.size == 0 and packet.dts is None):
            return
        failures = 0
        yield packet


def mp4_layout(path: Path, patience: float) -> str:
    """Return how a file can be read: `stream` from its front, `table last`, or `unfinished`.

    The last two are MP4 files whose pictures come before the table that says where they are.
    """
    growing = GrowingFile(path, patience)
    try:
        kinds: list[bytes] = []
        size = 0
        while len(kinds) < 1000:
            head = growing.at(size, 16)
            if len(head) < 8 or (not kinds and head[4:8] != b"ftyp"):
                break
            kinds.append(head[4:8])
            if kinds[-1] in (b"moov", b"moof"):
                break
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length < 8:  # 0: up to the end of the file
                break
            size += length
    finally:
        growing.close()
    if b"mdat" not in kinds:
        return "stream"
    return "table last" if kinds[-1] == b"moov" else "unfinished"


def _camera(number: int) -> tuple[str, str]:
    """Return how this system calls a camera, and FFmpeg's name for such devices."""
    if sys.platform == "darwin":
        return f"{number}:none", "avfoundation"
    if sys.platform == "win32":
        return f"video={number}", "dshow"
    return f"/dev/video{number}", "v4l2"


def main() -> None:
    """Record what stdin asks for. Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_level(PANIC)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers
    request: Message = json.loads(sys.stdin.buffer.readline())

    def leave() -> None:
        sys.stdin.buffer.read()
        os._exit(0)  # even from within a network read: nobody is left to answer to

    threading.Thread(target=leave, daemon=True).start()
    Recorder(request, answers).run()
    os._exit(0)  # the thread holds stdin, which a tidy end would wait for


if __name__ == "__main__":
    main()
