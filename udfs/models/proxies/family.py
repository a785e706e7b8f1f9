"""What a family of specialised models offers: fit on labels, judge itself without them, predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from foveal.udfs.models.proxies.folds import Fold, Nearness
from foveal.udfs.models.proxies.scene import Doubles, Positions, Scene

Arrays = Mapping[str, npt.NDArray[Any]]
Parameters = Mapping[str, Any]
"""Small values that JSON can hold."""


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Labels to learn from.

    `labelled` int64 [n]: sorted positions. `values` float64 [n]. `far`: folds with
    gaps in time; `near`: how the unlabelled frames lie to the labels, by a `gap` in seconds.
    """

    scene: Scene
    labelled: Positions
    values: Doubles
    far: tuple[Fold, ...]
    near: Nearness
    gap: float
    seed: int

    def loss(self, near: Doubles, far: Doubles, most_near: float = 1.0) -> Doubles:
        """Return squared residuals [.., n], weighted by how many frames lie as each label does.

        `most_near`: the share of near frames that is believed at most.
        """
        share = min(self.near.share, most_near)
        return share * self.near.weights * near**2 + (1 - share) * far**2

    @property
    def times(self) -> Doubles:
        """Seconds of each label within its video."""
        return self.scene.times[self.labelled]

    @property
    def videos(self) -> Positions:
        """Video of each label."""
        return self.scene.videos(self.labelled)


class Model(Protocol):
    """Something fitted. Immutable."""

    def predict(self, scene: Scene, positions: Positions) -> Doubles:
        """Return the score of each frame, float64 [n]."""
        ...

    def dump(self) -> tuple[Arrays, Parameters]:
        """Return all it is made of, for `Family.load`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A model of all labels, and what models without a label said of it.

    `far` float64 [n]: scores by models that saw no label within the gap. `near` float64 [n]:
    by models that did not see this label; for families too dear to fit so often, `far` again.
    """

    model: Model
    far: Doubles
    near: Doubles


class Family(Protocol):
    """One way to make models. `name` is what WITH (family = ..) says."""

    @property
    def name(self) -> str:
        """As WITH (family = ..) says it."""
        ...

    @property
    def least_labels(self) -> int:
        """Labels below which it is not tried."""
        ...

    def seconds(self, labels: int) -> float:
        """Return about how long fitting takes, judging included. Never measured: a seed decides."""
        ...

    def fit(self, problem: Problem) -> Trained:
        """Fit and judge."""
        ...

    def load(self, arrays: Arrays, parameters: Parameters) -> Model:
        """Return the model that was dumped."""
        ...


def refitted(problem: Problem, folds: list[Fold], fit: Any) -> Doubles:
    """Return out-of-fold scores of a family without a closed form: `fit(seen, judged)` per fold."""
    scores: Doubles = np.full(len(problem.values), problem.values.mean())
    for fold in folds:
        problem.scene.cancel()
        seen = np.setdiff1d(np.arange(len(problem.values)), fold.hidden)
        if len(seen):
            scores[fold.judged] = fit(seen, fold.judged)
    return scores
