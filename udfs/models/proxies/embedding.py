"""A linear head on an embedding of the frame that is computed once and kept for every quantity.

The embedding is what moves in 6 x 6 blocks and a random projection of the filters' responses: 128
numbers, so that a second quantity of a table is scored without its pictures. Source: Achlioptas,
"Database-friendly random projections", PODS 2001 (projections keep distances).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from foveal.udfs.models.proxies.dual import fit_dual
from foveal.udfs.models.proxies.family import Arrays, Parameters, Problem, Trained
from foveal.udfs.models.proxies.filters import CELLS, FILTERS, responses
from foveal.udfs.models.proxies.scene import (
    Doubles,
    Positions,
    Scene,
    Singles,
    blocks,
)

KEPT_AS = "scene128-1"
"""The name that embeddings are kept under; another number for every change of what is computed."""
_GRID, _PROJECTED = 6, 56


@cache
def _projection() -> Singles:
    drawn = np.random.default_rng(20_01).standard_normal((CELLS * CELLS * FILTERS, _PROJECTED))
    return (drawn / _PROJECTED**0.5).astype(np.float32)


def embedding(scene: Scene, positions: Positions) -> Singles:
    """Return the frames' embeddings, float32 [n, 128], from the scene's keeper where it has one.

    Rounded to half precision, kept or not, so that a score does not depend on it.
    """

    def compute(missing: Positions) -> Singles:
        found = scene.features(KEPT_AS, missing, _embedded)
        return found.astype(np.float16).astype(np.float32)

    if scene.keeper is None:
        return compute(positions)
    return scene.keeper(KEPT_AS, positions, compute)


def _embedded(differences: Singles) -> Singles:
    projected = responses(differences) @ _projection()
    return np.concatenate([blocks(differences, _GRID), projected], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """score = embedding @ weights + intercept."""

    weights: Doubles
    intercept: float

    def predict(self, scene: Scene, positions: Positions) -> Doubles:
        """Return the score of each frame, float64 [n]."""
        return embedding(scene, positions) @ self.weights + self.intercept

    def dump(self) -> tuple[Arrays, Parameters]:
        """Return all it is made of."""
        return {"weights": self.weights}, {"intercept": self.intercept}


class Embedding:
    """Ridge regression on the kept embedding."""

    name = "embedding"
    least_labels = 50

    def seconds(self, labels: int) -> float:
        """Return about how long fitting takes."""
        return 1e-3 * labels + 4e-9 * labels**3

    def fit(self, problem: Problem) -> Trained:
        """Fit and judge."""
        seen = embedding(problem.scene, problem.labelled).astype(np.float64)

        def kernel(rows: Positions, choice: int) -> Doubles:
            return seen[rows] @ seen[rows].T

        dual = fit_dual(problem, kernel, 1)
        return Trained(Head(seen.T @ dual.alpha, dual.intercept), dual.far, dual.near)

    def load(self, arrays: Arrays, parameters: Parameters) -> Head:
        """Return the model that was dumped."""
        return Head(np.asarray(arrays["weights"], np.float64), float(parameters["intercept"]))
