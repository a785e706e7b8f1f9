"""Frames picked from between others cost the decoding of those others."""

import pytest

from foveal.planner import cost
from foveal.planner.lower.choice import exact
from foveal.planner.protocols import FrameFacts, Profile

PROFILE = Profile(decode_frame=0.001, seek=0.012, detect_frame=0.002)


def test_one_frame_in_ten_decodes_most_of_the_video() -> None:
    told = FrameFacts(3600, 0, 1800, span=36_000)
    assert 15 < exact(told, PROFILE).decode <= 36
    assert exact(FrameFacts(3600, 0, 1800), PROFILE).decode == pytest.approx(3.6)
    few = FrameFacts(36, 0, 1800, span=36_000)
    assert exact(few, PROFILE).decode < 1


def test_frames_in_a_row_cost_what_they_did() -> None:
    plain, told = FrameFacts(3600, 0, 180), FrameFacts(3600, 0, 180, span=3600)
    assert exact(plain, PROFILE) == exact(told, PROFILE)
    for count in (10, 100, 1000):
        assert cost.decode_sample(count, plain, PROFILE) == cost.decode_sample(count, told, PROFILE)
