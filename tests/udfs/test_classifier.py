"""A small classification network, written here: mean colours to one of three labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.errors import FovealError
from foveal.udfs.models.classifier import Classifier

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

LABELS = ("red", "green", "blue")


def write(path: Path, *, softmax: bool = False, metadata: dict[str, str] | None = None,
          outputs: int = 1, batch: Any = "n", channels: int = 3) -> Path:  # fmt: skip
    """Write the network: the mean of each channel is the score of its label."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat" if softmax else "scores"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["flat"], ["scores"], axis=1))
    listed = [helper.make_tensor_value_info("scores", kind, [batch, channels])]
    if outputs == 2:
        nodes.append(helper.make_node("Identity", ["scores"], ["again"]))
        listed.append(helper.make_tensor_value_info("again", kind, [batch, channels]))
    graph = helper.make_graph(
        nodes, "means", [helper.make_tensor_value_info("x", kind, [batch, channels, 8, 8])], listed
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    path.write_bytes(model.SerializeToString())
    return path


def opened(path: Path) -> Classifier:
    return Classifier(path, threads=1, device="cpu")


def pictures() -> list[np.ndarray]:
    found: list[np.ndarray] = []
    for channel in (2, 0, 1, 1):
        image = np.full((5 + channel, 7, 3), 40, np.uint8)
        image[..., channel] = 220
        found.append(image)
    return found


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("batch", ["n", 1])
def test_labels_from_a_file_beside(tmp_path: Path, softmax: bool, batch: Any) -> None:
    path = write(tmp_path / "m.onnx", softmax=softmax, batch=batch)
    (tmp_path / "m.names").write_text("red\ngreen\nblue\n\n")
    model = opened(path)
    assert model(pictures()) == ["blue", "red", "green", "green"]
    assert model.probabilities(pictures()).sum(axis=1) == pytest.approx(1)
    assert model([]) == []


@pytest.mark.parametrize(
    "metadata",
    [{"names": "{0: 'red', 1: 'green', 2: 'blue'}"}, {"foveal.classes": '["red","green","blue"]'}],
)
def test_labels_from_metadata(tmp_path: Path, metadata: dict[str, str]) -> None:
    model = opened(write(tmp_path / "m.onnx", metadata=metadata))
    assert model.labels == LABELS
    assert model(pictures()[:1]) == ["blue"]


def test_the_key_names_weights_and_labels(tmp_path: Path) -> None:
    one = write(tmp_path / "a.onnx", metadata={"names": "['a', 'b', 'c']"})
    other = write(tmp_path / "b.onnx", metadata={"names": "['a', 'b', 'd']"})
    keys = [opened(one).key, opened(other).key]
    (tmp_path / "a.names").write_text("x\ny\nz\n")
    keys.append(opened(one).key)
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("how", "names", "state", "said"),
    [
        ({}, None, "22023", "does not name its 3 labels"),
        ({}, "a\nb\n", "22023", "scores 3 labels, but 2 names are given"),
        ({"metadata": {"names": "__import__('os').getcwd()"}}, None, "22023", "does not name"),
        ({"outputs": 2}, "a\nb\nc", "22023", "is no classification model"),
        ({"channels": 4}, "a\nb\nc\nd", "58030", "failed"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, how: dict[str, Any], names: str | None, state: str, said: str
) -> None:
    path = write(tmp_path / "m.onnx", **how)
    if names is not None:
        (tmp_path / "m.names").write_text(names)
    with pytest.raises(FovealError) as caught:
        opened(path)
    assert caught.value.sqlstate == state
    assert said in caught.value.message


def test_files_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(FovealError) as missing:
        opened(tmp_path / "none.onnx")
    assert missing.value.sqlstate == "58P01"
    (tmp_path / "bad.onnx").write_bytes(b"\x80\x04pickle")
    with pytest.raises(FovealError) as bad:
        opened(tmp_path / "bad.onnx")
    assert bad.value.sqlstate == "58030"
    assert "model file" in bad.value.message
