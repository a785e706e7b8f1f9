"""Ensembles of trees as flat arrays, whichever library they come from.

Every node asks one question in one form; a row goes right where

    at most   x > threshold            (libraries' `x < t` is `x > predecessor of t` on the right)
    equal     x differs from threshold
    member    the category x is, or is not, in a set

and a missing value (NaN) goes where the node says. Leaves are numbered over the whole ensemble.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.udfs.scoring.kinds import ForestKind
from foveal.udfs.scoring.model import ScoringModel, broken

Array = npt.NDArray[Any]
AT_MOST, EQUAL, MEMBER = 0, 1, 2
MAX_NODES = 1 << 24
MAX_TREES = 1 << 16
MAX_CATEGORY = 1 << 16
"""Sets of categories hold places below this."""


@dataclass(slots=True)
class TreeNodes:
    """One tree as a loader reads it: parallel lists, one entry for each inner node.

    `left`, `right`: the place of an inner node, or ~k for leaf number k of this tree.
    """

    feature: Sequence[int]
    threshold: Sequence[float]
    left: Sequence[int]
    right: Sequence[int]
    missing_right: Sequence[bool]
    leaves: Any
    test: Sequence[int] | None = None
    members: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    member_right: bool = False
    output: int = 0
    root: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """Inner nodes of all trees. `left`, `right`: places, or ~leaf.

    `first`, `words`: of MEMBER nodes, where their set begins among `sets` (uint32 bit sets) and how
    many words it has; `member_right`: members go right.
    """

    feature: Array
    test: Array
    threshold: Array
    missing_right: Array
    left: Array
    right: Array
    first: Array
    words: Array
    member_right: Array
    sets: Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forest(ScoringModel):
    """A sum of trees, then the link.

    `roots` [trees]: a node's place, or ~leaf. `tree_output` [trees]: which raw output a tree feeds;
    None: each leaf has a value for all. `leaves` [leaves] or [leaves, raw] in f64. `base` [raw]:
    sums start from it. `sums`: bits of the sums. `divisor`: sums are divided by it. `base_last`:
    the base is added to the sum of the trees rather than the trees to the base. Over FLOAT features
    (`inputs` 32) thresholds are numbers that a FLOAT holds. `lowest_category`:
    categories must be greater (-1: those above -1 are cut off to 0 as C does).
    """

    nodes: Nodes
    roots: Array
    tree_output: Array | None
    leaves: Array
    base: Array
    sums: int
    divisor: float = 1.0
    base_last: bool = False
    lowest_category: float = -1.0
    cache: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)

    @property
    def trees(self) -> int:
        """Number of trees."""
        return len(self.roots)

    @property
    def model_kind(self) -> ForestKind:
        """Which kernel runs it."""
        if "kind" not in self.cache:
            test = self.nodes.test
            self.cache["kind"] = ForestKind(
                inputs=self.inputs,
                raw=len(self.base),
                shift=not self.shift.trivial,
                missing=self.missing,
                link=self.link,
                pair=self.pair,
                masks=self._mask_bits(),
                sums=self.sums,
                wide=self.tree_output is None,
                members=bool((test == MEMBER).any()),
                equals=bool((test == EQUAL).any()),
            )
        return self.cache["kind"]

    def _mask_bits(self) -> int:
        """Return the smallest mask that holds every tree's leaves; 0: none does."""
        most = int(self.leaf_counts().max(initial=1))
        return 32 if most <= 32 else 64 if most <= 64 else 0

    def leaf_counts(self) -> Array:
        """Return how many leaves each tree has."""
        if "counts" not in self.cache:
            from foveal.udfs.scoring.forest_layout import ordered_leaves

            self.cache["counts"] = np.array(
                [len(x) for x in ordered_leaves(self)],  # pyright: ignore[reportArgumentType]
                np.int64,
            )
        return self.cache["counts"]

    @property
    def arrays(self) -> Sequence[Array]:
        """The arrays of its kernel: see `forest_layout`."""
        if "arrays" not in self.cache:
            from foveal.udfs.scoring.forest_layout import masked_arrays, walked_arrays

            # Imported late, the checker takes its Forest for another class than this one.
            made = masked_arrays if self.model_kind.masks else walked_arrays
            self.cache["arrays"] = made(self)  # pyright: ignore[reportArgumentType]
        return self.cache["arrays"]

    def over_floats(self) -> Forest:
        """Return the same model over FLOAT features: exact for values that a FLOAT holds.

        Thresholds are rounded down: no FLOAT lies between a threshold and the one rounded down.
        A model that tests for a number that is no FLOAT, or that shifts its features, stays.
        """
        if self.inputs == 32:
            return self
        at_most = self.nodes.test == AT_MOST
        threshold = np.where(at_most, rounded_down(self.nodes.threshold), self.nodes.threshold)
        equal = self.nodes.test == EQUAL
        with np.errstate(over="ignore"):
            missed = equal & (threshold.astype(np.float32).astype(np.float64) != threshold)
        shift = self.shift
        if missed.any():
            return self
        moves = (shift.offset != 0) | (shift.factor != 1) | (shift.added != 0)
        if moves.any():
            return self
        # The band of zeros need not be rounded: no FLOAT lies between it and the next below.
        shift = replace(shift, zero=np.where(shift.zero < 0, -1.0, rounded_down(shift.zero)))
        nodes = replace(self.nodes, threshold=threshold)
        return replace(self, nodes=nodes, shift=shift, inputs=32, cache={})

    def raw(self) -> Forest:
        """Return the same model without its link."""
        names = tuple(f"raw_{k}" for k in range(len(self.base)))
        return replace(self, link="identity", pair=False, output_names=names, cache={})

    # --- the reference ---

    def leaf_of(self, x: Array, tree: int) -> Array:
        """Return the leaf that each row [rows, features] falls into in one tree."""
        at = np.full(len(x), int(self.roots[tree]), np.int64)
        rows = np.arange(len(x)) if self.roots[tree] >= 0 else np.zeros(0, np.int64)
        nodes = self.nodes
        while len(rows):
            here = at[rows]
            goes_right = self._right(x[rows, nodes.feature[here]], here)
            after = np.where(goes_right, nodes.right[here], nodes.left[here])
            at[rows] = after
            rows = rows[after >= 0]
        return ~at

    def _right(self, x: Array, here: Array) -> Array:
        """Return whether values go right at nodes."""
        nodes = self.nodes
        threshold = nodes.threshold[here]
        with np.errstate(invalid="ignore"):
            out = x > threshold
            test = nodes.test[here]
            if (test == EQUAL).any():
                out = np.where(test == EQUAL, x != threshold, out)
            if (test == MEMBER).any():
                inside = self._inside(x, here)
                out = np.where(test == MEMBER, inside == nodes.member_right[here], out)
        return np.where(np.isnan(x), nodes.missing_right[here], out)

    def _inside(self, x: Array, here: Array) -> Array:
        """Return whether values are categories in the nodes' sets."""
        nodes = self.nodes
        limit = nodes.words[here].astype(np.float64) * 32
        possible = (x > self.lowest_category) & (x < limit)
        place = np.where(possible, x, 0).astype(np.int64)
        word = np.where(possible, nodes.first[here] + (place >> 5), 0)
        bit = (nodes.sets[word] >> (place & 31).astype(np.uint32)) & 1
        return possible & (bit != 0)

    def raw_outputs(self, x: Array) -> Array:
        """Return the sums [rows, raw], in the trees' order."""
        type_ = np.float32 if self.sums == 32 else np.float64
        base, leaves = self.base.astype(type_), self.leaves.astype(type_)
        start = np.zeros_like(base) if self.base_last else base
        out = np.tile(start, (len(x), 1))
        for tree in range(self.trees):
            values = leaves[self.leaf_of(x, tree)]
            if self.tree_output is None:
                out += values
            else:
                out[:, self.tree_output[tree]] += values
        if self.base_last:
            out += base
        return out / type_(self.divisor) if self.divisor != 1 else out


