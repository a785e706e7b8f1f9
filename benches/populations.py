"""Populations that sampling rules are tried on: recorded traces and hostile inventions."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

TRACES = {
    "taipei": ("taipei-hires-car-2017-04-13-true.csv.gz", 8.0),
    "jackson": ("jackson-town-square-2017-12-17-true.csv.gz", 8.0),
    "archie": ("archie-day-car-2018-04-11-true.csv.gz", 5.0),
}
"""Counts per frame of day-long fixed cameras (stanford-futuredata/InQuest), and the K declared:
their largest counts are 8, 7 and 4."""


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """Values of all frames, in time order, with a bound and a half width to ask for.

    `ordinary` says that the values are like counts on a street: bulk, not rare or hostile.
    """

    name: str
    values: Array
    upper: float
    epsilon: float
    ordinary: bool = False
    integer: bool = True


def trace(name: str) -> Array | None:
    """Return a recorded trace, float64 [frames]; None where FOVEAL_ASSETS does not hold it."""
    file, _ = TRACES[name]
    for folder in os.environ.get("FOVEAL_ASSETS", "").split(os.pathsep):
        for path in sorted(Path(folder).glob(f"**/inquest/{file}")) if folder else ():
            with gzip.open(path, "rt") as lines:
                return np.array([float(line) for line in lines if line[:1].isdigit()])
    return None


def recorded() -> list[Population]:
    """Return the day-long traces, and 20 minutes of them at a tighter error."""
    found: list[Population] = []
    for name, (_, upper) in TRACES.items():
        values = trace(name)
        if values is not None:
            found.append(Population(f"{name}, day", values, upper, 0.1, ordinary=True))
            part = values[200_000:236_000]
            found.append(Population(f"{name}, 36 000 frames", part, upper, 0.1, ordinary=True))
    return found


def invented() -> list[Population]:
    """Return synthetic populations, most of them chosen to break a rule."""
    rng = np.random.default_rng(11)
    slow = np.repeat(rng.gamma(1.3, 1.0, 120), 10)
    ordinary = np.minimum(rng.poisson(slow), 8).astype(float)
    bursts = np.zeros(36_000)
    for start in rng.choice(35_000, 36, replace=False):
        bursts[start : start + 20] = rng.integers(1, 4)
    tail = np.minimum(np.floor(rng.pareto(1.6, 36_000)), 20.0)
    calm = np.repeat(rng.integers(0, 5, 60), 600).astype(float)
    calm[rng.choice(36_000, 110, replace=False)] = 8.0
    return [
        Population("1200 frames of a street", ordinary, 8, 0.1, ordinary=True),
        Population("400 frames of a street", ordinary[:400], 8, 0.2, ordinary=True),
        Population("0.1 % events", _events(36_000, 36, 1), 1, 0.002),
        Population("0.7 % events", _events(18_000, 126, 2), 1, 0.006),
        Population("2 % in bursts", bursts, 8, 0.05),
        Population("constant", np.ones(36_000), 8, 0.1),
        Population("0 or 8", rng.choice([0.0, 8.0], 36_000), 8, 0.5),
        Population("two frames", np.array([0.0, 8.0]), 8, 0.5),
        Population("heavy tail to 20", tail, 20, 0.2),
        Population("calm but for rare 8s", calm, 8, 0.1),
    ]


def _events(frames: int, events: int, seed: int) -> Array:
    values = np.zeros(frames)
    values[np.random.default_rng(seed).choice(frames, events, replace=False)] = 1.0
    return values
