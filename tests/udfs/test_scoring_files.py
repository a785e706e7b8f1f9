"""Model files: what is read of each format, and what is refused, from files written here."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.errors import DataError, NotSupportedError, OperationalError
from foveal.udfs.scoring.loading import load_model, model_of
from foveal.udfs.scoring.model import ScoringModel

LIGHTGBM = """tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=2
objective=binary sigmoid:2
feature_names=age income city
feature_infos=none none none
tree_sizes=1 1

Tree=0
num_leaves=4
num_cat=1
split_feature=0 1 2
threshold=1.5 0.25 0
decision_type=10 8 1
left_child=1 -1 -3
right_child=2 -2 -4
leaf_value=0.5 -0.25 1 -1
cat_boundaries=0 1
cat_threshold=10
is_linear=0
shrinkage=1


Tree=1
num_leaves=1
num_cat=0
leaf_value=0.125
is_linear=0
shrinkage=1


end of trees

parameters:
end of parameters
"""
# age: missing left; income: missing right; city: categories 1 and 3 go left.
ROWS = [
    ([1.5, 0.25, 0.0], 0.5),
    ([math.nan, 0.3, 0.0], -0.25),
    ([0.0, math.nan, 0.0], -0.25),
    ([2.0, 0.0, 1.0], 1.0),
    ([2.0, 0.0, 3.9], 1.0),
    ([2.0, 0.0, 2.0], -1.0),
    ([2.0, 0.0, -0.5], -1.0),
    ([2.0, 0.0, 1e30], -1.0),
    ([math.inf, 0.0, math.nan], -1.0),
]


def predicted(model: ScoringModel, rows: Any) -> Any:
    """Return the model's outputs [rows, outputs]."""
    columns = list(np.asarray(rows, np.float64).T)
    return np.stack(model.predict(columns, [None] * len(columns)), axis=1)


def test_lightgbm_numbers_missing_values_and_categories() -> None:
    model = model_of(LIGHTGBM.encode())
    assert [f.name for f in model.features] == ["age", "income", "city"]
    assert [f.categorical for f in model.features] == [False, False, True]
    raw = predicted(model.raw(), [row for row, _ in ROWS])[:, 0]
    assert raw.tolist() == [leaf + 0.125 for _, leaf in ROWS]
    chances = predicted(model, [row for row, _ in ROWS])[:, 0]
    np.testing.assert_allclose(chances, 1 / (1 + np.exp(-2 * raw)), rtol=1e-15)


@pytest.mark.parametrize(
    ("decision", "missing", "zero"),
    [(0, 1.5, 1.5), (8, -2.0, 1.5), (10, 1.5, 1.5), (4, -2.0, -2.0), (6, 1.5, 1.5)],
)
def test_lightgbm_kinds_of_missing_values(decision: int, missing: float, zero: float) -> None:
    text = LIGHTGBM.partition("Tree=0")[0] + (
        "Tree=0\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nthreshold=0.5\n"
        f"decision_type={decision}\nleft_child=-1\nright_child=-2\nleaf_value=1.5 -2\n\n"
        "end of trees\n"
    )
    model = model_of(text.encode()).raw()
    rows = [[math.nan, 0, 0], [0.0, 0, 0], [1e-36, 0, 0], [-0.0, 0, 0], [1e-3, 0, 0], [1, 0, 0]]
    assert predicted(model, rows)[:, 0].tolist() == [missing, zero, zero, zero, 1.5, -2.0]