def rounded_down(values: Array) -> Array:
    """Return the greatest floats of 32 bits that are not above, as doubles."""
    with np.errstate(over="ignore"):
        near = values.astype(np.float32)
    above = near.astype(np.float64) > values
    near = np.where(above, np.nextafter(near, np.float32(-np.inf)), near)
    return near.astype(np.float64)


def below(values: Array, bits: int) -> Array:
    """Return the floats just below these: what `x < t` allows at most."""
    type_ = np.float32 if bits == 32 else np.float64
    narrow = values.astype(type_)
    return np.nextafter(narrow, type_(-np.inf)).astype(np.float64)


def assembled(trees: Sequence[TreeNodes], features: int, raw: int) -> dict[str, Any]:
    """Return trees of a file as `Forest`'s nodes, roots, leaves and outputs, all checked.

    Raises:
        DataError: 22023: an index out of range, a node reached twice or never, a cycle, a value
            that is no number.
    """
    if not 1 <= len(trees) <= MAX_TREES:
        raise broken(f"{len(trees)} trees; 1 to {MAX_TREES} are possible")
    if sum(len(tree.feature) for tree in trees) > MAX_NODES:
        raise broken(f"more than {MAX_NODES} nodes")
    parts: dict[str, list[Any]] = {name: [] for name in _PARTS}
    sets: list[Array] = [np.zeros(1, np.uint32)]
    roots: list[int] = []
    node_start = leaf_start = 0
    words = 1
    for number, tree in enumerate(trees):
        checked = _checked(tree, number, features, raw)
        count = len(tree.feature)
        first, size = np.zeros(count, np.int32), np.zeros(count, np.int32)
        for place, members in tree.members.items():
            bits = _bit_set(members, number)
            first[place], size[place] = words, len(bits)
            sets.append(bits)
            words += len(bits)
        left, right = checked["left"], checked["right"]
        parts["left"].append(np.where(left >= 0, left + node_start, left - leaf_start))
        parts["right"].append(np.where(right >= 0, right + node_start, right - leaf_start))
        for name in ("feature", "threshold", "missing_right", "test", "leaves"):
            parts[name].append(checked[name])
        parts["first"].append(first)
        parts["words"].append(size)
        parts["member_right"].append(np.full(count, tree.member_right))
        roots.append(tree.root + node_start if count else -1 - leaf_start)
        node_start += count
        leaf_start += len(checked["leaves"])
    whole = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    leaves = whole.pop("leaves")
    return {
        "nodes": Nodes(**whole, sets=np.concatenate(sets)),
        "roots": np.array(roots, np.int64),
        "leaves": leaves,
        "tree_output": np.array([tree.output for tree in trees], np.int32),
    }


