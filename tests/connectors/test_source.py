"""Patterns become videos: order, names, and errors that teach; what is remembered between runs."""

import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from foveal.connectors.video import remembered
from foveal.connectors.video.source import open_videos, unique_names
from foveal.errors import OperationalError
from foveal.planner.protocols import DecodeCounters

ClipOf = Callable[[str], Path]


@pytest.fixture
def cams(tmp_path: Path, clip_of: ClipOf, monkeypatch: pytest.MonkeyPatch) -> Path:
    """cams/ with a clip cam2.mp4, cam10.mp4, north/cam2.mp4, a text, an odd name."""
    data = clip_of("cfr").read_bytes()
    folder = tmp_path / "cams"
    (folder / "north").mkdir(parents=True)
    for name in ("cam2.mp4", "cam10.mp4", "north/cam2.mp4", "odd[1].mp4"):
        (folder / name).write_bytes(data)
    (folder / "notes.txt").write_text("not a video")
    monkeypatch.chdir(tmp_path)
    return folder


def names(*patterns: str, roots: tuple[Path, ...] = ()) -> list[str]:
    return [video.name for video in open_videos(patterns, roots=roots, isolate=False)]


def test_patterns(cams: Path) -> None:
    assert names("cams/cam2.mp4") == ["cam2.mp4"]
    assert names("cams/cam*.mp4") == ["cam2.mp4", "cam10.mp4"]
    assert names("cams") == ["cam2.mp4", "cam10.mp4", "odd[1].mp4"]
    assert names(str(cams / "odd[1].mp4")) == ["odd[1].mp4"]
    assert names("cams/cam10.mp4", "cams/cam*.mp4") == ["cam10.mp4", "cam2.mp4"]
    assert names("cams/**/cam2.mp4") == ["cams/cam2.mp4", "north/cam2.mp4"]


def test_working_directory_then_roots(cams: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (video,) = open_videos(["cam2.mp4"], roots=[cams / "north", cams], isolate=False)
    assert video.path == cams / "north" / "cam2.mp4"
    assert names("cam1*.mp4", roots=(cams / "north", cams)) == ["cam10.mp4"]
    monkeypatch.chdir(cams)
    (video,) = open_videos(["cam2.mp4"], roots=[cams / "north"], isolate=False)
    assert video.path == cams / "cam2.mp4"


@pytest.mark.parametrize(
    ("pattern", "message", "hint"),
    [
        ("cams/cam3.mp4", 'video "cams/cam3.mp4" does not exist', 'did you mean "cam2.mp4"'),
        ("cams/x*.mp4", 'no file matches "cams/x*.mp4"', "looked in"),
        ("cams/empty", 'folder "cams/empty" holds no video', ".mp4"),
        ("nowhere/a.mp4", 'video "nowhere/a.mp4" does not exist', "looked in"),
    ],
)
def test_missing_files_teach(cams: Path, pattern: str, message: str, hint: str) -> None:
    (cams / "empty").mkdir()
    with pytest.raises(OperationalError) as caught:
        names(pattern)
    assert (caught.value.sqlstate, caught.value.message) == ("58P01", message)
    assert hint in str(caught.value.hint)


def test_names_are_unique() -> None:
    paths = [Path(p) for p in ("/a/x/1.mp4", "/b/x/1.mp4", "/b/y/1.mp4", "/b/2.mp4")]
    assert unique_names(paths) == ["a/x/1.mp4", "b/x/1.mp4", "y/1.mp4", "2.mp4"]


def test_a_second_run_neither_hashes_nor_indexes(
    cams: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cams / "cam2.mp4"
    os.utime(path, (1e9, 1e9))
    (first,) = open_videos([str(path)], isolate=False)
    index = first.index
    digest = first.content_hash

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("made anew")

    monkeypatch.setattr("hashlib.blake2b", refuse)
    monkeypatch.setattr("foveal.connectors.video.index.build_index", refuse)
    (second,) = open_videos([str(path)], isolate=False)
    assert second.content_hash == digest
    np.testing.assert_array_equal(second.index.frame_start, index.frame_start)


def test_same_content_shares_an_index(cams: Path) -> None:
    first, second = open_videos(["cams/cam*.mp4"], isolate=False)
    assert first.content_hash == second.content_hash
    _ = first.index
    assert remembered.recall_index(second.content_hash, full=False) is not None


def test_a_broken_cache_costs_only_time(
    cams: Path, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (video,) = open_videos(["cams/cam2.mp4"], isolate=False)
    _ = video.index
    (stored,) = (own_cache / "indexes").iterdir()
    stored.write_bytes(b"PK broken")
    (own_cache / "content.sqlite").write_bytes(b"broken" * 100)
    (again,) = open_videos(["cams/cam2.mp4"], isolate=False)
    assert again.index.frames == 60
    assert "cannot be read" in caplog.text


def test_nothing_is_left_by_an_abrupt_end(cams: Path) -> None:
    """An interpreter that ends in the middle of a read warns of nothing and leaves no process."""
    script = (
        "import numpy as np\n"
        "from foveal.connectors.video.source import open_videos\n"
        "from foveal.connectors.video import isolated\n"
        "from foveal.planner.protocols import DecodeCounters\n"
        "(v,) = open_videos(['cams/cam2.mp4'], roots=[], isolate=True)\n"
        "child = isolated.POOL.take(); isolated.POOL.give(child); print(child.pid)\n"
        "it = v.read(np.arange(60), counters=DecodeCounters(), cancel=lambda: None)\n"
        "next(it)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert ran.stderr == ""
    with pytest.raises(ProcessLookupError):
        os.kill(int(ran.stdout), 0)


def test_reading_needs_no_codec_in_the_parent(cams: Path) -> None:
    script = (
        "import sys\n"
        "import numpy as np\n"
        "from foveal.connectors.video.source import open_videos\n"
        "from foveal.planner.protocols import DecodeCounters\n"
        "(v,) = open_videos(['cams/cam2.mp4'], roots=[], isolate=True)\n"
        "args = dict(counters=DecodeCounters(), cancel=lambda: None)\n"
        "print(len(list(v.read(np.arange(9), **args))))\n"
        "print('av' in sys.modules, 'cv2' in sys.modules)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.split() == ["9", "False", "False"]


@pytest.mark.assets
@pytest.mark.parametrize(
    "name",
    ["video/vtest.avi", "video/bangkok_half_res.mp4", "video/one-by-one-person-detection.mp4"],
)
def test_real_clips_by_number(
    name: str, asset: Callable[[str], Path], straight_of: Callable[[Path], list[int]]
) -> None:
    path = asset(name)
    truth = straight_of(path)
    (video,) = open_videos([str(path)], isolate=True)
    assert video.index.frames == len(truth)
    wanted = np.unique(np.random.default_rng(0).integers(0, len(truth), 40))
    for number, picture in video.read(wanted, counters=DecodeCounters(), cancel=lambda: None):
        assert zlib.crc32(picture.data) == truth[number]
