"""Predicates on pixels in the order of cost over what they drop."""

from itertools import permutations

import numpy as np
import pytest

from foveal.errors import Span
from foveal.planner.logical import Conjunct
from foveal.planner.pixel_order import PixelStep, called, pixel_order, ranked, text_of, updated
from foveal.planner.protocols import PixelFacts

FACTS = {
    "__f_red": PixelFacts("red", 1e-3, measured=True),
    "__f_slow": PixelFacts("slow", 1e-1, measured=False),
}


def conjunct(text: str) -> Conjunct:
    return Conjunct(text, "s", frozenset({"content"}), True, Span(0, 1), text)


def step(name: str, seconds: float, passes: float, *functions: str) -> PixelStep:
    return PixelStep(conjunct(name), name, functions or (name,), seconds, passes, True)


def test_cheap_predicates_come_first_and_names_are_the_users() -> None:
    slow, cheap, red = (
        conjunct(t) for t in ("__f_slow(s.content) = 'x'", "class = 'car'", "__f_red(content) > 1")
    )
    order = pixel_order([slow, cheap, red], FACTS, {text_of(red): 0.25})
    assert order is not None
    assert order.cheap == (cheap,)
    assert [s.source for s in order.steps] == ["red(content) > 1", "slow(s.content) = 'x'"]
    assert [s.measured for s in order.steps] == [True, False]
    assert order.lines() == [
        "first  class = 'car'",
        "pixels 1  red(content) > 1  1 ms per call, passes 25%, rank 1.33 ms  (measured)",
        "pixels 2  slow(s.content) = 'x'  100 ms per call, passes 50%, rank 200 ms  "
        "(not measured yet)",
    ]
    assert pixel_order([cheap], FACTS, {}) is None


def test_a_dear_predicate_that_drops_nearly_all_may_go_first() -> None:
    loose, tight = step("a", 1.0, 0.95), step("b", 5.0, 0.01)
    assert ranked([loose, tight], {"a": 1.0, "b": 5.0}) == (tight, loose)
    assert ranked([loose, step("b", 5.0, 0.9)], {"a": 1.0, "b": 5.0})[0] == loose


def test_a_function_that_was_called_is_free() -> None:
    shared = step("c", 9.0, 0.6, "dear")
    first, other = step("a", 9.0, 0.5, "dear"), step("b", 1.0, 0.9, "cheap")
    assert ranked([other, shared, first], {"dear": 9.0, "cheap": 1.0}) == (other, first, shared)
    assert ranked([other, shared, first], {"dear": 1.0, "cheap": 1.0}) == (first, shared, other)


@pytest.mark.parametrize("seed", range(20))
def test_no_order_costs_less(seed: int) -> None:
    draw = np.random.default_rng(seed)
    costs = {n: float(c) for n, c in zip("abcd", draw.uniform(0.1, 5, 4), strict=True)}
    steps = [step(n, costs[n], float(p)) for n, p in zip("abcd", draw.uniform(0, 1, 4),
                                                          strict=True)]  # fmt: skip

    def total(order: tuple[PixelStep, ...]) -> float:
        alive, spent = 1.0, 0.0
        for one in order:
            spent += alive * one.seconds
            alive *= one.passes
        return spent

    best = min(total(order) for order in permutations(steps))
    assert total(ranked(steps, costs)) == pytest.approx(best)


def test_a_pilot_changes_the_order() -> None:
    steps = [step("a", 1.0, 0.5), step("b", 1.1, 0.5)]
    after = updated(steps, {"a": 1.0, "b": 1.1}, {"a": 0.9, "b": 0.1})
    assert [s.source for s in after] == ["b", "a"]
    assert [s.passes for s in after] == [0.1, 0.9]


def test_calls_are_found_by_whole_names() -> None:
    assert called("__f_red (content) + __f_redder(x) + __f_red(y)", FACTS) == ("__f_red",)
    assert called("'__f_red' = class", FACTS) == ()
