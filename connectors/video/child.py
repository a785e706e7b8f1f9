"""One decoding process: requests go to `foveal.connectors.video.worker`, pictures come by ring."""

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
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.connectors.video import packets
from foveal.connectors.video.faults import UndecodableFrame, file_version
from foveal.connectors.video.ring import SLOTS, Ring, slots_for
from foveal.connectors.video.thumbnails import BATCH, BYTES
from foveal.errors import CLASSES_BY_STATE, FovealError, OperationalError
from foveal.planner.protocols import THUMBNAIL

if TYPE_CHECKING:
    from foveal.planner.protocols import CancelCheck, DecodeCounters, Frames, Image

POLL = 0.02
"""Seconds between two looks at the caller's cancel flag."""

GRACE = 0.15
"""Seconds in which a child must stop a request that nobody wants any more."""

STALLED = 60.0
"""Seconds of silence after which a busy child counts as hung; it speaks every half second."""

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
        ahead: int = SLOTS,
    ) -> Iterator[tuple[int, Image]]:
        """Yield (frame number, picture) as `reader.read_frames` does, decoded in the child.

        The child decodes up to `ahead` pictures before they are wanted.
        """
        size, shape = index.picture_bytes, (index.height, index.width, 3)
        decoded = self._decoded(
            "read", size, path, index, frames, counters=counters, cancel=cancel, ahead=ahead
        )
        for message in decoded:
            yield message["frame"], self._taken(message["slot"] * size, shape)

    def thumbnails(
        self,
        path: Path,
        index: packets.PacketIndex,
        frames: Frames,
        *,
        counters: DecodeCounters,
        cancel: CancelCheck,
    ) -> Iterator[tuple[Frames, Image]]:
        """Yield batches as `thumbnails.read_thumbnails` does, decoded in the child."""
        size, place = BATCH * BYTES, 0
        decoded = self._decoded(
            "thumbnails", size, path, index, frames, counters=counters, cancel=cancel
        )
        for message in decoded:
            count = int(message["count"])
            shape = (count, THUMBNAIL, THUMBNAIL)
            pictures = self._taken(message["slot"] * size, shape)
            place += count
            yield frames[place - count : place], pictures

    def _taken(self, offset: int, shape: tuple[int, ...]) -> Image:
        """Return what lies in the ring at `offset` and give its slot back."""
        picture = self._ring.read(offset, shape)
        self._send({"id": self._request, "free": 1})
        return picture

    def _decoded(
        self,
        op: str,
        slot_bytes: int,
        path: Path,
        index: packets.PacketIndex,
        frames: Frames,
        *,
        counters: DecodeCounters,
        cancel: CancelCheck,
        ahead: int = SLOTS,
    ) -> Iterator[Message]:
        """Yield the child's word on each slot that it filled; the caller takes the slot's content.

        Raises:
            OperationalError: 58030, what the child could not read, or its crash.
        """
        slots = slots_for(slot_bytes, ahead)
        place, before = 0, (0, 0, 0.0)
        ended = False
        try:
            self._ring.reserve(slots * slot_bytes)
            head = b"" if self.index is index else packets.dump(index)
            self.index = index
            request = {
                "op": op,
                "path": str(path),
                "version": file_version(path),
                "slots": slots,
                "slot_bytes": slot_bytes,
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
                cost: tuple[int, int, float] = tuple(message["cost"])
                counters.frames_decoded += cost[0] - before[0]
                counters.seeks += cost[1] - before[1]
                counters.seconds += cost[2] - before[2]
                before = cost
                place += int(message.get("count", 1))
                yield message
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
