"""ONNX models written here node by node: trees, weights, layers, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from foveal.errors import DataError, NotSupportedError
from foveal.udfs.scoring.loading import model_of
from foveal.udfs.scoring.model import ScoringModel

onnx: Any = pytest.importorskip("onnx", reason="writes ONNX files")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
ML = "ai.onnx.ml"


def written(nodes: list[Any], width: int, constants: dict[str, Any] | None = None) -> bytes:
    """Return a file whose input is x [rows, width] and whose output is y."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v, "f4"), k) for k, v in (constants or {}).items()],
    )
    sets = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 3)]
    return helper.make_model(graph, opset_imports=sets).SerializeToString()


def predicted(model: ScoringModel, rows: Any) -> Any:
    columns = list(np.asarray(rows, np.float32).T)
    return np.stack(model.predict(columns, [None] * len(columns)), axis=1)


def stump(mode: str, tracks: int = 0, **changes: Any) -> Any:
    """Return a tree of one node: true gives 1, false 2."""
    given: dict[str, Any] = {
        "nodes_treeids": [0, 0, 0],
        "nodes_nodeids": [0, 1, 2],
        "nodes_featureids": [0, 0, 0],
        "nodes_modes": [mode, "LEAF", "LEAF"],
        "nodes_values": [0.5, 0.0, 0.0],
        "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0],
        "nodes_missing_value_tracks_true": [tracks, 0, 0],
        "target_treeids": [0, 0],
        "target_nodeids": [1, 2],
        "target_ids": [0, 0],
        "target_weights": [1.0, 2.0],
        "n_targets": 1,
    }
    given.update(changes)
    return helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain=ML, **given)


@pytest.mark.parametrize("tracks", [0, 1])
@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        ("BRANCH_LEQ", [1, 1, 2]),
        ("BRANCH_LT", [1, 2, 2]),
        ("BRANCH_GTE", [2, 1, 1]),
        ("BRANCH_GT", [2, 2, 1]),
        ("BRANCH_EQ", [2, 1, 2]),
        ("BRANCH_NEQ", [1, 2, 1]),
    ],
)
def test_every_comparison(mode: str, wanted: list[int], tracks: int) -> None:
    model = model_of(written([stump(mode, tracks)], 2))
    missing = 1 if tracks else 2
    if mode == "BRANCH_NEQ" and not tracks:
        missing = 2
    rows = [[0.25, 0], [0.5, 0], [0.75, 0], [math.nan, 0]]
    assert predicted(model, rows)[:, 0].tolist() == [*wanted, missing]
    assert model.missing == bool(tracks)
    assert len(model.features) == 2


def test_leaves_with_a_value_for_each_class() -> None:
    node = helper.make_node(
        "TreeEnsembleClassifier", ["x"], ["label", "y"], domain=ML,
        nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[1, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_values=[0.5, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
        class_treeids=[0] * 5, class_nodeids=[1, 1, 1, 2, 2], class_ids=[0, 1, 2, 0, 2],
        class_weights=[0.25, 0.25, 0.5, 0.75, 0.25], classlabels_strings=["a", "b", "c"],
        post_transform="NONE",
    )  # fmt: skip
    model = model_of(written([node], 2))
    assert model.output_names == ("a", "b", "c")
    assert predicted(model, [[0, 0], [0, 1]]).tolist() == [[0.25, 0.25, 0.5], [0.75, 0, 0.25]]


def test_scaling_before_weights() -> None:
    nodes = [
        helper.make_node("Scaler", ["x"], ["s"], domain=ML, offset=[1.0, 0.0], scale=[2.0, 1.0]),
        helper.make_node(
            "LinearRegressor", ["s"], ["y"], domain=ML, coefficients=[1.0, 10.0], intercepts=[0.5]
        ),
    ]
    assert predicted(model_of(written(nodes, 2)), [[1, 2], [3, 0]]).tolist() == [[20.5], [4.5]]


def test_layers_and_a_pair_of_probabilities() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Gemm", ["r", "v", "c"], ["g"], transB=1),
        helper.make_node("Sigmoid", ["g"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["y"], axis=1),
    ]
    constants = {"w": [[1, -1], [2, 0]], "b": [0, 1], "v": [[1, 3]], "c": [-1], "one": [1]}
    out = predicted(model_of(written(nodes, 2, constants)), [[1, 1], [-2, 0]])
    # relu([3, 0]) -> 2; relu([-2, 3]) -> 8
    np.testing.assert_allclose(out[:, 1], 1 / (1 + np.exp([-2.0, -8.0])), rtol=1e-6)
    np.testing.assert_allclose(out.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"nodes_truenodeids": [0, 0, 0]},
        {"nodes_truenodeids": [9, 0, 0]},
        {"nodes_falsenodeids": [1, 0, 0]},
        {"nodes_featureids": [7, 0, 0]},
        {"nodes_nodeids": [0, 1, 1]},
        {"nodes_values": [0.5]},
        {"nodes_values": [math.nan, 0.0, 0.0]},
        {"target_nodeids": [1, 8]},
        {"target_ids": [0, 4]},
        {"target_weights": [1.0, math.inf]},
        {"n_targets": 100000},
    ],
)
def test_broken_trees_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(DataError) as caught:
        model_of(written([stump("BRANCH_LEQ", **changes)], 2))
    assert caught.value.sqlstate == "22023"


def test_what_onnx_can_and_we_cannot() -> None:
    svm = helper.make_node("SVMRegressor", ["x"], ["y"], domain=ML, n_supports=0)
    norm = helper.make_node("Normalizer", ["x"], ["n"], domain=ML, norm="L2")
    line = helper.make_node(
        "LinearRegressor", ["n"], ["y"], domain=ML, coefficients=[1.0, 1.0], intercepts=[0.0]
    )
    for nodes in ([svm], [norm, line], [stump("BRANCH_LEQ", aggregate_function="MAX")],
                  [stump("BRANCH_LEQ", post_transform="PROBIT")],
                  [helper.make_node("Add", ["x", "x"], ["y"])]):  # fmt: skip
        with pytest.raises(NotSupportedError):
            model_of(written(nodes, 2))


def test_what_is_no_onnx_is_refused() -> None:
    good = written([stump("BRANCH_LEQ")], 2)
    for broken in (good[:-3], b"\x08" + b"\xff" * 40, b"\x08\x01"):
        with pytest.raises(DataError):
            model_of(broken)
    loop = [helper.make_node("Relu", ["y"], ["z"]), helper.make_node("Relu", ["z"], ["y"])]
    with pytest.raises(DataError):
        model_of(written(loop, 2))
