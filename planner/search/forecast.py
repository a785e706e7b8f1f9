"""How many frames each way of searching should look at, and the seconds that takes.

The scene is taken to satisfy the condition in stretches (events) that begin at random: with share
p and events of `event` frames there are p N / event of them. Sources: the expected calls of a
ranking are BlazeIt's (k hits cost k / precision); the rest follows from the events.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from foveal.planner import cost
from foveal.planner.protocols import FrameFacts, Profile
from foveal.planner.search.belief import SHARES, Belief

Floats = npt.NDArray[np.float64]

EVENTS = (0.3, 2.0, 10.0)
"""Seconds that a condition may last once it holds, each as likely. A count that flickers round its
bound is brief; means of objects in fixed cameras are published from 0.3 s (cars on a motorway) to
10 s (boats)."""
EVENT_SECONDS = 1.0
"""One length between them, where one is needed."""
TELLING = 0.005
"""Seconds to evaluate a block's text on a few detections."""
LABELS = 100
"""Labelled frames before a proxy is trained."""
RANKS = 256
"""Points at which the precision of a ranking is evaluated."""


@dataclass(frozen=True, slots=True)
class Quest:
    """What is left: `frames` to look at, rows to find (`want`), `gap` and `event` in frames."""

    frames: float
    want: int
    gap: float
    event: float


@dataclass(frozen=True, slots=True)
class Prices:
    """Seconds. `looks`: everything that scores cost beyond detector calls, from what is kept.

    `score` scoring all frames by proxies that exist, `teach` making them as well (thumbnails,
    training, scoring). `r2`: squared correlation of existing proxies, `taught_r2` of taught ones;
    None where there can be none.
    """

    facts: FrameFacts
    profile: Profile
    score: float = 0.0
    teach: float = 0.0
    r2: float | None = None
    taught_r2: float | None = None
    labels: int = 0

    @property
    def call(self) -> float:
        """Seconds of one detector call."""
        return self.profile.detect_frame


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """One way to search: expected calls and seconds for each of SHARES, float64 [shares]."""

    name: str
    calls: Floats
    decode: Floats
    extra: Floats
    call: float

    @property
    def seconds(self) -> Floats:
        """Seconds altogether."""
        return self.calls * self.call + self.decode + self.extra


def in_order(q: Quest) -> tuple[Floats, Floats]:
    """Return (frames looked at, frames passed by) when frames are taken one after the other."""
    p, event = SHARES, _event(q)
    wait = (1 - p) * (event / p - event)
    long = event > q.gap
    each = 1 + np.where(long, q.gap * (1 / p - 1), wait)
    passed = np.where(long, q.gap / p, np.maximum(q.gap, 1) + wait)
    calls = q.want * each + np.where(long, wait, 0.0)
    passed = q.want * passed + wait
    return _bounded(q, calls), np.minimum(np.maximum(passed, calls), q.frames)


def coarse(q: Quest) -> Floats:
    """Return the frames looked at when they are taken at random, coarse to fine.

    A long event, once met, gives further rows at nearly a look each.
    """
    p, n, event = SHARES, float(q.frames), _event(q)
    events = np.maximum(p * n / event, 1e-9)
    rows = np.maximum(event / max(q.gap, 1.0), 1.0)
    wanted = np.maximum(q.want / rows, 1.0)
    lost = np.minimum(event + 2 * q.gap, event / p)  # frames out of reach after each event
    left = np.maximum(events - wanted, 1e-9)
    # The sum over j of (n - j lost) / (p n - j event), the looks to each next event.
    calls = (lost * wanted + (n - lost * events) * np.log(np.maximum(events / left, 1.0))) / event
    met = 1.5 * n / event  # looks are an event apart by then: none was missed
    return _bounded(q, np.minimum(calls, met) + 1.2 * np.maximum(q.want - wanted, 0.0))


def ranked(q: Quest, r2: float) -> Floats:
    """Return the frames looked at down the ranking of a score with this squared correlation.

    Frames that lie within an event of each other are one candidate.
    """
    precision, widths = _precision(round(min(max(r2, 0.0), 0.98), 2))
    candidates = max(q.frames / max(q.event, 1.0), 1.0)
    hits = np.cumsum(precision * widths * candidates, axis=1)
    looks = np.cumsum(widths) * candidates
    found = np.array([np.interp(q.want, h, looks, right=q.frames) for h in hits])
    # A false candidate is often looked at twice before its neighbourhood is given up.
    calls = q.want + 2 * np.maximum(found - q.want, 0.0)
    return _bounded(q, np.minimum(calls, coarse(q)))


