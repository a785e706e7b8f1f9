"""What every source of frames must do: one suite, run on each way of reading each connector."""

import gc
import itertools
import os
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from foveal.connectors import CONNECTORS
from foveal.connectors.video import isolated
from foveal.connectors.video.crops import crops, decode_image, encode_png
from foveal.connectors.video.profile import profile
from foveal.connectors.video.ring import SLOTS, slots_for
from foveal.connectors.video.source import VideoFile
from foveal.errors import OperationalError, QueryCanceled
from foveal.planner.protocols import DecodeCounters, Video

ClipOf = Callable[[str], Path]
StraightOf = Callable[[Path], list[int]]
Open = Callable[[Path], Video]

WAYS = {"video, isolated": ("video", True), "video, in process": ("video", False)}
assert {name for name, _ in WAYS.values()} == set(CONNECTORS)


@pytest.fixture(params=sorted(WAYS))
def way(request: pytest.FixtureRequest) -> Open:
    name, isolate = WAYS[request.param]

    def open_one(path: Path) -> Video:
        (video,) = CONNECTORS[name].load()([str(path)], roots=[], isolate=isolate)
        return video

    return open_one


@pytest.fixture
def isolated_way() -> Open:
    return lambda path: CONNECTORS["video"].load()([str(path)], roots=[], isolate=True)[0]


@pytest.fixture(scope="module", autouse=True)
def no_child_is_left() -> Iterator[None]:
    yield
    isolated.POOL.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def nothing() -> None:
    """Never cancelled."""


def read(video: Video, frames: list[int]) -> tuple[list[tuple[int, int]], DecodeCounters]:
    counters = DecodeCounters()
    got = [
        (number, zlib.crc32(picture.data))
        for number, picture in video.read(
            np.array(frames, np.int64), counters=counters, cancel=nothing
        )
    ]
    return got, counters


def test_schema(way: Open, clip_of: ClipOf) -> None:
    video = way(clip_of("bframes"))
    index = video.index
    assert (video.name, video.path) == ("bframes.mp4", clip_of("bframes"))
    assert len(bytes.fromhex(video.content_hash)) == 16
    assert (index.frames, index.width, index.height, index.codec) == (60, 96, 64, "h264")
    assert (index.pts.dtype, index.ts.dtype, index.is_key.dtype) == (np.int64, np.float64, np.bool_)
    assert index.is_key[0]


def test_empty_selection_reads_nothing(way: Open, clip_of: ClipOf) -> None:
    got, counters = read(way(clip_of("cfr")), [])
    assert got == []
    assert counters == DecodeCounters()


def test_pictures_are_the_callers_own(way: Open, clip_of: ClipOf) -> None:
    counters = DecodeCounters()
    pictures = [
        picture
        for _, picture in way(clip_of("cfr")).read(np.arange(30), counters=counters, cancel=nothing)
    ]
    assert {p.shape for p in pictures} == {(64, 96, 3)}
    assert {p.dtype for p in pictures} == {np.dtype(np.uint8)}
    assert len({zlib.crc32(p.data) for p in pictures}) == 30
    pictures[0][:] = 0
    assert pictures[1].any()


@pytest.mark.parametrize("kind", ["bframes", "vfr", "open_gop_ts", "long_gop", "mpeg4_avi"])
def test_only_the_wanted_frames_and_the_true_ones(
    kind: str, way: Open, clip_of: ClipOf, straight_of: StraightOf
) -> None:
    video, truth = way(clip_of(kind)), straight_of(clip_of(kind))
    for wanted in ([0], [59], [3, 4, 5], [0, 17, 18, 40, 59], list(range(60)), list(range(30, 60))):
        got, _ = read(video, wanted)
        assert got == [(n, truth[n]) for n in wanted]


def test_pushdown_is_honest(way: Open, clip_of: ClipOf) -> None:
    video = way(clip_of("cfr"))
    _, one = read(video, [13])
    assert one.frames_decoded <= 2
    assert one.seeks == 1
    _, group = read(video, [24, 35])
    assert group.frames_decoded <= 12
    _, everything = read(video, list(range(60)))
    assert everything.frames_decoded == 60
    assert everything.seeks <= 1
    assert everything.seconds > 0
    _, sparse = read(video, [0, 12, 24, 36, 48])
    assert sparse.frames_decoded <= 5


def test_determinism(way: Open, clip_of: ClipOf) -> None:
    first, again = way(clip_of("vfr")), way(clip_of("vfr"))
    assert first.content_hash == again.content_hash
    np.testing.assert_array_equal(first.index.pts, again.index.pts)
    assert read(first, [5, 20, 50])[0] == read(again, [5, 20, 50])[0]


