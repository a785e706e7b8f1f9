"""Logical to physical: every way to compute a node is costed in seconds, the cheapest wins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from foveal.errors import DataError, InternalError, NotSupportedError
from foveal.planner import cost
from foveal.planner.bind.blocks import SAMPLED_KINDS
from foveal.planner.estimators import Forecast, forecast
from foveal.planner.logical import (
    Detect,
    Filter,
    Fragment,
    FrameAggregate,
    Frames,
    GapLimit,
    Input,
    Logical,
    Project,
    Selection,
    SystemTable,
    Track,
    Tracks,
)
from foveal.planner.physical import (
    Alternative,
    ExactAggregate,
    ExactSelection,
    FrameScan,
    GapLimitRows,
    NamedInput,
    ObjectScan,
    Physical,
    SampleAggregate,
    SqlFragment,
    SystemScan,
    TrackScan,
)
from foveal.planner.protocols import FrameFacts, Profile, Snapshot, VideoTable
from foveal.planner.tree import walk
from foveal.settings import Value, defaults

Facts = Mapping[Logical, FrameFacts]
"""Facts per `Frames` node (its frames) and per `FrameAggregate` node (its groups and spread)."""

PRIOR_DEVIATION = 1.0
"""Standard deviation of a per-frame count where nothing is known; a street's is about 1."""


def needs_facts(plan: Logical) -> list[Frames | FrameAggregate]:
    """Return the nodes whose facts `lower` will ask for."""
    return [n for n in walk(plan) if isinstance(n, Frames | FrameAggregate)]


def lower(plan: Logical, snapshot: Snapshot, facts: Facts) -> Physical:
    """Return the cheapest physical plan; the alternatives stay on its nodes.

    Raises:
        DataError: 22023, SUM or AVG under ERROR WITHIN without bounds of its expression.
    """
    return _Lowering(snapshot, facts).lower(plan)


