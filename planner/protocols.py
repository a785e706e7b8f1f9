"""What the planner knows of the other rooms: the protocols they implement and the facts they give.

The planner does no I/O. Facts enter as one frozen `Snapshot`; things that do work (a video, a
detector, a store) appear here only as protocols, implemented by connectors, udfs and engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from foveal.settings import Value

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Frames = npt.NDArray[np.int64]
    Image = npt.NDArray[np.uint8]

THUMBNAIL = 96
"""Height and width of thumbnails, in pixels."""

CancelCheck = Callable[[], None]
"""Called often by long work; raises QueryCanceled when the user asked to stop."""


# --- video -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class FrameIndex:
    """Where every frame of one video is. Row n is frame n in presentation order.

    `pts` int64 [N]: presentation stamps in `time_base` units, strictly increasing.
    `ts` float64 [N]: seconds since the first frame (so a start time that is not 0 is taken off).
    `is_key` bool [N]: a decoder can start at this frame.
    `skipped`: (first, last) ranges in seconds that the file holds but that cannot be decoded.
    """

    pts: npt.NDArray[np.int64]
    ts: npt.NDArray[np.float64]
    is_key: npt.NDArray[np.bool_]
    time_base: tuple[int, int]
    width: int
    height: int
    codec: str
    skipped: tuple[tuple[float, float], ...] = ()

    @property
    def frames(self) -> int:
        """Number of frames."""
        return int(self.pts.shape[0])


@dataclass(slots=True)
class DecodeCounters:
    """What decoding cost so far: frames that passed the decoder, seeks, seconds of wall time."""

    frames_decoded: int = 0
    seeks: int = 0
    seconds: float = 0.0


class Video(Protocol):
    """One video file: an index, and exact frames by number."""

    @property
    def name(self) -> str:
        """The value of the `video` column: the file's name, made unique within its table."""
        ...

    @property
    def path(self) -> Path:
        """Where the file is."""
        ...

    @property
    def content_hash(self) -> str:
        """Hex digest of the file's bytes."""
        ...

    @property
    def index(self) -> FrameIndex:
        """Where its frames are."""
        ...

    def read(
        self, frames: Frames, *, counters: DecodeCounters, cancel: CancelCheck
    ) -> Iterator[tuple[int, Image]]:
        """Yield (frame number, picture uint8 RGB [H, W, 3]) for the wanted frames, ascending.

        `frames` is sorted and unique. Decodes each touched group of pictures once, or reads
        straight through when that is cheaper. Closing the iterator stops the decoder.

        Raises:
            OperationalError: 58030, the file cannot be read or a frame cannot be decoded.
        """
        ...

    def thumbnails(
        self, frames: Frames, *, counters: DecodeCounters, cancel: CancelCheck
    ) -> Iterator[tuple[Frames, Image]]:
        """Yield (frame numbers int64 [k], gray pictures uint8 [k, 96, 96]), ascending, in batches.

        Each picture is the area average of the frame's luma over a grid of 96 x 96: what cheap
        models look at. `frames` is sorted and unique. The same decoder and scaler settings are
        used for every frame, so that differences between pictures are differences of the scene.

        Raises:
            OperationalError: 58030, as `read`.
        """
        ...


# --- detectors ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DetectorInfo:
    """What a detector is. `key` names its content and every parameter that changes its answers."""

    name: str
    family: str
    key: str
    classes: tuple[str, ...]
    input_height: int
    input_width: int
    confidence: float
    iou: float = 0.45
    slices: int = 0
    path: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The objects of one frame, best first.

    `boxes` float32 [n, 4]: xmin, ymin, xmax, ymax in pixels of the given picture.
    `scores` float32 [n] in 0..1. `classes` int32 [n]: index into `DetectorInfo.classes`.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int32]


