"""Ratios and asymptotic means by themselves: refused arguments, relative targets, last members."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.planner.estimators.asymptotic import ODD, AsymptoticMean
from foveal.planner.estimators.ratio import RatioBetting

DELTA = 0.05


def street(size: int, seed: int) -> list[tuple[float, float]]:
    """Sums of widths in 40..80 and counts, a member per frame."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, size)
    drawn: list[int] = counts.tolist()
    return [(float(rng.uniform(40, 80, n).sum()), float(n)) for n in drawn]


@pytest.mark.parametrize(
    ("population", "lower", "upper", "count", "epsilon"),
    [(-1, 0, 1, 1, 0.1), (9, 2, 1, 1, 0.1), (9, 0, 1, -1, 0.1), (9, 0, 1, 1, math.nan)],
)
def test_a_ratio_needs_sensible_arguments(
    population: int, lower: float, upper: float, count: float, epsilon: float
) -> None:
    with pytest.raises(ValueError, match="need population >= 0"):
        RatioBetting(population, lower, upper, count, epsilon, DELTA)


@pytest.mark.parametrize("member", [(5.0, -1.0), (5.0, 3.5), (9.0, 2.0), (-1.0, 2.0), (1.0, 0.0)])
def test_a_ratio_refuses_members_outside_of_its_bounds(member: tuple[float, float]) -> None:
    betting = RatioBetting(9, 0, 4, 3, 0.1, DELTA)
    with pytest.raises(ValueError, match="outside of the declared bounds"):
        betting.update(*member)
    assert (betting.samples, betting.low, betting.high) == (0, 0, 4)


def test_a_ratio_refuses_one_member_too_many() -> None:
    betting = RatioBetting(1, 0, 4, 3, 0.1, DELTA)
    betting.update(6, 3)
    assert betting.finished
    assert (betting.low, betting.estimate, betting.high) == (2, 2, 2)
    with pytest.raises(ValueError, match="none left"):
        betting.update(6, 3)


def test_a_ratio_without_members_or_range_is_known_at_once() -> None:
    nothing = RatioBetting(0, 0, 4, 3, 0.1, DELTA)
    assert (nothing.empty, nothing.finished, nothing.low, nothing.high) == (True, True, 0, 4)
    assert nothing.remaining() == 0
    known = RatioBetting(0, 0, 4, 3, 0.1, DELTA, known=(30, 10))
    assert (known.low, known.estimate, known.high) == (3, 3, 3)
    constant = RatioBetting(50, 7, 7, 3, 0.1, DELTA)
    assert (constant.low, constant.estimate, constant.high) == (7, 7, 7)
    assert not constant.finished  # no object was seen: there may be no ratio
    assert 1 <= constant.remaining() <= 50


def test_known_members_bound_a_ratio_before_any_draw() -> None:
    betting = RatioBetting(10, 0, 100, 2, 1.0, DELTA, known=(6000, 100))
    assert betting.low == pytest.approx(6000 / 120)
    assert betting.high == pytest.approx((6000 + 100 * 20) / 120)
    assert betting.low <= betting.estimate <= betting.high


@pytest.mark.parametrize(("shift", "epsilon"), [(0.0, 0.05), (-200.0, 0.05)])
def test_a_relative_ratio_meets_its_target(shift: float, epsilon: float) -> None:
    """Shifted by -200 the ratio is negative, and counts by its size."""
    members = [(top + shift * count, count) for top, count in street(3000, seed=4)]
    truth = sum(t for t, _ in members) / sum(c for _, c in members)
    betting = RatioBetting(3000, shift, shift + 100, 3, epsilon, DELTA, relative=True)
    assert betting.tolerance == pytest.approx(0 if shift == 0 else 5)  # 0 is still possible
    forecasts: list[int] = []
    for member in members:
        if betting.finished:
            break
        forecasts.append(betting.remaining())
        assert 1 <= forecasts[-1] <= 3000 - betting.samples
        betting.update(*member)
    assert 0 < betting.samples < 3000
    assert betting.remaining() == 0
    assert abs(betting.estimate - truth) <= epsilon * abs(truth)
    assert betting.low <= truth <= betting.high


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_every_ratio_is_exact_once_all_is_drawn(seed: int, size: int) -> None:
    members = street(size, seed)
    betting = RatioBetting(size, 40, 80, 3, 0.0, DELTA)
    for member in members:
        betting.update(*member)
    tops, bottoms = (sum(column) for column in zip(*members, strict=True))
    assert betting.finished
    if bottoms:
        assert betting.estimate == pytest.approx(tops / bottoms, rel=1e-9)
    else:
        assert betting.empty


