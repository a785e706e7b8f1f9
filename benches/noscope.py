"""Binary detection at 1 % false negatives and 1 % false positives, one frame of each second.

    FOVEAL_ASSETS=... python benches/noscope.py [--quick] [--hour] [--repeats N] [--only NAME]

NoScope (Kang et al., VLDB 2017) decides windows of one second, at most one frame of each, and calls
a window positive when nearly all its frames are. The question here is the same: which seconds show
the class? The peers are the detector on every frame (what the paper compares with), the detector on
the same one frame per second, and NoScope's cascade as published. Three bills side by side:

* paper: detector and network on the frames that the cascade decides; no decoding, no training, no
  labels (NoScope's accounting; for foveal, without labels bought for training or the certificate);
* cold: a new database, end to end, everything counted; and the same question again (warm);
* ten queries: ten regions of the picture asked one after the other, per query.

Errors are of windows, against the detector's own windows. foveal certifies its rates for the frames
it was asked about; a window whose one frame is not like the rest is an error of the question.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from eye import Eye, Measure, load
from hour import hour
from published import noscope_selection
from report import report
from video import find

import foveal
from foveal.planner.protocols import Detections, Detector

WRONG = 0.01
WINDOW_SHARE = 28 / 30
"""Share of a window's frames that must be positive: NoScope's released code asks for 28 of 30."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A video, its rate, and the class asked for; `left`: only objects that end left of it."""

    name: str
    path: Path
    detector: str
    options: dict[str, float]
    wanted: str
    rate: int
    left: float
    width: float
    repeats: int


def region(s: Scene, left: float) -> Measure:
    """Return the measure of a class whose boxes begin left of a line."""

    def measure(found: Detections, names: tuple[str, ...]) -> float:
        mine = (found.classes == names.index(s.wanted)) & (found.boxes[:, 0] < left)
        return float(np.count_nonzero(mine))

    return measure


def windows(values: npt.NDArray[np.float64], rate: int) -> npt.NDArray[np.bool_]:
    """Return which whole seconds are positive."""
    whole = len(values) // rate
    share = (values[: whole * rate].reshape(whole, rate) > 0).mean(axis=1)
    return share >= WINDOW_SHARE


def wrong_windows(chosen: npt.NDArray[np.int64], truth: npt.NDArray[np.bool_], rate: int) -> str:
    """Return false negative and false positive rates of windows, as words."""
    picked = np.zeros(len(truth), np.bool_)
    seconds = chosen // rate
    picked[seconds[seconds < len(truth)]] = True
    missed = (truth & ~picked).sum() / max(truth.sum(), 1)
    false = (~truth & picked).sum() / max((~truth).sum(), 1)
    return f"{missed:.1%} / {false:.1%}"


def wrong_frames(chosen: npt.NDArray[np.int64], values: npt.NDArray[np.float64], rate: int) -> str:
    """Return the same of the frames that were asked about."""
    asked = np.arange(0, len(values), rate)
    truth = values[asked] > 0
    picked = np.isin(asked, chosen)
    missed = (truth & ~picked).sum() / max(truth.sum(), 1)
    false = (~truth & picked).sum() / max((~truth).sum(), 1)
    return f"{missed:.1%} / {false:.1%}"


def statement(s: Scene, left: float) -> str:
    """Return the question in SQL."""
    return (
        f"SELECT frame FROM v WHERE class = '{s.wanted}' AND xmin < {left} "
        f"AND frame % {s.rate} = 0 FNR WITHIN {WRONG} FPR WITHIN {WRONG} AT CONFIDENCE 95%"
    )


def bench(s: Scene) -> Iterator[dict[str, Any]]:
    """Yield a row per way."""
    detector = load(s.detector, s.options)
    naive = Eye(s.path, detector)
    every = np.arange(naive.frames, dtype=np.int64)
    began = time.perf_counter()
    values = naive.look(every, region(s, s.left))
    whole = time.perf_counter() - began
    decode = naive.bill.seconds["decode"] / naive.frames
    detect = naive.bill.seconds["detect"] / naive.frames
    truth = windows(values, s.rate)
    paper = naive.frames * detect
    yield _row(
        s,
        "every frame",
        whole,
        paper,
        naive.bill.calls,
        whole,
        wrong_windows(np.flatnonzero(truth) * s.rate, truth, s.rate),
        "",
        whole,
    )
    yield from _one_per_second(s, detector, truth, values, whole, paper, detect)
    yield from _published(s, detector, truth, values, whole, paper)
    yield from _ours(s, truth, values, whole, paper, detect)
    ceiling = (decode + detect) / decode
    print(
        f"{s.name}: detector {1000 * detect:.1f} ms, decode {1000 * decode:.2f} ms a frame, "
        f"decode ceiling {ceiling:.1f}x, {truth.mean():.1%} of {len(truth)} seconds positive"
    )


