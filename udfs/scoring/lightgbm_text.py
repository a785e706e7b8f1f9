"""LightGBM's text models.

Source: LightGBM 4 (src/io/tree.cpp, src/boosting/gbdt_model_text.cpp, include/LightGBM/tree.h). A
node's `decision_type`: bit 0 categorical, bit 1 missing goes left, bits 2 and 3 what is missing
(none: NaN counts as 0; zero: magnitudes up to 1e-35 and NaN; NaN). Members of a set go left.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from foveal.errors import NotSupportedError
from foveal.udfs.scoring.forest import MAX_NODES, Forest, TreeNodes, assembled
from foveal.udfs.scoring.kinds import Link
from foveal.udfs.scoring.model import Feature, Shift, broken, check_features

HEAD = b"tree\n"
ZERO = float(np.float32(1e-35))
_NONE, _ZERO, _NAN = 0, 1, 2
_EXP = ("poisson", "gamma", "tweedie")
_PLAIN = (
    "regression", "regression_l2", "regression_l1", "huber", "fair", "quantile", "mape",
    "lambdarank", "rank_xendcg", "custom", "",
)  # fmt: skip


def read_lightgbm(data: bytes) -> Forest:
    """Return the model of a file's bytes. Over DOUBLE features; `over_floats` narrows them.

    Raises:
        DataError: 22023: it is not a whole model.
        NotSupportedError: linear trees, or an objective that we do not know.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise broken(f"it is no text: {error}") from error
    head, *blocks = text.replace("\r\n", "\n").partition("end of trees")[0].split("\nTree=")
    if "end of trees" not in text:
        raise broken("it ends before its trees do")
    facts = _pairs(head)
    count = _integer(facts, "max_feature_idx") + 1
    check_features(count)
    per_turn = _integer(facts, "num_tree_per_iteration")
    if not 1 <= per_turn <= 1024 or len(blocks) % per_turn:
        raise broken(f"{len(blocks)} trees do not come in turns of {per_turn}")
    names = facts.get("feature_names", "").split() or [f"f{k}" for k in range(count)]
    if len(names) != count:
        raise broken(f"{len(names)} names for {count} features")
    missing: dict[int, int] = {}
    categorical: set[int] = set()
    trees = [
        _tree(_pairs(block.partition("\n")[2]), number % per_turn, count, missing, categorical)
        for number, block in enumerate(blocks)
    ]
    link, scale = _link(facts.get("objective", ""), per_turn)
    shift = Shift.none(count)
    zero = shift.zero.copy()
    zero[[k for k, kind in missing.items() if kind == _ZERO]] = ZERO
    outputs = ("prediction",) if per_turn == 1 else tuple(f"class_{k}" for k in range(per_turn))
    return Forest(
        features=tuple(Feature(name, k in categorical) for k, name in enumerate(names)),
        output_names=outputs,
        shift=Shift(shift.offset, shift.factor, shift.added, zero),
        inputs=64,
        link=link,
        scale=scale,
        missing=True,
        base=np.zeros(per_turn),
        sums=64,
        divisor=float(len(blocks) // per_turn) if "average_output" in head.split("\n") else 1.0,
        **assembled(trees, count, per_turn),
    )


def _pairs(block: str) -> dict[str, str]:
    """Return the lines `key=value` of a block."""
    lines = (line.partition("=") for line in block.split("\n"))
    return {key.strip(): value.strip() for key, sign, value in lines if sign}


def _integer(facts: dict[str, str], key: str) -> int:
    try:
        return int(facts[key])
    except (KeyError, ValueError) as error:
        raise broken(f"{key} is no number") from error


def _numbers(facts: dict[str, str], key: str, count: int, type_: Any) -> list[Any]:
    """Return a list of `count` numbers."""
    words = facts.get(key, "").split()
    if len(words) != count:
        raise broken(f"{key} has {len(words)} numbers, not {count}")
    try:
        return [type_(word) for word in words]
    except ValueError as error:
        raise broken(f"{key}: {error}") from error


def _tree(
    facts: dict[str, str],
    output: int,
    features: int,
    missing: dict[int, int],
    categorical: set[int],
) -> TreeNodes:
    """Return one tree; note each feature's missing values, and which are categories."""
    leaves = _integer(facts, "num_leaves")
    if not 1 <= leaves <= MAX_NODES:
        raise broken(f"a tree of {leaves} leaves")
    if facts.get("is_linear", "0") != "0":
        raise NotSupportedError(
            "LightGBM models with linear trees are not supported",
            hint="train it with linear_tree=false",
        )
    values = _numbers(facts, "leaf_value", leaves, float)
    inner = leaves - 1
    if not inner:
        return TreeNodes([], [], [], [], [], values, output=output)
    feature = _numbers(facts, "split_feature", inner, int)
    threshold = _numbers(facts, "threshold", inner, float)
    decisions = _numbers(facts, "decision_type", inner, int)
    if max(feature) >= features or min(feature) < 0:
        raise broken(f"a tree asks for a feature beyond {features}")
    test, right_if_missing = [0] * inner, [False] * inner
    members: dict[int, list[int]] = {}
    for place, (decision, which) in enumerate(zip(decisions, feature, strict=True)):
        if decision & 1:
            categorical.add(which)
            test[place], right_if_missing[place] = 2, True
            members[place] = _members(facts, threshold[place])
            threshold[place] = 0.0
            continue
        kind = decision >> 2 & 3
        known = missing.setdefault(which, kind)
        if kind > _NAN or (known != kind and _ZERO in (kind, known)):
            raise broken(f"feature {which} has two kinds of missing values")
        if kind == _NONE:
            right_if_missing[place] = not threshold[place] >= 0
        else:
            right_if_missing[place] = not decision & 2
    left = _numbers(facts, "left_child", inner, int)
    right = _numbers(facts, "right_child", inner, int)
    return TreeNodes(
        feature, threshold, left, right, right_if_missing, values, test, members, output=output
    )


def _members(facts: dict[str, str], number: float) -> list[int]:
    """Return the categories of a set by its number."""
    count = _integer(facts, "num_cat")
    if not 1 <= count <= MAX_NODES or not (number == int(number) and 0 <= number < count):
        raise broken(f"no set of categories {number}")
    bounds = _numbers(facts, "cat_boundaries", count + 1, int)
    words = [int(word) for word in facts.get("cat_threshold", "").split()]
    first, last = bounds[int(number)], bounds[int(number) + 1]
    if not 0 <= first <= last <= len(words) or any(not 0 <= word < 1 << 32 for word in words):
        raise broken(f"set of categories {number} lies outside of the sets")
    return [
        32 * place + bit
        for place, word in enumerate(words[first:last])
        for bit in range(32)
        if word >> bit & 1
    ]


def _link(objective: str, outputs: int) -> tuple[Link, float]:
    """Return what LightGBM makes of the sums, and the scale of `logistic`."""
    name, *options = objective.split() or [""]
    given = {key: value for key, _, value in (option.partition(":") for option in options)}
    if name in _EXP:
        return "exp", 1.0
    if name == "multiclass":
        return "softmax", 1.0
    if name in ("binary", "multiclassova", "cross_entropy"):
        try:
            scale = float(given.get("sigmoid", "1"))
        except ValueError as error:
            raise broken(f"objective {objective}") from error
        if not (math.isfinite(scale) and scale > 0):
            raise broken(f"objective {objective}")
        return "logistic", scale
    if name == "cross_entropy_lambda":
        return "softplus", 1.0
    if name in _PLAIN:
        return ("square" if "sqrt" in options else "identity"), 1.0
    raise NotSupportedError(
        f"LightGBM's objective {name} is not known",
        hint="objectives known: binary, multiclass, multiclassova, cross_entropy, regression and "
        "its kin, poisson, gamma, tweedie, lambdarank",
    )
