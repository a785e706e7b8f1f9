"""The bound logical plan: what a statement means, before it is decided how to compute it.

A statement over extension relations is one `Fragment` of SQL for DuckDB whose inputs are ours:
scans of video relations, aggregates over frames, spaced limits. Input i is known to the text
under the input's name.
"""

from __future__ import annotations

from dataclasses import dataclass

from foveal.errors import Span
from foveal.planner.protocols import Quantity
from foveal.planner.tree import Node

OBJECT_COLUMNS = (
    "video", "frame", "ts", "class", "confidence", "xmin", "ymin", "xmax", "ymax", "mask",
    "trackid", "content", "features",
)  # fmt: skip
FRAME_COLUMNS = ("video", "frame", "pts", "ts", "is_key", "image")
TRACK_COLUMNS = (
    "video", "trackid", "class", "first_frame", "last_frame", "first_ts", "last_ts", "frames",
    "confidence",
)  # fmt: skip
FRAME_LEVEL = frozenset({"video", "frame", "ts"})
"""Columns of an object that belong to its frame: predicates on them alone prune decoding."""

RELATION_COLUMNS = {"objects": OBJECT_COLUMNS, "frames": FRAME_COLUMNS, "tracks": TRACK_COLUMNS}


class Logical(Node):
    """A logical plan node."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Conjunct:
    """One ANDed predicate, as the user's text (extension names already replaced).

    `alias` is the name that qualifies the relation's columns in the text. `columns`: the columns
    of the relation that it reads. `pure`: no sub-query, no parameter, so it can be evaluated
    anywhere. `source`: the text as the user wrote it. `foreign`: it names a column, outside of
    sub-queries, that the relation does not have.
    """

    text: str
    alias: str
    columns: frozenset[str]
    pure: bool
    span: Span
    source: str = ""
    foreign: bool = False

    @property
    def frame_only(self) -> bool:
        """Whether it speaks of frames, not of the objects in them."""
        return self.columns <= FRAME_LEVEL and not self.foreign


@dataclass(frozen=True, slots=True)
class Frames(Logical):
    """The frames of a video table that satisfy every conjunct, from the index: nothing decoded."""

    table: str
    conjuncts: tuple[Conjunct, ...] = ()

    def label(self) -> str:
        where = " AND ".join(c.source for c in self.conjuncts)
        return f"Frames {self.table}" + (f" where {where}" if where else "")


@dataclass(frozen=True, slots=True)
class Detect(Logical):
    """The objects that the table's detector finds in the child's frames."""

    child: Logical
    table: str

    def label(self) -> str:
        return f"Detect {self.table}"


@dataclass(frozen=True, slots=True)
class Track(Logical):
    """The child's objects with their track ids; needs every frame of the table.

    `classes`: rows of these classes that belong to a track are the only ones that the query sees,
    which few frames may show; empty where it sees others, and `why` says so. `whole`: it sees all
    of a track's rows in the frames that it asks for.
    """

    child: Logical
    table: str
    classes: tuple[str, ...] = ()
    why: str = ""
    whole: bool = False

    def label(self) -> str:
        seen = f"  only tracks of {', '.join(self.classes)}" if self.classes else ""
        return f"Track {self.table}{seen}"


@dataclass(frozen=True, slots=True)
class Tracks(Logical):
    """One row per track of the child's tracked objects."""

    child: Logical
    table: str

    def label(self) -> str:
        return f"Tracks {self.table}"


@dataclass(frozen=True, slots=True)
class Filter(Logical):
    """The child's rows that satisfy every conjunct."""

    child: Logical
    conjuncts: tuple[Conjunct, ...]

    def label(self) -> str:
        return "Filter " + " AND ".join(c.source for c in self.conjuncts)


@dataclass(frozen=True, slots=True)
class PixelFilter(Logical):
    """The child's rows that satisfy predicates of the query, which applies them again.

    Some of them look at pixels: they are tried last, and in the order that costs least.
    """

    child: Logical
    conjuncts: tuple[Conjunct, ...]

    def label(self) -> str:
        return "PixelFilter " + " AND ".join(c.source for c in self.conjuncts)


@dataclass(frozen=True, slots=True)
class Project(Logical):
    """The child's named columns; the others are there in name only, as NULLs nobody reads."""

    child: Logical
    columns: tuple[str, ...]

    def label(self) -> str:
        return "Project " + (", ".join(self.columns) if self.columns else "(row count only)")


@dataclass(frozen=True, slots=True)
class SystemTable(Logical):
    """One of foveal's own catalogs, `foveal.NAME`."""

    name: str

    def label(self) -> str:
        return f"SystemTable foveal.{self.name}"


