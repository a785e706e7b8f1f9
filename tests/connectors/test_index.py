"""Frame n by number is the n-th picture of reading straight through, whatever the file is like."""

import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from foveal.connectors.video.faults import UndecodableFrame
from foveal.connectors.video.index import build_index
from foveal.connectors.video.packets import PacketIndex, dump, load
from foveal.connectors.video.reader import read_frames
from foveal.connectors.video.stream import Stream
from foveal.errors import OperationalError
from foveal.planner.protocols import DecodeCounters

ClipOf = Callable[[str], Path]
StraightOf = Callable[[Path], list[int]]

KINDS = [
    *("cfr", "bframes", "vfr", "vfr_mp4", "start", "start_ts", "long_gop", "open_gop"),
    *("open_gop_mkv", "open_gop_ts", "refresh", "quick", "quick_open_ts", "mpeg4_avi"),
    *("msmpeg4_avi", "h264_avi", "mjpeg_avi", "mpeg_ps", "raw_h264", "wmv", "flv"),
]


def read(path: Path, index: PacketIndex, frames: list[int]) -> list[tuple[int, int]]:
    with Stream(path) as stream:
        pictures = read_frames(
            stream, index, np.array(frames), counters=DecodeCounters(), cancel=lambda: None
        )
        return [(number, zlib.crc32(picture.data)) for number, picture in pictures]


