"""The certificate's bound holds: over every outcome of small sets, however it is steered."""

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest

from foveal.planner.estimators import ceiling
from foveal.planner.estimators.ceiling import Ceiling
from foveal.planner.estimators.hypergeometric import cdf

Policy = Callable[[Ceiling, int], tuple[int, int, int]]
"""(the ceiling, marked seen so far) -> members taken first, members drawn then, deadline."""


def steady(state: Ceiling, seen: int) -> tuple[int, int, int]:
    del seen
    return 0, min(3, state.size), max(9 - state.drawn, 3)


def greedy(state: Ceiling, seen: int) -> tuple[int, int, int]:
    """Stop drawing for a while and take, whenever luck was bad; then hurry."""
    return (2 if seen else 0), min(2, state.size), 2 if state.drawn > 4 else 8


def moving(state: Ceiling, seen: int) -> tuple[int, int, int]:
    """Change the deadline with what was seen."""
    return state.drawn % 2, min(1 + state.drawn % 3, state.size), 3 + 4 * seen


def wrong_chance(state: Ceiling, marked: int, policy: Policy, edges: tuple[int, ...]) -> float:
    """Return the chance that the bound is ever below the truth, by the hypergeometric law."""
    if state.bound < marked:
        return 1.0
    if state.size == 0:
        return 0.0
    take, draw, deadline = policy(state, state.found)
    take = min(take, state.size)
    found = min(take, marked)  # the worst taking: it finds marked ones first, so a plan changes
    state.take(take, found)
    marked -= found
    draw = min(draw, state.size)
    if draw == 0:
        return wrong_chance(state, marked, policy, edges)
    total = 0.0
    for k in range(max(0, draw - (state.size - marked)), min(draw, marked) + 1):
        chance = (
            math.comb(marked, k)
            * math.comb(state.size - marked, draw - k)
            / math.comb(state.size, draw)
        )
        after = copy.deepcopy(state)
        after.sample(draw, k, np.array(edges), deadline)
        total += chance * wrong_chance(after, marked - k, policy, edges)
    return total


@pytest.mark.parametrize("policy", [steady, greedy, moving])
@pytest.mark.parametrize("delta", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("edges", [(1,), (2, 3, 4, 5), (1, 2, 4, 8), tuple(range(1, 12))])
def test_every_outcome_of_a_small_set(policy: Policy, delta: float, edges: tuple[int, ...]) -> None:
    for marked in range(11):
        chance = wrong_chance(Ceiling(11, delta), marked, policy, edges)
        assert chance <= delta + 1e-9, marked


def test_a_kept_deadline_is_the_exact_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceiling, "STAKES", (1.0,))
    monkeypatch.setattr(ceiling, "DEADLINES", (1.0,))
    monkeypatch.setattr(ceiling, "AT_WORK", 1.0)
    size, drawn = 400, 120
    for seen in (0, 1, 3, 8):
        state = Ceiling(size, 0.05)
        for done in range(0, drawn, 30):
            now = seen if done == 60 else 0
            state.sample(30, now, np.arange(1, 100) + seen - state.found, drawn - done)
        best = min(m for m in range(1, 100) if cdf(seen, size, m, drawn) <= 0.05)
        assert state.bound in (best - 1 - seen, best - 2 - seen)  # the test is randomised


def test_batches_do_not_matter_to_a_kept_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceiling, "STAKES", (1.0,))
    monkeypatch.setattr(ceiling, "DEADLINES", (1.0,))
    bounds: set[int] = set()
    for step in (1, 10, 100):
        state = Ceiling(1000, 0.1)
        for done in range(0, 100, step):
            state.sample(step, 0, np.arange(1, 200), 100 - done)
        bounds.add(state.bound)
    assert len(bounds) == 1


def test_taking_finds_and_lowers() -> None:
    state = Ceiling(100, 0.05)
    assert state.bound == 100
    state.take(90, 4)
    assert (state.size, state.found, state.bound) == (10, 4, 10)
    state.take(10, 0)
    assert state.bound == 0


@pytest.mark.parametrize(("members", "marked"), [(1, 2), (101, 0), (5, -1)])
def test_more_than_there_are(members: int, marked: int) -> None:
    state = Ceiling(100, 0.05)
    with pytest.raises(ValueError, match="more"):
        state.take(members, marked)
    with pytest.raises(ValueError, match="more"):
        state.sample(members, marked, np.arange(1, 5), 10)


@pytest.mark.parametrize(("size", "delta"), [(-1, 0.05), (10, 0.0), (10, 1.0)])
def test_nonsense_is_refused(size: int, delta: float) -> None:
    with pytest.raises(ValueError, match="size"):
        Ceiling(size, delta)
