"""How a selection goes on: which frames to verify, how many to draw, and where to split at first.

All of it is forecasting. It decides what a certificate costs, never whether it holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveal.planner.estimators.ceiling import Ceiling, Counts
from foveal.planner.estimators.targets import Costs, Frames, Mask

Array = npt.NDArray[np.float64]

CUTS = 64
"""Numbers of verified frames weighed on each side."""
FRACTIONS = np.geomspace(2e-4, 1.0, 56)
"""Sampled fractions of a side that are weighed."""
LUCK = 0.5
"""A forecast allows for so many standard deviations more marked draws than expected."""
EDGES = 40
"""Hypotheses of interest tested at once."""
TARGETS = (0.05, 0.15, 0.35, 0.6, 0.85, 1.0)
"""Shares of the false frames allowed that a two-sided plan may aim at."""
SPLITS = 10
"""Places weighed for the split between accepting and rejecting."""
_FIRST_SHARE = 0.5
"""Share of a forecast done before the next forecast, where another decoding pass is cheap."""
KEEP = 0.7
"""A new plan replaces the one at work where it needs fewer than this share of its looks."""
GROWTH = 2.0
"""A batch looks at most at so many times the frames known by then: forecasts start out poor."""
LEAST = 0.05
"""A batch looks at no fewer than this share of the frames known by then: a pass has its price."""
MARGINS = (0.7, 0.8, 0.88, 0.94, 0.97)
"""Hypotheses somewhat below those of interest, for a plan that comes to need them."""


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """Frames drawn uniformly from one side, and after how many draws an answer is hoped for."""

    frames: Frames
    above: bool
    deadline: int
    most: int


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One batch. `taken` leave their side before the draws; `intent` is what it is part of."""

    taken: Frames
    draws: tuple[Draw, ...]
    intent: Intent

    @property
    def batch(self) -> Frames:
        """The frames to look at, ascending."""
        parts: list[Frames] = [self.taken, *(draw.frames for draw in self.draws)]
        return np.sort(np.concatenate(parts))


@dataclass(frozen=True, slots=True)
class Intent:
    """What a plan means to reach, kept from batch to batch: a test whose aim moves loses power.

    `deadlines`: of the lower and the upper side, in draws made since the run began. `most`: marked
    draws until then that hypotheses are laid out for. `false_target`: wrong frames among those
    accepted unseen that the plan leaves.
    """

    deadlines: tuple[int, int]
    most: tuple[int, int]
    false_target: float


@dataclass(frozen=True, slots=True)
class Side:
    """A plan for one side: verify the `take` likeliest wrong ones, then draw `draws`."""

    take: int
    draws: int
    marked: float

    @property
    def calls(self) -> int:
        """Looks altogether."""
        return self.take + self.draws


def draws_needed(
    size: Array, marked: Array, base: Array, odds: float, cap: float, level: float
) -> Array:
    """Return a forecast of the draws that certify few enough marked ones left, element by element.

    Allowed are min(cap, odds (base + marked ones drawn)) left. `marked`: how many there really
    are, by belief. The law of the draws is taken for binomial.
    """
    from scipy import special

    share = FRACTIONS[None, :]
    seen = marked[:, None] * share
    seen = seen + LUCK * np.sqrt(seen * (1 - share))
    gained = odds * (base[:, None] + seen) if math.isfinite(odds) else math.inf
    left = np.floor(np.minimum(cap, gained + 1e-9)) + 1
    chance = special.betainc(left, seen + 1, 1 - share)
    enough = (chance <= level) | (left > size[:, None])
    enough[:, -1] = True
    return np.ceil(FRACTIONS[np.argmax(enough, axis=1)] * size)


