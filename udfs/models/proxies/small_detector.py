"""A linear head on what the table's detector says at a lower resolution: dear, and the last resort.

It needs almost no training and holds where differences from a background fail (a moving camera,
dense crowds), but costs a sixth to a half of the detector and misses small objects. The caller
gives the features: the quantity at several confidences (`scene.extras`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foveal.udfs.models.proxies.dual import fit_dual
from foveal.udfs.models.proxies.family import Arrays, Parameters, Problem, Trained
from foveal.udfs.models.proxies.scene import Doubles, Positions, Scene

NAME = "small_detector"


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """score = (features - middle) / spread @ weights + intercept."""

    weights: Doubles
    intercept: float
    middle: Doubles
    spread: Doubles

    def predict(self, scene: Scene, positions: Positions) -> Doubles:
        """Return the score of each frame, float64 [n]."""
        features = scene.extras[NAME](positions).astype(np.float64)
        return (features - self.middle) / self.spread @ self.weights + self.intercept

    def dump(self) -> tuple[Arrays, Parameters]:
        """Return all it is made of."""
        arrays: Arrays = {"weights": self.weights, "middle": self.middle, "spread": self.spread}
        return arrays, {"intercept": self.intercept}


class SmallDetector:
    """Ridge regression on the detector's pooled scores at a lower resolution."""

    name = NAME
    least_labels = 30

    def seconds(self, labels: int) -> float:
        """Return about how long fitting takes, the small detector's looks included."""
        return 0.02 * labels

    def fit(self, problem: Problem) -> Trained:
        """Fit and judge."""
        features = problem.scene.extras[NAME](problem.labelled).astype(np.float64)
        middle = features.mean(axis=0)
        spread = np.maximum(features.std(axis=0), 1e-6)
        seen: Doubles = (features - middle) / spread

        def kernel(rows: Positions, choice: int) -> Doubles:
            return seen[rows] @ seen[rows].T

        dual = fit_dual(problem, kernel, 1)
        model = Pooled(seen.T @ dual.alpha, dual.intercept, middle, spread)
        return Trained(model, dual.far, dual.near)

    def load(self, arrays: Arrays, parameters: Parameters) -> Pooled:
        """Return the model that was dumped."""
        return Pooled(
            np.asarray(arrays["weights"], np.float64),
            float(parameters["intercept"]),
            np.asarray(arrays["middle"], np.float64),
            np.asarray(arrays["spread"], np.float64),
        )