@lru_cache(maxsize=128)
def _precision(r2: float) -> tuple[Floats, Floats]:
    """Return (precision float64 [shares, ranks], width of each rank as a share of all).

    Value and score are taken to be jointly normal.
    """
    rho = r2**0.5
    share = ((np.arange(RANKS) + 0.5) / RANKS) ** 3  # the top of the ranking in detail
    widths = np.diff(np.concatenate([[0.0], (share[1:] + share[:-1]) / 2, [1.0]]))
    normal = NormalDist()
    z = np.array([normal.inv_cdf(1 - s) for s in share])
    threshold = np.array([normal.inv_cdf(1 - s) for s in SHARES])
    aim = (rho * z[None, :] - threshold[:, None]) / (1 - r2) ** 0.5
    return 0.5 * (1 + np.tanh(0.7978845608 * (aim + 0.044715 * aim**3))), widths


def forecast(q: Quest, prices: Prices, methods: frozenset[str]) -> dict[str, Outlook]:
    """Return the outlook of each method that applies: search, random, ranked, learn."""
    found: dict[str, Outlook] = {}
    zero = np.zeros(len(SHARES))
    call = prices.call

    def add(name: str, calls: Floats, decode: Floats, extra: Floats) -> None:
        found[name] = Outlook(name, calls, decode, extra, call)

    if q.want <= 0 or q.frames <= 0:
        return {name: Outlook(name, zero, zero, zero, call) for name in methods}
    calls, passed = in_order(q)
    jumps = calls * prices.profile.seek
    add("search", calls, np.minimum(passed * prices.profile.decode_frame, jumps), zero)
    looks = coarse(q)
    if "random" in methods:
        add("random", looks, _scattered(looks, q, prices), zero)
    if "ranked" in methods and prices.r2 is not None:
        calls = ranked(q, prices.r2)
        add("ranked", calls, _scattered(calls, q, prices), zero + prices.score)
    if "learn" in methods and prices.taught_r2 is not None:
        missing = max(LABELS - prices.labels, 0)
        soon = looks <= missing
        # The labels find rows too, at the rate of a random look.
        rest = np.maximum(1 - missing / np.maximum(looks, 1), 0)
        calls = missing + rest * ranked(q, prices.taught_r2)
        calls = np.where(soon, looks, np.minimum(calls, looks))
        decode = _scattered(calls, q, prices)
        add("learn", calls, decode, np.where(soon, 0.0, prices.teach))
    return {name: o for name, o in found.items() if name in methods}


def expected(belief: Belief, values: Floats) -> float:
    """Return the expectation of a value given for each of SHARES."""
    return float(belief.weights() @ values)


def between(belief: Belief, values: Floats) -> tuple[float, float]:
    """Return the value at the belief's 90 % and its 10 % quantile: the easy and the hard case."""
    weights = np.cumsum(belief.weights())
    easy = min(int(np.searchsorted(weights, 0.9)), len(SHARES) - 1)
    hard = min(int(np.searchsorted(weights, 0.1)), len(SHARES) - 1)
    return float(values[easy]), float(values[hard])


def _event(q: Quest) -> Floats:
    """Events grow where the condition nearly always holds."""
    return np.maximum(q.event, 1.0) / (1 - SHARES)


def slots(q: Quest) -> Floats:
    """Return how many rows the frames may hold."""
    event = _event(q)
    each = np.maximum(event / max(q.gap, 1.0), 1.0)
    return np.minimum(SHARES * q.frames / event * each, q.frames / max(q.gap, 1.0) + 1)


def _exhausted(q: Quest) -> Floats:
    """Return the frames looked at where all are, but for those too near to rows found."""
    event = _event(q)
    near = np.minimum(2 * q.gap - 1, event / SHARES)
    return np.maximum(q.frames - np.minimum(slots(q), q.want) * np.maximum(near, 0), 1.0)


def _bounded(q: Quest, calls: Floats) -> Floats:
    """Return the calls, at least one a row; where there are not so many rows, every frame."""
    every = _exhausted(q)
    return np.maximum(np.where(q.want > slots(q), every, np.minimum(calls, every)), q.want)


def _scattered(looks: Floats, q: Quest, prices: Prices) -> Floats:
    """Return the seconds to decode frames that come coarse to fine, in batches twice as large.

    Once looks are an event apart the rest goes in order, in one pass.
    """
    met = 1.5 * q.frames / _event(q)
    rest = np.where(looks > met, cost.decode_all(prices.facts.frames, prices.profile), 0.0)
    halves = np.minimum(looks, met)[None, :] / 2.0 ** np.arange(1, 13)[:, None]
    return shallow(halves, prices.facts, prices.profile).sum(axis=0) + rest


def shallow(count: Floats, facts: FrameFacts, profile: Profile) -> Floats:
    """Return seconds to decode `count` spread frames, chosen near to where a decoder can start."""
    groups = max(facts.keyframes, 1)
    length = facts.frames / groups
    jump = cost.jump_seconds(profile, length) + profile.decode_frame
    frames = groups * length * (1 - groups / np.maximum(count, groups))
    deep = groups * jump + frames * profile.decode_frame
    deep = np.minimum(deep, cost.decode_all(facts.frames, profile))
    return np.where(count <= groups, np.minimum(count * jump, deep), deep)
