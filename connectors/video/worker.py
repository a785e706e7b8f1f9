"""The decoding child process: requests come in on stdin, answers leave on stdout, pictures by ring.

Started as `python -m foveal.connectors.video.worker RING_FD`. A message is one line of JSON; a key
`bytes` says how many raw bytes follow it. Requests: `index` (path, full), `read` and `thumbnails`
(path, slots and their size, index or not, frames). While one is worked on, `free` gives slots of
the ring back and `stop` ends it. When stdin closes, the parent is gone and the process leaves at
once.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from foveal.connectors.video import packets
from foveal.connectors.video.ring import Ring
from foveal.errors import FovealError
from foveal.planner.protocols import DecodeCounters

if TYPE_CHECKING:
    import numpy.typing as npt

    from foveal.connectors.video.stream import Stream

ALIVE = 0.5
"""Seconds after which a busy child says that it lives."""

Message = dict[str, Any]


class _Stopped(Exception):
    """The parent wants no more of this request."""


class Worker:
    """Serves one request at a time until stdin closes."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes], ring: Ring) -> None:
        """Listen to `requests` in a thread, so that `stop` is heard while decoding."""
        self._answers = answers
        self._ring = ring
        self._inbox: queue.SimpleQueue[tuple[Message, bytes]] = queue.SimpleQueue()
        self._index: packets.PacketIndex | None = None
        self._open: tuple[Stream, tuple[Path, tuple[int, ...], bool]] | None = None
        self._parent = os.getppid()
        self._spoke = time.monotonic()
        self._slot = self._slots = self._slot_bytes = self._credits = 0
        self._request = -1
        threading.Thread(target=self._listen, args=(requests,), daemon=True).start()

    def _listen(self, requests: IO[bytes]) -> None:
        while line := requests.readline():
            message: Message = json.loads(line)
            self._inbox.put((message, requests.read(message.get("bytes", 0))))
        os._exit(0)  # even from within a codec: nobody is left to answer to

    def _send(self, message: Message, payload: bytes = b"") -> None:
        if payload:
            message["bytes"] = len(payload)
        self._answers.write(json.dumps(message).encode() + b"\n" + payload)
        self._answers.flush()
        self._spoke = time.monotonic()

    def serve(self) -> None:
        """Answer requests for ever."""
        self._send({"ready": os.getpid()})
        while True:
            try:
                message, payload = self._inbox.get(timeout=1.0)
            except queue.Empty:
                self._leave_if_orphaned()
                continue
            if "op" not in message:
                continue  # a late `free` or `stop` of a request that has ended
            self._request = message["id"]
            try:
                if message["op"] == "index":
                    self._build(message)
                elif message["op"] == "read":
                    self._read(message, payload)
                else:
                    self._look(message, payload)
                self._send({"id": self._request, "done": True})
            except _Stopped:
                self._send({"id": self._request, "done": True})
            except FovealError as error:
                self._send({"id": self._request, "error": _told(error)})
            except MemoryError:
                self._send(
                    {
                        "id": self._request,
                        "error": {
                            "class": "OperationalError",
                            "sqlstate": "53200",
                            "message": f'out of memory while decoding "{message["path"]}"',
                        },
                    }
                )
            except Exception as error:
                self._send(
                    {
                        "id": self._request,
                        "error": {
                            "class": "InternalError",
                            "sqlstate": "XX000",
                            "message": f'decoding "{message["path"]}" failed: {error!r}',
                            "detail": traceback.format_exc(),
                        },
                    }
                )

    def _leave_if_orphaned(self) -> None:
        # A fork of the parent may hold our stdin open, so its closing is not the only sign.
        if os.getppid() != self._parent:
            os._exit(0)

    def _heed(self) -> None:
        """Take note of what the parent said meanwhile; raise `_Stopped` when told to stop."""
        while not self._inbox.empty():
            self._note(self._inbox.get()[0])
        if time.monotonic() - self._spoke > ALIVE:
            self._leave_if_orphaned()
            self._send({"id": self._request, "alive": True})

    def _note(self, message: Message) -> None:
        if message.get("id") != self._request:
            return
        if "stop" in message:
            raise _Stopped
        self._credits += int(message.get("free", 0))

    def _build(self, message: Message) -> None:
        from foveal.connectors.video.index import build_index

        index = build_index(Path(message["path"]), full=message["full"], beat=self._heed)
        self._send({"id": self._request, "index": True}, packets.dump(index))

    def _read(self, message: Message, payload: bytes) -> None:
        from foveal.connectors.video.reader import read_frames

        index, frames = self._wanted(message, payload)
        counters = DecodeCounters()
        stream = self._opened(message, rough=False)
        pictures = read_frames(stream, index, frames, counters=counters, cancel=self._heed)
        for number, picture in pictures:
            self._fill(picture, {"frame": number}, counters)

    def _look(self, message: Message, payload: bytes) -> None:
        from foveal.connectors.video.thumbnails import read_thumbnails

        index, frames = self._wanted(message, payload)
        counters = DecodeCounters()
        stream = self._opened(message, rough=True)
        batches = read_thumbnails(stream, index, frames, counters=counters, cancel=self._heed)
        for numbers, pictures in batches:
            self._fill(pictures, {"count": len(numbers)}, counters)

    def _wanted(
        self, message: Message, payload: bytes
    ) -> tuple[packets.PacketIndex, npt.NDArray[np.int64]]:
        """Return the index and frame numbers of a request, and make its ring of slots ready."""
        if cut := int(message["index_bytes"]):
            self._index = packets.load(payload[:cut])
        assert self._index is not None
        self._slot, self._slots = 0, int(message["slots"])
        self._slot_bytes = int(message["slot_bytes"])
        self._ring.reserve(self._slots * self._slot_bytes)
        self._credits = self._slots
        return self._index, np.frombuffer(payload[cut:], np.int64)

    def _fill(
        self, pictures: npt.NDArray[np.uint8], what: Message, counters: DecodeCounters
    ) -> None:
        """Put pictures into the next slot, once it is free, and say so."""
        while self._credits == 0:
            try:
                self._note(self._inbox.get(timeout=1.0)[0])
            except queue.Empty:
                self._leave_if_orphaned()
        self._ring.write(self._slot * self._slot_bytes, pictures)
        self._credits -= 1
        cost = [counters.frames_decoded, counters.seeks, counters.seconds]
        self._send({"id": self._request, **what, "slot": self._slot, "cost": cost})
        self._slot = (self._slot + 1) % self._slots

    def _opened(self, message: Message, *, rough: bool) -> Stream:
        """Return the stream of a file, still open from the last request if that read it alike."""
        from foveal.connectors.video.stream import Stream

        key = (Path(message["path"]), tuple(message["version"]), rough)
        if self._open is not None:
            held, known = self._open
            if key == known:
                return held
            held.close()
            self._open = None
        stream = Stream(key[0], rough=rough)
        self._open = (stream, key)
        return stream


def _told(error: FovealError) -> Message:
    return {
        "class": type(error).__name__,
        "message": error.message,
        "sqlstate": error.sqlstate,
        "hint": error.hint,
        "detail": error.detail,
    }


def main() -> None:
    """Serve on the standard streams. Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers
    Worker(sys.stdin.buffer, answers, Ring(int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
