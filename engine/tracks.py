"""Tracks of a table's videos: of every object, or of a few classes by looking at few frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foveal.engine.catalog.videos import LiveTable, Positions
from foveal.engine.context import QueryContext
from foveal.engine.inference import ensure
from foveal.engine.relations import box_array

if TYPE_CHECKING:
    from foveal.udfs.tracking import Clip, Sightings, Tracker

Ids = npt.NDArray[np.int64]

VIDEO_IDS = 10**13
"""Track ids of a table's videos lie this far apart, so that they are unique within the table."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackedRows:
    """Rows of one video that belong to tracks, by frame and place; int64 [n] each.

    `place` is the row's place among its frame's detections, `label` its class's place in the
    detector's list.
    """

    frame: Ids
    place: Ids
    label: Ids
    trackid: Ids


def tracker_of(table: LiveTable) -> Tracker:
    """Return the table's tracker."""
    from foveal.udfs.tracking import TRACKERS

    return TRACKERS[table.definition.tracker]


def clip_of(table: LiveTable, i: int) -> Clip:
    """Return what trackers know of video i. Its rate is that of most of its frames."""
    from foveal.udfs.tracking import Clip, frame_rate

    index = table.videos[i].index
    return Clip(index.frames, frame_rate(index.ts), float(index.width), float(index.height))


def sightings_of(table: LiveTable, i: int, label: int, context: QueryContext) -> Sightings:
    """Return video i's detections of one class, to be looked at frame by frame."""
    from foveal.udfs.tracking import Rows, Sightings

    video = table.videos[i]

    def fetch(frames: Positions) -> Rows:
        ensure(table, frames + table.starts[i], context)
        stored = table.storage.detections.read(video.content_hash, table.info.key, frames)
        mine = stored.column("class").to_numpy() == label
        return Rows(
            stored.column("frame").to_numpy()[mine],
            stored.column("ordinal").to_numpy()[mine].astype(np.int64),
            box_array(stored)[mine],
            stored.column("confidence").to_numpy()[mine],
        )

    return Sightings(clip_of(table, i), fetch)


def sparse_tracks(
    table: LiveTable, i: int, classes: tuple[str, ...], context: QueryContext
) -> TrackedRows:
    """Return the rows of every track of these classes; detects only frames that can hold one.

    The tracks and their ids are those that a look at all frames would give.
    """
    from foveal.udfs.tracking import trackids

    tracker = tracker_of(table)
    parts: list[TrackedRows] = []
    for name in classes:
        if name not in table.info.classes:
            continue
        label = table.info.classes.index(name)
        found = tracker.follow(sightings_of(table, i, label, context))
        labels = np.full(found.frame.size, label, np.int64)
        ids = trackids(found) + i * VIDEO_IDS
        parts.append(TrackedRows(found.frame, found.place, labels, ids))

    def column(name: str) -> Ids:
        return np.concatenate([np.zeros(0, np.int64), *(getattr(p, name) for p in parts)])

    frame, place = column("frame"), column("place")
    order = np.lexsort((place, frame))
    return TrackedRows(frame[order], place[order], column("label")[order], column("trackid")[order])


def all_tracks(table: LiveTable, i: int, context: QueryContext) -> tuple[pa.Table, Ids]:
    """Return video i's stored objects and each one's track id (0 for none).

    All its frames are detected first. Ids are kept like detections.
    """
    from foveal.udfs.tracking import track

    video = table.videos[i]
    every = np.arange(video.index.frames, dtype=np.int64)
    ensure(table, every + table.starts[i], context)
    stored = table.storage.detections.read(video.content_hash, table.info.key, every)
    name = table.definition.tracker
    key = f"{video.content_hash}-{table.info.key}-{name}{tracker_of(table).version}"
    kept = table.storage.artifacts.get("tracks", key)
    if kept is not None and kept.num_rows == stored.num_rows:
        return stored, _in_table(kept.column("trackid").to_numpy(), i)
    ids = track(
        name,
        clip_of(table, i),
        stored.column("frame").to_numpy(),
        box_array(stored),
        stored.column("confidence").to_numpy(),
        stored.column("class").to_numpy(),
    )
    table.storage.artifacts.put("tracks", key, pa.table({"trackid": pa.array(ids, pa.int64())}))
    return stored, _in_table(ids, i)


def _in_table(ids: Ids, i: int) -> Ids:
    """Return video i's ids as its table's; 0 stays 0."""
    return np.where(ids > 0, ids + i * VIDEO_IDS, 0)


def rows_of(
    table: LiveTable, i: int, classes: tuple[str, ...], context: QueryContext
) -> TrackedRows:
    """Return the rows of video i's tracks: of these classes by few frames, or of all (no class)."""
    if classes:
        return sparse_tracks(table, i, classes, context)
    stored, ids = all_tracks(table, i, context)
    mine = ids > 0
    return TrackedRows(
        stored.column("frame").to_numpy()[mine],
        stored.column("ordinal").to_numpy()[mine].astype(np.int64),
        stored.column("class").to_numpy()[mine].astype(np.int64),
        ids[mine],
    )
