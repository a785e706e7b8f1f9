"""Cheap looks at real clips: thumbnails from the decoder's scaler against full pictures made small.

    FOVEAL_ASSETS=... python benches/thumbnails.py [--quick] [--json]

Milliseconds of wall time per frame, the best of several interleaved runs, on one thread and in
this process. Peers: PyAV's full RGB picture made gray and small by OpenCV's area average;
OpenCV's own capture, likewise. Last, the store: megabytes per second written durably and read
back, against one file written by NumPy (without a sync or a checksum) and read.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from report import arguments, report

from foveal.connectors.video.source import VideoFile
from foveal.connectors.video.thumbnails import PATH
from foveal.engine.cache.manifest import Manifest
from foveal.engine.cache.thumbnails import BYTES, ThumbnailStore
from foveal.planner.protocols import THUMBNAIL, DecodeCounters

CLIPS = ("vtest.avi", "one-by-one-person-detection.mp4", "bangkok_half_res.mp4")

Frames = npt.NDArray[np.int64]
Run = Callable[[], int]
"""One measured run; returns the number of frames it gave."""


def find(name: str) -> Path:
    """Return an asset's path from the folders of FOVEAL_ASSETS."""
    for folder in os.environ.get("FOVEAL_ASSETS", "").split(os.pathsep):
        if folder and (Path(folder) / name).is_file():
            return Path(folder) / name
    sys.exit(f"no folder of FOVEAL_ASSETS holds {name}: this bench needs the real clips")


def thumbnails(video: VideoFile, frames: Frames) -> int:
    """Read thumbnails by foveal."""
    read = video.thumbnails(frames, counters=DecodeCounters(), cancel=lambda: None)
    return sum(len(numbers) for numbers, _ in read)


def pictures(video: VideoFile, frames: Frames) -> int:
    """Read full pictures by foveal, as a detector gets them."""
    read = video.read(frames, counters=DecodeCounters(), cancel=lambda: None)
    return sum(1 for _ in read)


def small(picture: npt.NDArray[np.uint8], code: int) -> None:
    """Make a full picture small and gray with OpenCV."""
    cv2.resize(cv2.cvtColor(picture, code), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)


def by_pyav(path: Path) -> int:
    """Decode with PyAV on one thread, convert to RGB, make small."""
    count = 0
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        for frame in container.decode(video=0):
            small(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), cv2.COLOR_RGB2GRAY)
            count += 1
    return count


def by_opencv(path: Path) -> int:
    """Decode with OpenCV's capture, make small."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    count = 0
    while True:
        found, picture = capture.read()
        if not found:
            break
        small(np.asarray(picture, np.uint8), cv2.COLOR_BGR2GRAY)
        count += 1
    capture.release()
    return count


def best(runs: dict[str, Run], repeats: int) -> dict[str, tuple[float, float]]:
    """Return the best milliseconds per frame of each run, and how far its worst is off (share)."""
    took: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            began = time.perf_counter()
            frames = run()
            took[name].append(1e3 * (time.perf_counter() - began) / frames)
    return {name: (min(each), max(each) / min(each) - 1) for name, each in took.items()}


def bench(name: str, repeats: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of one clip."""
    path = find(f"video/{name}")
    video = VideoFile(path, name, isolate=False)
    count = video.index.frames
    every = np.arange(count)
    spread = np.sort(np.random.default_rng(0).choice(count, 40, replace=False))
    keys = np.flatnonzero(video.index.is_key)
    found = best(
        {
            "straight": lambda: thumbnails(video, every),
            "full pictures": lambda: pictures(video, every),
            "PyAV, OpenCV": lambda: by_pyav(path),
            "OpenCV": lambda: by_opencv(path),
            "40 at random": lambda: thumbnails(video, spread),
            "40 full at random": lambda: pictures(video, spread),
            "keyframes": lambda: thumbnails(video, keys),
        },
        repeats,
    )
    clip = name.split(".")[0]
    for case, peer in (
        ("straight", "PyAV, OpenCV"), ("straight", "OpenCV"), ("straight", "full pictures"),
        ("40 at random", "40 full at random"), ("keyframes", "straight"),
    ):  # fmt: skip
        (ours, spread_), (theirs, _) = found[case], found[peer]
        yield row(f"{clip}: {case}", peer, ours, theirs, theirs / ours, spread_, "ms/frame")


def store(count: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of the store: `count` thumbnails written, read first, read again."""
    block = np.random.default_rng(0).integers(0, 256, (4000, THUMBNAIL, THUMBNAIL), np.uint8)
    megabytes = count * BYTES / 1e6
    every = np.arange(count)
    took: dict[str, float] = {}

    def timed(name: str, run: Callable[[], object]) -> None:
        began = time.perf_counter()
        run()
        took[name] = megabytes / (time.perf_counter() - began)

    def append(kept: ThumbnailStore) -> None:
        for first in range(0, count, len(block)):
            kept.append("v", every[first : first + len(block)], block)

    with tempfile.TemporaryDirectory() as folder:
        manifest = Manifest(Path(folder) / "store")
        timed("written", lambda: append(ThumbnailStore(manifest, PATH)))
        manifest.close()
        manifest = Manifest(Path(folder) / "store")
        kept = ThumbnailStore(manifest, PATH)
        timed("read, checked", lambda: kept.read("v", every))
        timed("read again", lambda: kept.read("v", every))
        manifest.close()
        plain = Path(folder) / "plain.npy"
        whole = np.concatenate([block] * (count // len(block)))
        timed("np.save", lambda: np.save(plain, whole))
        timed("np.load", lambda: np.load(plain))
    for case, peer in (
        ("written", "np.save"), ("read, checked", "np.load"), ("read again", "np.load"),
    ):  # fmt: skip
        ours, theirs = took[case], took[peer]
        yield row(f"{count} thumbnails {case}", peer, ours, theirs, ours / theirs, 0.0, "MB/s")


def row(
    case: str, peer: str, ours: float, theirs: float, ratio: float, spread: float, unit: str
) -> dict[str, Any]:
    """Return one row of the report."""
    return {
        "case": case,
        "peer": peer,
        "ours": round(ours, 3),
        "theirs": round(theirs, 3),
        "ratio": round(ratio, 3),
        "spread": round(spread, 3),
        "unit": unit,
    }


def main() -> None:
    options = arguments(__doc__ or "")
    cv2.setNumThreads(1)
    clips, repeats, count = (CLIPS[2:], 2, 8000) if options.quick else (CLIPS, 5, 36_000)
    rows = [found for name in clips for found in bench(name, repeats)]
    report("thumbnails", [*rows, *store(count)], quiet=options.json)


if __name__ == "__main__":
    main()