def _one_per_second(
    s: Scene, detector: Detector, truth: npt.NDArray[np.bool_],
    values: npt.NDArray[np.float64], whole: float, paper: float, detect: float,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    eye = Eye(s.path, detector)
    asked = np.arange(0, eye.frames, s.rate, dtype=np.int64)
    began = time.perf_counter()
    found = asked[eye.look(asked, region(s, s.left)) > 0]
    took = time.perf_counter() - began
    yield _row(s, "one frame a second", took, eye.bill.calls * detect, eye.bill.calls, took,
               wrong_windows(found, truth, s.rate), wrong_frames(found, values, s.rate),
               whole, paper)  # fmt: skip


def _published(
    s: Scene, detector: Detector, truth: npt.NDArray[np.bool_],
    values: npt.NDArray[np.float64], whole: float, paper: float,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """NoScope as published; its paper's bill leaves out decoding, labels and training."""
    runs: list[tuple[float, float, int, Any]] = []
    for seed in range(s.repeats):
        eye = Eye(s.path, detector)
        began = time.perf_counter()
        found = noscope_selection(eye, region(s, s.left), WRONG, seed, skip=s.rate)
        took = time.perf_counter() - began
        # What is verified beyond the labelled half is the cascade's own.
        own = max(eye.bill.calls - eye.frames // 2, 0)
        each = eye.bill.seconds["detect"] / max(eye.bill.calls, 1)
        runs.append((took, own * each + eye.bill.seconds["proxy"] / s.rate, eye.bill.calls, found))
    took = statistics.median(r[0] for r in runs)
    spread = max(r[0] for r in runs) - min(r[0] for r in runs)
    found = runs[0][3].frames
    yield _row(s, "NoScope as published (no bound)", took, statistics.median(r[1] for r in runs),
               int(statistics.median(r[2] for r in runs)), took,
               wrong_windows(found, truth, s.rate), wrong_frames(found, values, s.rate),
               whole, paper, spread / took)  # fmt: skip


def _ours(
    s: Scene, truth: npt.NDArray[np.bool_], values: npt.NDArray[np.float64],
    whole: float, paper: float, detect: float,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    cold: list[float] = []
    warm: list[float] = []
    papers: list[float] = []
    tens: list[float] = []
    calls: list[int] = []
    found = np.zeros(0, np.int64)
    how = ""
    for seed in range(s.repeats):
        with tempfile.TemporaryDirectory() as folder:
            con = foveal.connect(Path(folder) / "bench.db", settings={"seed": seed})
            options = "".join(f", {k} = {v}" for k, v in s.options.items())
            con.execute(f"CREATE VIDEO TABLE v FROM '{s.path}' "
                        f"WITH (detector = '{s.detector}'{options})")  # fmt: skip
            began = time.perf_counter()
            rows = con.execute(statement(s, s.left)).fetchall()
            cold.append(time.perf_counter() - began)
            q = con.last_query()
            assert q is not None
            how = f"{q.plan_kind}, {q.guarantee}"
            calls.append(q.detector_calls)
            own = q.calls_for.get("answer", q.detector_calls)
            papers.append(own * detect + q.seconds.get("proxy", 0.0))
            found = np.unique(np.array([int(row[0]) for row in rows], np.int64))
            began = time.perf_counter()
            con.execute(statement(s, s.left)).fetchall()
            warm.append(time.perf_counter() - began)
            began = time.perf_counter()
            for k in range(1, 10):
                con.execute(statement(s, s.width * (0.1 + 0.09 * k))).fetchall()
            tens.append((time.perf_counter() - began + cold[-1]) / 10)
            con.close()
    middle = statistics.median
    errors = wrong_windows(found, truth, s.rate), wrong_frames(found, values, s.rate)
    spread = (max(cold) - min(cold)) / middle(cold)
    yield _row(
        s,
        f"foveal cold ({how})",
        middle(cold),
        middle(papers),
        int(middle(calls)),
        middle(tens),
        *errors,
        whole,
        paper,
        spread,
    )
    yield _row(
        s,
        "foveal warm",
        middle(warm),
        0.0,
        0,
        middle(warm),
        *errors,
        whole,
        paper,
        (max(warm) - min(warm)) / middle(warm),
    )


def _row(
    s: Scene, way: str, took: float, paper: float, calls: int, ten: float, window: str,
    frame: str, whole: float, naive_paper: float | None = None, spread: float = 0.0,
) -> dict[str, Any]:  # fmt: skip
    theirs = naive_paper if naive_paper is not None else paper
    return {
        "case": f"{s.name}: {way}", "peer": "the detector on every frame",
        "ours": round(took, 3), "theirs": round(whole, 3), "ratio": round(whole / took, 2),
        "spread": round(spread, 3), "unit": "s", "calls": calls,
        "paper ratio": round(theirs / paper, 1) if paper else None,
        "ten queries ratio": round(whole / ten, 2), "FNR/FPR windows": window,
        "FNR/FPR asked": frame,
    }  # fmt: skip


def scenes(options: argparse.Namespace) -> list[Scene]:
    """Return what is asked of which video."""
    yolox = {"confidence": 0.3}
    clips = [
        Scene("one-by-one person", find("video/one-by-one-person-detection.mp4"), "yolox_nano",
              yolox, "person", 10, 768, 768, options.repeats),
        Scene("vtest person, left", find("video/vtest.avi"), "yolox_nano",
              yolox, "person", 10, 150, 768, options.repeats),
        Scene("bangkok car, left", find("video/bangkok_half_res.mp4"), "yolox_nano",
              yolox, "car", 25, 60, 640, options.repeats),
    ]  # fmt: skip
    if options.hour:
        path, _ = hour()
        clips += [
            Scene("hour car", path, "demo", {}, "car", 10, 640, 640, 1),
            Scene("hour person (rare)", path, "demo", {}, "person", 10, 640, 640, 1),
        ]
    return clips[:1] if options.quick else clips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one clip, once")
    parser.add_argument("--json", action="store_true", help="print only the RESULT line")
    parser.add_argument("--hour", action="store_true", help="the rendered hour as well")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="scenes whose name holds this")
    options = parser.parse_args()
    if options.quick:
        options.repeats = 1
    rows = [row for s in scenes(options) if options.only in s.name for row in bench(s)]
    keys = ("case", "peer", "ours", "theirs", "ratio", "spread", "unit")
    report("noscope", [{k: r[k] for k in keys} for r in rows], details=rows, quiet=options.json)


if __name__ == "__main__":
    main()