_PARTS = (
    "feature", "test", "threshold", "missing_right", "left", "right", "first", "words",
    "member_right", "leaves",
)  # fmt: skip


def _checked(tree: TreeNodes, number: int, features: int, raw: int) -> dict[str, Array]:
    """Return a tree's arrays; refuse what is no tree."""
    where = f"tree {number}"
    count, leaves = len(tree.feature), np.asarray(tree.leaves, np.float64)
    lists = (tree.threshold, tree.left, tree.right, tree.missing_right, tree.test or tree.feature)
    if any(len(each) != count for each in lists):
        raise broken(f"{where} has lists of different lengths")
    if not np.isfinite(leaves).all():
        raise broken(f"{where} has a leaf whose value is no finite number")
    if not 0 <= tree.output < raw:
        raise broken(f"{where} feeds output {tree.output} of {raw}")
    try:
        feature = np.asarray(tree.feature, np.int64)
        left, right = np.asarray(tree.left, np.int64), np.asarray(tree.right, np.int64)
    except (OverflowError, ValueError) as error:
        raise broken(f"{where}: {error}") from error
    if count and (feature.min() < 0 or feature.max() >= features):
        raise broken(f"{where} asks for a feature beyond {features}")
    test = np.zeros(count, np.uint8) if tree.test is None else np.asarray(tree.test, np.uint8)
    threshold = np.asarray(tree.threshold, np.float64)
    if np.isnan(threshold[test == AT_MOST]).any():
        raise broken(f"{where} has a threshold that is no number")
    below_root = np.concatenate([left, right])
    if count and (below_root.max() >= count or below_root.min() < -len(leaves)):
        raise broken(f"{where} has a branch to nowhere")
    if (count and len(leaves) != count + 1) or (not count and len(leaves) != 1):
        raise broken(f"{where} has {len(leaves)} leaves for {count} nodes")
    # count nodes have 2 * count branches to count - 1 other nodes and count + 1 leaves. Each of
    # them reached just once, and all of them from the root: a tree.
    if count:
        reached = np.sort(np.concatenate([below_root, [tree.root]]))
        if not np.array_equal(reached, np.arange(-len(leaves), count)):
            raise broken(f"{where} reaches a node twice, or not at all")
        _refuse_cycles(left, right, tree.root, where)
    return {
        "feature": feature.astype(np.int32),
        "test": test,
        "threshold": threshold,
        "missing_right": np.asarray(tree.missing_right, np.bool_),
        "left": left,
        "right": right,
        "leaves": leaves,
    }


def _refuse_cycles(left: Array, right: Array, root: int, where: str) -> None:
    """Refuse nodes that only reach each other."""
    seen, level = 0, np.array([root], np.int64)
    while len(level):
        seen += len(level)
        level = np.concatenate([left[level], right[level]])
        level = level[level >= 0]
    if seen != len(left):
        raise broken(f"{where} has nodes in a circle")


def _bit_set(members: Sequence[int], number: int) -> Array:
    """Return a set of categories as words of bits."""
    places = np.asarray(members, np.int64)
    if len(places) and (places.min() < 0 or places.max() >= MAX_CATEGORY):
        raise broken(f"tree {number} has a category beyond {MAX_CATEGORY}")
    bits = np.zeros(max(int(places.max(initial=0)) // 32 + 1, 1), np.uint32)
    np.bitwise_or.at(bits, places >> 5, (1 << (places & 31)).astype(np.uint32))
    return bits
