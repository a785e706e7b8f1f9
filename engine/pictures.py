"""Frames that result rows name, as pictures with the objects that are known to be in them.

Nothing is detected: what the detector was never asked about has no boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from foveal.engine.catalog.videos import LiveTable
from foveal.engine.context import QueryContext
from foveal.engine.relations import box_array
from foveal.errors import ProgrammingError
from foveal.planner.protocols import DecodeCounters

if TYPE_CHECKING:
    from foveal.connectors.video.source import VideoFile
    from foveal.planner.protocols import Image

    _Spot = tuple[LiveTable, VideoFile, int]


@dataclass(frozen=True, slots=True)
class Place:
    """What a row says of where a frame is; None where it says nothing.

    `video` is a value of the column of that name, `source` a file's path (from a handle), `ts` in
    seconds. Of `frame` and `ts` one is given, `frame` rules.
    """

    video: str | None = None
    source: str | None = None
    frame: int | None = None
    ts: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FramePicture:
    """A frame: uint8 RGB [h, w, 3], no wider than asked for, and the stored objects in it.

    `scale` is picture pixels per pixel of the video. `boxes` float32 [n, 4] in pixels of the
    video, with `labels` and `scores`, are empty and `processed` is False where the detector never
    looked at the frame.
    """

    video: str
    frame: int
    ts: float
    picture: Image
    scale: float
    processed: bool
    boxes: npt.NDArray[np.float32]
    labels: tuple[str, ...]
    scores: npt.NDArray[np.float32]


def pictures(
    places: Sequence[Place], tables: Sequence[LiveTable], width: int, context: QueryContext
) -> list[FramePicture]:
    """Return the picture of each place, in order; each video is read once, forward.

    `tables` are those to look in. A time means the last frame that is shown by then.

    Raises:
        ProgrammingError: 42703, a place leaves open which video is meant, or that has no such
            frame; 42P01, no table has it.
        OperationalError: 58030, a frame cannot be decoded.
    """
    from foveal.connectors.video.drawing import fit

    spots = [_spot(place, tables) for place in places]
    found: dict[tuple[str, int], FramePicture] = {}
    videos = {str(video.path): (table, video) for table, video, _ in spots}
    for path, (table, video) in videos.items():
        wanted = np.unique([f for _, v, f in spots if str(v.path) == path]).astype(np.int64)
        counters = DecodeCounters()
        for number, picture in video.read(wanted, counters=counters, cancel=context.check):
            shrunk = fit(picture, width)
            found[path, number] = _with_objects(
                table, video, number, shrunk, shrunk.shape[1] / picture.shape[1]
            )
            context.advance("decode", len(found), len(places))
        context.counters.frames_decoded += counters.frames_decoded
        context.counters.seconds += counters.seconds
    return [found[str(video.path), number] for _, video, number in spots]


def _with_objects(
    table: LiveTable, video: VideoFile, number: int, picture: Image, scale: float
) -> FramePicture:
    key, store = table.info.key, table.storage.detections
    digest, count = video.content_hash, video.index.frames
    stored = store.read(digest, key, np.array([number], np.int64))
    classes: npt.NDArray[np.int32] = stored.column("class").to_numpy()
    names = [table.info.classes[int(i)] for i in classes]
    return FramePicture(
        video.name,
        number,
        float(video.index.ts[number]),
        picture,
        scale,
        bool(store.processed(digest, key, count)[number]),
        box_array(stored),
        tuple(names),
        stored.column("confidence").to_numpy(),
    )


def _spot(place: Place, tables: Sequence[LiveTable]) -> _Spot:
    table, video = _video(place, tables)
    index = video.index
    number = place.frame
    if number is None:
        assert place.ts is not None
        # Half a microsecond: a time that went through text or arithmetic still means its frame.
        number = int(np.searchsorted(index.ts, place.ts + 5e-7, side="right")) - 1
    if not 0 <= number < index.frames:
        said = f"frame {place.frame}" if place.frame is not None else f"moment {place.ts} s"
        raise ProgrammingError(
            f'video "{video.name}" has no {said}: it has frames 0 to {index.frames - 1}',
            sqlstate="42703",
            hint="columns called frame and ts must be those of the video table",
        )
    return table, video, number


def _video(place: Place, tables: Sequence[LiveTable]) -> tuple[LiveTable, VideoFile]:
    every = [(table, video) for table in tables for video in table.videos]
    hits = [
        (table, video)
        for table, video in every
        if (place.video is None or video.name == place.video)
        and (place.source is None or str(video.path) == place.source)
    ]
    paths = {str(video.path) for _, video in hits}
    if len(paths) == 1:
        return hits[0]
    if hits:
        raise ProgrammingError(
            "the rows do not say which video their frames are of",
            sqlstate="42703",
            hint="select the column video too: SELECT video, frame, ..",
        )
    said = place.video if place.video is not None else place.source
    known = sorted({video.name for _, video in every})
    raise ProgrammingError(
        f'no video table holds the video "{said}"' if said else "there is no video table",
        sqlstate="42P01",
        hint="there are " + ", ".join(known[:5]) if known else "CREATE VIDEO TABLE makes one",
    )
