"""Kernel ridge regression on what moves in each block: frames that look alike score alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foveal.udfs.models.proxies.dual import fit_dual
from foveal.udfs.models.proxies.family import Arrays, Parameters, Problem, Trained
from foveal.udfs.models.proxies.ridge import block_features
from foveal.udfs.models.proxies.scene import Doubles, Positions, Scene, Singles

WIDTHS = (0.3, 0.5, 0.8, 1.2)
"""Widths of the Gaussian tried, in units of the labels' root mean squared distance."""
CHUNK = 2048
"""Frames compared with the labels at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Alike:
    """score = sum over labels of alpha exp(-|x - label|² / (2 width²)) + intercept."""

    labels: Singles
    alpha: Doubles
    intercept: float
    width: float
    grid: int

    def predict(self, scene: Scene, positions: Positions) -> Doubles:
        """Return the score of each frame, float64 [n]."""
        features = block_features(scene, positions, self.grid)
        return weigh(features, self.labels, self.alpha, self.width) + self.intercept

    def dump(self) -> tuple[Arrays, Parameters]:
        """Return all it is made of."""
        arrays: Arrays = {"labels": self.labels, "alpha": self.alpha}
        return arrays, {"intercept": self.intercept, "width": self.width, "grid": self.grid}


def squared_distances(a: Singles, b: Singles) -> Singles:
    """Return the squared Euclidean distance of every row of a to every row of b."""
    apart = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * (a @ b.T)
    return np.maximum(apart, 0).astype(np.float32)


def typical_distance(features: Singles) -> float:
    """Return the root mean squared distance between two rows; above 0."""
    spread = float(features.var(axis=0, dtype=np.float64).sum())
    return max((2 * spread) ** 0.5, 1e-6)


def gaussian(squared: Singles, width: float) -> Singles:
    """Return exp(-squared / (2 width²))."""
    return np.exp(squared * np.float32(-0.5 / width**2))


def weigh(features: Singles, labels: Singles, alpha: Doubles, width: float) -> Doubles:
    """Return the kernel of each row with each label, times alpha, float64 [n]."""
    scores = np.zeros(len(features))
    for start in range(0, len(features), CHUNK):
        part = squared_distances(features[start : start + CHUNK], labels)
        scores[start : start + CHUNK] = gaussian(part, width).astype(np.float64) @ alpha
    return scores


class Kernel:
    """Kernel ridge regression on 6 x 6 blocks."""

    name = "kernel"
    least_labels = 30
    grid = 6

    def seconds(self, labels: int) -> float:
        """Return about how long fitting takes."""
        return 1e-3 * labels + 8e-9 * labels**3

    def fit(self, problem: Problem) -> Trained:
        """Fit and judge."""
        seen = block_features(problem.scene, problem.labelled, self.grid)
        squared, typical = squared_distances(seen, seen), typical_distance(seen)

        def kernel(rows: Positions, choice: int) -> Doubles:
            part = squared[np.ix_(rows, rows)]
            return gaussian(part, WIDTHS[choice] * typical).astype(np.float64)

        dual = fit_dual(problem, kernel, len(WIDTHS))
        width = WIDTHS[dual.choice] * typical
        model = Alike(seen, dual.alpha, dual.intercept, width, self.grid)
        return Trained(model, dual.far, dual.near)

    def load(self, arrays: Arrays, parameters: Parameters) -> Alike:
        """Return the model that was dumped."""
        return Alike(
            np.asarray(arrays["labels"], np.float32),
            np.asarray(arrays["alpha"], np.float64),
            float(parameters["intercept"]),
            float(parameters["width"]),
            int(parameters["grid"]),
        )
