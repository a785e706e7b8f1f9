"""Small gradient-boosted regression trees on what moves in each block, by histograms.

Trees of one depth, each fitted to the residuals of those before, splits among quantile bins.
Source: Friedman, "Greedy function approximation: a gradient boosting machine", Annals of Statistics
29, 2001, algorithm 1; Chen and Guestrin, "XGBoost", KDD 2016, sections 2.2 (gain with an L2 term)
and 3.2 (bins).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foveal.udfs.models.proxies.family import Arrays, Parameters, Problem, Trained, refitted
from foveal.udfs.models.proxies.folds import interleaved_folds
from foveal.udfs.models.proxies.ridge import block_features
from foveal.udfs.models.proxies.scene import Doubles, Positions, Scene, Singles

ROUNDS, DEPTH, RATE, BINS = 100, 3, 0.1, 16
SHRINK = 5.0
"""L2 term on a leaf's value, in labels."""
SEEN_FEATURES = 0.5
"""Share of the features that a tree may split on."""
NEAR_FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """score = base + sum of one leaf per tree.

    `features` int64 and `thresholds` float32 [trees, 2^depth - 1]: a node's left child is taken
    below the threshold; node k's children are 2k + 1 and 2k + 2. `leaves` float64 [trees, 2^depth].
    """

    features: Positions
    thresholds: Singles
    leaves: Doubles
    base: float
    grid: int

    def predict(self, scene: Scene, positions: Positions) -> Doubles:
        """Return the score of each frame, float64 [n]."""
        return self.of(block_features(scene, positions, self.grid))

    def of(self, seen: Singles) -> Doubles:
        """Return the scores of block features [n, d]."""
        scores = np.full(len(seen), self.base)
        rows = np.arange(len(seen))
        inner = self.features.shape[1]
        for features, thresholds, leaves in zip(
            self.features, self.thresholds, self.leaves, strict=True
        ):
            node = np.zeros(len(seen), np.int64)
            for _ in range(DEPTH):
                node = 2 * node + 1 + (seen[rows, features[node]] >= thresholds[node])
            scores += leaves[node - inner]
        return scores

    def dump(self) -> tuple[Arrays, Parameters]:
        """Return all it is made of."""
        arrays: Arrays = {
            "features": self.features, "thresholds": self.thresholds, "leaves": self.leaves,
        }  # fmt: skip
        return arrays, {"base": self.base, "grid": self.grid}


def boost(seen: Singles, values: Doubles, grid: int, seed: int) -> Forest:
    """Fit a forest on block features [n, d] and values [n]."""
    rng = np.random.default_rng(seed)
    count, width = seen.shape
    inner = 2**DEPTH - 1
    # Bins' lower edges, [d, BINS - 1]; equal quantiles make empty bins, which no split chooses.
    edges = np.quantile(seen, np.linspace(0, 1, BINS + 1)[1:-1], axis=0).T.astype(np.float32)
    codes = (seen[:, :, None] >= edges[None]).sum(axis=2)
    features = np.zeros((ROUNDS, inner), np.int64)
    thresholds = np.full((ROUNDS, inner), np.inf, np.float32)
    leaves = np.zeros((ROUNDS, inner + 1))
    base = float(values.mean())
    residuals = values - base
    for tree in range(ROUNDS):
        allowed = np.sort(rng.choice(width, max(1, int(width * SEEN_FEATURES)), replace=False))
        node = np.zeros(count, np.int64)
        for depth in range(DEPTH):
            first, nodes = 2**depth - 1, 2**depth
            place = ((node - first)[:, None] * len(allowed) + np.arange(len(allowed))) * BINS
            place += codes[:, allowed]
            size = nodes * len(allowed) * BINS
            shape = (nodes, len(allowed), BINS)
            sums = np.bincount(place.ravel(), np.repeat(residuals, len(allowed)), size).reshape(
                shape
            )
            counts = np.bincount(place.ravel(), minlength=size).reshape(shape)
            left, few = sums.cumsum(axis=2)[:, :, :-1], counts.cumsum(axis=2)[:, :, :-1]
            total, many = sums.sum(axis=2, keepdims=True), counts.sum(axis=2, keepdims=True)
            gain = left**2 / (few + SHRINK) + (total - left) ** 2 / (many - few + SHRINK)
            gain -= total**2 / (many + SHRINK)
            gain[(few == 0) | (few == many)] = 0.0
            best = gain.reshape(nodes, -1).argmax(axis=1)
            which, at = np.divmod(best, BINS - 1)
            split = gain.reshape(nodes, -1)[np.arange(nodes), best] > 1e-12
            features[tree, first : first + nodes] = allowed[which]
            thresholds[tree, first : first + nodes] = np.where(
                split, edges[allowed[which], at], np.float32(np.inf)
            )
            node = (
                2 * node
                + 1
                + (seen[np.arange(count), features[tree, node]] >= thresholds[tree, node])
            )
        leaf = node - inner
        total = np.bincount(leaf, residuals, inner + 1)
        leaves[tree] = RATE * total / (np.bincount(leaf, minlength=inner + 1) + SHRINK)
        residuals = residuals - leaves[tree, leaf]
    return Forest(features, thresholds, leaves, base, grid)


class Trees:
    """Gradient-boosted trees on 8 x 8 blocks."""

    name = "trees"
    least_labels = 100
    grid = 8

    def seconds(self, labels: int) -> float:
        """Return about how long fitting takes."""
        return 1.0 + 2e-3 * labels

    def fit(self, problem: Problem) -> Trained:
        """Fit and judge."""
        seen = block_features(problem.scene, problem.labelled, self.grid)

        def scores(rows: Positions, judged: Positions) -> Doubles:
            return boost(seen[rows], problem.values[rows], self.grid, problem.seed).of(seen[judged])

        near = interleaved_folds(len(seen), NEAR_FOLDS)
        return Trained(
            boost(seen, problem.values, self.grid, problem.seed),
            refitted(problem, list(problem.far), scores),
            refitted(problem, near, scores),
        )

    def load(self, arrays: Arrays, parameters: Parameters) -> Forest:
        """Return the model that was dumped."""
        return Forest(
            np.asarray(arrays["features"], np.int64),
            np.asarray(arrays["thresholds"], np.float32),
            np.asarray(arrays["leaves"], np.float64),
            float(parameters["base"]),
            int(parameters["grid"]),
        )
