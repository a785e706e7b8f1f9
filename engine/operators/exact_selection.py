"""ExactSelection: bounds on wrong frames that hold because every frame is looked at."""

from __future__ import annotations

from foveal.engine.executor import Runtime
from foveal.engine.substrate import ArrowStream
from foveal.planner.physical import ExactSelection


def exact_selection(node: ExactSelection, runtime: Runtime) -> ArrowStream:
    """Return the child's rows: none is missing and none is wrong."""
    return runtime.open(node.child)
