"""What decoding, looking and detecting cost for sets of frames, in seconds, from profiles."""

from __future__ import annotations

import math

from foveal.planner.protocols import FrameFacts, Profile

KEYFRAME = 5.0
"""A keyframe's thumbnail, in thumbnails of a straight read: 4 to 6 in three clips of 0.2 to 0.4
megapixels (H.264 and MPEG-4)."""


def decode_sample(count: float, facts: FrameFacts, profile: Profile) -> float:
    """Return seconds to decode `count` frames spread evenly at random, in one sorted pass."""
    return _sample(count, facts, profile, profile.decode_frame)


def look_sample(count: float, facts: FrameFacts, profile: Profile) -> float:
    """Return seconds to read `count` thumbnails spread evenly at random, in one sorted pass."""
    return _sample(count, facts, profile, profile.thumbnail)


def _sample(count: float, facts: FrameFacts, profile: Profile, frame: float) -> float:
    """Return seconds to read `count` frames evenly at random, `frame` seconds per frame decoded.

    A touched group of pictures is decoded from its keyframe to the last wanted frame; reading
    straight through is never beaten by more than it costs.
    """
    if count <= 0 or facts.frames == 0:
        return 0.0
    groups = max(facts.keyframes, 1)
    every = max(facts.frames, facts.span)
    length = every / groups
    each = count / groups
    touched = groups * (1.0 - math.exp(-each))
    wanted = count / touched if touched else 1.0
    frames = touched * min(length, length * wanted / (wanted + 1.0) + 1.0)
    sparse = touched * jump_seconds(profile, length) + frames * frame
    return min(sparse, every * frame)


def jump_seconds(profile: Profile, group: float) -> float:
    """Return the seconds of a seek by itself: `profile.seek` decodes half a group of pictures."""
    return max(profile.seek - group / 2 * profile.decode_frame, 0.002)


def decode_all(frames: float, profile: Profile) -> float:
    """Return seconds to decode `frames` in a row."""
    return frames * profile.decode_frame


def look_all(frames: float, profile: Profile) -> float:
    """Return seconds to read the thumbnails of `frames` in a row."""
    return frames * profile.thumbnail


def look_keyframes(facts: FrameFacts, profile: Profile) -> float:
    """Return seconds to read the thumbnails of all keyframes and of nothing else.

    A keyframe is `KEYFRAME` times as dear as the mean frame; reading straight through is never
    beaten by more than it costs.
    """
    keys = max(facts.keyframes, 1)
    group = facts.frames / keys
    each = jump_seconds(profile, group) + KEYFRAME * profile.thumbnail
    return min(keys * each, look_all(facts.frames, profile))


def detect(calls: float, profile: Profile) -> float:
    """Return seconds of `calls` detector calls."""
    return calls * profile.detect_frame