@dataclass(frozen=True, slots=True)
class _Lowering:
    snapshot: Snapshot
    facts: Facts

    def lower(self, node: Logical) -> Physical:
        match node:
            case Fragment(text, inputs, kind):
                return SqlFragment(text, tuple(self._input(i) for i in inputs), kind)
            case GapLimit():
                fragment = self.lower(node.child)
                assert isinstance(fragment, SqlFragment)
                return GapLimitRows(
                    fragment, node.limit, node.offset, node.gap, node.unit, node.by_frame,
                    node.seconds, node.calls,
                )  # fmt: skip
            case Selection(child, fnr, fpr, confidence):
                below = self.lower(child)
                scans = [n for n in walk(below) if isinstance(n, ObjectScan)]
                alternatives = tuple(a for s in scans for a in s.alternatives)
                return ExactSelection(below, fnr, fpr, confidence, alternatives)
            case Project(child, columns):
                return self._scan(child, columns)
            case SystemTable(name):
                return SystemScan(name)
            case FrameAggregate():
                return self._aggregate(node)
            case _:
                raise InternalError("no physical node for " + type(node).__name__)

    def _input(self, node: Input) -> NamedInput:
        return NamedInput(node.name, self.lower(node.child))

    # --- scans -----------------------------------------------------------------------------------

    def _scan(self, node: Logical, columns: tuple[str, ...]) -> ObjectScan | FrameScan | TrackScan:
        conjuncts = node.conjuncts if isinstance(node, Filter) else ()
        at = node.child if isinstance(node, Filter) else node
        match at:
            case Frames(table, pushed):
                return FrameScan(table, (*pushed, *conjuncts), columns)
            case Detect(Frames(table, pushed) as frames, _):
                return ObjectScan(
                    table, (*pushed, *conjuncts), columns, False, self._scan_choices(frames)
                )
            case Track(Detect(Frames() as frames, table), _):
                return ObjectScan(table, conjuncts, columns, True, self._scan_choices(frames))
            case Tracks(Track(Detect(Frames() as frames, table), _), _):
                return TrackScan(table, columns, self._scan_choices(frames))
            case _:
                raise InternalError("no scan for " + type(at).__name__)

    def _scan_choices(self, frames: Frames) -> tuple[Alternative, ...]:
        table = self.snapshot.video_tables[frames.table]
        return (_exact(self.facts[frames], table.profile),)

    # --- aggregates ------------------------------------------------------------------------------

    def _aggregate(self, node: FrameAggregate) -> Physical:
        table = self.snapshot.video_tables[node.table]
        settings: dict[str, Value] = {**defaults(), **self.snapshot.settings}
        assert isinstance(node.frames, Frames)
        frames = self.facts[node.frames]
        detects = node.relation == "objects"
        profile = table.profile
        exact = _exact(frames, profile) if detects else _index_only(node, frames, profile)
        guarantee = "exact" if node.tolerance.exact else str(settings["guarantee"])
        why_not = self._why_no_sample(node, guarantee)
        bounds = {} if why_not else self._bounds(node, table)
        alternatives = [exact]
        if why_not:
            alternatives += [
                Alternative(name, 0, 0.0, 0.0, 0.0, "none", applies=False, why=why_not)
                for name in ("sampling", "temporal")
            ]
        else:
            alternatives += self._sampled(node, table, frames, guarantee, settings)
            if self.facts[node].recalled and exact.calls:
                kept = Alternative("recalled", 0, 0.0, 0.0, 0.0, guarantee, why="answered before")
                alternatives.insert(0, kept)
        best = self._choose(alternatives, node)
        ranked = tuple(_explain_choice(a, best) for a in alternatives)
        rows = self.lower(node.rows)
        assert isinstance(rows, ObjectScan | FrameScan)
        frame_scan = FrameScan(node.table, node.frames.conjuncts, ("video", "frame", "ts"))
        inputs = tuple(self._input(i) for i in node.inputs)
        if best.name in ("exact", "cached"):
            return ExactAggregate(
                rows, frame_scan, inputs, node.prefix, node.source, node.predicates, node.keys,
                node.aggregates, ranked, node.tolerance,
            )  # fmt: skip
        del bounds
        return SampleAggregate(
            rows, frame_scan, inputs, node.prefix, node.source, node.predicates, node.keys,
            node.aggregates, ranked, node.tolerance, table.max_count, guarantee,
            best.name, int(settings["seed"]),
        )  # fmt: skip

    def _why_no_sample(self, node: FrameAggregate, guarantee: str) -> str:
        if node.tolerance.exact:
            return "no ERROR WITHIN or BUDGET is given"
        if guarantee == "exact":
            return "foveal.guarantee is exact"
        if node.tolerance.epsilon == 0:
            return "no error is allowed"
        other = [a.source for a in node.aggregates if a.kind not in SAMPLED_KINDS]
        if other:
            return f"{other[0]} has no interval from a sample of frames"
        objects = [k.source for k in node.keys if not k.frame_only]
        if objects:
            return f"the key {objects[0]} belongs to objects: which groups exist is not known"
        if isinstance(node.rows, Project):
            below = node.rows.child
            below = below.child if isinstance(below, Filter) else below
            if isinstance(below, Track):
                return "trackid needs every frame"
        return ""

    def _bounds(self, node: FrameAggregate, table: VideoTable) -> dict[str, tuple[float, float]]:
        """Return the bounds of every SUM and AVG expression, by result column."""
        found: dict[str, tuple[float, float]] = {}
        for aggregate in node.aggregates:
            if aggregate.kind in ("sum", "avg"):
                found[aggregate.column] = bounds_of(
                    aggregate.argument,
                    node.tolerance.low,
                    node.tolerance.high,
                    table,
                    aggregate.span,
                )
        return found

    def _sampled(
        self,
        node: FrameAggregate,
        table: VideoTable,
        frames: FrameFacts,
        guarantee: str,
        settings: Mapping[str, Value],
    ) -> list[Alternative]:
        group = self.facts[node]
        groups = max(group.groups, 1)
        tolerance = node.tolerance
        delta = 1 - tolerance.confidence
        targets = sum(2 if a.kind == "avg" else 1 for a in node.aggregates)
        joint = settings["group_guarantee"] == "joint"
        delta_each = delta / targets / (groups if joint else 1)
        per_group = max(frames.frames // groups, 1)
        upper = float(table.max_count) if node.relation == "objects" else 1.0
        epsilon = tolerance.epsilon
        first = node.aggregates[0]
        if epsilon is not None:
            if tolerance.relative:
                mean = group.mean if group.mean else upper / 10
                epsilon = max(epsilon * mean, 1e-9)
            elif first.kind in ("count_star", "count"):
                epsilon = epsilon / per_group
            elif first.kind in ("sum", "avg"):
                low, high = bounds_of(
                    first.argument, tolerance.low, tolerance.high, table, first.span
                )
                widest = max(abs(low), abs(high), 1e-12)
                if first.kind == "sum":
                    epsilon, upper = epsilon / per_group, upper * widest
                else:
                    epsilon = epsilon / max(high - low, 1e-12)
        deviation = group.deviation
        if deviation is None:
            deviation = PRIOR_DEVIATION * (upper / table.max_count if upper else 1.0)
        known = frames.cached // groups
        found: list[Alternative] = []
        for name, temporal in (("sampling", False), ("temporal", True)):
            predicted: Forecast = forecast(
                population=per_group, known=known, upper=upper, epsilon=epsilon,
                deviation=deviation, delta=delta_each, guarantee=guarantee, temporal=temporal,
            )  # fmt: skip
            calls = min(predicted.calls * groups, frames.frames - frames.cached)
            if tolerance.calls is not None:
                calls = min(calls, tolerance.calls)
            decode = predicted.passes * cost.decode_sample(
                calls / predicted.passes, frames, table.profile
            )
            detect = cost.detect(calls, table.profile)
            if tolerance.seconds is not None and decode + detect > tolerance.seconds:
                share = tolerance.seconds / (decode + detect)
                calls, decode, detect = int(calls * share), decode * share, detect * share
            found.append(
                Alternative(name, int(calls), decode, detect, 0.0, guarantee,
                            why=f"{predicted.passes:g} decoding pass(es)")
            )  # fmt: skip
        return found

    def _choose(self, alternatives: list[Alternative], node: FrameAggregate) -> Alternative:
        usable = [a for a in alternatives if a.applies]
        within = [a for a in usable if self._affordable(a, node)]
        # The first of equals wins: the list runs from the surest guarantee downwards.
        return min(within or usable[1:] or usable, key=lambda a: round(a.total, 6))

    def _affordable(self, alternative: Alternative, node: FrameAggregate) -> bool:
        tolerance = node.tolerance
        if tolerance.calls is not None and alternative.calls > tolerance.calls:
            return False
        return tolerance.seconds is None or alternative.total <= tolerance.seconds


def _exact(frames: FrameFacts, profile: Profile) -> Alternative:
    calls = frames.frames - frames.cached
    if calls == 0:
        return Alternative("cached", 0, 0.0, 0.0, 0.0, "exact", why="every frame is cached")
    decode = (
        cost.decode_all(frames.frames, profile)
        if frames.cached == 0
        else cost.decode_sample(calls, frames, profile)
    )
    return Alternative("exact", calls, decode, cost.detect(calls, profile), 0.0, "exact")


def _index_only(node: FrameAggregate, frames: FrameFacts, profile: Profile) -> Alternative:
    reads = isinstance(node.rows, Project) and "image" in node.rows.columns
    decode = cost.decode_all(frames.frames, profile) if reads else 0.0
    return Alternative("exact", 0, decode, 0.0, 0.0, "exact")


def _explain_choice(alternative: Alternative, best: Alternative) -> Alternative:
    from dataclasses import replace

    if alternative is best:
        why = f"chosen{'; ' + alternative.why if alternative.why else ''}"
    elif not alternative.applies:
        why = "does not apply: " + alternative.why
    else:
        times = alternative.total / best.total if best.total > 0 else math.inf
        slower = f"{times:.1f}x the chosen plan's seconds" if times < math.inf else "dearer"
        why = f"{slower}{'; ' + alternative.why if alternative.why else ''}"
    return replace(alternative, why=why)


_GEOMETRY = {"xmin": "width", "xmax": "width", "ymin": "height", "ymax": "height"}


def bounds_of(
    expression: str, low: float | None, high: float | None, table: VideoTable, span: object
) -> tuple[float, float]:
    """Return the range of an aggregated expression: as declared, from its type, or geometry.

    Raises:
        DataError: 22023, nothing bounds it.
    """
    from foveal.errors import Span

    if low is not None and high is not None:
        return low, high
    name = expression.strip().strip('"').split(".")[-1].strip('"').lower()
    if name in _GEOMETRY:
        sizes = [getattr(v, _GEOMETRY[name]) for v in table.videos]
        return 0.0, float(max(sizes, default=0))
    if name == "confidence":
        return 0.0, 1.0
    compact = expression.replace(" ", "").lower()
    comparisons = ("=", "<", ">", " in ", " like ", " is ", " between ")
    if not any(c in compact for c in "+-*/(") and any(
        c.strip() in expression.lower() if c.strip() in "=<>" else c in expression.lower()
        for c in comparisons
    ):
        return 0.0, 1.0
    try:
        constant = float(compact)
    except ValueError:
        raise DataError(
            f"the range of {expression} is not known, so no error bound holds for it",
            sqlstate="22023",
            span=span if isinstance(span, Span) else None,
            hint="add BOUNDS (lowest, highest) after ERROR WITHIN",
        ) from None
    return min(constant, 0.0), max(constant, 0.0)


__all__ = ["Facts", "NotSupportedError", "bounds_of", "lower", "needs_facts"]
