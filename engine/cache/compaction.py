"""Which small segments are worth merging: a pure choice over their sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable

from foveal.engine.cache.index import Segment

MERGED_BYTES = 16 << 20
"""Segments are merged up to about this size; one of half this size is left alone."""
FULL_TIER = 32
"""Segments of one tier that are merged without being asked."""
_TIER_FACTOR = 16


def is_small(segment: Segment) -> bool:
    """Say whether merging this segment with others may pay."""
    return segment.stored.length < MERGED_BYTES // 2


def tier(segment: Segment) -> int:
    """Return the size class: merging within one writes every object a few times at most."""
    return int(math.log(max(segment.stored.length, 1), _TIER_FACTOR))


def groups(segments: Iterable[Segment]) -> list[list[Segment]]:
    """Pack small segments, by first frame, into groups of up to MERGED_BYTES; none of one.

    At most one small segment per call is left, so repeating changes nothing.
    """
    packed: list[list[Segment]] = []
    size = MERGED_BYTES
    for segment in sorted(segments, key=lambda s: int(s.frames[0])):
        if size + segment.stored.length > MERGED_BYTES:
            packed.append([])
            size = 0
        packed[-1].append(segment)
        size += segment.stored.length
    return [group for group in packed if len(group) > 1]
