"""Difference detectors on a table's thumbnails: measured once, fitted to labels paid for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveal.engine.catalog.videos import LiveTable, Positions
from foveal.engine.context import QueryContext
from foveal.engine.thumbnails import ensure_thumbnails, thumbnails_at
from foveal.udfs.difference import (
    METRICS,
    differences,
    leaders,
    reference_image,
    threshold,
)

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[np.float64]

BACK_SECONDS = 0.5
"""How far back the frame lies that a frame may look the same as."""
BACKGROUND = 60
"""Frames of a video, spread in time, whose median is its empty scene."""
PAIRS = 2000
"""Pairs of labelled neighbours from which it is learnt what looks the same."""
WRONG_PAIRS = 0.03
"""Share of the pairs that look the same whose labels may differ."""
SPENT = 0.25
"""Share of the false negatives allowed that a reference image may cause."""
LEAST = 0.05
"""A stage that decides fewer than this share of the frames is left out."""
CHUNK = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """Frames that look `empty` (bool [N]), and those that look like their `leaders` (int64 [N])."""

    empty: Mask | None
    leaders: Positions | None
    words: str


class Stages:
    """The differences of a selection's frames, by metric."""

    def __init__(self, table: LiveTable, positions: Positions, context: QueryContext) -> None:
        """Measure every frame; thumbnails that are missing are made.

        Raises:
            QueryCanceled: 57014. OperationalError: a video fails.
        """
        self._table, self._positions, self._context = table, positions, context
        ensure_thumbnails(table, positions, context)
        nothing = np.zeros(len(positions), np.float64)
        self._empty = {metric: nothing.copy() for metric in METRICS}
        self._back = {metric: nothing + np.inf for metric in METRICS}
        self._steps = np.zeros(len(positions), np.int64)
        begin = 0
        for i, frames in table.split(positions):
            self._measure(i, frames, begin)
            begin += len(frames)

    def _measure(self, i: int, frames: Positions, begin: int) -> None:
        first = int(self._table.starts[i])
        index = self._table.videos[i].index
        seconds = self._table.video_facts(i).duration
        rate = index.frames / seconds if seconds > 0 else 1.0
        back = max(int(BACK_SECONDS * rate + 0.5), 1)
        spread = np.unique(np.linspace(0, len(frames) - 1, BACKGROUND, dtype=np.int64))
        background = reference_image(thumbnails_at(self._table, first + frames[spread]))
        for start in range(0, len(frames), CHUNK):
            self._context.check()
            reach = max(start - back, 0)
            stop = min(start + CHUNK, len(frames))
            pictures = thumbnails_at(self._table, first + frames[reach:stop])
            mine = slice(begin + start, begin + stop)
            own = pictures[start - reach :]
            earlier = np.arange(start, stop) - back
            there = earlier >= 0
            there[there] &= (
                frames[earlier[there]] == frames[start:stop][there] - back
            )  # no frame between is left out
            self._steps[mine] = back
            for metric in METRICS:
                self._empty[metric][mine] = differences(own, background, metric)
                if there.any():
                    found = differences(own[there], pictures[earlier[there] - reach], metric)
                    self._back[metric][mine][there] = found

    def fitted(self, labelled: Mask, labels: Mask, fnr: float) -> list[Stage]:
        """Return stages with thresholds by these labels: one semantics each, then both."""
        known = np.flatnonzero(labelled)
        if not len(known):
            return []
        share = float(labels[known].mean())
        empties: list[tuple[float, Mask, str]] = []
        followers: list[tuple[float, Positions, str]] = []
        for metric in METRICS:
            values = self._empty[metric]
            limit = threshold(values[known], labels[known], SPENT * fnr * share)
            empty = values < limit
            empties.append((float(empty.mean()), empty, metric))
            limit = self._same_limit(known, labels, metric)
            led = self._leaders(self._back[metric] < limit)
            follows = float((led != np.arange(len(led))).mean())
            followers.append((follows, led, metric))
        found: list[Stage] = []
        most, empty, metric = max(empties, key=lambda e: e[0])
        rejecting = f"{most:.0%} of the frames look empty ({metric} difference)"
        if most >= LEAST:
            found.append(Stage(empty, None, rejecting))
        follow, led, metric = max(followers, key=lambda e: e[0])
        inheriting = f"{follow:.0%} look like the frame {BACK_SECONDS:g} s back ({metric})"
        if follow >= LEAST:
            found.append(Stage(None, led, inheriting))
        if len(found) == 2:
            found.append(Stage(empty, led, f"{rejecting}, {inheriting}"))
        return found

    def _same_limit(self, known: Positions, labels: Mask, metric: str) -> float:
        """Return the difference up to which neighbouring labelled frames show the same."""
        video = np.searchsorted(self._table.starts[1:-1], self._positions[known], side="right")
        pairs = np.flatnonzero(video[1:] == video[:-1])
        if not len(pairs):
            return 0.0
        pairs = pairs[np.unique(np.linspace(0, len(pairs) - 1, PAIRS, dtype=np.int64))]
        one, other = known[pairs], known[pairs + 1]
        wanted = np.unique(np.concatenate([one, other]))
        pictures = thumbnails_at(self._table, self._positions[wanted])
        first = pictures[np.searchsorted(wanted, one)]
        second = pictures[np.searchsorted(wanted, other)]
        values = differences(first, second, metric)
        return threshold(values, labels[one] != labels[other], WRONG_PAIRS)

    def _leaders(self, same: Mask) -> Positions:
        """Return each frame's leader by its place; `same` holds only where no frame is left out."""
        found = np.arange(len(same), dtype=np.int64)
        breaks = np.searchsorted(self._positions, self._table.starts[1:-1])
        for back in np.unique(self._steps).tolist():
            mine = self._steps == back
            led = leaders(same & mine, int(back), breaks)
            found[mine] = led[mine]
        return found
