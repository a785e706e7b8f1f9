"""A stream being followed: recorded windows in; each looked at within its budget, kept, and told.

A window's frames are sampled uniformly without replacement, so that its interval is valid for its
frames by itself, whatever came before. What is told as the estimate interpolates between the frames
that were looked at (`planner.estimators.windows`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from foveal.engine.catalog.definitions import ListedVideo
from foveal.engine.catalog.videos import LiveTable, Positions
from foveal.engine.context import QueryContext
from foveal.engine.inference import objects_at
from foveal.engine.stream_log import Logged, StreamLog
from foveal.engine.stream_options import StreamOptions
from foveal.engine.substrate import Substrate
from foveal.errors import InterfaceError, OperationalError
from foveal.planner.estimators import Costs, FrameGroup, MeanTarget, SamplingRun
from foveal.planner.estimators.windows import aim, interpolated_mean
from foveal.reports import StreamWindow

if TYPE_CHECKING:
    from foveal.connectors.video.recording import Recorded, Recording

BACKLOG = 3
"""Finished windows of a live source that may wait; the oldest beyond are told without a look."""
_ROUND = 16
"""Frames looked at between two looks at the clock, where seconds are limited."""
_COLUMNS = ("video", "frame", "ts", "class", "confidence", "xmin", "ymin", "xmax", "ymax")


class Following:
    """One stream, followed from where its log ends until it is closed. Made for one thread."""

    def __init__(
        self,
        table: LiveTable,
        options: StreamOptions,
        log: StreamLog,
        scratch: Substrate,
        apart: Callable[[tuple[ListedVideo, ...]], LiveTable],
        *,
        confidence: float,
        seed: int,
    ) -> None:
        """Start recording. `apart` makes a table like `table` over other videos.

        Raises:
            DataError: 22023, the source's address is none. OperationalError: 58030, the recording
                cannot be written.
        """
        from foveal.connectors.video.addresses import parse_address
        from foveal.connectors.video.recording import Recording

        self._table = table
        self._options = options
        self._log = log
        self._scratch = scratch
        self._apart = apart
        self._confidence = confidence
        self._seed = seed
        self._address = parse_address(options.source)
        _ = table.detector  # loaded before the first window waits for it
        self._inode = self._file_inode()
        before = log.windows()
        last = before[-1] if before else None
        resume = None
        if last is not None and last.inode is not None and last.inode == self._inode:
            resume = last.dts
        self._recording: Recording | None = Recording(
            self._address,
            log.folder,
            window=options.window,
            stall=options.stall,
            reconnect=options.reconnect,
            first=0 if last is None else last.window.number + 1,
            ts=0.0 if last is None else last.window.ts + last.window.seconds,
            resume=resume,
        )

    def _file_inode(self) -> tuple[int, int] | None:
        if self._address.live:
            return None
        try:
            stat = Path(self._address.text).stat()
        except OSError:
            return None
        return stat.st_dev, stat.st_ino

    def next(self, context: QueryContext) -> StreamWindow | None:
        """Wait for a window, look at it and return it; None when the stream has ended.

        Raises:
            QueryCanceled: 57014; the window under way is not kept.
            OperationalError: 58030, the source fails.
        """
        recording = self._recording
        if recording is None:
            raise InterfaceError("the stream is no longer followed")
        recorded = recording.next(context.check)
        for note in recording.notes:
            context.notice(note, severity="WARNING")
        recording.notes.clear()
        if recorded is None:
            context.notice(f"the stream ended: {recording.ended}")
            self.close()
            return None
        try:
            late = self._address.live and recording.waiting > BACKLOG
            window = self._look(recorded, late, context)
            self._log.add(Logged(window, recorded.path.name, recorded.dts, self._inode))
        except BaseException:
            recorded.path.unlink(missing_ok=True)
            raise
        self._discard_old()
        return window

    def _look(self, recorded: Recorded, late: bool, context: QueryContext) -> StreamWindow:
        """Return what is to be told of a window."""
        upper = float(self._table.definition.max_count)
        window = StreamWindow(
            number=recorded.number,
            video=recorded.path.name,
            started=datetime.fromtimestamp(recorded.started, UTC),
            ts=recorded.ts,
            seconds=recorded.seconds,
            frames=0,
            frames_dropped=recorded.received,
            calls=0,
            estimate=None,
            low=0.0,
            high=upper,
            confidence=self._confidence,
            guarantee="none",
        )
        live = self._apart((ListedVideo(window.video, str(recorded.path)),))
        live.detector = self._table.detector
        try:
            frames = live.frames
        except OperationalError as error:
            if error.sqlstate != "58030":
                raise
            context.notice(f"window {window.number} is lost: {error.message}", severity="WARNING")
            return window
        window = replace(window, frames=frames, frames_dropped=max(0, recorded.received - frames))
        if late:
            context.notice(
                f"window {window.number} was not looked at: {BACKLOG} later ones wait",
                severity="WARNING",
            )
            return window
        return self._sampled(live, window, context) if frames else window

    def _sampled(
        self, live: LiveTable, window: StreamWindow, context: QueryContext
    ) -> StreamWindow:
        options, begun = self._options, time.perf_counter()
        upper, delta = window.high, 1 - self._confidence
        calls = context.report.detector_calls
        every = np.arange(window.frames, dtype=np.int64)
        known = live.processed()
        seen = _Seen(every[known], self._counts(live, every[known], context))
        rest = int((~known).sum())
        error = options.error
        if error is None:
            error = aim(rest, min(options.budget_calls, rest), upper, delta) * rest / len(every)
        group = FrameGroup(
            every,
            (MeanTarget(upper=upper, epsilon=error or None, integer=True),),
            known=known,
            known_values=seen.values[:, None],
        )
        run = SamplingRun(
            [group],
            delta=delta,
            seed=self._seed + window.number,
            costs=Costs(detect=live.facts().profile.detect_frame),
            temporal=False,
        )
        context.report.frames_total += window.frames
        while (limit := self._affordable(live, calls, begun, context)) > 0:
            batch = run.next_batch(limit=limit)
            if batch is None:
                break
            values = self._counts(live, batch, context)
            run.add(batch, values)
            seen = seen.joined(batch, values)
        (answer,) = run.intervals()
        if answer.low is None or answer.high is None or answer.estimate is None:
            return window
        estimate = answer.estimate
        if answer.guarantee != "exact" and len(seen.places):
            near = interpolated_mean(seen.places, np.minimum(seen.values, upper), len(every))
            estimate = min(max(near, answer.low), answer.high)
        if answer.clipped:
            context.notice(
                f"window {window.number}: {answer.clipped} frame(s) held more than max_count = "
                f"{upper:g} objects and count as {upper:g}"
            )
        return replace(
            window,
            calls=context.report.detector_calls - calls,
            estimate=estimate,
            low=answer.low,
            high=answer.high,
            guarantee=answer.guarantee,
        )

    def _affordable(self, live: LiveTable, calls: int, begun: float, context: QueryContext) -> int:
        """Return how many frames may be looked at next."""
        options = self._options
        limit = options.budget_calls - (context.report.detector_calls - calls)
        if options.budget_seconds is None:
            return limit
        profile = live.facts().profile
        each = profile.detect_frame + min(profile.seek, 4 * profile.decode_frame)
        left = options.budget_seconds - (time.perf_counter() - begun)
        return min(limit, _ROUND, int(left / each) if each > 0 else limit)

    def _counts(
        self, live: LiveTable, positions: Positions, context: QueryContext
    ) -> npt.NDArray[np.float64]:
        """Return float64 [frames]: the objects that count in each frame, detected where need be."""
        out = np.zeros(len(positions))
        if len(positions):
            rows = objects_at(live, positions, _COLUMNS, context)
            found = self._scratch_counts(rows)
            out[np.searchsorted(positions, found[:, 0])] = found[:, 1]
        return out

    def _scratch_counts(self, rows: object) -> npt.NDArray[np.int64]:
        return count_objects(self._scratch, rows, self._options.where)

    def _discard_old(self) -> None:
        if self._options.keep is None:
            return
        kept = [logged for logged in self._log.windows() if not logged.gone]
        seconds = sum(logged.window.seconds for logged in kept)
        for logged in kept[:-1]:
            if seconds - logged.window.seconds < self._options.keep:
                return
            seconds -= logged.window.seconds
            self._log.forget(logged)

    def close(self) -> None:
        """Stop recording. May be called twice."""
        if self._recording is not None:
            self._recording.close()
            self._recording = None


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """Frames that are known, ascending, and their counts."""

    places: Positions
    values: npt.NDArray[np.float64]

    def joined(self, places: Positions, values: npt.NDArray[np.float64]) -> _Seen:
        together = np.concatenate((self.places, places))
        order = np.argsort(together)
        return _Seen(together[order], np.concatenate((self.values, values))[order])


def count_objects(scratch: Substrate, rows: object, where: str) -> npt.NDArray[np.int64]:
    """Return int64 [frames with an object that counts, 2]: frame and number of objects.

    Raises:
        FovealError: `where` is no condition over the columns of an object.
    """
    from foveal.engine.executor import named

    condition = f" WHERE ({where}\n)" if where.strip() else ""
    sql = f"SELECT frame, count(*) FROM __objects{condition} GROUP BY frame"
    with named(scratch, {"__objects": rows}):  # pyright: ignore[reportArgumentType]
        found = scratch.table(sql)
    return np.stack([column.to_numpy() for column in found.columns], axis=1).astype(np.int64)
