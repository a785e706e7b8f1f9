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
