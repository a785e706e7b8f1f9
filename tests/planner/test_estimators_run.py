"""The sampling driver: exactness, validity with everything on, batches, budgets, scans, ratios."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from foveal.planner.estimators import (
    Costs,
    FrameGroup,
    Interval,
    MeanTarget,
    RatioTarget,
    SamplingRun,
)
from foveal.planner.estimators.clipped import Clipped
from foveal.planner.estimators.draws import GroupDraws
from foveal.planner.estimators.shuffle import Shuffle
from foveal.planner.estimators.temporal import fit, predict

Array = npt.NDArray[np.float64]


def street(size: int, seed: int = 0, steps: int = 60) -> Array:
    """Counts that change slowly, as on a street."""
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.gamma(1.5, 0.8, -(-size // steps)), steps)[:size]
    return np.minimum(np.round(level + 0.3 * rng.standard_normal(size)), 8).clip(0)


def group(values: Array, *targets: MeanTarget | RatioTarget, **rest: Any) -> FrameGroup:
    return FrameGroup(np.arange(values.shape[0], dtype=np.int64), targets, **rest)


def finish(run: SamplingRun, values: Array, limit: int | None = None) -> list[Interval]:
    while (batch := run.next_batch(limit)) is not None:
        assert (np.diff(batch) > 0).all()
        run.add(batch, values[batch])
    return run.intervals()


def dear(_: npt.NDArray[np.int64]) -> float:
    """Seconds of a pass over long groups of pictures, whatever is wanted."""
    return 2.0


COUNT = MeanTarget(8, 0.2, integer=True)


def test_covers_with_predictions_and_rounds() -> None:
    values = street(5000)
    truth, misses = values.mean(), 0
    errors: list[float] = []
    calls: list[int] = []
    for seed in range(60):
        run = SamplingRun([group(values, COUNT)], seed=seed, costs=Costs(decode=dear))
        (got,) = finish(run, values)
        assert got.low is not None
        assert got.high is not None
        assert got.estimate is not None
        misses += not got.low <= truth <= got.high
        errors.append(got.estimate - truth)
        calls.append(got.samples)
        assert got.target_met
        assert got.guarantee == "finite"
    assert misses <= stats.binom.ppf(0.999, 60, 0.05)
    assert abs(np.mean(errors)) < 0.2 * 0.2
    assert np.mean(calls) < 450


def test_same_seed_same_answer_and_batches_do_not_matter() -> None:
    values = street(3000, seed=2)
    answers: dict[int, tuple[float | None, float | None]] = {}
    for costs in (Costs(batch=1), Costs(batch=50), Costs(decode=dear)):
        run = SamplingRun([group(values, MeanTarget(8, 0.1, integer=True))], seed=4, costs=costs)
        while (batch := run.next_batch()) is not None:
            run.add(batch, values[batch])
            (got,) = run.intervals()
            seen = answers.setdefault(got.samples, (got.low, got.high))
            assert seen == (got.low, got.high)
    assert len(answers) > 20


def test_known_frames_are_a_certainty_stratum() -> None:
    values = street(2000, seed=3)
    known = np.zeros(2000, np.bool_)
    known[np.argsort(values)[-500:]] = True  # the busiest frames: as biased as can be
    misses = 0
    for seed in range(60):
        run = SamplingRun(
            [group(values, COUNT, known=known, known_values=values[known][:, None])], seed=seed
        )
        (got,) = finish(run, values)
        assert got.known == 500
        misses += not (got.low or 0) <= values.mean() <= (got.high or 0)
    assert misses <= stats.binom.ppf(0.999, 60, 0.05)
    everything = np.ones(2000, np.bool_)
    run = SamplingRun([group(values, COUNT, known=everything, known_values=values[:, None])])
    (got,) = finish(run, values)
    assert got.samples == 0
    assert got.guarantee == "exact"
    assert got.estimate == got.low == got.high == pytest.approx(values.mean())


def test_what_an_earlier_run_drew_under_the_same_seed_does_not_steer_this_one() -> None:
    # The worst case: the frame after every frame that the first run draws is the busy one.
    misses = 0
    for seed in range(100):
        values = np.zeros(400)
        first = SamplingRun([group(values, MeanTarget(8, 1.0, integer=True))], seed=seed)
        drawn = first.next_batch()
        assert drawn is not None
        known = np.zeros(400, np.bool_)
        known[drawn] = True
        chosen = GroupDraws(
            group(values, COUNT, known=known, known_values=values[known][:, None]),
            0, 0.05, "finite", seed, temporal=False,
        ).upcoming(drawn.shape[0])  # fmt: skip
        near = np.isin(chosen, np.concatenate([drawn - 1, drawn + 1]))
        chance = np.isin(np.flatnonzero(~known), np.concatenate([drawn - 1, drawn + 1])).mean()
        misses += int(float(stats.binom.sf(int(near.sum()) - 1, len(chosen), float(chance))) < 0.05)
    assert misses <= stats.binom.ppf(0.999, 100, 0.05)


@pytest.mark.parametrize("size", [0, 1, 2, 5, 40])
@pytest.mark.parametrize("upper", [0.0, 8.0])
@pytest.mark.parametrize("guarantee", ["exact", "finite", "asymptotic"])
def test_small_and_constant_populations(size: int, upper: float, guarantee: str) -> None:
    values = np.minimum(np.full(size, 3.0), upper)
    target = MeanTarget(upper, 0.01, integer=True)
    (got,) = finish(SamplingRun([group(values, target)], guarantee=guarantee), values)
    assert got.target_met
    if size == 0:
        assert got.estimate is None
    else:
        assert got.estimate == pytest.approx(values.mean(), abs=0.01)


def test_wide_epsilon_needs_no_frame() -> None:
    run = SamplingRun([group(street(100), MeanTarget(8, 4.0))])
    assert run.next_batch() is None
    (got,) = run.intervals()
    assert (got.estimate, got.low, got.high, got.target_met) == (4.0, 0.0, 8.0, True)


def test_tiny_epsilon_scans_and_is_exact() -> None:
    values = street(6000, seed=5)
    run = SamplingRun([group(values, MeanTarget(8, 1e-6, integer=True))], costs=Costs(decode=dear))
    (got,) = finish(run, values)
    assert run.scanning
    assert got.guarantee == "exact"
    assert got.estimate == pytest.approx(values.mean())
    assert got.samples == 6000


def test_never_much_dearer_than_the_naive_plan() -> None:
    """Wide values, tight errors, a decoder that passes over the whole file for every batch."""
    rng = np.random.default_rng(0)
    for size, epsilon, detect, passing in (
        (300, 0.3, 0.001, 1.0), (300, 0.5, 0.04, 1.0), (800, 0.05, 0.036, 0.6),
        (2000, 0.5, 0.005, 5.0),
    ):  # fmt: skip
        values = rng.choice([0.0, 20.0], size)
        spent = 0.0

        def decode(frames: npt.NDArray[np.int64], cost: float = passing) -> float:
            return cost if frames.shape[0] else 0.0

        run = SamplingRun(
            [group(values, MeanTarget(20, epsilon, integer=True))],
            costs=Costs(detect=detect, decode=decode),
        )
        passes = 0
        while (batch := run.next_batch()) is not None:
            started = run.scanning
            spent += detect * batch.shape[0] + (passing if not started else 0)
            passes += 1
            run.add(batch, values[batch])
        spent += passing if run.scanning else 0
        assert spent <= 1.1 * (size * detect + passing)


def test_free_seeking_takes_no_frame_too_many() -> None:
    values = np.minimum(np.random.default_rng(4).poisson(1.2, 1200), 8).astype(float)
    target = MeanTarget(8, 0.1, integer=True)
    for seed in range(5):
        run = SamplingRun([group(values, target)], seed=seed, costs=Costs(batch=8))
        (got,) = finish(run, values)
        assert got.samples < 800


def test_limit_gives_a_valid_interval_that_did_not_meet_the_target() -> None:
    values = street(3000, seed=6)
    run = SamplingRun([group(values, MeanTarget(8, 0.02, integer=True))], seed=1)
    left = 100
    while left and (batch := run.next_batch(left)) is not None:
        assert batch.shape[0] <= left
        left -= batch.shape[0]
        run.add(batch, values[batch])
    (got,) = run.intervals()
    assert got.samples == 100
    assert not got.target_met
    assert (got.low or 0) <= values.mean() <= (got.high or 0)
    open_ended = SamplingRun([group(values, MeanTarget(8, None, integer=True))])
    batch = open_ended.next_batch(50)
    assert batch is not None
    open_ended.add(batch, values[batch])
    assert not open_ended.intervals()[0].target_met
    with pytest.raises(ValueError, match="limit"):
        open_ended.next_batch(0)


def test_groups_hold_jointly_and_share_batches() -> None:
    values = street(6000, seed=7)
    groups = [
        FrameGroup(np.arange(a, b), (MeanTarget(8, 0.3, integer=True),))
        for a, b in ((0, 1000), (1000, 1001), (1001, 5000), (5000, 6000))
    ]
    run = SamplingRun(groups, seed=2)
    got = finish(run, values)
    assert [i.group for i in got] == [0, 1, 2, 3]
    for interval, part in zip(got, groups, strict=True):
        assert interval.estimate == pytest.approx(values[part.frames].mean(), abs=0.3)
    alone = SamplingRun(groups, seed=2, joint=False)
    assert sum(i.samples for i in finish(alone, values)) < sum(i.samples for i in got)


def test_scale_and_several_columns() -> None:
    values = street(4000, seed=8)
    both = np.stack([values, 10 * values], axis=1)
    run = SamplingRun(
        [
            FrameGroup(
                np.arange(4000),
                (
                    MeanTarget(8, 800.0, integer=True, scale=4000),
                    MeanTarget(80, 3.0, column=1),
                ),
            )
        ]
    )
    total, mean = finish(run, both)
    assert total.estimate == pytest.approx(values.sum(), abs=800)
    assert mean.estimate == pytest.approx(10 * values.mean(), abs=3)
    assert total.samples == mean.samples


def test_relative_error_of_a_total_with_known_frames() -> None:
    values = street(9000, seed=9)
    known = np.arange(9000) % 4 == 0
    target = MeanTarget(8, 0.05, relative=True, integer=True, scale=9000)
    run = SamplingRun([group(values, target, known=known, known_values=values[known][:, None])])
    (got,) = finish(run, values)
    assert got.target_met
    assert got.estimate == pytest.approx(values.sum(), rel=0.05)
    assert got.samples < 4000


def test_ratio_covers_and_beats_two_intervals() -> None:
    rng = np.random.default_rng(3)
    counts = street(5000, seed=10)
    widths = np.array([rng.uniform(40, 80, int(n)).sum() for n in counts])
    both = np.stack([widths, counts], axis=1)
    truth, misses = widths.sum() / counts.sum(), 0
    calls: list[int] = []
    for seed in range(40):
        target = RatioTarget(0, 100, 8, 5.0, 0, 1)
        (got,) = finish(SamplingRun([group(both, target)], seed=seed), both)
        assert got.estimate is not None
        misses += not (got.low or 0) <= truth <= (got.high or 0)
        calls.append(got.samples)
        assert abs(got.estimate - truth) <= 5 or not (got.low or 0) <= truth <= (got.high or 0)
    assert misses <= stats.binom.ppf(0.999, 40, 0.05)
    assert np.mean(calls) < 700


def test_ratio_of_nothing_is_null_and_exact_when_scanned() -> None:
    nothing = np.zeros((30, 2))
    (got,) = finish(SamplingRun([group(nothing, RatioTarget(0, 1, 8, 0.1, 0, 1))]), nothing)
    assert (got.estimate, got.low, got.high, got.guarantee) == (None, None, None, "exact")
    both = np.array([[3.0, 2.0], [0.0, 0.0], [30.0, 10.0]])
    (got,) = finish(SamplingRun([group(both, RatioTarget(0, 5, 5, 1e-9, 0, 1))]), both)
    assert got.estimate == pytest.approx((3 + 15) / 7)  # ten objects are thinned to five
    assert got.clipped == 1


def test_clipped_frames_are_counted_and_bounded() -> None:
    values = street(4000, seed=11)
    values[::50] = 30.0
    (got,) = finish(SamplingRun([group(values, COUNT)]), values)
    assert got.clipped > 0
    assert got.clipped / got.samples < 0.08
    assert 0.02 <= got.clipped_bound < 0.2
    (all_seen,) = finish(SamplingRun([group(values, COUNT)], guarantee="exact"), values)
    assert all_seen.clipped == 80
    assert all_seen.clipped_bound == pytest.approx(0.02)
    assert all_seen.estimate == pytest.approx(np.minimum(values, 8).mean())


def test_clipped_bound_covers() -> None:
    truth, misses = 40, 0
    for seed in range(200):
        cut = np.random.default_rng(seed).permutation(np.arange(2000) < truth)
        bound = Clipped(2000, 0.05)
        for flag in cut[:300].tolist():
            bound.take([flag])
        misses += bound.bound() < truth / 2000
    assert misses <= stats.binom.ppf(0.999, 200, 0.05)


def test_crowded_known_frames_do_not_make_predictions_look_better_than_they_are() -> None:
    values = street(20_000, seed=13)
    known = np.arange(20_000) < 8000  # a cached third of the video, neighbours of each other
    target = MeanTarget(8, 0.1, integer=True)
    crowded = group(values, target, known=known, known_values=values[known][:, None])
    with_time = np.mean([finish(SamplingRun([crowded], seed=s), values)[0].samples
                         for s in range(5)])  # fmt: skip
    without = np.mean([finish(SamplingRun([crowded], seed=s, temporal=False), values)[0].samples
                       for s in range(5)])  # fmt: skip
    assert with_time < 1.1 * without


def test_misuse_is_refused() -> None:
    values = street(50)
    run = SamplingRun([group(values, COUNT)])
    batch = run.next_batch()
    assert batch is not None
    with pytest.raises(ValueError, match="last batch"):
        run.next_batch()
    with pytest.raises(ValueError, match="exactly"):
        run.add(batch[1:], values[batch[1:]])
    with pytest.raises(ValueError, match="finite"):
        run.add(batch, np.full(batch.shape[0], np.nan))
    with pytest.raises(ValueError, match="guarantee"):
        SamplingRun([], guarantee="hopeful")
    with pytest.raises(ValueError, match="ascending"):
        SamplingRun([FrameGroup(np.array([2, 1]), (COUNT,))])
    with pytest.raises(ValueError, match="known"):
        SamplingRun([group(values, COUNT, known=np.ones(50, np.bool_))])


def test_asymptotic_waits_for_its_guards() -> None:
    values = np.zeros(20_000)
    values[:140] = 1.0
    (got,) = finish(
        SamplingRun([group(values, MeanTarget(1, 0.006, integer=True))], guarantee="asymptotic"),
        values,
    )
    assert got.guarantee in ("asymptotic", "exact")
    assert got.samples > 166  # range / epsilon
    counts = street(20_000, seed=12)
    (got,) = finish(SamplingRun([group(counts, COUNT)], guarantee="asymptotic"), counts)
    assert got.estimate == pytest.approx(counts.mean(), abs=0.3)
    assert got.samples < 1000


@pytest.mark.parametrize("size", [0, 1, 2, 1025, 5000])
def test_shuffle_is_a_permutation_however_it_is_asked(size: int) -> None:
    whole = Shuffle(size, [3, 1]).first(size)
    assert sorted(whole.tolist()) == list(range(size))
    steps = Shuffle(size, [3, 1])
    for count in range(0, size + 1, max(size // 7, 1)):
        steps.first(count)
    assert np.array_equal(steps.first(size), whole)


def test_prediction_follows_time_and_stops_at_breaks() -> None:
    at = np.arange(1000)
    truth = np.where(at < 500, 2.0 + 2.0 * (at % 100 < 50), 7.0)
    seen = np.arange(3, 1000, 10)
    breaks = np.array([0, 500])
    random = np.ones(seen.shape[0], np.bool_)
    model = fit(seen, truth[seen], breaks, random, integer=True)
    assert model is not None
    assert model.variance < 0.3 * model.plain
    guess = predict(model, seen, truth[seen], breaks, at)
    assert np.array_equal(guess[500:504], np.full(4, 7.0))  # nothing leaks from the other video
    assert np.mean(guess != truth) < 0.15
    assert np.array_equal(guess[seen], truth[seen])
    assert fit(seen[:3], truth[:3], breaks, random[:3], integer=True) is None
