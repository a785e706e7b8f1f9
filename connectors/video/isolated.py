"""Decoding in child processes: a path and frame numbers in, pictures out; a crash is an error.

Video files are untrusted input to large C libraries. Here they are opened in a child
(`foveal.connectors.video.worker`), which also decodes ahead while the caller works. Children are
reused, and end when the parent ends or closes them. POSIX only: the ring is inherited as a file
descriptor.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.connectors.video import packets
from foveal.connectors.video.faults import UndecodableFrame, file_version
from foveal.connectors.video.ring import Ring, slots_for
from foveal.errors import CLASSES_BY_STATE, FovealError, OperationalError

if TYPE_CHECKING:
    from foveal.planner.protocols import CancelCheck, DecodeCounters, Frames, Image

POLL = 0.02
"""Seconds between two looks at the caller's cancel flag."""

GRACE = 0.15
"""Seconds in which a child must stop a request that nobody wants any more."""

STALLED = 60.0
"""Seconds of silence after which a busy child counts as hung; it speaks every half second."""

IDLE = 2
"""Children kept for the next read."""

Message = dict[str, Any]


class _Gone(Exception):
    """The child's answers ended."""


class Child:
    """One decoding process and its ring. Used by one thread at a time."""

    def __init__(self) -> None:
        """Start the process."""
        self.index: packets.PacketIndex | None = None
        """The index that the child holds."""
        self._ring = Ring()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed in `close`
        self._request = 0
        self._inbox: queue.SimpleQueue[tuple[Message, bytes] | None] = queue.SimpleQueue()
        # The parent's import path, so that the child finds the same packages; -P and no empty
        # entry, so that a file in the user's folder cannot shadow a module.
        paths = os.pathsep.join(part for part in sys.path if part)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "foveal.connectors.video.worker", str(self._ring.fd)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            pass_fds=(self._ring.fd,),
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._receive_all, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def _receive_all(self) -> None:
        answers = self._process.stdout
        assert answers is not None
        while line := answers.readline():
            try:
                message: Message = json.loads(line)
            except ValueError:
                break  # cut off in the middle of a line
            payload = answers.read(message.get("bytes", 0))
            self._inbox.put((message, payload))
        self._inbox.put(None)

    def _send(self, message: Message, payload: bytes = b"") -> None:
        requests = self._process.stdin
        assert requests is not None
        if payload:
            message["bytes"] = len(payload)
        try:
            requests.write(json.dumps(message).encode() + b"\n" + payload)
            requests.flush()
        except (BrokenPipeError, ValueError):
            raise _Gone from None

    def _receive(self, cancel: CancelCheck) -> tuple[Message, bytes]:
        """Return the next answer to the current request, polling `cancel` while waiting."""
        waited = 0
        while True:
            cancel()
            try:
                answer = self._inbox.get(timeout=POLL)
            except queue.Empty:
                # Turns are counted, not seconds: a suspended machine is no hung decoder.
                waited += 1
                if waited * POLL > STALLED:
                    self.kill()
                continue
            if answer is None:
                raise _Gone
            waited = 0
            if answer[0].get("id") == self._request and "alive" not in answer[0]:
                return answer

    def _begin(self, message: Message, payload: bytes = b"") -> None:
        self._request += 1
        self._send({**message, "id": self._request}, payload)

    def build_index(self, path: Path, *, full: bool, cancel: CancelCheck) -> packets.PacketIndex:
        """Return the index of a file, built in the child."""
        ended = False
        try:
            self._begin({"op": "index", "path": str(path), "full": full})
            message, payload = self._receive(cancel)
            ended = "error" in message
            if ended:
                raise _error(message["error"])
            self._receive(cancel)
            ended = True
            return packets.load(payload)
        except _Gone:
            ended = True
            raise self._crashed(path, "indexing") from None
        finally:
            if not ended:
                self._stop()

    def read(
        self,
        path: Path,
        index: packets.PacketIndex,
        frames: Frames,
        *,
        counters: DecodeCounters,
        cancel: CancelCheck,
    ) -> Iterator[tuple[int, Image]]:
        """Yield (frame number, picture) as `reader.read_frames` does, decoded in the child."""
        slots = slots_for(index.picture_bytes)
        shape = (index.height, index.width, 3)
        place, before = 0, (0, 0, 0.0)
        ended = False
        try:
            self._ring.reserve(slots * index.picture_bytes)
            head = b"" if self.index is index else packets.dump(index)
            self.index = index
            request = {
                "op": "read",
                "path": str(path),
                "version": file_version(path),
                "slots": slots,
                "index_bytes": len(head),
            }
            self._begin(request, head + np.ascontiguousarray(frames, np.int64).tobytes())
            while True:
                message, _ = self._receive(cancel)
                if "error" in message:
                    ended = True
                    raise _error(message["error"])
                if "done" in message:
                    ended = True
                    return
                picture = self._ring.read(message["slot"] * index.picture_bytes, shape)
                self._send({"id": self._request, "free": 1})
                cost: tuple[int, int, float] = tuple(message["cost"])
                counters.frames_decoded += cost[0] - before[0]
                counters.seeks += cost[1] - before[1]
                counters.seconds += cost[2] - before[2]
                before = cost
                place += 1
                yield message["frame"], picture
        except _Gone:
            ended = True
            near = frames[place : place + 1].tolist()
            where = f"at frame {near[0]}" if near else "at its end"
            raise self._crashed(path, f"decoding ({where})") from None
        finally:
            if not ended:
                self._stop()

    def _stop(self) -> None:
        """End the current request; a child that does not listen is killed."""
        try:
            self._send({"id": self._request, "stop": True})
            turns = max(1, round(GRACE / POLL))
            while turns:
                try:
                    answer = self._inbox.get(timeout=POLL)
                except queue.Empty:
                    turns -= 1
                    continue
                if answer is None:
                    return
                message = answer[0]
                if message.get("id") == self._request and ("done" in message or "error" in message):
                    return
        except _Gone:
            return
        self.kill()

    def _crashed(self, path: Path, doing: str) -> OperationalError:
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        reason = f"exit status {code}"
        if code < 0:
            reason = signal.Signals(-code).name
        return OperationalError(
            f'the decoder process ended ({reason}) while {doing} "{path}"',
            sqlstate="58030",
            hint="the file is likely damaged in a way that crashes FFmpeg; other files and the "
            "next statement are not affected",
            detail=said[-2000:] or None,
        )

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process and free what it used. Safe to call twice."""
        if self._process.stdin is not None:
            # A broken pipe: it died first, with something of ours unread.
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()
        self._ring.close()


class Pool:
    """The children at rest. Thread-safe; everything is closed at exit."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._lock = threading.Lock()
        self._idle: list[Child] = []
        self._all: set[Child] = set()

    def take(self, index: packets.PacketIndex | None = None) -> Child:
        """Return a child of the caller's own, rather one that already holds `index`."""
        taken: Child | None = None
        with self._lock:
            dead = [child for child in self._idle if not child.alive]
            self._idle = [child for child in self._idle if child.alive]
            if self._idle:
                knows = [child for child in self._idle if child.index is index]
                taken = knows[0] if knows else self._idle[-1]
                self._idle.remove(taken)
        for child in dead:
            self._end(child)
        if taken is None:
            taken = Child()
            with self._lock:
                self._all.add(taken)
        return taken

    def give(self, child: Child) -> None:
        """Take a child back."""
        with self._lock:
            if child.alive and len(self._idle) < IDLE:
                self._idle.append(child)
                return
        self._end(child)

    def _end(self, child: Child) -> None:
        child.close()
        with self._lock:
            self._all.discard(child)

    def close(self) -> None:
        """End every child, those in use as well."""
        with self._lock:
            children, self._idle = list(self._all), []
        for child in children:
            self._end(child)

    def forget(self) -> None:
        """Drop the children without touching them: after a fork they belong to the parent."""
        self._lock = threading.Lock()
        _FORGOTTEN.extend(self._all)
        self._idle, self._all = [], set()


