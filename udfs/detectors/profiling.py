"""A detector in, its seconds per frame on this machine out."""

from __future__ import annotations

import statistics
import time

import numpy as np

from foveal.planner.protocols import Detector

WARM_UP = 3
CALLS = 10
BUDGET = 1.5
"""Seconds that a profile may take; a slow detector is timed on fewer calls, at least one."""


def profile(detector: Detector, height: int, width: int) -> float:
    """Return the median wall seconds that `detect` takes for one picture of that size.

    Runs up to three calls to warm up and up to ten timed ones within `BUDGET` seconds. The picture
    is seeded noise: a network's time does not depend on what is to be seen.
    """
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    begin = time.perf_counter()
    times: list[float] = []
    for _ in range(WARM_UP + CALLS):
        start = time.perf_counter()
        detector.detect([picture])
        end = time.perf_counter()
        times.append(end - start)
        if end - begin + times[-1] > BUDGET:
            break
    timed = times[WARM_UP:] if len(times) > WARM_UP else times[-1:]
    return statistics.median(timed)
