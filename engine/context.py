"""What one running statement carries along: cancellation, counters, notices, progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from foveal.errors import OperationalError, QueryCanceled
from foveal.planner.protocols import DecodeCounters
from foveal.reports import Notice, Progress, ProgressCallback, QueryReport
from foveal.settings import Value

POLL = 0.05
"""Seconds between two looks at the cancel flag while waiting."""


class TimeIsUp(Exception):
    """`QueryContext.deadline` has passed: whoever set it answers with what there is."""


@dataclass(slots=True)
class QueryContext:
    """The statement's own state. One per statement; shared by the threads that work for it.

    `error` keeps what a producer raised, so that it is raised as itself and not as what DuckDB
    makes of it. `answers_when_cancelled`: a sampling aggregate is at work, which ends by itself
    with its interval; DuckDB must not be interrupted under it. `answer`: estimate, low and high of
    the running answer, where there is just one. `seconds_limit`, `calls_limit`: see `limit`.
    `deadline`: the `elapsed` at which a search gives the rows that it has, None for no limit.
    """

    settings: Mapping[str, Value]
    progress: ProgressCallback | None = None
    parameters: Mapping[str, object] = field(default_factory=dict[str, object])
    report: QueryReport = field(default_factory=QueryReport)
    counters: DecodeCounters = field(default_factory=DecodeCounters)
    cancelled: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    started: float = field(default_factory=time.perf_counter)
    error: BaseException | None = None
    answers_when_cancelled: bool = False
    seconds_limit: float | None = None
    calls_limit: int | None = None
    deadline: float | None = None
    answer: tuple[float | None, float | None, float | None] = (None, None, None)
    detect_seconds: float = 0.0
    estimate_seconds: float = 0.0
    train_seconds: float = 0.0
    proxy_seconds: float = 0.0
    compile_seconds: float = 0.0
    _last_progress: float = 0.0

    def check(self) -> None:
        """Raise when the statement is to end.

        Raises:
            QueryCanceled: 57014. TimeIsUp: the deadline has passed.
        """
        if self.cancelled.is_set() or self.stopped.is_set():
            raise QueryCanceled("the statement was cancelled")
        if self.deadline is not None and self.elapsed > self.deadline:
            raise TimeIsUp

    def limit(self, seconds: float | None, calls: int | None) -> None:
        """Let the statement spend so much from now on, where it has no interval to answer with."""
        if seconds is not None:
            self.seconds_limit = self.elapsed + seconds
        if calls is not None:
            self.calls_limit = self.report.detector_calls + calls

    def check_budget(self, calls: int) -> None:
        """Raise when `calls` more detector calls would overspend.

        Raises:
            OperationalError: 53400.
        """
        late = self.seconds_limit is not None and self.elapsed > self.seconds_limit
        over = self.calls_limit is not None and (
            self.report.detector_calls + calls > self.calls_limit
        )
        if late or over:
            raise OperationalError(
                "the BUDGET is spent and the answer is not complete",
                sqlstate="53400",
                hint="what was detected is kept: run it again to go on from there; only FCOUNT, "
                "COUNT, SUM and AVG can answer early, with an interval",
            )

    @property
    def elapsed(self) -> float:
        """Seconds since the statement began."""
        return time.perf_counter() - self.started

    def advance(self, stage: str, done: int, total: int | None) -> None:
        """Tell the progress callback, ten times a second at most."""
        if self.progress is None:
            return
        now = time.perf_counter()
        if now - self._last_progress < 0.1 and done != total:
            return
        self._last_progress = now
        elapsed = now - self.started
        remaining = elapsed * (total - done) / done if total and done else None
        self.progress(
            Progress(stage, done, total, elapsed, remaining, *self.answer)
        )  # fmt: skip

    def notice(self, message: str, *, severity: str = "NOTICE") -> None:
        """Keep a remark for the user, once."""
        remark = Notice(message, severity)
        if remark not in self.report.notices:
            self.report.notices.append(remark)

    def spend(self, stage: str, seconds: float) -> None:
        """Add to what `train` (specialised models learn), `proxy` or `compile` took."""
        if stage == "train":
            self.train_seconds += seconds
        elif stage == "compile":
            self.compile_seconds += seconds
        else:
            self.proxy_seconds += seconds

    def settle(self) -> None:
        """Write the counters into the report."""
        report = self.report
        report.frames_decoded = self.counters.frames_decoded
        report.seconds = {
            "decode": self.counters.seconds,
            "detect": self.detect_seconds,
            "train": self.train_seconds,
            "proxy": self.proxy_seconds,
            "compile": self.compile_seconds,
            "estimate": self.estimate_seconds,
            "total": self.elapsed,
        }