def test_two_videos_in_turn_and_at_once(
    way: Open, clip_of: ClipOf, straight_of: StraightOf
) -> None:
    kinds = ("cfr", "vfr")
    videos = [way(clip_of(kind)) for kind in kinds]
    truths = [straight_of(clip_of(kind)) for kind in kinds]
    pair = [v.read(np.arange(60), counters=DecodeCounters(), cancel=nothing) for v in videos]
    for both in zip(*pair, strict=True):
        for (number, picture), truth in zip(both, truths, strict=True):
            assert zlib.crc32(picture.data) == truth[number]
    found: dict[int, list[tuple[int, int]]] = {}

    def work(i: int) -> None:
        found[i] = read(videos[i % 2], list(range(i, 60, 3)))[0]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        assert found[i] == [(n, truths[i % 2][n]) for n in range(i, 60, 3)]


def test_cancel_ends_the_read(way: Open, clip_of: ClipOf, straight_of: StraightOf) -> None:
    video, truth = way(clip_of("long_gop")), straight_of(clip_of("long_gop"))
    polled = 0

    def cancel() -> None:
        nonlocal polled
        polled += 1
        if polled > 5:
            raise QueryCanceled("canceling statement due to user request")

    with pytest.raises(QueryCanceled):
        for _ in video.read(np.arange(60), counters=DecodeCounters(), cancel=cancel):
            pass
    assert read(video, [30])[0] == [(30, truth[30])]


def test_closing_early_stops_and_the_next_read_works(
    way: Open, clip_of: ClipOf, straight_of: StraightOf
) -> None:
    video, truth = way(clip_of("bframes")), straight_of(clip_of("bframes"))
    for taken in (1, 9, 20):
        pictures = video.read(np.arange(60), counters=DecodeCounters(), cancel=nothing)
        for _ in range(taken):
            next(pictures)
        assert isinstance(pictures, Iterator)
        del pictures
        gc.collect()
        assert read(video, [7, 55])[0] == [(7, truth[7]), (55, truth[55])]


def test_errors_carry_a_state(way: Open, clip_of: ClipOf, tmp_path: Path) -> None:
    path = tmp_path / "no.mp4"
    path.write_bytes(b"no video at all " * 100)
    with pytest.raises(OperationalError, match=r"no\.mp4") as caught:
        _ = way(path).index
    assert caught.value.sqlstate == "58030"
    with pytest.raises(OperationalError) as caught:
        way(tmp_path / "none.mp4")
    assert caught.value.sqlstate == "58P01"
    with pytest.raises(OperationalError, match="frames 0 to 59") as caught:
        read(way(clip_of("cfr")), [60])
    assert caught.value.sqlstate == "58030"


def test_a_changed_file_is_refused(way: Open, clip_of: ClipOf, tmp_path: Path) -> None:
    path = tmp_path / "changing.mp4"
    path.write_bytes(clip_of("cfr").read_bytes())
    video = way(path)
    read(video, [1])
    path.write_bytes(clip_of("bframes").read_bytes())
    with pytest.raises(OperationalError, match="changed since") as caught:
        read(video, [1])
    assert caught.value.sqlstate == "58030"
    assert way(path).content_hash == way(clip_of("bframes")).content_hash


def test_a_lost_frame_is_an_error_then_reported(
    way: Open, clip_of: ClipOf, straight_of: StraightOf, tmp_path: Path
) -> None:
    data = bytearray(clip_of("quick").read_bytes())
    hole = len(data) // 2
    data[hole : hole + 3000] = bytes(3000)
    path = tmp_path / "holed.mp4"
    path.write_bytes(bytes(data))
    video, truth = way(path), straight_of(path)
    assert len(truth) < video.index.frames
    before = video.content_hash
    with pytest.raises(OperationalError, match="cannot decode frame") as caught:
        read(video, list(range(video.index.frames)))
    assert caught.value.sqlstate == "58030"
    for again in (video, way(path)):
        assert again.index.skipped
        assert again.content_hash != before
        got, _ = read(again, list(range(again.index.frames)))
        assert [checksum for _, checksum in got] == truth


