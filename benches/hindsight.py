"""What no rule can know: the calls of the best time predictor chosen after seeing every frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from populations import Array

from foveal.planner.estimators import FrameGroup, MeanTarget, SamplingRun

Frames = npt.NDArray[np.int64]

SIDE = 4
"""Observed neighbours on either side that predict a frame."""
TARGETS = 2000
"""Frames whose prediction is judged."""
JUDGED = 120_000
"""Frames that the product's rule samples from, where there are more: it needs a score for each."""
CHUNK = 20_000


def floor_calls(values: Array, epsilon: float, seed: int = 5) -> int:
    """Return n for which n random frames, and what they tell of all others, reach epsilon.

    Every frame is predicted by the linear combination of its nearest SIDE observed frames on
    either side that is best under the autocovariance of all frames, and the normal law's
    z s / sqrt(n) is asked of what is left over: no rule without pixels can be expected below it.
    """
    size = values.shape[0]
    covariance = _autocovariance(values)
    low, high = 8, size // 2
    while high - low > max(low // 50, 1):
        n = (low + high) // 2
        left = _left_over(values, covariance, n, seed)
        needed = (1.96 / epsilon) ** 2 * left
        low, high = (low, n) if needed / (1 + needed / size) <= n else (n, high)
    return high


def _autocovariance(values: Array) -> Array:
    """Return the covariance of frames k apart, float64 [frames]."""
    size = values.shape[0]
    apart = values - values.mean()
    spectrum = np.fft.rfft(apart, 2 * size)
    products = np.fft.irfft(spectrum * np.conj(spectrum), 2 * size)[:size]
    return np.asarray(products, np.float64) / size


def valid_calls(
    values: Array, upper: float, epsilon: float, delta: float, *, runs: int = 4, seed: int = 5
) -> tuple[float, float]:
    """Return what the product's own rule takes when it is told that predictor: (before, in turn).

    Before: the predictor of `floor_calls` from n random frames, n being the calls that then come
    out, is every frame's score from the first draw on. In turn: scores come from the frames that
    the run itself has drawn by then, anew whenever these are a third more; only the covariance is
    known beforehand. `SamplingRun` samples with the scores and without its own prediction in time.
    No rule that bets as the product does can be expected below the first, and none that has to draw
    what it predicts from below the second.
    """
    size = values.shape[0]
    covariance = _autocovariance(values)
    rng = np.random.default_rng(seed)
    every = np.arange(size, dtype=np.int64)
    judged: Frames = rng.permutation(every)[: min(JUDGED, size)]
    judged.sort()
    low, high = 8, size // 2
    while high - low > max(low // 25, 1):
        n = round((low * high) ** 0.5)
        drawn: Frames = np.random.default_rng([seed, n]).permutation(every)[:n]
        drawn.sort()
        scores = _guess(values, covariance, drawn, judged)
        calls = _sampled(values[judged], scores, upper, epsilon, delta, runs)
        low, high = (low, n) if calls <= n else (n, high)
    asked = values, covariance, judged, upper, epsilon, delta
    return float(high), float(np.mean([_in_turn(*asked, one) for one in range(runs)]))


def _in_turn(
    values: Array,
    covariance: Array,
    judged: Frames,
    upper: float,
    epsilon: float,
    delta: float,
    seed: int,
) -> int:
    """Return the calls of a run whose scores come from its own draws."""
    frames = np.arange(judged.shape[0], dtype=np.int64)
    group = FrameGroup(frames, (MeanTarget(upper, epsilon, integer=True),))
    run = SamplingRun([group], seed=seed, delta=delta, temporal=False)
    seen = np.zeros(judged.shape[0], np.bool_)
    wait = 32
    while (batch := run.next_batch(max(wait - run.observed, 1))) is not None:
        run.add(batch, values[judged[batch]])
        seen[batch] = True
        if run.observed >= wait:
            wait = run.observed * 4 // 3
            run.use_scores(frames, _guess(values, covariance, judged[seen], judged))
    return run.intervals()[0].samples


def _sampled(
    values: Array, scores: Array, upper: float, epsilon: float, delta: float, runs: int
) -> float:
    """Return the mean calls of the product's sampling with these scores."""
    frames = np.arange(values.shape[0], dtype=np.int64)
    group = FrameGroup(frames, (MeanTarget(upper, epsilon, integer=True),))
    calls = 0
    for seed in range(runs):
        run = SamplingRun([group], seed=seed, delta=delta, temporal=False)
        run.use_scores(frames, scores)
        while (batch := run.next_batch()) is not None:
            run.add(batch, values[batch])
        calls += run.intervals()[0].samples
    return calls / runs


def _left_over(values: Array, covariance: Array, n: int, seed: int) -> float:
    """Return the mean square of value - prediction over frames that were not drawn."""
    rng = np.random.default_rng([seed, n])
    size = values.shape[0]
    drawn: Frames = np.sort(rng.choice(size, n, replace=False))
    wanted = np.setdiff1d(rng.integers(0, size, TARGETS), drawn)
    return float(np.mean((values[wanted] - _guess(values, covariance, drawn, wanted)) ** 2))


def _guess(values: Array, covariance: Array, drawn: Frames, wanted: Frames) -> Array:
    """Return the prediction of each wanted frame by its nearest drawn ones other than itself."""
    parts = [
        _guess_part(values, covariance, drawn, wanted[at : at + CHUNK])
        for at in range(0, wanted.shape[0], CHUNK)
    ]
    return np.concatenate(parts)


def _guess_part(values: Array, covariance: Array, drawn: Frames, wanted: Frames) -> Array:
    n = drawn.shape[0]
    place = np.searchsorted(drawn, wanted)
    own = drawn[np.minimum(place, n - 1)] == wanted
    first = np.clip(place - SIDE, 0, max(n - 2 * SIDE - 1, 0))
    index = first[:, None] + np.arange(2 * SIDE)
    index += own[:, None] & (index >= place[:, None])  # a drawn frame does not tell of itself
    near = drawn[np.minimum(index, n - 1)]
    within: Array = covariance[np.abs(near[:, :, None] - near[:, None, :])]
    within += 1e-9 * covariance[0] * np.eye(2 * SIDE)
    across: Array = covariance[np.abs(near - wanted[:, None])]
    solved = np.linalg.solve(within, across[:, :, None])
    weights = np.asarray(solved[:, :, 0], np.float64)
    mean = float(values.mean())
    return np.asarray(mean + ((values[near] - mean) * weights).sum(axis=1), np.float64)


def noisy_scores(values: Array, r2: float, seed: int = 1) -> Array:
    """Return an invented proxy: scores in the values' unit, of squared correlation r2 with them."""
    noise: Array = np.random.default_rng(seed).standard_normal(len(values))
    spread = float(values.std()) * (1 / r2 - 1) ** 0.5
    mean = float(values.mean())
    return mean + r2 * (values + spread * noise - mean)