class Detector(Protocol):
    """A loaded object detector. Thread-safe; the same picture always gives the same answer."""

    @property
    def info(self) -> DetectorInfo:
        """What it is."""
        ...

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return the detections of each picture (uint8 RGB [H, W, 3])."""
        ...


# --- the detection store -----------------------------------------------------------------------


class DetectionStore(Protocol):
    """Everything a detector ever said, kept by (video content hash, detector key)."""

    def processed(self, video_hash: str, detector_key: str, frames: int) -> npt.NDArray[np.bool_]:
        """Return bool [frames]: True where the frame's detections are stored (maybe none)."""
        ...

    def read(self, video_hash: str, detector_key: str, frames: Frames) -> pa.Table:
        """Return the stored objects of these frames (sorted, unique), by frame, best first.

        Columns: frame int64, ordinal int32 (place within the frame), class int32,
        confidence float32, xmin, ymin, xmax, ymax float32.
        """
        ...

    def append(self, video_hash: str, detector_key: str, frames: Frames, objects: pa.Table) -> None:
        """Keep the objects of `frames` durably; frames without a row are kept as empty."""
        ...


# --- proxies -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number per frame that a proxy can learn: objects under conditions, or a sum over them.

    `conditions`: SQL over the unqualified columns of the objects relation, canonical, sorted,
    unique; all must hold. `value`: SQL over the same columns that is summed; "1" is a count.
    Equal quantities of one table have equal texts, whichever query they came from.
    """

    conditions: tuple[str, ...] = ()
    value: str = "1"

    @property
    def text(self) -> str:
        """The quantity as a person reads it: COUNT(class = 'car' AND xmin > 100)."""
        where = " AND ".join(self.conditions)
        if self.value == "1":
            return f"COUNT({where or '*'})"
        return f"SUM({self.value})" + (f" WHERE {where}" if where else "")

    def sql(self, rows: str) -> str:
        """Return SQL giving (video, frame, value DOUBLE) per frame with an object that counts."""
        where = " AND ".join(f"({c})" for c in self.conditions)
        total = "count(*)" if self.value == "1" else f"sum({self.value})"
        return (
            f"SELECT video, frame, ({total})::DOUBLE AS value FROM {rows}"
            + (f" WHERE {where}" if where else "")
            + " GROUP BY video, frame"
        )


@dataclass(frozen=True, slots=True)
class ProxyFacts:
    """A trained specialised model as the planner sees it. Frames and labels are counts.

    `key` names its content. `r2`: squared correlation of its score with the detector's value on
    frames away in time from the labels it learnt from; `r2_time`: the same of interpolating the
    labels in time, which needs no pixels; `residual`, `deviation`: standard deviations of value
    minus score and of the value on those frames. `scored`: frames of the table whose scores are
    stored. `score_frame`: seconds per frame beyond its thumbnail. `useful` is False where it does
    not beat both the mean and interpolation; `why` says so.
    """

    name: str
    table: str
    quantity: Quantity
    family: str
    key: str
    labels: int
    positives: int
    r2: float
    r2_time: float
    residual: float
    deviation: float
    train_seconds: float
    score_frame: float
    scored: int
    useful: bool
    why: str = ""


# --- the snapshot: what the planner may know ----------------------------------------------------


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """Facts about one video of a table. Units: frames, seconds, pixels.

    `cached`: frames whose detections are stored. `mean_gop`: mean frames between keyframes.
    `thumbnails`: frames whose thumbnails are kept. `track_hits`: each track of the table's tracker
    begins with this many frames in a row, so that every so manieth frame shows it.
    """

    name: str
    frames: int
    duration: float
    width: int
    height: int
    mean_gop: float
    cached: int
    thumbnails: int = 0
    track_hits: int = 3


@dataclass(frozen=True, slots=True)
class Profile:
    """Measured speeds of this machine, in seconds. `measured` is False for starting constants.

    `decode_frame`: one frame of a straight read. `seek`: one frame at random, decoding from its
    keyframe included. `detect_frame`: the detector on one frame. `startup`: once per query.
    `thumbnail`: one thumbnail of a straight read, decoding included.
    """

    decode_frame: float
    seek: float
    detect_frame: float
    startup: float = 0.0
    measured: bool = False
    thumbnail: float = 3e-3


@dataclass(frozen=True, slots=True)
class VideoTable:
    """A video table as the planner sees it.

    `local_tracks`: a track follows from the frames around it, whichever tracker the table has.
    """

    name: str
    detector: DetectorInfo
    max_count: int
    videos: tuple[VideoFacts, ...]
    profile: Profile
    tracker: str = "kalman"
    proxies: tuple[ProxyFacts, ...] = ()
    local_tracks: bool = False

    @property
    def frames(self) -> int:
        """Frames of all videos together."""
        return sum(video.frames for video in self.videos)


@dataclass(frozen=True, slots=True)
class FrameFacts:
    """What is known of one set of frames before a plan is chosen.

    `frames` and `cached` (frames with stored detections) are counts; `keyframes` how many
    decoding starts lie among them; `groups` into how many result rows a block cuts them.
    `mean` and `deviation` of the per-frame value come from cached frames, None without any.
    `recalled`: an answer to just this question, accurate enough, is stored. Of a search:
    `looked` known frames of which `positives` satisfy its condition (both as independent trials, so
    fractions), `spaced` rows far enough apart that are known already.
    `span`: frames from the first to the last of them in each video, those between included, which a
    decoder cannot leave out; 0 where it is not told, and then there are none between.
    """

    frames: int
    cached: int
    keyframes: int
    groups: int = 1
    mean: float | None = None
    deviation: float | None = None
    recalled: bool = False
    looked: float = 0.0
    positives: float = 0.0
    spaced: int = 0
    span: int = 0


@dataclass(frozen=True, slots=True)
class PixelFacts:
    """A function over pictures: its name as the user writes it, and its seconds per call.

    `measured` is False where the seconds are a starting value.
    """

    name: str
    seconds: float
    measured: bool


@dataclass(frozen=True, slots=True)
class StoredText:
    """A view or macro over extension objects: its definition, kept by foveal as text.

    `kind` is view, table_macro or scalar_macro. `parameters` are the macro's names.
    `columns` are the view's own column names, if it lists them.
    """

    name: str
    kind: str
    body: str
    parameters: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that planning may depend on, frozen: same snapshot and text, same plan.

    Names are folded to lower case. `columns` gives the columns of the user's own tables,
    `schemas` their schemas, `functions` the SQL functions of ours that no macro of the user hides,
    `parameters` the values bound to the statement, by key, `user_functions` the user's own
    functions and macros: what calls one can be evaluated in the user's session alone.
    `pixel_functions`: the functions over pictures that the statement calls, by the name in its
    text; `passed`: shares of a table's objects that passed predicates on pixels before, by table
    and text.
    """

    video_tables: Mapping[str, VideoTable] = field(default_factory=dict[str, VideoTable])
    stored: Mapping[str, StoredText] = field(default_factory=dict[str, StoredText])
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, "tuple[str, ...]"])
    settings: Mapping[str, Value] = field(default_factory=dict[str, Value])
    system_tables: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict[str, "tuple[str, ...]"]
    )

    schemas: frozenset[str] = frozenset()
    functions: Mapping[str, StoredText] = field(default_factory=dict[str, StoredText])
    parameters: Mapping[str, object] = field(default_factory=dict[str, object])
    user_functions: frozenset[str] = frozenset()
    pixel_functions: Mapping[str, PixelFacts] = field(default_factory=dict[str, PixelFacts])
    passed: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict[str, "Mapping[str, float]"]
    )

    def names(self) -> frozenset[str]:
        """Every extension name, folded: a statement without any of them is DuckDB's."""
        return frozenset(self.video_tables) | frozenset(self.stored)