def test_lightgbm_averages_and_classes() -> None:
    averaged = LIGHTGBM.replace("objective=binary sigmoid:2", "average_output")
    raw = predicted(model_of(averaged.encode()), [row for row, _ in ROWS])[:, 0]
    assert raw.tolist() == [(leaf + 0.125) / 2 for _, leaf in ROWS]
    classes = LIGHTGBM.replace("binary sigmoid:2", "multiclass num_class:2").replace(
        "num_tree_per_iteration=1", "num_tree_per_iteration=2"
    )
    model = model_of(classes.encode())
    assert predicted(model.raw(), [ROWS[0][0]]).tolist() == [[0.5, 0.125]]
    assert predicted(model, [ROWS[0][0]]).sum() == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("left_child=1 -1 -3", "left_child=1 -1 0"),
        ("left_child=1 -1 -3", "left_child=1 -1 -9"),
        ("left_child=1 -1 -3", "left_child=1 -1 -2"),
        ("left_child=1 -1 -3", "left_child=1 -1 99999999999999999999"),
        ("left_child=1 -1 -3\nright_child=2 -2 -4", "left_child=1 2 1\nright_child=-1 -2 -3"),
        ("split_feature=0 1 2", "split_feature=0 1 3"),
        ("split_feature=0 1 2", "split_feature=0 1 -1"),
        ("split_feature=0 1 2", "split_feature=0 1"),
        ("threshold=1.5", "threshold=nan"),
        ("threshold=1.5", "threshold=x"),
        ("leaf_value=0.5", "leaf_value=inf"),
        ("num_leaves=4", "num_leaves=999999999999"),
        ("num_leaves=4", "num_leaves=-1"),
        ("cat_boundaries=0 1", "cat_boundaries=0 7"),
        ("cat_threshold=10", "cat_threshold=-10"),
        ("max_feature_idx=2", "max_feature_idx=5000"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=0"),
        ("end of trees", "end of"),
        ("sigmoid:2", "sigmoid:-1"),
        ("decision_type=10 8 1", "decision_type=10 12 1"),
    ],
)
def test_broken_lightgbm_files_are_refused(old: str, new: str) -> None:
    assert old in LIGHTGBM
    with pytest.raises(DataError) as caught:
        model_of(LIGHTGBM.replace(old, new, 1).encode())
    assert caught.value.sqlstate == "22023"
    assert caught.value.hint


def test_what_lightgbm_can_and_we_cannot() -> None:
    for old, new in (("is_linear=0", "is_linear=1"), ("binary sigmoid:2", "new_objective")):
        with pytest.raises(NotSupportedError):
            model_of(LIGHTGBM.replace(old, new, 1).encode())


XGBOOST: dict[str, Any] = {
    "learner": {
        "feature_names": ["a", "c"],
        "feature_types": ["float", "c"],
        "gradient_booster": {
            "name": "gbtree",
            "model": {
                "tree_info": [0],
                "trees": [
                    {
                        "left_children": [1, -1, 3, -1, -1],
                        "right_children": [2, -1, 4, -1, -1],
                        "split_indices": [0, 0, 1, 0, 0],
                        "split_conditions": [0.5, 1.25, 0, -2.0, 4.0],
                        "split_type": [0, 0, 1, 0, 0],
                        "default_left": [0, 0, 1, 0, 0],
                        "categories": [0, 2],
                        "categories_nodes": [2],
                        "categories_segments": [0],
                        "categories_sizes": [2],
                        "tree_param": {"size_leaf_vector": "1"},
                    }
                ],
            },
        },
        "learner_model_param": {"base_score": "5E-1", "num_class": "0", "num_feature": "2"},
        "objective": {"name": "binary:logistic"},
    },
    "version": [3, 0, 0],
}
# a < 0.5 left, missing right; c: 0 and 2 go right, missing left.
XGBOOST_ROWS = [
    ([0.4999, 0], 1.25),
    ([0.5, 0], 4.0),
    ([math.nan, 1], -2.0),
    ([1, 2], 4.0),
    ([1, 3], -2.0),
    ([1, -0.5], -2.0),
    ([1, 1e9], -2.0),
    ([1, math.nan], -2.0),
]


def ubjson(value: Any) -> bytes:
    """Write Universal Binary JSON the way XGBoost does: typed arrays of numbers."""
    if isinstance(value, dict):
        items: list[tuple[str, Any]] = list(value.items())  # pyright: ignore[reportUnknownArgumentType]
        return b"{" + b"".join(ubjson(key)[1:] + ubjson(each) for key, each in items) + b"}"
    if isinstance(value, str):
        return b"SL" + struct.pack(">q", len(value.encode())) + value.encode()
    if isinstance(value, int):
        return b"l" + struct.pack(">i", value)
    if isinstance(value, float):
        return b"d" + struct.pack(">f", value)
    if value and all(isinstance(each, float | int) for each in value):
        head = b"[$d#L" + struct.pack(">q", len(value))
        return head + np.asarray(value, ">f4").tobytes()
    return b"[" + b"".join(ubjson(each) for each in value) + b"]"


