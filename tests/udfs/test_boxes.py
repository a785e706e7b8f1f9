"""Suppression, tiles, placement and the protobuf reader, on small cases."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.planner.protocols import DetectorInfo
from foveal.udfs.detectors import onnx_file
from foveal.udfs.detectors.boxes import Floats, Ints, ious, suppress
from foveal.udfs.detectors.family import Candidates, Family, Head, Size
from foveal.udfs.detectors.onnx_detector import OnnxDetector
from foveal.udfs.detectors.picture import Picture, fill, fitted
from foveal.udfs.detectors.slices import OVERLAP, regions


def slow_suppress(boxes: Floats, scores: Floats, classes: Ints, iou: float) -> list[int]:
    left = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    kept: list[int] = []
    for i in left:
        rivals = [k for k in kept if classes[k] == classes[i]]
        if all(ious(boxes[[k]], boxes[[i]])[0, 0] <= iou for k in rivals):
            kept.append(i)
    return kept


@pytest.mark.parametrize("seed", range(8))
def test_suppression_is_the_greedy_one(seed: int) -> None:
    generator = np.random.default_rng(seed)
    low = generator.uniform(0, 60, (80, 2))
    boxes = np.concatenate((low, low + generator.uniform(4, 30, (80, 2))), axis=1)
    boxes = boxes.astype(np.float32)
    scores = (generator.integers(1, 20, 80) / 20).astype(np.float32)  # with many ties
    classes = generator.integers(0, 3, 80).astype(np.int32)
    assert suppress(boxes, scores, classes, 0.4).tolist() == slow_suppress(
        boxes, scores, classes, 0.4
    )


def test_suppression_of_nothing() -> None:
    empty = np.empty((0, 4), dtype=np.float32)
    kept = suppress(empty, empty[:, 0], np.empty(0, dtype=np.int32), 0.5)
    assert kept.size == 0


def test_iou_by_hand() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [3, 3, 3, 9]], dtype=np.float32)
    np.testing.assert_allclose(ious(boxes, boxes)[0], [1, 1 / 3, 0])
    assert ious(boxes, boxes)[2, 2] == 0  # an empty box overlaps nothing, not even itself


def test_a_part_goes_before_the_whole_even_with_a_better_score() -> None:
    boxes = np.array([[0, 0, 40, 40], [0, 0, 18, 40]], dtype=np.float32)
    scores = np.array([0.5, 0.9], dtype=np.float32)
    classes = np.zeros(2, dtype=np.int32)
    assert suppress(boxes, scores, classes, 0.5).tolist() == [1, 0]
    cut = np.array([False, True])
    assert suppress(boxes, scores, classes, 0.5, cut=cut).tolist() == [0]


@pytest.mark.parametrize("slices", [2, 3, 5])
@pytest.mark.parametrize(("height", "width"), [(360, 640), (1080, 1920), (7, 3)])
def test_tiles_cover_the_picture_and_overlap(height: int, width: int, slices: int) -> None:
    whole, *tiles = regions(height, width, slices)
    assert whole == (0, 0, width, height)
    assert len(tiles) == slices * slices
    seen = np.zeros((height, width), dtype=np.int64)
    for left, top, right, bottom in tiles:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        seen[top:bottom, left:right] += 1
    assert seen.min() >= 1
    if width > 100:
        first, second = tiles[0], tiles[1]
        shared = (first.right - second.left) / (first.right - first.left)
        assert shared == pytest.approx(OVERLAP, abs=0.02)


def test_no_tiles_below_two() -> None:
    assert regions(10, 20, 0) == regions(10, 20, 1) == [(0, 0, 20, 10)]


@pytest.mark.parametrize("fit", ["stretch", "corner", "centre"])
def test_boxes_come_back_to_where_they_were(fit: Any) -> None:
    picture = np.zeros((90, 160, 3), dtype=np.uint8)
    picture[30:60, 40:100] = 255
    inside, where = fitted(picture, 320, 320, Picture(fit, pad=0))
    rows, columns = np.nonzero(inside[..., 0] > 127)
    seen = [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]
    np.testing.assert_allclose(
        where.back(np.array(seen, dtype=np.float32)), [[40, 30, 100, 60]], atol=0.5
    )


def test_padding_and_place_of_a_letterbox() -> None:
    picture = np.zeros((50, 100, 3), dtype=np.uint8)
    corner, _ = fitted(picture, 100, 100, Picture("corner"))
    assert (corner[:50] == 0).all()
    assert (corner[50:] == 114).all()
    middle, _ = fitted(picture, 100, 100, Picture("centre"))
    assert (middle[25:75] == 0).all()
    assert (middle[:25] == 114).all()
    assert (middle[75:] == 114).all()


def test_order_and_scale_of_channels() -> None:
    picture = np.empty((2, 2, 3), dtype=np.uint8)
    picture[:] = (10, 20, 30)
    slot = np.empty((3, 2, 2), dtype=np.float32)
    fill(slot, picture, Picture("stretch", "bgr", std=(1.0, 1.0, 1.0)), planar=True)
    assert slot[:, 0, 0].tolist() == [30, 20, 10]
    how = Picture("stretch", "rgb", mean=(10.0, 10.0, 10.0), std=(2.0, 5.0, 10.0))
    fill(slot, picture, how, planar=True)
    assert slot[:, 1, 1].tolist() == [0, 2, 2]
    flat = np.empty((2, 2, 3), dtype=np.uint8)
    fill(flat, picture, Picture("stretch", std=(1.0, 1.0, 1.0)), planar=False)
    assert np.array_equal(flat, picture)


class White:
    """A stand-in graph whose one detection is the box of the white pixels that it is shown."""

    batched = True

    def batch(self, pictures: list[Any], how: Picture) -> Any:
        return np.stack(pictures)

    def run(self, tensor: Any, size: Size) -> Any:
        return {"seen": tensor}


def no_head(outputs: Any, size: Size) -> Head | None:
    return None


def white_box(outputs: Any, head: Head, threshold: float) -> Any:
    for seen in outputs["seen"]:
        rows, columns = np.nonzero(seen[..., 0] > 200)
        if rows.size == 0:
            box = np.empty((0, 4), dtype=np.float32)
        else:
            corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            box = np.array([corners], dtype=np.float32)
        n = len(box)
        yield Candidates(box, np.full(n, 0.9, np.float32), np.zeros(n, np.int32))


def test_an_object_across_four_tiles_is_found_once() -> None:
    how = Picture("stretch", std=(1.0, 1.0, 1.0))
    family = Family("white", "here", "published", how, 0.5, True, no_head, white_box)
    info = DetectorInfo("white", "white", "", ("thing",), 200, 200, 0.5, slices=2)
    graph: Any = White()
    head = Head(Size(200, 200), 1)
    detector = OnnxDetector(info, graph, family, head, how, np.zeros(1, dtype=np.int32))
    picture = np.zeros((200, 200, 3), dtype=np.uint8)
    picture[60:140, 60:140] = 255
    found = detector.detect([picture, picture[:, :50]])
    np.testing.assert_allclose(found[0].boxes, [[60, 60, 140, 140]], atol=1)
    assert found[1].boxes.shape == (0, 4)


def test_protobuf_reader_and_onnx_agree_after_an_edit(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    value = helper.make_tensor_value_info
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "graph",
        [value("x", kind, ["n", 3, 64, 64]), value("other", kind, [1, 64])],
        [value("y", kind, ["n", 3, 64, 64])],
    )
    model = helper.make_model(graph)
    edited = onnx.load_model_from_string(
        onnx_file.with_input_size(model.SerializeToString(), "x", {2: 96, 3: 1280})
    )
    dims = edited.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["n", 3, 96, 1280]
    assert edited.graph.input[1] == model.graph.input[1]
    assert edited.graph.node == model.graph.node
    assert not edited.graph.output[0].type.tensor_type.HasField("shape")
    assert edited.opset_import == model.opset_import


@pytest.mark.parametrize("seed", range(20))
def test_the_protobuf_reader_raises_nothing_but_value_errors(seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, 400, dtype=np.uint8).tobytes()
    for start in range(0, 400, 7):
        try:
            onnx_file.external_locations(noise[start:])
        except ValueError:
            continue
