"""A mean on its way: clipping, known frames, predictions, estimator; values in, interval out."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from foveal.planner.estimators.asymptotic import AsymptoticMean
from foveal.planner.estimators.cells import forecast_end
from foveal.planner.estimators.clipped import CLIP_SHARE, Clipped
from foveal.planner.estimators.deadline import DeadlineBetting
from foveal.planner.estimators.prediction import FramePrediction
from foveal.planner.estimators.reveal import worth_revealing
from foveal.planner.estimators.targets import (
    FrameGroup,
    Frames,
    Interval,
    Mask,
    MeanTarget,
    Values,
)


class MeanTrack:
    """A mean on its way. Known frames are summed; the estimator sees the others' mean only."""

    def __init__(
        self,
        target: MeanTarget,
        group: FrameGroup,
        rest: Frames,
        delta: float,
        guarantee: str,
        *,
        temporal: bool,
    ) -> None:
        """Start for the frames `rest` of `group` that are not known."""
        self.target = target
        self._asymptotic = guarantee == "asymptotic"
        self._size = group.frames.shape[0]
        self._left = rest.shape[0]
        self._clipped = Clipped(self._left, CLIP_SHARE * delta)
        known, outside = self._clip(group.known_values)
        self._clipped.known = int(np.count_nonzero(outside))
        self._known = known.shape[0]
        self._sum = math.fsum(known.tolist())  # of known and scanned frames
        self._scanned = 0
        self._offset = self._sum / self._size if self._size else 0.0
        self._share = self._left / self._size if self._size else 0.0
        epsilon = 0.0 if target.epsilon is None else target.epsilon
        if not target.relative and self._share:
            epsilon /= target.scale * self._share
        make = AsymptoticMean if self._asymptotic else partial(DeadlineBetting, aimed=target.aimed)
        self.estimator: AsymptoticMean | DeadlineBetting = make(
            self._left,
            target.upper,
            epsilon,
            delta,
            lower=target.lower,
            integer=target.integer,
            relative=target.relative,
            offset=self._offset,
            share=self._share or 1.0,
        )
        self._drawn: Frames = np.zeros(0, np.int64)
        self._revealed: Frames = np.zeros(0, np.int64)
        self._prediction = FramePrediction(
            group.frames[group.known] if group.known.shape[0] else rest[:0],
            known - target.lower,
            rest,
            group.breaks,
            range_=target.upper - target.lower,
            integer=target.integer,
            temporal=temporal,
        )
        self._predicted: Values | None = None
        self._predicted_rest = 0.0
        self._scores: Values | None = None  # of rest

    @property
    def finished(self) -> bool:
        """The target is met or everything is known."""
        return self.estimator.finished or self._unseen() <= 0

    def need(self) -> int:
        """Return a forecast of the samples still needed."""
        return self.estimator.remaining()

    def worst(self) -> int:
        """Return a forecast of the samples needed at the largest possible variance."""
        target, estimator = self.target, self.estimator
        range_ = target.upper - target.lower
        if target.relative or estimator.epsilon <= 0:
            return self._left
        if isinstance(estimator, AsymptoticMean):
            return estimator.worst()
        end = forecast_end(range_ * range_ / 4, range_, estimator.epsilon, estimator.delta)
        return math.ceil(end / (1 + end / max(self._left, 1)))

    def take(self, places: Frames, values: Values) -> None:
        """Take the next draws: places in `rest`, values [n, columns], both in drawn order."""
        clipped, outside = self._clip(values)
        estimator = self.estimator
        self._clipped.take(outside.tolist())
        done = 0
        while done < places.shape[0]:
            # Predictions change at fixed numbers of draws, however these were batched.
            until = self._prediction.next_fit - estimator.samples
            stop = int(min(places.shape[0], done + until))
            part, seen = places[done:stop], clipped[done:stop]
            self._draw(estimator, part, seen)
            self._drawn = np.concatenate((self._drawn, part))
            self._prediction.observe(part, seen - self.target.lower)
            self._predict_anew(estimator)
            done = stop

    def use_scores(
        self, known: Values, rest: Values, known_honest: Mask, rest_honest: Mask
    ) -> None:
        """Take a proxy's scores of this target's column, in place of those before.

        Args:
            known: float64 [known frames].
            rest: float64 [rest].
            known_honest: bool [known frames]: the score was made without the frame's value.
            rest_honest: bool [rest]: the same; frames that are not drawn yet are all honest.
        """
        estimator = self.estimator
        self._scores = rest
        lower = self.target.lower
        self._prediction.use_scores(
            known - lower, rest - lower, known_honest, rest_honest, self._drawn
        )
        self._predict_anew(estimator)

    def worth_revealing(self) -> tuple[Frames, float]:
        """Return places in `rest` to look at for their scores, and the samples that this saves."""
        estimator = self.estimator
        none: Frames = np.zeros(0, np.int64)
        if self._scores is None or not isinstance(estimator, DeadlineBetting):
            return none, 0.0
        if not self.target.integer or estimator.finished or self._revealed.shape[0]:
            return none, 0.0
        left = np.full(self._left, True)
        left[self._drawn] = False
        return worth_revealing(estimator, self._scores - self.target.lower, np.flatnonzero(left))

    def reveal(self, places: Frames, values: Values) -> None:
        """Take the values [n, columns] of `places` in `rest` that were worth revealing."""
        estimator = self.estimator
        assert isinstance(estimator, DeadlineBetting)
        assert self._scores is not None
        clipped, outside = self._clip(values)
        seen = self._clipped
        # Draws are from fewer frames now: what they say of clipped ones starts anew.
        known = seen.known + seen.count + int(np.count_nonzero(outside))
        self._revealed = places
        self._clipped = Clipped(self._left - self._drawn.shape[0] - places.shape[0], seen.delta / 2)
        self._clipped.known = known
        ceiling = float(self._scores[places].min()) - self.target.lower
        like = self._prediction.reveal(places, clipped - self.target.lower, ceiling)
        estimator.reveal(
            math.fsum(clipped.tolist()),
            places.shape[0],
            variance=float(like.var()) if like.shape[0] else 0.0,
            weight=float(like.shape[0]),
        )
        self._predicted = None

    def settle(self) -> None:
        """Draws ended, and not for what they showed: take the last look."""
        if isinstance(self.estimator, AsymptoticMean):
            self.estimator.settle()

    def saved_by(self, r2: float) -> int:
        """Return a forecast of the samples that a proxy explaining `r2` of the variance saves."""
        return self.estimator.saved_by(r2)

    def _draw(
        self, estimator: DeadlineBetting | AsymptoticMean, places: Frames, values: Values
    ) -> None:
        if self._predicted is None:
            for value in values.tolist():
                estimator.update(value)
            return
        guesses = self._predicted[places].tolist()
        rest = self._predicted_rest
        left = estimator.left
        for value, guess in zip(values.tolist(), guesses, strict=True):
            estimator.update(value, guess, rest / left)
            rest -= guess
            left -= 1
        self._predicted_rest = rest

    def _predict_anew(self, estimator: DeadlineBetting | AsymptoticMean) -> None:
        """When it is time, refit the prediction to all that was observed; take it if it pays."""
        if not self._prediction.due(estimator.samples) or estimator.finished:
            return
        better = self._prediction.propose(estimator)
        if better is None:
            return
        predicted, model = better.predicted, better.model
        seen = np.concatenate((self._drawn, self._revealed))
        self._predicted_rest = float(predicted.sum()) - math.fsum(predicted[seen].tolist())
        self._predicted = predicted
        estimator.predict_with(
            float(predicted.min()),
            float(predicted.max()),
            integer=model.rounded,
            variance=model.variance,
            mean=model.bias,
            weight=float(better.weight),
        )

    def _unseen(self) -> int:
        """Return how many frames were not observed yet."""
        seen = self._drawn.shape[0] + self._revealed.shape[0] + self._scanned
        return self._left - seen

    def absorb(self, values: Values) -> None:
        """Take values [n, columns] of frames that were not drawn but scanned."""
        clipped, outside = self._clip(values)
        self._clipped.known += int(np.count_nonzero(outside))
        self._sum += math.fsum(clipped.tolist())
        self._scanned += clipped.shape[0]

    def interval(self, group: int, place: int) -> Interval:
        """Return the answer so far."""
        target, estimator, size = self.target, self.estimator, self._size
        unseen = self._unseen()
        guarantee = "asymptotic" if self._asymptotic else "finite"
        met = estimator.finished
        if unseen == 0:
            guarantee, met = "exact", True
            estimate = low = high = (self._sum + estimator.total) / size if size else None
        else:
            seen = self._sum + estimator.total
            low, estimate, high = (
                self._offset + self._share * mean
                for mean in (estimator.low, estimator.estimate, estimator.high)
            )
            low = max(low, (seen + unseen * target.lower) / size)
            high = max(min(high, (seen + unseen * target.upper) / size), low)
            estimate = min(max(estimate, low), high)
        cut = self._clipped
        bound = cut.bound() * cut.population if unseen else cut.count
        fraction = (bound + cut.known) / size if size else 0.0
        low, estimate, high = (
            None if mean is None else mean * target.scale for mean in (low, estimate, high)
        )
        return Interval(
            group,
            place,
            estimate,
            low,
            high,
            self._left - unseen,
            self._known,
            met,
            guarantee,
            self._clipped.known + self._clipped.count,
            min(fraction, 1.0),
        )

    def _clip(self, values: Values) -> tuple[Values, Mask]:
        """Return this target's column cut to its range, and where it was cut."""
        target = self.target
        column = values[:, target.column] if values.shape[0] else np.zeros(0)
        if not np.isfinite(column).all():
            raise ValueError("observed values must be finite")
        return (
            np.clip(column, target.lower, target.upper),
            (column < target.lower) | (column > target.upper),
        )
