"""The physical plan: how each part is computed, what it should cost, and what else was weighed."""

from __future__ import annotations

from dataclasses import dataclass, field

from foveal.planner.logical import Aggregate, Conjunct, Key, Source, Tolerance, rates
from foveal.planner.pixel_order import PixelOrder
from foveal.planner.protocols import Quantity
from foveal.planner.search.belief import UNKNOWN, Belief
from foveal.planner.search.forecast import Prices
from foveal.planner.tree import Node


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way to compute a node. Seconds and detector calls are estimates.

    `guarantee`: exact, finite or asymptotic. `why` says why it won, lost or does not apply.
    """

    name: str
    calls: int
    decode: float
    detect: float
    train: float
    guarantee: str
    applies: bool = True
    why: str = ""

    @property
    def total(self) -> float:
        """Seconds altogether."""
        return self.decode + self.detect + self.train


class Physical(Node):
    """A physical plan node."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ObjectScan(Physical):
    """Stream a video table's objects; frames not in the store are decoded and detected.

    `sparse`: classes whose tracks alone are wanted, found coarse to fine: only rows of their
    tracks come out, and frames that can hold none are not looked at. Empty: every row comes out.
    """

    table: str
    conjuncts: tuple[Conjunct, ...]
    columns: tuple[str, ...]
    tracked: bool
    alternatives: tuple[Alternative, ...]
    sparse: tuple[str, ...] = ()

    def label(self) -> str:
        how = f"  tracked{_coarse_to_fine(self.sparse)}" if self.tracked else ""
        return _scan_label("ObjectScan", self.table, self.conjuncts, self.columns) + how


@dataclass(frozen=True, slots=True)
class FrameScan(Physical):
    """Stream a video table's frames from its index."""

    table: str
    conjuncts: tuple[Conjunct, ...]
    columns: tuple[str, ...]

    def label(self) -> str:
        return _scan_label("FrameScan", self.table, self.conjuncts, self.columns)


@dataclass(frozen=True, slots=True)
class PixelFilter(Physical):
    """The child's rows that satisfy predicates of the query, those on pixels last and in order."""

    child: ObjectScan | FrameScan
    pixels: PixelOrder

    @property
    def table(self) -> str:
        """The video table."""
        return self.child.table

    @property
    def relation(self) -> str:
        """The relation whose rows these are."""
        return "objects" if isinstance(self.child, ObjectScan) else "frames"

    def label(self) -> str:
        return f"PixelFilter {self.table}"


@dataclass(frozen=True, slots=True)
class TrackScan(Physical):
    """Stream a video table's tracks. `sparse`: as in `ObjectScan`."""

    table: str
    columns: tuple[str, ...]
    alternatives: tuple[Alternative, ...]
    sparse: tuple[str, ...] = ()

    def label(self) -> str:
        how = _coarse_to_fine(self.sparse)
        return _scan_label("TrackScan", self.table, (), self.columns) + how


@dataclass(frozen=True, slots=True)
class SystemScan(Physical):
    """Stream one of foveal's own catalogs."""

    name: str

    def label(self) -> str:
        return f"SystemScan foveal.{self.name}"


@dataclass(frozen=True, slots=True)
class NamedInput(Physical):
    """A fragment's input under the name its text uses."""

    name: str
    child: Physical

    def label(self) -> str:
        return f"{self.name} :="


@dataclass(frozen=True, slots=True)
class SqlFragment(Physical):
    """SQL that DuckDB runs over named inputs."""

    text: str
    inputs: tuple[NamedInput, ...]
    kind: str

    def label(self) -> str:
        return "SqlFragment " + " ".join(self.text.split())


@dataclass(frozen=True, slots=True)
class AggregatePlan(Physical):
    """What an exact and a sampled aggregate share: see `logical.FrameAggregate`."""

    rows: ObjectScan | FrameScan
    frames: FrameScan
    inputs: tuple[NamedInput, ...]
    prefix: str
    source: Source
    predicates: tuple[Conjunct, ...]
    keys: tuple[Key, ...]
    aggregates: tuple[Aggregate, ...]
    alternatives: tuple[Alternative, ...]
    tolerance: Tolerance
    pixels: PixelOrder | None = field(default=None, kw_only=True)

    def label(self) -> str:
        text = ", ".join(a.source for a in self.aggregates)
        if self.keys:
            text += " by " + ", ".join(k.source for k in self.keys)
        where = [c.source for c in self.predicates if not c.frame_only]
        text += " where " + " AND ".join(where) if where else ""
        return f"{type(self).__name__} {text}"


@dataclass(frozen=True, slots=True)
class ExactAggregate(AggregatePlan):
    """Aggregates over every frame, by DuckDB: a row per group of frames, empty groups too."""


