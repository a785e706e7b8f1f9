"""What decoding and detecting sets of frames costs, in seconds, from measured profiles."""

from __future__ import annotations

import math

from foveal.planner.protocols import FrameFacts, Profile


def decode_sample(count: float, facts: FrameFacts, profile: Profile) -> float:
    """Return seconds to decode `count` frames spread evenly at random, in one sorted pass.

    A touched group of pictures is decoded from its keyframe to the last wanted frame; reading
    straight through is never beaten by more than it costs.
    """
    if count <= 0 or facts.frames == 0:
        return 0.0
    groups = max(facts.keyframes, 1)
    length = facts.frames / groups
    each = count / groups
    touched = groups * (1.0 - math.exp(-each))
    wanted = count / touched if touched else 1.0
    frames = touched * min(length, length * wanted / (wanted + 1.0) + 1.0)
    sparse = touched * jump_seconds(profile, length) + frames * profile.decode_frame
    return min(sparse, decode_all(facts.frames, profile))


def jump_seconds(profile: Profile, group: float) -> float:
    """Return the seconds of a seek by itself: `profile.seek` decodes half a group of pictures."""
    return max(profile.seek - group / 2 * profile.decode_frame, 0.002)


def decode_all(frames: float, profile: Profile) -> float:
    """Return seconds to decode `frames` in a row."""
    return frames * profile.decode_frame


def detect(calls: float, profile: Profile) -> float:
    """Return seconds of `calls` detector calls."""
    return calls * profile.detect_frame
