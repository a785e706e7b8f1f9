"""Predicates on pixels to physical nodes: below the query, in the order that costs least."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from foveal.planner.logical import Conjunct, FrameAggregate, PixelFilter
from foveal.planner.lower.context import Lowering
from foveal.planner.physical import AggregatePlan, FrameScan, ObjectScan, Physical
from foveal.planner.physical import PixelFilter as PhysicalPixelFilter
from foveal.planner.pixel_order import PixelOrder, pixel_order


def lower_pixel_filter(node: PixelFilter, lowering: Lowering) -> Physical:
    """Return the filter over the lowered scan."""
    scan = lowering.lower(node.child)
    if not isinstance(scan, ObjectScan | FrameScan):
        return scan
    order = _order(node.conjuncts, scan.table, lowering)
    return PhysicalPixelFilter(scan, order) if order is not None else scan


def over_pixels(
    rule: Callable[[FrameAggregate, Lowering], Physical],
) -> Callable[[FrameAggregate, Lowering], Physical]:
    """Return the rule for aggregates with the block's predicates on pixels put in order."""

    def ordered(node: FrameAggregate, lowering: Lowering) -> Physical:
        plan = rule(node, lowering)
        if not isinstance(plan, AggregatePlan):
            return plan
        tests = [c for c in node.predicates if c.columns and c.pure and not c.frame_only]
        order = _order(tests, node.table, lowering)
        return replace(plan, pixels=order) if order is not None else plan

    return ordered


def _order(conjuncts: Sequence[Conjunct], table: str, lowering: Lowering) -> PixelOrder | None:
    snapshot = lowering.snapshot
    passed = snapshot.passed.get(table.lower(), {})
    return pixel_order(conjuncts, snapshot.pixel_functions, passed)
