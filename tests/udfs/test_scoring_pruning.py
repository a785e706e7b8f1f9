"""Pruned models give the same within the ranges; bounds hold, and are met where that is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from foveal.udfs.scoring.forest import Forest, TreeNodes, assembled
from foveal.udfs.scoring.linear import linear
from foveal.udfs.scoring.model import Feature, ScoringModel, Shift
from foveal.udfs.scoring.pruning import Range, bounds, prune

SEEDS = range(12)


def random_forest(seed: int, **changes: Any) -> Forest:
    """Return random trees over four features, the last one of categories."""
    random = np.random.default_rng(seed)

    def tree() -> TreeNodes:
        count = int(random.integers(0, 20))
        made = TreeNodes([], [], [], [], [], random.standard_normal(count + 1), [])
        lists: Any = [made.feature, made.threshold, made.left, made.right, made.missing_right]
        # Nodes in order of the leaves that they divide: each takes a part of its parent's leaves.
        children: dict[tuple[int, int], int] = {}
        parts = [(0, count + 1)]
        spans: list[tuple[int, int, int]] = []
        for low, high in parts:
            if high - low < 2:
                continue
            middle = int(random.integers(low + 1, high))
            children[(low, high)] = len(spans)
            spans.append((low, middle, high))
            parts += [(low, middle), (middle, high)]

        def place(low: int, high: int) -> int:
            return ~low if high - low == 1 else children[(low, high)]

        test: list[int] = []
        for k, (low, middle, high) in enumerate(spans):
            feature = int(random.integers(0, 4))
            which = 2 if feature == 3 else int(random.random() < 0.15)
            test.append(which)
            threshold = round(float(random.standard_normal()), 1)
            entries = (feature, threshold, place(low, middle), place(middle, high),
                       bool(random.random() < 0.5))  # fmt: skip
            for each, value in zip(lists, entries, strict=True):
                each.append(value)
            if which == 2:
                made.members[k] = random.choice(50, 12, replace=False).tolist()
        made.test = test
        return made

    trees = [tree() for _ in range(6)]
    given: dict[str, Any] = {
        "features": tuple(Feature(f"f{k}") for k in range(4)),
        "output_names": ("p",),
        "shift": Shift.none(4),
        "inputs": 64,
        "missing": True,
        "base": np.array([0.25]),
        "sums": 64,
        **assembled(trees, 4, 1),
    }
    return Forest(**{**given, **changes})


def rows_within(ranges: dict[int, Range], seed: int, rows: int = 400) -> Any:
    """Return rows [rows, 4] whose features lie in the ranges, ends and missing values included."""
    random = np.random.default_rng(seed + 1000)
    x = np.round(random.standard_normal((rows, 4)) * 1.5, 1)
    x[:, 3] = random.integers(-3, 70, rows)
    x[random.random(x.shape) < 0.1] = np.nan
    for feature, known in ranges.items():
        held = np.clip(x[:, feature], known.low, known.high)
        x[:, feature] = held if known.missing else np.where(np.isnan(held), known.low, held)
    return x


def outputs(model: ScoringModel, x: Any) -> Any:
    return np.stack(model.predict(list(x.T), [None] * x.shape[1]), axis=1)


def some_ranges(seed: int) -> dict[int, Range]:
    random = np.random.default_rng(seed)
    low = round(float(random.standard_normal()), 1)
    return {
        0: Range(low, low + 1.0, bool(seed % 2)),
        1: Range(-0.5, math.inf, True),
        3: Range(2.0, float(random.integers(2, 30)), False),
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pruned_forest_gives_the_same(seed: int) -> None:
    ranges = some_ranges(seed)
    for changes in ({}, {"link": "logistic", "scale": 1.5}):
        model = random_forest(seed, **changes)
        fewer = prune(model, ranges)
        assert isinstance(fewer, Forest)
        assert fewer.kind == model.kind
        assert len(fewer.nodes.feature) <= len(model.nodes.feature)
        x = rows_within(ranges, seed)
        np.testing.assert_array_equal(outputs(fewer, x), outputs(model, x))
        assert [a.shape for a in fewer.arrays][-1] == [a.shape for a in model.arrays][-1]


def test_pruning_does_cut() -> None:
    cut = [
        len(random_forest(s).nodes.feature)
        - len(prune(random_forest(s), some_ranges(s)).nodes.feature)  # type: ignore[attr-defined]
        for s in SEEDS
    ]
    assert sum(cut) > 100


@pytest.mark.parametrize("seed", SEEDS)
def test_bounds_of_a_forest_hold(seed: int) -> None:
    ranges = some_ranges(seed)
    x = rows_within(ranges, seed)
    for link in ("identity", "logistic", "exp", "softplus", "square", "step"):
        model = random_forest(seed, link=link)
        (found,) = bounds(model, ranges)
        given = outputs(model, x)
        assert found.low <= given.min()
        assert given.max() <= found.high
        assert not found.nan


def test_bounds_of_one_tree_are_met() -> None:
    tree = TreeNodes([0, 0], [0.0, 1.0], [~0, ~1], [1, ~2], [False, False], [5.0, 7.0, -3.0])
    model = random_forest(0, **assembled([tree], 4, 1), base=np.zeros(1))
    assert bounds(model, {})[0] == type(bounds(model, {})[0])(-3.0, 7.0)
    (part,) = bounds(model, {0: Range(0.5, 1.0, False)})
    assert (part.low, part.high) == (7.0, 7.0)
    (above,) = bounds(model, {0: Range(0.5, 9.0, True)})
    assert (above.low, above.high) == (-3.0, 7.0)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("inputs", [32, 64])
def test_bounds_of_a_linear_model_hold(seed: int, inputs: int) -> None:
    random = np.random.default_rng(seed)
    ranges = {k: Range(-1.0 - k, 2.0, False) for k in range(4)}
    x = rows_within(ranges, seed)
    for link in ("identity", "logistic", "exp"):
        model = linear(
            random.standard_normal((2, 4)), np.array([0.1, -2.0]), link=link, inputs=inputs
        )  # type: ignore[arg-type]
        for found, given in zip(bounds(model, ranges), outputs(model, x).T, strict=True):
            assert not found.nan
            assert found.low <= given.min()
            assert given.max() <= found.high


def test_a_feature_that_may_be_anything_leaves_a_linear_model_unbounded() -> None:
    model = linear(np.array([[1.0, 2.0]]), np.zeros(1))
    (found,) = bounds(model, {0: Range(0, 1, False)})
    assert (found.low, found.high, found.nan) == (-math.inf, math.inf, True)


def test_ranges_pass_through_the_shift() -> None:
    none = Shift.none(4)
    shift = Shift(np.ones(4), np.full(4, -2.0), none.added, np.full(4, 0.25))
    tree = TreeNodes([0], [0.5], [~0], [~1], [True], [1.0, 2.0])
    model = random_forest(0, **assembled([tree], 4, 1), base=np.zeros(1), shift=shift)
    # x in 2 .. 3 is -2 .. -4 there: left. x in 1 .. 3 touches the zeros, which are missing: right.
    assert bounds(model, {0: Range(2, 3, False)})[0].high == 1.0
    assert bounds(model, {0: Range(1, 3, False)})[0].high == 2.0