def test_a_killed_decoder_is_an_error_and_the_next_read_works(
    isolated_way: Open, clip_of: ClipOf, straight_of: StraightOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, truth = isolated_way(clip_of("quick")), straight_of(clip_of("quick"))
    children: list[isolated.Child] = []
    take = isolated.POOL.take

    def note(index: object = None) -> isolated.Child:
        children.append(take())
        return children[-1]

    monkeypatch.setattr(isolated.POOL, "take", note)
    pictures = video.read(np.arange(300), counters=DecodeCounters(), cancel=nothing)
    next(pictures)
    os.kill(children[-1].pid, signal.SIGKILL)
    with pytest.raises(OperationalError, match=r"SIGKILL.*frame .*quick\.mp4") as caught:
        for _ in pictures:
            pass
    assert caught.value.sqlstate == "58030"
    assert read(video, [100])[0] == [(100, truth[100])]
    assert children[-1].pid != children[-2].pid


def test_children_are_reused_and_run_ahead_only_by_the_ring(
    isolated_way: Open, clip_of: ClipOf
) -> None:
    video = isolated_way(clip_of("quick"))
    read(video, [1])
    child = isolated.POOL.take()
    isolated.POOL.give(child)
    counters = DecodeCounters()
    pictures = video.read(np.arange(300), counters=counters, cancel=nothing)
    next(pictures)
    time.sleep(0.3)
    for _ in range(SLOTS + 2):
        next(pictures)
    assert counters.frames_decoded <= 2 * SLOTS + 8
    del pictures
    gc.collect()
    again = isolated.POOL.take()
    isolated.POOL.give(again)
    assert again is child


def test_who_works_on_many_at_once_has_as_many_decoded_ahead(clip_of: ClipOf) -> None:
    video = VideoFile(clip_of("quick"), "quick", isolate=True)
    counters = DecodeCounters()
    pictures = video.read(np.arange(300), counters=counters, cancel=nothing, ahead=3 * SLOTS)
    next(pictures)
    time.sleep(0.3)
    got = [number for number, _ in itertools.islice(pictures, 3 * SLOTS)]
    assert got == list(range(1, 3 * SLOTS + 1))
    assert counters.frames_decoded <= 2 * 3 * SLOTS + 8
    rest = [number for number, _ in pictures]
    assert rest == list(range(3 * SLOTS + 1, 300))


@pytest.mark.parametrize(
    ("picture", "ahead", "slots"),
    [(1000, 8, 8), (1000, 64, 64), (6 * 2**20, 64, 32), (300 * 2**20, 8, 2), (1000, 1, 2)],
)
def test_the_ring_is_bounded(picture: int, ahead: int, slots: int) -> None:
    assert slots_for(picture, ahead) == slots


def test_a_worker_leaves_when_its_parent_does(clip_of: ClipOf) -> None:
    """Closing stdin is all that a dying parent can do."""
    child = isolated.Child()
    index = child.build_index(clip_of("cfr"), full=False, cancel=nothing)
    assert index.frames == 60
    child.close()
    assert not child.alive


def test_profile_is_positive(way: Open, clip_of: ClipOf) -> None:
    frame, seek, look = profile(way(clip_of("quick")))
    assert frame > 0
    assert seek >= 0
    assert look > 0


def test_a_width_that_ffmpeg_pads(way: Open, tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(  # pyright: ignore[reportUnknownMemberType]
            "libx264", rate=25, options={"crf": "0", "preset": "ultrafast", "threads": "1"}
        )
        stream.width, stream.height, stream.pix_fmt = 250, 178, "yuv444p"
        flat = np.full((178, 250, 3), (200, 90, 30), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(flat, format="rgb24")))
        container.mux(stream.encode(None))
    counters = DecodeCounters()
    ((_, picture),) = way(path).read(np.array([0]), counters=counters, cancel=nothing)
    assert picture.flags.c_contiguous
    assert picture.shape == (178, 250, 3)
    assert np.abs(picture.astype(int) - (200, 90, 30)).max() <= 3


def test_crops_in_any_order(way: Open, clip_of: ClipOf) -> None:
    video = way(clip_of("cfr"))
    whole = dict(video.read(np.array([2, 9]), counters=DecodeCounters(), cancel=nothing))
    frames = np.array([9, 2, 9, 9, 2])
    boxes = np.array(
        [[0, 0, 96, 64], [10.2, 5.5, 20.1, 9.0], [-5, -5, 4, 4], [90, 60, 200, 200], [5, 5, 5, 5]]
    )
    counters = DecodeCounters()
    parts = crops(video, frames, boxes, counters=counters)
    np.testing.assert_array_equal(parts[0], whole[9])
    np.testing.assert_array_equal(parts[1], whole[2][5:9, 10:21])
    np.testing.assert_array_equal(parts[2], whole[9][:4, :4])
    np.testing.assert_array_equal(parts[3], whole[9][60:, 90:])
    assert parts[4].shape == (0, 0, 3)
    assert counters.frames_decoded <= 10
    np.testing.assert_array_equal(decode_image(encode_png(parts[1])), parts[1])
    assert crops(video, np.array([1]), np.array([[np.nan] * 4]))[0].shape == (0, 0, 3)
