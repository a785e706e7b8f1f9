"""Windows of a stream: intervals aimed at a budget hold, and the interpolated estimate is right."""

import numpy as np
import pytest

from foveal.planner.estimators import FrameGroup, MeanTarget, SamplingRun
from foveal.planner.estimators.windows import aim, interpolated_mean

UPPER = 20.0


def wave(seed: int, frames: int = 200) -> np.ndarray:
    """Return counts like a camera's: they change a few times within a window."""
    rng = np.random.default_rng(seed)
    changes = rng.poisson(6)
    level = rng.integers(0, 6, changes + 1)
    at = np.sort(rng.integers(0, frames, changes))
    return level[np.searchsorted(at, np.arange(frames), side="right")].astype(float)


def look(values: np.ndarray, calls: int, delta: float, seed: int) -> tuple[float, float, float]:
    """Return estimate, low and high as a window's look gives them."""
    size = len(values)
    target = MeanTarget(upper=UPPER, epsilon=aim(size, calls, UPPER, delta) or None, integer=True)
    group = FrameGroup(np.arange(size, dtype=np.int64), (target,))
    run = SamplingRun([group], delta=delta, seed=seed, temporal=False)
    places: list[np.ndarray] = []
    left = calls
    while left > 0 and (batch := run.next_batch(limit=left)) is not None:
        run.add(batch, values[batch])
        places.append(batch)
        left -= len(batch)
    (answer,) = run.intervals()
    assert answer.low is not None
    assert answer.high is not None
    seen = np.sort(np.concatenate(places))
    near = interpolated_mean(seen, values[seen], size)
    return min(max(near, answer.low), answer.high), answer.low, answer.high


def test_the_intervals_of_windows_hold() -> None:
    trials, delta = 150, 0.1
    missed = 0
    errors: list[float] = []
    widths: list[float] = []
    for seed in range(trials):
        values = wave(seed)
        estimate, low, high = look(values, 40, delta, seed)
        missed += not low - 1e-9 <= values.mean() <= high + 1e-9
        errors.append(estimate - values.mean())
        widths.append(high - low)
    # The chance of more than 28 misses in 150 at a rate of 0.1 is below 0.001.
    assert missed <= 28
    assert abs(np.mean(errors)) <= 4 * np.std(errors) / np.sqrt(trials)
    assert np.mean(widths) < 3.5


def test_rare_crowds_are_within_the_interval() -> None:
    missed = 0
    for seed in range(200):
        values = np.zeros(250)
        values[np.random.default_rng(seed).choice(250, 5, replace=False)] = UPPER
        _, low, high = look(values, 30, 0.1, seed)
        missed += not low - 1e-9 <= values.mean() <= high + 1e-9
    assert missed <= 34  # 0.001 at a rate of 0.1


def test_interpolation_beats_the_mean_of_the_sample() -> None:
    near: list[float] = []
    plain: list[float] = []
    rng = np.random.default_rng(1)
    for seed in range(100):
        values = wave(seed)
        places = np.sort(rng.choice(200, 40, replace=False)).astype(np.int64)
        near.append(interpolated_mean(places, values[places], 200) - values.mean())
        plain.append(float(values[places].mean() - values.mean()))
    assert np.square(near).mean() < 0.35 * np.square(plain).mean()


def test_what_is_all_known_is_exact() -> None:
    values = wave(3)
    assert interpolated_mean(np.arange(200), values, 200) == pytest.approx(values.mean())
    assert interpolated_mean(np.array([7]), np.array([2.0]), 50) == 2.0
    assert interpolated_mean(np.array([0, 49]), np.array([1.0, 3.0]), 50) == pytest.approx(2.0)


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_short_windows(size: int) -> None:
    values = np.arange(size, dtype=float)
    estimate, low, high = look(values, 50, 0.05, 0)
    assert (estimate, low, high) == pytest.approx((values.mean(),) * 3)


def test_the_aim_shrinks_with_the_budget() -> None:
    aims = [aim(250, calls, UPPER, 0.05) for calls in (5, 20, 60, 120, 240)]
    assert aims == sorted(aims, reverse=True)
    assert aim(250, 250, UPPER, 0.05) == 0
    assert aim(250, 0, UPPER, 0.05) == 0
    assert aim(0, 10, UPPER, 0.05) == 0
