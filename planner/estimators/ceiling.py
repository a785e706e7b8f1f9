"""How many marked members a shrinking set can still hold: draws in, an upper bound out.

The certificate behind FNR and FPR. A set of frames is decided without a look at each; marked are
those of them that are decided wrongly. Members leave the set in two ways: *taken* for any reason
the past may give (the detector verifies the likeliest ones), or *drawn* uniformly at random. The
question is how many marked ones are left, and the answer must hold however the run goes on.

The test of "the set held at least g marked members at first" is a wealth that starts at delta.
Under the hypothesis with exactly g, the number of marked ones among the next draws follows the
hypergeometric law, whatever was taken before, for what was taken is known. Each batch plays that
law: with a deadline n of draws, the wealth u buys the exact test of level u that rejects for few
marked ones at the deadline, and afterwards is worth that test's conditional level given what the
batch showed. So the wealth is a martingale under g, a supermartingale under any larger number
(more marked ones are drawn, and the worth falls in them), and reaches 1 with probability at most
delta, at whatever moment one looks and however deadlines and takings were chosen from the past.
With one deadline, kept, it is the exact hypergeometric test, which nothing beats at a fixed size.

Sources: Ville (1939); Mueller & Schaefer, "A general statistical principle for changing a design
any time during the course of a trial" (Statistics in Medicine, 2004) for conditional levels;
Waudby-Smith & Ramdas (NeurIPS 2020) for martingales in sampling without replacement.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]

DEADLINES = (1.0, 1.6)
"""Deadlines that wealth is staked on before each batch, in units of the planned draws."""
STAKES = (0.8, 0.2)
"""Shares of the wealth at work that are staked on each deadline."""
AT_WORK = 0.8
"""Share of the wealth that is put to work at first, and again whenever most of that is lost."""
_LOST = 0.25
"""What is at work is lost when it is less than this share of the reserve."""
NEAR = 0.004
"""A hypothesis of interest is left to the one below it if that is nearer than this share of it."""
_DEAD = 1e-13
"""Wealth below this is taken for none: tails of the law are summed to about 1e-15."""
_REACH = 9.0
"""Half width, in standard deviations, of the part of the law that is computed."""


class Ceiling:
    """An upper bound of the marked members that a set still holds, valid at every moment.

    Hypotheses are tested at edges, which `sample` is given as they become of interest. A new
    edge starts with the wealth of the largest edge below it: that was a supermartingale under the
    new hypothesis too. The claim "fewer than g" needs every edge from g upwards rejected, so
    that it is wrong only if the one lineage of edges next below the truth was: no price for the
    number of edges.
    """

    def __init__(self, size: int, delta: float) -> None:
        """Start with a set of `size` members.

        Raises:
            ValueError: the arguments make no sense.
        """
        if size < 0 or not 0 < delta < 1:
            raise ValueError("need size >= 0 and 0 < delta < 1")
        self.size = size
        self.delta = delta
        self.drawn = 0
        self.found = 0
        self._edges: Counts = np.zeros(1, np.int64)
        self._work: Array = np.full(1, delta * AT_WORK)
        self._reserve: Array = np.full(1, delta * (1 - AT_WORK))
        self._rejected = np.zeros(1, np.bool_)

    @property
    def bound(self) -> int:
        """At most so many of the members left are marked, with probability 1 - delta."""
        live = np.flatnonzero(~self._rejected)
        below = int(live[-1]) + 1 if live.shape[0] else 0  # all edges from here on are rejected
        if below < self._edges.shape[0]:
            return max(min(int(self._edges[below]) - 1 - self.found, self.size), 0)
        return self.size

    def level(self, left: float) -> float:
        """Return the wealth against "more than `left` marked ones are left": 1 rejects it.

        A test that starts now may have this level. Every higher edge must fall too, so it is the
        least of theirs.
        """
        place = int(np.searchsorted(self._edges, left + 1 + self.found, side="right")) - 1
        live = np.flatnonzero(~self._rejected[place:]) + place
        if not live.shape[0]:
            return 1.0
        work, reserve = self._work[live], self._reserve[live]
        ready = np.where(work < _LOST * reserve, work + AT_WORK * reserve, work)
        return float(min(ready.min(), 1.0))

    def take(self, members: int, marked: int) -> None:
        """Note that `members` left the set after a look at them, not by a uniform draw.

        Raises:
            ValueError: more than there are.
        """
        if not 0 <= marked <= members <= self.size:
            raise ValueError("more members or marked ones taken than there are")
        self.size -= members
        self.found += marked

    def sample(self, members: int, marked: int, edges: Counts, deadline: int) -> None:
        """Note a uniform draw without replacement of `members`, `marked` of them marked.

        `edges` (marked members left at most that would be of interest to exclude, ascending, each
        from 1 up) and `deadline` (draws from here on after which an answer is hoped for) must be
        chosen before the draw's labels are seen.

        Raises:
            ValueError: more than there are.
        """
        if not 0 <= marked <= members <= self.size:
            raise ValueError("more members or marked ones drawn than there are")
        lowest = self._insert(edges)
        if members:
            self._bet(members, marked, deadline, lowest)
        self.size -= members
        self.found += marked
        self.drawn += members

    def _insert(self, edges: Counts) -> int:
        """Add hypotheses where none is near; return the lowest of interest."""
        wanted = np.unique(np.asarray(edges, np.int64)) + self.found
        wanted = wanted[wanted >= 1]
        if not wanted.shape[0]:
            return 1
        next_below = self._edges[np.searchsorted(self._edges, wanted, side="right") - 1]
        wanted = wanted[wanted - next_below > NEAR * (wanted - self.found)]
        merged = np.union1d(self._edges, wanted)
        parent = np.searchsorted(self._edges, merged, side="right") - 1
        self._work, self._reserve = self._work[parent], self._reserve[parent]
        self._rejected = self._rejected[parent]
        self._edges = merged
        return int(np.searchsorted(merged, int(edges[0]) + self.found, side="right")) - 1

    def _bet(self, members: int, marked: int, deadline: int, lowest: int) -> None:
        left = self._edges - self.found
        self._rejected |= left > self.size  # so many were never in the set
        open_ = np.flatnonzero(~self._rejected & (left > 0))
        open_ = open_[open_ >= lowest]
        if not open_.shape[0]:
            return
        lost = open_[self._work[open_] < _LOST * self._reserve[open_]]
        self._work[lost] += AT_WORK * self._reserve[lost]
        self._reserve[lost] *= 1 - AT_WORK
        m, held = left[open_], self._work[open_]
        worth = np.zeros_like(held)
        for stake, stretch in zip(STAKES, DEADLINES, strict=True):
            horizon = min(max(math.ceil(deadline * stretch), members), self.size)
            worth += _conditional(held * stake, self.size, m, horizon, members, marked)
        self._work[open_] = worth
        self._rejected[open_] |= worth + self._reserve[open_] >= 1.0


def _conditional(
    level: Array, size: int, marked: Counts, horizon: int, drawn: int, seen: int
) -> Array:
    """Return the worth of tests after a batch.

    Each test, at `horizon` draws from `size` members of which `marked` are marked, rejects for few
    of them and has the given level exactly (it is randomised at its critical value). The worth is
    its level given that the first `drawn` draws showed `seen`.
    """
    alive = level > _DEAD
    worth = np.zeros_like(level)
    if not alive.any():
        return worth
    level, marked = np.minimum(level[alive], 1.0), marked[alive]
    low, law = _law(size, marked, horizon)
    upto = np.cumsum(law, axis=1)
    critical = np.minimum((upto <= level[:, None]).sum(axis=1), law.shape[1] - 1)
    rows = np.arange(level.shape[0], dtype=np.int64)
    below = np.where(critical > 0, upto[rows, np.maximum(critical - 1, 0)], 0.0)
    mass = law[rows, critical]
    share = np.clip((level - below) / np.maximum(mass, 1e-300), 0.0, 1.0)
    rest = low + critical - seen  # at most so many more, the last with probability `share`
    after = marked - seen
    possible = (after >= 0) & (rest >= 0) & (after <= size - drawn)
    result = np.where(after > size - drawn, 1.0, 0.0)  # the hypothesis is refuted outright
    if possible.any():
        low, law = _law(size - drawn, after[possible], horizon - drawn)
        place = np.minimum(rest[possible] - low, law.shape[1])
        upto = np.concatenate([np.zeros((law.shape[0], 1)), np.cumsum(law, axis=1)], axis=1)
        rows = np.arange(law.shape[0], dtype=np.int64)
        inside = (place >= 0) & (place < law.shape[1])
        at = np.where(inside, law[rows, np.clip(place, 0, law.shape[1] - 1)], 0.0)
        fewer = np.where(place >= 0, upto[rows, np.clip(place, 0, law.shape[1])], 0.0)
        result[possible] = fewer + share[possible] * at
    worth[alive] = np.minimum(result, 1.0)
    return worth


def _law(size: int, marked: Counts, drawn: int) -> tuple[Counts, Array]:
    """Return (low, law): law[i, j] is the chance of low[i] + j marked ones among `drawn` draws."""
    from scipy import special

    mean = drawn * marked / max(size, 1)
    spread = np.sqrt(mean * (1 - drawn / max(size, 1)) * (1 - marked / max(size, 1))) + 1.0
    least = np.maximum(0, drawn - (size - marked))
    most = np.minimum(drawn, marked)
    low = np.maximum(least, np.floor(mean - _REACH * spread - 12).astype(np.int64))
    high = np.minimum(most, np.ceil(mean + _REACH * spread + 12).astype(np.int64))
    k = low[:, None] + np.arange(int((high - low).max()) + 1)
    inside = k <= most[:, None]
    k = np.minimum(k, most[:, None])
    m = marked[:, None]

    def choose(n: Array | Counts | int, r: Array | Counts | int) -> Array:
        return (
            special.gammaln(np.add(n, 1.0))
            - special.gammaln(np.add(r, 1.0))
            - special.gammaln(np.subtract(n, r) + 1.0)
        )

    logs = choose(m, k) + choose(size - m, drawn - k) - choose(size, drawn)
    return low, np.where(inside, np.exp(logs), 0.0)
