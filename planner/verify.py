"""What every logical plan must hold, checked after each rule in tests and on request."""

from __future__ import annotations

from foveal.errors import InternalError
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
    SelectFrames,
    Selection,
    Track,
    Tracks,
)
from foveal.planner.tree import Node, walk


def verify(plan: Logical, *, after: str) -> None:
    """Check the plan's invariants.

    Raises:
        InternalError: XX000, naming the rule after which it broke and the offending node.
    """
    for node in walk(plan):
        problem = _problem(node)
        if problem is not None:
            raise InternalError(f"after {after}: {problem}", detail=node.label())


def _problem(node: Node) -> str | None:
    match node:
        case Fragment(text, inputs, _):
            for item in inputs:
                if item.name not in text:
                    return f"input {item.name} is not in the fragment's text"
            if len({i.name for i in inputs}) != len(inputs):
                return "two inputs share a name"
        case Frames(_, conjuncts):
            if not all(c.frame_only and c.pure for c in conjuncts):
                return "a predicate on frames reads an object's column or is not pure"
        case Detect(child, table):
            below = child.child if isinstance(child, Filter) else child
            if not isinstance(below, Frames) or below.table != table:
                return "Detect needs the frames of its own table"
        case Track(child, _):
            if any(isinstance(n, Frames) and n.conjuncts for n in walk(child)):
                return "Track needs every frame, its child has lost some"
        case Tracks(child, _):
            if not isinstance(child, Track):
                return "Tracks needs tracked objects"
        case FrameAggregate():
            if not isinstance(node.rows, Project) or not isinstance(node.frames, Frames):
                return "FrameAggregate needs projected rows and frames"
            if not node.aggregates:
                return "FrameAggregate has no aggregate"
        case GapLimit(_, limit, offset, gap, _):
            if limit < 0 or offset < 0 or gap < 0:
                return "GapLimit has a negative number"
        case SelectFrames():
            if not isinstance(node.rows, Project) or not isinstance(node.frames, Frames):
                return "SelectFrames needs projected rows and frames"
            if node.fnr is None and node.fpr is None:
                return "SelectFrames bounds nothing"
        case Selection(_, fnr, fpr):
            if fnr is None and fpr is None:
                return "Selection bounds nothing"
        case Input(name, child):
            if isinstance(child, Input) or not name:
                return "an input has no name or holds another input"
        case _:
            return None
    return None
