"""The betting confidence sequence: validity under hostile bets, edges, exactness, mutations."""

# The cells and the bets are looked at from inside.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.planner.estimators.cells import BettingCells
from foveal.planner.estimators.deadline import DeadlineBetting

Array = npt.NDArray[np.float64]
DELTA = 0.05


def most_misses(trials: int, chance: float = DELTA) -> int:
    """99.9 % quantile of the misses of a valid rule."""
    from scipy import stats

    return int(stats.binom.ppf(0.999, trials, chance))


def draws(values: Array, seed: int) -> list[float]:
    return np.random.default_rng(seed).permutation(values).tolist()


def run(estimator: DeadlineBetting, values: list[float]) -> DeadlineBetting:
    for value in values:
        if estimator.finished:
            break
        estimator.update(value)
    return estimator


def counts(size: int, rate: float, seed: int = 0) -> Array:
    return np.minimum(np.random.default_rng(seed).poisson(rate, size), 8).astype(float)


def test_covers_and_is_cheap_on_counts() -> None:
    values = counts(4000, 1.2)
    truth, misses, cost = values.mean(), 0, 0.0
    for seed in range(50):
        got = run(DeadlineBetting(4000, 8, 0.2, DELTA, integer=True), draws(values, seed))
        misses += not got.low <= truth <= got.high
        cost += got.samples / 50
        assert got.finished
        assert got.high - got.low <= 0.4 + 1e-9
    oracle = (1.96 * values.std() / 0.2) ** 2
    oracle /= 1 + oracle / 4000
    assert misses <= most_misses(50)
    assert cost <= 2.0 * oracle


class Hostile(DeadlineBetting):
    """Bets without regard to what is likely: at the cap, or nothing, by the toss of a coin."""

    def _bet(self, variance: float, aim: float, factor: float, *, floor: float = 0.0) -> None:
        coin = (self.samples * 2654435761) >> 7 & 1
        super()._bet(variance if coin else 1e-12, aim, factor * (100 if coin else 1))


@pytest.mark.parametrize("size", [60, 400])
def test_hostile_bets_stay_valid(size: int) -> None:
    values = counts(size, 0.7, seed=1)
    truth, misses = values.mean(), 0
    for seed in range(80):
        got = Hostile(size, 8, 1e-9, DELTA, integer=True)
        for value in draws(values, seed)[: size - 5]:
            got.update(value)
            if not got.low - 1e-9 <= truth <= got.high + 1e-9:
                misses += 1
                break
    assert misses <= most_misses(80)


def _misses(values: Array, kind: type[DeadlineBetting], order: str, trials: int = 80) -> int:
    truth, misses = values.mean(), 0
    for seed in range(trials):
        got = kind(values.shape[0], 8, 0.15, DELTA, integer=True)
        stream = draws(values, seed) if order == "random" else np.roll(values, seed * 7).tolist()
        run(got, stream)
        misses += not got.low - 1e-9 <= truth <= got.high + 1e-9
    return misses


class NoCorrection(DeadlineBetting):
    """A mutation: as if drawn with replacement, but with the stronger bets of without."""

    def _wager(
        self, x: float, predicted: float, predicted_mean: float, factor: float, variance: float
    ) -> None:
        np.copyto(self._risk, self._place)
        self._gain_up[:] = x
        self._gain_down[:] = self._range - x
        self._gain -= self._risk
        self._bet(variance, self.aim, factor, floor=self._most_floor())


class Peeking(DeadlineBetting):
    """A mutation: the bet's variance and sign know the sample that they bet on."""

    def _bet(self, variance: float, aim: float, factor: float, *, floor: float = 0.0) -> None:
        worst = self._risk * -0.5
        self._gain[self._gain < worst] = worst[self._gain < worst]
        super()._bet(variance, aim, factor, floor=floor)


def test_mutations_are_caught() -> None:
    # A population in which early draws say much about late ones, so the correction matters.
    values = np.repeat([0.0, 3.0], 200)
    assert _misses(values, DeadlineBetting, "random") <= most_misses(80)
    assert _misses(values, DeadlineBetting, "file") > most_misses(80)
    assert _misses(values, Peeking, "random") > most_misses(80)
    # Without the correction the interval does not close on the truth as the rest thins out.
    got = NoCorrection(400, 8, 0.15, DELTA, integer=True)
    right = DeadlineBetting(400, 8, 0.15, DELTA, integer=True)
    assert run(got, draws(values, 3)).samples > 1.15 * run(right, draws(values, 3)).samples


