"""The tracker on made-up walks whose ids are known, and on real boxes."""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from foveal.udfs.tracking import LOST_FRAMES, TRACKERS, track

Rows = list[tuple[int, float, float, float, int]]  # frame, centre x, centre y, score, class


def tracked(rows: Rows, n_frames: int = 200, side: float = 20.0) -> list[int]:
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    centres = table[:, 1:3]
    boxes = np.concatenate((centres - side / 2, centres + side / 2), axis=1).astype(np.float32)
    ids = track(
        table[:, 0].astype(np.int64),
        boxes,
        table[:, 3].astype(np.float32),
        table[:, 4].astype(np.int32),
        n_frames=n_frames,
    )
    assert ids.dtype == np.int64
    return ids.tolist()


def walk(frames: range, x: float, speed: float, *, y: float = 50, label: int = 0) -> Rows:
    return [(f, x + speed * (f - frames.start), y, 0.9, label) for f in frames]


def merged(*walks: Rows) -> Rows:
    return sorted((row for rows in walks for row in rows), key=lambda row: (row[0], row[4], row[1]))


def test_no_rows_give_no_ids() -> None:
    assert tracked([]) == []


def test_one_walk_is_one_track_from_its_first_frame_on() -> None:
    assert tracked(walk(range(10), 30, 2)) == [1] * 10


def test_two_hits_are_no_track() -> None:
    assert tracked(walk(range(2), 30, 2)) == [0, 0]


def test_a_missed_frame_ends_a_tentative_track() -> None:
    rows = walk(range(2), 30, 0) + walk(range(3, 5), 30, 0)
    assert tracked(rows) == [0] * 4


def test_ids_count_in_order_of_first_sight_past_unconfirmed_ones() -> None:
    noise: Rows = [(0, 400, 50, 0.9, 0)]
    rows = merged(noise, walk(range(1, 8), 200, 0), walk(range(2, 8), 30, 0))
    ids = dict(zip([(r[0], r[1]) for r in rows], tracked(rows), strict=True))
    assert ids[0, 400] == 0
    assert ids[1, 200] == 1
    assert ids[2, 30] == 2


def test_crossing_walkers_keep_their_ids_by_their_motion() -> None:
    right = walk(range(40), 20, 4, y=50)
    left = walk(range(40), 180, -4, y=56)
    rows = merged(right, left)
    ids = tracked(rows)
    by_row = dict(zip(rows, ids, strict=True))
    assert {by_row[row] for row in right} == {1}
    assert {by_row[row] for row in left} == {2}


def test_a_hidden_walker_comes_back_and_one_lost_too_long_is_new() -> None:
    short = walk(range(10), 30, 0) + walk(range(10 + LOST_FRAMES, 40), 30, 0)
    assert set(tracked(short)) == {1}
    long = walk(range(10), 30, 0) + walk(range(11 + LOST_FRAMES, 40), 30, 0)
    assert tracked(long) == [1] * 10 + [2] * (29 - LOST_FRAMES)


def test_a_track_is_of_one_class() -> None:
    rows = merged(walk(range(6), 30, 0, label=0), walk(range(6), 30, 0, label=1))
    assert tracked(rows) == [1, 2] * 6


def test_faint_rows_carry_a_track_on_but_begin_none() -> None:
    rows = walk(range(10), 30, 1)
    faint = [(f, x, y, 0.35 if 4 <= f < 7 else s, c) for f, x, y, s, c in rows]
    assert tracked(faint) == [1] * 10
    assert tracked([(f, x, y, 0.35, c) for f, x, y, _, c in rows]) == [0] * 10


def test_the_same_rows_give_the_same_ids() -> None:
    generator = np.random.default_rng(7)
    rows: Rows = [
        (f, float(generator.uniform(0, 200)), float(generator.uniform(0, 200)), 0.9, 0)
        for f in range(30)
        for _ in range(8)
    ]
    assert tracked(rows) == tracked(rows)


@pytest.mark.parametrize("frames", [[1, 0], [0, 9], [-1, 0]])
def test_frames_out_of_order_or_range_are_refused(frames: list[int]) -> None:
    boxes = np.zeros((2, 4), dtype=np.float32)
    scores = np.ones(2, dtype=np.float32)
    with pytest.raises(ValueError, match="frames"):
        track(np.array(frames), boxes, scores, np.zeros(2, dtype=np.int32), n_frames=5)


def test_the_default_tracker_is_registered() -> None:
    assert TRACKERS["kalman"] is track


@pytest.mark.assets
def test_real_boxes_of_walking_people() -> None:
    folders = os.environ.get("FOVEAL_ASSETS", "").split(os.pathsep)
    name = "vtest_PETS09-S2L1_fasterrcnn_det.txt"
    found = [p for f in folders if f for p in Path(f).rglob(name)]
    if not found:
        pytest.skip(f"{name} is in none of the folders of FOVEAL_ASSETS")
    table: npt.NDArray[np.float64] = np.loadtxt(found[0], delimiter=",")
    table = table[np.argsort(table[:, 0], kind="stable")]
    boxes = table[:, 2:6].astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    frames = table[:, 0].astype(np.int64) - 1
    scores = table[:, 6].astype(np.float32)
    classes = np.zeros(len(frames), dtype=np.int32)
    ids = track(frames, boxes, scores, classes, n_frames=795)
    # 19 people walk there; greedy linking of consecutive frames gives over 2000 tracks.
    assert 19 <= ids.max() <= 50
    assert (ids == 0).mean() < 0.03
