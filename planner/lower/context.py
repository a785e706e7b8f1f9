"""What every lowering function works with: snapshot, frames' facts, and the way deeper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from foveal.planner.logical import (
    FrameAggregate,
    Frames,
    GapLimit,
    Input,
    Logical,
    SelectFrames,
)
from foveal.planner.physical import NamedInput, Physical
from foveal.planner.protocols import FrameFacts, Snapshot
from foveal.planner.tree import walk
from foveal.settings import Value, defaults

Facts = Mapping[Logical, FrameFacts]
"""Facts per `Frames` node (its frames), per `FrameAggregate` node (its groups and spread) and per
`GapLimit` node with heads and per `SelectFrames` node (what is known of its condition)."""

PRIOR_DEVIATION = 1.0
"""Standard deviation of a per-frame count where nothing is known; a street's is about 1."""


def needs_facts(plan: Logical) -> list[Frames | FrameAggregate | GapLimit | SelectFrames]:
    """Return the nodes whose facts `lower` will ask for."""
    return [
        n
        for n in walk(plan)
        if isinstance(n, Frames | FrameAggregate | SelectFrames)
        or (isinstance(n, GapLimit) and n.heads)
    ]


@dataclass(frozen=True, slots=True)
class Lowering:
    """One walk from a logical plan to a physical one. `lower` lowers a child."""

    snapshot: Snapshot
    facts: Facts
    lower: Callable[[Logical], Physical]

    @property
    def settings(self) -> dict[str, Value]:
        """Every setting, defaults included."""
        return {**defaults(), **self.snapshot.settings}

    def input(self, node: Input) -> NamedInput:
        """Return a fragment's lowered input."""
        return NamedInput(node.name, self.lower(node.child))
