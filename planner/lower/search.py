"""GapLimit to GapLimitRows: what finding rows that lie far enough apart should cost."""

from __future__ import annotations

from dataclasses import replace

from foveal.planner.logical import GapLimit
from foveal.planner.lower.context import PRIOR_PREVALENCE, Lowering
from foveal.planner.physical import Alternative, GapLimitRows, ObjectScan, SqlFragment
from foveal.planner.tree import walk


def lower_search(node: GapLimit, lowering: Lowering) -> GapLimitRows:
    """Return the search; it stops at the limit where rows follow from single frames."""
    fragment = lowering.lower(node.child)
    assert isinstance(fragment, SqlFragment)
    return GapLimitRows(
        fragment, node.limit, node.offset, node.gap, node.unit, node.by_frame,
        node.seconds, node.calls, _alternatives(node, fragment, lowering),
    )  # fmt: skip


def _alternatives(
    node: GapLimit, fragment: SqlFragment, lowering: Lowering
) -> tuple[Alternative, ...]:
    """Return what finding the rows should cost where the search stops at the limit."""
    scans = [n for n in walk(fragment) if isinstance(n, ObjectScan)]
    if not node.by_frame or len(scans) != 1 or not scans[0].alternatives[0].calls:
        return ()
    table, scan = lowering.snapshot.video_tables[scans[0].table], scans[0].alternatives[0]
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