_FORGOTTEN: list[Child] = []
"""Children of the process that we were forked from, kept so that nothing finalises them."""

POOL = Pool()
atexit.register(POOL.close)
os.register_at_fork(after_in_child=POOL.forget)


def build_index(
    path: Path, *, full: bool = False, cancel: CancelCheck = lambda: None
) -> packets.PacketIndex:
    """Return the index of a file (see `index.build_index`), built in a child process.

    Raises:
        OperationalError: 58030, the file cannot be read, or its decoder crashed.
    """
    child = POOL.take()
    try:
        return child.build_index(path, full=full, cancel=cancel)
    finally:
        POOL.give(child)


def read_frames(
    path: Path,
    index: packets.PacketIndex,
    frames: Frames,
    *,
    counters: DecodeCounters,
    cancel: CancelCheck,
) -> Iterator[tuple[int, Image]]:
    """Yield (frame number, picture uint8 RGB [H, W, 3]), decoded ahead in a child process.

    `counters.seconds` is the time that the child spent decoding, part of it while the caller
    worked. `cancel` is polled every `POLL` seconds while waiting.

    Raises:
        OperationalError: 58030, the file cannot be read, a frame cannot be decoded, or the decoder
            crashed; the next read starts a fresh child.
    """
    child = POOL.take(index)
    try:
        yield from child.read(path, index, frames, counters=counters, cancel=cancel)
    finally:
        POOL.give(child)


def _error(told: Message) -> FovealError:
    if told["class"] == UndecodableFrame.__name__:
        kind: type[FovealError] = UndecodableFrame
    else:
        kind = CLASSES_BY_STATE.get(str(told["sqlstate"])[:2], OperationalError)
    return kind(
        told["message"],
        sqlstate=told["sqlstate"],
        hint=told.get("hint"),
        detail=told.get("detail"),
    )
