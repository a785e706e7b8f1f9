"""Result rows in, the frames they name out, each once, with what the rows say of its objects."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from foveal.engine.pictures import FramePicture, Place
from foveal.server.formats import text_of

if TYPE_CHECKING:
    from foveal.connectors.video.drawing import Colour, Image
    from foveal.result_set import Description, Row

_BOX = ("xmin", "ymin", "xmax", "ymax")
_FRAME = ("frame", "first_frame")
_TS = ("ts", "first_ts")
_SHOWN_ELSEWHERE = frozenset(
    {"video", "class", "confidence", "mask", "features", "pts", "is_key", *_BOX, *_FRAME, *_TS}
)
"""Columns that a caption need not repeat: they are drawn, or say where the frame is."""

COLOURS: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""Colours that also people with a colour vision deficiency tell apart (Okabe and Ito, 2008)."""


@dataclass(slots=True)
class Shot:
    """A frame that rows name. `boxes`, `labels` and `scores` are of the rows that have boxes.

    `classes`: those the rows name; `remarks`: what else they hold, for the caption.
    """

    place: Place
    rows: int = 0
    boxes: list[tuple[float, ...]] = field(default_factory=list[tuple[float, ...]])
    labels: list[str] = field(default_factory=list[str])
    scores: list[float | None] = field(default_factory=list["float | None"])
    classes: set[str] = field(default_factory=set[str])
    remarks: list[str] = field(default_factory=list[str])


class FrameColumns:
    """Where in a row the frame, the box and the class stand."""

    def __init__(self, description: Sequence[Description]) -> None:
        """Find the columns by their names and types."""
        self._names = [name for name, *_ in description]
        self._at: dict[str, int] = {}
        for i, (name, *_) in enumerate(description):
            self._at.setdefault(name.lower(), i)
        self._handle = next(
            (
                i
                for i, (_, code, *_) in enumerate(description)
                if str(code).startswith('STRUCT("source" VARCHAR, frame BIGINT')
            ),
            None,
        )
        self._whole = self._handle is not None and self._names[self._handle].lower() == "image"

    @property
    def name_frames(self) -> bool:
        """Whether rows say which frame they are about."""
        return self._handle is not None or any(name in self._at for name in (*_FRAME, *_TS))

    def _value(self, row: Row, *names: str) -> Any:
        at = next((self._at[name] for name in names if name in self._at), None)
        return None if at is None else row[at]

    def place(self, row: Row) -> Place | None:
        """Return where the row's frame is, None where its columns are NULL or no numbers."""
        handle = self._held(row)
        video = self._value(row, "video")
        name = video if isinstance(video, str) else None
        if handle is not None:
            return Place(name, str(handle["source"]), int(handle["frame"]))
        frame, ts = self._value(row, *_FRAME), self._value(row, *_TS)
        if _is_number(frame) and float(frame).is_integer():
            return Place(name, frame=int(frame))
        return Place(name, ts=float(ts)) if _is_number(ts) and math.isfinite(ts) else None

    def note(self, row: Row, shot: Shot) -> None:
        """Add what the row says to its frame."""
        shot.rows += 1
        kind = self._value(row, "class")
        if isinstance(kind, str):
            shot.classes.add(kind)
        box = self._box(row)
        if box is not None:
            score = self._value(row, "confidence")
            shot.boxes.append(box)
            shot.labels.append(kind if isinstance(kind, str) else "")
            shot.scores.append(float(score) if _is_number(score) else None)
        remark = "  ".join(
            f"{name} {_short(value)}"
            for i, (name, value) in enumerate(zip(self._names, row, strict=True))
            if name.lower() not in _SHOWN_ELSEWHERE and i != self._handle and value is not None
        )
        if remark and remark not in shot.remarks:
            shot.remarks.append(remark)

    def _held(self, row: Row) -> Mapping[str, Any] | None:
        return None if self._handle is None else cast("Mapping[str, Any] | None", row[self._handle])

    def _box(self, row: Row) -> tuple[float, ...] | None:
        handle = self._held(row)
        if handle is not None and not self._whole:
            return tuple(float(handle[name]) for name in _BOX)
        if not all(name in self._at for name in _BOX):
            return None
        values = [self._value(row, name) for name in _BOX]
        return tuple(map(float, values)) if all(_is_number(v) for v in values) else None


def collect(columns: FrameColumns, rows: Iterable[Row], limit: int) -> tuple[list[Shot], bool]:
    """Return the first `limit` frames that rows name, and whether rows name more.

    No more rows are read than it takes to know. Rows about one frame need not stand together.
    """
    shots: dict[Place, Shot] = {}
    for row in rows:
        place = columns.place(row)
        if place is None:
            continue
        if place not in shots:
            if len(shots) == limit:
                return list(shots.values()), True
            shots[place] = Shot(place)
        columns.note(row, shots[place])
    return list(shots.values()), False


@dataclass(frozen=True, slots=True, eq=False)
class Plate:
    """A frame as it is shown: the marked picture, uint8 RGB, and the lines under it."""

    picture: Image
    caption: tuple[str, ...]


def plates(shots: Sequence[Shot], pictures: Sequence[FramePicture]) -> list[Plate]:
    """Return each frame with its boxes drawn: the rows' own, else those that are stored.

    Of stored ones, where the rows name classes only these.
    """
    from foveal.connectors.video.drawing import mark

    found: list[Plate] = []
    colours: dict[str, Colour] = {}
    for shot, picture in zip(shots, pictures, strict=True):
        boxes, labels, scores = _objects(shot, picture)
        for label in labels:
            colours.setdefault(label, COLOURS[len(colours) % len(COLOURS)])
        marked = mark(
            picture.picture,
            np.array(boxes, np.float64).reshape(-1, 4) * picture.scale,
            [_label(*pair) for pair in zip(labels, scores, strict=True)],
            [colours[label] for label in labels],
        )
        found.append(Plate(marked, _caption(shot, picture)))
    return found


def _objects(
    shot: Shot, picture: FramePicture
) -> tuple[list[tuple[float, ...]], list[str], list[float | None]]:
    if shot.boxes:
        return shot.boxes, shot.labels, shot.scores
    kept = [i for i, name in enumerate(picture.labels) if not shot.classes or name in shot.classes]
    return (
        [tuple(picture.boxes[i].tolist()) for i in kept],
        [picture.labels[i] for i in kept],
        [float(picture.scores[i]) for i in kept],
    )


def _caption(shot: Shot, picture: FramePicture) -> tuple[str, ...]:
    lines = [f"{picture.video}  {clock(picture.ts)}  frame {picture.frame:,}"]
    if len(shot.remarks) == 1:
        lines.append(shot.remarks[0])
    elif shot.rows > 1:
        lines.append(f"{shot.rows} rows")
    if not shot.boxes and not picture.processed:
        lines.append("the detector has not looked at this frame")
    return tuple(lines)


def clock(ts: float) -> str:
    """Return seconds as a time stamp.

    >>> clock(12.4), clock(3723.456)
    ('0:12.40', '1:02:03.46')
    """
    hundredths = round(ts * 100)
    whole, rest = divmod(hundredths, 100)
    minutes, secs = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{head}:{secs:02d}.{rest:02d}"


def _label(name: str, score: float | None) -> str:
    return name if score is None else f"{name} {score:.2f}".strip()


def _short(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else text_of(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
