"""A specialised model as it is kept: what it learnt, how it was judged, its left-out scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from foveal.planner.protocols import CancelCheck
from foveal.udfs.models.proxies.family import Arrays, Model, Parameters
from foveal.udfs.models.proxies.scene import Doubles, Extras, Keeper, Positions, Scene, Thumbnails

_SMOOTH = 0.1
"""Width of a residual in `at_least`, in standard deviations: it keeps probabilities monotone."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One family on these labels. Squared correlations are 0 where they would be negative.

    `r2` on folds with gaps in time; `r2_near` with one label left out; `error` the mean squared
    error to expect on the table's unlabelled frames, near or far as those lie.
    """

    family: str
    r2: float
    r2_near: float
    error: float
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A fitted specialised model, or the reasons why there is none.

    `labelled` int64 [n], `values` and `scores` float64 [n]: the labels, and for each the score of a
    model that did not see it: by leaving out one where most unlabelled frames are near a label
    (`near_share` of at least one half), else by folds with gaps in time. `slope` and `intercept`
    turn the model's answer into the expected value. `r2`, `r2_time`, `residual`, `deviation` are
    taken on the folds with gaps; `r2_near`, `r2_time_near` with one label left out. `positives`:
    labels that differ from the commonest value.
    """

    family: str
    model: Model | None
    labelled: Positions
    values: Doubles
    scores: Doubles
    slope: float = 1.0
    intercept: float = 0.0
    r2: float = 0.0
    r2_near: float = 0.0
    r2_time: float = 0.0
    r2_time_near: float = 0.0
    near_share: float = 0.0
    residual: float = 0.0
    deviation: float = 0.0
    positives: int = 0
    seconds: float = 0.0
    score_frame: float = 0.0
    useful: bool = False
    why: str = ""
    trials: tuple[Trial, ...] = ()
    seed: int = 0
    counts: bool = True

    def score(
        self,
        thumbnails: Thumbnails,
        positions: Positions,
        *,
        times: Doubles,
        breaks: Positions,
        cancel: CancelCheck,
        keeper: Keeper | None = None,
        extras: Extras | None = None,
    ) -> Doubles:
        """Return the expected value of frames at sorted positions, float64 [n].

        `times` and `breaks` as for `Scene`; the videos may be others than those it learnt from.

        Raises:
            ValueError: there is no model.
        """
        if self.model is None:
            raise ValueError(f"no model was trained: {self.why}")
        scene = Scene(thumbnails, times, breaks, cancel, keeper, extras)
        return self.slope * self.model.predict(scene, positions) + self.intercept

    def at_least(self, scores: Doubles, least: float) -> Doubles:
        """Return the probability that a value is `least` or more, float64 [n], from the residuals.

        What a left-out label's value was above its score is taken to be as likely above any other;
        the answer grows with the score, and is never 0 or 1. For counts `least` is met from half
        below it, as a score plus a residual is no whole number.
        """
        if not len(self.values):
            return np.zeros(len(scores))
        residuals = self.values - self.scores
        margin = 0.5 if self.counts else 0.0
        width = max(_SMOOTH * float(residuals.std()), 1e-9)
        chances = np.empty(len(scores))
        for start in range(0, len(scores), 4096):
            part = scores[start : start + 4096, None] + residuals[None, :] - (least - margin)
            chances[start : start + 4096] = (0.5 * (1 + np.tanh(part / (2 * width)))).sum(axis=1)
        return (chances + 0.5) / (len(residuals) + 1)

    def dump(self) -> tuple[Arrays, Mapping[str, Any]]:
        """Return the arrays and the JSON values that `load` makes an equal one of."""
        arrays: Arrays = {}
        parameters: Parameters = {}
        if self.model is not None:
            arrays, parameters = self.model.dump()
        kept = {f"model.{name}": np.asarray(array) for name, array in arrays.items()}
        kept |= {"labelled": self.labelled, "values": self.values, "scores": self.scores}
        left_out = ("model", "labelled", "values", "scores", "trials")
        facts = {f: getattr(self, f) for f in Fitted.__slots__ if f not in left_out}
        facts["trials"] = [asdict(trial) for trial in self.trials]
        facts["model"] = None if self.model is None else dict(parameters)
        return kept, facts


def load(arrays: Arrays, facts: Mapping[str, Any]) -> Fitted:
    """Return the model that `Fitted.dump` gave, with equal scores."""
    from foveal.udfs.models.proxies import FAMILIES

    held = dict(facts)
    parameters = cast("dict[str, Any] | None", held.pop("model"))
    trials = tuple(Trial(**trial) for trial in held.pop("trials"))
    own = {n.removeprefix("model."): a for n, a in arrays.items() if n.startswith("model.")}
    model = None if parameters is None else FAMILIES[held["family"]].load(own, parameters)
    return Fitted(
        model=model,
        labelled=np.asarray(arrays["labelled"], np.int64),
        values=np.asarray(arrays["values"], np.float64),
        scores=np.asarray(arrays["scores"], np.float64),
        trials=trials,
        **held,
    )
