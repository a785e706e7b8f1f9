"""torchvision's detectors: the mapping of answers, and real builders where it is installed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.errors import DataError, OperationalError
from foveal.planner.protocols import DetectorInfo
from foveal.udfs import detectors
from foveal.udfs.detectors import coco
from foveal.udfs.models import torchvision_detector

PICTURE = np.full((60, 80, 3), 255, dtype=np.uint8)
INFO = DetectorInfo("torchvision:x", "torchvision", "", coco.NAMES, 320, 320, 0.5)


def test_answers_become_detections() -> None:
    torch = pytest.importorskip("torch")
    seen: list[Any] = []

    def model(batch: list[Any]) -> list[dict[str, Any]]:
        seen.extend(batch)
        answer = {
            "boxes": torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8], [9, 9, 11, 11], [1, 1, 2, 2]]),
            "scores": torch.tensor([0.6, 0.9, 0.8, 0.3]),
            "labels": torch.tensor([1, 90, 12, 1]),
        }
        return [answer for _ in batch]

    detector = torchvision_detector.TorchvisionDetector(INFO, model, "cpu")
    first, second = detector.detect([PICTURE, PICTURE])
    assert first.boxes.tolist() == [[5, 6, 7, 8], [1, 2, 3, 4]]
    assert first.classes.tolist() == [79, 0]
    np.testing.assert_allclose(first.scores, [0.9, 0.6], rtol=1e-6)
    assert np.array_equal(first.boxes, second.boxes)
    assert tuple(seen[0].shape) == (3, 60, 80)
    assert float(seen[0].max()) == 1.0


def test_a_failing_model_is_an_operational_error() -> None:
    pytest.importorskip("torch")

    def model(batch: list[Any]) -> list[dict[str, Any]]:
        raise RuntimeError("out of memory")

    detector = torchvision_detector.TorchvisionDetector(INFO, model, "cpu")
    with pytest.raises(OperationalError) as caught:
        detector.detect([PICTURE])
    assert caught.value.detail == "out of memory"


@pytest.mark.parametrize("option", [{"input": 320}, {"family": "ssd"}, {"slices": 2}])
def test_options_that_it_does_not_take(option: dict[str, Any]) -> None:
    with pytest.raises(DataError) as caught:
        detectors.load(
            "torchvision:ssd300_vgg16", options=option, resolve=Path, threads=1, device="cpu"
        )
    assert caught.value.sqlstate == "22023"


def test_a_real_builder_with_random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    builders = pytest.importorskip("torchvision.models.detection")
    api = pytest.importorskip("torchvision.models._api")
    name = "ssdlite320_mobilenet_v3_large"
    model = getattr(builders, name)(weights=None, weights_backbone=None)

    def weights(*_: object, **__: object) -> dict[str, Any]:
        return model.state_dict()

    monkeypatch.setattr(api, "load_state_dict_from_url", weights)
    detector = detectors.load(
        f"torchvision:{name}", options={"confidence": 0.4}, resolve=Path, threads=1, device="cpu"
    )
    assert (detector.info.input_width, detector.info.input_height) == (320, 320)
    assert detector.info.confidence == 0.4
    assert detector.detect([PICTURE])[0].boxes.shape[1] == 4
