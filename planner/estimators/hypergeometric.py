"""The hypergeometric distribution function from log-gamma; `scipy.stats` loads for a second."""

from __future__ import annotations

import numpy as np


def cdf(count: int, population: int, marked: int, drawn: int) -> float:
    """Return the chance of at most `count` marked ones among `drawn` without replacement.

    >>> round(cdf(1, 10, 4, 3), 6)
    0.666667
    """
    least, most = max(0, drawn - (population - marked)), min(drawn, marked)
    if count >= most:
        return 1.0
    if count < least:
        return 0.0
    k = np.arange(least, count + 1, dtype=np.float64)
    logs = _choose(marked, k) + _choose(population - marked, drawn - k)
    return float(min(np.exp(logs - _choose(population, drawn)).sum(), 1.0))


def _choose(n: float, k: np.ndarray | float) -> np.ndarray:
    """Return the logarithm of the binomial coefficient."""
    from scipy import special

    return special.gammaln(n + 1) - special.gammaln(np.asarray(k) + 1) - special.gammaln(n - k + 1)
