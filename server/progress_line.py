"""One line on a terminal that says how far a statement is, and goes away when it ends."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

from foveal.reports import Progress

_PATIENCE_SECONDS = 1.0
_REFRESH_SECONDS = 0.1


class ProgressLine:
    """Shows `Progress` on a stream once a statement takes more than a second."""

    def __init__(self, stream: TextIO) -> None:
        """Draw on `stream`, a terminal."""
        self._stream = stream
        self._drawn_at: float | None = None

    def __call__(self, progress: Progress) -> None:
        """Draw the line again, ten times a second at most."""
        now = time.monotonic()
        if progress.elapsed < _PATIENCE_SECONDS:
            return
        if self._drawn_at is not None and now - self._drawn_at < _REFRESH_SECONDS:
            return
        self._drawn_at = now
        room = shutil.get_terminal_size().columns - 1
        self._stream.write("\r\x1b[K" + describe(progress)[:room])
        self._stream.flush()

    def erase(self) -> None:
        """Take the line away."""
        if self._drawn_at is not None:
            self._drawn_at = None
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def describe(progress: Progress) -> str:
    """Return where a statement stands: stage, frames, running estimate, time left.

    >>> describe(Progress("detect", 1200, 9000, 3.0, 19.5, 0.61, 0.58, 0.64))
    'detect 1,200/9,000 frames · 0.61 ± 0.03 · 20 s left'
    """
    total = "" if progress.total is None else f"/{progress.total:,}"
    parts = [f"{progress.stage} {progress.done:,}{total} frames"]
    if progress.estimate is not None and progress.low is not None and progress.high is not None:
        half = (progress.high - progress.low) / 2
        parts.append(f"{progress.estimate:.4g} ± {half:.2g}")
    if progress.remaining is not None:
        parts.append(f"{seconds(progress.remaining)} left")
    return " · ".join(parts)


def seconds(duration: float) -> str:
    """Return a duration for a person.

    >>> seconds(0.012), seconds(75), seconds(4000)
    ('12 ms', '1 min 15 s', '1 h 06 min')
    """
    if duration < 0.995:
        return f"{duration * 1000:.0f} ms"
    if duration < 9.95:
        return f"{duration:.1f} s"
    whole = round(duration)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
