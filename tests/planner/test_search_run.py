"""Searches over invented series: rows verified and apart, nothing left out, whatever scores say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.planner.protocols import FrameFacts, Profile
from foveal.planner.search import Belief, Prices, SearchRun, Step, effective_trials, pack
from foveal.planner.search.belief import UNKNOWN
from foveal.planner.search.forecast import Quest, between, expected, forecast, in_order, ranked
from foveal.planner.search.nearness import bridge, correlation_time, exceeds
from foveal.planner.search.ranking import Ranking, apart
from foveal.planner.search.spacing import too_near
from foveal.planner.search.spread import spread

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Scores = Callable[[Floats], Floats]

FAST = Profile(decode_frame=0.001, seek=0.006, detect_frame=0.04, thumbnail=0.002)
ALL = frozenset({"search", "random", "learn"})

SCORES: dict[str, Scores] = {
    "good": lambda y: y * 0.8,
    "constant": lambda y: np.full_like(y, 3.0),
    "opposite": lambda y: -y,
    "liar": lambda y: np.where(y > 0, -5.0, 5.0),
}


@dataclass
class Told:
    """What a whole search did. `steps`: (kind, frames looked at)."""

    run: SearchRun
    looked: list[int] = field(default_factory=list[int])
    steps: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    taught: int = 0


def search(
    values: Floats,
    least: float,
    *,
    want: int,
    gap: float,
    videos: Ints | None = None,
    places: Floats | None = None,
    known: Ints | None = None,
    score: Scores | None = None,
    profile: Profile = FAST,
    methods: frozenset[str] = ALL,
    teach: float = 5.0,
    belief: Belief = UNKNOWN,
    budget: int | None = None,
    seed: int = 0,
) -> Told:
    """Search a series of counts for `least` or more."""
    size = len(values)
    videos = np.zeros(size, np.int64) if videos is None else videos
    places = np.arange(size, dtype=np.float64) if places is None else places
    facts = FrameFacts(size, 0, max(size // 12, 1))
    run = SearchRun(
        videos, places, want=want, gap=gap, second=10.0,
        prices=Prices(facts, profile, teach=teach, taught_r2=0.5),
        methods=methods, belief=belief, least=(least,), seed=seed,
    )  # fmt: skip
    told = Told(run)
    hits = values >= least
    if known is not None and len(known):
        run.know(known, hits[known])
        run.label(None, known, values[known, None])
    while (step := run.next(None if budget is None else budget - len(told.looked))) is not None:
        if step.kind == "learn":
            told.taught += 1
            if score is None:
                run.refuse()
            else:
                run.scored(score(values)[:, None], np.array([0.5]), kind="learn", again=1.0)
            continue
        told.steps.append((step.kind, _look(run, step, hits, values, told)))
    return told


def _look(run: SearchRun, step: Step, hits: Flags, values: Floats, told: Told) -> int:
    count = 0
    assert len(step.frames)
    assert step.chunk >= 1
    for at in range(0, len(step.frames), step.chunk):
        part = step.frames[at : at + step.chunk]
        part = part[run.open[part]]
        if not len(part):
            continue
        assert not set(told.looked) & set(part.tolist())
        told.looked += part.tolist()
        count += len(part)
        more = run.add(step, part, hits[part])
        run.label(step, part, values[part, None])
        if not more:
            break
    return count


def largest(hits: Flags, videos: Ints, places: Floats, gap: float) -> int:
    return len(pack(videos[hits], places[hits], gap))


@st.composite
def series(draw: st.DrawFn) -> tuple[Floats, Ints, Floats]:
    """Counts that last for a while, of one to three videos, whose places may be uneven."""
    stretches = draw(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 40)), min_size=1,
                              max_size=20))  # fmt: skip
    values = np.concatenate([np.full(n, float(v)) for v, n in stretches])
    cuts = sorted(draw(st.lists(st.integers(0, len(values)), max_size=2)))
    videos = np.searchsorted(np.array(cuts), np.arange(len(values)), side="right").astype(np.int64)
    if draw(st.booleans()):
        steps = np.array(draw(st.lists(st.sampled_from([0.1, 0.5, 3.0]), min_size=len(values),
                                       max_size=len(values))))  # fmt: skip
        places = np.cumsum(steps)
    else:
        places = np.arange(len(values), dtype=np.float64)
    return values, videos, places


@settings(max_examples=150, deadline=None)
@given(
    series(), st.integers(1, 5), st.integers(1, 12), st.sampled_from([1.0, 5.0, 30.0]),
    st.sampled_from([None, *SCORES]), st.sampled_from([0.0, 0.5, 1e9]), st.integers(0, 1 << 32),
)  # fmt: skip
def test_rows_are_true_apart_and_none_is_left_out(
    given_: tuple[Floats, Ints, Floats],
    least: int,
    want: int,
    gap: float,
    score: str | None,
    teach: float,
    random: int,
) -> None:
    values, videos, places = given_
    rng = np.random.default_rng(random)
    known = np.flatnonzero(rng.random(len(values)) < rng.choice([0.0, 0.1, 0.6]))
    told = search(
        values, least, want=want, gap=gap, videos=videos, places=places, known=known,
        score=None if score is None else SCORES[score], teach=teach, seed=int(rng.integers(9)),
    )  # fmt: skip
    found = told.run.found
    assert (values[found] >= least).all()
    for video in np.unique(videos[found]):
        assert (np.diff(places[found][videos[found] == video]) >= gap).all()
    assert len(found) <= want
    assert not set(known.tolist()) & set(told.looked)
    hits = values >= least
    if len(found) < want:
        near = too_near(videos, places, found, gap)
        assert not (hits & ~near).any()
        seen = np.zeros(len(values), np.bool_)
        seen[[*told.looked, *known.tolist()]] = True
        assert len(found) == largest(hits & seen, videos, places, gap)
    again = search(
        values, least, want=want, gap=gap, videos=videos, places=places,
        known=np.array(sorted({*told.looked, *known.tolist()}), np.int64),
    )  # fmt: skip
    assert not again.looked
    assert again.run.found.tolist() == found.tolist()


def events(frames: int, count: int, length: int, seed: int) -> Floats:
    values = np.zeros(frames)
    for start in np.random.default_rng(seed).choice(frames - length, count, replace=False):
        values[start : start + length] = 1.0
    return values


def sequential(values: Floats, least: float, want: int, gap: float) -> int:
    """Return the looks of going in order, leaping over the gap after each row."""
    looks, rows, at = 0, 0, 0
    while at < len(values) and rows < want:
        looks += 1
        rows += int(values[at] >= least)
        at += int(gap) if values[at] >= least else 1
    return looks


def test_rare_events_are_found_long_before_going_in_order_finds_them() -> None:
    ours: list[int] = []
    order: list[int] = []
    for seed in range(8):
        values = events(20_000, 25, 25, seed)
        ours.append(len(search(values, 1, want=5, gap=100, seed=seed).looked))
        order.append(sequential(values, 1, 5, 100))
    assert np.mean(ours) * 5 < np.mean(order)


def test_looks_in_vain_do_not_send_it_in_order() -> None:
    """Two visits of 9 s an hour, the first after 15 minutes: scattered looks are cheap there."""
    values = np.zeros(36_000)
    values[8750:8840] = values[20_390:20_475] = 1.0
    quick = Profile(decode_frame=0.001, seek=0.012, detect_frame=0.0035, thumbnail=0.001)
    looks: list[int] = []
    for seed in range(12):
        told = search(
            values, 1, want=3, gap=20, seed=seed, profile=quick,
            methods=frozenset({"search", "random"}),
        )  # fmt: skip
        assert told.run.full
        looks.append(len(told.looked))
    assert max(looks) < 8750 / 4
    assert np.mean(looks) < 8750 / 10


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9])
@pytest.mark.parametrize("score", [None, *SCORES])
def test_never_much_dearer_than_going_in_order(share: float, score: str | None) -> None:
    """In the mean over scenes; a fixed number of looks goes to telling whether scores are true."""
    ours: list[int] = []
    order: list[int] = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        starts = int(share * 2000 / 20)
        values = events(2000, starts, 20, seed) + (rng.random(2000) < share / 10)
        told = search(values, 1, want=8, gap=15, seed=seed, teach=0.0,
                      score=None if score is None else SCORES[score])  # fmt: skip
        ours.append(len(told.looked))
        order.append(sequential(values, 1, 8, 15))
    assert np.mean(ours) <= 1.1 * np.mean(order) + 8


def test_true_scores_save_looks_and_false_ones_are_found_out() -> None:
    values = events(30_000, 60, 3, 5)
    dear = Profile(decode_frame=0.001, seek=0.006, detect_frame=0.4, thumbnail=0.002)
    looks = {
        name: len(search(values, 1, want=20, gap=30, profile=dear, score=score, teach=40.0).looked)
        for name, score in SCORES.items()
    }
    blind = len(search(values, 1, want=20, gap=30, methods=frozenset({"search", "random"})).looked)
    assert looks["good"] < 0.5 * blind
    assert max(looks.values()) < 1.35 * blind


def test_near_misses_lead_to_what_satisfies() -> None:
    """Counts that rise slowly: labels alone, without any scores, find the peaks."""
    time = np.arange(40_000)
    values = np.floor(3 + 2.9 * np.sin(time / 300) + 1.5 * np.sin(time / 4700 + 4))
    least = float(values.max())
    assert (values >= least).mean() < 0.05
    looks = [len(search(values, least, want=5, gap=20, seed=s).looked) for s in range(5)]
    assert np.mean(looks) < 0.25 * sequential(values, least, 5, 20)


def test_a_budget_is_kept_and_seeds_decide() -> None:
    values = events(5000, 20, 5, 3)
    assert len(search(values, 1, want=50, gap=10, budget=37).looked) == 37
    one, other = (search(values, 1, want=5, gap=10, seed=s) for s in (1, 2))
    assert one.looked != other.looked
    assert search(values, 1, want=5, gap=10, seed=1).looked == one.looked


def test_what_is_known_beforehand_costs_nothing() -> None:
    values = events(2000, 30, 10, 1)
    every = np.arange(2000)
    told = search(values, 1, want=10, gap=10, known=every)
    assert not told.looked
    hits = np.flatnonzero(values)
    first = hits[pack(np.zeros(len(hits), np.int64), hits.astype(np.float64), 10, 10)]
    assert told.run.found.tolist() == first.tolist()


# --- the parts ------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=9, unique=True), st.integers(1, 20))
def test_packing_is_the_largest(places: list[int], gap: int) -> None:
    line = np.array(sorted(places), np.float64)
    videos = np.zeros(len(line), np.int64)
    best = 0
    for mask in range(1 << len(line)):
        chosen = line[[i for i in range(len(line)) if mask >> i & 1]]
        if not len(chosen) or (np.diff(chosen) >= gap).all():
            best = max(best, len(chosen))
    assert len(pack(videos, line, gap)) == best


def test_gaps_count_within_a_video_alone() -> None:
    videos = np.array([0, 0, 1, 1, 2], np.int64)
    places = np.array([0.0, 4.0, 1.0, 9.0, 2.0])
    assert pack(videos, places, 5.0).tolist() == [0, 2, 3, 4]
    near = too_near(videos, places, np.array([0, 3], np.int64), 5.0)
    assert near.tolist() == [True, True, False, True, False]
    near = too_near(videos, places, np.array([0], np.int64), 4.0)
    assert near.tolist() == [True, False, False, False, False]


def test_spread_goes_from_coarse_to_fine() -> None:
    videos = np.repeat(np.arange(3), 400)
    unseen = np.ones(1200, np.bool_)
    rng = np.random.default_rng(0)
    longest: list[int] = []
    for _ in range(5):
        picked = spread(videos, unseen, 12, rng)
        assert len(picked) == 12
        assert unseen[picked].all()
        unseen[picked] = False
        edges = np.flatnonzero(np.concatenate([[True], ~unseen, [True]]))
        longest.append(int(np.diff(edges).max()))
    assert longest == sorted(longest, reverse=True)
    assert longest[-1] < 120
    assert len(spread(videos, unseen, 5000, rng)) == unseen.sum()
    assert not len(spread(videos, np.zeros(1200, np.bool_), 5, rng))


def test_spread_takes_decoding_starts() -> None:
    videos = np.zeros(1000, np.int64)
    starts = np.arange(0, 1000, 100)
    picked = spread(videos, np.ones(1000, np.bool_), 8, np.random.default_rng(1), starts)
    assert set(picked.tolist()) <= set(starts.tolist())


def test_belief_follows_what_is_seen() -> None:
    assert UNKNOWN.mean == pytest.approx(0.1)
    assert UNKNOWN.weights().sum() == pytest.approx(1)
    assert UNKNOWN.quantile(0.1) < 1e-3 < 0.2 < UNKNOWN.quantile(0.9)
    nothing = UNKNOWN.after(0, 500)
    assert nothing.quantile(0.9) < 0.005
    much = UNKNOWN.after(300, 700)
    assert 0.25 < much.quantile(0.1) < much.quantile(0.9) < 0.35
    assert expected(much, np.ones(160)) == pytest.approx(1)
    assert effective_trials(np.array([1.0, 5.0, 100.0, np.inf]), 10).tolist() == [0.1, 0.5, 1, 1]


def test_forecasts_have_the_right_shape() -> None:
    facts = FrameFacts(36_000, 0, 1200)
    prices = Prices(facts, FAST, score=10.0, teach=100.0, r2=0.6, taught_r2=0.5)
    methods = frozenset({"search", "random", "ranked", "learn"})
    quest = Quest(36_000, 10, 30, 8)
    outlooks = forecast(quest, prices, methods)
    assert set(outlooks) == methods
    rare, common = UNKNOWN.after(20, 2000), UNKNOWN.after(300, 300)
    for outlook in outlooks.values():
        easy, hard = between(UNKNOWN, outlook.calls)
        assert 10 <= easy <= hard <= 36_000
        assert expected(common, outlook.calls) < expected(rare, outlook.calls)
    calls = {name: expected(rare, o.calls) for name, o in outlooks.items()}
    assert calls["ranked"] < 0.5 * calls["random"] < 0.1 * calls["search"]
    assert calls["random"] == pytest.approx(10 / rare.mean, rel=0.5)
    assert expected(rare, ranked(quest, 0.9)) < expected(rare, ranked(quest, 0.3))
    looks, passed = in_order(quest)
    assert (passed >= looks).all()


def test_a_bridge_leads_from_label_to_label() -> None:
    videos = np.repeat(np.arange(2), 50)
    places = np.tile(np.arange(50.0), 2)
    labelled = np.array([10, 30])
    mean, variance = bridge(videos, places, labelled, np.array([2.0, -1.0]), 8.0)
    assert mean[10] == pytest.approx(2)
    assert mean[30] == pytest.approx(-1)
    assert variance[10] == variance[30] == 0
    assert mean[5] == pytest.approx(2 * np.exp(-5 / 8))
    assert (mean[50:] == 0).all()  # another video
    assert (variance[50:] == 1).all()
    assert 0 < variance[20] < variance[0] < 1


def test_correlation_times_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    found: list[float] = []
    for time in (3.0, 60.0):
        rho, value, out = np.exp(-1 / time), 0.0, np.empty(4000)
        for i in range(len(out)):
            value = rho * value + np.sqrt(1 - rho * rho) * rng.normal()
            out[i] = 3 * value
        labelled = np.arange(0, 4000, 4)
        videos, places = np.zeros(4000, np.int64), np.arange(4000.0)
        found.append(correlation_time(videos, places, labelled, out[labelled], 10.0))
    assert found[0] <= 5 < 20 <= found[1]


def test_probabilities_and_places_in_the_ranking() -> None:
    sure = exceeds(np.array([0.0, 1.0, 2.0]), np.array([0.5, 0.5, 0.5]), 1.0)
    assert sure[1] == pytest.approx(0.5)
    assert sure[0] < 0.05 < 0.95 < sure[2]
    ranking = Ranking(np.zeros(100, np.int64), np.arange(100.0), (2.0,), 5.0)
    assert ranking.probabilities() is None
    ranking.label(np.array([10, 50, 90]), np.array([[0.0], [1.0], [0.0]]), blind=True)
    chances = ranking.probabilities()
    assert chances is not None
    assert chances[52, 0] > chances[12, 0]
    order = apart(np.zeros(100, np.int64), np.arange(100.0), chances[:, 0], 10, 3)
    assert len(order) == 3
    assert abs(int(order[0]) - 50) < 5
    assert (np.diff(np.sort(order)) >= 10).all()
    assert not len(apart(np.zeros(3, np.int64), np.arange(3.0), np.full(3, -np.inf), 1, 2))
