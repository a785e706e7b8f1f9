"""Captured calls, run: chunks that fit into a core's cache go through the whole chain, on threads.

The calls of a stage see one chunk after the other, so what a call makes is still in the cache when
the next reads it. A call that needs a whole result (a reduced one) begins another stage.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from functools import cache, reduce
from pathlib import Path
from typing import Any

import numpy as np

from foveal.errors import FovealError, OperationalError
from foveal.udfs.functions.split_types import NDARRAY, Reduce, cut, joined, row_bytes
from foveal.udfs.functions.splitting import Lazy, Ready

_DEFAULT_CACHE = 1 << 20
_SHARE = 0.5
"""How much of the cache the widest array of a chunk may take."""
_TRIED = (0.5, 1.0, 2.0)
"""Chunk sizes that the first chunks try, in multiples of what should fit; the fastest stays."""


@cache
def cache_bytes() -> int:
    """Return the bytes of a core's second-level cache, as Linux tells them; 1 MiB elsewhere."""
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level = (index / "level").read_text().strip()
            size = (index / "size").read_text().strip()
        except OSError:
            continue
        if level == "2" and size[-1:] in "KM":
            return int(size[:-1]) << (10 if size[-1] == "K" else 20)
    return _DEFAULT_CACHE


def threads_available() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def evaluate(
    wanted: Sequence[Lazy], threads: int | None = None, chunk: int | None = None
) -> list[Any]:
    """Run what the lazy values need and return their values.

    `threads`: None takes all processors; `chunk`: rows, None for what fits the cache.

    Raises:
        OperationalError: 38000, a function raised: it is named, with its rows.
    """
    calls = _needed(wanted)
    while calls:
        stage = _stage(calls)
        inside = set(map(id, stage))
        later = [c for c in calls if id(c) not in inside]
        outside = {id(a) for call in later for a in call.reads()} | {id(w) for w in wanted}
        # What reads an array before it is written cannot run again later.
        outside |= {id(a) for call in stage for a in call.after}
        kept = [c for c in stage if id(c) in outside or isinstance(c.result_split, Reduce)]
        _run(stage, kept or stage[-1:], threads or threads_available(), chunk)
        calls = later
    return [w.known for w in wanted]


def _needed(wanted: Sequence[Lazy]) -> list[Lazy]:
    """Return the calls that are not known yet, in the order in which they were made."""
    found: dict[int, Lazy] = {}
    stack = list(wanted)
    while stack:
        call = stack.pop()
        if call.is_known or id(call) in found:
            continue
        found[id(call)] = call
        stack.extend(call.reads())
    return sorted(found.values(), key=lambda call: call.number)


def _stage(calls: Sequence[Lazy]) -> list[Lazy]:
    """Return the calls that go through one pass over the chunks: none needs a whole result."""
    chosen: dict[int, Lazy] = {}
    rows: int | None = None
    for call in calls:
        whole_ready = all(a.is_known for a in call.whole_reads())
        split_ready = all(
            a.is_known or (id(a) in chosen and not isinstance(a.result_split, Reduce))
            for a in call.chunk_reads()
        ) and all(a.is_known or id(a) in chosen for a in call.after)
        if whole_ready and split_ready and rows in (None, call.rows):
            rows = call.rows
            chosen[id(call)] = call
    return list(chosen.values())


class _Outcome:
    """What the chunks of one kept call gave, by their first rows."""

    def __init__(self, call: Lazy, rows: int) -> None:
        self.call, self.rows = call, rows
        self.parts: dict[int, Any] = {}
        self.whole: Any = None
        self._lock = threading.Lock()

    def add(self, start: int, stop: int, value: Any) -> None:
        """Keep a chunk's result: arrays are written into their place at once."""
        if self.call.target is not None:
            return  # it wrote its chunk where it belongs
        array = isinstance(value, NDARRAY) and value.ndim and len(value) == stop - start
        if array and not isinstance(self.call.result_split, Reduce) and stop - start < self.rows:
            with self._lock:
                if self.whole is None and not self.parts:
                    self.whole = np.empty((self.rows, *value.shape[1:]), value.dtype)
            whole = self.whole
            if whole is not None and whole.dtype == value.dtype:
                whole[start:stop] = value
                return
        with self._lock:
            self.parts[start] = value

    def result(self, spans: Sequence[tuple[int, int]]) -> Any:
        """Return the call's value."""
        if self.call.target is not None:
            return self.call.target
        if isinstance(self.call.result_split, Reduce):
            ordered = [self.parts[start] for start in sorted(self.parts)]
            return reduce(self.call.result_split.function(), ordered)
        if not self.parts:
            return self.whole
        whole = self.whole
        parts = [
            self.parts[start] if start in self.parts else whole[start:stop]
            for start, stop in sorted(spans)
        ]
        return joined(parts, self.rows)


