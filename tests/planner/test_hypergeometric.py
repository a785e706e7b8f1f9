"""The distribution function agrees with SciPy's and with counting, at the ends too."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from foveal.planner.estimators.hypergeometric import cdf


@given(st.data())
def test_agrees_with_scipy(data: st.DataObject) -> None:
    population = data.draw(st.integers(1, 5000))
    marked = data.draw(st.integers(0, population))
    drawn = data.draw(st.integers(0, population))
    count = data.draw(st.integers(-1, drawn + 1))
    wanted = float(stats.hypergeom(population, marked, drawn).cdf(count))
    assert cdf(count, population, marked, drawn) == pytest.approx(wanted, abs=1e-8)


def test_agrees_with_counting() -> None:
    chosen = list(combinations(range(7), 3))
    for count in range(-1, 5):
        hits = sum(sum(member < 4 for member in draw) <= count for draw in chosen)
        assert cdf(count, 7, 4, 3) == pytest.approx(hits / len(chosen), abs=1e-12)


def test_ends_are_certain() -> None:
    assert cdf(3, 10, 4, 3) == 1.0  # no more than are drawn
    assert cdf(4, 10, 4, 9) == 1.0  # no more than there are
    assert cdf(-1, 10, 4, 3) == 0.0
    assert cdf(2, 10, 4, 9) == 0.0  # only 6 are not marked: at least 3 of 9 are
    assert cdf(0, 10, 0, 5) == 1.0
    assert cdf(0, 10, 4, 0) == 1.0
