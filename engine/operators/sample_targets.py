"""What a sampling run is asked for: a plan's aggregates become targets of groups of frames."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from foveal.engine.catalog.videos import LiveTable
from foveal.engine.operators.frame_groups import FrameGroups
from foveal.planner.bounds import bounds_of
from foveal.planner.estimators import FrameGroup, MeanTarget, RatioTarget
from foveal.planner.estimators.windows import aim
from foveal.planner.logical import Aggregate, Tolerance
from foveal.planner.physical import SampleAggregate
from foveal.planner.protocols import VideoTable

Values = npt.NDArray[np.float64]


def per_frame(aggregate: Aggregate) -> tuple[str, ...]:
    """Return the SQL of what one frame contributes to an aggregate."""
    if aggregate.kind in ("fcount", "count_star", "count"):
        return (aggregate.call,)
    total = f"sum({aggregate.argument}) {aggregate.filter}".strip()
    if aggregate.kind == "sum":
        return (total,)
    return total, f"count({aggregate.argument}) {aggregate.filter}".strip()


def targets_of(
    node: SampleAggregate,
    groups: FrameGroups,
    facts: VideoTable,
    known: npt.NDArray[np.bool_],
    known_values: Values,
    table: LiveTable,
    delta: float,
) -> list[FrameGroup]:
    """Return each group's frames, what is known of them, and what is wanted.

    `delta` is the statement's; where only a budget bounds the looks, it sets what to aim at.
    """
    order = np.argsort(groups.group, kind="stable")
    edges = np.searchsorted(groups.group[order], np.arange(groups.count + 1))
    place_of_known = np.cumsum(known) - 1
    found: list[FrameGroup] = []
    budget = _affordable(node, facts)
    each = delta / max(groups.count * len(node.aggregates), 1)
    for g in range(groups.count):
        mine = order[edges[g] : edges[g + 1]]
        my_known = known[mine]
        share = len(mine) / max(len(groups.positions), 1)
        left = len(mine) - int(my_known.sum())
        half_width = _aim(budget, share, left, len(mine), each)
        found.append(
            FrameGroup(
                frames=groups.positions[mine],
                targets=_targets(node, facts, len(mine), half_width),
                known=my_known,
                known_values=known_values[place_of_known[mine[my_known]]],
                breaks=table.starts[:-1],
            )
        )
    return found


def _affordable(node: SampleAggregate, facts: VideoTable) -> float | None:
    """Return the looks that the budget allows, None where there is none or an error is asked."""
    tolerance, profile = node.tolerance, facts.profile
    if tolerance.epsilon is not None:
        return None
    looks = math.inf if tolerance.calls is None else float(tolerance.calls)
    if tolerance.seconds is not None:
        each = profile.detect_frame + min(profile.seek, 4 * profile.decode_frame)
        looks = min(looks, tolerance.seconds / each)
    return looks if looks < math.inf else None


def _aim(
    budget: float | None, share: float, left: int, frames: int, delta: float
) -> Callable[[float], float | None]:
    """Return what half width of a mean to aim at, given its values' range.

    Bets that aim at more than their samples can show end with nothing.
    """

    def half_width(upper: float) -> float | None:
        if budget is None or not left:
            return None
        # Known frames have no error, so the mean over all of them has less than over the rest.
        return aim(left, int(budget * share), upper, delta) * left / frames or None

    return half_width


def _targets(
    node: SampleAggregate,
    facts: VideoTable,
    frames: int,
    half_width: Callable[[float], float | None],
) -> tuple[MeanTarget | RatioTarget, ...]:
    count = float(facts.max_count) if type(node.rows).__name__ == "ObjectScan" else 1.0
    tolerance = node.tolerance
    found: list[MeanTarget | RatioTarget] = []
    column = 0
    for aggregate in node.aggregates:
        aimed = tolerance.epsilon is None
        scale = 1.0 if aggregate.kind == "fcount" else float(max(frames, 1))
        if aggregate.kind in ("fcount", "count_star", "count"):
            epsilon = _wanted(tolerance, half_width(count), scale)
            found.append(
                MeanTarget(upper=count, epsilon=epsilon, relative=tolerance.relative, integer=True,
                           column=column, scale=scale, aimed=aimed)
            )  # fmt: skip
        else:
            low, high = bounds_of(
                aggregate.argument, tolerance.low, tolerance.high, facts, aggregate.span
            )
            if aggregate.kind == "sum":
                widest = count * max(abs(low), abs(high))
                epsilon = _wanted(tolerance, half_width(widest), scale)
                found.append(
                    MeanTarget(upper=max(0.0, count * high), lower=min(0.0, count * low),
                               epsilon=epsilon, relative=tolerance.relative, column=column,
                               scale=scale, aimed=aimed)
                )  # fmt: skip
            else:
                found.append(
                    RatioTarget(lower=low, upper=high, count=count, numerator=column,
                                denominator=column + 1, epsilon=tolerance.epsilon,
                                relative=tolerance.relative)
                )  # fmt: skip
        column += len(per_frame(aggregate))
    return tuple(found)


def _wanted(tolerance: Tolerance, half_width: float | None, scale: float) -> float | None:
    """Return the half width of the answer: what is asked for, or what the budget can reach."""
    if tolerance.epsilon is not None or half_width is None:
        return tolerance.epsilon
    return half_width * scale