def _run(stage: list[Lazy], kept: list[Lazy], threads: int, chunk: int | None) -> None:
    rows = stage[0].rows
    outcomes = {id(call): _Outcome(call, rows) for call in kept}
    last_use = _last_uses(stage)
    spans: list[tuple[int, int]] = []
    failed: list[BaseException] = []
    chunks = _Chunks(rows, chunk or fitting_rows(stage), fixed=chunk is not None)

    def work() -> None:
        while not failed:
            span = chunks.take()
            if span is None:
                return
            start, stop = span
            begun = time.perf_counter()
            try:
                _chunk(stage, outcomes, last_use, start, stop)
            except BaseException as error:
                failed.append(error)
                return
            chunks.took(stop - start, time.perf_counter() - begun)
            spans.append(span)

    count = max(1, min(threads, -(-rows // chunks.size)))
    others = [threading.Thread(target=work, name="foveal-split") for _ in range(count - 1)]
    for thread in others:
        thread.start()
    work()
    for thread in others:
        thread.join()
    if failed:
        raise failed[0]
    for call in kept:
        call.set(outcomes[id(call)].result(spans))


def fitting_rows(stage: Sequence[Lazy]) -> int:
    """Return the rows of which one array takes a share of the cache.

    Not all arrays of a chain together: then chunks are so small that Python between the calls, one
    thread at a time, takes more than the next cache's latency (measured).
    """
    width = max((row_bytes(value) for call in stage for value in call.split_values()), default=8)
    return max(int(cache_bytes() * _SHARE) // max(1, width), 1)


class _Chunks:
    """Hands out spans of rows; the first ones tell which size is the fastest."""

    def __init__(self, rows: int, size: int, *, fixed: bool) -> None:
        self.rows, self.size = rows, size
        self._at = 0
        self._empty = rows == 0  # then there is one chunk, of no rows
        self._lock = threading.Lock()
        enough = not fixed and rows > size * int(sum(_TRIED)) * 4
        self._trials = [max(1, int(size * factor)) for factor in _TRIED] * 2 if enough else []
        self._seconds: dict[int, float] = {}

    def take(self) -> tuple[int, int] | None:
        """Return the next span, None at the end."""
        with self._lock:
            if self._at >= self.rows and not self._empty:
                return None
            self._empty = False
            size = self._trials.pop(0) if self._trials else self.size
            start, self._at = self._at, min(self.rows, self._at + size)
            return start, self._at

    def took(self, rows: int, seconds: float) -> None:
        """Take note of a chunk's time: the best rate of a size counts, first calls are slow."""
        with self._lock:
            rate = seconds / max(1, rows)
            self._seconds[rows] = min(rate, self._seconds.get(rows, rate))
            if not self._trials and len(self._seconds) >= len(_TRIED):
                self.size = min(self._seconds, key=lambda size: self._seconds[size])
                self._seconds = {self.size: 0.0}


def _last_uses(stage: Sequence[Lazy]) -> dict[int, int]:
    """Return for each call of a stage the place of the last one that reads it."""
    last: dict[int, int] = {}
    for place, call in enumerate(stage):
        for read in call.split_reads():
            last[id(read)] = place
    return last


def _chunk(
    stage: Sequence[Lazy], outcomes: dict[int, _Outcome], last_use: dict[int, int],
    start: int, stop: int,
) -> None:  # fmt: skip
    """Run every call of a stage over one span of rows."""
    at_hand: dict[int, Any] = {}
    for place, call in enumerate(stage):
        value = _called(call, at_hand, start, stop)
        if call.target is not None:
            value = cut(call.target, start, stop)
        if id(call) in outcomes:
            outcomes[id(call)].add(start, stop, value)
        at_hand[id(call)] = value
        for read in call.split_reads():
            if last_use[id(read)] == place:
                at_hand.pop(id(read), None)  # its memory is free for the next


def _called(call: Lazy, at_hand: dict[int, Any], start: int, stop: int) -> Any:
    arguments = [_given(a, call, at_hand, start, stop) for a in call.arguments]
    named = {name: _given(a, call, at_hand, start, stop) for name, a in call.named.items()}
    try:
        return call.function(*arguments, **named)
    except FovealError:
        raise
    except Exception as error:
        raise OperationalError(
            f"{call.name}() failed on rows {start} to {stop - 1}: {type(error).__name__}: {error}",
            sqlstate="38000",
        ) from error


def _given(argument: Ready, call: Lazy, at_hand: dict[int, Any], start: int, stop: int) -> Any:
    value = argument.value
    if isinstance(value, Lazy):
        if not argument.split:
            return value.known
        if id(value) in at_hand:
            return at_hand[id(value)]
        value = value.known
    if not argument.split:
        return value
    return value if stop - start == call.rows else cut(value, start, stop)
