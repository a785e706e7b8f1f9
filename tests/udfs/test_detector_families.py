"""Each family decodes a small graph of its published layout into boxes worked out by hand.

The network sees 64 x 64; the picture is 128 wide and 96 high, so a letterbox halves it (with the
picture at the top, or 8 rows down) and stretching scales it by 1/2 and 2/3.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from foveal.planner.protocols import Detections
from foveal.udfs.detectors import FAMILIES, coco

Array = npt.NDArray[Any]
PICTURE = np.full((96, 128, 3), 90, dtype=np.uint8)
CELLS = 84  # 8 x 8 + 4 x 4 + 2 x 2
TRUE_BOX = [40.0, 16.0, 72.0, 64.0]  # in the picture
CORNER_BOX = [20.0, 8.0, 36.0, 32.0]  # in the input, letterboxed at the top left
CENTRE_BOX = [20.0, 16.0, 36.0, 40.0]  # letterboxed in the middle
STRETCHED_BOX = [20.0, 16 * 2 / 3, 36.0, 64 * 2 / 3]
PET = "cat,dog,bird"


def centre(box: list[float]) -> list[float]:
    return [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]]


def check(found: list[Detections], score: float, label: int, pictures: int = 1) -> None:
    assert len(found) == pictures
    for one in found:
        assert one.boxes.dtype == np.float32
        assert one.classes.dtype == np.int32
        np.testing.assert_allclose(one.boxes, [TRUE_BOX], atol=1e-3)
        np.testing.assert_allclose(one.scores, [score], rtol=1e-5)
        assert one.classes.tolist() == [label]


def yolox_output(*, decoded: bool) -> Array:
    raw = np.zeros((1, CELLS, 8), dtype=np.float32)
    raw[0, :, :2] = 0.5
    raw[0, 2 * 8 + 3] = [0.5, 0.0, np.log(2), np.log(3), 0.9, 0.1, 0.8, 0.2]
    if decoded:
        cell = 0
        for stride, side in ((8, 8), (16, 4), (32, 2)):
            for y in range(side):
                for x in range(side):
                    raw[0, cell, :2] = (raw[0, cell, :2] + [x, y]) * stride
                    cell += 1
        raw[0, 2 * 8 + 3, 2:4] = [16, 24]
    # centre (3.5 * 8, 2 * 8) = (28, 16), sides 16 x 24; moved to the corner box's centre y 20:
    raw[0, 2 * 8 + 3, 1] += 4 if decoded else 0.5
    return raw


@pytest.mark.parametrize("decoded", [False, True])
def test_yolox(write_model: Any, load_file: Any, decoded: bool) -> None:
    detector = load_file(write_model({"output": yolox_output(decoded=decoded)}), classes=PET)
    assert detector.info.family == "yolox"
    assert detector.info.classes == ("cat", "dog", "bird")
    assert (detector.info.input_width, detector.info.input_height) == (64, 64)
    check(detector.detect([PICTURE]), 0.72, 1)


def test_a_batch_gives_each_picture_its_own(write_model: Any, load_file: Any) -> None:
    path = write_model({"output": yolox_output(decoded=False)}, ("batch", 3, 64, 64))
    detector = load_file(path, classes=PET)
    check(detector.detect([PICTURE] * 11), 0.72, 1, pictures=11)


def test_yolov5(write_model: Any, load_file: Any) -> None:
    raw = np.zeros((1, 3 * CELLS, 8), dtype=np.float32)
    raw[0, 40] = [*centre(CENTRE_BOX), 0.9, 0.1, 0.8, 0.2]
    raw[0, 41] = [*centre(CENTRE_BOX), 0.8, 0.1, 0.8, 0.2]  # the same object once more
    detector = load_file(write_model({"output": raw}), classes=PET)
    assert detector.info.family == "yolov5"
    check(detector.detect([PICTURE]), 0.72, 1)


def test_yolov8_with_its_own_names(write_model: Any, load_file: Any) -> None:
    raw = np.zeros((1, 7, CELLS), dtype=np.float32)
    raw[0, :, 40] = [*centre(CENTRE_BOX), 0.1, 0.2, 0.7]
    metadata = {"names": "{0: 'cat', 1: 'dog', 2: 'bird'}", "imgsz": "[64, 64]"}
    path = write_model({"output0": raw}, (1, 3, "height", "width"), metadata=metadata)
    detector = load_file(path)
    assert detector.info.family == "yolov8"
    assert detector.info.classes == ("cat", "dog", "bird")
    check(detector.detect([PICTURE]), 0.7, 2)


def test_yolov10_rows(write_model: Any, load_file: Any) -> None:
    raw = np.zeros((1, 300, 6), dtype=np.float32)
    raw[0, 0] = [*CENTRE_BOX, 0.7, 2]
    detector = load_file(write_model({"output0": raw}), classes=PET)
    assert detector.info.family == "yolov8"
    check(detector.detect([PICTURE]), 0.7, 2)


def test_fastestdet(write_model: Any, load_file: Any) -> None:
    x, y, w, h = centre(STRETCHED_BOX)
    raw = np.zeros((1, 8, 4, 4), dtype=np.float32)
    raw[0, :, 1, 1] = [
        0.9,
        np.arctanh(x / 16 - 1),
        np.arctanh(y / 16 - 1),
        np.log((w / 64) / (1 - w / 64)),
        np.log((h / 64) / (1 - h / 64)),
        0.1,
        0.8,
        0.1,
    ]
    detector = load_file(write_model({"758": raw}), classes=PET)
    assert detector.info.family == "fastestdet"
    check(detector.detect([PICTURE]), 0.9**0.6 * 0.8**0.4, 1)


def distributions(distances: list[float], reg: int = 7) -> Array:
    """Return logits [4 (reg + 1)] whose softmax means are the distances: two neighbours share."""
    logits = np.full((4, reg + 1), -50.0, dtype=np.float32)
    for row, distance in zip(logits, distances, strict=True):
        low = int(distance)
        row[low] = np.log(max(1 - (distance - low), 1e-9))
        row[low + 1] = np.log(max(distance - low, 1e-9))
    return logits.reshape(-1)


def test_picodet_raw(write_model: Any, load_file: Any) -> None:
    outputs: dict[str, Array] = {}
    for stride in (8, 16, 32, 64):
        cells = (64 // stride) ** 2
        outputs[f"score_{stride}"] = np.zeros((1, cells, 3), dtype=np.float32)
    for stride in (8, 16, 32, 64):
        cells = (64 // stride) ** 2
        outputs[f"side_{stride}"] = np.zeros((1, cells, 32), dtype=np.float32)
    cell = 3 * 8 + 3  # its centre is (28, 28)
    outputs["score_8"][0, cell] = [0.1, 0.75, 0.1]
    left, top, right, bottom = STRETCHED_BOX
    sides = [(28 - left) / 8, (28 - top) / 8, (right - 28) / 8, (bottom - 28) / 8]
    outputs["side_8"][0, cell] = distributions(sides)
    detector = load_file(write_model(outputs, image="image"), classes=PET)
    assert detector.info.family == "picodet"
    check(detector.detect([PICTURE]), 0.75, 1)


def test_picodet_decoded(write_model: Any, load_file: Any) -> None:
    boxes = np.zeros((1, 50, 4), dtype=np.float32)
    scores = np.zeros((1, 3, 50), dtype=np.float32)
    boxes[0, 7], scores[0, 1, 7] = STRETCHED_BOX, 0.75
    detector = load_file(write_model({"tmp_16": boxes, "concat_4": scores}), classes=PET)
    assert detector.info.family == "picodet"
    check(detector.detect([PICTURE]), 0.75, 1)


def test_picodet_suppressed(write_model: Any, load_file: Any) -> None:
    rows = np.array([[1, 0.75, *STRETCHED_BOX], [2, 0.1, 0, 0, 9, 9]], dtype=np.float32)
    outputs = {"nms_0": rows, "nms_2": np.array([2], dtype=np.int32)}
    companions = {"scale_factor": (1, [1, 2]), "im_shape": (1, [1, 2])}
    detector = load_file(write_model(outputs, companions=companions), classes=PET)
    assert detector.info.family == "picodet"
    check(detector.detect([PICTURE, PICTURE]), 0.75, 1, pictures=2)


def test_rtdetr_deployed(write_model: Any, load_file: Any) -> None:
    labels = np.full((1, 300), 5, dtype=np.int64)
    boxes = np.zeros((1, 300, 4), dtype=np.float32)
    scores = np.zeros((1, 300), dtype=np.float32)
    boxes[0, 9], scores[0, 9] = STRETCHED_BOX, 0.8
    outputs = {"labels": labels, "boxes": boxes, "scores": scores}
    companions = {"orig_target_sizes": (7, ["N", 2])}
    detector = load_file(write_model(outputs, ("N", 3, 64, 64), companions=companions))
    assert detector.info.family == "rtdetr"
    assert detector.info.classes == coco.NAMES
    check(detector.detect([PICTURE] * 3), 0.8, coco.NAMES.index("bus"), pictures=3)


@pytest.mark.parametrize("joint", [False, True])
def test_rtdetr_raw_and_joint(write_model: Any, load_file: Any, joint: bool) -> None:
    boxes = np.full((1, 20, 4), 0.1, dtype=np.float32)
    boxes[0, 9] = [v / 64 for v in centre(STRETCHED_BOX)]
    scores = np.full((1, 20, 3), 1e-6, dtype=np.float32)
    scores[0, 9, 2] = 0.8
    logits = np.log(scores / (1 - scores))
    apart = {"logits": logits, "pred_boxes": boxes}
    together = {"output0": np.concatenate((boxes, scores), axis=2)}
    detector = load_file(write_model(together if joint else apart), classes=PET)
    assert detector.info.family == "rtdetr"
    check(detector.detect([PICTURE]), 0.8, 2)


def test_tensorflow_ssd_maps_category_ids(write_model: Any, load_file: Any) -> None:
    import onnx

    left, top, right, bottom = (v / 64 for v in STRETCHED_BOX)
    boxes = np.zeros((1, 10, 4), dtype=np.float32)
    boxes[0, 0] = [top, left, bottom, right]
    scores = np.zeros((1, 10), dtype=np.float32)
    scores[0, :2] = [0.9, 0.8]
    labels = np.ones((1, 10), dtype=np.float32)
    labels[0, :2] = [90, 12]  # toothbrush; an id that COCO never used
    outputs = {
        "detection_boxes:0": boxes,
        "detection_classes:0": labels,
        "detection_scores:0": scores,
        "num_detections:0": np.array([2], dtype=np.float32),
    }
    shape = (1, "height", "width", 3)
    path = write_model(outputs, shape, kind=onnx.TensorProto.UINT8, image="inputs:0")
    detector = load_file(path, input="64x64")
    assert detector.info.family == "ssd"
    check(detector.detect([PICTURE]), 0.9, 79)


def test_zoo_ssd_counts_from_one(write_model: Any, load_file: Any) -> None:
    boxes = np.zeros((1, 10, 4), dtype=np.float32)
    boxes[0, 0] = np.array(STRETCHED_BOX) / 64
    scores = np.zeros((1, 10), dtype=np.float32)
    scores[0, 0] = 0.9
    labels = np.full((1, 10), 3, dtype=np.int64)
    detector = load_file(write_model({"bboxes": boxes, "labels": labels, "scores": scores}))
    assert detector.info.family == "ssd"
    check(detector.detect([PICTURE]), 0.9, coco.NAMES.index("car"))


def test_torchvision_export(write_model: Any, load_file: Any) -> None:
    outputs = {
        "boxes": np.array([STRETCHED_BOX, [0, 0, 5, 5]], dtype=np.float32),
        "labels": np.array([3, 3], dtype=np.int64),
        "scores": np.array([0.9, 0.2], dtype=np.float32),
    }
    detector = load_file(write_model(outputs))
    assert detector.info.family == "ssd"
    check(detector.detect([PICTURE]), 0.9, coco.NAMES.index("car"))


def test_ssd_over_anchors(write_model: Any, load_file: Any) -> None:
    boxes = np.zeros((1, 30, 4), dtype=np.float32)
    scores = np.zeros((1, 30, 2), dtype=np.float32)
    scores[0, :, 0] = 1
    boxes[0, 4:6] = np.array(STRETCHED_BOX) / 64
    scores[0, 4:6] = [[0.1, 0.9], [0.2, 0.8]]
    detector = load_file(write_model({"scores": scores, "boxes": boxes}), classes="face")
    assert detector.info.family == "ssd"
    check(detector.detect([PICTURE]), 0.9, 0)


def test_heatmap(write_model: Any, load_file: Any) -> None:
    x, y, w, h = centre(STRETCHED_BOX)
    heat = np.zeros((1, 2, 8, 8), dtype=np.float32)
    size = np.zeros((1, 2, 8, 8), dtype=np.float32)
    offset = np.zeros((1, 2, 8, 8), dtype=np.float32)
    heat[0, 1, 3, 3], heat[0, 1, 3, 4] = 0.8, 0.7  # the second is no maximum
    size[0, :, 3, 3] = [w, h]
    offset[0, :, 3, 3] = [x / 8 - 3, y / 8 - 3]
    metadata = {
        "foveal.family": "heatmap",
        "foveal.classes": '["car", "person"]',
        "foveal.input": "64x64",
        "foveal.confidence": "0.35",
    }
    outputs = {"heatmap": heat, "size": size, "offset": offset}
    path = write_model(outputs, ("n", 3, "h", "w"), metadata=metadata)
    detector = load_file(path)
    assert detector.info.family == "heatmap"
    assert detector.info.classes == ("car", "person")
    assert detector.info.confidence == 0.35
    check(detector.detect([PICTURE, PICTURE]), 0.8, 1, pictures=2)


def test_every_family_says_where_it_comes_from() -> None:
    for family in FAMILIES.values():
        assert family.source
        assert family.evidence in ("released", "published")
    assert {f.name for f in FAMILIES.values() if f.evidence == "released"} >= {
        "yolox",
        "fastestdet",
    }


def test_a_file_that_answers_nan_gives_no_boxes(write_model: Any, load_file: Any) -> None:
    raw = yolox_output(decoded=False)
    raw[0, 19, 0] = np.nan
    detector = load_file(write_model({"output": raw}), classes=PET, family="yolox")
    assert detector.detect([PICTURE])[0].scores.size == 0


def test_the_file_may_be_a_bare_name(write_model: Any, tmp_path: Path) -> None:
    from foveal.udfs import detectors

    path = write_model({"output": yolox_output(decoded=False)}, name="pets.onnx")
    asked: list[str] = []

    def resolve(name: str) -> Path:
        asked.append(name)
        return path

    found = detectors.load(
        "pets", options={"classes": PET}, resolve=resolve, threads=1, device="cpu"
    )
    assert asked == ["pets.onnx"]
    assert found.info.name == "pets"
