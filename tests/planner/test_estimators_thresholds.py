"""Thresholds on labelled frames: the rates hold there, and only what is in doubt is looked at."""

import math

import numpy as np
import pytest

from foveal.planner.estimators.belief import Array, Mask, by_score
from foveal.planner.estimators.selection import ACCEPTED, REJECTED
from foveal.planner.estimators.thresholds import LEAST, ThresholdRun, thresholds


def scene(seed: int, count: int, share: float, apart: float) -> tuple[Array, Mask]:
    """Return scores and labels: two normal laws `apart`, `share` of the frames true."""
    rng = np.random.default_rng(seed)
    labels = rng.random(count) < share
    return rng.normal(size=count) + apart * labels, labels


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("fnr", "fpr"), [(0.01, 0.01), (0.1, 0.02), (0.0, 0.0)])
def test_rates_hold_on_the_labelled_frames(seed: int, fnr: float, fpr: float) -> None:
    scores, labels = scene(seed, 600, 0.2, 2.5)
    low, high = thresholds(scores, labels, fnr, fpr)
    assert (labels & (scores <= low)).sum() <= fnr * labels.sum()
    assert (~labels & (scores >= high)).sum() <= fpr * (~labels).sum()
    # One labelled frame more on either side would break a rate, but for the step to the safe side.
    above = np.sort(scores[scores > low])
    if math.isfinite(low) and low < np.nextafter(high, -math.inf):
        assert (labels & (scores <= above[1])).sum() > fnr * labels.sum()


def test_a_rate_not_given_leaves_its_side_open() -> None:
    scores, labels = scene(1, 400, 0.3, 3.0)
    assert thresholds(scores, labels, None, 0.05)[0] == -math.inf
    assert thresholds(scores, labels, 0.05, None)[1] == math.inf


def test_few_labels_of_a_kind_choose_nothing() -> None:
    scores, labels = scene(2, 400, 0.0, 3.0)
    labels[: LEAST - 1] = True
    assert thresholds(scores, labels, 0.3, 0.3) == (-math.inf, math.inf)
    assert thresholds(scores, ~labels, 0.3, 0.3) == (-math.inf, math.inf)


@pytest.mark.parametrize("fpr", [None, 0.02])
def test_a_run_ends_with_nothing_in_doubt(fpr: float | None) -> None:
    scores, labels = scene(3, 4000, 0.1, 4.0)
    known = np.zeros(4000, np.bool_)
    known[::10] = True
    asked = np.ones(4000, np.bool_)
    asked[2000:] = False
    run = ThresholdRun(by_score(scores), known, labels, asked, fnr=0.02, fpr=fpr)
    while (batch := run.next_batch()) is not None:
        assert asked[batch].all(), "frames that were not asked for only teach"
        run.add(labels[batch])
    assert run.finished
    result = run.result()
    assert 0 < result.looked < 1000
    accepted = result.decisions == ACCEPTED
    assert accepted.any() == (fpr is not None)
    assert not result.met
    assert not result.exact
    assert (result.fnr, result.fpr) == (1.0, float(fpr is not None)), "nothing is certain"
    missed = (result.decisions == REJECTED) & labels & asked
    assert missed.sum() <= 0.1 * (labels & asked).sum()


def test_scores_that_tell_nothing_have_every_frame_looked_at() -> None:
    _, labels = scene(4, 1000, 0.2, 0.0)
    known = np.zeros(1000, np.bool_)
    known[::5] = True
    noise = np.random.default_rng(9).normal(size=1000)
    run = ThresholdRun(by_score(noise), known, labels, np.ones(1000, np.bool_), fnr=0.0, fpr=None)
    while (batch := run.next_batch()) is not None:
        run.add(labels[batch])
    assert run.looked > 700


def test_labels_must_fit_the_batch() -> None:
    scores, labels = scene(5, 500, 0.2, 1.0)
    known = np.zeros(500, np.bool_)
    known[::4] = True
    run = ThresholdRun(by_score(scores), known, labels, np.ones(500, np.bool_), fnr=0.0, fpr=0.0)
    with pytest.raises(ValueError, match="label per frame"):
        run.add(labels[:3])
    with pytest.raises(ValueError, match="one length"):
        ThresholdRun(by_score(scores), known, labels, known[:3], fnr=0.0, fpr=0.0)
