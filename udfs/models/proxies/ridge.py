"""Linear regression with a ridge on what moves in each block of the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foveal.udfs.models.proxies.dual import fit_dual
from foveal.udfs.models.proxies.family import Arrays, Parameters, Problem, Trained
from foveal.udfs.models.proxies.scene import Doubles, Positions, Scene, Singles, blocks


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """score = block features @ weights + intercept. `grid`: blocks along a side."""

    weights: Doubles
    intercept: float
    grid: int

    def predict(self, scene: Scene, positions: Positions) -> Doubles:
        """Return the score of each frame, float64 [n]."""
        return block_features(scene, positions, self.grid) @ self.weights + self.intercept

    def dump(self) -> tuple[Arrays, Parameters]:
        """Return all it is made of."""
        return {"weights": self.weights}, {"intercept": self.intercept, "grid": self.grid}


def block_features(scene: Scene, positions: Positions, grid: int) -> Singles:
    """Return the frames' block features, float32 [n, 2 grid²]."""
    return scene.features(f"blocks {grid}", positions, lambda less: blocks(less, grid))


class Ridge:
    """Ridge regression on 6 x 6 blocks."""

    name = "ridge"
    least_labels = 30
    grid = 6

    def seconds(self, labels: int) -> float:
        """Return about how long fitting takes."""
        return 2e-4 * labels + 4e-9 * labels**3

    def fit(self, problem: Problem) -> Trained:
        """Fit and judge."""
        seen = block_features(problem.scene, problem.labelled, self.grid).astype(np.float64)

        def kernel(rows: Positions, choice: int) -> Doubles:
            return seen[rows] @ seen[rows].T

        dual = fit_dual(problem, kernel, 1)
        return Trained(Linear(seen.T @ dual.alpha, dual.intercept, self.grid), dual.far, dual.near)

    def load(self, arrays: Arrays, parameters: Parameters) -> Linear:
        """Return the model that was dumped."""
        weights = np.asarray(arrays["weights"], np.float64)
        return Linear(weights, float(parameters["intercept"]), int(parameters["grid"]))
