"""Tracks: identities kept, ids made and time taken; frames that few-look plans look at.

`python benches/tracking.py [--quick] [--json]`; real clips with FOVEAL_ASSETS. Peers are simple
rules that others publish or use, written here: consecutive frames linked at an overlap of .7
(BlazeIt), and at .3 with ten lost frames. Frames looked at are detector calls; the detections were
made before by the detectors named, or simulated where a case says so.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import report
from numpy.typing import NDArray

from foveal.connectors.video.scene import render
from foveal.planner.estimators import FrameGroup, MeanTarget, SamplingRun
from foveal.planner.estimators.distinct_tracks import largest
from foveal.udfs.detectors import load
from foveal.udfs.detectors.boxes import ious
from foveal.udfs.tracking import (
    TRACKERS,
    Clip,
    Rows,
    Sightings,
    fetch_from,
    hits_of,
    track,
    trackids,
)
from foveal.udfs.tracking.accuracy import identity
from foveal.udfs.tracking.contributions import Contributions

Ints = NDArray[np.int64]
Boxes = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """Detections of one clip, and its true rows where they are known (frame, box, id)."""

    name: str
    clip: Clip
    frames: Ints
    boxes: Boxes
    scores: NDArray[np.float32]
    kinds: Ints
    truth: tuple[Ints, Boxes, Ints] | None = None
    classes: tuple[str, ...] = ()


def linked_at(least: float, lost: int) -> Callable[[Case], Ints]:
    """Return a peer: greedy linking to each track's last box, gone after `lost` frames."""

    def follow(case: Case) -> Ints:
        ids = np.zeros(case.frames.size, np.int64)
        last: list[tuple[int, int]] = []  # (row, id) of live tracks
        count = 0
        for frame in np.unique(case.frames).tolist():
            rows = np.flatnonzero(case.frames == frame)
            last = [(r, i) for r, i in last if frame - int(case.frames[r]) <= lost + 1]
            held = np.array([r for r, _ in last], np.int64)
            overlap = ious(case.boxes[held], case.boxes[rows])
            overlap[case.kinds[held][:, None] != case.kinds[rows][None, :]] = 0
            while overlap.size and overlap.max() >= least:
                a, b = np.unravel_index(int(overlap.argmax()), overlap.shape)
                ids[rows[b]] = last[int(a)][1]
                last[int(a)] = (int(rows[b]), last[int(a)][1])
                overlap[a, :] = overlap[:, b] = 0
            for row in rows[ids[rows] == 0].tolist():
                count += 1
                ids[row] = count
                last.append((row, count))
        return ids

    return follow


PEERS = {"iou .7, next frame": linked_at(0.7, 0), "iou .3, 10 frames": linked_at(0.3, 10)}


def ours(name: str) -> Callable[[Case], Ints]:
    """Return one of foveal's trackers."""

    def follow(case: Case) -> Ints:
        return track(name, case.clip, case.frames, case.boxes, case.scores, case.kinds)

    return follow


def rendered(quick: bool) -> Iterator[Case]:
    """Yield rendered streets: true boxes, then those of foveal's own small detector."""
    detector = load("demo", options={}, resolve=Path, threads=1, device="cpu")
    scenes = [(12, 10, False), (15, 30, False)] if quick else [
        (11, 25, False), (12, 10, False), (13, 25, True), (14, 10, True), (15, 30, False)
    ]  # fmt: skip
    for seed, rate, dusk in scenes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scene.mp4"
            seconds = (150 if quick else 600) / rate if rate < 20 else (10 if quick else 40)
            truth = render(path, seed=seed, seconds=seconds, fps=rate, dusk=dusk)
            boxes = np.stack([truth.xmin, truth.ymin, truth.xmax, truth.ymax], axis=1)
            kinds = truth.kind.astype(np.int64)
            clip = Clip(truth.frames, float(rate), 640.0, 360.0)
            known = (truth.frame, boxes, truth.ident * 2 + kinds)
            sure = np.full(truth.frame.size, 0.9, np.float32)
            name = f"scene {seed}, {rate} fps{', dusk' if dusk else ''}"
            yield Case(f"{name}, true boxes", clip, truth.frame, boxes, sure, kinds, known)
            found = detected(detector, path)
            yield Case(f"{name}, demo", clip, *found, known, detector.info.classes)


def detected(detector: Any, path: Path) -> tuple[Ints, Boxes, NDArray[np.float32], Ints]:
    """Return a detector's answer on every frame of a file."""
    import av

    parts: list[Any] = []
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            (found,) = detector.detect([frame.to_ndarray(format="rgb24")])
            parts.append((np.full(found.scores.size, number), found))
    return (
        np.concatenate([n for n, _ in parts]).astype(np.int64),
        np.concatenate([d.boxes for _, d in parts]),
        np.concatenate([d.scores for _, d in parts]),
        np.concatenate([d.classes for _, d in parts]).astype(np.int64),
    )


