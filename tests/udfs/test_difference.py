"""Difference detectors: the empty scene rejects, the frame t back is inherited from."""

import numpy as np
import pytest

from foveal.udfs.difference import differences, leaders, reference_image, threshold


def pictures(*levels: int) -> np.ndarray:
    """Return pictures 96 x 96 with a square in one corner as bright as said above the ground."""
    found = np.full((len(levels), 96, 96), 50, np.uint8)
    for picture, level in zip(found, levels, strict=True):
        picture[:8, :8] += np.uint8(level)
    return found


def test_the_reference_is_the_scene_without_what_passes() -> None:
    seen = pictures(0, 90, 0, 0, 90)
    assert (reference_image(seen) == 50).all()


def test_global_averages_what_blocked_shows_in_full() -> None:
    seen = pictures(0, 90)
    ground = reference_image(pictures(0, 0, 0))
    assert differences(seen, ground, "blocked").tolist() == [0.0, 8100.0]
    assert differences(seen, ground, "global").tolist() == pytest.approx([0.0, 8100 / 144])
    with pytest.raises(ValueError, match="no metric"):
        differences(seen, ground, "other")


def test_the_two_meanings_differ() -> None:
    """A parked car: not empty, yet the same as before, so what is inherited is TRUE."""
    seen = pictures(0, 90, 90, 90, 0)
    ground = reference_image(pictures(0, 0, 0))
    empty = differences(seen, ground, "blocked") < 100
    back = np.append([np.inf], differences(seen[1:], seen[:-1], "blocked"))
    assert empty.tolist() == [True, False, False, False, True]
    assert leaders(back < 100, 1, np.zeros(0, np.int64)).tolist() == [0, 1, 1, 1, 4]


def test_chains_stop_at_videos_and_at_what_differs() -> None:
    same = np.ones(10, np.bool_)
    assert leaders(same, 2, np.array([5])).tolist() == [0, 1, 0, 1, 0, 5, 6, 5, 6, 5]
    same[4] = False
    assert leaders(same, 1, np.zeros(0, np.int64)).tolist() == [0] * 4 + [4] * 6
    assert leaders(np.zeros(3, np.bool_), 1, np.zeros(0, np.int64)).tolist() == [0, 1, 2]


def test_thresholds_follow_labels() -> None:
    values = np.arange(100.0)
    wrong = values >= 60
    limit = threshold(values, wrong, 0.05)
    assert 59 <= limit <= 64
    assert threshold(values, np.ones(100, np.bool_), 0.05) == 0.0
    assert threshold(values, np.zeros(100, np.bool_), 0.05) == 99.0
    assert threshold(np.zeros(0), np.zeros(0, np.bool_), 0.05) == 0.0
