"""Both trackers on made-up walks whose ids are known, on rendered streets, and on real boxes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from foveal.connectors.video.scene_paint import Scene
from foveal.udfs.tracking import PLACES, TRACKERS, Clip, track
from foveal.udfs.tracking.accuracy import identity
from foveal.udfs.tracking.kalman import LOST_SECONDS, hits_of

Rows = list[tuple[int, float, float, float, int]]  # frame, centre x, centre y, score, class

CLIP = Clip(200, 10.0, 400.0, 200.0)
LOST = round(LOST_SECONDS * CLIP.rate)
BOTH = pytest.mark.parametrize("name", sorted(TRACKERS))


def tracked(name: str, rows: Rows, clip: Clip = CLIP, side: float = 20.0) -> list[int]:
    """Return ids numbered from 1 in order of the tracks' first rows, 0 for none."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    centres = table[:, 1:3]
    boxes = np.concatenate((centres - side / 2, centres + side / 2), axis=1).astype(np.float32)
    ids = track(
        name,
        clip,
        table[:, 0].astype(np.int64),
        boxes,
        table[:, 3].astype(np.float32),
        table[:, 4].astype(np.int32),
    )
    assert ids.dtype == np.int64
    known = sorted(set(ids.tolist()) - {0})
    return [known.index(i) + 1 if i else 0 for i in ids.tolist()]


def walk(frames: range, x: float, speed: float, *, y: float = 50, label: int = 0) -> Rows:
    return [(f, x + speed * (f - frames.start), y, 0.9, label) for f in frames]


def merged(*walks: Rows) -> Rows:
    return sorted((row for rows in walks for row in rows), key=lambda row: (row[0], row[4], row[1]))


@BOTH
def test_no_rows_give_no_ids(name: str) -> None:
    assert tracked(name, []) == []


@BOTH
def test_one_walk_is_one_track_from_its_first_frame_on(name: str) -> None:
    assert tracked(name, walk(range(10), 30, 2)) == [1] * 10


@BOTH
def test_two_hits_are_no_track(name: str) -> None:
    assert tracked(name, walk(range(2), 30, 2)) == [0, 0]


@BOTH
def test_a_missed_frame_ends_a_tentative_track(name: str) -> None:
    rows = walk(range(2), 30, 0) + walk(range(3, 5), 30, 0)
    assert tracked(name, rows) == [0] * 4


@pytest.mark.parametrize(("rate", "hits"), [(1.0, 3), (10.0, 3), (15.0, 3), (25.0, 5), (30.0, 6)])
def test_confirmation_takes_a_fifth_of_a_second_and_three_frames(rate: float, hits: int) -> None:
    assert hits_of(rate) == hits


@BOTH
def test_waiting_is_in_seconds_of_the_video(name: str) -> None:
    quick = Clip(200, 30.0, 400.0, 200.0)
    rows = walk(range(10), 100, 0) + walk(range(10 + 50, 90), 100, 0)
    assert set(tracked(name, rows, quick)) == {1}  # 50 frames are 1.7 s
    assert set(tracked(name, rows)) == {1, 2}  # or 5 s


@BOTH
def test_an_id_names_the_first_row(name: str) -> None:
    rows = merged(walk(range(5, 15), 30, 0, label=1), walk(range(3, 15), 200, 0))
    table = np.array(rows)
    boxes = np.concatenate((table[:, 1:3] - 10, table[:, 1:3] + 10), axis=1).astype(np.float32)
    ids = track(
        name, CLIP, table[:, 0].astype(np.int64), boxes, table[:, 3].astype(np.float32),
        table[:, 4].astype(np.int32),
    )  # fmt: skip
    # The walk of class 1 begins in frame 5, where it is the second row.
    assert set(ids.tolist()) == {3 * PLACES + 1, 5 * PLACES + 2}


@BOTH
def test_crossing_walkers_keep_their_ids_by_their_motion(name: str) -> None:
    right = walk(range(40), 20, 4, y=50)
    left = walk(range(40), 180, -4, y=56)
    rows = merged(right, left)
    by_row = dict(zip(rows, tracked(name, rows), strict=True))
    assert {by_row[row] for row in right} == {by_row[right[0]]}
    assert {by_row[row] for row in left} == {by_row[left[0]]}
    assert by_row[right[0]] != by_row[left[0]]


def test_a_hidden_walker_comes_back_and_one_lost_too_long_is_new() -> None:
    short = walk(range(10), 30, 0) + walk(range(10 + LOST, 40), 30, 0)
    assert set(tracked("kalman", short)) == {1}
    long = walk(range(10), 30, 0) + walk(range(11 + LOST, 40), 30, 0)
    assert tracked("kalman", long) == [1] * 10 + [2] * (29 - LOST)
    assert set(tracked("linked", walk(range(10), 30, 0) + walk(range(9 + LOST, 40), 30, 0))) == {1}
    assert tracked("linked", short) == [1] * 10 + [2] * (30 - LOST)


