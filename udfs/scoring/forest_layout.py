"""Trees as the arrays that kernels read: masks of leaves, or nodes to be walked.

Masks (QuickScorer: Lucchese et al., SIGIR 2015; vectorised: the same, SIGIR 2016). The leaves of
 a tree, from left to right, are bits of a word that starts full. A node at which a row goes
right clears the leaves of its left subtree; the lowest bit left over is the row's leaf, whatever
order the nodes came in. So nodes are sorted by how they are asked, and no question needs a branch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foveal.udfs.scoring.model import broken

if TYPE_CHECKING:
    from foveal.udfs.scoring.forest import Forest

Array = npt.NDArray[Any]

GROUPS = 5
"""At most with missing left, at most with missing right, equal likewise, member."""
SCALE, DIVISOR, LOWEST, TREES, BASE = 0, 1, 2, 3, 4
"""Places among a forest's numbers; from BASE on what sums start from, then what is added last."""
WALKED_NODE = np.dtype(
    [("threshold", "<f8"), ("left", "<u4"), ("feature", "<u2"), ("flags", "<u2")]
)
MISSING_RIGHT, IS_EQUAL, IS_MEMBER = 1, 2, 4


def ordered_leaves(forest: Forest) -> list[list[int]]:
    """Return the leaves of each tree from left to right."""
    left, right = forest.nodes.left.tolist(), forest.nodes.right.tolist()
    out: list[list[int]] = []
    for root in forest.roots.tolist():
        leaves: list[int] = []
        stack = [root]
        while stack:
            at = stack.pop()
            if at < 0:
                leaves.append(~at)
            else:
                stack += (right[at], left[at])
        out.append(leaves)
    return out


def _spans(forest: Forest, tree: int) -> dict[int, tuple[int, int]]:
    """Return for each node of a tree the bits of its left subtree's leaves: from, up to."""
    left, right = forest.nodes.left, forest.nodes.right
    spans: dict[int, tuple[int, int]] = {}
    count = 0
    # A node is met twice: before its left subtree, and between its subtrees.
    stack: list[tuple[int, int]] = [(int(forest.roots[tree]), -1)]
    while stack:
        at, first = stack.pop()
        if at < 0:
            count += 1
        elif first < 0:
            stack += ((at, count), (int(left[at]), -1))
        else:
            spans[at] = (first, count)
            stack.append((int(right[at]), -1))
    return spans


def masked_arrays(forest: Forest) -> list[Array]:
    """Return the arguments of the kernel of masks.

    They are starts [trees * GROUPS + 1], thresholds, features, masks, leaves, outputs, members,
    sets, numbers and shifts. Leaves are [trees, bits] or [trees, bits, raw]; members [nodes, 4] as
    int32: where the set begins, how many categories it spans, members go right, missing goes right
    (0 or -1).
    """
    kind = forest.model_kind
    nodes, bits = forest.nodes, kind.masks
    group = np.where(nodes.test == 0, 0, np.where(nodes.test == 1, 2, 4))
    group = group + np.where(nodes.test == 2, 0, nodes.missing_right.astype(np.int64))
    starts: list[int] = []
    order: list[int] = []
    masks: list[int] = []
    full = (1 << bits) - 1
    width = (kind.raw,) if kind.wide else ()
    leaves = np.zeros((forest.trees, bits, *width), _type(kind.sum_bits))
    for tree, numbers in enumerate(ordered_leaves(forest)):
        spans = _spans(forest, tree)
        for wanted in range(GROUPS):
            starts.append(len(order))
            for node, (first, last) in spans.items():
                if group[node] == wanted:
                    order.append(node)
                    masks.append(full & ~(((1 << (last - first)) - 1) << first))
        leaves[tree, : len(numbers)] = forest.leaves[numbers]
    starts.append(len(order))
    picked = np.array(order, np.int64)
    return [
        np.array(starts, np.int64),
        nodes.threshold[picked].astype(_type(kind.inputs)),
        nodes.feature[picked].astype(np.int32),
        np.array(masks, np.uint32 if bits == 32 else np.uint64),
        leaves,
        _outputs(forest),
        _members(forest, picked),
        nodes.sets,
        _numbers(forest),
        forest.shift.rows(_type(kind.inputs)),
    ]


def walked_arrays(forest: Forest) -> list[Array]:
    """Return nodes, leaf numbers, roots, leaves, outputs, members, sets, numbers and shifts.

    A node's children stand side by side: right is left + 1. A leaf is a node that leads to itself;
    `leaf numbers` [nodes] is its place among the leaves.
    """
    kind, nodes = forest.model_kind, forest.nodes
    total = len(nodes.feature) + len(forest.leaves)
    if total >= 1 << 31:
        raise broken("more nodes than 31 bits count")
    walked = np.zeros(total, WALKED_NODE)
    number, source = np.zeros(total, np.int32), np.full(total, -1, np.int64)
    roots: list[int] = []
    used = 0
    for root in forest.roots.tolist():
        place = used
        used += 1
        roots.append(place)
        pending = [(root, place)]
        while pending:
            at, place = pending.pop()
            if at < 0:
                walked[place] = (np.inf, place, 0, 0)
                number[place] = ~at
                continue
            source[place] = at
            flags = MISSING_RIGHT * int(nodes.missing_right[at])
            flags |= (0, IS_EQUAL, IS_MEMBER)[int(nodes.test[at])]
            walked[place] = (nodes.threshold[at], used, nodes.feature[at], flags)
            pending += ((int(nodes.right[at]), used + 1), (int(nodes.left[at]), used))
            used += 2
    return [
        walked,
        number,
        np.array(roots, np.int32),
        np.ascontiguousarray(forest.leaves.astype(_type(kind.sum_bits))),
        _outputs(forest),
        _members(forest, source),
        nodes.sets,
        _numbers(forest),
        forest.shift.rows(_type(kind.inputs)),
    ]


def _type(bits: int) -> Any:
    return np.float32 if bits == 32 else np.float64


def _outputs(forest: Forest) -> Array:
    if forest.tree_output is None:
        return np.zeros(forest.trees, np.int32)
    return np.ascontiguousarray(forest.tree_output)


def _members(forest: Forest, picked: Array) -> Array:
    """Return what MEMBER nodes know beside their feature; one row of zeros where no node is one."""
    nodes = forest.nodes
    if not forest.model_kind.members:
        return np.zeros((1, 4), np.int32)
    out = np.zeros((len(picked), 4), np.int32)
    of = np.maximum(picked, 0)
    out[:, 0], out[:, 1] = nodes.first[of], 32 * nodes.words[of]
    out[:, 2] = -nodes.member_right[of].astype(np.int32)
    out[:, 3] = -nodes.missing_right[of].astype(np.int32)
    return out


def _numbers(forest: Forest) -> Array:
    """Return scale, divisor, lowest category, trees, base first and base last, as doubles."""
    start = np.zeros_like(forest.base) if forest.base_last else forest.base
    last = forest.base if forest.base_last else np.zeros_like(forest.base)
    head = [forest.scale, forest.divisor, forest.lowest_category]
    return np.concatenate([head, [float(forest.trees)], start, last])
