"""ONNX's TreeEnsembleClassifier and TreeEnsembleRegressor as forests.

Source: ONNX-ML operators (ai.onnx.ml, versions 1 to 3); sums as ONNX Runtime makes them: in FLOAT,
in the order of the trees, base values last (core/providers/cpu/ml/tree_ensemble_aggregator.h).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.errors import NotSupportedError
from foveal.udfs.scoring.forest import MAX_NODES, Forest, TreeNodes, assembled, below
from foveal.udfs.scoring.kinds import Link
from foveal.udfs.scoring.model import Feature, Shift, broken

Array = npt.NDArray[Any]
POST: dict[str, Link] = {"NONE": "identity", "LOGISTIC": "logistic", "SOFTMAX": "softmax"}
_SWAPPED = ("BRANCH_GT", "BRANCH_GTE", "BRANCH_NEQ")
_STRICT = ("BRANCH_LT", "BRANCH_GTE")
_EQUAL = ("BRANCH_EQ", "BRANCH_NEQ")
_MODES = ("BRANCH_LEQ", "LEAF", *_SWAPPED, *_STRICT, *_EQUAL)


@dataclass(slots=True)
class _Tree:
    """One tree of the lists: places of its nodes by their numbers, and its leaves' weights."""

    places: dict[int, int] = field(default_factory=dict[int, int])
    weights: dict[int, list[tuple[int, float]]] = field(
        default_factory=dict[int, list[tuple[int, float]]]
    )


def read_trees(
    op: str, given: Mapping[str, Any], features: tuple[Feature, ...], shift: Shift, double: bool
) -> Forest:
    """Return the forest of an operator's attributes.

    Raises:
        DataError: 22023: lists that do not fit together.
        NotSupportedError: an aggregate or a transform that we do not run.
    """
    kind = "class" if op == "TreeEnsembleClassifier" else "target"
    aggregate = given.get("aggregate_function", "SUM")
    if aggregate not in ("SUM", "AVERAGE"):
        raise NotSupportedError(f"ONNX trees whose values are combined by {aggregate}")
    post = str(given.get("post_transform", "NONE"))
    if post not in POST:
        raise NotSupportedError(f"ONNX's transform {post} is not supported")
    nodes, weights = _Lists(given, "nodes_"), _Lists(given, f"{kind}_")
    labels = given.get("classlabels_int64s") or given.get("classlabels_strings") or ()
    outputs = len(labels) if kind == "class" else int(given.get("n_targets", 1))
    if not 1 <= outputs <= 1024:
        raise broken(f"{outputs} outputs")
    ids = [int(x) for x in weights.of("ids")]
    values = [float(x) for x in weights.numbers("weights")]
    single = kind == "class" and outputs == 2 and len(set(ids)) == 1
    raw = 1 if single else outputs
    if ids and not (min(ids) >= 0 and max(ids) < outputs):
        raise broken(f"a leaf feeds an output beyond {outputs}")
    trees = _trees(nodes, weights, [0] * len(ids) if single else ids, values)
    link, pair = POST[post], False
    if single:
        # As ONNX Runtime: weights that are all positive are the second class's probability.
        positive = all(value >= 0 for value in values)
        pair, link = True, "identity" if positive else "logistic"
        if not positive and post != "LOGISTIC":
            raise NotSupportedError("ONNX classifiers of scores of both signs without LOGISTIC")
    base = given.get("base_values") or given.get("base_values_as_tensor")
    base = np.zeros(raw) if base is None else np.asarray(base, np.float64).reshape(-1)
    if base.shape != (raw,) or not np.isfinite(base).all():
        raise broken(f"{base.size} base values for {raw} sums")
    bits = 64 if double else 32
    made, wide, missing = _nodes(nodes, trees, raw, bits)
    parts = assembled(made, len(features), 1 if wide else raw)
    if wide:
        parts["tree_output"] = None
    names = [str(label) for label in labels] or [f"output_{k}" for k in range(outputs)]
    return Forest(
        features=features,
        output_names=("prediction",) if kind == "target" and outputs == 1 else tuple(names),
        shift=shift,
        inputs=bits,
        link=link,
        pair=pair,
        missing=missing,
        base=base,
        base_last=True,
        sums=bits,
        divisor=float(len(trees)) if aggregate == "AVERAGE" else 1.0,
        **parts,
    )