@BOTH
def test_who_left_the_picture_does_not_come_back_as_the_next(name: str) -> None:
    leaving = walk(range(12), 395 - 11 * 8, 8)  # out at the right edge
    entering = walk(range(15, 25), 392, -8)
    ids = tracked(name, leaving + entering)
    assert ids == [1] * 12 + [2] * 10


@BOTH
def test_a_track_is_of_one_class(name: str) -> None:
    rows = merged(walk(range(6), 30, 0, label=0), walk(range(6), 30, 0, label=1))
    assert tracked(name, rows) == [1, 2] * 6


def test_faint_rows_carry_a_track_on_but_begin_none() -> None:
    rows = walk(range(10), 30, 1)
    faint = [(f, x, y, 0.35 if 4 <= f < 7 else s, c) for f, x, y, s, c in rows]
    assert tracked("kalman", faint) == [1] * 10
    assert tracked("kalman", [(f, x, y, 0.35, c) for f, x, y, _, c in rows]) == [0] * 10


@pytest.mark.parametrize("frames", [[1, 0], [0, 200], [-1, 0]])
def test_frames_out_of_order_or_range_are_refused(frames: list[int]) -> None:
    boxes = np.zeros((2, 4), dtype=np.float32)
    scores = np.ones(2, dtype=np.float32)
    with pytest.raises(ValueError, match="frames"):
        track("kalman", CLIP, np.array(frames), boxes, scores, np.zeros(2, dtype=np.int32))


def test_identity_counts_the_best_assignment() -> None:
    frames = np.array([0, 1, 2, 3])
    boxes = np.tile(np.array([[0, 0, 10, 10]], np.float32), (4, 1))
    whole = identity(frames, boxes, np.ones(4, np.int64), frames, boxes, np.array([5, 5, 5, 5]))
    assert whole.f1 == 1.0
    split = identity(frames, boxes, np.ones(4, np.int64), frames, boxes, np.array([5, 5, 5, 6]))
    assert split.f1 == pytest.approx(6 / 8)
    missed = identity(frames, boxes, np.ones(4, np.int64), frames, boxes, np.array([5, 5, 0, 0]))
    assert (missed.precision, missed.recall) == (1.0, 0.5)


@pytest.fixture(scope="module")
def streets() -> list[tuple[Clip, npt.NDArray[np.float64]]]:
    """Return rendered streets: frame, box, class and object of every row."""
    found: list[tuple[Clip, npt.NDArray[np.float64]]] = []
    for seed, rate in ((21, 10), (22, 25)):
        scene = Scene(seed)
        rows: list[tuple[float, ...]] = []
        frames = 10 * rate
        for frame in range(frames):
            scene.advance(1 / rate)
            rows += [(frame, *o.box, o.kind, o.ident) for o in scene.paint()[1] if o.counts]
        found.append((Clip(frames, float(rate), 640.0, 360.0), np.array(rows)))
    return found


@BOTH
def test_rendered_objects_keep_their_ids(
    name: str, streets: list[tuple[Clip, npt.NDArray[np.float64]]]
) -> None:
    for clip, table in streets:
        frames, boxes = table[:, 0].astype(np.int64), table[:, 1:5].astype(np.float32)
        kinds = table[:, 5].astype(np.int32)
        ids = track(name, clip, frames, boxes, np.full(len(table), 0.9, np.float32), kinds)
        truth = table[:, 6].astype(np.int64) * 2 + kinds
        assert identity(frames, boxes, truth, frames, boxes, ids).f1 >= 0.8


@pytest.mark.assets
@pytest.mark.parametrize(("name", "most"), [("kalman", 34), ("linked", 50)])
def test_real_boxes_of_walking_people(asset: Callable[[str], Path], name: str, most: int) -> None:
    path = asset("video/vtest_PETS09-S2L1_fasterrcnn_det.txt")
    table: npt.NDArray[np.float64] = np.loadtxt(path, delimiter=",")
    table = table[np.argsort(table[:, 0], kind="stable")]
    boxes = table[:, 2:6].astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    frames = table[:, 0].astype(np.int64) - 1
    scores = table[:, 6].astype(np.float32)
    classes = np.zeros(len(frames), dtype=np.int32)
    ids = track(name, Clip(795, 10.0, 768.0, 576.0), frames, boxes, scores, classes)
    # 19 people walk there; linking consecutive frames at an overlap of .7 gives 2446 tracks.
    assert 19 <= np.unique(ids[ids > 0]).size <= most
    assert (ids == 0).mean() < 0.03
