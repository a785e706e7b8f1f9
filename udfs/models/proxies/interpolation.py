"""The baseline without pixels: labels interpolated in time, which wins where labels lie dense."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foveal.udfs.models.proxies.family import Arrays, Parameters, Problem, Trained, refitted
from foveal.udfs.models.proxies.folds import single_folds
from foveal.udfs.models.proxies.scene import Doubles, Positions, Scene


@dataclass(frozen=True, slots=True, eq=False)
class Interpolated:
    """Labels at sorted positions; between two of a video a frame scores what lies on their line."""

    labelled: Positions
    values: Doubles

    def predict(self, scene: Scene, positions: Positions) -> Doubles:
        """Return the score of each frame, float64 [n]; the mean in a video without labels."""
        return interpolate(scene, self.labelled, self.values, positions)

    def dump(self) -> tuple[Arrays, Parameters]:
        """Return all it is made of."""
        return {"labelled": self.labelled, "values": self.values}, {}


def interpolate(
    scene: Scene, labelled: Positions, values: Doubles, positions: Positions
) -> Doubles:
    """Return labels at sorted positions interpolated at others, float64 [n], video by video."""
    scores: Doubles = np.full(len(positions), values.mean())
    theirs, ours = scene.videos(positions), scene.videos(labelled)
    for video in np.unique(theirs):
        inside = ours == video
        if inside.any():
            chosen = theirs == video
            scores[chosen] = np.interp(
                scene.times[positions[chosen]], scene.times[labelled[inside]], values[inside]
            )
    return scores


class Interpolation:
    """Labels interpolated in time."""

    name = "interpolation"
    least_labels = 1

    def seconds(self, labels: int) -> float:
        """Return about how long fitting takes."""
        return 2e-5 * labels

    def fit(self, problem: Problem) -> Trained:
        """Fit and judge."""

        def scores(seen: Positions, judged: Positions) -> Doubles:
            labelled = problem.labelled
            return interpolate(
                problem.scene, labelled[seen], problem.values[seen], labelled[judged]
            )

        return Trained(
            Interpolated(problem.labelled, problem.values),
            refitted(problem, list(problem.far), scores),
            refitted(problem, single_folds(len(problem.values)), scores),
        )

    def load(self, arrays: Arrays, parameters: Parameters) -> Interpolated:
        """Return the model that was dumped."""
        return Interpolated(
            np.asarray(arrays["labelled"], np.int64), np.asarray(arrays["values"], np.float64)
        )
