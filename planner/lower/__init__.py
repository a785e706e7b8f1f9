"""Logical to physical: every way to compute a node is costed in seconds, the cheapest wins.

One file per logical node; `LOWERED` says which function lowers which node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from foveal.errors import InternalError
from foveal.planner.logical import (
    Fragment,
    FrameAggregate,
    GapLimit,
    Logical,
    PixelFilter,
    Project,
    SelectFrames,
    Selection,
    SystemTable,
)
from foveal.planner.lower.context import Facts, Lowering, needs_facts
from foveal.planner.lower.distinct import lower_frames
from foveal.planner.lower.pixels import lower_pixel_filter, over_pixels
from foveal.planner.lower.scans import lower_fragment, lower_scan, lower_system
from foveal.planner.lower.search import lower_search
from foveal.planner.lower.selection import lower_select_frames, lower_selection
from foveal.planner.physical import Physical
from foveal.planner.protocols import Snapshot

LOWERED: Mapping[type[Logical], Callable[[Any, Lowering], Physical]] = {
    Fragment: lower_fragment,
    Project: lower_scan,
    SystemTable: lower_system,
    FrameAggregate: over_pixels(lower_frames),
    PixelFilter: lower_pixel_filter,
    GapLimit: lower_search,
    Selection: lower_selection,
    SelectFrames: lower_select_frames,
}


def lower(plan: Logical, snapshot: Snapshot, facts: Facts) -> Physical:
    """Return the cheapest physical plan; the alternatives stay on its nodes.

    Raises:
        DataError: 22023, SUM or AVG under ERROR WITHIN without bounds of its expression.
    """

    def lower_node(node: Logical) -> Physical:
        rule = LOWERED.get(type(node))
        if rule is None:
            raise InternalError("no physical node for " + type(node).__name__)
        return rule(node, lowering)

    lowering = Lowering(snapshot, facts, lower_node)
    return lower_node(plan)


__all__ = ["Facts", "lower", "needs_facts"]
