"""Selections: the rates hold over seeds, whatever the scores are worth; both errors count."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from foveal.planner.estimators.belief import by_score, isotonic
from foveal.planner.estimators.neighbours import by_neighbours
from foveal.planner.estimators.selection import (
    ACCEPTED,
    FALSE,
    REJECTED,
    TRUE,
    SelectionResult,
    SelectionRun,
)

Mask = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float64]


def population(kind: str, seed: int, frames: int = 2000) -> tuple[Scores, Mask]:
    rng = np.random.default_rng(seed)
    share = {"few": 0.01, "all": 1.0, "none": 0.0}.get(kind, 0.12)
    truth = rng.random(frames) < share
    scores = np.where(truth, rng.beta(6, 2.5, frames), rng.beta(1.2, 8, frames))
    if kind == "hidden":
        hidden = truth & (rng.random(frames) < 0.15)
        scores[hidden] = rng.beta(1.2, 8, int(hidden.sum()))
    elif kind == "shuffled":
        scores = rng.permutation(scores)
    elif kind == "opposite":
        scores = -scores
    elif kind == "perfect":
        scores = truth.astype(np.float64)
    elif kind == "drift":
        scores = scores + np.where(truth, np.linspace(0.2, -0.6, frames), 0.0)
    return scores, truth


def run_through(run: SelectionRun, truth: Mask) -> SelectionResult:
    for _ in range(400):
        batch = run.next_batch()
        if batch is None:
            return run.result()
        assert (np.diff(batch) > 0).all()
        run.add(truth[batch])
    raise AssertionError("the run does not end")


def start(kind: str, seed: int, fnr: float | None, fpr: float | None, **more: Any) -> Any:
    scores, truth = population(kind, seed)
    rng = np.random.default_rng([seed, 1])
    known = np.zeros(len(truth), np.bool_)
    known[rng.choice(len(truth), 100, replace=False)] = True
    run = SelectionRun(
        by_score(scores), known, truth, fnr=fnr, fpr=fpr, delta=0.05, seed=seed,
        unseen=fpr is not None, **more,
    )  # fmt: skip
    return run, truth


KINDS = ["usual", "hidden", "shuffled", "opposite", "perfect", "drift", "few", "all", "none"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("fnr", "fpr"), [(0.1, None), (0.1, 0.05)])
def test_rates_hold_over_seeds(kind: str, fnr: float, fpr: float | None) -> None:
    missed = 0
    seeds, allowed = (30, 6) if fpr is None else (10, 3)
    for seed in range(seeds):
        run, truth = start(kind, seed, fnr, fpr)
        result = run_through(run, truth)
        returned = (result.decisions == TRUE) | (result.decisions == ACCEPTED)
        assert result.met
        assert (result.decisions[truth] != FALSE).all()
        assert (result.decisions[~truth] != TRUE).all()
        lost = (truth & ~returned).sum() / max(truth.sum(), 1)
        wrong = (~truth & returned).sum() / max((~truth).sum(), 1)
        precise = 1 - (~truth & returned).sum() / max(returned.sum(), 1)
        assert fpr is not None or wrong == 0
        missed += lost > fnr + 1e-12 or wrong > (fpr or 0) + 1e-12
        missed += lost <= fnr and wrong <= (fpr or 0) and precise < result.precision - 1e-9
    assert missed <= allowed  # more have a chance below 1 in 300 at 5 %


def test_a_good_score_saves_looks_and_a_useless_one_costs_none() -> None:
    looked = {kind: start_looked(kind) for kind in ("usual", "shuffled", "perfect")}
    assert looked["usual"] < 0.6
    assert looked["perfect"] < looked["usual"]
    assert looked["shuffled"] <= 1.0


def start_looked(kind: str) -> float:
    run, truth = start(kind, 3, 0.1, None)
    return run_through(run, truth).looked / len(truth)


def test_false_positives_and_false_negatives_both_count() -> None:
    """NoScope's accuracy added false positives twice and false negatives never."""
    truth = np.zeros(400, np.bool_)
    truth[:100] = True
    scores = truth.astype(np.float64)
    known = np.zeros(400, np.bool_)
    known[::4] = True
    run = SelectionRun(
        by_score(scores), known, truth, fnr=0.1, fpr=0.1, delta=0.05, seed=0, unseen=True
    )
    result = run.result()  # nothing certified: everything unseen may be wrong
    assert (result.fnr, result.fpr) == (pytest.approx(225 / 250), pytest.approx(75 / 150))
    above, below = run.false.size, run.missed.size
    assert (above, below) == (75, 225)
    run.missed.take(225, 0)  # all below was looked at, nothing was there
    assert run.result().fnr == 0.0
    assert run.result().fpr == pytest.approx(75 / (75 + 75))
    run.false.take(75, 0)
    assert (run.result().fnr, run.result().fpr) == (0.0, 0.0)


