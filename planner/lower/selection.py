"""Selection to a physical node: rows of which the wrong frames are bounded."""

from __future__ import annotations

from foveal.planner.logical import Selection
from foveal.planner.lower.context import Lowering
from foveal.planner.physical import ExactSelection, ObjectScan
from foveal.planner.tree import walk


def lower_selection(node: Selection, lowering: Lowering) -> ExactSelection:
    """Return the selection that looks at every frame."""
    below = lowering.lower(node.child)
    scans = [n for n in walk(below) if isinstance(n, ObjectScan)]
    alternatives = tuple(a for s in scans for a in s.alternatives)
    return ExactSelection(below, node.fnr, node.fpr, node.confidence, alternatives)
