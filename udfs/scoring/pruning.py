"""What ranges of features tell of a model: branches that no row takes, bounds of its outputs.

As Raven prunes trees by predicates on features (Karanasos et al., CIDR 2020), and predicates over
predictions by what the model can give at all (MASQ). Both are exact: sums of floats are monotone
in each term, so sums of the least leaves, in the trees' own order, are below every row's sum.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from foveal.udfs.scoring.forest import AT_MOST, EQUAL, Forest
from foveal.udfs.scoring.linear import Linear
from foveal.udfs.scoring.links import linked
from foveal.udfs.scoring.model import ScoringModel

Array = npt.NDArray[Any]
_SLACK = {32: 4 * 2.0**-23, 64: 8 * 2.0**-52}
"""Relative widening of what a link's exponentials give: kernels differ in the last places."""
MEMBERS_TRIED = 4096


@dataclass(frozen=True, slots=True)
class Range:
    """Values that a feature can have: low .. high, and a missing value (NULL, NaN) or not."""

    low: float = -math.inf
    high: float = math.inf
    missing: bool = True


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an output lies between, both included; `nan`: it can also be NaN."""

    low: float
    high: float
    nan: bool = False


Ranges: TypeAlias = Mapping[int, Range]
ANY = Range()


def prune(model: ScoringModel, ranges: Ranges) -> ScoringModel:
    """Return a model of the same kind that gives the same for all rows within the ranges.

    `ranges`: by the number of the feature, of values as they are passed; those left out are any.
    """
    if not isinstance(model, Forest) or not ranges:
        return model
    return _pruned(model, tuple(sorted(ranges.items())))


@functools.lru_cache(64)
def _pruned(model: Forest, ranges: tuple[tuple[int, Range], ...]) -> Forest:
    known = _shifted(model, dict(ranges))
    nodes = model.nodes
    walk = _Walk(model)
    kept: list[int] = []
    left: list[int] = []
    right: list[int] = []
    roots: list[int] = []
    for root in model.roots.tolist():
        # A pending entry is a node, what is known there, and where its new place is written.
        holder = [root]
        pending: list[tuple[int, dict[int, Range], list[int], int]] = [(root, known, holder, 0)]
        while pending:
            at, here, into, slot = pending.pop()
            sides = walk.sides(at, here)
            while at >= 0 and len(sides) == 1:
                _, at, here = sides[0]
                sides = walk.sides(at, here)
            if at < 0:
                into[slot] = at
                continue
            into[slot] = place = len(kept)
            kept.append(at)
            left.append(0)
            right.append(0)
            pending.append((sides[1][1], sides[1][2], right, place))
            pending.append((sides[0][1], sides[0][2], left, place))
        roots.append(holder[0])
    if len(kept) == len(nodes.feature):
        return model
    picked = np.array(kept, np.int64)
    fewer = {
        name: getattr(nodes, name)[picked]
        for name in (
            "feature", "test", "threshold", "missing_right", "first", "words", "member_right"
        )
    }  # fmt: skip
    return replace(
        model,
        nodes=replace(
            nodes, **fewer, left=np.array(left, np.int64), right=np.array(right, np.int64)
        ),
        roots=np.array(roots, np.int64),
        # The kind stays, and with it the compiled code, even if smaller masks would do.
        cache={"kind": model.model_kind},
    )


class _Walk:
    """Which ways rows can go at nodes."""

    def __init__(self, model: Forest) -> None:
        """Take the nodes as Python's numbers."""
        nodes = model.nodes
        self.model = model
        self.feature, self.test = nodes.feature.tolist(), nodes.test.tolist()
        self.threshold, self.missing = nodes.threshold.tolist(), nodes.missing_right.tolist()
        self.left, self.right = nodes.left.tolist(), nodes.right.tolist()

    def sides(self, at: int, known: dict[int, Range]) -> list[tuple[bool, int, dict[int, Range]]]:
        """Return the ways (goes right, to where, what is known there); of a leaf none."""
        if at < 0:
            return []
        feature, limit = self.feature[at], self.threshold[at]
        here = known.get(feature, ANY)
        has_left = here.missing and not self.missing[at]
        has_right = here.missing and self.missing[at]
        below, above = here, here
        if self.test[at] == AT_MOST:
            some_left, some_right = here.low <= limit, here.high > limit
            below = replace(here, high=min(here.high, limit), missing=has_left)
            above = replace(here, low=max(here.low, limit), missing=has_right)
        elif self.test[at] == EQUAL:
            some_left = here.low <= limit <= here.high
            some_right = not here.low == here.high == limit
        else:
            some_left, some_right = self._members(at, here)
        out: list[tuple[bool, int, dict[int, Range]]] = []
        if some_left or has_left:
            out.append((False, self.left[at], {**known, feature: below}))
        if some_right or has_right:
            out.append((True, self.right[at], {**known, feature: above}))
        # A range without any value: no row comes here, and either way is right.
        return out or [(False, self.left[at], known)]

    def _members(self, at: int, here: Range) -> tuple[bool, bool]:
        """Say whether a category within a range goes left, and right."""
        whole = float(here.low).is_integer() and float(here.high).is_integer()
        if not whole or here.high - here.low > MEMBERS_TRIED:
            return True, True
        nodes = self.model.nodes
        size, first = int(nodes.words[at]) * 32, int(nodes.first[at])
        # Fractions are possible as well: they count as the category below, which is in the range.
        found: set[bool] = set()
        for category in range(int(here.low), int(here.high) + 1):
            word = nodes.sets[first + category // 32] if 0 <= category < size else 0
            found.add(bool(int(word) >> category % 32 & 1) == bool(nodes.member_right[at]))
        return False in found, True in found


def _shifted(model: ScoringModel, ranges: Ranges) -> dict[int, Range]:
    """Return ranges of features after the model's shift, in the features' own type."""
    type_ = np.float32 if model.inputs == 32 else np.float64
    out: dict[int, Range] = {}
    for feature, given in ranges.items():
        ends = np.array([given.low, given.high])
        missing = given.missing
        with np.errstate(all="ignore"):
            ends = ends.astype(type_)
            if not model.shift.trivial:
                shift = model.shift
                ends = (ends - type_(shift.offset[feature])) * type_(shift.factor[feature])
                ends = ends + type_(shift.added[feature])
                low, high = sorted(ends.tolist())
                zero = float(type_(shift.zero[feature]))
                missing = missing or (zero >= 0 and low <= zero and high >= -zero)
        low, high = sorted(ends.tolist())
        if not (math.isnan(low) or math.isnan(high)):
            out[feature] = Range(low, high, missing)
    return out


def bounds(model: ScoringModel, ranges: Ranges) -> list[Bounds]:
    """Return what each output lies between for rows within the ranges.

    Of a model without missing values those are meant of rows for which it gives a value.
    """
    outputs = model.model_kind.outputs
    match model.link:
        case "argmax":
            return [Bounds(0.0, float(model.model_kind.raw - 1))]
        case "softmax":
            nan = not isinstance(model, Forest)
            return [Bounds(0.0, 1.0, nan)] * outputs
        case _:
            pass
    if isinstance(model, Forest):
        low, high = _forest_bounds(model, ranges)
        nan = False
    elif isinstance(model, Linear):
        low, high, nan = _linear_bounds(model, ranges)
    else:
        low, high, nan = np.full(outputs, -math.inf), np.full(outputs, math.inf), True
    kind = model.model_kind
    lows = linked(replace(kind, pair=False), low[None], model.scale)
    highs = linked(replace(kind, pair=False), high[None], model.scale)
    found = [
        _widened(model, float(a[0]), float(b[0]), nan) for a, b in zip(lows, highs, strict=True)
    ]
    if model.pair:
        p = found[0]
        slack = _SLACK[kind.sum_bits]
        found.insert(0, Bounds(1 - p.high - slack, 1 - p.low + slack, p.nan))
    return found


def _widened(model: ScoringModel, low: float, high: float, nan: bool) -> Bounds:
    if model.link in ("identity", "step"):
        return Bounds(low, high, nan)
    slack = _SLACK[model.model_kind.sum_bits]
    low, high = low - abs(low) * slack, high + abs(high) * slack
    if model.link == "logistic":
        return Bounds(max(low, 0.0), min(high, 1.0), nan)
    return Bounds(low, high, nan)


def _forest_bounds(model: Forest, ranges: Ranges) -> tuple[Array, Array]:
    """Return the least and the greatest sums [raw], rounded as the trees' sums are."""
    from foveal.udfs.scoring.forest_layout import ordered_leaves

    fewer = prune(model, ranges)
    assert isinstance(fewer, Forest)
    type_ = np.float32 if model.sums == 32 else np.float64
    base, leaves = model.base.astype(type_), model.leaves.astype(type_)
    low = np.zeros_like(base) if model.base_last else base.copy()
    high = low.copy()
    for tree, numbers in enumerate(ordered_leaves(fewer)):
        values = leaves[numbers]
        at = slice(None) if model.tree_output is None else int(model.tree_output[tree])
        low[at] += values.min(axis=0)
        high[at] += values.max(axis=0)
    if model.base_last:
        low, high = low + base, high + base
    return low / type_(model.divisor), high / type_(model.divisor)


def _linear_bounds(model: Linear, ranges: Ranges) -> tuple[Array, Array, bool]:
    """Return the least and the greatest sums [raw], and whether one can be NaN."""
    known = _shifted(model, ranges)
    type_ = np.float32 if model.inputs == 32 else np.float64
    weights = model.weights.astype(type_)
    low = model.intercepts.astype(type_)
    high = low.copy()
    nan = False
    with np.errstate(all="ignore"):
        for feature in range(weights.shape[1]):
            here = known.get(feature, ANY)
            nan = nan or here.missing or math.isinf(here.low) or math.isinf(here.high)
            ends = np.stack([weights[:, feature] * type_(end) for end in (here.low, here.high)])
            ends = np.where(np.isnan(ends), type_(0), ends)
            low, high = low + ends.min(axis=0), high + ends.max(axis=0)
    low = np.where(np.isnan(low), type_(-math.inf), low)
    return low, np.where(np.isnan(high), type_(math.inf), high), nan
