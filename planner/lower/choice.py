"""The way that is always there (look at every frame), and the words on why a plan won or lost."""

from __future__ import annotations

import math
from dataclasses import replace

from foveal.planner import cost
from foveal.planner.physical import Alternative
from foveal.planner.protocols import FrameFacts, Profile


def exact(frames: FrameFacts, profile: Profile) -> Alternative:
    """Return what looking at every frame that is not cached costs."""
    calls = frames.frames - frames.cached
    if calls == 0:
        return Alternative("cached", 0, 0.0, 0.0, 0.0, "exact", why="every frame is cached")
    decode = (
        cost.decode_all(frames.frames, profile)
        if frames.cached == 0 and frames.span <= frames.frames
        else cost.decode_sample(calls, frames, profile)
    )
    return Alternative("exact", calls, decode, cost.detect(calls, profile), 0.0, "exact")


def explained(alternative: Alternative, best: Alternative) -> Alternative:
    """Return the alternative with why it won, lost or does not apply."""
    if alternative is best:
        why = f"chosen{'; ' + alternative.why if alternative.why else ''}"
    elif not alternative.applies:
        why = "does not apply: " + alternative.why
    else:
        times = alternative.total / best.total if best.total > 0 else math.inf
        slower = f"{times:.1f}x the chosen plan's seconds" if times < math.inf else "dearer"
        why = f"{slower}{'; ' + alternative.why if alternative.why else ''}"
    return replace(alternative, why=why)
