"""Detections in, tracks out, by a definition that does not depend on where one starts to look.

A *tracklet* is a longest chain of detections in frames in a row, each the other's best match by
intersection over union; chains shorter than a fifth of a second are noise. A *track* is a chain of
tracklets: the end of one is joined to the start of a later one, at most two seconds on, where
their motions meet and each is the other's best partner; what is left is joined in two further
rounds. Everything depends on the frames nearby only, so one object's track can be followed
backwards and forwards from any frame, and is the same from all.

Sources: Bochinski et al., "High-Speed Tracking-by-Detection Without Using Image Information", AVSS
2017 (chains by overlap); Wang et al., "Exploit the Connectivity: Multi-Object Tracking with
TrackletNet", ACM Multimedia 2019 (tracklets, then connections). Mutual best in rounds is ours.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right

import numpy as np
import numpy.typing as npt

from foveal.udfs.detectors.boxes import ious
from foveal.udfs.tracking.kalman import EXIT_MARGIN, hits_of
from foveal.udfs.tracking.sightings import Ids, Sightings, Tracked, look_beside, on_grid

LINK_OVERLAP = 0.3
"""Detections in frames next to each other are one object from this intersection over union on."""
JOIN_SECONDS = 2.0
"""Longest time between the end of a tracklet and the start of the next one of its track."""
JOIN_OVERLAP = 0.02
"""Least mean intersection over union of extrapolated boxes for a join."""
ROUNDS = 3
MOTION_SECONDS = 1.0
"""A tracklet's velocity at an end is fitted to so much of it."""
WAIT_COST = 0.2
"""Taken off the overlap of a join across the longest gap; in proportion for shorter ones."""

# Chosen on rendered streets by identity F1: speed kept per tenth of a second unseen, widening of
# the boxes that are compared, reached after half a second.
_DAMPING = 0.95
_WIDENING = 0.5
_WIDENED_AFTER = 0.5

Point = tuple[int, int]
"""A row: its frame, and its index among the class's rows of that frame."""


class NotLookedAt(Exception):
    """Frames are needed that were not looked at yet; ask again when they are.

    Attributes:
        frames: int64, the frames.
    """

    def __init__(self, frames: Ids) -> None:
        """Name the frames."""
        super().__init__("frames are not known yet")
        self.frames = frames


def follow(sightings: Sightings) -> Tracked:
    """Return the tracks of one class; looks at the frames that can hold one, and no others.

    A tracklet is at least as long as the grid is wide, so each shows on the grid, and all its rows
    lie beside grid frames on which it shows.
    """
    step = hits_of(sightings.clip.rate)
    look_beside(sightings, on_grid(sightings, step), step)
    links = Links(sightings)
    links.index(_chains(sightings, links, step))
    rows: list[tuple[int, int, int, int]] = []
    for start in links.starts:
        if links.before(start) is not None:
            continue
        first = (start[0], int(sightings.at(start[0]).place[start[1]]))
        at: Point | None = start
        while at is not None:
            chain = links.chain(at)
            rows += [(t, int(sightings.at(t).place[i]), *first) for t, i in chain]
            at = links.after(chain[-1])
    table = np.array(rows, np.int64).reshape(-1, 4)
    return Tracked(table[:, 0], table[:, 1], table[:, 2], table[:, 3])


def _chains(sightings: Sightings, links: Links, step: int) -> list[list[Point]]:
    """Return every chain of at least `step` rows among the known frames."""
    found: list[list[Point]] = []
    known, last = sightings.known, sightings.clip.frames - 1
    for t in sightings.seen_in().tolist():
        before = links.forward(t - 1) if t > 0 and known[t - 1] else None
        begun = set[int]() if before is None else {i for i in before.tolist() if i >= 0}
        for i in range(sightings.at(t).place.size):
            if i in begun:
                continue
            chain: list[Point] = [(t, i)]
            while chain[-1][0] < last and known[chain[-1][0] + 1]:
                j = int(links.forward(chain[-1][0])[chain[-1][1]])
                if j < 0:
                    break
                chain.append((chain[-1][0] + 1, j))
            if len(chain) >= step:
                found.append(chain)
    return found


