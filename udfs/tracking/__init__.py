"""Detections of a video in, tracks out. One file per tracker; `TRACKERS` names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveal.udfs.detectors.boxes import Floats
from foveal.udfs.tracking import kalman, linked
from foveal.udfs.tracking.kalman import hits_of
from foveal.udfs.tracking.sightings import (
    Clip,
    Fetch,
    Ids,
    Rows,
    Sightings,
    Tracked,
    frame_rate,
)

PLACES = 10_000
"""A track's id is its first row's frame times this, plus the row's place in the frame, plus 1."""


@dataclass(frozen=True, slots=True)
class Tracker:
    """A way to make tracks. `version` is part of the key under which they are kept.

    `follow` gives the tracks of one class and looks only at frames that it needs. `local`: a track
    follows from the frames around it, so that it can be found from any of its frames.
    """

    follow: Callable[[Sightings], Tracked]
    local: bool
    version: int


TRACKERS: Mapping[str, Tracker] = {
    "kalman": Tracker(kalman.follow, local=False, version=2),
    "linked": Tracker(linked.follow, local=True, version=1),
}
"""Every tracker by the name that CREATE VIDEO TABLE ... WITH (tracker = ...) takes."""


def trackids(tracked: Tracked) -> Ids:
    """Return int64 [n]: each row's track id, unique within the video, above 0."""
    return tracked.first_frame * PLACES + tracked.first_place + 1


def track(
    name: str,
    clip: Clip,
    frames: Ids,
    boxes: Floats,
    scores: Floats,
    classes: npt.NDArray[np.integer],
) -> Ids:
    """Return int64 [n]: the track id of each row of a whole video, 0 for none.

    `frames` int64 [n]: frame of each row, sorted. `boxes` float32 [n, 4]: corners in pixels.
    `scores` float32 [n], `classes` [n]: a track is of one class, and classes do not mix.

    Raises:
        ValueError: the arrays do not fit together, or frames are not sorted.
    """
    n = int(frames.shape[0])
    if boxes.shape != (n, 4) or scores.shape != (n,) or classes.shape != (n,):
        raise ValueError("frames, boxes, scores and classes must have the same length")
    if n and (np.any(np.diff(frames) < 0) or frames[0] < 0 or frames[-1] >= clip.frames):
        raise ValueError("frames must be sorted and lie within the video")
    starts = np.searchsorted(frames, frames)
    places = np.arange(n, dtype=np.int64) - starts
    out = np.zeros(n, np.int64)
    for label in np.unique(classes).tolist():
        mine = np.flatnonzero(classes == label)
        rows = Rows(frames[mine], places[mine], boxes[mine], scores[mine])
        sightings = Sightings(clip, fetch_from(rows))
        sightings.look(np.arange(clip.frames))
        tracked = TRACKERS[name].follow(sightings)
        at = np.searchsorted(frames, tracked.frame) + tracked.place
        out[at] = trackids(tracked)
    return out


def fetch_from(rows: Rows) -> Fetch:
    """Return a `Fetch` over rows at hand."""

    def fetch(frames: Ids) -> Rows:
        chosen = np.isin(rows.frame, frames)
        return Rows(rows.frame[chosen], rows.place[chosen], rows.boxes[chosen], rows.scores[chosen])

    return fetch


__all__ = [
    "PLACES",
    "TRACKERS",
    "Clip",
    "Fetch",
    "Rows",
    "Sightings",
    "Tracked",
    "Tracker",
    "fetch_from",
    "frame_rate",
    "hits_of",
    "track",
    "trackids",
]
