"""Observed values, and a proxy's scores, in; the prediction of all other frames that pays best out.

A prediction may be wrong: that costs samples, never validity, as long as it is fixed before the
frames that it predicts are drawn. So everything here is fitted to what was observed before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from foveal.planner.estimators.asymptotic import AsymptoticMean
from foveal.planner.estimators.deadline import DeadlineBetting
from foveal.planner.estimators.targets import Frames, Mask, Values
from foveal.planner.estimators.temporal import TemporalFit, fit, predict, spread_of

FIRST_FIT = 48
"""Observed frames after which the others are first predicted from them."""
FIRST_SCORES = 24
"""The same where there are scores, whose one coefficient needs fewer; and counted frames are those
whose value the scores were made without."""
FIT_AGAIN = 1.3
"""The prediction is refitted when this factor more frames were drawn."""
WORTH = 0.95
"""With a new prediction, less than this part of the samples must be forecast."""
ODD = 20
"""Values other than the commonest that must have been seen before the first prediction."""
ODD_SCORES = 2
"""The same for a prediction from scores alone, which has one coefficient and no shape to choose."""
NOISE = 2.0
"""A first prediction's variance is taken to be NOISE / sqrt(observed frames) larger than it looks:
the best of many fits looks better than it is."""
CUTS = (0.7, 0.8, 0.9, 0.95, 0.98, 0.995)
"""Quantiles of the predictions that are tried as the highest one."""
SOME = 20_000
"""Predictions that the quantiles are taken of."""


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """A prediction of every frame that could be drawn.

    Attributes:
        predicted: float64 [rest], of value - lower bound.
        highest: none of them is higher.
        model: how it was made.
        weight: observed frames that it was judged on.
    """

    predicted: Values
    highest: float
    model: TemporalFit
    weight: int


class FramePrediction:
    """One column's observed values, and what they say of the frames that were not drawn yet."""

    def __init__(
        self,
        known: Frames,
        values: Values,
        rest: Frames,
        breaks: Frames,
        *,
        range_: float,
        integer: bool,
        temporal: bool,
    ) -> None:
        """Start with what is known.

        Args:
            known: int64 [k]: frames that are known.
            values: float64 [k]: their values, less the lower bound.
            rest: int64 [n], ascending: the other frames.
            breaks: int64, ascending: first frames of the videos.
            range_: largest value.
            integer: the values are whole numbers.
            temporal: predict frames from their neighbours in time.
        """
        self._rest, self._breaks = rest, breaks
        self._range, self._integer, self._temporal = range_, integer, temporal
        self._frames: Frames = known
        self._values: Values = values
        self._scores: Values | None = None  # of _frames
        self._rest_scores: Values = values[:0]
        self._honest: Mask = np.zeros(known.shape[0], np.bool_)
        self._current: TemporalFit | None = None
        # Drawn at random, from frames like those that are left.
        self._random: Mask = np.zeros(known.shape[0], np.bool_)
        self._revealed: Frames = np.zeros(0, np.int64)
        self.next_fit: float = FIRST_FIT if temporal else math.inf

    def observe(self, places: Frames, values: Values) -> None:
        """Take the next draws: places in `rest`, and values less the lower bound."""
        self._frames = np.concatenate((self._frames, self._rest[places]))
        self._values = np.concatenate((self._values, values))
        # Scores at hand were made before these frames were seen.
        drawn = np.full(places.shape[0], True)
        self._honest = np.concatenate((self._honest, drawn))
        self._random = np.concatenate((self._random, drawn))
        if self._scores is not None:
            self._scores = np.concatenate((self._scores, self._rest_scores[places]))

    def use_scores(
        self, known: Values, rest: Values, known_honest: Mask, rest_honest: Mask, places: Frames
    ) -> None:
        """Take a proxy's scores in place of those before.

        Args:
            known: float64 [k]: scores of the known frames.
            rest: float64 [n]: scores of the others.
            known_honest: bool [k]: the score was made without the frame's value.
            rest_honest: bool [n]: the same of the others.
            places: int64: places in `rest` of the draws so far, in drawn order.
        """
        self._rest_scores = rest
        own = self._revealed
        self._scores = np.concatenate((rest[own], known, rest[places]))
        self._honest = np.concatenate((rest_honest[own], known_honest, rest_honest[places]))
        honest = int(np.count_nonzero(rest_honest[places]))
        soon = places.shape[0] + max(FIRST_SCORES - honest, 0)
        self.next_fit = max(min(self.next_fit, soon), 1)

    def reveal(self, places: Frames, values: Values, ceiling: float) -> Values:
        """Take frames that were looked at for their scores: places in `rest`, and values.

        Returns the values of the draws that are like the frames left: scored `ceiling` or lower.
        """
        assert self._scores is not None
        self._random &= self._scores <= ceiling
        self._revealed = places
        self._frames = np.concatenate((self._rest[places], self._frames))
        self._values = np.concatenate((values, self._values))
        self._scores = np.concatenate((self._rest_scores[places], self._scores))
        self._honest = np.concatenate((np.full(places.shape[0], True), self._honest))
        self._random = np.concatenate((np.full(places.shape[0], False), self._random))
        self._current = None
        return self._values[self._random]

    def due(self, samples: int) -> bool:
        """Return whether to `propose` after so many draws; the next time is then a later one."""
        if samples < self.next_fit:
            return False
        self.next_fit = math.ceil(samples * FIT_AGAIN)
        return True

    def propose(self, estimator: DeadlineBetting | AsymptoticMean) -> Proposal | None:
        """Return the prediction that pays best, None where the present one is as good."""
        random = self._random
        best: Proposal | None = None
        least = WORTH * estimator.outlook(estimator.variance)
        for with_scores in (False, True):
            if with_scores and self._scores is None:
                continue
            if not with_scores and not (self._temporal and estimator.samples >= FIRST_FIT):
                continue
            keep = self._usable(with_scores=with_scores)
            told = self._values[keep][random[keep]]
            fresh = self._current is None or with_scores > (self._current.coefficient > 0)
            odd = told.shape[0] - _commonest(told)
            if fresh and odd < (ODD_SCORES if with_scores else ODD):
                continue  # hardly anything has happened yet that could be predicted
            temporal = self._temporal and odd >= ODD
            model = self._fit(keep, random[keep], with_scores=with_scores, temporal=temporal)
            if model is None:
                continue
            noise = 1 + NOISE / math.sqrt(told.shape[0]) if fresh else 1.0
            doubted = estimator.doubt(noise * model.variance, told.shape[0])
            if estimator.outlook(doubted, 0, 0) > least:
                continue
            found = self._cut(estimator, model, self._predict(model, keep), told, noise)
            if found[0] <= least:
                least, best = found
        if best is not None:
            self._current = best.model
        return best

    def _cut(
        self,
        estimator: DeadlineBetting | AsymptoticMean,
        model: TemporalFit,
        predicted: Values,
        told: Values,
        noise: float,
    ) -> tuple[float, Proposal]:
        """Return the prediction cut where that pays best, and the samples forecast with it.

        One frame predicted to be crowded makes every bet on "more" smaller, for it could be empty.
        So the highest predictions are cut, as long as what that leaves over costs less.
        """
        lowest = float(predicted.min())
        some = predicted[:: max(predicted.shape[0] // SOME, 1)]
        caps = np.unique(np.append(np.quantile(some, CUTS), predicted.max()))
        best: tuple[float, Proposal] | None = None
        for cap in (np.unique(np.ceil(caps)) if model.rounded else caps).tolist():
            bias, variance = spread_of(told - np.minimum(model.left_out, cap))
            doubted = estimator.doubt(noise * variance, told.shape[0])
            after = estimator.outlook(doubted, lowest, cap)
            if best is None or after < best[0]:
                cut = replace(model, variance=variance, bias=bias)
                best = after, Proposal(predicted, cap, cut, told.shape[0])
        assert best is not None  # the highest prediction is always a cap
        after, proposal = best
        return after, replace(proposal, predicted=np.minimum(predicted, proposal.highest))

    def _usable(self, *, with_scores: bool) -> Frames:
        """Return which observed frames to fit to, in time order."""
        keep = np.argsort(self._frames, kind="stable")
        return keep[self._honest[keep]] if with_scores else keep

    def _fit(
        self, keep: Frames, random: Mask, *, with_scores: bool, temporal: bool
    ) -> TemporalFit | None:
        return fit(
            self._frames[keep],
            self._values[keep],
            self._breaks,
            random,
            integer=self._integer,
            scores=self._scores[keep] if with_scores and self._scores is not None else None,
            temporal=temporal,
        )

    def _predict(self, model: TemporalFit, keep: Frames) -> Values:
        scored = self._scores is not None and model.coefficient > 0
        predicted = predict(
            model,
            self._frames[keep],
            self._values[keep],
            self._breaks,
            self._rest,
            self._scores[keep] if scored and self._scores is not None else None,
            self._rest_scores if scored else None,
        )
        return np.clip(predicted, 0.0, self._range, out=predicted)


def _commonest(values: Values) -> int:
    """Return how often the commonest value occurs."""
    if not values.shape[0]:
        return 0
    return int(np.unique(values, return_counts=True)[1].max())
