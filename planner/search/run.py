"""A search at work: it says which frames to look at next, is told what they hold, decides anew.

Pure numbers. Candidates are frames, in order of (video, place); a frame is a hit where the block
returns a row for it. Rows are the largest packing of the hits, so that they do not depend on the
order in which the hits were found; the search ends when there are enough, or when every candidate
was looked at or is too near to a row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foveal.planner import cost
from foveal.planner.search.belief import Belief, effective_trials
from foveal.planner.search.forecast import (
    EVENT_SECONDS,
    EVENTS,
    LABELS,
    TELLING,
    Prices,
    Quest,
    coarse,
    forecast,
    shallow,
    slots,
)
from foveal.planner.search.ranking import Ranking, apart
from foveal.planner.search.spacing import pack, too_near
from foveal.planner.search.spread import spread

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

PROBES = (8, 16, 32, 64, 128, 256, 512, 1024)
"""How many frames may be looked at in order before it is decided anew."""
MOST = 512
"""Frames of one step at most, where they come scattered."""
MARGIN = 0.25
"""Training must promise to save itself and this share of its price, for it is not sure to."""
RANKED_PER_LOOK = 20_000
"""Frames whose ranking is worth one look: it takes some milliseconds."""
AGAIN = 0.2
"""Proxies are trained again where that costs less than this share of what is still expected."""
_ORDER = ("search", "random", "ranked", "learn")


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What to do next. `kind`: search, random or ranked, looks at `frames`; or learn.

    `frames`: candidates, ascending. After every `chunk` of them what was seen is to be told, for
    the rest may be of no use then: `SearchRun.open` says which still are.
    """

    kind: str
    frames: Ints
    chunk: int


