"""How the benches' peers look at a video: decode and detect for real, every cost on one bill.

A peer gets an `Eye` with nothing remembered. It reads frames by the same decoder and calls the
same ONNX detector with the same threads as foveal does, so that only what it decides differs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from foveal.connectors import assets
from foveal.connectors.video.source import VideoFile
from foveal.planner.protocols import DecodeCounters, Detections, Detector
from foveal.udfs import detectors

Frames = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]
Measure = Callable[[Detections, tuple[str, ...]], float]
"""What a question makes of one frame's detections; the detector's classes come along."""

BATCH = 8


@dataclass(slots=True)
class Bill:
    """What a peer spent: seconds by stage and detector calls."""

    calls: int = 0
    seconds: dict[str, float] = field(
        default_factory=lambda: {"decode": 0.0, "detect": 0.0, "train": 0.0, "proxy": 0.0}
    )

    @property
    def total(self) -> float:
        """Seconds altogether."""
        return sum(self.seconds.values())


class View(Protocol):
    """What a way to answer may do with a video: look at frames, each paid for once."""

    @property
    def frames(self) -> int:
        """How many frames there are."""
        ...

    def look(self, frames: Frames, measure: Measure) -> Values:
        """Return the measure at sorted frames, float64 [n]."""
        ...


class Eye:
    """One peer's view of one video."""

    def __init__(self, path: Path, detector: Detector) -> None:
        """Open the video; nothing is decoded yet."""
        self.video = VideoFile(path, path.name, isolate=False)
        self.frames = self.video.index.frames
        self.bill = Bill()
        self._detector = detector
        self._seen: dict[int, Detections] = {}

    def look(self, frames: Frames, measure: Measure) -> Values:
        """Return the measure at sorted frames, float64 [n]; each frame is paid for once."""
        missing = np.array([f for f in frames.tolist() if f not in self._seen], np.int64)
        batch: list[tuple[int, npt.NDArray[np.uint8]]] = []

        def flush() -> None:
            began = time.perf_counter()
            found = self._detector.detect([picture for _, picture in batch])
            self.bill.seconds["detect"] += time.perf_counter() - began
            self.bill.calls += len(batch)
            for (number, _), one in zip(batch, found, strict=True):
                self._seen[number] = one
            batch.clear()

        began = time.perf_counter()
        stream = self.video.read(missing, counters=DecodeCounters(), cancel=lambda: None)
        for number, picture in stream:
            self.bill.seconds["decode"] += time.perf_counter() - began
            batch.append((number, picture))
            if len(batch) == BATCH:
                flush()
            began = time.perf_counter()
        if batch:
            flush()
        names = self._detector.info.classes
        return np.array([measure(self._seen[f], names) for f in frames.tolist()], np.float64)

    def thumbnails(self) -> npt.NDArray[np.uint8]:
        """Return every frame's gray picture, uint8 [frames, 96, 96]; its decoding is paid for."""
        began = time.perf_counter()
        every = np.arange(self.frames, dtype=np.int64)
        parts = self.video.thumbnails(every, counters=DecodeCounters(), cancel=lambda: None)
        pictures = np.concatenate([part for _, part in parts])
        self.bill.seconds["decode"] += time.perf_counter() - began
        return pictures

    def spend(self, stage: str, began: float) -> None:
        """Put the time since `began` on the bill."""
        self.bill.seconds[stage] += time.perf_counter() - began


def load(name: str, options: Mapping[str, str | int | float | bool]) -> Detector:
    """Return a detector, warmed up: loading is nobody's cost."""
    detector = detectors.load(
        name, options=dict(options), resolve=assets.resolve, threads=0, device="cpu"
    )
    detector.detect([np.zeros((64, 64, 3), np.uint8)])
    return detector


def count_of(wanted: str) -> Measure:
    """Return the measure that counts one class."""

    def measure(found: Detections, names: tuple[str, ...]) -> float:
        return float(np.count_nonzero(found.classes == names.index(wanted)))

    return measure


def presence_of(wanted: str) -> Measure:
    """Return the measure that is 1 where a class is in sight."""

    def measure(found: Detections, names: tuple[str, ...]) -> float:
        return float((found.classes == names.index(wanted)).any())

    return measure
