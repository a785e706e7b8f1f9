"""YOLOX-nano and FastestDet on real clips give the counts that an independent run wrote down."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from foveal.udfs import detectors

CASES = [
    ("vtest.avi", "vtest_yolox_nano_person_counts.csv", "person"),
    ("one-by-one-person-detection.mp4", "one-by-one_yolox_nano_person_counts.csv", "person"),
    ("bangkok_half_res.mp4", "bangkok_yolox_nano_car_counts.csv", "car"),
]
FRAMES = 12


def asset(name: str) -> Path:
    folders = [Path(p) for p in os.environ.get("FOVEAL_ASSETS", "").split(os.pathsep) if p]
    for folder in folders:
        for path in (folder / name, folder / "models" / name, folder / "video" / name):
            if path.is_file():
                return path
    pytest.skip(f"{name} is in none of the folders of FOVEAL_ASSETS")


def sampled(path: Path) -> dict[int, np.ndarray]:
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        step = max(1, (stream.frames or 400) // FRAMES)
        return {
            i: frame.to_ndarray(format="rgb24")
            for i, frame in enumerate(container.decode(stream))
            if i % step == 0
        }


@pytest.mark.assets
@pytest.mark.parametrize(("clip", "truth", "word"), CASES)
@pytest.mark.parametrize(("column", "model"), [(1, "yolox_nano.onnx"), (2, "FastestDet.onnx")])
def test_counts_agree(clip: str, truth: str, word: str, column: int, model: str) -> None:
    detector = detectors.load(str(asset(model)), options={}, resolve=asset, threads=1, device="cpu")
    wanted = detector.info.classes.index(word)
    rows = list(csv.reader(asset(truth).read_text().splitlines()))[1:]
    frames = sampled(asset(clip))
    counted = [int((detector.detect([im])[0].classes == wanted).sum()) for im in frames.values()]
    stated = [int(rows[i][column]) for i in frames]
    # The writer of the counts decoded colours with another library: a box on the threshold may
    # fall on the other side, but on no frame by more than one, and on few.
    difference = np.abs(np.array(counted) - np.array(stated))
    assert difference.max() <= 1
    assert (difference == 0).mean() >= 0.8