def asset(name: str) -> Path | None:
    """Return a file of FOVEAL_ASSETS, None where no folder holds it."""
    folders = [Path(p) for p in os.environ.get("FOVEAL_ASSETS", "").split(os.pathsep) if p]
    return next((f / name for f in folders if (f / name).is_file()), None)


def real(quick: bool) -> Iterator[Case]:
    """Yield real clips: published boxes, and YOLOX-nano's."""
    published = asset("video/vtest_PETS09-S2L1_fasterrcnn_det.txt")
    if published is not None:
        table = np.loadtxt(published, delimiter=",")
        table = table[np.argsort(table[:, 0], kind="stable")]
        boxes = table[:, 2:6].astype(np.float32)
        boxes[:, 2:] += boxes[:, :2]
        yield Case(
            "vtest, 19 people, Faster R-CNN", Clip(795, 10.0, 768.0, 576.0),
            table[:, 0].astype(np.int64) - 1, boxes, table[:, 6].astype(np.float32),
            np.zeros(len(table), np.int64),
        )  # fmt: skip
    model = asset("models/yolox_nano.onnx")
    if quick or model is None:
        return
    detector = load(str(model), options={}, resolve=Path, threads=0, device="cpu")
    for name, rate, wide, high in (
        ("vtest.avi", 10.0, 768.0, 576.0),
        ("bangkok_half_res.mp4", 25.0, 640.0, 360.0),
        ("one-by-one-person-detection.mp4", 10.0, 768.0, 432.0),
    ):
        path = asset(f"video/{name}")
        if path is not None:
            frames, boxes, scores, kinds = detected(detector, path)
            clip = Clip(int(frames.max()) + 1, rate, wide, high)
            yield Case(
                f"{name}, YOLOX-nano", clip, frames, boxes, scores, kinds,
                classes=detector.info.classes,
            )  # fmt: skip


def judge(case: Case, follow: Callable[[Case], Ints]) -> tuple[int, float | None, float]:
    """Return the number of ids, identity F1 and milliseconds per frame (processor time)."""
    begun = time.process_time()
    ids = follow(case)
    each = (time.process_time() - begun) / case.clip.frames * 1e3
    f1 = None
    if case.truth is not None:
        f1 = identity(*case.truth, case.frames, case.boxes, ids).f1
    return np.unique(ids[ids > 0]).size, f1, each


def few_looks(case: Case) -> Iterator[dict[str, Any]]:
    """Yield what coarse to fine looks at, for each class of the clip."""
    place = np.arange(case.frames.size) - np.searchsorted(case.frames, case.frames)
    kinds: list[int] = np.unique(case.kinds).tolist()
    for kind in kinds:
        mine = case.kinds == kind
        if mine.sum() < 20:
            continue
        rows = Rows(case.frames[mine], place[mine], case.boxes[mine], case.scores[mine])
        present = np.unique(rows.frame).size / case.clip.frames
        for name in TRACKERS:
            sightings = Sightings(case.clip, fetch_from(rows))
            tracks = np.unique(trackids(TRACKERS[name].follow(sightings))).size
            looked = int(sightings.known.sum())
            label = case.classes[kind] if case.classes else str(kind)
            yield {
                "case": f"{case.name}: {label} ({present:.0%} of frames), {name}",
                "tracks": tracks, "frames": case.clip.frames, "looked at": looked,
            }  # fmt: skip


def simulated(hours: float, per_hour: float, rate: float, seed: int) -> tuple[Clip, Rows]:
    """Return a camera's detections: visits of about four seconds, a tenth of the rows missing."""
    rng = np.random.default_rng(seed)
    frames = int(hours * 3600 * rate)
    parts: list[NDArray[np.float64]] = []
    for _ in range(rng.poisson(hours * per_hour)):
        length = int(np.clip(rng.gamma(4.0, rate), 2, 60 * rate))
        t = np.arange(length, dtype=np.float64)
        t = t[rng.random(length) > 0.1]
        begin, lane = int(rng.integers(0, frames - length)), rng.integers(0, 5)
        x = 640 * t / length if rng.random() < 0.5 else 640 * (1 - t / length)
        y = np.full(t.size, 40.0 + 70 * lane)
        score = np.full(t.size, 0.9)
        parts.append(np.stack([begin + t, x - 30, y - 20, x + 30, y + 20, score], axis=1))
    table = np.concatenate(parts)
    table = table[np.argsort(table[:, 0], kind="stable")]
    frame = table[:, 0].astype(np.int64)
    place = np.arange(frame.size) - np.searchsorted(frame, frame)
    rows = Rows(frame, place, table[:, 1:5].astype(np.float32), table[:, 5].astype(np.float32))
    return Clip(frames, rate, 640.0, 360.0), rows


