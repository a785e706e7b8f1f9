"""Loading: what is refused and how, what a key depends on, and that files stay in their folder."""

import importlib.util
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from foveal.errors import (
    DataError,
    FovealError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)
from foveal.udfs import detectors

PICTURE = np.random.default_rng(3).integers(0, 256, (96, 128, 3), dtype=np.uint8)
NAMES = "cat,dog,bird"


def tiny(score: float = 0.8) -> dict[str, npt.NDArray[Any]]:
    """Return the outputs of a yolov8-like head over 64 x 64 with three classes and one object."""
    raw = np.zeros((1, 7, 84), dtype=np.float32)
    raw[0, :, 40] = [32, 32, 16, 16, 0.1, score, 0.1]
    return {"output0": raw}


@pytest.fixture
def pooled(tmp_path: Path) -> Path:
    """A fully convolutional file of FastestDet's layout with 2 classes, its input fixed at 64."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    bias = np.array([0.9, 0, 0, -1, -1, 0.9, 0.1], dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], kernel_shape=[16, 16], strides=[16, 16])],
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 7, 4, 4])],
        [
            numpy_helper.from_array(np.zeros((7, 3, 16, 16), dtype=np.float32), "w"),
            numpy_helper.from_array(bias, "b"),
        ],
        value_info=[helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 7, 4, 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "pooled.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def refused(kind: type[FovealError], state: str, run: Any) -> FovealError:
    with pytest.raises(kind) as caught:
        run()
    assert caught.value.sqlstate == state
    return caught.value


def test_a_missing_file(load_file: Any, tmp_path: Path) -> None:
    path = tmp_path / "none.onnx"

    def load() -> None:
        detectors.load("none", options={}, resolve=lambda _: path, threads=1, device="cpu")

    assert "none.onnx" in str(refused(OperationalError, "58P01", load))


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\x08\x08\x3a\xff\xff\x7f\x01"])
def test_a_corrupt_file(load_file: Any, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "corrupt.onnx"
    path.write_bytes(content)
    refused(OperationalError, "58030", lambda: load_file(path))


def test_a_file_cut_short_anywhere_is_refused(
    write_model: Any, load_file: Any, tmp_path: Path
) -> None:
    whole = write_model(tiny()).read_bytes()
    cut = tmp_path / "cut.onnx"
    for length in range(1, len(whole), max(1, len(whole) // 40)):
        cut.write_bytes(whole[:length])
        with pytest.raises(FovealError) as caught:
            load_file(cut, classes=NAMES)
        assert caught.value.sqlstate in ("58030", "0A000", "42704")


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "*/_ORT_MEM_ADDR_/*"])
def test_weights_outside_the_folder_are_refused(
    write_model: Any, load_file: Any, tmp_path: Path, location: str
) -> None:
    path = outside(write_model, location)
    (tmp_path.parent / "weights.bin").write_bytes(bytes(1 << 16))
    error = refused(OperationalError, "58030", lambda: load_file(path, classes=NAMES))
    assert "outside its folder" in str(error)


def test_weights_behind_a_link_out_of_the_folder_are_refused(
    write_model: Any, load_file: Any, tmp_path: Path
) -> None:
    path = outside(write_model, "weights.bin")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = elsewhere / path.name
    path.rename(moved)
    (tmp_path / "secret.bin").write_bytes(bytes(1 << 16))
    (elsewhere / "weights.bin").symlink_to(tmp_path / "secret.bin")
    refused(OperationalError, "58030", lambda: load_file(moved, classes=NAMES))


def outside(write_model: Any, location: str) -> Path:
    """Return a model whose output values are said to lie in the file `location`."""
    import onnx
    from onnx.external_data_helper import set_external_data

    path: Path = write_model(tiny())
    model = onnx.load(str(path))
    tensor = next(t for t in model.graph.initializer if t.name == "output0_value")
    set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_beside_the_file_are_read_and_keyed(
    write_model: Any, load_file: Any, tmp_path: Path
) -> None:
    path = outside(write_model, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(tiny(0.8)["output0"].tobytes())
    first = load_file(path, classes=NAMES)
    (tmp_path / "weights.bin").write_bytes(tiny(0.6)["output0"].tobytes())
    second = load_file(path, classes=NAMES)
    assert first.detect([PICTURE])[0].scores[0] == pytest.approx(0.8)
    assert second.detect([PICTURE])[0].scores[0] == pytest.approx(0.6)
    assert first.info.key != second.info.key


def test_the_key_depends_on_all_that_changes_answers(write_model: Any, load_file: Any) -> None:
    path = write_model(tiny())
    twin = write_model(tiny(), name="twin.onnx")
    other = write_model(tiny(0.7), name="other.onnx")
    base = load_file(path, classes=NAMES).info.key
    assert load_file(path, classes=NAMES).info.key == base
    assert load_file(twin, classes=NAMES).info.key == base  # the content counts, not the name
    changed = [
        load_file(other, classes=NAMES),
        load_file(path, classes="cat,dog,fish"),
        load_file(path, classes=NAMES, confidence=0.3),
        load_file(path, classes=NAMES, iou=0.6),
        load_file(path, classes=NAMES, slices=2),
        load_file(path, classes=NAMES, order="bgr"),
        load_file(path, classes=NAMES, std="128"),
    ]
    assert len({base, *(d.info.key for d in changed)}) == len(changed) + 1


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("confidence", 0),
        ("confidence", "high"),
        ("confidence", True),
        ("confidence", 1.5),
        ("iou", -0.1),
        ("input", "wide"),
        ("input", 3),
        ("slices", 1.5),
        ("slices", -1),
        ("slices", 99),
        ("order", "grb"),
        ("mean", "1,2"),
        ("std", 0),
        ("classes", "cat,,dog"),
        ("classes", "cat,dog"),
    ],
)
def test_bad_values_are_refused(
    write_model: Any, load_file: Any, option: str, value: str | float | bool
) -> None:
    options: dict[str, str | float | bool] = {"classes": NAMES, option: value}
    error = refused(DataError, "22023", lambda: load_file(write_model(tiny()), **options))
    assert error.hint


def test_unknown_family_and_one_that_does_not_fit(write_model: Any, load_file: Any) -> None:
    path = write_model(tiny())
    error = refused(ProgrammingError, "42704", lambda: load_file(path, family="yolox8"))
    assert error.hint is not None
    assert "yolo" in error.hint
    refused(DataError, "22023", lambda: load_file(path, family="fastestdet"))


def test_outputs_of_no_family(write_model: Any, load_file: Any) -> None:
    path = write_model({"odd": np.zeros((1, 3), dtype=np.float32)})
    error = refused(ProgrammingError, "42704", lambda: load_file(path))
    assert error.detail is not None
    assert "odd [1, 3]" in error.detail
    assert error.hint is not None
    assert "yolox" in error.hint


def test_a_head_without_names_wants_them(write_model: Any, load_file: Any) -> None:
    error = refused(DataError, "22023", lambda: load_file(write_model(tiny())))
    assert "3 classes" in str(error)


def test_names_from_a_file(write_model: Any, load_file: Any, tmp_path: Path) -> None:
    names = tmp_path / "pets.names"
    names.write_text("cat\ndog\nfire hydrant\n\n")
    detector = load_file(write_model(tiny()), classes=str(names))
    assert detector.info.classes == ("cat", "dog", "fire hydrant")


def test_an_open_input_size_must_be_said(write_model: Any, load_file: Any) -> None:
    path = write_model(tiny(), (1, 3, "h", "w"))
    refused(DataError, "22023", lambda: load_file(path, classes=NAMES))
    assert load_file(path, classes=NAMES, input=64).info.input_width == 64


def test_a_fixed_input_is_changed_where_the_graph_allows_it(pooled: Path, load_file: Any) -> None:
    native = load_file(pooled, classes="cat,dog")
    wide = load_file(pooled, classes="cat,dog", input="128x96")
    assert (native.info.input_width, native.info.input_height) == (64, 64)
    assert (wide.info.input_width, wide.info.input_height) == (128, 96)
    assert native.info.key != wide.info.key
    assert len(wide.detect([PICTURE])[0].scores) >= len(native.detect([PICTURE])[0].scores) > 0


def test_a_fixed_input_that_cannot_change_is_named(write_model: Any, load_file: Any) -> None:
    with pytest.raises(FovealError) as caught:
        load_file(write_model(tiny()), classes=NAMES, input=128)
    assert caught.value.sqlstate in ("22023", "42704")


def test_an_input_that_foveal_cannot_give(write_model: Any, load_file: Any) -> None:
    path = write_model(tiny(), companions={"prompt": (7, [1, 4])})
    error = refused(NotSupportedError, "0A000", lambda: load_file(path, classes=NAMES))
    assert "prompt" in str(error)


def test_cuda_without_its_runtime(write_model: Any) -> None:
    runtime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in runtime.get_available_providers():
        pytest.skip("this ONNX Runtime has cuda")
    path = write_model(tiny())

    def load() -> None:
        detectors.load(
            str(path), options={"classes": NAMES}, resolve=Path, threads=1, device="cuda"
        )

    refused(OperationalError, "58000", load)


def test_threads_get_equal_answers(pooled: Path, load_file: Any) -> None:
    detector = load_file(pooled, classes="cat,dog")
    expected = detector.detect([PICTURE])[0]
    same: list[bool] = []

    def look() -> None:
        for _ in range(20):
            found = detector.detect([PICTURE])[0]
            same.append(
                np.array_equal(found.boxes, expected.boxes)
                and np.array_equal(found.scores, expected.scores)
            )

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same == [True] * 80


def test_pictures_of_every_size(pooled: Path, load_file: Any) -> None:
    detector = load_file(pooled, classes="cat,dog", slices=2)
    for height, width in [(1, 1), (1, 300), (7, 5), (1080, 1920)]:
        picture = np.zeros((height, width, 3), dtype=np.uint8)
        found = detector.detect([picture])[0]
        assert (found.boxes >= 0).all()
        assert (found.boxes <= [width, height, width, height]).all()
    assert detector.detect([]) == []


def test_a_profile_is_a_time(pooled: Path, load_file: Any) -> None:
    assert 0 < detectors.profile(load_file(pooled, classes="cat,dog"), 48, 64) < 10


def test_torchvision_needs_a_known_name() -> None:
    def load() -> None:
        detectors.load(
            "torchvision:fasterrcnn_resnet50", options={}, resolve=Path, threads=1, device="cpu"
        )

    error = refused(ProgrammingError, "42704", load)
    assert error.hint is not None
    assert "fasterrcnn_resnet50_fpn" in error.hint


def test_torchvision_where_it_is_not_installed() -> None:
    if importlib.util.find_spec("torchvision") is not None:
        pytest.skip("torchvision is installed")

    def load() -> None:
        detectors.load(
            "torchvision:fasterrcnn_resnet50_fpn", options={}, resolve=Path, threads=1, device="cpu"
        )

    assert "torchvision" in str(refused(OperationalError, "58000", load))