class _Lists:
    """Parallel lists of one operator."""

    def __init__(self, given: Mapping[str, Any], prefix: str) -> None:
        """Take the lists by a prefix of their names."""
        self._given, self._prefix = given, prefix
        self.count = len(self.of("treeids"))
        if not 1 <= self.count <= MAX_NODES:
            raise broken(f"{self.count} entries of {prefix}treeids")

    def of(self, name: str, *, default: Any = None) -> Any:
        """Return a list, of the length of the others."""
        found = self._given.get(self._prefix + name)
        if (found is None or not len(found)) and default is not None:
            return [default] * self.count
        if found is None or (name != "treeids" and len(found) != self.count):
            raise broken(f"{self._prefix}{name} is missing or of another length")
        return found

    def numbers(self, name: str) -> Any:
        """Return a list of floats, or of doubles from a tensor."""
        tensor = self._given.get(f"{self._prefix}{name}_as_tensor")
        if tensor is None:
            return self.of(name)
        if tensor.shape != (self.count,):
            raise broken(f"{self._prefix}{name} is of another length")
        return tensor


def _trees(nodes: _Lists, weights: _Lists, ids: list[int], values: list[float]) -> dict[int, _Tree]:
    """Return the trees by number, in order of appearance."""
    trees: dict[int, _Tree] = {}
    for place, (tree, node) in enumerate(
        zip(nodes.of("treeids"), nodes.of("nodeids"), strict=True)
    ):
        places = trees.setdefault(int(tree), _Tree()).places
        if places.setdefault(int(node), place) != place:
            raise broken(f"tree {tree} has node {node} twice")
    listed = zip(weights.of("treeids"), weights.of("nodeids"), ids, values, strict=True)
    for tree, node, which, value in listed:
        if int(tree) not in trees or int(node) not in trees[int(tree)].places:
            raise broken(f"a weight of node {node} of tree {tree}, which is not there")
        trees[int(tree)].weights.setdefault(int(node), []).append((which, value))
    return trees


def _nodes(
    nodes: _Lists, trees: dict[int, _Tree], raw: int, bits: int
) -> tuple[list[TreeNodes], bool, bool]:
    """Return the trees, whether leaves have a value for each output, whether NaN is known."""
    modes = [str(mode) for mode in nodes.of("modes")]
    unknown = set(modes) - set(_MODES)
    if unknown:
        raise NotSupportedError(f"ONNX trees with {', '.join(sorted(unknown))} are not supported")
    features, limits = nodes.of("featureids"), np.asarray(nodes.numbers("values"), np.float64)
    yes, no = nodes.of("truenodeids"), nodes.of("falsenodeids")
    tracks = [bool(x) for x in nodes.of("missing_value_tracks_true", default=0)]
    if np.isnan(limits).any():
        raise broken("a threshold is no number")
    strict = below(limits, bits)
    fed = [
        {which for leaf in tree.weights.values() for which, _ in leaf} for tree in trees.values()
    ]
    wide = raw > 1 and any(len(each) > 1 for each in fed)
    out: list[TreeNodes] = []
    for (number, tree), outputs in zip(trees.items(), fed, strict=True):
        inner: dict[int, int] = {}
        leaves: dict[int, int] = {}
        for node, place in tree.places.items():
            into = leaves if modes[place] == "LEAF" else inner
            into[node] = len(into)
        made = TreeNodes([], [], [], [], [], [], [])
        feature, threshold, left, right, missing, test = ([] for _ in range(6))  # type: ignore[var-annotated]

        def child(node: int, tree: int, inner: dict[int, int], leaves: dict[int, int]) -> int:
            if node not in inner and node not in leaves:
                raise broken(f"tree {tree} has no node {node}")
            return inner[node] if node in inner else ~leaves[node]

        pointed: set[int] = set()
        for node in inner:
            place = tree.places[node]
            mode = modes[place]
            ends = [child(int(e[place]), number, inner, leaves) for e in (yes, no)]
            pointed |= {end for end in ends if end >= 0}
            swapped = mode in _SWAPPED
            left.append(ends[1] if swapped else ends[0])
            right.append(ends[0] if swapped else ends[1])
            missing.append(tracks[place] == swapped)
            feature.append(int(features[place]))
            test.append(int(mode in _EQUAL))
            threshold.append(float(strict[place] if mode in _STRICT else limits[place]))
        roots = set(range(len(inner))) - pointed
        if inner and len(roots) != 1:
            raise broken(f"tree {number} has {len(roots)} roots")
        values = np.zeros((len(leaves), raw if wide else 1))
        for node, place in leaves.items():
            for which, value in tree.weights.get(node, ()):
                values[place, which if wide else 0] += value
        made.feature, made.threshold, made.left, made.right = feature, threshold, left, right
        made.missing_right, made.test = missing, test
        made.leaves = values if wide else values[:, 0]
        made.output = 0 if wide or not outputs else min(outputs)
        made.root = min(roots, default=0)
        out.append(made)
    return out, wide, any(tracks)