@pytest.mark.parametrize("frames", [0, 1, 2, 30])
def test_few_frames_are_all_looked_at(frames: int) -> None:
    truth = np.arange(frames) % 2 == 0
    known = np.zeros(frames, np.bool_)
    run = SelectionRun(
        by_score(np.zeros(frames)), known, truth, fnr=0.05, fpr=0.05, delta=0.05, seed=1,
        unseen=True,
    )  # fmt: skip
    result = run_through(run, truth)
    assert result.met
    assert (result.decisions == np.where(truth, TRUE, FALSE)).all() or not result.exact


def test_without_fnr_nothing_true_is_missing() -> None:
    run, truth = start("usual", 5, None, 0.05)
    result = run_through(run, truth)
    assert not (result.decisions == REJECTED).any()
    assert result.fnr == 0.0
    assert result.fpr <= 0.05


def test_known_frames_cost_nothing() -> None:
    _, truth = population("usual", 2)
    known = np.ones(len(truth), np.bool_)
    run = SelectionRun(
        by_score(np.zeros(len(truth))), known, truth, fnr=0.1, fpr=None, delta=0.05, seed=0,
        unseen=False,
    )  # fmt: skip
    assert run.next_batch() is None
    assert run.result().exact
    assert run.result().looked == 0


def test_the_same_seed_asks_for_the_same_frames() -> None:
    asked: list[list[int]] = []
    for _ in range(2):
        run, truth = start("hidden", 11, 0.1, 0.05)
        batches: list[int] = []
        while (batch := run.next_batch()) is not None:
            batches += batch.tolist()
            run.add(truth[batch])
        asked.append(batches)
    assert asked[0] == asked[1]
    other, _ = start("hidden", 12, 0.1, 0.05)
    assert other.next_batch().tolist() != asked[0][: len(asked[0])]


def test_followers_wait_for_their_leaders() -> None:
    scores, truth = population("perfect", 4)
    leaders = np.arange(len(truth)) // 3 * 3
    known = np.zeros(len(truth), np.bool_)
    known[:90:9] = True
    run = SelectionRun(
        by_score(scores), known, truth, fnr=0.1, fpr=None, delta=0.05, seed=0, unseen=False
    )
    run.believe(by_score(scores), leaders)
    batch = run.next_batch()
    assert batch is not None
    asked = set(batch.tolist())
    waited = [f for f in asked if leaders[f] != f and leaders[f] in asked and not known[leaders[f]]]
    assert not waited
    run.add(truth[batch])
    assert run_through(run, truth).met


def test_labels_nearby_tell_more_than_nothing() -> None:
    frames = np.arange(4000)
    truth = (frames // 200) % 5 == 0
    known = np.zeros(4000, np.bool_)
    known[::25] = True
    chance = by_neighbours(frames, np.zeros(0, np.int64))(known, truth)
    inside, outside = chance[50:150].mean(), chance[450:550].mean()
    assert inside > 0.7
    assert outside < 0.1
    across = by_neighbours(frames, np.arange(0, 4000, 24) + 5)(known, truth)
    assert across.std() < chance.std()  # nothing is joined across the first frame of a video


def test_isotonic_rises_with_the_score() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(500)
    labels = rng.random(500) < scores
    known = rng.random(500) < 0.5
    chance = isotonic(scores, known, labels)
    assert (np.diff(chance[np.argsort(scores)]) >= 0).all()
    assert ((chance > 0) & (chance <= 1)).all()
    assert (isotonic(scores, np.zeros(500, np.bool_), labels) == 0.5).all()


@pytest.mark.parametrize("rates", [(1.0, None), (-0.1, None), (None, 1.5)])
def test_rates_out_of_range(rates: tuple[float | None, float | None]) -> None:
    known = np.zeros(10, np.bool_)
    with pytest.raises(ValueError, match="rates"):
        SelectionRun(
            by_score(np.zeros(10)), known, known, fnr=rates[0], fpr=rates[1], delta=0.05, seed=0,
            unseen=True,
        )  # fmt: skip