# --- the central limit theorem -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("population", "upper", "epsilon", "delta"),
    [(-1, 1, 0.1, 0.05), (9, -1, 0.1, 0.05), (9, 1, -0.1, 0.05), (9, 1, 0.1, 0), (9, 1, 0.1, 1)],
)
def test_an_asymptotic_mean_needs_sensible_arguments(
    population: int, upper: float, epsilon: float, delta: float
) -> None:
    with pytest.raises(ValueError, match="need population >= 0"):
        AsymptoticMean(population, upper, epsilon, delta)


def test_an_asymptotic_mean_refuses_values_outside_and_one_too_many() -> None:
    mean = AsymptoticMean(1, 4, 0.1, DELTA)
    for value in (-0.5, 4.5):
        with pytest.raises(ValueError, match="outside"):
            mean.update(value)
    mean.update(3)
    assert (mean.low, mean.estimate, mean.high, mean.finished) == (3, 3, 3, True)
    assert mean.remaining() == 0
    with pytest.raises(ValueError, match="none left"):
        mean.update(3)


def test_the_guards_hold_back_the_first_look() -> None:
    """Only certain bounds while there are too few uncommon values, or the mean is lopsided."""
    mean = AsymptoticMean(100_000, 1, 0.1, DELTA)
    for _ in range(5000):
        mean.update(0)
    assert (mean.low, mean.high) == (0, pytest.approx(0.95))
    for _ in range(24):  # more than ODD, but 25 (1 - 2 p)^2 / q are wanted
        mean.update(1)
    assert ODD < 24
    assert mean.high > 0.9
    for _ in range(200):
        mean.update(1)
    assert mean.high < 0.06
    assert mean.finished


def test_a_budget_that_ends_too_soon_gets_the_interval_that_it_paid_for() -> None:
    random = np.random.default_rng(5)
    mean = AsymptoticMean(100_000, 4, 0.01, DELTA)
    for value in random.uniform(0, 4, 3000).tolist():
        mean.update(value)
    before = mean.high - mean.low
    mean.settle()
    width = mean.high - mean.low
    assert width < 0.8 * before
    assert width == pytest.approx(2 * 2.005 * np.sqrt(16 / 12 / 3000 * 0.97), rel=0.05)
    mean.settle()
    for value in random.uniform(0, 4, 3000).tolist():
        mean.update(value)
    assert mean.high - mean.low == width  # delta is spent
    few = AsymptoticMean(100_000, 4, 0.01, DELTA)
    few.update(1)
    few.settle()
    assert few.high > 3.9


@pytest.mark.parametrize(("offset", "share"), [(0.0, 1.0), (2.0, 0.5)])
def test_a_relative_asymptotic_mean(offset: float, share: float) -> None:
    """The answer is offset + share * mean, and the tolerance is that of the mean."""
    values: list[float] = np.random.default_rng(2).uniform(0, 4, 20_000).tolist()
    mean = AsymptoticMean(20_000, 4, 0.05, DELTA, relative=True, offset=offset, share=share)
    assert mean.tolerance == pytest.approx(0.05 * offset / share)
    for value in values:
        if mean.finished:
            break
        assert 1 <= mean.remaining() <= 20_000 - mean.samples
        assert mean.low <= mean.estimate <= mean.high
        mean.update(value)
    truth = offset + share * sum(values) / len(values)
    assert 30 <= mean.samples < 1_000 + 4_000 * (share == 1)
    assert abs(offset + share * mean.estimate - truth) <= 0.05 * truth


def test_looks_that_contradict_each_other_leave_a_point() -> None:
    """The stream is not random: the second look excludes all that the first left."""
    mean = AsymptoticMean(1_000_000, 1, 1e-9, DELTA)
    mean.epsilon = 0.0005
    for i in range(4000):
        mean.update(float(i % 2) / 10)
    assert mean.high < 0.2
    for i in range(400_000):
        mean.update(1 - float(i % 2) / 10)
    assert mean.low == mean.high
    assert 0 <= mean.low < 0.2
