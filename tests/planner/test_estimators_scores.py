"""A proxy's scores as a control variate: validity with any scores, costs, hand-over, misuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from foveal.planner.estimators import Costs, FrameGroup, Interval, MeanTarget, SamplingRun

Array = npt.NDArray[np.float64]
DELTA = 0.05
SIZE = 6000


def counts(size: int = SIZE, seed: int = 0) -> Array:
    """Counts of mean 1.2 without any likeness in time."""
    return np.minimum(np.random.default_rng(seed).poisson(1.2, size), 8).astype(float)


def scores_of(values: Array, r2: float, seed: int = 1) -> Array:
    """Return scores whose squared correlation with the values is about r2, in their unit."""
    noise: Array = np.random.default_rng(seed).standard_normal(len(values))
    noisy: Array = values + noise * values.std() * np.sqrt(1 / r2 - 1)
    return values.mean() + r2 * (noisy - values.mean())


def answer(
    values: Array,
    scores: Array | None,
    seed: int,
    *,
    target: MeanTarget | None = None,
    after: int = 0,
    labelled: npt.NDArray[np.bool_] | None = None,
    costs: Costs | None = None,
    group: FrameGroup | None = None,
    **rest: Any,
) -> Interval:
    """Run to the end; the scores are handed over once `after` frames were observed."""
    frames = np.arange(values.shape[0], dtype=np.int64)
    target = target or MeanTarget(8, 0.1, integer=True)
    run = SamplingRun(
        [group or FrameGroup(frames, (target,))], seed=seed, costs=costs, delta=DELTA, **rest
    )
    waiting = scores is not None
    while True:
        if waiting and run.observed >= after:
            assert scores is not None
            run.use_scores(frames, scores, labelled=labelled)
            waiting = False
        if (batch := run.next_batch()) is None:
            break
        run.add(batch, values[batch])
    (got,) = run.intervals()
    return got


def missed(got: Interval, truth: float) -> bool:
    assert got.low is not None
    assert got.high is not None
    return not got.low - 1e-9 <= truth <= got.high + 1e-9


def most_misses(trials: int) -> int:
    """99.9 % quantile of the misses of a valid rule."""
    return int(stats.binom.ppf(0.999, trials, DELTA))


def proxies(values: Array) -> dict[str, Array]:
    """Return scores from good to hostile, by name."""
    rng = np.random.default_rng(9)
    good = scores_of(values, 0.9)
    missing = values.copy()
    missing[rng.choice(np.flatnonzero(values > 0), values.shape[0] // 100, replace=False)] = 0.0
    return {
        "good": good,
        "shuffled": rng.permutation(good),
        "anti-correlated": 8 - good,
        "exact but for rare misses": missing,
        "huge": 1e6 * good,
        "constant": np.ones_like(values),
    }


@pytest.mark.parametrize("name", proxies(counts(100)))
@pytest.mark.parametrize("after", [0, 60])
def test_any_scores_keep_the_interval_valid(name: str, after: int) -> None:
    values = counts(1000)
    scores, truth = proxies(values)[name], float(values.mean())
    target = MeanTarget(8, 0.2, integer=True)
    got = [answer(values, scores, seed, target=target, after=after) for seed in range(60)]
    assert sum(missed(one, truth) for one in got) <= most_misses(60)
    assert all(one.target_met and one.guarantee == "finite" for one in got)
    # A proxy that says nothing costs next to nothing.
    plain = [answer(values, None, seed, target=target) for seed in range(20)]
    assert np.mean([one.samples for one in got]) < 1.1 * np.mean([one.samples for one in plain])


def test_better_scores_need_fewer_samples() -> None:
    values = counts(20_000)
    target = MeanTarget(8, 0.05, integer=True)
    plain, weak, good = (
        float(np.mean([answer(values, scores, seed, target=target).samples for seed in range(6)]))
        for scores in (None, scores_of(values, 0.5), scores_of(values, 0.9))
    )
    assert weak < 0.7 * plain
    assert good < 0.45 * plain


def test_scores_work_beside_neighbours_in_time() -> None:
    rng = np.random.default_rng(3)
    values = np.repeat(rng.integers(0, 4, 100), 200).astype(float)
    values += rng.random(20_000) < 0.4  # what no neighbour tells
    target = MeanTarget(8, 0.05, integer=True)
    fast = values - np.repeat(values.reshape(100, 200).mean(1), 200)

    def calls(scores: Array | None, *, temporal: bool) -> float:
        got = [answer(values, scores, s, target=target, temporal=temporal) for s in range(5)]
        return float(np.mean([one.samples for one in got]))

    both = calls(fast, temporal=True)
    assert both < 0.85 * calls(None, temporal=True)
    assert both < 0.5 * calls(fast, temporal=False)


def test_same_seed_same_answer_and_batches_do_not_matter() -> None:
    values = counts(3000)
    scores = scores_of(values, 0.8)
    seen: dict[int, tuple[float | None, float | None]] = {}
    for batch in (1, 7, 50):
        frames = np.arange(3000, dtype=np.int64)
        run = SamplingRun(
            [FrameGroup(frames, (MeanTarget(8, 0.1, integer=True),))],
            seed=4,
            costs=Costs(batch=batch),
        )
        run.use_scores(frames, scores)
        while (drawn := run.next_batch()) is not None:
            run.add(drawn, values[drawn])
            (got,) = run.intervals()
            assert seen.setdefault(got.samples, (got.low, got.high)) == (got.low, got.high)
    assert len(seen) > 20


def test_scores_that_learnt_the_drawn_frames_are_not_judged_on_them() -> None:
    # Trained in mid-run: perfect on what was drawn, noise elsewhere.
    values = counts(4000)
    truth, target = float(values.mean()), MeanTarget(8, 0.15, integer=True)
    frames = np.arange(4000, dtype=np.int64)
    calls: list[int] = []
    misses = 0
    for seed in range(60):
        run = SamplingRun([FrameGroup(frames, (target,))], seed=seed, costs=Costs(batch=32))
        drawn: list[int] = []
        while (batch := run.next_batch()) is not None:
            run.add(batch, values[batch])
            if len(drawn) < 60 <= len(drawn) + batch.shape[0]:
                scores = np.random.default_rng(seed).permutation(values)
                told = [*drawn, *batch.tolist()]
                scores[told] = values[told]
                run.use_scores(frames, scores)
            drawn += batch.tolist()
        (got,) = run.intervals()
        misses += missed(got, truth)
        calls.append(got.samples)
    plain = [answer(values, None, seed, target=target).samples for seed in range(20)]
    assert misses <= most_misses(60)
    assert np.mean(calls) < 1.1 * np.mean(plain)


def test_scores_out_of_fold_serve_at_once() -> None:
    values = counts(20_000)
    scores = scores_of(values, 0.9)
    target = MeanTarget(8, 0.1, integer=True)
    marked = np.ones(values.shape[0], np.bool_)

    def calls(labelled: npt.NDArray[np.bool_] | None) -> float:
        got = [answer(values, scores, s, target=target, after=60, labelled=labelled)
               for s in range(8)]  # fmt: skip
        return float(np.mean([one.samples for one in got]))

    assert calls(marked) < calls(None)


def test_frames_that_a_ranking_looked_at_do_not_mislead() -> None:
    # LIMIT, then FCOUNT: the frames that the proxy ranked first are known.
    values = counts(2000)
    scores = scores_of(values, 0.7)
    known = np.zeros(2000, np.bool_)
    known[np.argsort(-scores)[:300]] = True
    target = MeanTarget(8, 0.15, integer=True)
    frames = np.arange(2000, dtype=np.int64)
    group = FrameGroup(frames, (target,), known, values[known][:, None])
    got = [answer(values, scores, seed, group=group, labelled=known) for seed in range(40)]
    assert sum(missed(one, float(values.mean())) for one in got) <= most_misses(40)
    assert all(one.known == 300 for one in got)


def test_asymptotic_uses_the_scores_behind_its_guards() -> None:
    values = counts(8000)
    scores, truth = scores_of(values, 0.8), float(values.mean())

    def answers(y: Array, with_scores: Array | None, epsilon: float, after: int) -> list[Interval]:
        target = MeanTarget(8, epsilon, integer=True)
        return [answer(y, with_scores, seed, target=target, guarantee="asymptotic", after=after,
                       costs=Costs(batch=64)) for seed in range(12)]  # fmt: skip

    plain, good = answers(values, None, 0.06, 0), answers(values, scores, 0.06, 0)
    assert np.mean([g.samples for g in good]) < 0.5 * np.mean([p.samples for p in plain])
    assert sum(missed(one, truth) for one in good) <= 4
    assert sum(missed(one, truth) for one in answers(values, scores, 0.06, 200)) <= 4
    # Never a difference seen: the proxy may miss something rare, so the values' own rule decides.
    rare = np.zeros(8000)
    rare[::70] = 1.0
    blind = rare.copy()
    blind[::210] = 0.0
    got = answers(rare, blind, 0.03, 0)
    assert sum(missed(one, float(rare.mean())) for one in got) <= 4


def test_what_a_proxy_would_save_is_foretold() -> None:
    values = counts(20_000)
    frames = np.arange(20_000, dtype=np.int64)
    target = MeanTarget(8, 0.05, integer=True)
    run = SamplingRun([FrameGroup(frames, (target,))], seed=1)
    assert run.saved_by(0.9) == 0.0  # nothing is known of the values yet
    while run.observed < 120 and (batch := run.next_batch()) is not None:
        run.add(batch, values[batch])
    saved = [run.saved_by(r2) for r2 in (0.0, 0.5, 0.9)]
    assert saved[0] <= saved[1] < saved[2]
    foretold = run.observed + run.remaining() - saved[2]
    needed = np.mean([
        answer(values, scores_of(values, 0.9), s, target=target, after=120).samples
        for s in range(5)
    ])  # fmt: skip
    assert foretold == pytest.approx(needed, rel=0.3)
    with pytest.raises(ValueError, match="r2"):
        run.saved_by(1.5)


def rare_events(size: int, events: int, seed: int = 5) -> tuple[Array, Array]:
    """Return 0/1 values, and scores that are high at two thirds of the ones and 10 % others."""
    rng = np.random.default_rng(seed)
    values = np.zeros(size)
    chosen = rng.choice(size, events, replace=False)
    values[chosen] = 1.0
    scores = np.full(size, 0.002)
    scores[chosen[: 2 * events // 3]] = 0.9
    scores[rng.choice(np.flatnonzero(values == 0), max(events // 10, 1), replace=False)] = 0.9
    return values, scores


@pytest.mark.parametrize("after", [0, 90])
def test_frames_with_the_highest_scores_are_looked_at_for_themselves(after: int) -> None:
    values, scores = rare_events(9000, 60)
    truth, target = float(values.mean()), MeanTarget(1, 0.006, integer=True)
    frames = np.arange(9000, dtype=np.int64)
    batches: list[npt.NDArray[np.int64]] = []
    misses = 0
    calls: list[int] = []
    for seed in range(40):
        run = SamplingRun([FrameGroup(frames, (target,))], seed=seed)
        handed = False
        observed: list[int] = []
        while True:
            if not handed and run.observed >= after:
                run.use_scores(frames, scores)
                handed = True
                batch = run.next_batch()
                assert batch is not None
                batches.append(batch)
            elif (batch := run.next_batch()) is None:
                break
            run.add(batch, values[batch])
            observed += batch.tolist()
        (got,) = run.intervals()
        assert len(set(observed)) == len(observed) == got.samples
        misses += missed(got, truth)
        calls.append(got.samples)
    if not after:  # later it depends on what was seen by then
        assert all((scores[batch] == 0.9).all() for batch in batches)
    assert misses <= most_misses(40)
    plain = [answer(values, None, seed, target=target).samples for seed in range(40)]
    assert np.mean(calls) < (1.0 if after else 0.8) * np.mean(plain)


def test_looking_in_vain_costs_little_more_than_the_look() -> None:
    values, scores = rare_events(9000, 60)
    target = MeanTarget(1, 0.006, integer=True)
    misled, plain = 0, 0
    for seed in range(40):
        shuffled = np.random.default_rng(seed).permutation(scores)
        misled += answer(values, shuffled, seed, target=target).samples
        plain += answer(values, None, seed, target=target).samples
    assert misled < 1.35 * plain


def test_what_is_revealed_and_drawn_ends_in_the_exact_answer() -> None:
    values, scores = rare_events(900, 30)
    values[7] = 5.0  # clipped to 1
    run = SamplingRun([FrameGroup(np.arange(900), (MeanTarget(1, 0.03, integer=True),))])
    run.use_scores(np.arange(900), scores)
    first = run.next_batch()
    assert first is not None
    assert (scores[first] == 0.9).all()
    run.add(first, values[first])
    (now,) = run.intervals()
    assert now.samples == first.shape[0]
    assert (now.low or 0) >= values[first].sum() / 900 - 1e-9
    while not run.finished and (batch := run.next_batch()) is not None:
        run.add(batch, values[batch])
    exact = SamplingRun([FrameGroup(np.arange(900), (MeanTarget(1, 1e-9, integer=True),))])
    exact.use_scores(np.arange(900), scores)
    while (batch := exact.next_batch()) is not None:
        exact.add(batch, values[batch])
    (got,) = exact.intervals()
    assert got.guarantee == "exact"
    assert got.clipped == 1
    assert got.estimate == pytest.approx(np.minimum(values, 1).mean())


def test_a_budget_smaller_than_what_is_worth_revealing_is_spent_at_random() -> None:
    _, scores = rare_events(9000, 60)
    run = SamplingRun([FrameGroup(np.arange(9000), (MeanTarget(1, 0.006, integer=True),))])
    run.use_scores(np.arange(9000), scores)
    batch = run.next_batch(5)
    assert batch is not None
    assert batch.shape[0] <= 5
    assert (scores[batch] < 0.9).any()


def test_misuse_is_refused() -> None:
    values = counts(300)
    frames = np.arange(300, dtype=np.int64)
    run = SamplingRun([FrameGroup(frames, (MeanTarget(8, 0.2, integer=True),))])
    with pytest.raises(ValueError, match="needs a score"):
        run.use_scores(frames[:-1], values[:-1])
    with pytest.raises(ValueError, match="finite"):
        run.use_scores(frames, np.full(300, np.nan))
    with pytest.raises(ValueError, match="mark for each"):
        run.use_scores(frames, values, labelled=np.ones(3, np.bool_))
    assert run.next_batch() is not None
    with pytest.raises(ValueError, match="last batch"):
        run.use_scores(frames, values)
