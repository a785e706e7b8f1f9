"""How many frames to ask for next: few decoding passes against few detector calls too many."""

from __future__ import annotations

import math

import numpy as np

from foveal.planner.estimators.targets import Costs, Frames

SPREAD = 0.15
"""Assumed log-normal spread of the samples really needed around their forecast."""
EXTRA = 0.08
"""Repeated decoding may make sampling dearer than the naive plan by this fraction of it."""
SLACK = 0.45
"""And by so many seconds, however short the naive plan is."""

# Quantiles of the need, in units of its forecast.
_NEEDS = np.exp(SPREAD * np.array([-1.5, -1.0, -0.67, -0.39, -0.13, 0.13, 0.39, 0.67, 1.0, 1.5]))


def repeat_price(draws: Frames, need: int, costs: Costs) -> float:
    """Return the seconds lost by fetching `need` frames in two passes instead of one.

    Args:
        draws: the next frames in drawn order, at least `need` of them where there are.
        need: how many are forecast.
        costs: prices.
    """
    first = np.sort(draws[: max(need // 2, 1)])
    second = np.sort(draws[max(need // 2, 1) : max(need, 2)])
    both = np.sort(draws[: max(need, 2)])
    apart = costs.decode(first) + (costs.decode(second) if second.shape[0] else 0.0)
    return max(apart - costs.decode(both), 0.0)


def batch_fraction(need: int, repeat: float, costs: Costs) -> float:
    """Return the next batch's size as a multiple of the forecast `need`.

    Expected loss of a batch of b frames: a repeated pass for every further batch, and a detector
    call for every frame beyond the need. With free seeking the smallest batch wins, on video with
    few key frames about one batch does.
    """
    smallest = min(max(costs.batch / need, 0.03), 1.0)
    best, best_loss = 1.0, math.inf
    for fraction in (smallest, 0.1, 0.2, 0.35, 0.5, 0.75, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5):
        if fraction < smallest:
            continue
        further = np.ceil(_NEEDS / fraction - 1e-9) - 1
        # Later batches are sized anew, so that they overshoot by less than the first.
        beyond = np.where(further > 0, 0.15 * np.minimum(fraction, 1.0), fraction - _NEEDS)
        loss = float(np.mean(further * repeat + beyond * need * costs.detect))
        if loss < best_loss - 1e-12:
            best, best_loss = fraction, loss
    return best


def last_pass(
    batch: Frames, need: int, left: int, spent: float, naive: float, costs: Costs
) -> float:
    """Return 0, or by what to multiply the need when there will be no money for another pass.

    Args:
        batch: what would be fetched next, sorted.
        need: forecast of all samples still needed.
        left: frames not observed yet.
        spent: seconds so far.
        naive: seconds of the naive plan.
        costs: prices.
    """
    decode = costs.decode(batch)
    further = max(min(2 * need, left) - batch.shape[0], 0) * costs.detect + decode
    now = decode + batch.shape[0] * costs.detect
    if spent == 0 or spent + now + further <= (1 + EXTRA) * naive:
        return 0.0
    affordable = ((1 + EXTRA) * naive - spent - decode) / max(costs.detect, 1e-12)
    return min(max(affordable / need, 1.15), 2.0)


def scan_is_cheaper(rest: Frames, batch: Frames, need: int, costs: Costs) -> bool:
    """Return True when observing all `rest` frames now is no dearer than going on by samples.

    Args:
        rest: all frames not observed yet, sorted.
        batch: what would be fetched next, sorted.
        need: forecast of all samples still needed.
        costs: prices.
    """
    passes = max(math.ceil(need / max(batch.shape[0], 1)), 1)
    sample = need * (costs.detect + costs.sample) + passes * costs.decode(batch)
    return sample >= rest.shape[0] * costs.detect + costs.decode(rest)


def pilot_is_rash(rest: Frames, batch: Frames, need: int, worst: int, costs: Costs) -> bool:
    """Return True when a first batch could be in vain, and its price is more than what it may save.

    A pass over a file with few key frames is sunk, whatever was wanted of it. It does no harm where
    the whole stays within 10 % of the naive plan, even with values as variable as can be. Beyond
    that it is a wager: it loses the pass when the values vary so much that a scan must follow, and
    else wins what sampling saves. Both are taken to be as likely.

    Args:
        rest: all frames, sorted.
        batch: the first batch, sorted.
        need: forecast of the samples needed at the least possible variance.
        worst: the same at the largest possible one.
        costs: prices.
    """
    naive = rest.shape[0] * costs.detect + costs.decode(rest)
    first = costs.decode(batch)
    if first <= EXTRA * naive + SLACK:
        return False
    if first + costs.decode(rest) + 1.15 * worst * costs.detect <= (1 + EXTRA) * naive:
        return False
    typical = math.sqrt(max(need, 1) * max(worst, 1))
    sample = 2 * first + typical * (costs.detect + costs.sample)
    return naive - sample < first
