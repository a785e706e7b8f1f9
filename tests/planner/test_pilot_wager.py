"""A first pass over video that is dear to seek in: when sampling is tried, when all is read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from foveal.planner.estimators import Costs, FrameGroup, MeanTarget, SamplingRun

FRAMES = 462
KEYS = np.array([0, 250])
COUNTS = np.minimum(np.random.default_rng(2).poisson(13, FRAMES) // 2 + 6, 17).astype(np.float64)


def prices(detect: float, whole: float) -> Costs:
    """Two groups of pictures: any pass of some frames decodes nearly all, in `whole` seconds."""

    def decode(frames: npt.NDArray[np.int64]) -> float:
        group = np.searchsorted(KEYS, frames, side="right") - 1
        last = np.flatnonzero(np.diff(group, append=-1))
        return float((frames[last] - KEYS[group[last]] + 1).sum()) * whole / FRAMES

    return Costs(detect=detect, decode=decode)


def observed(costs: Costs, guarantee: str, seed: int) -> int:
    group = FrameGroup(np.arange(FRAMES), (MeanTarget(20, 0.5, integer=True),))
    run = SamplingRun([group], seed=seed, guarantee=guarantee, costs=costs)
    while (batch := run.next_batch()) is not None:
        run.add(batch, COUNTS[batch])
    return run.observed


@pytest.mark.parametrize("guarantee", ["finite", "asymptotic"])
@pytest.mark.parametrize("whole", [1.1, 1.7, 2.3, 2.8])
def test_a_dear_pass_is_tried_where_sampling_should_save_more(whole: float, guarantee: str) -> None:
    """10.8 s of detecting, of which a quarter is needed: no price of a pass here justifies all."""
    for seed in range(5):
        assert observed(prices(10.8 / FRAMES, whole), guarantee, seed) < 0.45 * FRAMES


def test_a_detector_as_fast_as_a_pass_gets_every_frame() -> None:
    for seed in range(3):
        assert observed(prices(2.0 / FRAMES, 2.8), "finite", seed) == FRAMES