@dataclass(frozen=True, slots=True)
class SampleAggregate(AggregatePlan):
    """Aggregates estimated from sampled frames, with intervals that hold at every moment.

    `method`: sampling; temporal, where observed frames predict their neighbours; proxy, where a
    stored proxy's scores do so too; learn, where one is trained on the first samples; rewrite,
    where a proxy answers alone; recalled, where the stored answer to the same question is given.
    `looks`: the run may turn to proxies on its way, if what it sees says that this pays.
    """

    max_count: int
    guarantee: str
    method: str
    seed: int
    looks: bool = False

    def label(self) -> str:
        return (
            f"{AggregatePlan.label(self)}  {self.tolerance.words()}  guarantee {self.guarantee}"
            f"  max_count {self.max_count}"
        )


@dataclass(frozen=True, slots=True)
class SampleTracks(AggregatePlan):
    """The number of distinct tracks of `classes`, estimated from tracks seen in sampled frames.

    `least`: fewest frames of its group that a track is seen in.
    """

    classes: tuple[str, ...]
    least: int
    max_count: int
    guarantee: str
    seed: int

    @property
    def method(self) -> str:
        """How the estimate is made."""
        return "tracks"

    def label(self) -> str:
        return (
            f"{AggregatePlan.label(self)}  {self.tolerance.words()}  guarantee {self.guarantee}"
            f"  max_count {self.max_count}"
        )


@dataclass(frozen=True, slots=True)
class GapLimitRows(Physical):
    """Rows of a fragment that lie far enough apart within their video.

    Where rows follow from single frames (`by_frame`) the search begins with `method`, may change
    over to any of `methods`, and stops when there are enough. `heads`: see `logical.GapLimit`.
    `belief` and `prices` are what the plan was chosen under; None where nothing is to be weighed.
    """

    child: SqlFragment
    limit: int
    offset: int
    gap: float
    unit: str
    by_frame: bool
    seconds: float | None
    calls: int | None
    alternatives: tuple[Alternative, ...] = ()
    heads: tuple[tuple[Quantity, float], ...] = ()
    method: str = "search"
    methods: tuple[str, ...] = ("search",)
    belief: Belief = UNKNOWN
    prices: Prices | None = None
    seed: int = 0

    def label(self) -> str:
        how = f"  by {self.method}, stops early" if self.by_frame else ""
        return f"GapLimitRows {self.limit} gap {self.gap:g} {self.unit}{how}"


@dataclass(frozen=True, slots=True)
class ExactSelection(Physical):
    """A selection whose error rates are bounded by looking at every frame: none is wrong."""

    child: Physical
    fnr: float | None
    fpr: float | None
    confidence: float
    alternatives: tuple[Alternative, ...]
    why: str = ""

    def label(self) -> str:
        bounds = "  ".join(rates(self.fnr, self.fpr, self.confidence)[:-1])
        return f"ExactSelection {bounds}" + (f"  every frame: {self.why}" if self.why else "")


@dataclass(frozen=True, slots=True)
class Cascade(Physical):
    """A video relation's rows in the frames that a block selects: see `logical.SelectFrames`.

    `method`: exact or cached, every frame is looked at; verify, what is returned was looked at;
    cascade, frames may be accepted unseen as well; recalled, the stored decisions are given.
    `learns`: a proxy may be trained on the way.
    """

    rows: ObjectScan
    frames: FrameScan
    source: Source
    predicates: tuple[Conjunct, ...]
    having: str
    quantity: Quantity | None
    fnr: float | None
    fpr: float | None
    confidence: float
    by_frame: bool
    alternatives: tuple[Alternative, ...]
    method: str
    learns: bool
    seed: int

    def label(self) -> str:
        where = " AND ".join(c.source for c in self.predicates if not c.frame_only)
        parts = [f"Cascade {self.rows.table}" + (f" where {where}" if where else "")]
        if self.having:
            parts.append("having " + " ".join(self.having.split()))
        parts += rates(self.fnr, self.fpr, self.confidence)
        return "  ".join([*parts, f"by {self.method}", *(["a row per frame"] * self.by_frame)])


def _coarse_to_fine(classes: tuple[str, ...]) -> str:
    return f"  coarse to fine: {', '.join(classes)}" if classes else ""


def _scan_label(
    name: str, table: str, conjuncts: tuple[Conjunct, ...], columns: tuple[str, ...]
) -> str:
    where = " AND ".join(c.source for c in conjuncts)
    listed = ", ".join(columns) if columns else "no column"
    return f"{name} {table}" + (f" where {where}" if where else "") + f"  reads {listed}"
