"""The demonstration's detector: its file, its accuracy on an unseen clip, and how it is trained."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from foveal.connectors.video.scene_paint import Scene
from foveal.connectors.video.scene_samples import write_samples
from foveal.planner.protocols import Detections
from foveal.udfs.detectors import load
from foveal.udfs.models import DEMO_DETECTOR
from foveal.udfs.models.accuracy import Tally, best_threshold, hits, tally


def detections(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    """Build detections from (xmin, ymin, xmax, ymax, score, class) rows."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int32))


def test_the_file_is_small_and_says_what_it_is() -> None:
    assert DEMO_DETECTOR.stat().st_size <= 2_000_000
    model = onnx.load(str(DEMO_DETECTOR))
    stated = {entry.key: entry.value for entry in model.metadata_props}
    assert stated["foveal.family"] == "heatmap"
    assert stated["foveal.classes"] == '["car","person"]'
    assert stated["foveal.input"] == "320x192"
    assert stated["foveal.stride"] == "8"
    assert 0.1 < float(stated["foveal.confidence"]) < 0.9
    shapes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes["images"] == [0, 3, 192, 320]
    assert shapes["heatmap"] == shapes["size"] == shapes["offset"] == [0, 2, 24, 40]


@pytest.mark.parametrize("dusk", [False, True])
def test_it_finds_what_is_in_unseen_scenes(dusk: bool) -> None:
    detector = load("demo", options={}, resolve=Path, threads=1, device="cpu")
    total = Tally(0, 0, 0)
    for seed in range(100, 110):
        scene = Scene(seed, dusk=dusk)
        for _ in range(3):
            scene.advance(2.5)
            picture, objects = scene.paint()
            shown = [o for o in objects if o.counts]
            wanted = detections(*[(*o.box, 1.0, o.kind) for o in shown])
            found = detector.detect([picture])[0]
            for kind in (0, 1):
                total += tally(found, wanted, detector.info.confidence, kind=kind)
    assert total.wanted > 50
    assert total.precision >= 0.8
    assert total.recall >= 0.8


def test_hits_match_the_best_first_and_once() -> None:
    truth = detections((0, 0, 10, 10, 1, 0), (20, 0, 30, 10, 1, 1))
    found = detections(
        (1, 0, 11, 10, 0.9, 0),  # right
        (0, 0, 10, 10, 0.8, 0),  # the same object again
        (20, 0, 30, 10, 0.7, 0),  # the wrong class
        (20, 0, 30, 4, 0.6, 1),  # overlaps too little
        (20, 1, 30, 11, 0.5, 1),  # right
    )
    assert hits(found, truth).tolist() == [True, False, False, False, True]
    assert hits(found, detections()).tolist() == [False] * 5
    assert hits(detections(), truth).tolist() == []
    assert tally(found, truth, 0.55, kind=1) == Tally(0, 1, 1)
    assert Tally(0, 0, 0).precision == Tally(0, 0, 0).recall == 1.0


def test_best_threshold_balances_precision_and_recall() -> None:
    truth = [detections((0, 0, 10, 10, 1, 0)), detections((0, 0, 10, 10, 1, 0))]
    found = [
        detections((0, 0, 10, 10, 0.6, 0), (50, 0, 60, 10, 0.3, 0)),
        detections((0, 0, 10, 10, 0.5, 0), (50, 0, 60, 10, 0.2, 0)),
    ]
    threshold, reached = best_threshold(found, truth)
    assert 0.3 < threshold <= 0.5
    assert reached == Tally(2, 2, 2)


def test_loading_the_detector_needs_no_torch() -> None:
    code = (
        "import sys; from foveal.udfs import models; from foveal.udfs.models import accuracy;"
        "assert models.DEMO_DETECTOR.exists(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_training_learns_and_exports(tmp_path: Path) -> None:
    from foveal.udfs.models.demo_detector import Samples, export, targets, train

    write_samples(tmp_path / "samples.npz", pictures=18, seed=5)
    samples = Samples.load(tmp_path / "samples.npz")
    network, _ = train(samples, epochs=1, seed=3, batch=4, held_out=6)
    export(network, tmp_path / "small.onnx", 0.37)
    detector = load(str(tmp_path / "small.onnx"), options={}, resolve=Path, threads=1, device="cpu")
    assert detector.info.classes == ("car", "person")
    assert (detector.info.input_height, detector.info.input_width) == (192, 320)
    assert len(detector.detect([np.zeros((360, 640, 3), np.uint8)] * 2)) == 2

    box = np.array([[16, 16, 48, 32], [100, 100, 110, 140]], np.float32)
    wanted = targets(box, np.array([0, 1]), np.array([1.0, 0.45], np.float32))
    assert wanted.heat[0, 3, 4] == 1.0
    assert wanted.heat[1].max() == 0.0  # too little of it shows
    assert wanted.mask[1].min() == 0.0
    assert wanted.box[:, 3, 4].tolist() == box[0].tolist()
