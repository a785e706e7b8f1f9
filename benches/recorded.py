"""One naive run per video and detector, kept on disk; peers are answered from it at real prices.

The naive run decodes every frame and calls the real detector on it, once per machine; what it found
and took is kept under the user's cache folder, named by the video's bytes, the detector's key and
the number of cores. A peer's looks are answered from there. It is charged, per call, what the
detector takes *now* (`measure`: real calls on a stretch of the video, at every repetition), and for
decoding what the frames that it touched cost in one sorted pass: per frame decoded, per seek and
per picture converted, fitted to real reads at the same moment. Both favour the peer: it decodes
nothing twice and waits for nothing else. All of it on two clocks, the wall's and the processors',
because other work on the machine moves the first.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from eye import BATCH, Frames, Measure, Values
from scipy import optimize

from foveal.connectors.cachedir import cache_dir
from foveal.connectors.video.reader import SEEK_COST
from foveal.connectors.video.source import VideoFile
from foveal.planner.protocols import DecodeCounters, Detections, Detector

STRETCH, SPREAD = 64, 16
"""Frames that prices are measured on: in a row, and spread over the video."""

Seconds = npt.NDArray[np.float64]
"""Wall seconds and processor seconds, [2]."""


def clock() -> Seconds:
    """Return the time on both clocks; processors' time of child processes that ended counts."""
    spent = os.times()
    return np.array([time.perf_counter(), sum(spent[:4])])


@dataclass(frozen=True, slots=True)
class Prices:
    """Seconds per detector call, frame decoded, seek, and picture converted."""

    call: Seconds
    frame: Seconds
    seek: Seconds
    picture: Seconds