def plan_side(wrong: Array, base: float, odds: float, cap: float, level: float) -> Side:
    """Return the cheapest plan for a side whose members are wrong with chance `wrong`, descending.

    `base`: right frames of the other kind certain to be in the denominator, before any look.
    """
    size = wrong.shape[0]
    if size == 0:
        return Side(0, 0, 0.0)
    few = np.geomspace(1, size, CUTS // 2, dtype=np.int64)
    even = np.linspace(0, size, CUTS // 2, dtype=np.int64)
    cuts = np.unique(np.concatenate([few, even]))
    sums = np.concatenate([[0.0], np.cumsum(wrong)])
    found, rest = sums[cuts], sums[-1] - sums[cuts]
    draws = draws_needed((size - cuts).astype(np.float64), rest, base + found, odds, cap, level)
    draws[cuts == size] = 0
    best = int(np.argmin(cuts + draws))
    return Side(int(cuts[best]), int(draws[best]), float(rest[best]))


def odds_of(rate: float) -> float:
    """Return rate / (1 - rate)."""
    return rate / (1 - rate)


@dataclass(frozen=True, slots=True)
class Plan:
    """Both sides' plans, and how many false frames the plan means to leave."""

    below: Side
    above: Side
    false_target: float

    @property
    def calls(self) -> int:
        """Looks altogether."""
        return self.below.calls + self.above.calls


def plan_sides(
    below: Array,
    above: Array,
    true: int,
    false: int,
    fnr: float,
    fpr: float,
    ceilings: tuple[Ceiling, Ceiling],
    aim: float | None = None,
) -> Plan:
    """Return the cheapest plan.

    Args:
        below: chance of a true label of the side that may be rejected unseen, descending.
        above: chance of a false label of the side that may be accepted unseen, descending.
        true: frames known to be true.
        false: frames known not to be.
        fnr: share of the true frames that may be missing.
        fpr: share of the others that may be there.
        ceilings: the certificates of the two sides.
        aim: wrong frames among the accepted ones that were meant to be left so far.
    """
    n_below, n_above = below.shape[0], above.shape[0]
    missing, wrong = odds_of(fnr), odds_of(fpr)
    if n_above == 0:
        lower = _below(below, float(true), missing, ceilings[0])
        return Plan(lower, Side(0, 0, 0.0), 0.0)
    # f may be so large that, with the h that it then leaves room for, both rates are met.
    most = wrong * (false + n_below - missing * (true + n_above)) / (1 - missing * wrong)
    most = min(max(most, 0.0), float(n_above))
    targets = [share * most for share in TARGETS]
    targets.append(float(ceilings[1].bound))  # what is certain by now
    if fnr > 0:
        targets.append(true + n_above - ceilings[0].bound / missing)
    best: Plan | None = None
    best_price = math.inf
    if aim is not None:
        targets.append(aim)
    for target in targets:
        if not 0 <= target <= most:
            continue
        if ceilings[1].bound <= target:
            upper = Side(0, 0, 0.0)
        else:
            upper = plan_side(above, 0.0, math.inf, target, ceilings[1].level(target))
        lower = _below(below, true + max(n_above - target, 0.0), missing, ceilings[0])
        plan = Plan(lower, upper, target)
        price = plan.calls * (KEEP if target == aim else 1.0)
        if best is None or price < best_price:
            best, best_price = plan, price
    assert best is not None
    return best


def _below(chance: Array, base: float, odds: float, ceiling: Ceiling) -> Side:
    allowed = math.floor(odds * base + 1e-9)
    if ceiling.bound <= allowed:
        return Side(0, 0, 0.0)
    return plan_side(chance, base, odds, math.inf, ceiling.level(allowed))


def split_at(
    chance: Array, free: Mask, true: int, false: int, fnr: float, fpr: float, delta: float
) -> Mask:
    """Return bool [N]: frames that may be accepted unseen, by the plan that should cost least."""
    places = np.flatnonzero(free)
    order = places[np.argsort(-chance[places], kind="stable")]
    sorted_ = chance[order]
    size = sorted_.shape[0]
    above = np.zeros(chance.shape[0], np.bool_)
    if size == 0:
        return above
    likely = int((sorted_ >= 0.5).sum())
    tops = {0, likely, size}
    tops |= {int(likely * x) for x in np.linspace(0.2, 0.95, SPLITS // 2)}
    tops |= {int((sorted_ >= x).sum()) for x in (0.3, 0.15, 0.05, 0.02)}
    # More than FPR allows of even the likeliest frames is no plan; ties stay together.
    best, best_calls = 0, math.inf
    for top in sorted(tops):
        if 0 < top < size and sorted_[top - 1] == sorted_[top]:
            top = int((sorted_ >= sorted_[top]).sum())
        level = delta / 2 if top and fnr > 0 else delta
        plan = plan_sides(
            sorted_[top:], 1 - sorted_[:top][::-1], true, false, fnr, fpr,
            (Ceiling(size - top, level), Ceiling(top, level)),
        )  # fmt: skip
        if plan.calls < best_calls:
            best, best_calls = top, plan.calls
    above[order[:best]] = True
    return above


def edges_of(base: float, odds: float, cap: float, most: int) -> Counts:
    """Return the numbers of marked members worth excluding before a draw, ascending.

    If the draw shows k marked ones, more than min(cap, odds (base + k)) must not be left.
    """
    seen = np.unique(np.linspace(0, most, min(most + 1, EDGES)).astype(np.int64))
    gained = odds * (max(base, 0.0) + seen) if math.isfinite(odds) else np.full(seen.shape, np.inf)
    allowed = np.floor(np.minimum(cap, gained + 1e-9)).astype(np.int64)
    found = seen + allowed + 1
    lower = np.floor(float(allowed[0]) * np.array(MARGINS)).astype(np.int64) + 1
    return np.union1d(found, lower)


def plan_step(
    chance: Array,
    free: Mask,
    above: Mask,
    true: int,
    false: int,
    fnr: float,
    fpr: float,
    ceilings: tuple[Ceiling, Ceiling],
    costs: Costs,
    rng: np.random.Generator,
    leaders: Frames | None,
    before: Intent | None,
) -> Step:
    """Return the next batch.

    Args:
        chance: of a true label, by frame.
        free: frames not looked at yet.
        above: frames that may be accepted unseen; the others may be rejected.
        true: frames known to be true.
        false: frames known not to be.
        fnr: share of the true frames that may be missing.
        fpr: share of the others that may be there.
        ceilings: the certificates of the lower and the upper side.
        costs: prices.
        rng: draws come from here.
        leaders: the frame whose decision each frame inherits (itself for none); None for none.
        before: what the batch before meant to reach.
    """
    sides: list[tuple[Frames, Array]] = []
    for upper in (False, True):
        places = np.flatnonzero(free & (above == upper))
        wrong = 1 - chance[places] if upper else chance[places]
        order = np.argsort(-wrong, kind="stable")
        sides.append((places[order], wrong[order]))
    plan = plan_sides(
        sides[0][1], sides[1][1], true, false, fnr, fpr, ceilings,
        before.false_target if before is not None else None,
    )  # fmt: skip
    allowance = max(int(GROWTH * (true + false)), 4 * costs.batch)
    taken: list[Frames] = []
    draws: list[Draw] = []
    deadlines, most = [0, 0], [0, 0]
    for upper, side, (places, _) in zip((0, 1), (plan.below, plan.above), sides, strict=True):
        size, drawn = places.shape[0], ceilings[upper].drawn
        left = max(before.deadlines[upper] - drawn, 0) if before is not None else 0
        take, need = side.take, side.draws
        if side.calls >= 0.97 * size:
            take, need = size, 0
        elif left and side.calls > KEEP * left:
            take, need = 0, left  # no better: go on as meant
        head = places[: min(take, allowance)]
        if leaders is not None and head.shape[0]:
            waiting = (leaders[head] != head) & np.isin(leaders[head], head)
            if waiting.any():
                taken.append(head[~waiting])
                continue  # what these show decides over those that wait
        taken.append(head)
        rest = places[take:]
        if head.shape[0] < take or not rest.shape[0] or not need:
            continue
        need = min(need, rest.shape[0])
        count = min(
            _batch(rest, need, true + false, costs), max(allowance - head.shape[0], costs.batch)
        )
        expected = side.marked * need / rest.shape[0]
        most[upper] = math.ceil(expected + 4 * math.sqrt(expected + 1) + 6)
        deadlines[upper] = drawn + max(need, count)
        chosen = rng.permutation(np.sort(rest))[:count]
        draws.append(Draw(chosen, bool(upper), max(need, count), min(most[upper], need)))
    batch = np.concatenate(taken)
    if not batch.shape[0] and not draws:
        # Nothing is gained by waiting or drawing: look at what is likeliest to be wrong.
        batch = np.concatenate([sides[0][0][: costs.batch], sides[1][0][: costs.batch]])
    intent = Intent((deadlines[0], deadlines[1]), (most[0], most[1]), plan.false_target)
    return Step(np.sort(batch), tuple(draws), intent)


def _batch(rest: Frames, need: int, known: int, costs: Costs) -> int:
    """Return how many of `need` forecast draws to make now."""
    half = np.sort(rest[:: max(rest.shape[0] // max(need // 2, 1), 1)])
    pass_ = costs.decode(half)
    share = 1.0 if pass_ > 0.15 * need * costs.detect else _FIRST_SHARE
    count = max(math.ceil(need * share), costs.batch, int(LEAST * known))
    return min(need if need - count < 2 * costs.batch else count, rest.shape[0])