@pytest.mark.parametrize("size", [1, 2, 7, 50])
def test_everything_drawn_is_exact(size: int) -> None:
    values = counts(size, 2.0, seed=size)
    got = DeadlineBetting(size, 8, 0.0, DELTA, integer=True)
    for value in draws(values, 0):
        got.update(value)
    assert got.low == got.high == got.estimate == pytest.approx(values.mean())
    assert got.finished
    with pytest.raises(ValueError, match="none left"):
        got.update(0.0)


def test_edge_cases() -> None:
    assert DeadlineBetting(0, 8, 0.1, DELTA).finished
    zero = DeadlineBetting(10, 0, 0.1, DELTA)
    assert (zero.low, zero.high, zero.finished) == (0.0, 0.0, True)
    wide = DeadlineBetting(10, 8, 4.0, DELTA)
    assert (wide.samples, wide.finished, wide.estimate) == (0, True, 4.0)
    shifted = DeadlineBetting(50, 3, 0.1, DELTA, lower=-2)
    for value in np.tile([-2.0, 3.0], 25):
        shifted.update(float(value))
    assert shifted.low == shifted.high == pytest.approx(0.5)
    for wrong in ((-1, 8, 0.1, 0.05), (5, -1, 0.1, 0.05), (5, 8, -0.1, 0.05), (5, 8, 0.1, 0.0)):
        with pytest.raises(ValueError, match="need"):
            DeadlineBetting(*wrong)
    with pytest.raises(ValueError, match="outside"):
        DeadlineBetting(5, 8, 0.1, DELTA).update(9.0)


def test_constant_values_cost_little_more_than_the_bound() -> None:
    got = run(DeadlineBetting(36_000, 8, 0.1, DELTA, integer=True), [1.0] * 36_000)
    # 7 is the farthest a value can be from 1: fewer samples cannot rule out a rare 8.
    assert got.samples <= 1.6 * math.log(2 / DELTA) * 7 / 0.1 / 0.9
    assert abs(got.estimate - 1) <= 0.1


def test_relative_error_holds_of_the_mean() -> None:
    values = counts(20_000, 2.0, seed=3)
    misses = 0
    for seed in range(20):
        got = run(
            DeadlineBetting(20_000, 8, 0.05, DELTA, integer=True, relative=True),
            draws(values, seed),
        )
        assert got.finished
        assert got.samples < 4000
        misses += abs(got.estimate - values.mean()) > 0.05 * values.mean()
    assert misses <= 4


def test_control_variate_needs_fewer_samples_and_covers() -> None:
    rng = np.random.default_rng(5)
    values = counts(6000, 1.5, seed=5)
    guess = np.clip(values + rng.integers(-1, 2, 6000) * (rng.random(6000) < 0.15), 0, 8)
    truth, misses, cost, plain = values.mean(), 0, 0, 0
    for seed in range(40):
        order = np.random.default_rng(seed).permutation(6000)
        got = DeadlineBetting(6000, 8, 0.1, DELTA, integer=True)
        got.predict_with(0, 8, integer=True, variance=0.2, mean=0.0, weight=20)
        rest, left = float(guess.sum()), 6000
        for i in order:
            if got.finished:
                break
            got.update(float(values[i]), float(guess[i]), rest / left)
            rest -= float(guess[i])
            left -= 1
        misses += not got.low <= truth <= got.high
        assert abs(got.estimate - truth) < 0.1 or got.low > truth or got.high < truth
        cost += got.samples
        plain += run(
            DeadlineBetting(6000, 8, 0.1, DELTA, integer=True), values[order].tolist()
        ).samples
    assert misses <= most_misses(40)
    assert cost < 0.8 * plain