class Indexed:
    """Gives rows of sorted frames quickly."""

    def __init__(self, clip: Clip, rows: Rows) -> None:
        """Index them by frame."""
        self._rows = rows
        self._edges: Ints = np.searchsorted(rows.frame, np.arange(clip.frames + 1)).astype(np.int64)

    def __call__(self, frames: Ints) -> Rows:
        """Return the rows of these frames."""
        low, high = self._edges[frames], self._edges[frames + 1]
        counts = high - low
        before = np.repeat(np.cumsum(counts) - counts, counts)
        at: Ints = np.repeat(low, counts) + np.arange(int(counts.sum())) - before
        rows = self._rows
        return Rows(rows.frame[at], rows.place[at], rows.boxes[at], rows.scores[at])


def counted(hours: float, per_hour: float, most: int, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield what the number of tracks takes: coarse to fine, and samples at several errors."""
    clip, rows = simulated(hours, per_hour, 10.0, 3)
    fetch = Indexed(clip, rows)
    sightings = Sightings(clip, fetch)
    tracks = np.unique(trackids(TRACKERS["linked"].follow(sightings))).size
    looked = int(sightings.known.sum())
    what = f"{hours:g} h, {tracks} tracks, simulated"
    yield {"case": what, "peer": "every frame", "theirs": clip.frames, "ours": looked,
           "how": "coarse to fine", "error": 0.0}  # fmt: skip
    for guarantee, epsilon in (
        ("finite", 0.2), ("finite", 0.1), ("asymptotic", 0.1), ("asymptotic", 0.05)
    ):  # fmt: skip
        calls: list[int] = []
        errors: list[float] = []
        for seed in range(2 if quick else 5):
            seen = Sightings(clip, fetch)
            terms = Contributions(seen, np.zeros(clip.frames, np.int64))
            target = MeanTarget(
                upper=largest(most, hits_of(clip.rate)), epsilon=epsilon, relative=True,
                scale=float(clip.frames),
            )  # fmt: skip
            group = FrameGroup(np.arange(clip.frames), (target,))
            run = SamplingRun([group], guarantee=guarantee, seed=seed, temporal=False)
            while (batch := run.next_batch()) is not None:
                run.add(batch, terms(batch))
            (found,) = run.intervals()
            calls.append(int(seen.known.sum()))
            errors.append(abs((found.estimate or 0.0) / tracks - 1))
        yield {"case": what, "peer": "every frame", "theirs": clip.frames,
               "ours": round(float(np.mean(calls))), "how": f"within {epsilon:.0%}, {guarantee}",
               "error": max(errors)}  # fmt: skip


def main() -> None:
    """Measure and print."""
    chosen = report.arguments(__doc__ or "")
    rows: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    looks: list[dict[str, Any]] = []
    for case in [*rendered(chosen.quick), *real(chosen.quick)]:
        peers = {name: judge(case, follow) for name, follow in PEERS.items()}
        mine = {name: judge(case, ours(name)) for name in TRACKERS}
        for name, (ids, f1, each) in {**mine, **peers}.items():
            details.append(
                {"case": case.name, "rule": name, "ids": ids, "identity F1": f1, "ms/frame": each}
            )
        for name, (ids, f1, _) in mine.items():
            for peer, (theirs, their_f1, _) in peers.items():
                if f1 is not None and their_f1 is not None:
                    rows.append(_row(f"{case.name}, {name}", peer, f1, their_f1, "identity F1"))
                else:
                    rows.append(_row(f"{case.name}, {name}", peer, ids, theirs, "ids", less=True))
        if case.truth is None or "demo" in case.name:
            looks += few_looks(case)
    rows += [
        _row(look["case"], "every frame", look["looked at"], look["frames"], "calls", less=True)
        for look in looks
    ]
    samples = list(counted(1.0 if chosen.quick else 12.0, 400.0, 5, chosen.quick))
    rows += [
        _row(f"{f['case']}, {f['how']}", f["peer"], f["ours"], f["theirs"], "calls", less=True)
        for f in samples
    ]
    if not chosen.json:
        for part in (details, looks):
            print("\n".join(report.table(part)), end="\n\n")
    report.report("tracking", rows, details=samples, quiet=chosen.json)


def _row(
    case: str, peer: str, mine: float, theirs: float, unit: str, *, less: bool = False
) -> dict[str, Any]:
    ratio = (theirs / mine if less else mine / theirs) if mine and theirs else None
    return {"case": case, "peer": peer, "ours": mine, "theirs": theirs, "ratio": ratio,
            "spread": None, "unit": unit}  # fmt: skip


if __name__ == "__main__":
    main()
