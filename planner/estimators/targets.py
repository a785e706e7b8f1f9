"""What a sampling run is asked for, and what it answers: targets, groups, costs, intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class MeanTarget:
    """The mean of one observed column over a group's frames, times `scale`.

    FCOUNT(*) is a mean; COUNT(*) is one with `scale` = number of frames of the group.

    Attributes:
        upper: largest possible value; what is observed above it is clipped and counted.
        epsilon: half width wanted, in the answer's unit (so after `scale`); None asks for the
            exact answer and takes what the budget allows.
        relative: `epsilon` is a fraction of the answer.
        lower: smallest possible value.
        integer: the column holds whole numbers (tighter when they vary little).
        column: which column of the observed values this is.
        scale: what the mean is multiplied with, above 0.
        aimed: nobody asked for `epsilon`; it is what a budget should reach, so that the estimate
            need not be within it of the whole interval.
    """

    upper: float
    epsilon: float | None
    relative: bool = False
    lower: float = 0.0
    integer: bool = False
    column: int = 0
    scale: float = 1.0
    aimed: bool = False


@dataclass(frozen=True, slots=True)
class RatioTarget:
    """An average over objects: the sum of one column over the sum of another.

    Per frame `numerator` is the sum of the expression over the frame's objects and
    `denominator` their number; the expression of each object lies in [lower, upper].

    Attributes:
        count: largest possible denominator of a frame (`max_count`). Above it a frame is
            thinned: its numerator is scaled with its denominator, and it is counted as clipped.
        epsilon, relative: as in MeanTarget.
    """

    lower: float
    upper: float
    count: float
    epsilon: float | None
    numerator: int
    denominator: int
    relative: bool = False


Target = MeanTarget | RatioTarget


def _no_mask() -> Mask:
    return np.zeros(0, np.bool_)


def _no_values() -> Values:
    return np.zeros((0, 1), np.float64)


def _no_breaks() -> Frames:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class FrameGroup:
    """One result row's frames and what is wanted of them. The groups of a run share no frame.

    Attributes:
        frames: int64 [N], ascending, unique: places in the relation's frame order.
        targets: one per approximate column; all are fed by the same draws.
        known: bool [N], frames whose values are known already (cached detections); empty: none.
        known_values: float64 [known frames, columns], in frame order.
        breaks: int64, ascending: first places of the videos. Nothing is predicted across one.
    """

    frames: Frames
    targets: tuple[Target, ...]
    known: Mask = field(default_factory=_no_mask)
    known_values: Values = field(default_factory=_no_values)
    breaks: Frames = field(default_factory=_no_breaks)


def _free(frames: Frames) -> float:
    del frames
    return 0.0


@dataclass(frozen=True, slots=True)
class Costs:
    """Prices in seconds, for sizing batches and for choosing a scan.

    Attributes:
        detect: the detector on one frame.
        decode: of a sorted int64 array of places, fetched in one pass.
        sample: arithmetic per sample and target.
        batch: fewest frames worth asking for at once.
    """

    detect: float = 0.036
    decode: Callable[[Frames], float] = _free
    sample: float = 3e-5
    batch: int = 16


@dataclass(frozen=True, slots=True)
class Interval:
    """The answer for one target of one group. `group` and `target` are places in the inputs.

    Attributes:
        estimate, low, high: None for a ratio without a single object.
        samples: frames observed for it, at random or in a scan; known frames not counted.
        known: frames that were known before.
        target_met: the half width asked for is reached (or the answer is exact).
        guarantee: exact, finite or asymptotic.
        clipped: observed and known frames whose value was cut to [lower, upper].
        clipped_bound: upper confidence bound of the fraction of all the group's frames whose
            value would be cut; 0 when it is certain that there are none.
    """

    group: int
    target: int
    estimate: float | None
    low: float | None
    high: float | None
    samples: int
    known: int
    target_met: bool
    guarantee: str
    clipped: int = 0
    clipped_bound: float = 0.0
