"""Detections of a whole video in, track ids out: a Kalman filter and the Hungarian method.

Each track is a Kalman filter, of constant velocity for the centre and of slow change for the sides;
tracks and detections are matched by intersection over union, confident detections first and faint
ones after. Source: Bewley
et al., "Simple Online and Realtime Tracking", ICIP 2016 (filter, assignment); Zhang et al.,
"ByteTrack", ECCV 2022, algorithm 1 (two passes by score); Wojke et al., "Deep SORT", ICIP 2017,
sections 2.1 and 2.2 (noise in proportion to height, tentative tracks); Yang et al., "Hard to Track
Objects with Irregular Motions and Similar Appearances? Make It Easier by Buffering the Matching
Space", WACV 2023 (wider boxes for lost tracks).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from foveal.udfs.detectors.boxes import Floats, from_centres, ious

Ids = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

CONFIRM_HITS = 3
"""A track counts once it was seen this often; until then one missed frame ends it."""

LOST_FRAMES = 20
"""A confirmed track that goes unseen for more frames than this has ended."""

GATE = 0.1
"""A match needs at least this intersection over union."""

HIGH_SCORE = 0.5
"""Detections from this score on are matched first, and only they begin tracks."""

# Standard deviations per unit of box height, of a place and of a velocity (per frame).
_POSITION = 1.0 / 20.0
_VELOCITY = 1.0 / 80.0
_FIRST_VELOCITY = 10 * _VELOCITY

# An unseen object is mostly one that stopped or turned behind something: each unseen frame takes a
# fifth off its velocity, and its box is matched up to a fifth wider, reached after five frames.
# Both were chosen by the number of tracks on one clip of walking people; without them a person who
# passes behind a post comes out as two.
_DAMPING = 0.8
_WIDENING = 0.2
_WIDENED_AFTER = 5


class Tracker(Protocol):
    """Gives every detection of one video a track id; see `track`."""

    def __call__(
        self,
        frames: Ids,
        boxes: Floats,
        scores: Floats,
        classes: npt.NDArray[np.integer],
        *,
        n_frames: int,
    ) -> Ids:
        """Return int64 [n]: the track of each row, 0 for none."""
        ...


class _Tracks:
    """The live tracks as arrays, one row each: four independent filters (x, y, width, height).

    The velocities of width and height stay 0: partly hidden boxes shrink and grow at random.

    `mean` float64 [n, 4, 2]: value and velocity. `cov` float64 [n, 4, 3]: the variance of the
    value, its covariance with the velocity, the variance of the velocity.
    """

    def __init__(self) -> None:
        self.mean: Doubles = np.empty((0, 4, 2))
        self.cov: Doubles = np.empty((0, 4, 3))
        self.number: Ids = np.empty(0, dtype=np.int64)
        self.label: Ids = np.empty(0, dtype=np.int64)
        self.hits: Ids = np.empty(0, dtype=np.int64)
        self.unseen: Ids = np.empty(0, dtype=np.int64)

    def keep(self, rows: npt.NDArray[np.bool_]) -> None:
        self.mean, self.cov = self.mean[rows], self.cov[rows]
        self.number, self.label = self.number[rows], self.label[rows]
        self.hits, self.unseen = self.hits[rows], self.unseen[rows]

    def begin(self, boxes: Doubles, labels: Ids, numbers: Ids) -> None:
        """Add tracks at boxes (centre, sides), at rest."""
        n = boxes.shape[0]
        height = boxes[:, 3:4]
        mean = np.zeros((n, 4, 2))
        mean[:, :, 0] = boxes
        cov = np.zeros((n, 4, 3))
        cov[:, :, 0] = (2 * _POSITION * height) ** 2
        cov[:, :2, 2] = (_FIRST_VELOCITY * height) ** 2
        self.mean = np.concatenate((self.mean, mean))
        self.cov = np.concatenate((self.cov, cov))
        self.number = np.concatenate((self.number, numbers))
        self.label = np.concatenate((self.label, labels))
        self.hits = np.concatenate((self.hits, np.ones(n, dtype=np.int64)))
        self.unseen = np.concatenate((self.unseen, np.zeros(n, dtype=np.int64)))

    def predict(self, steps: int) -> None:
        """Move every track on by `steps` frames."""
        if self.number.size == 0:
            return
        height = np.maximum(self.mean[:, 3:4, 0], 1.0)
        moved = (_POSITION * height) ** 2
        pushed = (_VELOCITY * height) ** 2
        for _ in range(steps):
            self.mean[self.unseen > 0, :, 1] *= _DAMPING
            self.mean[:, :, 0] += self.mean[:, :, 1]
            self.cov[:, :, 0] += 2 * self.cov[:, :, 1] + self.cov[:, :, 2] + moved
            self.cov[:, :, 1] += self.cov[:, :, 2]
            self.cov[:, :2, 2] += pushed
            self.unseen += 1

    def update(self, rows: Ids, boxes: Doubles) -> None:
        """Correct the tracks `rows` by what was seen of them."""
        noise = (_POSITION * boxes[:, 3:4]) ** 2
        var, joint, speed = (self.cov[rows, :, k] for k in range(3))
        total = var + noise
        gain_value, gain_speed = var / total, joint / total
        surprise = boxes - self.mean[rows, :, 0]
        self.mean[rows, :, 0] += gain_value * surprise
        self.mean[rows, :, 1] += gain_speed * surprise
        self.cov[rows, :, 0] = var - gain_value * var
        self.cov[rows, :, 1] = joint - gain_value * joint
        self.cov[rows, :, 2] = speed - gain_speed * joint
        self.hits[rows] += 1
        self.unseen[rows] = 0

    def boxes(self) -> Floats:
        """Return float32 [n, 4]: where each track may be now, as corners; lost ones are wider."""
        now = self.mean[:, :, 0].astype(np.float32)
        lost = np.clip(self.unseen - 1, 0, _WIDENED_AFTER).astype(np.float32) / _WIDENED_AFTER
        now[:, 2:] = np.maximum(now[:, 2:], 1e-3) * (1 + np.float32(_WIDENING) * lost[:, None])
        return from_centres(now)


def _matched(overlap: Floats, tracks: Ids, found: Ids) -> tuple[Ids, Ids]:
    """Return the pairs of `tracks` and `found` with the greatest sum of overlaps above the gate."""
    if tracks.size == 0 or found.size == 0:
        return tracks[:0], found[:0]
    part = overlap[np.ix_(tracks, found)]
    part = np.where(part >= GATE, part, 0.0)
    rows, columns = linear_sum_assignment(part, maximize=True)
    good = part[rows, columns] > 0
    return tracks[rows[good]], found[columns[good]]


def track(
    frames: Ids,
    boxes: Floats,
    scores: Floats,
    classes: npt.NDArray[np.integer],
    *,
    n_frames: int,
) -> Ids:
    """Return int64 [n]: the track of each row from 1 on, in order of first sight; 0 for none.

    `frames` int64 [n]: frame of each row, sorted, below `n_frames`. `boxes` float32 [n, 4]: corners
    in pixels. `scores` float32 [n], `classes` [n]: a track is of one class. A track that was
    confirmed counts from its first hit. One that ended never comes back: who re-enters is new. The
    same rows always give the same ids.

    Raises:
        ValueError: the arrays do not fit together, or frames are not sorted.
    """
    n = int(frames.shape[0])
    if boxes.shape != (n, 4) or scores.shape != (n,) or classes.shape != (n,):
        raise ValueError("frames, boxes, scores and classes must have the same length")
    if n and (np.any(np.diff(frames) < 0) or frames[0] < 0 or frames[-1] >= n_frames):
        raise ValueError("frames must be sorted and lie within the video")
    if n == 0:
        return np.empty(0, dtype=np.int64)
    centred = np.empty((n, 4))
    centred[:, :2] = (boxes[:, :2].astype(np.float64) + boxes[:, 2:]) / 2
    centred[:, 2:] = np.maximum(boxes[:, 2:].astype(np.float64) - boxes[:, :2], 1e-3)
    owner = np.zeros(n, dtype=np.int64)  # number of the (perhaps unconfirmed) track of each row
    confirmed = [False]
    live = _Tracks()
    starts = np.flatnonzero(np.diff(frames, prepend=-1))
    ends = np.append(starts[1:], n)
    last = -1
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        now = int(frames[start])
        # A frame without any row passed by unseen: it ends tentative tracks.
        if now > last + 1:
            live.keep(live.hits >= CONFIRM_HITS)
        live.keep(live.unseen + (now - last - 1) <= LOST_FRAMES)
        live.predict(now - last)
        last = now
        rows: Ids = np.arange(start, end, dtype=np.int64)
        label = classes[rows].astype(np.int64)
        overlap = ious(live.boxes(), boxes[rows])
        overlap *= live.label[:, None] == label[None, :]
        high = np.flatnonzero(scores[rows] >= HIGH_SCORE)
        faint = np.flatnonzero(scores[rows] < HIGH_SCORE)
        every = np.arange(live.number.size)
        matched_tracks, matched_rows = _matched(overlap, every, high)
        # Faint detections may only carry on tracks that were seen in the frame before.
        waiting = np.setdiff1d(every[live.unseen == 1], matched_tracks)
        more_tracks, more_rows = _matched(overlap, waiting, faint)
        matched_tracks = np.concatenate((matched_tracks, more_tracks))
        matched_rows = np.concatenate((matched_rows, more_rows))
        live.update(matched_tracks, centred[rows[matched_rows]])
        owner[rows[matched_rows]] = live.number[matched_tracks]
        for row in np.flatnonzero(live.hits >= CONFIRM_HITS).tolist():
            confirmed[int(live.number[row])] = True
        fresh = np.setdiff1d(high, matched_rows)
        live.keep((live.hits >= CONFIRM_HITS) | (live.unseen == 0))
        numbers = np.arange(len(confirmed), len(confirmed) + fresh.size, dtype=np.int64)
        confirmed.extend([False] * fresh.size)
        owner[rows[fresh]] = numbers
        live.begin(centred[rows[fresh]], label[fresh], numbers)
    # Tracks were numbered as they began, so counting the confirmed ones keeps the order.
    sure = np.array(confirmed, dtype=np.int64)
    return np.where(sure == 1, np.cumsum(sure), 0)[owner]


TRACKERS: Mapping[str, Tracker] = {"kalman": track}
"""Every tracker by the name that CREATE VIDEO TABLE ... WITH (tracker = ...) takes."""
