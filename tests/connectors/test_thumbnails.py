"""Thumbnails: the same picture however it was reached, and the true area average of the luma."""

import os
import signal
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from foveal.connectors.video import thumbnails as path_of_thumbnails
from foveal.connectors.video.source import VideoFile
from foveal.errors import OperationalError, QueryCanceled
from foveal.planner.protocols import THUMBNAIL, DecodeCounters

ClipOf = Callable[[str], Path]
Pictures = npt.NDArray[np.uint8]

KINDS = ["cfr", "bframes", "vfr", "vfr_mp4", "start", "start_ts", "long_gop", "open_gop_ts",
         "open_gop_mkv", "quick", "refresh", "mpeg4_avi", "msmpeg4_avi", "mjpeg_avi", "mpeg_ps",
         "raw_h264"]  # fmt: skip


@pytest.fixture(params=[False, True], ids=["in process", "isolated"])
def open_video(request: pytest.FixtureRequest) -> Callable[[Path], VideoFile]:
    return lambda path: VideoFile(path, path.name, isolate=bool(request.param))


def nothing() -> None:
    """Never cancelled."""


def look(video: VideoFile, frames: list[int]) -> tuple[Pictures, DecodeCounters]:
    counters = DecodeCounters()
    wanted = np.array(frames, np.int64)
    batches = list(video.thumbnails(wanted, counters=counters, cancel=nothing))
    np.testing.assert_array_equal(np.concatenate([numbers for numbers, _ in batches]), wanted)
    assert all(1 <= len(numbers) <= path_of_thumbnails.BATCH for numbers, _ in batches)
    pictures = np.concatenate([part for _, part in batches])
    assert pictures.shape == (len(frames), THUMBNAIL, THUMBNAIL)
    assert pictures.dtype == np.uint8
    return pictures, counters


def sums(pictures: Pictures) -> list[int]:
    return [zlib.crc32(np.ascontiguousarray(p).data) for p in pictures]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_thumbnail_by_any_way(
    kind: str, open_video: Callable[[Path], VideoFile], clip_of: ClipOf
) -> None:
    video = open_video(clip_of(kind))
    count = video.index.frames
    straight = sums(look(video, list(range(count)))[0])
    keys: list[int] = np.flatnonzero(video.index.is_key).tolist()
    sets: list[list[int]] = [
        [0], [count - 1], [3, 4, 5], [0, 17, 18, 40, 59], list(range(30, 60)),
        list(range(1, count, 7)), keys, keys[-1:], keys[::2],
    ]  # fmt: skip
    for wanted in sets:
        assert sums(look(video, wanted)[0]) == [straight[n] for n in wanted]


