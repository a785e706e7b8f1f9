"""What no rule can know: the calls of the best time predictor chosen after seeing every frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from populations import Array

SIDE = 4
"""Observed neighbours on either side that predict a frame."""
TARGETS = 2000
"""Frames whose prediction is judged."""


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


def _left_over(values: Array, covariance: Array, n: int, seed: int) -> float:
    """Return the mean square of value - prediction over frames that were not drawn."""
    rng = np.random.default_rng([seed, n])
    size = values.shape[0]
    drawn: npt.NDArray[np.int64] = np.sort(rng.choice(size, n, replace=False))
    wanted = np.setdiff1d(rng.integers(0, size, TARGETS), drawn)
    first = np.clip(np.searchsorted(drawn, wanted) - SIDE, 0, max(n - 2 * SIDE, 0))
    near = drawn[np.minimum(first[:, None] + np.arange(2 * SIDE), n - 1)]
    within: Array = covariance[np.abs(near[:, :, None] - near[:, None, :])]
    within += 1e-9 * covariance[0] * np.eye(2 * SIDE)
    across: Array = covariance[np.abs(near - wanted[:, None])]
    solved = np.linalg.solve(within, across[:, :, None])
    weights = np.asarray(solved[:, :, 0], np.float64)
    mean = float(values.mean())
    guess: Array = mean + ((values[near] - mean) * weights).sum(axis=1)
    return float(np.mean((values[wanted] - guess) ** 2))


def noisy_scores(values: Array, r2: float, seed: int = 1) -> Array:
    """Return an invented proxy: scores in the values' unit, of squared correlation r2 with them."""
    noise: Array = np.random.default_rng(seed).standard_normal(len(values))
    spread = float(values.std()) * (1 / r2 - 1) ** 0.5
    mean = float(values.mean())
    return mean + r2 * (values + spread * noise - mean)
