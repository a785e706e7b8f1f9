"""The central limit theorem's rule: coverage over its own stopping, costs beside one fixed test."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from foveal.planner.estimators import FrameGroup, Interval, MeanTarget, SamplingRun, forecast
from foveal.planner.estimators.asymptotic import AsymptoticMean

Array = npt.NDArray[np.float64]
DELTA = 0.05
SEEDS = 1000


def most_misses(seeds: int) -> int:
    """Return the misses that one run in a thousand exceeds, where 5 % are allowed."""
    return int(stats.binom.ppf(0.999, seeds, DELTA))


def drawn(seed: int, values: Array) -> list[float]:
    return np.random.default_rng(seed).permutation(values).tolist()


def poisson(rate: float, upper: float) -> Array:
    return np.minimum(np.random.default_rng(0).poisson(rate, 8000), upper).astype(np.float64)


def present(rate: float) -> Array:
    return (np.arange(8000) < rate * 8000).astype(np.float64)


TRACES: dict[str, tuple[Array, float, float]] = {
    # values, largest value, samples of one test at a fixed size
    "counts": (poisson(1.2, 8), 8, 120),
    "few": (poisson(0.25, 4), 4, 300),
    "many": (poisson(7, 20), 20, 60),
    "presence": (present(0.24), 1, 70),
    "seldom": (present(0.05), 1, 400),
}


@pytest.mark.parametrize("name", TRACES)
def test_covers_over_its_own_stopping_at_the_price_of_one_test(name: str) -> None:
    values, upper, fixed = TRACES[name]
    truth, size = float(values.mean()), len(values)
    epsilon = 1.96 * float(values.std()) * math.sqrt(1 / fixed - 1 / size)
    misses, early, taken = 0, 0, 0
    for seed in range(SEEDS):
        mean = AsymptoticMean(size, upper, epsilon, DELTA, integer=True)
        for value in drawn(seed, values):
            mean.update(value)
            early += mean.samples == fixed // 2 and not mean.low <= truth <= mean.high
            if mean.finished:
                break
        misses += not mean.low <= truth <= mean.high
        taken += mean.samples
    assert misses <= most_misses(SEEDS)
    assert early <= most_misses(SEEDS)
    guards = 25 * float(stats.skew(values)) ** 2
    assert taken / SEEDS < 1.2 * max(fixed, guards)


def street(size: int, seed: int = 0, steps: int = 60) -> Array:
    """Counts that change slowly, as on a street."""
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.gamma(1.5, 0.8, -(-size // steps)), steps)[:size]
    return np.minimum(np.round(level + 0.3 * rng.standard_normal(size)), 8).clip(0)


def runs(
    values: Array, epsilon: float, seeds: int, guarantee: str, *, temporal: bool
) -> list[Interval]:
    found: list[Interval] = []
    for seed in range(seeds):
        group = FrameGroup(np.arange(len(values)), (MeanTarget(8, epsilon, integer=True),))
        run = SamplingRun([group], seed=seed, guarantee=guarantee, temporal=temporal)
        while (batch := run.next_batch()) is not None:
            run.add(batch, values[batch])
        found += run.intervals()
    return found


def outside(found: list[Interval], truth: float) -> int:
    return sum(not (one.low or 0) <= truth <= (one.high or 0) for one in found)


def calls(found: list[Interval]) -> float:
    return float(np.mean([one.samples for one in found]))


def test_neighbours_in_time_make_it_cheaper_and_it_covers() -> None:
    values = street(4000, seed=3)
    truth = float(values.mean())
    found = runs(values, 0.14, 300, "asymptotic", temporal=True)
    assert outside(found, truth) <= most_misses(300)
    assert all(one.target_met for one in found)
    plain = runs(values, 0.14, 20, "asymptotic", temporal=False)
    assert calls(found) < 0.9 * calls(plain)


@pytest.mark.parametrize("temporal", [False, True])
@pytest.mark.parametrize("epsilon", [0.05, 0.1, 0.3])
def test_it_is_no_dearer_than_the_finite_guarantee_and_foretold(
    epsilon: float, temporal: bool
) -> None:
    values = street(20_000, seed=1)
    cheap = calls(runs(values, epsilon, 4, "asymptotic", temporal=temporal))
    assert cheap <= calls(runs(values, epsilon, 4, "finite", temporal=temporal))
    expected = forecast(
        population=20_000, known=0, upper=8, epsilon=epsilon, deviation=float(values.std()),
        delta=DELTA, guarantee="asymptotic", temporal=temporal,
    ).calls  # fmt: skip
    assert 0.5 < expected / cheap < 2


def test_a_budget_s_end_is_the_last_look() -> None:
    values = street(20_000, seed=2)
    group = FrameGroup(np.arange(len(values)), (MeanTarget(8, 0.01, integer=True),))
    run = SamplingRun([group], guarantee="asymptotic", temporal=False)
    while run.observed < 500 and (batch := run.next_batch(limit=500 - run.observed)) is not None:
        run.add(batch, values[batch])
    (before,) = run.intervals()
    run.settle()
    (after,) = run.intervals()
    assert not after.target_met
    wide, narrow = ((i.high or 0) - (i.low or 0) for i in (before, after))
    assert narrow < 0.75 * wide
    assert narrow == pytest.approx(2 * 2.005 * values.std() / np.sqrt(500), rel=0.1)
