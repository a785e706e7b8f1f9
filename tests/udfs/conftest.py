"""Small ONNX files with known outputs, and the way to load them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from foveal.planner.protocols import Detector
from foveal.udfs import detectors

Array = npt.NDArray[Any]
WriteModel = Callable[..., Path]
LoadFile = Callable[..., Detector]


@pytest.fixture
def write_model(tmp_path: Path) -> WriteModel:
    """Return a function that writes a model answering the given arrays, whatever it sees."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper

    def write(
        outputs: Mapping[str, Array],
        shape: Sequence[int | str] = (1, 3, 64, 64),
        *,
        kind: int = onnx.TensorProto.FLOAT,
        image: str = "images",
        companions: Mapping[str, tuple[int, Sequence[int | str]]] | None = None,
        metadata: Mapping[str, str] | None = None,
        name: str = "model.onnx",
    ) -> Path:
        inputs = [helper.make_tensor_value_info(image, kind, list(shape))]
        for companion, (companion_kind, dims) in (companions or {}).items():
            inputs.append(helper.make_tensor_value_info(companion, companion_kind, list(dims)))
        # zero = 0 * mean(image) per picture, so that outputs follow the batch
        nodes = [
            helper.make_node("Cast", [image], ["as_float"], to=onnx.TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["as_float"], ["mean"], axes=[1, 2, 3], keepdims=1),
            helper.make_node("Mul", ["mean", "nought"], ["zero"]),
        ]
        constants = [numpy_helper.from_array(np.float32(0).reshape(1), "nought")]
        results: list[Any] = []
        for output, value in outputs.items():
            constants.append(numpy_helper.from_array(value.astype(np.float32), f"{output}_value"))
            follows = value.ndim >= 2 and value.shape[0] == 1
            dims = [1] * (value.ndim - 1)
            constants.append(
                numpy_helper.from_array(
                    np.array([-1 if follows else 1, *dims], dtype=np.int64), f"{output}_shape"
                )
            )
            to = helper.np_dtype_to_tensor_dtype(value.dtype)
            nodes += [
                helper.make_node("Reshape", ["zero", f"{output}_shape"], [f"{output}_zero"]),
                helper.make_node("Add", [f"{output}_value", f"{output}_zero"], [f"{output}_sum"]),
                helper.make_node("Cast", [f"{output}_sum"], [output], to=to),
            ]
            results.append(helper.make_tensor_value_info(output, to, None))
        graph = helper.make_graph(nodes, "graph", inputs, results, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        helper.set_model_props(model, dict(metadata or {}))
        path = tmp_path / name
        path.write_bytes(model.SerializeToString())
        return path

    return write


@pytest.fixture
def load_file() -> LoadFile:
    """Return a function that loads a detector from a path with options given by keyword."""

    def unresolved(name: str) -> Path:
        raise AssertionError(f"{name} was looked up")

    def load(path: Path, **options: str | int | float | bool) -> Detector:
        return detectors.load(
            str(path), options=options, resolve=unresolved, threads=1, device="cpu"
        )

    return load
