"""Precision and recall of the demonstration's detector on rendered clips that it has not seen.

    python benches/demo_detector.py [--quick] [--json]

Each clip is another seed, so another road, background, light and traffic; all seeds lie below those
of training. Clips are encoded as H.264 and decoded again; every fifth frame is judged, by boxes of
the same class at IoU 0.5 and at the detector's own confidence, against all objects of the truth.
There is no peer: `ours` is the share, `spread` the standard deviation between clips. A count error
is the mean of |objects said - objects there| per frame and class, with its standard deviation.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from report import arguments, report

from foveal.connectors.video.scene import Truth, render
from foveal.connectors.video.source import VideoFile
from foveal.planner.protocols import DecodeCounters, Detections, Detector
from foveal.udfs.detectors import load
from foveal.udfs.models.accuracy import Tally, tally

EVERY = 5
KINDS = ("car", "person")


def truth_at(truth: Truth, frame: int) -> Detections:
    """Return the true objects of one frame as detections."""
    rows = truth.frame == frame
    corners = (truth.xmin, truth.ymin, truth.xmax, truth.ymax)
    boxes = np.stack([corner[rows] for corner in corners], axis=1)
    return Detections(boxes, np.ones(len(boxes), np.float32), truth.kind[rows])


def judge(detector: Detector, path: Path, truth: Truth) -> tuple[list[Tally], list[int], float]:
    """Return a tally per class, the count errors per judged frame, and seconds of detection."""
    frames = np.arange(0, truth.frames, EVERY, dtype=np.int64)
    tallies, errors, seconds = [Tally(0, 0, 0) for _ in KINDS], list[int](), 0.0
    video = VideoFile(path, path.name, isolate=False)
    for frame, image in video.read(frames, counters=DecodeCounters(), cancel=lambda: None):
        began = time.perf_counter()
        found = detector.detect([image])[0]
        seconds += time.perf_counter() - began
        wanted = truth_at(truth, frame)
        for kind in range(len(KINDS)):
            one = tally(found, wanted, detector.info.confidence, kind=kind)
            tallies[kind] += one
            errors.append(one.said - one.wanted)
    return tallies, errors, seconds


def main() -> None:
    """Render, detect, compare, print."""
    chosen = arguments(__doc__ or "")
    clips, length = (3, 4.0) if chosen.quick else (12, 12.0)
    detector = load("demo", options={}, resolve=Path, threads=1, device="cpu")
    assert detector.info.classes == KINDS
    rows: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    everything, times, judged = Tally(0, 0, 0), 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        for dusk in (False, True):
            light = "dusk" if dusk else "day"
            per_clip: list[list[Tally]] = []
            errors: list[int] = []
            for seed in range(clips):
                path = Path(folder) / f"{light}{seed}.mp4"
                truth = render(path, seed=500 + seed, seconds=length, dusk=dusk)
                tallies, wrong, seconds = judge(detector, path, truth)
                path.unlink()
                per_clip.append(tallies)
                errors += wrong
                times, judged = times + seconds, judged + len(wrong) // len(KINDS)
            for kind, name in enumerate(KINDS):
                ours = [tallies[kind] for tallies in per_clip]
                total = sum(ours, Tally(0, 0, 0))
                everything += total
                rows.append(
                    _row(f"{light} {name} precision", [t.precision for t in ours], total.precision)
                )
                rows.append(_row(f"{light} {name} recall", [t.recall for t in ours], total.recall))
                details.append(
                    {"light": light, "class": name, "objects": total.wanted, "said": total.said,
                     "right": total.right}
                )  # fmt: skip
            missed = np.abs(errors)
            rows.append(
                _row(f"{light} count error", missed.tolist(), float(missed.mean()), "objects")
            )
    rows.append(_row("all precision", [], everything.precision))
    rows.append(_row("all recall", [], everything.recall))
    rows.append(_row("detection, 1 thread", [], times / judged * 1e3, "ms per frame", "none"))
    report("demo_detector", rows, details=details, quiet=chosen.json)


def _row(
    case: str, parts: list[float], value: float, unit: str = "share", peer: str = "truth"
) -> dict[str, Any]:
    return {
        "case": case,
        "peer": peer,
        "ours": value,
        "theirs": None,
        "ratio": None,
        "spread": float(np.std(parts)) if parts else None,
        "unit": unit,
    }


if __name__ == "__main__":
    main()