def holds(path: Path, index: PacketIndex, truth: list[int]) -> None:
    """Every frame, read alone, in a sparse set and straight through, is the true one."""
    assert index.frames == len(truth)
    assert (np.diff(index.pts) > 0).all()
    assert (np.diff(index.ts) > 0).all()
    assert index.ts[0] == 0
    rng = random.Random(1)
    everything = list(range(index.frames))
    singles = rng.sample(everything, min(24, index.frames))
    sets = [everything, sorted(rng.sample(everything, index.frames // 5))]
    for wanted in [*([n] for n in singles), *sets]:
        assert read(path, index, wanted) == [(n, truth[n]) for n in wanted]


@pytest.mark.parametrize("kind", KINDS)
def test_seek_is_straight(kind: str, clip_of: ClipOf, straight_of: StraightOf) -> None:
    path = clip_of(kind)
    index = build_index(path)
    assert index.skipped == ()
    holds(path, index, straight_of(path))
    again = load(dump(index))
    assert again.place_kind == index.place_kind
    np.testing.assert_array_equal(again.frame_start, index.frame_start)


@pytest.mark.parametrize("kind", ["quick", "quick_open_ts", "msmpeg4_avi"])
def test_the_quick_index_is_the_full_one(kind: str, clip_of: ClipOf) -> None:
    quick, full = build_index(clip_of(kind)), build_index(clip_of(kind), full=True)
    assert (quick.decoded_fully, full.decoded_fully) == (False, True)
    np.testing.assert_array_equal(quick.frame_packet, full.frame_packet)
    np.testing.assert_array_equal(quick.pts, full.pts)


def test_stamps_count_from_the_first_frame(clip_of: ClipOf) -> None:
    for kind in ("start", "start_ts", "cfr"):
        index = build_index(clip_of(kind))
        np.testing.assert_allclose(index.ts, np.arange(index.frames) / 25, atol=1e-4)
    steps = np.diff(build_index(clip_of("vfr")).ts)
    assert {round(float(step), 3) for step in steps} == {0.02, 0.033, 0.04, 0.25}


def test_gradual_refresh_is_read_from_its_start(clip_of: ClipOf) -> None:
    index = build_index(clip_of("refresh"))
    assert index.is_key.sum() == 1
    assert (index.frame_start == 0).all()


def test_a_keyframe_is_where_decoding_may_begin(clip_of: ClipOf) -> None:
    index = build_index(clip_of("cfr"))
    np.testing.assert_array_equal(np.flatnonzero(index.is_key), np.arange(0, 60, 12))


def test_glued_recordings_go_on(clip_of: ClipOf, straight_of: StraightOf, tmp_path: Path) -> None:
    path = tmp_path / "glued.ts"
    path.write_bytes(clip_of("start_ts").read_bytes() * 2)
    index = build_index(path)
    holds(path, index, straight_of(path))
    assert float(np.diff(index.ts).max()) < 0.2


def test_a_recording_that_begins_between_keyframes(
    clip_of: ClipOf, straight_of: StraightOf, tmp_path: Path
) -> None:
    data = clip_of("quick_open_ts").read_bytes()
    path = tmp_path / "middle.ts"
    path.write_bytes(data[len(data) // 3 // 188 * 188 :])
    holds(path, build_index(path), straight_of(path))


@pytest.mark.parametrize(
    ("kind", "reported"),
    [
        ("faststart", True), ("vfr", True), ("mjpeg_avi", True), ("msmpeg4_avi", True),
        ("mpeg4_avi", True), ("start_ts", False), ("quick_open_ts", False), ("flv", True),
    ],
)  # fmt: skip
def test_a_cut_file_gives_what_decodes(
    kind: str, reported: bool, clip_of: ClipOf, straight_of: StraightOf, tmp_path: Path
) -> None:
    data = clip_of(kind).read_bytes()
    path = tmp_path / ("cut" + clip_of(kind).suffix)
    path.write_bytes(data[: len(data) * 6 // 10])
    index = build_index(path)
    truth = straight_of(path)
    assert 0 < len(truth) < build_index(clip_of(kind)).frames
    holds(path, index, truth)
    if reported:
        assert index.skipped
        assert index.skipped[-1][1] > index.ts[-1]


@pytest.mark.parametrize("kind", ["quick", "vfr", "mjpeg_avi", "msmpeg4_avi", "quick_open_ts"])
@pytest.mark.parametrize("seed", [0, 1])
def test_damage_is_an_error_or_reported(
    kind: str, seed: int, clip_of: ClipOf, straight_of: StraightOf, tmp_path: Path
) -> None:
    data = bytearray(clip_of(kind).read_bytes())
    rng = random.Random(seed)
    hole = rng.randrange(len(data) // 4, len(data) // 2)
    data[hole : hole + len(data) // 40] = bytes(len(data) // 40)
    path = tmp_path / ("holed" + clip_of(kind).suffix)
    path.write_bytes(bytes(data))
    truth = straight_of(path)
    index = build_index(path)
    lost: UndecodableFrame | None = None
    try:
        read(path, index, list(range(index.frames)))
    except UndecodableFrame as error:
        lost = error
    if lost is None:
        assert index.frames == len(truth)
    else:
        assert lost.sqlstate == "58030"
        assert str(path) in lost.message
    full = build_index(path, full=True)
    holds(path, full, truth)
    if full.frames < build_index(clip_of(kind)).frames and kind != "quick_open_ts":
        assert full.skipped


def test_mp4_without_moov_is_named(clip_of: ClipOf, tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    path.write_bytes(clip_of("cfr").read_bytes()[:-2000])
    with pytest.raises(OperationalError, match="no moov box") as caught:
        build_index(path)
    assert caught.value.sqlstate == "58030"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mp4", b"", "it is empty"),
        ("a.mp4", b"hello\n" * 200, "no video that FFmpeg knows"),
        ("a.txt", b"ffconcat version 1.0\nfile b.mp4\n", "no video"),
        ("a.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nb.ts\n", "no video"),
    ],
)
def test_what_is_no_video(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(OperationalError, match=message) as caught:
        build_index(path)
    assert caught.value.sqlstate == "58030"
    with pytest.raises(OperationalError) as caught:
        build_index(tmp_path / "none.mp4")
    assert caught.value.sqlstate == "58P01"


def test_turned_pictures_come_upright(clip_of: ClipOf, tmp_path: Path) -> None:
    """A telephone's clip: the track header's matrix says to turn by a quarter, clockwise."""
    data = bytearray(clip_of("cfr").read_bytes())
    header = data.index(b"tkhd")
    matrix = header + 4 + 4 + 36
    one, last = 1 << 16, 1 << 30
    struct.pack_into(">9i", data, matrix, 0, one, 0, -one, 0, 0, 0, 0, last)
    path = tmp_path / "turned.mp4"
    path.write_bytes(bytes(data))
    index, level = build_index(path), build_index(clip_of("cfr"))
    assert (index.width, index.height) == (level.height, level.width)

    def picture(path: Path, index: PacketIndex) -> npt.NDArray[np.uint8]:
        with Stream(path) as stream:
            return next(
                read_frames(
                    stream,
                    index,
                    np.array([3]),
                    counters=DecodeCounters(),
                    cancel=lambda: None,
                )
            )[1]

    got, plain = picture(path, index), picture(clip_of("cfr"), level)
    np.testing.assert_array_equal(got, np.rot90(plain, -1))
