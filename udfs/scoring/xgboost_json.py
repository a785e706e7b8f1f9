"""XGBoost's JSON and UBJSON models.

Source: XGBoost 3 (doc/model.schema, src/tree/tree_model.cc, src/predictor,
src/common/categorical.h, src/objective). Features and thresholds are FLOAT, `x < threshold` goes
left; categories in a set go right; sums are FLOAT. A category below 0 or beyond the set goes left.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from foveal.errors import NotSupportedError
from foveal.udfs.scoring.forest import MAX_TREES, Forest, TreeNodes, assembled, below
from foveal.udfs.scoring.kinds import Link
from foveal.udfs.scoring.linear import Linear, linear
from foveal.udfs.scoring.model import Feature, Shift, broken, check_features
from foveal.udfs.scoring.ubjson import read_ubjson

_LINKS: dict[str, Link] = {
    "binary:logistic": "logistic", "reg:logistic": "logistic", "binary:logitraw": "identity",
    "binary:hinge": "step", "multi:softprob": "softmax", "multi:softmax": "argmax",
    "count:poisson": "exp", "reg:gamma": "exp", "reg:tweedie": "exp", "survival:aft": "exp",
    "survival:cox": "exp", "reg:squarederror": "identity", "reg:squaredlogerror": "identity",
    "reg:absoluteerror": "identity", "reg:quantileerror": "identity",
    "reg:pseudohubererror": "identity", "rank:ndcg": "identity", "rank:map": "identity",
    "rank:pairwise": "identity",
}  # fmt: skip
_LOGIT, _LOG = ("logistic",), ("exp",)


def read_xgboost(data: bytes) -> Forest | Linear:
    """Return the model of a file's bytes, JSON or UBJSON.

    Raises:
        DataError: 22023: it is not a whole model.
        NotSupportedError: a booster, an objective or leaves of a form that we do not run.
    """
    try:
        whole = json.loads(data) if data.lstrip()[1:2] in (b'"', b"\n", b" ") else read_ubjson(data)
    except (ValueError, RecursionError) as error:
        raise broken(f"it is no JSON: {error}") from error
    learner = _mapping(_mapping(whole, "the file"), "learner", of=whole)
    try:
        return _model(learner)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise broken(f"a part is missing or of another form: {error!r}") from error


def _mapping(value: Any, name: str, of: Any = None) -> Mapping[str, Any]:
    found = of.get(name) if of is not None else value
    if not isinstance(found, dict):
        raise broken(f"{name} is no object")
    return found  # pyright: ignore[reportUnknownVariableType]


def _model(learner: Mapping[str, Any]) -> Forest | Linear:
    """Return the model of a learner."""
    parameters = learner["learner_model_param"]
    count = int(parameters["num_feature"])
    check_features(count)
    if int(parameters.get("num_target", 1)) > 1:
        raise NotSupportedError("XGBoost models of several targets are not supported")
    raw = max(int(parameters["num_class"]), 1)
    if raw > 1024:
        raise broken(f"{raw} classes")
    objective = str(learner["objective"]["name"])
    if objective not in _LINKS:
        raise NotSupportedError(
            f"XGBoost's objective {objective} is not known",
            hint="objectives known: " + ", ".join(_LINKS),
        )
    link = _LINKS[objective]
    base = _base(parameters["base_score"], raw, link)
    names = [str(name) for name in learner.get("feature_names") or ()]
    names = names or [f"f{k}" for k in range(count)]
    types = [str(type_) for type_ in learner.get("feature_types") or ()] or ["float"] * count
    if len(names) != count or len(types) != count:
        raise broken(f"{len(names)} names and {len(types)} types for {count} features")
    outputs = _outputs(link, raw)
    booster = learner["gradient_booster"]
    if booster["name"] == "gblinear":
        weights = np.asarray(booster["model"]["weights"], np.float64).reshape(count + 1, raw)
        bias = (weights[-1].astype(np.float32) + base.astype(np.float32)).astype(np.float64)
        return linear(weights[:-1].T, bias, link=link, inputs=32, names=names, outputs=outputs)
    drops = None
    if booster["name"] == "dart":
        drops, booster = [float(x) for x in booster["weight_drop"]], booster["gbtree"]
    elif booster["name"] != "gbtree":
        raise NotSupportedError(f"XGBoost's booster {booster['name']} is not known")
    model = booster["model"]
    info = [int(x) for x in model["tree_info"]]
    if len(info) != len(model["trees"]) or not 1 <= len(info) <= MAX_TREES:
        raise broken(f"{len(info)} places for {len(model['trees'])} trees")
    if drops is not None and len(drops) != len(info):
        raise broken(f"{len(drops)} weights for {len(info)} trees")
    trees = [_tree(tree, output) for tree, output in zip(model["trees"], info, strict=True)]
    for place, tree in enumerate(trees):
        if drops is not None:
            scaled = np.float32(drops[place]) * np.asarray(tree.leaves, np.float32)
            tree.leaves = scaled.astype(np.float64)
    return Forest(
        features=tuple(Feature(n, t == "c") for n, t in zip(names, types, strict=True)),
        output_names=outputs,
        shift=Shift.none(count),
        inputs=32,
        link=link,
        missing=True,
        base=base,
        sums=32,
        lowest_category=-float(np.float32(1e-45)),
        **assembled(trees, count, raw),
    )


def _outputs(link: Link, raw: int) -> tuple[str, ...]:
    if link == "argmax":
        return ("class",)
    return ("prediction",) if raw == 1 else tuple(f"class_{k}" for k in range(raw))


def _base(written: Any, raw: int, link: Link) -> Any:
    """Return what sums start from: the base score before the link."""
    values = json.loads(written) if isinstance(written, str) else written
    values = np.asarray(values if isinstance(values, list) else [values], np.float32)
    if values.shape not in ((raw,), (1,)) or not np.isfinite(values).all():
        raise broken(f"base score {written}")
    if link in _LOGIT:
        if not ((values > 0) & (values < 1)).all():
            raise broken(f"base score {written} is no probability")
        # In FLOAT, as XGBoost does; only the logarithm itself is rounded once.
        odds = np.float32(1) / values - np.float32(1)
        values = np.array([-math.log(float(x)) for x in odds], np.float32)
    elif link in _LOG:
        if not (values > 0).all():
            raise broken(f"base score {written} is not above 0")
        values = np.array([math.log(float(x)) for x in values], np.float32)
    return np.broadcast_to(values, (raw,)).astype(np.float64)


def _tree(tree: Mapping[str, Any], output: int) -> TreeNodes:
    """Return one tree; what is not reached from its root is left out, as pruned nodes are."""
    if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
        raise NotSupportedError("XGBoost trees whose leaves are vectors are not supported")
    lefts, rights = tree["left_children"], tree["right_children"]
    conditions = tree["split_conditions"]
    indices, default_left = tree["split_indices"], tree["default_left"]
    types = tree.get("split_type") or [0] * len(lefts)
    sets = _sets(tree)
    count = len(lefts)
    if not 1 <= count <= 1 << 24:
        raise broken(f"a tree of {count} nodes")
    inner: dict[int, int] = {}
    leaf: dict[int, int] = {}
    pending, order = [0], list[int]()
    while pending:
        node = pending.pop()
        if not 0 <= node < count or node in inner or node in leaf:
            raise broken(f"a tree reaches node {node} twice, or has none such")
        if int(lefts[node]) == -1:
            leaf[node] = len(leaf)
            continue
        inner[node] = len(inner)
        order.append(node)
        pending += (int(rights[node]), int(lefts[node]))

    def place(node: int) -> int:
        return inner[node] if node in inner else ~leaf[node]

    left = [place(int(lefts[node])) for node in order]
    right = [place(int(rights[node])) for node in order]
    missing_right = [not default_left[node] for node in order]
    thresholds = np.array([float(conditions[node]) for node in order], np.float32)
    test = [2 if int(types[node]) == 1 else 0 for node in order]
    members: dict[int, list[int]] = {}
    limits = below(thresholds, 32).tolist()
    for k, node in enumerate(order):
        if test[k] == 2:
            if node not in sets:
                raise broken(f"node {node} has no categories")
            members[k], limits[k] = sets[node], 0.0
        elif thresholds[k] == -np.inf:
            # Nothing is below: everything but what is missing goes right.
            left[k], right[k], limits[k] = right[k], left[k], math.inf
            missing_right[k] = not missing_right[k]
    return TreeNodes(
        [int(indices[node]) for node in order],
        limits,
        left,
        right,
        missing_right,
        np.asarray([float(conditions[node]) for node in leaf], np.float32).astype(np.float64),
        test,
        members,
        member_right=True,
        output=output,
    )


def _sets(tree: Mapping[str, Any]) -> dict[int, list[int]]:
    """Return the categories of a tree's nodes."""
    categories: list[Any] = tree.get("categories") or []
    out: dict[int, list[int]] = {}
    parts = zip(
        tree.get("categories_nodes") or [],
        tree.get("categories_segments") or [],
        tree.get("categories_sizes") or [],
        strict=True,
    )
    for node, first, size in parts:
        if not 0 <= int(first) <= int(first) + int(size) <= len(categories):
            raise broken("a set of categories lies outside of the sets")
        out[int(node)] = [int(c) for c in categories[int(first) : int(first) + int(size)]]
    return out
