"""What a statement says of itself: progress while it runs, notices, and a report at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Notice:
    """A remark for the user that is no error. `severity` is NOTICE or WARNING."""

    message: str
    severity: str = "NOTICE"
    sqlstate: str = "00000"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a running statement stands. Units: `done`/`total` in frames, the rest in seconds.

    `estimate`, `low` and `high` are the running answer of an approximate aggregate, if there is
    just one; the interval is valid at every moment.
    """

    stage: str
    done: int
    total: int | None
    elapsed: float
    remaining: float | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class StreamWindow:
    """A window of a video stream: what was recorded, what it cost, and the count per frame.

    `ts`, `seconds`: of the stream; `started`: when its first frame came. `frames_dropped` came and
    could not be kept or decoded. `calls`: of the detector. `estimate` of FCOUNT lies in
    [`low`, `high`], which holds with `confidence` for the window's frames; None and
    the guarantee `none` where the window was not looked at.
    """

    number: int
    video: str
    started: datetime
    ts: float
    seconds: float
    frames: int
    frames_dropped: int
    calls: int
    estimate: float | None
    low: float
    high: float
    confidence: float
    guarantee: str


@dataclass(slots=True)
class QueryReport:
    """What the last statement did: its answer's interval and guarantee, its plan and its costs.

    `seconds` has the keys decode, detect, train, proxy, compile, estimate, total.
    `intervals` has a row per approximate value of the result: the row's exact columns, row (its
    number), column, estimate, low, high, confidence, samples, target_met. `pixel_calls`: pictures
    shown to each pixel function; `pixel_steps`: per predicate on pixels, in the order in which they
    were tried, how many objects were tested and how many passed. `video_tables`: folded names of
    those it names.
    `certified` has what a selection with FNR or FPR reached, of frames: "fnr" and "fpr" at most,
    "recall" and "precision" at least; the worst of the statement's selections. `calls_for`: its
    detector calls by purpose: "training" labels that teach, "certificate" random samples that bound
    the error, "answer" the frames that had to be looked at.
    """

    sql: str = ""
    guarantee: str = "exact"
    confidence: float | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    target_met: bool = True
    plan: str = ""
    plan_kind: str = ""
    detector_calls: int = 0
    frames_decoded: int = 0
    frames_total: int = 0
    frames_cached: int = 0
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    estimated_calls: int = 0
    estimated_seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    intervals: pa.Table | None = None
    certified: dict[str, float] = field(default_factory=dict[str, float])
    calls_for: dict[str, int] = field(default_factory=dict[str, int])
    pixel_calls: dict[str, int] = field(default_factory=dict[str, int])
    pixel_steps: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    video_tables: tuple[str, ...] = ()
    notices: list[Notice] = field(default_factory=list[Notice])

    def turned(self, planned: str, became: str) -> None:
        """Note that an operator planned as one alternative ran as another one of its plan."""
        kinds = self.plan_kind.split(", ")
        if planned in kinds:
            kinds[kinds.index(planned)] = became
            self.plan_kind = ", ".join(kinds)
