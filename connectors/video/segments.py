"""A source's packets in, Matroska files of one window each out; no picture is decoded.

A window begins with a keyframe, so that its file can be read by itself, and ends before the first
keyframe at which it has lasted as long as it should.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

if TYPE_CHECKING:
    from av.container import OutputContainer

JUMP = 10.0
"""Seconds by which a clock may run ahead from one packet to the next before that is a break."""
SLACK = 1.0
"""Seconds by which it may go back: a container may know decoding times only roughly."""
_REORDER = 32
"""Frames by which decoding may be ahead of showing, for sources that do not say."""


class Cutter:
    """Writes packets into window files and tells of each that is finished.

    What it tells: `number`, `path`, `ts` (seconds of the stream before it), `seconds`, `received`
    (packets of pictures since the last window's end, kept or not), `kept` (those in the file),
    `started` (Unix time of its first packet), `dts` (its last packet's, in the source's units).
    """

    def __init__(
        self,
        folder: Path,
        window: float,
        *,
        first: int,
        ts: float,
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        """Write windows of `window` seconds into `folder`, numbered from `first`."""
        self._folder = folder
        self._window = window
        self._number = first
        self._ts = ts
        self._tell = tell
        self._out: OutputContainer | None = None
        self._received = self._kept = 0
        self._ended: float | None = None

    def begin(self, stream: Any, *, after: int | None) -> None:
        """Start on a newly opened stream; packets up to decoding stamp `after` are known."""
        self._stream = stream
        self._after = after
        self._tick = Fraction(stream.time_base or Fraction(1, 1000))
        rate = stream.average_rate or stream.base_rate
        step = 1 / Fraction(rate) if rate else Fraction(1, 25)
        self._step = max(1, round(step / self._tick))
        self._last: int | None = None
        self._shown = -self._step
        self._stood: int | None = None
        if self._ended is not None:  # a clock that starts anew goes on where the old one was
            self._ts += time.monotonic() - self._ended
            self._ended = None

    def take(self, packet: Any) -> None:
        """Take the next packet of pictures."""
        if packet.size == 0 or packet.is_discard:
            return
        dts = packet.dts
        if self._last is not None and dts is not None:
            step = (dts - self._last) * self._tick
            if not -SLACK <= step < JUMP:
                self.finish()
                self._ended = self._after = None
        if dts is not None:
            self._last = dts
        if self._after is not None:
            if dts is None or dts <= self._after:
                return
            self._after = None
        shown = packet.pts if packet.pts is not None else dts
        if shown is None:  # a bare stream carries no clock: its rate is one
            shown = self._shown + self._step
        if packet.is_keyframe and self._out is not None:
            # Half a frame early is not early: stamps are rounded.
            lasted = shown - self._first + self._step / 2
            if lasted * self._tick >= self._window:
                self.finish()
                self._ended = None
        self._received += 1
        if self._out is None:
            if not packet.is_keyframe:
                return  # nothing can be made of it without the pictures before
            self._open(shown)
        self._keep(packet, shown, dts)

    def _keep(self, packet: Any, shown: int, dts: int | None) -> None:
        """Write a packet into the window under way.

        The muxer wants decoding stamps that rise and are not after the picture's; Matroska does not
        store them. Where there is none (the first packets of a Matroska source) the next tick does.
        """
        assert self._out is not None
        self._end = max(self._end, shown + self._step)
        self._shown = shown
        self._kept += 1
        self._stood = dts
        packet.pts = shown - self._first
        least = self._written + 1
        packet.dts = min(packet.pts, least if dts is None else max(least, dts - self._first))
        self._written = packet.dts
        packet.stream = self._target
        self._out.mux_one(packet)

    def _open(self, shown: int) -> None:
        path = self._folder / f"{self._number:06d}.mkv.part"
        # Bit-exact: the same packets make the same bytes, so that what is known of them is found.
        out = av.open(path, "w", format="matroska", options={"fflags": "+bitexact"})
        self._target = out.add_stream_from_template(self._stream)
        self._out, self._path = out, path
        self._first = self._end = shown
        self._written = -_REORDER * self._step
        self._started = time.time()

    def finish(self) -> None:
        """End the window under way, if there is one, and tell of it."""
        if self._out is None:
            return
        self._out.close()
        self._out = None
        path = self._path.with_suffix("")
        os.replace(self._path, path)
        seconds = float((self._end - self._first) * self._tick)
        self._tell(
            {
                "number": self._number,
                "path": str(path),
                "ts": self._ts,
                "seconds": seconds,
                "received": self._received,
                "kept": self._kept,
                "started": self._started,
                "dts": self._stood,
            }
        )
        self._ts += seconds
        self._number += 1
        self._received = self._kept = 0
        self._ended = time.monotonic()
