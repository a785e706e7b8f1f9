"""The rendered scene: seeded truth, boxes where the objects are, and a file that decodes."""

from pathlib import Path

import av
import numpy as np
import pytest

from foveal.connectors.video.scene import Truth, render, truth_counts
from foveal.connectors.video.scene_paint import Scene
from foveal.connectors.video.scene_samples import write_samples
from foveal.connectors.video.scene_world import HEIGHT, MOST_OBJECTS, WIDTH
from foveal.errors import DataError, OperationalError

ARRAYS = ("frame", "kind", "xmin", "ymin", "xmax", "ymax", "visible", "ident")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    path = tmp_path_factory.mktemp("scene") / "street.mp4"
    return path, render(path, seed=3, seconds=2.0, fps=25, gop=10)


def test_same_seed_same_truth(clip: tuple[Path, Truth], tmp_path: Path) -> None:
    path, truth = clip
    again = render(tmp_path / "again.mp4", seed=3, seconds=2.0, fps=25, gop=10)
    for name in ARRAYS:
        assert getattr(truth, name).tobytes() == getattr(again, name).tobytes()
    assert path.stat().st_size > 10_000


def test_seeds_and_light_differ() -> None:
    day, other, dusk = Scene(3), Scene(4), Scene(3, dusk=True)
    assert np.abs(day.background.astype(int) - other.background).mean() > 5
    assert dusk.background.mean() < 0.7 * day.background.mean()


def test_boxes_lie_in_the_picture(clip: tuple[Path, Truth]) -> None:
    _, truth = clip
    assert truth.frames == 50
    assert len(truth.frame) > 50
    assert np.all(np.diff(truth.frame) >= 0)
    assert truth.xmin.min() >= 0
    assert truth.ymin.min() >= 0
    assert truth.xmax.max() <= WIDTH
    assert truth.ymax.max() <= HEIGHT
    assert np.all(truth.xmax > truth.xmin)
    assert np.all(truth.ymax > truth.ymin)
    assert truth.visible.min() >= 0.5
    assert truth.visible.max() <= 1.0


def test_counts_follow_the_boxes(clip: tuple[Path, Truth]) -> None:
    _, truth = clip
    cars, people = truth_counts(truth, "car"), truth_counts(truth, "person")
    assert cars.dtype == np.int64
    assert cars.shape == (truth.frames,)
    assert int(cars.sum() + people.sum()) == len(truth.frame)
    assert int((cars + people).max()) <= MOST_OBJECTS
    with pytest.raises(DataError, match="bicycle") as refused:
        truth_counts(truth, "bicycle")
    assert refused.value.hint == "its classes are car, person"


def test_the_file_decodes(clip: tuple[Path, Truth]) -> None:
    path, truth = clip
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        keys = [n for n, frame in enumerate(frames) if frame.key_frame]
    assert len(frames) == truth.frames
    assert (frames[0].width, frames[0].height) == (WIDTH, HEIGHT)
    assert keys[0] == 0
    assert max(np.diff([*keys, truth.frames])) <= 10


def test_the_file_shows_what_was_painted(clip: tuple[Path, Truth]) -> None:
    """The first decoded picture differs from the painted one by no more than the codec's loss."""
    path, _ = clip
    painted, _ = Scene(3).paint()
    with av.open(str(path)) as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(decoded.astype(int) - painted).mean() < 6


def test_a_box_holds_its_object() -> None:
    """Inside every box the picture differs from the empty stage."""
    scene = Scene(3)
    scene.advance(1.0)
    picture, objects = scene.paint()
    changed = np.abs(picture.astype(int) - scene.background).max(axis=2) > 25
    shown = [o for o in objects if o.counts]
    assert shown
    for thing in shown:
        x0, y0, x1, y1 = (round(v) for v in thing.box)
        assert changed[y0:y1, x0:x1].mean() > 0.25


def test_hidden_and_cut_objects_do_not_count() -> None:
    shares: list[tuple[float, float, bool]] = []
    for seed in range(6):
        scene = Scene(seed)
        for _ in range(4):
            scene.advance(2.0)
            shares += [(o.visible, o.inside, o.counts) for o in scene.paint()[1]]
    assert any(visible < 0.5 for visible, _, _ in shares)
    assert any(inside < 0.5 for _, inside, _ in shares)
    for visible, inside, counts in shares:
        assert counts == (visible >= 0.5 and inside >= 0.5)


def test_truth_survives_parquet(clip: tuple[Path, Truth], tmp_path: Path) -> None:
    _, truth = clip
    truth.save(tmp_path / "truth.parquet")
    again = Truth.load(tmp_path / "truth.parquet")
    assert (again.frames, again.fps) == (truth.frames, truth.fps)
    for name in ARRAYS:
        assert np.array_equal(getattr(again, name), getattr(truth, name))
    with pytest.raises(OperationalError, match="does not exist"):
        Truth.load(tmp_path / "none.parquet")


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one frame"):
        render(tmp_path / "none.mp4", seed=1, seconds=0)
    with pytest.raises(OperationalError, match="cannot write") as refused:
        render(tmp_path / "no folder" / "street.mp4", seed=1, seconds=0.1)
    assert refused.value.sqlstate == "58030"


def test_progress_counts_frames(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    render(
        tmp_path / "short.mp4",
        seed=1,
        seconds=0.5,
        fps=10,
        dusk=True,
        progress=lambda done, frames: seen.append((done, frames)),
    )
    assert seen == [(n + 1, 5) for n in range(5)]


def test_samples_hold_small_pictures_and_boxes(tmp_path: Path) -> None:
    write_samples(tmp_path / "samples.npz", pictures=8, seed=77)
    with np.load(tmp_path / "samples.npz") as file:
        assert file["images"].shape == (8, 192, 320, 3)
        assert file["box"].shape == (len(file["picture"]), 4)
        assert np.all(np.diff(file["picture"]) >= 0)
        assert file["box"][:, 2].max() <= 320
