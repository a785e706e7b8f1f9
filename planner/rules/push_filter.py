"""PushFilter: predicates on frames move below the detector, so that fewer frames reach it."""

from __future__ import annotations

from dataclasses import replace

from foveal.planner.logical import Detect, Filter, Frames, Logical


class PushFilter:
    """`Filter[p](Detect(Frames))` becomes `Detect(Frames[p])` for frame predicates p.

    Unsafe through `Track`: a track's id depends on the frames before it, so

        SELECT trackid FROM street WHERE frame >= 100

    must track from frame 0 and filter afterwards; pushed down, every id would start again at 1.
    """

    name = "push_filter"

    def rewrite(self, node: Logical) -> Logical | None:
        """Return the filter pushed one step down, or None."""
        if not isinstance(node, Filter):
            return None
        down = tuple(c for c in node.conjuncts if c.frame_only)
        stay = tuple(c for c in node.conjuncts if not c.frame_only)
        child = node.child
        if not down:
            return None
        if isinstance(child, Frames):
            kept = {c.text for c in child.conjuncts}
            added = tuple(c for c in down if c.text not in kept)
            pushed: Logical = replace(child, conjuncts=(*child.conjuncts, *added))
        elif isinstance(child, Detect):
            pushed = replace(child, child=Filter(child.child, down))
        else:
            return None
        return Filter(pushed, stay) if stay else pushed
