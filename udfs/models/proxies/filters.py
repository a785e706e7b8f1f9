"""Kernel ridge regression on the blocks and on frozen random filters, which see shapes and edges.

Random filters with a rectifier and pooling are a fair embedding without any training. Source:
Rahimi and Recht, "Weighted sums of random kitchen sinks", NIPS 2008; Saxe et al., "On random
weights and unsupervised feature learning", ICML 2011.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from foveal.udfs.models.proxies.dual import fit_dual
from foveal.udfs.models.proxies.family import Arrays, Parameters, Problem, Trained
from foveal.udfs.models.proxies.kernel import (
    WIDTHS,
    gaussian,
    squared_distances,
    typical_distance,
    weigh,
)
from foveal.udfs.models.proxies.ridge import block_features
from foveal.udfs.models.proxies.scene import MOST, Doubles, Positions, Scene, Singles

FILTERS, SPAN, STRIDE, CELLS = 48, 5, 2, 4
"""Filters, their side, the step between two places, and cells along a side that are averaged."""


@cache
def _bank() -> Singles:
    """Return the filters, float32 [25, 48]: the same random draws always, mean 0 and length 1."""
    drawn = np.random.default_rng(20_11).standard_normal((SPAN * SPAN, FILTERS))
    drawn -= drawn.mean(axis=0)
    return (drawn / np.linalg.norm(drawn, axis=0)).astype(np.float32)


def responses(differences: Singles) -> Singles:
    """Return the rectified, averaged answers of the filters, float32 [n, 4 * 4 * 48]."""
    clipped = np.clip(differences, -MOST, MOST) / np.float32(MOST)
    windows = np.lib.stride_tricks.sliding_window_view(clipped, (SPAN, SPAN), axis=(1, 2))
    windows = windows[:, ::STRIDE, ::STRIDE]
    places = windows.shape[1]
    answers = np.maximum(windows.reshape(-1, SPAN * SPAN) @ _bank(), 0)
    answers = answers.reshape(len(differences), places, places, FILTERS)
    edges: Positions = np.arange(CELLS + 1, dtype=np.int64) * places // CELLS
    counts = np.diff(edges).astype(np.float32)
    edges = edges[:-1]
    pooled = np.add.reduceat(np.add.reduceat(answers, edges, axis=1), edges, axis=2)
    pooled /= (counts[:, None] * counts[None, :])[None, :, :, None]
    return pooled.reshape(len(differences), -1)


def filter_features(scene: Scene, positions: Positions) -> Singles:
    """Return the frames' filter responses, float32 [n, 768]."""
    return scene.features("filters", positions, responses)


@dataclass(frozen=True, slots=True, eq=False)
class AlikeInBoth:
    """As `kernel.Alike`, with the sum of two Gaussians: of blocks and of filter responses."""

    blocks: Singles
    responses: Singles
    alpha: Doubles
    intercept: float
    widths: tuple[float, float]
    grid: int

    def predict(self, scene: Scene, positions: Positions) -> Doubles:
        """Return the score of each frame, float64 [n]."""
        first = block_features(scene, positions, self.grid)
        second = filter_features(scene, positions)
        scores = weigh(first, self.blocks, self.alpha, self.widths[0])
        return scores + weigh(second, self.responses, self.alpha, self.widths[1]) + self.intercept

    def dump(self) -> tuple[Arrays, Parameters]:
        """Return all it is made of."""
        arrays: Arrays = {
            "blocks": self.blocks, "responses": self.responses, "alpha": self.alpha,
        }  # fmt: skip
        return arrays, {"intercept": self.intercept, "widths": self.widths, "grid": self.grid}


class Filters:
    """Kernel ridge regression on 6 x 6 blocks and on random filters."""

    name = "filters"
    least_labels = 50
    grid = 6

    def seconds(self, labels: int) -> float:
        """Return about how long fitting takes."""
        return 2e-3 * labels + 8e-9 * labels**3

    def fit(self, problem: Problem) -> Trained:
        """Fit and judge."""
        first = block_features(problem.scene, problem.labelled, self.grid)
        second = filter_features(problem.scene, problem.labelled)
        squared = squared_distances(first, first), squared_distances(second, second)
        typical = typical_distance(first), typical_distance(second)

        def kernel(rows: Positions, choice: int) -> Doubles:
            both = [
                gaussian(s[np.ix_(rows, rows)], WIDTHS[choice] * t)
                for s, t in zip(squared, typical, strict=True)
            ]
            return (both[0] + both[1]).astype(np.float64)

        dual = fit_dual(problem, kernel, len(WIDTHS))
        widths = WIDTHS[dual.choice] * typical[0], WIDTHS[dual.choice] * typical[1]
        model = AlikeInBoth(first, second, dual.alpha, dual.intercept, widths, self.grid)
        return Trained(model, dual.far, dual.near)

    def load(self, arrays: Arrays, parameters: Parameters) -> AlikeInBoth:
        """Return the model that was dumped."""
        wide, narrow = parameters["widths"]
        return AlikeInBoth(
            np.asarray(arrays["blocks"], np.float32),
            np.asarray(arrays["responses"], np.float32),
            np.asarray(arrays["alpha"], np.float64),
            float(parameters["intercept"]),
            (float(wide), float(narrow)),
            int(parameters["grid"]),
        )
