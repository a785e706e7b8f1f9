"""Fragments and scans: what DuckDB reads, and the relations of ours that stream into it."""

from __future__ import annotations

from foveal.errors import InternalError
from foveal.planner.logical import (
    Detect,
    Filter,
    Fragment,
    Frames,
    Logical,
    Project,
    SystemTable,
    Track,
    Tracks,
)
from foveal.planner.lower.choice import exact
from foveal.planner.lower.context import Lowering
from foveal.planner.lower.tracks import tracking
from foveal.planner.physical import (
    Alternative,
    FrameScan,
    ObjectScan,
    SqlFragment,
    SystemScan,
    TrackScan,
)


def lower_fragment(node: Fragment, lowering: Lowering) -> SqlFragment:
    """Return the SQL that DuckDB runs over lowered inputs."""
    return SqlFragment(node.text, tuple(lowering.input(i) for i in node.inputs), node.kind)


def lower_system(node: SystemTable, lowering: Lowering) -> SystemScan:
    """Return the scan of one of foveal's own catalogs."""
    del lowering
    return SystemScan(node.name)


def lower_scan(node: Project, lowering: Lowering) -> ObjectScan | FrameScan | TrackScan:
    """Return the scan of a video relation."""
    return _scan(node.child, node.columns, lowering)


def _scan(
    node: Logical, columns: tuple[str, ...], lowering: Lowering
) -> ObjectScan | FrameScan | TrackScan:
    conjuncts = node.conjuncts if isinstance(node, Filter) else ()
    at = node.child if isinstance(node, Filter) else node
    match at:
        case Frames(table, pushed):
            return FrameScan(table, (*pushed, *conjuncts), columns)
        case Detect(Frames(table, pushed) as frames, _):
            return ObjectScan(
                table, (*pushed, *conjuncts), columns, False, _choices(frames, lowering)
            )
        case Track(Detect(Frames(), table), _):
            ways, sparse = tracking(at, lowering)
            return ObjectScan(table, conjuncts, columns, True, ways, sparse)
        case Tracks(Track(Detect(Frames(), table), _) as track, _):
            ways, sparse = tracking(track, lowering)
            return TrackScan(table, columns, ways, sparse)
        case _:
            raise InternalError("no scan for " + type(at).__name__)


def _choices(frames: Frames, lowering: Lowering) -> tuple[Alternative, ...]:
    table = lowering.snapshot.video_tables[frames.table]
    return (exact(lowering.facts[frames], table.profile),)