class SearchRun:
    """One search. Deterministic: same candidates, same answers, same seed, same steps."""

    def __init__(
        self,
        videos: Ints,
        places: Floats,
        *,
        want: int,
        gap: float,
        second: float,
        prices: Prices,
        methods: frozenset[str],
        belief: Belief,
        least: tuple[float, ...],
        seed: int,
        starts: Ints | None = None,
    ) -> None:
        """Take the candidates (sorted by video, place) and what is wanted of them.

        Args:
            videos: int64 [candidates].
            places: float64 [candidates], ascending within a video; `gap` is in their unit.
            want: rows.
            gap: least distance of two rows of a video.
            second: a second, in the unit of `places`.
            prices: what looking, scoring and training cost.
            methods: search, random, ranked, learn: those that the plan allows.
            belief: share of the frames that may be hits, before the first look.
            least: the heads' bounds.
            seed: of the random choices.
            starts: candidates (ascending) at which a decoder can start, where seeking is dear.
        """
        self._videos, self._places = videos, places
        self._want, self._gap = want, gap
        self._prices, self._methods = prices, methods
        self._belief = belief
        self._starts = starts
        self._rng = np.random.default_rng(seed)
        size = len(places)
        steps = np.diff(places)[np.diff(videos) == 0]
        self._step = float(steps.mean()) if len(steps) else 1.0
        self._events = tuple(max(e * second / self._step, 1.0) for e in EVENTS)
        self._event = EVENT_SECONDS * second
        self._seen = np.zeros(size, np.bool_)
        self._hit = np.zeros(size, np.bool_)
        self._near = np.zeros(size, np.bool_)
        self.found: Ints = np.zeros(0, np.int64)
        self.ranking = Ranking(videos, places, least, self._event)
        self._promised, self._kept_promises = 0.0, 0.0
        self._taught_with = 0
        self._refused_at = 0
        self._kind = "search"
        self._rate = belief.mean
        self._again = 0.0
        self._in_turn = 0

    # --- what is known ----------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether there are as many rows as wanted."""
        return len(self.found) >= self._want

    @property
    def _missing(self) -> int:
        return self._want - len(self.found)

    @property
    def open(self) -> Flags:
        """Return bool [candidates]: not looked at, and able to give a row still."""
        return ~(self._seen | self._near)

    @property
    def looked(self) -> int:
        """Candidates looked at, those known beforehand included."""
        return int(self._seen.sum())

    @property
    def kind(self) -> str:
        """The most elaborate way used so far: search, random, ranked or learn."""
        return self._kind

    @property
    def belief(self) -> Belief:
        """What share of the frames are hits, as far as is known."""
        return self._belief

    def know(self, frames: Ints, hits: Flags) -> None:
        """Take candidates (ascending) that were known before the search; they cost nothing.

        The belief that the search was given covers them already.
        """
        self._take(frames, hits)

    def label(self, step: Step | None, frames: Ints, values: Floats) -> None:
        """Take the counts of frames (ascending) told before, float64 [frames, heads].

        `step` is what they were looked at for, None for those known beforehand.
        """
        blind = step is None or step.kind in ("search", "random")
        self.ranking.label(frames, values, blind=blind)

    def add(self, step: Step, frames: Ints, hits: Flags) -> bool:
        """Take what some of a step's frames (ascending) hold; say whether its rest is of use."""
        if step.kind in ("search", "random"):
            self._in_turn += len(frames) if step.kind == "search" else 0
            worth = effective_trials(self._distances(frames), self._event)
            self._belief = self._belief.after(float(worth @ hits), float(worth @ ~hits))
        else:
            self._promised += self._rate * len(frames)
            self._kept_promises += int(hits.sum())
        self._take(frames, hits)
        if self.full:
            return False
        leap = self._gap / self._step * self._prices.profile.decode_frame
        return not (step.kind == "search" and hits.any() and leap > self._prices.profile.seek)

    def scored(self, base: Floats, spread: Floats, *, kind: str, again: float) -> None:
        """Take scores: float64 [candidates, heads], their residuals' deviation [heads].

        `kind`: ranked or learn. `again`: seconds to train and score once more.
        """
        self.ranking.score(base, spread)
        self._taught_with = self.looked
        self._again = again
        self._promised *= 0.25
        self._kept_promises *= 0.25
        self._use(kind)

    def forget_heads(self) -> None:
        """Take it that values cannot be had: from now on they say whether there is a row."""
        self._methods -= {"ranked", "learn"}
        self.ranking = Ranking(self._videos, self._places, (1.0,), self._event)

    def refuse(self) -> None:
        """Take it that nothing useful was learnt from the labels so far."""
        self._refused_at = self.looked

    def _take(self, frames: Ints, hits: Flags) -> None:
        self._seen[frames] = True
        self._hit[frames] = hits
        if hits.any():
            places = np.flatnonzero(self._hit)
            chosen = pack(self._videos[places], self._places[places], self._gap, self._want)
            self.found = places[chosen]
            self._near = too_near(self._videos, self._places, self.found, self._gap)

    def _distances(self, frames: Ints) -> Floats:
        """Return how far each frame (ascending) is from those seen, and from the one before it."""
        out = np.full(len(frames), np.inf)
        seen = np.flatnonzero(self._seen)
        if len(seen):
            after = np.searchsorted(seen, frames)
            for place in (after - 1, after):
                at = seen[np.clip(place, 0, len(seen) - 1)]
                held = (place >= 0) & (place < len(seen))
                held &= self._videos[at] == self._videos[frames]
                near = np.abs(self._places[frames] - self._places[at])
                out = np.where(held, np.minimum(out, near), out)
        same = self._videos[frames[1:]] == self._videos[frames[:-1]]
        steps = np.where(same, np.diff(self._places[frames]), np.inf)
        out[1:] = np.minimum(out[1:], steps)
        return out

    # --- what to do next --------------------------------------------------------------------

    def outlooks(self) -> tuple[Floats, dict[str, Floats]]:
        """Return (weights, seconds of each method for what is left), float64 [cases] each.

        A case is a length of events and a share of frames. Cases in which there could not be as
        many rows as have been found weigh nothing.
        """
        gap, found = self._gap / self._step, len(self.found)
        open_ = float(self.open.sum())
        prices = replace(self._prices, labels=self.looked)
        belief = self._belief.weights()
        weights: list[Floats] = []
        seconds: dict[str, list[Floats]] = {name: [] for name in self._methods}
        for event in self._events:
            whole = Quest(float(len(self._places)), self._want, gap, event)
            weights.append(belief * (slots(whole) >= found))
            quest = Quest(open_, self._missing, gap, event)
            for name, outlook in forecast(quest, prices, self._methods).items():
                seconds[name].append(outlook.seconds)
        joined = np.concatenate(weights)
        total = joined.sum()
        joined = joined / total if total > 0 else np.full(len(joined), 1 / len(joined))
        return joined, {name: np.concatenate(s) for name, s in seconds.items() if s}

    def next(self, limit: int | None = None) -> Step | None:
        """Return the next step, of at most `limit` frames; None when the search is over."""
        open_ = self.open
        if self.full or not open_.any() or (limit is not None and limit <= 0):
            return None
        weights, seconds = self.outlooks()
        if self._should_learn(weights, seconds):
            return Step("learn", np.zeros(0, np.int64), 0)
        if not self.ranking.scored:
            probe = self._probe(weights, seconds)
            if probe and not self._scatter_first(open_, weights, seconds):
                return self._in_order(open_, probe, limit)
        step = self._guided(open_, limit)
        return step if step is not None else self._scattered(open_, limit)

    def _should_learn(self, weights: Floats, seconds: dict[str, Floats]) -> bool:
        looked = self.looked
        if looked < max(LABELS, 2 * self._refused_at) or not self.ranking.varied():
            return False
        if self.ranking.scored:
            ahead = self._missing / max(self._rate, 1e-6) * self._prices.call
            return looked >= 2 * self._taught_with and self._again < AGAIN * ahead
        if "learn" not in seconds:
            return False
        others = [float(weights @ s) for name, s in seconds.items() if name != "learn"]
        margin = MARGIN * self._prices.teach
        return float(weights @ seconds["learn"]) + margin < min(others, default=np.inf)

    def _probe(self, weights: Floats, seconds: dict[str, Floats]) -> int:
        """Return how many frames to look at in order before deciding anew; 0 for none.

        Going in order and changing over after r frames costs what the order costs where that ends
        before, else r frames and what the best other way costs; the r of least expectation wins.
        """
        search = seconds.get("search")
        if search is None:
            return 0
        others = [s for name, s in seconds.items() if name in ("random", "learn")]
        if not others:
            return PROBES[-1]
        other = np.min(others, axis=0)
        best, best_seconds = 0, float(weights @ other)
        each = self._prices.call + self._prices.profile.decode_frame
        for probe in PROBES:
            paid = probe * each
            expected = float(weights @ np.where(search <= paid, search, paid + other))
            if expected < best_seconds:
                best, best_seconds = probe, expected
        return PROBES[-1] if float(weights @ search) <= best_seconds else best

    def _scatter_first(self, open_: Flags, weights: Floats, seconds: dict[str, Floats]) -> bool:
        """Return whether a scattered batch before going in order should cost less than none.

        Where all will be looked at in the end, the batch costs the jumps of its own decoding and
        nothing else; where there is something to find, it may save most of the way.
        """
        if "random" not in self._methods or not len(self._places):
            return False
        count, looks = self._next_count(), float(open_.sum())
        found: list[Floats] = []
        for event in self._events:
            quest = Quest(looks, self._missing, self._gap / self._step, event)
            enough = slots(quest) >= quest.want
            found.append(np.where(enough, 1 - np.exp(-count / np.maximum(coarse(quest), 1)), 0.0))
        search, hit = seconds["search"], np.concatenate(found)
        jumps = float(
            shallow(np.array([float(count)]), self._prices.facts, self._prices.profile)[0]
        )
        passed = self._prices.profile.decode_frame * looks
        whole = max(looks * self._prices.call + passed, 1e-9)
        # In order, a frame that was looked at is not looked at again.
        left = search * np.maximum(1 - count * self._prices.call / whole, 0.0)
        batch = count * self._prices.call + jumps
        return batch + float(weights @ ((1 - hit) * left)) < float(weights @ search)

    def _in_order(self, open_: Flags, most: int, limit: int | None) -> Step:
        count = min(most, 128, limit if limit is not None else most)
        frames = np.flatnonzero(open_)[:count]
        rows = max(len(self.found), 1)
        each = min((self._in_turn + 8) / rows, 1 / max(self._belief.mean, 1e-6))
        apart_ = self._gap > self._step
        return Step("search", frames, self._chunk(each if apart_ else each * self._missing))

    def _scattered(self, open_: Flags, limit: int | None) -> Step:
        count = self._next_count()
        count = min(count, limit) if limit is not None else count
        frames = spread(self._videos, open_, count, self._rng, self._starts)
        self._use("random")
        return Step("random", frames, self._chunk(self._missing / max(self._belief.mean, 1e-6)))

    def _next_count(self) -> int:
        """Return how many frames to scatter next: as many again as were looked at."""
        hoped = int(np.ceil(self._missing / max(self._belief.mean, 1e-6))) + 3
        return max(min(max(self.looked, 16), hoped), self._worth_a_pass())

    def _worth_a_pass(self) -> int:
        """Return the least number of frames whose decoding costs a third of their detection."""
        counts = np.array([8.0, 16.0, 32.0, 64.0, 128.0])
        decode = shallow(counts, self._prices.facts, self._prices.profile)
        enough = counts[decode <= counts * self._prices.call / 3]
        return int(enough[0]) if len(enough) else 16

    def _guided(self, open_: Flags, limit: int | None) -> Step | None:
        """Return the best of the ranking, unless random looks promise more."""
        chances = self.ranking.probabilities()
        if chances is None:
            return None
        ranking = np.where(open_, chances.sum(axis=1), -np.inf)
        most = min(MOST // 2, limit if limit is not None else MOST)
        order = apart(self._videos, self._places, ranking, self._gap, most)
        sure = chances[order].prod(axis=1)
        missing = self._missing
        trust = (1 + self._kept_promises) / (1 + self._promised)
        promised = trust * np.cumsum(sure)
        # A promise that was not tried before is tried on a few frames.
        most = max(int(np.searchsorted(promised, 2 + self._kept_promises)), 1)
        least = len(ranking) // RANKED_PER_LOOK + 1  # ranking takes its time too
        counts = np.unique(np.clip([1, 2, 4, 8, 16, 32, 64, 128, 256], least, max(most, least)))
        counts = np.unique(np.minimum(counts, len(order)))
        hits = promised[counts - 1]
        decode = [
            cost.decode_sample(float(n), self._prices.facts, self._prices.profile) for n in counts
        ]
        looks = np.minimum(counts, counts * missing / np.maximum(hits, 1e-9))
        seconds = looks * self._prices.call + np.array(decode)
        each = seconds / np.minimum(np.maximum(hits, 1e-12), missing)
        best = int(np.flatnonzero(each <= 1.1 * each.min())[-1])
        count = int(counts[best])
        mean = self._belief.mean
        if hits[best] / count <= mean:
            return None
        self._rate = float(sure[:count].mean())
        kind = "ranked" if self.ranking.scored else "random"
        self._use(kind)
        # Told apart from blind looks: these say nothing of the frames' share.
        return Step("ranked", np.sort(order[:count]), self._chunk(missing * count / hits[best]))

    def _chunk(self, looks: float) -> int:
        """Return the frames between two tellings that waste least, on the way to `looks` of them.

        Telling costs time; of the frames looked at since the last one half were one too many.
        """
        return max(round(float(np.sqrt(2 * looks * TELLING / max(self._prices.call, 1e-6)))), 1)

    def _use(self, kind: str) -> None:
        if self._kind == "learn" and kind == "ranked":
            return
        if _ORDER.index(kind) > _ORDER.index(self._kind):
            self._kind = kind
