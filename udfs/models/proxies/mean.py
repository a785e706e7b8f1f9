"""The baseline without any model: the mean of the labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foveal.udfs.models.proxies.family import Arrays, Parameters, Problem, Trained, refitted
from foveal.udfs.models.proxies.folds import single_folds
from foveal.udfs.models.proxies.scene import Doubles, Positions, Scene


@dataclass(frozen=True, slots=True)
class Constant:
    """The same score for every frame."""

    value: float

    def predict(self, scene: Scene, positions: Positions) -> Doubles:
        """Return the score of each frame, float64 [n]."""
        return np.full(len(positions), self.value)

    def dump(self) -> tuple[Arrays, Parameters]:
        """Return all it is made of."""
        return {}, {"value": self.value}


class Mean:
    """Every frame scores the mean of the labels."""

    name = "mean"
    least_labels = 1

    def seconds(self, labels: int) -> float:
        """Return about how long fitting takes."""
        return 0.0

    def fit(self, problem: Problem) -> Trained:
        """Fit and judge."""

        def scores(seen: Positions, judged: Positions) -> Doubles:
            return np.full(len(judged), problem.values[seen].mean())

        singles = single_folds(len(problem.values))
        return Trained(
            Constant(float(problem.values.mean())),
            refitted(problem, list(problem.far), scores),
            refitted(problem, singles, scores),
        )

    def load(self, arrays: Arrays, parameters: Parameters) -> Constant:
        """Return the model that was dumped."""
        return Constant(float(parameters["value"]))