class Links:
    """Who follows whom, worked out as far as it is asked for.

    Every method raises NotLookedAt where it needs frames that are not known.
    """

    def __init__(self, sightings: Sightings) -> None:
        """Work out nothing yet."""
        clip = sightings.clip
        self._seen = sightings
        self._hits = hits_of(clip.rate)
        self._reach = round(JOIN_SECONDS * clip.rate)
        self._motion = max(3, round(MOTION_SECONDS * clip.rate))
        self._block = max(round(clip.rate / 2), 2)
        self._damping = _DAMPING ** (10.0 / clip.rate)
        self._widened_after = max(_WIDENED_AFTER * clip.rate, 1.0)
        self._forward: dict[int, Ids] = {}
        self._backward: dict[int, Ids] = {}
        self._chains: dict[Point, list[Point]] = {}
        self._ends_in: dict[Point, _Side] = {}
        self._begins_in: dict[Point, _Side] = {}
        self._scores: dict[tuple[Point, Point], float] = {}
        self._partners: dict[tuple[Point, int, bool], Point | None] = {}
        self._indexed = False
        self.starts: list[Point] = []
        self._ends: list[Point] = []

    def index(self, chains: list[list[Point]]) -> None:
        """Take all tracklets of the video: nothing has to be searched for any more."""
        self._indexed = True
        self.starts = sorted(chain[0] for chain in chains)
        self._ends = sorted(chain[-1] for chain in chains)
        for chain in chains:
            self._chains[chain[0]] = self._chains[chain[-1]] = chain

    # --- tracklets ------------------------------------------------------------------------------

    def forward(self, t: int) -> Ids:
        """Return for each row of frame t the index of its match in frame t + 1, -1 for none."""
        if t not in self._forward:
            if not (self._seen.known[t] and self._seen.known[t + 1]):
                raise NotLookedAt(np.array([t, t + 1]))
            here, there = self._seen.at(t), self._seen.at(t + 1)
            ahead = np.full(here.place.size, -1, np.int64)
            back = np.full(there.place.size, -1, np.int64)
            if ahead.size and back.size:
                overlap = ious(here.boxes, there.boxes)
                best, back_best = overlap.argmax(axis=1), overlap.argmax(axis=0)
                mine = np.arange(ahead.size)
                both = (back_best[best] == mine) & (overlap[mine, best] >= LINK_OVERLAP)
                ahead[both] = best[both]
                back[best[both]] = mine[both]
            self._forward[t], self._backward[t + 1] = ahead, back
        return self._forward[t]

    def backward(self, t: int) -> Ids:
        """Return for each row of frame t the index of its match in frame t - 1, -1 for none."""
        self.forward(t - 1)
        return self._backward[t]

    def next(self, point: Point) -> Point | None:
        """Return the same object's row in the next frame."""
        t, i = point
        if t + 1 >= self._seen.clip.frames:
            return None
        if not self._seen.known[t + 1]:
            stop = min(t + 1 + self._block, self._seen.clip.frames)
            raise NotLookedAt(np.arange(t + 1, stop))
        j = int(self.forward(t)[i])
        return (t + 1, j) if j >= 0 else None

    def previous(self, point: Point) -> Point | None:
        """Return the same object's row in the frame before."""
        t, i = point
        if t == 0:
            return None
        if not self._seen.known[t - 1]:
            raise NotLookedAt(np.arange(max(t - self._block, 0), t))
        j = int(self.backward(t)[i])
        return (t - 1, j) if j >= 0 else None

    def chain(self, point: Point) -> list[Point]:
        """Return all rows of the row's chain, in order."""
        known = self._chains.get(point)
        if known is not None:
            return known
        rows = [*reversed(self._walk(point, back=True)), point, *self._walk(point, back=False)]
        for row in rows:
            self._chains[row] = rows
        return rows

    def _walk(self, point: Point, *, back: bool) -> list[Point]:
        """Return the rows of the chain before (or after) `point`, nearest first."""
        rows: list[Point] = []
        row = point
        try:
            while (found := self.previous(row) if back else self.next(row)) is not None:
                rows.append(found)
                row = found
        except NotLookedAt as needed:
            # What was long already is mostly long still: fewer, larger questions.
            far = max(needed.frames.size, len(rows) // 4)
            low = row[0] - far if back else row[0] + 1
            asked = np.arange(max(low, 0), min(low + far, self._seen.clip.frames))
            raise NotLookedAt(asked) from None
        return rows

    # --- joins ----------------------------------------------------------------------------------

    def track(self, point: Point) -> list[Point] | None:
        """Return all rows of the row's track, in order; None where the row is noise."""
        rows = self.chain(point)
        if len(rows) < self._hits:
            return None
        found = list(rows)
        while (start := self.after(found[-1])) is not None:
            found += self.chain(start)
        while (end := self.before(found[0])) is not None:
            found = self.chain(end) + found
        return found

    def after(self, end: Point) -> Point | None:
        """Return the first row of the tracklet that carries on the one that ends with `end`."""
        return self._partner(end, ROUNDS, is_end=True)

    def before(self, start: Point) -> Point | None:
        """Return the last row of the tracklet that `start` carries on."""
        return self._partner(start, ROUNDS, is_end=False)

    def _partner(self, point: Point, rounds: int, *, is_end: bool) -> Point | None:
        """Return whom an end (or a start) is joined to within so many rounds."""
        if rounds == 0:
            return None
        key = (point, rounds, is_end)
        if key not in self._partners:
            found = self._partner(point, rounds - 1, is_end=is_end)
            if found is None:
                best = self._best(point, rounds, is_end=is_end)
                if best is not None and self._best(best, rounds, is_end=not is_end) == point:
                    found = best
            self._partners[key] = found
        return self._partners[key]

    def _best(self, point: Point, rounds: int, *, is_end: bool) -> Point | None:
        """Return the partner that would be best among those still free in this round."""
        best: tuple[float, Point] | None = None
        for other in self._candidates(point, is_end=is_end):
            end, start = (point, other) if is_end else (other, point)
            score = self._score(end, start)
            if score is None or self._partner(other, rounds - 1, is_end=not is_end) is not None:
                continue
            # Equal scores: the same order from both sides, for a pair that both call best.
            if best is None or (score, other) > best:
                best = (score, other)
        return best[1] if best is not None else None

    def _candidates(self, point: Point, *, is_end: bool) -> list[Point]:
        t, last = point[0], self._seen.clip.frames - 1
        low, high = (t + 1, t + self._reach) if is_end else (t - self._reach, t - 1)
        low, high = max(low, 0), min(high, last)
        if self._indexed:
            listed = self.starts if is_end else self._ends
            return listed[bisect_left(listed, (low, -1)) : bisect_right(listed, (high, 1 << 60))]
        return self._search(low, high, starts=is_end)

    def _search(self, low: int, high: int, *, starts: bool) -> list[Point]:
        """Return the tracklets' starts (or ends) in the frames low..high, by a grid as for all."""
        if high < low:
            return []
        step, last = self._hits, self._seen.clip.frames - 1
        first = low if starts else low - step + 1
        stop = high + step if starts else high + 1
        grid = np.arange(-(-max(first, 0) // step) * step, stop, step, dtype=np.int64)
        grid = grid[grid <= last]
        unknown = grid[~self._seen.known[grid]]
        if unknown.size:
            raise NotLookedAt(unknown)
        found: set[Point] = set()
        for t in grid.tolist():
            for i in range(self._seen.at(t).place.size):
                row: Point | None = (t, i)
                at = row
                while row is not None and (row[0] >= low if starts else row[0] <= high):
                    at = row
                    row = self.previous(at) if starts else self.next(at)
                if row is None and low <= at[0] <= high and self._is_tracklet(at, starts=starts):
                    found.add(at)
        return sorted(found)

    def _is_tracklet(self, point: Point, *, starts: bool) -> bool:
        row: Point | None = point
        for _ in range(self._hits - 1):
            row = self.next(row) if starts else self.previous(row)
            if row is None:
                return False
        return True

    def _score(self, end: Point, start: Point) -> float | None:
        """Return how well an end and a start meet, None where they do not."""
        key = (end, start)
        if key not in self._scores:
            self._scores[key] = self._meeting(
                self._side(end, end=True), self._side(start, end=False)
            )
        score = self._scores[key]
        return score if score > -math.inf else None

    def _side(self, point: Point, *, end: bool) -> _Side:
        sides = self._ends_in if end else self._begins_in
        if point not in sides:
            rows = [point]
            while len(rows) < self._motion:
                row = self.previous(rows[-1]) if end else self.next(rows[-1])
                if row is None:
                    break
                rows.append(row)
            rows.sort()
            boxes = np.stack([self._seen.at(t).boxes[i] for t, i in rows]).astype(np.float64)
            sides[point] = _Side(point[0], np.array([t for t, _ in rows]), boxes, last=end)
        return sides[point]

    def _meeting(self, end: _Side, start: _Side) -> float:
        gap = start.frame - end.frame
        if gap > 2 and not (self._stays(end, gap) and self._stays(start, -gap)):
            return -math.inf
        damping = self._damping
        way = damping * (1 - damping**gap) / (1 - damping)
        wide = 1 + _WIDENING * min((gap - 1) / self._widened_after, 1.0)
        overlap = _overlap(end.moved(way), end, start.place, start, wide) / 2
        overlap += _overlap(start.moved(-way), start, end.place, end, wide) / 2
        if overlap < JOIN_OVERLAP:
            return -math.inf
        return overlap - WAIT_COST * gap / self._reach

    def _stays(self, side: _Side, frames: int) -> bool:
        """Whether undamped motion leaves the object in the picture."""
        clip, (x, y) = self._seen.clip, side.moved(frames)
        inside = EXIT_MARGIN * clip.width <= x <= (1 - EXIT_MARGIN) * clip.width
        return inside and EXIT_MARGIN * clip.height <= y <= (1 - EXIT_MARGIN) * clip.height


class _Side:
    """A tracklet at one of its ends: frame, centre, velocity in pixels per frame, usual sides."""

    __slots__ = ("frame", "high", "place", "vx", "vy", "wide")

    def __init__(
        self, frame: int, frames: Ids, boxes: npt.NDArray[np.float64], *, last: bool
    ) -> None:
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        away = frames - frames.mean()
        spread = float((away * away).sum())
        velocity = (away[:, None] * centres).sum(axis=0) / spread if spread else np.zeros(2)
        sides = np.median(boxes[:, 2:] - boxes[:, :2], axis=0)
        here = centres[-1 if last else 0]
        self.frame = frame
        self.place = (float(here[0]), float(here[1]))
        self.vx, self.vy = float(velocity[0]), float(velocity[1])
        self.wide, self.high = float(sides[0]), float(sides[1])

    def moved(self, frames: float) -> tuple[float, float]:
        """Return the centre so many frames on."""
        return self.place[0] + self.vx * frames, self.place[1] + self.vy * frames


def _overlap(
    a: tuple[float, float], sides_a: _Side, b: tuple[float, float], sides_b: _Side, wide: float
) -> float:
    """Return the intersection over union of two boxes around centres, sides times `wide`."""
    common, area = 1.0, 0.0
    lengths = ((sides_a.wide, sides_b.wide), (sides_a.high, sides_b.high))
    for k, (first, second) in enumerate(lengths):
        low = max(a[k] - first * wide / 2, b[k] - second * wide / 2)
        high = min(a[k] + first * wide / 2, b[k] + second * wide / 2)
        common *= max(high - low, 0.0)
    area = wide * wide * (sides_a.wide * sides_a.high + sides_b.wide * sides_b.high)
    return common / (area - common) if area > common else 0.0
