"""Forecasts of detector calls: limits, order, and what sampling then really takes."""

from __future__ import annotations

import numpy as np
import pytest

from foveal.planner.estimators import FrameGroup, MeanTarget, SamplingRun, forecast


def calls(epsilon: float | None = 0.1, **changed: float | str | bool | None) -> float:
    asked = {
        "population": 36_000, "known": 0, "upper": 8.0, "deviation": 1.0, "delta": 0.05
    } | changed  # fmt: skip
    return forecast(epsilon=epsilon, **asked).calls  # pyright: ignore[reportArgumentType]


def test_limits() -> None:
    assert calls(known=36_000) == 0
    assert calls(None) == calls(0.0) == calls(guarantee="exact") == 36_000
    assert calls(1e-9) == 36_000
    assert calls(upper=0.0) == 36_000


def test_order() -> None:
    assert calls(0.05) > calls(0.1) > calls(0.2)
    assert calls(delta=0.005) > calls()
    assert calls(upper=20.0) > calls()
    assert calls(deviation=2.0) > calls()
    assert calls(known=18_000) < calls()
    assert calls(temporal=True) < calls()
    assert calls(deviation=0.0) >= np.log(40) * 8 / (2 * 0.1)
    assert 0.5 < calls(0.02, population=10**9) / calls(0.01, population=10**9) * 4 < 2


def test_a_proxy_is_priced_by_what_it_explains() -> None:
    assert calls(0.05, r2=0.95) < calls(0.05, r2=0.8) < calls(0.05, r2=0.5) < calls(0.05)
    assert calls(0.05, r2=0.5, temporal=True) <= min(
        calls(0.05, r2=0.5), calls(0.05, temporal=True)
    )
    assert calls(0.05, temporal=True, r2_time=0.6) < calls(0.05, temporal=True)
    assert calls(0.05, guarantee="asymptotic", r2=0.8) < calls(0.05, guarantee="asymptotic")
    # However good, a rare frame that it misses must be ruled out.
    assert calls(0.1, r2=1.0) >= np.log(40) * 8 / (2 * 0.1)


@pytest.mark.parametrize(("r2", "epsilon"), [(0.5, 0.05), (0.9, 0.05), (0.9, 0.1)])
def test_within_twice_of_what_a_proxy_leaves_to_do(r2: float, epsilon: float) -> None:
    rng = np.random.default_rng(2)
    values = np.minimum(rng.poisson(1.2, 20_000), 8).astype(float)
    scores = values.mean() + r2 * (
        values + rng.standard_normal(20_000) * values.std() * np.sqrt(1 / r2 - 1) - values.mean()
    )
    expected = calls(
        epsilon, population=20_000, deviation=float(values.std()), mean=1.2, r2=r2
    )  # fmt: skip
    frames = np.arange(20_000)
    taken: list[int] = []
    for seed in range(4):
        run = SamplingRun([FrameGroup(frames, (MeanTarget(8, epsilon, integer=True),))], seed=seed)
        run.use_scores(frames, scores)
        while (batch := run.next_batch()) is not None:
            run.add(batch, values[batch])
        taken.append(run.observed)
    assert 0.6 < expected / float(np.mean(taken)) < 1.6


@pytest.mark.parametrize(
    ("rate", "upper", "epsilon"), [(1.0, 8, 0.1), (0.3, 8, 0.1), (2.0, 20, 0.2)]
)
def test_within_twice_of_what_sampling_takes(rate: float, upper: float, epsilon: float) -> None:
    values = np.minimum(np.random.default_rng(1).poisson(rate, 20_000), upper).astype(float)
    expected = forecast(
        population=20_000, known=0, upper=upper, epsilon=epsilon, deviation=float(values.std()),
        delta=0.05, mean=rate,
    ).calls  # fmt: skip
    group = FrameGroup(np.arange(20_000), (MeanTarget(upper, epsilon, integer=True),))
    taken: list[int] = []
    for seed in range(5):
        run = SamplingRun([group], seed=seed)
        while (batch := run.next_batch()) is not None:
            run.add(batch, values[batch])
        taken.append(run.observed)
    assert 0.5 < expected / float(np.mean(taken)) < 2
