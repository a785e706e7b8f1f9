"""What a user relies on in an estimate: its price in looks, no bias, and where frames come from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from foveal.planner.bind import bind
from foveal.planner.estimators import Costs, FrameGroup, Interval, MeanTarget, SamplingRun
from foveal.planner.explain import alternatives_of
from foveal.planner.lower import lower, needs_facts
from foveal.planner.parse.parser import parse
from foveal.planner.parse.statement import Query
from foveal.planner.physical import Alternative
from foveal.planner.protocols import FrameFacts, Snapshot
from foveal.planner.rules import RULES, optimize
from foveal.planner.tree import walk

Array = npt.NDArray[np.float64]
Frames = npt.NDArray[np.int64]


def finish(run: SamplingRun, values: Array) -> list[Interval]:
    while (batch := run.next_batch()) is not None:
        run.add(batch, values[batch])
    return run.intervals()


def answer(values: Array, target: MeanTarget, seed: int, **more: object) -> Interval:
    frames = np.arange(values.shape[0], dtype=np.int64)
    run = SamplingRun([FrameGroup(frames, (target,))], seed=seed, **more)  # pyright: ignore[reportArgumentType]
    (got,) = finish(run, values)
    return got


def counts(size: int, seed: int = 0) -> Array:
    """Counts of mean 1.2 and variance 1.2 that no neighbour tells anything of."""
    return np.minimum(np.random.default_rng(seed).poisson(1.2, size), 8).astype(np.float64)


@pytest.mark.parametrize("guarantee", ["finite", "asymptotic"])
def test_half_the_error_costs_four_times_the_looks(guarantee: str) -> None:
    values = counts(300_000)
    wide, narrow = (
        np.mean([
            answer(values, MeanTarget(8, epsilon, integer=True), seed, guarantee=guarantee,
                   temporal=False).samples
            for seed in range(3)
        ])
        for epsilon in (0.08, 0.04)
    )  # fmt: skip
    assert 0.7 < narrow / wide / 4 < 1.3


@pytest.mark.parametrize("guarantee", ["finite", "asymptotic"])
def test_more_confidence_costs_more_looks(guarantee: str) -> None:
    values = counts(100_000)
    target = MeanTarget(8, 0.08, integer=True)
    usual, sure = (
        np.mean([
            answer(values, target, seed, guarantee=guarantee, delta=delta).samples
            for seed in range(4)
        ])
        for delta in (0.05, 0.01)
    )  # fmt: skip
    assert sure > 1.2 * usual
    # As much as the normal law says, or as the logarithm of a confidence sequence.
    assert sure < 2.2 * usual


def populations() -> dict[str, tuple[Array, MeanTarget]]:
    rng = np.random.default_rng(4)
    rare = np.zeros(3000)
    rare[rng.choice(3000, 30, replace=False)] = 1.0
    level = np.minimum(np.round(np.repeat(rng.gamma(1.5, 0.8, 100), 30)), 8)
    crowded = np.minimum(rng.poisson(6.0, 2000), 8).astype(np.float64)
    signed = rng.normal(0.0, 0.5, 2000).clip(-2, 2)
    return {
        "counts": (counts(2000), MeanTarget(8, 0.25, integer=True)),
        "rare": (rare, MeanTarget(1, 0.02, integer=True)),
        "slow": (level, MeanTarget(8, 0.2, integer=True)),
        "many at the highest count": (crowded, MeanTarget(8, 0.3, integer=True)),
        "around nothing": (signed, MeanTarget(2, 0.1, lower=-2)),
    }


def after(looks: int, values: Array, target: MeanTarget, seed: int) -> float:
    """Return the estimate at a number of looks that was fixed beforehand."""
    open_ended = MeanTarget(target.upper, None, lower=target.lower, integer=target.integer)
    frames = np.arange(values.shape[0], dtype=np.int64)
    run = SamplingRun([FrameGroup(frames, (open_ended,))], seed=seed)
    while run.observed < looks and (batch := run.next_batch(looks - run.observed)) is not None:
        run.add(batch, values[batch])
    (got,) = run.intervals()
    assert got.samples == looks
    assert got.estimate is not None
    return got.estimate


@pytest.mark.parametrize("name", populations())
def test_the_mean_signed_error_is_nothing(name: str) -> None:
    """Within three standard errors of 0, over seeds: |mean| or tops that are cut would show."""
    values, target = populations()[name]
    errors = np.array([after(50, values, target, seed) - values.mean() for seed in range(100)])
    assert errors.std() > 0
    assert abs(errors.mean()) < 3 * errors.std(ddof=1) / np.sqrt(len(errors))


@pytest.mark.parametrize("name", ["counts", "rare", "slow"])
def test_stopping_at_the_error_leans_by_a_fraction_of_it(name: str) -> None:
    """Where high values are rarer than low ones, the interval and with it the estimate lean up.

    It may be moved off the mean to lie within the error of every value of the interval.
    """
    values, target = populations()[name]
    assert target.epsilon is not None
    errors = np.array([
        (answer(values, target, seed).estimate or 0.0) - values.mean() for seed in range(40)
    ])  # fmt: skip
    assert (np.abs(errors) <= target.epsilon).mean() >= 0.85
    assert abs(errors.mean()) < 0.6 * target.epsilon


def starts_are_cheap(frames: Frames) -> float:
    """Seconds of decoding where every twelfth frame is a keyframe: the others need those before."""
    return float((frames % 12 + 1).sum()) * 0.01


@pytest.mark.parametrize("temporal", [False, True])
def test_frames_are_drawn_from_all_places_however_dear(temporal: bool) -> None:
    values = counts(2400)
    drawn = np.zeros(12)
    where = np.zeros(10)
    for seed in range(40):
        run = SamplingRun(
            [FrameGroup(np.arange(2400), (MeanTarget(8, 0.2, integer=True),))],
            seed=seed, costs=Costs(decode=starts_are_cheap), temporal=temporal,
        )  # fmt: skip
        batch = run.next_batch()
        assert batch is not None
        drawn += np.bincount(batch % 12, minlength=12)
        where += np.bincount(batch // 240, minlength=10)
        run.add(batch, values[batch])
    assert stats.chisquare(drawn).pvalue > 0.001
    assert stats.chisquare(where).pvalue > 0.001


def test_groups_draw_independently() -> None:
    """One stream of random numbers for two groups would draw the same places of both."""
    common: list[int] = []
    for seed in range(40):
        target = (MeanTarget(8, 0.1, integer=True),)
        groups = [FrameGroup(np.arange(a, a + 1000), target) for a in (0, 1000)]
        batch = SamplingRun(groups, seed=seed).next_batch()
        assert batch is not None
        first, second = batch[batch < 1000], batch[batch >= 1000] - 1000
        assert len(first) == len(second) >= 8
        common.append(len(np.intersect1d(first, second)))
    assert np.mean(common) < 1  # by chance 0.06 of 8; all 8 if they shared a stream


def alternatives(snapshot: Snapshot, guarantee: str) -> list[Alternative]:
    given = Snapshot(video_tables=snapshot.video_tables, settings={"guarantee": guarantee})
    query = parse(
        "SELECT FCOUNT(*) FROM street WHERE class = 'car' ERROR WITHIN 0.001", given.names()
    )
    assert isinstance(query, Query)
    logical, _ = optimize(bind(query, given).plan, RULES, check=True)
    facts = FrameFacts(1500, 0, 125)
    plan = lower(logical, given, dict.fromkeys(needs_facts(logical), facts))
    return [a for node in walk(plan) for a in alternatives_of(node)]


@pytest.mark.parametrize("guarantee", ["exact", "finite", "asymptotic", "none"])
def test_a_proxy_alone_is_an_alternative_only_where_no_guarantee_is_asked_for(
    bound_snapshot: Snapshot, guarantee: str
) -> None:
    found = alternatives(bound_snapshot, guarantee)
    rewriting = [a for a in found if a.name == "rewrite"]
    assert bool(rewriting) == (guarantee == "none")
    assert all(a.guarantee == "none" for a in rewriting)
    order = ("exact", "finite", "asymptotic", "none")
    assert all(
        order.index(a.guarantee) <= order.index(guarantee) for a in found if a.applies
    )  # fmt: skip
