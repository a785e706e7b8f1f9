"""Detections in, tracks out: Kalman filters and the Hungarian method, frame after frame.

Each track is a Kalman filter, of constant velocity for the centre and of slow change for the sides;
tracks and detections are matched by intersection over union: confirmed tracks first, confident
detections before faint ones. Source: Bewley
et al., "Simple Online and Realtime Tracking", ICIP 2016 (filter, assignment); Zhang et al.,
"ByteTrack", ECCV 2022, algorithm 1 (two passes by score); Wojke et al., "Deep SORT", ICIP 2017,
sections 2.1 and 2.2 (noise in proportion to height, tentative tracks); Yang et al., "Hard to Track
Objects with Irregular Motions and Similar Appearances? Make It Easier by Buffering the Matching
Space", WACV 2023 (wider boxes for lost tracks).

Only frames that matter are looked at. A track begins with `hits` frames in a row, so every
`hits`-th frame shows each track; and where no track is alive, the tracker remembers nothing, so
each stretch in which some are can be run by itself. The tracks are those of a run over every frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveal.udfs.detectors.boxes import Floats, from_centres, ious
from foveal.udfs.tracking.sightings import Clip, Ids, Sightings, Tracked, look_beside, on_grid

Doubles = npt.NDArray[np.float64]

CONFIRM_SECONDS = 0.2
CONFIRM_HITS = 3
"""A track counts once it was seen for so long and so often without a gap; a miss ends it before."""

LOST_SECONDS = 2.0
"""A confirmed track that goes unseen for longer has ended."""

GATE = 0.1
"""A match needs at least this intersection over union."""

HIGH_SCORE = 0.5
"""Detections from this score on are matched first, and only they begin tracks."""

EXIT_MARGIN = 0.02
"""A track whose motion has taken it out of the picture, or this near its edge, has ended."""

# Standard deviations per unit of box height, of a place and of a velocity (per frame at 10 Hz).
_POSITION = 1.0 / 20.0
_VELOCITY = 1.0 / 80.0
_FIRST_VELOCITY = 10
_BASE_RATE = 10.0

# An unseen object is mostly one that stopped or turned behind something: each unseen tenth of a
# second takes a fifth off its velocity, and its box is matched up to a fifth wider, reached after
# half a second. Chosen by the number of tracks on one clip of walking people and by identity F1 on
# rendered streets; without them a person who passes behind a post comes out as two.
_DAMPING = 0.8
_WIDENING = 0.2
_WIDENED_AFTER = 0.5


def hits_of(rate: float) -> int:
    """Return how many frames in a row confirm a track."""
    return max(CONFIRM_HITS, round(CONFIRM_SECONDS * rate))


def follow(sightings: Sightings) -> Tracked:
    """Return the tracks of one class; looks at the frames that can hold one, and no others.

    A track that was confirmed counts from its first hit. One that ended never comes back: who
    re-enters is new. The same rows always give the same tracks.
    """
    step = hits_of(sightings.clip.rate)
    hits = on_grid(sightings, step)
    look_beside(sightings, hits, step)
    complete: dict[int, tuple[int, list[Tracked]]] = {}
    while True:
        found: list[Tracked] = []
        missing: list[Ids] = []
        at = 0  # the frames before were run, and no track is alive
        while (place := int(np.searchsorted(hits, at))) < hits.size:
            # The grid frame before the next hit is empty, so what began before it was no track.
            start = max(at, int(hits[place]) - step + 1)
            if start not in complete:
                ran = run_stretch(sightings, start)
                if not isinstance(ran, tuple):
                    # Later stretches mostly begin afresh: ask for what they lack at once.
                    missing.append(ran)
                    at = int(ran[-1]) + 1
                    continue
                complete[start] = ran
            at, tracks = complete[start]
            found += tracks
        if not missing:
            return _joined(found)
        sightings.look(np.concatenate(missing))


def run_stretch(sightings: Sightings, start: int) -> tuple[int, list[Tracked]] | Ids:
    """Run from frame `start`, where no track is alive, until none is.

    Returns the frame after and the tracks; or, where an unknown frame stops the run, the frames
    that it needs for certain.
    """
    run = Run(sightings.clip)
    at = start
    while at < sightings.clip.frames:
        if not sightings.known[at]:
            return np.arange(at, min(run.alive_until(), sightings.clip.frames - 1) + 1)
        rows = sightings.at(at)
        run.step(at, rows.place, rows.boxes, rows.scores)
        at += 1
        if run.alive_until() < at:
            break
    return at, run.tracks()


def _joined(parts: list[Tracked]) -> Tracked:
    def column(name: str) -> Ids:
        return np.concatenate([np.zeros(0, np.int64), *(getattr(p, name) for p in parts)])

    return Tracked(*(column(n) for n in ("frame", "place", "first_frame", "first_place")))


@dataclass(slots=True)
class _Live:
    """The live tracks as arrays, one row each: four independent filters (x, y, width, height).

    The velocities of width and height stay 0: partly hidden boxes shrink and grow at random.

    `mean` float64 [n, 4, 2]: value and velocity. `cov` float64 [n, 4, 3]: the variance of the
    value, its covariance with the velocity, the variance of the velocity. `until`: the last frame
    at which the track may still be matched.
    """

    mean: Doubles
    cov: Doubles
    number: Ids
    hits: Ids
    unseen: Ids
    until: Ids

    @classmethod
    def none(cls) -> _Live:
        empty = np.empty(0, np.int64)
        return cls(np.empty((0, 4, 2)), np.empty((0, 4, 3)), empty, empty, empty, empty)

    def keep(self, rows: npt.NDArray[np.bool_]) -> None:
        if not rows.all():
            self.mean, self.cov, self.number = self.mean[rows], self.cov[rows], self.number[rows]
            self.hits, self.unseen = self.hits[rows], self.unseen[rows]
            self.until = self.until[rows]


class Run:
    """One pass of the tracker over frames in a row, from a frame where no track is alive."""

    def __init__(self, clip: Clip) -> None:
        """Begin without a track."""
        pace = _BASE_RATE / clip.rate
        self._clip = clip
        self._needed = hits_of(clip.rate)
        self._lost = max(round(LOST_SECONDS * clip.rate), 1)
        self._velocity = _VELOCITY * pace
        self._damping = _DAMPING**pace
        self._widened_after = max(_WIDENED_AFTER * clip.rate, 1.0)
        self._live = _Live.none()
        self._members: list[list[tuple[int, int]]] = []
        self._confirmed: list[bool] = []

    def alive_until(self) -> int:
        """Return the last frame at which some track may be matched, -1 without a track."""
        return int(self._live.until.max(initial=-1))

    def tracks(self) -> list[Tracked]:
        """Return the confirmed tracks so far."""
        found: list[Tracked] = []
        for rows, sure in zip(self._members, self._confirmed, strict=True):
            if sure:
                table = np.array(rows, np.int64)
                first = np.broadcast_to(table[0], table.shape)
                found.append(Tracked(table[:, 0], table[:, 1], first[:, 0], first[:, 1]))
        return found

    def step(self, frame: int, place: Ids, boxes: Floats, scores: Floats) -> None:
        """Take the rows of the next frame: places, boxes [n, 4] (corners) and scores."""
        live = self._live
        live.keep(live.until >= frame)
        if not (live.number.size or place.size):
            return
        self._predict()
        if not place.size:
            live.keep(live.hits >= self._needed)
            return
        tracks, rows = self._match(boxes, scores)
        centred = np.empty((place.size, 4))
        centred[:, :2] = (boxes[:, :2].astype(np.float64) + boxes[:, 2:]) / 2
        centred[:, 2:] = np.maximum(boxes[:, 2:].astype(np.float64) - boxes[:, :2], 1e-3)
        self._update(tracks, centred[rows], frame)
        for track, row in zip(live.number[tracks].tolist(), rows.tolist(), strict=True):
            self._members[track].append((frame, int(place[row])))
        for track in live.number[live.hits >= self._needed].tolist():
            self._confirmed[track] = True
        taken = np.zeros(place.size, np.bool_)
        taken[rows] = True
        live.keep((live.hits >= self._needed) | (live.unseen == 0))
        fresh = np.flatnonzero((scores >= HIGH_SCORE) & ~taken)
        self._begin(centred[fresh], frame, place[fresh])

    def _match(self, boxes: Floats, scores: Floats) -> tuple[Ids, Ids]:
        """Return matched tracks and rows: sure tracks first, then tentative ones."""
        live = self._live
        overlap = ious(self._boxes(), boxes)
        sure = live.hits >= self._needed
        high = scores >= HIGH_SCORE
        tracks: list[Ids] = []
        rows: list[Ids] = []
        # Faint detections may only carry on tracks that were seen in the frame before.
        for confirmed in (True, False):
            for confident in (True, False):
                open_tracks = sure == confirmed
                open_rows = high == confident
                if not confident:
                    open_tracks &= live.unseen == 1
                for taken, free in ((tracks, open_tracks), (rows, open_rows)):
                    for part in taken:
                        free[part] = False
                matched = _assigned(overlap, np.flatnonzero(open_tracks), np.flatnonzero(open_rows))
                tracks.append(matched[0])
                rows.append(matched[1])
        return np.concatenate(tracks), np.concatenate(rows)

    def _predict(self) -> None:
        live = self._live
        if not live.number.size:
            return
        height = np.maximum(live.mean[:, 3:4, 0], 1.0)
        live.mean[live.unseen > 0, :, 1] *= self._damping
        live.mean[:, :, 0] += live.mean[:, :, 1]
        live.cov[:, :, 0] += 2 * live.cov[:, :, 1] + live.cov[:, :, 2] + (_POSITION * height) ** 2
        live.cov[:, :, 1] += live.cov[:, :, 2]
        live.cov[:, :2, 2] += (self._velocity * height) ** 2
        live.unseen += 1

    def _update(self, rows: Ids, boxes: Doubles, frame: int) -> None:
        """Correct the tracks `rows` by what was seen of them (centres and sides)."""
        live = self._live
        noise = (_POSITION * boxes[:, 3:4]) ** 2
        var, joint, speed = (live.cov[rows, :, k] for k in range(3))
        total = var + noise
        gain_value, gain_speed = var / total, joint / total
        surprise = boxes - live.mean[rows, :, 0]
        live.mean[rows, :, 0] += gain_value * surprise
        live.mean[rows, :, 1] += gain_speed * surprise
        live.cov[rows, :, 0] = var - gain_value * var
        live.cov[rows, :, 1] = joint - gain_value * joint
        live.cov[rows, :, 2] = speed - gain_speed * joint
        live.hits[rows] += 1
        live.unseen[rows] = 0
        lasting = np.minimum(self._lost + 1, self._stays(live.mean[rows, :2]))
        live.until[rows] = frame + np.where(live.hits[rows] >= self._needed, lasting, 1)

    def _stays(self, motion: Doubles) -> Ids:
        """Return after how many frames each (place, velocity) [n, 2, 2] is last in the picture."""
        sides = np.array([self._clip.width, self._clip.height])
        low, high = EXIT_MARGIN * sides, (1 - EXIT_MARGIN) * sides
        place, velocity = motion[:, :, 0], motion[:, :, 1]
        edge = np.where(velocity > 0, high, low)
        still = np.abs(velocity) < 1e-9
        frames = np.where(still, np.inf, (edge - place) / np.where(still, 1.0, velocity))
        soon = place + 2 * velocity
        outside = ((soon < low) | (soon > high)).any(axis=1)
        last = np.minimum(np.floor(frames.min(axis=1)), 1e9).astype(np.int64)
        return np.where(outside, 1, np.maximum(last, 2))

    def _begin(self, boxes: Doubles, frame: int, place: Ids) -> None:
        """Add tracks at boxes (centre, sides), at rest."""
        n = boxes.shape[0]
        if not n:
            return
        live, height = self._live, boxes[:, 3:4]
        mean = np.zeros((n, 4, 2))
        mean[:, :, 0] = boxes
        cov = np.zeros((n, 4, 3))
        cov[:, :, 0] = (2 * _POSITION * height) ** 2
        cov[:, :2, 2] = (_FIRST_VELOCITY * self._velocity * height) ** 2
        live.mean = np.concatenate((live.mean, mean))
        live.cov = np.concatenate((live.cov, cov))
        fresh: Ids = np.arange(len(self._members), len(self._members) + n, dtype=np.int64)
        live.number = np.concatenate((live.number, fresh))
        live.hits = np.concatenate((live.hits, np.ones(n, np.int64)))
        live.unseen = np.concatenate((live.unseen, np.zeros(n, np.int64)))
        live.until = np.concatenate((live.until, np.full(n, frame + 1, np.int64)))
        self._members += [[(frame, at)] for at in place.tolist()]
        self._confirmed += [False] * n

    def _boxes(self) -> Floats:
        """Return float32 [n, 4]: where each track may be now, as corners; lost ones are wider."""
        live = self._live
        now = live.mean[:, :, 0].astype(np.float32)
        lost = np.clip((live.unseen - 1) / self._widened_after, 0, 1).astype(np.float32)
        now[:, 2:] = np.maximum(now[:, 2:], 1e-3) * (1 + np.float32(_WIDENING) * lost[:, None])
        return from_centres(now)


def _assigned(overlap: Floats, tracks: Ids, found: Ids) -> tuple[Ids, Ids]:
    """Return the pairs of `tracks` and `found` with the greatest sum of overlaps above the gate."""
    if tracks.size == 0 or found.size == 0:
        return tracks[:0], found[:0]
    from scipy.optimize import linear_sum_assignment

    part = overlap[np.ix_(tracks, found)]
    part = np.where(part >= GATE, part, 0.0)
    rows, columns = linear_sum_assignment(part, maximize=True)
    good = part[rows, columns] > 0
    return tracks[rows[good]], found[columns[good]]
