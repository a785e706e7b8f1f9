"""PruneTrack: tracking is dropped where no one reads a track id."""

from __future__ import annotations

from dataclasses import replace

from foveal.planner.logical import Filter, Logical, Project, Track


class PruneTrack:
    """`Project[no trackid](Track(x))` becomes `Project(x)`.

    Unsafe elsewhere: below `Tracks`, whose rows are the tracks themselves, or when a predicate
    reads `trackid`; frame predicates never do.
    """

    name = "prune_track"

    def rewrite(self, node: Logical) -> Logical | None:
        """Return the projection without its Track, or None."""
        if not isinstance(node, Project) or "trackid" in node.columns:
            return None
        child = node.child
        if isinstance(child, Track):
            return replace(node, child=child.child)
        if isinstance(child, Filter) and isinstance(child.child, Track):
            if any("trackid" in c.columns for c in child.conjuncts):
                return None
            return replace(node, child=replace(child, child=child.child.child))
        return None