@pytest.mark.parametrize("present", [False, True])
def test_any_prediction_from_the_past_is_valid_and_one_from_the_present_is_not(
    present: bool,
) -> None:
    """A coefficient that swings with every draw, on scores that have nothing to say."""
    values = counts(600, 0.6, seed=31)
    scores = np.random.default_rng(31).choice([0.5, 4.0], 600)
    misses = 0
    for seed in range(30):
        order = np.random.default_rng([seed, 9]).permutation(600)
        y, s = values[order], scores[order]
        got = DeadlineBetting(600, 8, 0.15, DELTA, integer=True)
        got.predict_with(0, 6, integer=False, variance=0.5, mean=0.0, weight=8)
        for t in range(600):
            if got.finished:
                break
            told = slice(max(t - 1, 0), t + 1 if present else t)
            power = float(s[told] @ s[told])
            coefficient = min(float(s[told] @ y[told]) / power, 1.5) if power else 0.0
            guess = coefficient * s[t:]
            got.update(float(y[t]), float(guess[0]), float(guess.mean()))
        misses += not got.low - 1e-9 <= values.mean() <= got.high + 1e-9
    assert (misses > most_misses(30)) == present


def test_hostile_predictions_stay_valid() -> None:
    """Each draw's prediction is made anew to hurt, from all that the past tells."""
    values = counts(300, 0.7, seed=1)
    truth, misses = values.mean(), 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        left = rng.permutation(values)
        got = DeadlineBetting(300, 8, 1e-9, DELTA, integer=True)
        got.predict_with(0, 8, integer=True, variance=1e-6, mean=0.0, weight=1)
        for t in range(295):
            # Far from every value, and the other way round when the mean came out high.
            guess = np.where((left[t:] > 1) == (got.mean > truth), 8.0, 0.0)
            guess[rng.random(300 - t) < 0.5] = rng.integers(0, 9)
            got.update(float(left[t]), float(guess[0]), float(guess.mean()))
            if not got.low - 1e-9 <= truth <= got.high + 1e-9:
                misses += 1
                break
    assert misses <= most_misses(60)


def test_rare_events_cost_little_more_than_seeing_none() -> None:
    # Below epsilon, what is seen counts, not what the farthest hypothesis would vary by.
    values = np.zeros(36_000)
    values[:12] = 1.0
    calls: list[int] = []
    for seed in range(12):
        got = DeadlineBetting(36_000, 1, 0.002, DELTA, integer=True)
        calls.append(run(got, draws(values, seed)).samples)
    assert np.mean(calls) < 2 * math.log(2 / DELTA) / (2 * 0.002)


@given(
    values=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    seed=st.integers(0, 1000),
    epsilon=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_interval_only_shrinks_and_respects_certain_bounds(
    values: list[int], seed: int, epsilon: float
) -> None:
    stream = draws(np.array(values, float), seed)
    got = DeadlineBetting(len(stream), 5, epsilon, DELTA, integer=True)
    low, high, total = got.low, got.high, 0.0
    for n, value in enumerate(stream, start=1):
        got.update(value)
        total += value
        # The last draw makes it exact, whatever was excluded before (as happens with chance delta).
        assert got.low >= low - 1e-12 or n == len(stream)
        assert got.high <= high + 1e-12 or n == len(stream)
        assert got.low <= got.estimate <= got.high or got.finished
        assert got.low >= total / len(stream) - 1e-9
        assert got.high <= (total + 5 * (len(stream) - n)) / len(stream) + 1e-9
        low, high = got.low, got.high
    assert got.estimate == pytest.approx(np.mean(values))


def test_halved_cells_keep_their_wealth() -> None:
    cells = BettingCells(8.0, DELTA, 0.1)
    before = cells._wealth.copy()
    edges = cells._edges.copy()
    cells._halve()
    assert cells._wealth.shape[1] == 2 * before.shape[1]
    ups = cells._ups
    # Every half's test is at the whole cell's edge or nearer to its own values.
    assert np.allclose(cells._edges[1:ups:2], edges[: ups // 2])
    assert np.allclose(cells._edges[0:ups:2], edges[: ups // 2] - cells._step)
    assert np.allclose(cells._edges[ups::2], edges[ups // 2 :])
    assert np.allclose(cells._edges[ups + 1 :: 2], edges[ups // 2 :] + cells._step)