@dataclass(frozen=True, slots=True)
class Key:
    """A grouping key: its text over the relation, and its column in the result."""

    text: str
    column: str
    frame_only: bool
    source: str


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate call of a block.

    `kind`: fcount, count_star, count, sum, avg, count_tracks (distinct ones) or other. `call` is
    the SQL to compute it over the relation's rows (FCOUNT as count). `argument` is the text
    between the parentheses.
    `filter` the text of its FILTER clause with the keyword. `column`: its column in the result.
    `quantity`: what a proxy may learn of it, frame by frame; None where none can.
    """

    kind: str
    call: str
    argument: str
    filter: str
    column: str
    span: Span
    source: str
    quantity: Quantity | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where a block's rows come from: levels of SELECT over one video relation, innermost first.

    `sql` holds the FROM text with `{rows}` where the relation's name goes. `levels` are
    (alias, frame-only conjuncts) from the innermost level outwards, the block's own level last.
    """

    sql: str
    levels: tuple[tuple[str, tuple[Conjunct, ...]], ...]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The answer that is good enough. Numbers are resolved; None where a clause is absent."""

    epsilon: float | None = None
    relative: bool = False
    confidence: float = 0.95
    seconds: float | None = None
    calls: int | None = None
    low: float | None = None
    high: float | None = None

    @property
    def exact(self) -> bool:
        """Whether only the exact answer will do."""
        return not self.epsilon and self.seconds is None and self.calls is None

    def words(self) -> str:
        """Return the clauses as a person reads them."""
        parts: list[str] = []
        if self.epsilon is not None:
            parts.append(
                f"error {self.epsilon * 100:g}%" if self.relative else f"error {self.epsilon:g}"
            )
        if self.seconds is not None:
            parts.append(f"budget {self.seconds:g} s")
        if self.calls is not None:
            parts.append(f"budget {self.calls} calls")
        if parts:
            parts.append(f"confidence {self.confidence * 100:g}%")
        return "  ".join(parts)


@dataclass(frozen=True, slots=True)
class FrameAggregate(Logical):
    """Aggregates of a block over the rows of one video relation, a row per group of frames.

    `rows` is the relation without the block's predicates but with its frames pruned; `frames`
    the frames that the denominators count; `inputs` what predicates refer to besides; `prefix` the
    WITH clause that they need.
    """

    rows: Logical
    frames: Logical
    inputs: tuple[Input, ...]
    table: str
    relation: str
    prefix: str
    source: Source
    predicates: tuple[Conjunct, ...]
    keys: tuple[Key, ...]
    aggregates: tuple[Aggregate, ...]
    tolerance: Tolerance
    span: Span

    def label(self) -> str:
        parts = ["FrameAggregate " + ", ".join(a.source for a in self.aggregates)]
        if self.keys:
            parts.append("by " + ", ".join(k.source for k in self.keys))
        predicates = [c.source for c in self.predicates if not c.frame_only]
        if predicates:
            parts.append("where " + " AND ".join(predicates))
        words = self.tolerance.words()
        return "  ".join([*parts, words] if words else parts)


@dataclass(frozen=True, slots=True)
class Input(Logical):
    """A named input of a fragment: the text refers to it as `name`."""

    name: str
    child: Logical

    def label(self) -> str:
        return f"{self.name} :="


@dataclass(frozen=True, slots=True)
class Fragment(Logical):
    """SQL for DuckDB over named inputs. `kind` is the statement's kind (select, copy, ..)."""

    text: str
    inputs: tuple[Input, ...]
    kind: str

    def label(self) -> str:
        return "Fragment " + " ".join(self.text.split())


@dataclass(frozen=True, slots=True)
class GapLimit(Logical):
    """The first `limit` rows of the child that lie at least `gap` apart within their video.

    The child's last two columns name the row's video and its frame (or its ts, if `unit` is
    seconds); they are dropped. `by_frame`: every row follows from one frame, so that the search may
    look at frames in any order and stop early, at the limit or at the budget of `seconds` and
    detector `calls`. `heads`: a frame has a row where every quantity is at least its number; ()
    where that is not known.
    """

    child: Logical
    limit: int
    offset: int
    gap: float
    unit: str
    by_frame: bool = False
    seconds: float | None = None
    calls: int | None = None
    heads: tuple[tuple[Quantity, float], ...] = ()

    def label(self) -> str:
        return f"GapLimit {self.limit} gap {self.gap:g} {self.unit}"


@dataclass(frozen=True, slots=True)
class SelectFrames(Logical):
    """The rows of a video relation in the frames that a block selects, some decided unseen.

    A frame is true when a row of it passes the block: `source` and `predicates`, or with `having`
    its group. At most a share `fnr` of the true frames is missing, at most a share `fpr` of the
    others is there (None for none). `by_frame`: one row per frame comes out, with video, frame and
    ts alone, so that a frame may be accepted without a look. `quantity`: what a proxy may learn
    for the frame to be true where it is 1 or more.
    """

    rows: Logical
    frames: Logical
    table: str
    source: Source
    predicates: tuple[Conjunct, ...]
    having: str
    quantity: Quantity | None
    fnr: float | None
    fpr: float | None
    confidence: float
    by_frame: bool
    span: Span

    def label(self) -> str:
        where = " AND ".join(c.source for c in self.predicates if not c.frame_only)
        parts = [f"SelectFrames {self.table}" + (f" where {where}" if where else "")]
        if self.having:
            parts.append("having " + " ".join(self.having.split()))
        return "  ".join([*parts, *rates(self.fnr, self.fpr, self.confidence)])


def rates(fnr: float | None, fpr: float | None, confidence: float) -> list[str]:
    """Return the error rates asked for as a person reads them."""
    named = (("FNR", fnr), ("FPR", fpr))
    found = [f"{name} {rate * 100:g}%" for name, rate in named if rate is not None]
    return [*found, f"confidence {confidence * 100:g}%"]


@dataclass(frozen=True, slots=True)
class Selection(Logical):
    """The child's rows, of which wrong frames are bounded: FNR and FPR as fractions, or None.

    Every frame is looked at; `why` says why no fewer will do.
    """

    child: Logical
    fnr: float | None
    fpr: float | None
    confidence: float
    why: str = ""

    def label(self) -> str:
        return "Selection " + "  ".join(rates(self.fnr, self.fpr, self.confidence))
