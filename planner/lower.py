"""Logical to physical: every way to compute a node is costed in seconds, the cheapest wins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from foveal.errors import InternalError
from foveal.planner import cost
from foveal.planner.bind.block_text import SAMPLED_KINDS
from foveal.planner.bounds import bounds_of
from foveal.planner.estimators import Forecast, forecast
from foveal.planner.logical import (
    Aggregate,
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
    Tolerance,
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

PRIOR_PREVALENCE = 0.1
"""Share of the frames that satisfy a condition about which nothing is known."""

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
                    node.seconds, node.calls, self._search(node, fragment),
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

    # --- scans ----------------------------------------------------------------------------------

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

    def _search(self, node: GapLimit, fragment: SqlFragment) -> tuple[Alternative, ...]:
        """Return what finding the rows should cost where the search stops at the limit."""
        scans = [n for n in walk(fragment) if isinstance(n, ObjectScan)]
        if not node.by_frame or len(scans) != 1 or not scans[0].alternatives[0].calls:
            return ()
        table, scan = self.snapshot.video_tables[scans[0].table], scans[0].alternatives[0]
        seconds = sum(video.duration for video in table.videos)
        rate = table.frames / seconds if seconds else 1.0
        apart = node.gap if node.unit == "frames" else node.gap * rate
        wanted = (node.limit + node.offset) * (apart + 1 / PRIOR_PREVALENCE)
        share = min(1.0, wanted / max(table.frames, 1))
        calls = round(scan.calls * share)
        if node.calls is not None:
            calls = min(calls, node.calls)
        share = calls / scan.calls
        why = f"chosen; one frame in {1 / PRIOR_PREVALENCE:g} is taken to satisfy the condition"
        return (
            Alternative("search", calls, scan.decode * share, scan.detect * share, 0.0, "exact",
                        why=why),
            replace(scan, why=f"every frame: {1 / share:.1f}x the calls" if share else ""),
        )  # fmt: skip

    # --- aggregates -----------------------------------------------------------------------------

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
        shared = (
            rows, frame_scan, inputs, node.prefix, node.source, node.predicates, node.keys,
            node.aggregates, ranked, node.tolerance,
        )  # fmt: skip
        if best.name in ("exact", "cached"):
            return ExactAggregate(*shared)
        seed = int(settings["seed"])
        return SampleAggregate(*shared, table.max_count, guarantee, best.name, seed)

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

    def _sampled(
        self,
        node: FrameAggregate,
        table: VideoTable,
        frames: FrameFacts,
        guarantee: str,
        settings: Mapping[str, Value],
    ) -> list[Alternative]:
        """Return the sampling plans; the aggregate that needs most frames sets their cost.

        Raises:
            DataError: 22023, the range of a SUM's or AVG's expression is not known.
        """
        tolerance, group = node.tolerance, self.facts[node]
        groups = max(group.groups, 1)
        size = max(frames.frames // groups, 1)
        joint = settings["group_guarantee"] == "joint"
        delta = (1 - tolerance.confidence) / len(node.aggregates) / (groups if joint else 1)
        wanted = [self._mean_wanted(a, node, table, group, size) for a in node.aggregates]
        found: list[Alternative] = []
        for name in ("sampling", "temporal"):
            costs = [
                forecast(
                    population=size,
                    known=frames.cached // groups,
                    upper=upper,
                    epsilon=epsilon,
                    deviation=deviation,
                    delta=delta,
                    guarantee=guarantee,
                    temporal=name == "temporal",
                )
                for upper, epsilon, deviation in wanted
            ]
            dearest = max(costs, key=lambda c: c.calls)
            found.append(self._priced(name, dearest, groups, frames, table, guarantee, tolerance))
        return found

    def _mean_wanted(
        self,
        aggregate: Aggregate,
        node: FrameAggregate,
        table: VideoTable,
        group: FrameFacts,
        size: int,
    ) -> tuple[float, float | None, float]:
        """Return the per-frame mean behind an aggregate: its range, half width and deviation."""
        tolerance = node.tolerance
        count = float(table.max_count) if node.relation == "objects" else 1.0
        spread = group.deviation if group.deviation is not None else PRIOR_DEVIATION
        mean = group.mean if group.mean else count / 10
        upper, epsilon = count, tolerance.epsilon
        if aggregate.kind in ("sum", "avg"):
            low, high = bounds_of(
                aggregate.argument, tolerance.low, tolerance.high, table, aggregate.span
            )
            if aggregate.kind == "avg":
                # A ratio: its numerator moves by the range of the expression around the mean.
                width = max(high - low, 1e-12)
                if epsilon is not None:
                    middle = max(abs(low), abs(high)) / 2
                    absolute = epsilon * middle if tolerance.relative else epsilon
                    epsilon = max(absolute, 1e-9) * mean / width
                return count, epsilon, spread
            widest = max(abs(low), abs(high), 1e-12)
            upper, spread, mean = upper * widest, spread * widest, mean * widest / 2
        if epsilon is not None:
            if tolerance.relative:
                epsilon = max(epsilon * mean, 1e-9)
            elif aggregate.kind != "fcount":
                epsilon /= size
        return upper, epsilon, spread

    def _priced(
        self,
        name: str,
        predicted: Forecast,
        groups: int,
        frames: FrameFacts,
        table: VideoTable,
        guarantee: str,
        tolerance: Tolerance,
    ) -> Alternative:
        calls = min(predicted.calls * groups, frames.frames - frames.cached)
        if tolerance.calls is not None:
            calls = min(calls, tolerance.calls)
        passes = predicted.passes
        decode = passes * cost.decode_sample(calls / passes, frames, table.profile)
        detect = cost.detect(calls, table.profile)
        if tolerance.seconds is not None and decode + detect > tolerance.seconds:
            share = tolerance.seconds / (decode + detect)
            calls, decode, detect = calls * share, decode * share, detect * share
        why = f"{passes:g} decoding pass{'es' if passes > 1 else ''}"
        return Alternative(name, round(calls), decode, detect, 0.0, guarantee, why=why)

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
    if alternative is best:
        why = f"chosen{'; ' + alternative.why if alternative.why else ''}"
    elif not alternative.applies:
        why = "does not apply: " + alternative.why
    else:
        times = alternative.total / best.total if best.total > 0 else math.inf
        slower = f"{times:.1f}x the chosen plan's seconds" if times < math.inf else "dearer"
        why = f"{slower}{'; ' + alternative.why if alternative.why else ''}"
    return replace(alternative, why=why)