def test_a_truncated_file(
    open_video: Callable[[Path], VideoFile], clip_of: ClipOf, tmp_path: Path
) -> None:
    whole = clip_of("quick_open_ts").read_bytes()
    path = tmp_path / "cut.ts"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    video = open_video(path)
    count = video.index.frames
    assert 0 < count < 300
    straight = sums(look(video, list(range(count)))[0])
    for wanted in ([count - 1], [5, count // 2, count - 2], list(range(0, count, 9))):
        assert sums(look(video, wanted)[0]) == [straight[n] for n in wanted]


def test_a_lost_frame_is_an_error(
    open_video: Callable[[Path], VideoFile], clip_of: ClipOf, tmp_path: Path
) -> None:
    data = bytearray(clip_of("quick").read_bytes())
    hole = len(data) // 2
    data[hole : hole + 3000] = bytes(3000)
    path = tmp_path / "holed.mp4"
    path.write_bytes(bytes(data))
    video = open_video(path)
    with pytest.raises(OperationalError, match="cannot decode frame") as caught:
        look(video, list(range(video.index.frames)))
    assert caught.value.sqlstate == "58030"
    assert video.index.skipped
    look(video, list(range(video.index.frames)))


def test_it_is_the_area_average_of_the_luma(
    open_video: Callable[[Path], VideoFile], tmp_path: Path
) -> None:
    """Four by four pixels of the frame make one; limited range is stretched to 0..255."""
    path = _render(tmp_path / "wide.mp4", 384, 384, 24)
    video = open_video(path)
    every = list(range(video.index.frames))
    small, _ = look(video, every)
    for number, rgb in video.read(
        np.array(every, np.int64), counters=DecodeCounters(), cancel=nothing
    ):
        luma = rgb.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
        mean = luma.reshape(THUMBNAIL, 4, THUMBNAIL, 4).mean((1, 3))
        off = np.abs(small[number] - mean)
        assert off.mean() < 1.5
        assert np.quantile(off, 0.99) < 5


def test_odd_sizes_give_the_same_grid(
    open_video: Callable[[Path], VideoFile], tmp_path: Path
) -> None:
    video = open_video(_render(tmp_path / "odd.mp4", 250, 178, 10))
    small, _ = look(video, list(range(10)))
    (_, rgb), *_ = video.read(np.array([0]), counters=DecodeCounters(), cancel=nothing)
    luma = rgb.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    for part, whole in zip(
        np.array_split(small[0], 4, axis=1), np.array_split(luma, 4, axis=1), strict=True
    ):
        assert abs(part.mean() - whole.mean()) < 3


def test_pushdown_is_honest(open_video: Callable[[Path], VideoFile], clip_of: ClipOf) -> None:
    video = open_video(clip_of("cfr"))
    assert look(video, [24, 35])[1].frames_decoded <= 12
    every = look(video, list(range(60)))[1]
    assert every.frames_decoded == 60
    assert every.seeks <= 1
    assert every.seconds > 0
    assert look(video, [0, 12, 24, 36, 48])[1].frames_decoded <= 5
    counters = DecodeCounters()
    assert not list(video.thumbnails(np.empty(0, np.int64), counters=counters, cancel=nothing))
    assert counters == DecodeCounters()
    with pytest.raises(OperationalError, match="frames 0 to 59"):
        look(video, [60])


@pytest.mark.parametrize("kind", ["bframes", "open_gop_ts", "quick", "mpeg4_avi", "vfr"])
def test_keyframes_are_decoded_alone(
    kind: str, open_video: Callable[[Path], VideoFile], clip_of: ClipOf
) -> None:
    video = open_video(clip_of(kind))
    keys = np.flatnonzero(video.index.is_key)
    assert path_of_thumbnails.keyframes_alone(video.index, keys)
    assert not path_of_thumbnails.keyframes_alone(video.index, keys[:1] + 1)
    got, counters = look(video, keys.tolist())
    assert counters.frames_decoded == len(keys)
    assert counters.seeks <= 1
    straight = sums(look(video, list(range(video.index.frames)))[0])
    assert sums(got) == [straight[n] for n in keys.tolist()]


def test_a_keyframe_that_does_not_come_alone_is_read_as_others_are(
    clip_of: ClipOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foveal.connectors.video.stream import Stream

    video = VideoFile(clip_of("quick"), "quick", isolate=False)
    keys: list[int] = np.flatnonzero(video.index.is_key).tolist()
    straight = sums(look(video, list(range(300)))[0])
    alone, calls = Stream.alone, [0]

    def sometimes(stream: Stream) -> Any:
        calls[0] += 1
        return alone(stream) if calls[0] < 3 else None

    monkeypatch.setattr(Stream, "alone", sometimes)
    assert sums(look(video, keys)[0]) == [straight[n] for n in keys]
    assert calls == [3]


def test_reads_of_both_kinds_in_turn(
    open_video: Callable[[Path], VideoFile], clip_of: ClipOf
) -> None:
    """A rough decoder never serves a detector, nor the other way round."""
    video, other = open_video(clip_of("bframes")), open_video(clip_of("vfr"))
    small = sums(look(video, [7, 30])[0])
    large = [zlib.crc32(p.data) for _, p in _frames(video, [7, 30])]
    assert sums(look(other, [7])[0]) != small[:1]
    assert sums(look(video, [7, 30])[0]) == small
    assert [zlib.crc32(p.data) for _, p in _frames(video, [7, 30])] == large


def test_cancel_ends_it(open_video: Callable[[Path], VideoFile], clip_of: ClipOf) -> None:
    video = open_video(clip_of("long_gop"))
    polled = 0

    def cancel() -> None:
        nonlocal polled
        polled += 1
        if polled > 1:
            raise QueryCanceled("canceling statement due to user request")

    with pytest.raises(QueryCanceled):
        list(video.thumbnails(np.arange(60), counters=DecodeCounters(), cancel=cancel))
    assert len(look(video, [30])[0]) == 1


def test_a_killed_decoder_is_an_error(clip_of: ClipOf, monkeypatch: pytest.MonkeyPatch) -> None:
    from foveal.connectors.video import isolated

    video = VideoFile(clip_of("quick"), "quick", isolate=True)
    straight = sums(look(video, [100])[0])

    def two_slots(_: int, __: int) -> int:
        return 2

    monkeypatch.setattr("foveal.connectors.video.child.slots_for", two_slots)
    children: list[isolated.Child] = []
    take = isolated.POOL.take

    def note(index: object = None) -> isolated.Child:
        children.append(take())
        return children[-1]

    monkeypatch.setattr(isolated.POOL, "take", note)
    batches = video.thumbnails(np.arange(300), counters=DecodeCounters(), cancel=nothing)
    next(batches)
    os.kill(children[-1].pid, signal.SIGKILL)
    with pytest.raises(OperationalError, match=r"SIGKILL.*frame \d+") as caught:
        list(batches)
    assert caught.value.sqlstate == "58030"
    assert sums(look(video, [100])[0]) == straight


@pytest.mark.assets
@pytest.mark.parametrize(
    "name", ["vtest.avi", "one-by-one-person-detection.mp4", "bangkok_half_res.mp4"]
)
def test_real_clips(name: str, asset: Callable[[str], Path]) -> None:
    video = VideoFile(asset(f"video/{name}"), name, isolate=True)
    count = video.index.frames
    straight, _ = look(video, list(range(count)))
    spread: list[int] = np.linspace(0, count - 1, 12).astype(int).tolist()
    keys: list[int] = np.flatnonzero(video.index.is_key).tolist()
    for wanted in (spread, keys, [count // 2]):
        np.testing.assert_array_equal(look(video, wanted)[0], straight[wanted])
    # What is left out of the deblocking shows nowhere by more than a level or two.
    for number, rgb in _frames(video, spread):
        luma = rgb.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
        height, width = (side // 8 * 8 for side in luma.shape)
        blocks = luma[:height, :width].reshape(8, height // 8, 8, width // 8).mean((1, 3))
        small = straight[number].reshape(8, 12, 8, 12).mean((1, 3))
        assert np.abs(small - blocks).mean() < 3


def _frames(video: VideoFile, frames: list[int]) -> list[tuple[int, Pictures]]:
    counters = DecodeCounters()
    return list(video.read(np.array(frames, np.int64), counters=counters, cancel=nothing))


def _render(path: Path, width: int, height: int, frames: int) -> Path:
    import av

    y, x = np.mgrid[0:height, 0:width]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(  # pyright: ignore[reportUnknownMemberType]
            "libx264", rate=25, options={"crf": "12", "preset": "veryfast", "threads": "1"}
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(frames):
            wave = 128 + 90 * np.sin(x / 23 + i / 5) * np.cos(y / 31 - i / 7)
            wave[(x // 8 + y // 8 + i) % 5 == 0] = 230
            image = np.stack([wave, wave[::-1], wave[:, ::-1]], -1).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path