@pytest.mark.parametrize("written", [json.dumps(XGBOOST).encode(), ubjson(XGBOOST)])
def test_xgboost_strict_comparisons_defaults_and_categories(written: bytes) -> None:
    model = model_of(written)
    raw = predicted(model.raw(), [row for row, _ in XGBOOST_ROWS])[:, 0]
    assert raw.tolist() == [leaf for _, leaf in XGBOOST_ROWS]
    assert raw.dtype == np.float32
    assert [f.categorical for f in model.features] == [False, True]


def changed(path: list[Any], value: Any) -> bytes:
    whole = json.loads(json.dumps(XGBOOST))
    at = whole["learner"]
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return json.dumps(whole).encode()


TREE: list[Any] = ["gradient_booster", "model", "trees", 0]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ([*TREE, "left_children"], [1, -1, 0, -1, -1]),
        ([*TREE, "left_children"], [1, -1, 77, -1, -1]),
        ([*TREE, "left_children"], []),
        ([*TREE, "right_children"], [2, -1]),
        ([*TREE, "split_conditions"], [0.5, 1.25, 0, None, 4.0]),
        ([*TREE, "split_indices"], [9, 0, 1, 0, 0]),
        ([*TREE, "categories_sizes"], [9]),
        ([*TREE, "categories"], [-1, 2]),
        ([*TREE, "categories_nodes"], [3]),
        (["gradient_booster", "model", "tree_info"], [5]),
        (["gradient_booster", "model", "tree_info"], []),
        (["gradient_booster", "model"], 7),
        (["learner_model_param", "num_feature"], "0"),
        (["learner_model_param", "base_score"], "2"),
        (["learner_model_param", "base_score"], "[0.5,0.5,0.5]"),
        (["feature_names"], ["a"]),
    ],
)
def test_broken_xgboost_files_are_refused(path: list[Any], value: Any) -> None:
    with pytest.raises(DataError) as caught:
        model_of(changed(path, value))
    assert caught.value.sqlstate == "22023"


@pytest.mark.parametrize("cut", [1, 5, 60, 400, -1])
def test_truncated_files_are_refused(cut: int) -> None:
    for whole in (json.dumps(XGBOOST).encode(), ubjson(XGBOOST)):
        with pytest.raises(DataError):
            model_of(whole[:cut])


def test_a_length_beyond_the_file_allocates_nothing() -> None:
    with pytest.raises(DataError):
        model_of(b"{L" + struct.pack(">q", 1 << 60))
    with pytest.raises(DataError):
        model_of(b"{U\x01a" + b"[" * 5000)


def test_what_xgboost_can_and_we_cannot() -> None:
    for path, value in (
        (["objective", "name"], "survival:new"),
        (["gradient_booster", "name"], "other"),
        ([*TREE, "tree_param"], {"size_leaf_vector": "3"}),
        (["learner_model_param", "num_target"], "2"),
    ):
        with pytest.raises(NotSupportedError):
            model_of(changed(path, value))


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(b"\x80\x04\x95")
    with pytest.raises(DataError) as caught:
        load_model(file)
    assert "pickles are not read" in str(caught.value.hint)
    with pytest.raises(OperationalError):
        load_model(tmp_path / "absent")
    good = tmp_path / "model.txt"
    good.write_text(LIGHTGBM)
    assert load_model(good).kind.startswith("forest")


def test_null_is_a_missing_value_where_the_model_knows_any() -> None:
    model = model_of(LIGHTGBM.encode()).raw()
    columns = [np.zeros(2), np.zeros(2), np.zeros(2)]
    (out,) = model.predict(columns, [None, np.array([True, False]), None])
    assert out.tolist() == [0.625, -0.125]