class Recording:
    """What the detector says of every frame of a video, and what finding out took."""

    def __init__(self, path: Path, detector: Detector) -> None:
        """Load the naive run of this video and detector, or make it."""
        self.video = VideoFile(path, path.name, isolate=False)
        self.frames = self.video.index.frames
        self.detector = detector
        self._values: dict[Measure, Values] = {}
        self._thumbnails: tuple[npt.NDArray[np.uint8], Seconds] | None = None
        starts = self.video.index.frame_start
        first: Frames = np.full(int(starts.max()) + 1, self.frames, np.int64)
        np.minimum.at(first, starts, np.arange(self.frames, dtype=np.int64))
        self._group_first: Frames = first[starts]
        name = f"{self.video.content_hash} {detector.info.key} {os.cpu_count()}"
        digest = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
        kept = cache_dir("benches") / f"naive-{digest}.npz"
        if kept.is_file():
            with np.load(kept) as stored:
                self.decode, self.detect = (float(s) for s in stored["seconds"])
                self._take(stored["starts"], stored["boxes"], stored["scores"], stored["classes"])
            self.fresh = False
        else:
            self._run(kept)
            self.fresh = True

    def _run(self, kept: Path) -> None:
        """Look at every frame, and keep what was found."""
        every = np.arange(self.frames, dtype=np.int64)
        found, decode, detect, _ = self._look(every, detect=True)
        self.decode, self.detect = float(decode[0]), float(detect[0])
        starts = np.concatenate(([0], np.cumsum([len(one.scores) for one in found])))
        boxes = np.concatenate([one.boxes for one in found])
        scores = np.concatenate([one.scores for one in found])
        classes = np.concatenate([one.classes for one in found])
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}.npz")
        np.savez(partial, starts=starts, boxes=boxes, scores=scores, classes=classes,
                 seconds=np.array([self.decode, self.detect]))  # fmt: skip
        partial.replace(kept)
        self._take(starts, boxes, scores, classes)

    def _take(
        self,
        starts: npt.NDArray[np.int64],
        boxes: npt.NDArray[np.float32],
        scores: npt.NDArray[np.float32],
        classes: npt.NDArray[np.int32],
    ) -> None:
        self.found = [
            Detections(boxes[a:b], scores[a:b], classes[a:b])
            for a, b in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
        ]

    def _look(
        self, frames: Frames, *, detect: bool
    ) -> tuple[list[Detections], Seconds, Seconds, DecodeCounters]:
        """Return detections, seconds of decoding and of detecting, and what was decoded."""
        counters, seconds, start = DecodeCounters(), np.zeros(2), clock()
        found: list[Detections] = []
        batch: list[npt.NDArray[np.uint8]] = []

        def flush() -> None:
            nonlocal seconds
            began = clock()
            found.extend(self.detector.detect(batch))
            seconds = seconds + clock() - began
            batch.clear()

        for _, picture in self.video.read(frames, counters=counters, cancel=lambda: None):
            if detect:
                batch.append(picture)
                if len(batch) == BATCH:
                    flush()
        if batch:
            flush()
        return found, clock() - start - seconds, seconds, counters

    def values(self, measure: Measure) -> Values:
        """Return a measure of every frame, float64 [frames]."""
        if measure not in self._values:
            names = self.detector.info.classes
            found = [measure(one, names) for one in self.found]
            self._values[measure] = np.array(found, np.float64)
        return self._values[measure]

    def thumbnails(self) -> tuple[npt.NDArray[np.uint8], Seconds]:
        """Return every frame's gray picture, uint8 [frames, 96, 96], and the seconds they took."""
        if self._thumbnails is None:
            began = clock()
            every = np.arange(self.frames, dtype=np.int64)
            parts = self.video.thumbnails(every, counters=DecodeCounters(), cancel=lambda: None)
            pictures = np.concatenate([part for _, part in parts])
            self._thumbnails = pictures, clock() - began
        return self._thumbnails

    def measure(self, seed: int) -> Prices:
        """Return what calls and decoding cost at this moment, by doing some of each."""
        rng = np.random.default_rng(seed)
        length = min(STRETCH, self.frames)
        start = int(rng.integers(0, self.frames - length + 1))
        row = np.arange(start, start + length, dtype=np.int64)
        spread = np.sort(rng.choice(self.frames, min(SPREAD, self.frames), replace=False))
        _, took, detect, counters = self._look(row, detect=True)
        did = [(counters.frames_decoded, counters.seeks, length)]
        seconds = [took]
        for some in (row[::4], spread.astype(np.int64)):
            _, took, _, counters = self._look(some, detect=False)
            did.append((counters.frames_decoded, counters.seeks, len(some)))
            seconds.append(took)
        counted, took = np.array(did, np.float64), np.array(seconds)
        fitted = [optimize.nnls(counted, took[:, kind])[0] for kind in range(2)]
        frame, seek, picture = np.array(fitted).T
        return Prices(detect / length, frame, seek, picture)

    def decoding(self, frames: Frames, prices: Prices) -> Seconds:
        """Return the seconds of one sorted pass over `frames`."""
        if not len(frames):
            return np.zeros(2)
        firsts = self._group_first[frames]
        last = np.flatnonzero(np.append(firsts[1:] != firsts[:-1], True))
        begin, end = firsts[last], frames[last]
        runs_on = begin[1:] - end[:-1] <= SEEK_COST
        decoded = int((end - begin + 1).sum()) + int((begin[1:] - end[:-1] - 1)[runs_on].sum())
        seeks = int((~runs_on).sum()) + int(begin[0] > 0)
        return decoded * prices.frame + seeks * prices.seek + len(frames) * prices.picture


class RecordedEye:
    """One peer's view of a recorded video: what it looks at is put on its bill."""

    def __init__(self, recording: Recording, prices: Prices) -> None:
        """Begin with nothing seen."""
        self.recording = recording
        self.video = recording.video
        self.frames = recording.frames
        self._prices = prices
        self._seen = np.zeros(self.frames, np.bool_)
        self._spent = {stage: np.zeros(2) for stage in ("decode", "train", "proxy")}

    def look(self, frames: Frames, measure: Measure) -> Values:
        """Return the measure at sorted frames, float64 [n]; each frame is paid for once."""
        self._seen[frames] = True
        return self.recording.values(measure)[frames]

    def thumbnails(self) -> npt.NDArray[np.uint8]:
        """Return every frame's gray picture, uint8 [frames, 96, 96]; its decoding is paid for."""
        pictures, took = self.recording.thumbnails()
        self.charge("decode", took)
        return pictures

    def charge(self, stage: str, seconds: Seconds) -> None:
        """Put seconds on the bill."""
        self._spent[stage] = self._spent[stage] + seconds

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """Which frames were looked at, [frames]."""
        return self._seen

    @property
    def calls(self) -> int:
        """How many frames the detector was called for."""
        return int(self._seen.sum())

    @property
    def bill(self) -> dict[str, Seconds]:
        """What was spent, by stage."""
        frames = np.flatnonzero(self._seen).astype(np.int64)
        decode = self._spent["decode"] + self.recording.decoding(frames, self._prices)
        return {**self._spent, "decode": decode, "detect": len(frames) * self._prices.call}
