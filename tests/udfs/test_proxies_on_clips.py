"""Kernel ridge regression on a real clip, against a detector's counts of every frame."""

import csv
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from foveal.connectors.video.source import VideoFile
from foveal.planner.protocols import DecodeCounters
from foveal.udfs.models.proxies import fit

pytestmark = pytest.mark.assets


def asset(name: str) -> Path:
    for root in os.environ.get("FOVEAL_ASSETS", "").split(os.pathsep):
        found = sorted(Path(root).rglob(name)) if root else []
        if found:
            return found[0]
    pytest.skip(f"FOVEAL_ASSETS has no {name}")


def counts(name: str, column: str) -> npt.NDArray[np.float64]:
    with asset(name).open() as file:
        return np.array([float(row[column]) for row in csv.DictReader(file)])


def test_people_of_vtest_near_and_far_from_labels() -> None:
    """Squared correlations with 150 drawn labels: about .83 near them, half and more far away."""
    values = counts("vtest_yolox_nano_person_counts.csv", "yolox_nano_person")
    video = VideoFile(asset("vtest.avi"), "vtest.avi", isolate=False)
    every = np.arange(video.index.frames)
    read = video.thumbnails(every, counters=DecodeCounters(), cancel=lambda: None)
    pictures = np.concatenate([part for _, part in read])
    assert len(pictures) == len(values)
    breaks = np.array([0, len(values)])
    near: list[float] = []
    for seed in range(3):
        drawn = np.random.default_rng(seed).choice(len(values), 150, replace=False)
        labelled = np.sort(drawn).astype(np.int64)
        fitted = fit(
            lambda p: pictures[p], video.index.ts, labelled, values[labelled], breaks,
            seed=0, families=["kernel"], cancel=lambda: None,
        )  # fmt: skip
        rest = np.setdiff1d(every, labelled)
        scores = fitted.score(
            lambda p: pictures[p], rest, times=video.index.ts, breaks=breaks, cancel=lambda: None
        )
        near.append(float(np.corrcoef(scores, values[rest])[0, 1] ** 2))
        assert fitted.r2 > fitted.r2_time
        assert abs(fitted.r2_near - near[-1]) < 0.12  # what left-out labels said was about right
    assert 0.75 < np.mean(near) < 0.92


def test_a_dense_stream_of_equal_traffic_is_refused() -> None:
    values = counts("bangkok_yolox_nano_car_counts.csv", "yolox_nano_car")
    video = VideoFile(asset("bangkok_half_res.mp4"), "bangkok.mp4", isolate=False)
    read = video.thumbnails(
        np.arange(video.index.frames), counters=DecodeCounters(), cancel=lambda: None
    )
    pictures = np.concatenate([part for _, part in read])
    labelled = np.arange(0, len(values) // 3)
    fitted = fit(
        lambda p: pictures[p], video.index.ts, labelled, values[labelled],
        np.array([0, len(values)]), seed=0, cancel=lambda: None,
    )  # fmt: skip
    assert not fitted.useful
