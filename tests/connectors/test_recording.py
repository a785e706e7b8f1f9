"""Recording: growing files of three formats, servers that pause and leave, and hostile sources."""

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from foveal.connectors.video.addresses import parse_address
from foveal.connectors.video.recording import Recorded, Recording
from foveal.connectors.video.source import VideoFile
from foveal.errors import FovealError, OperationalError, QueryCanceled
from foveal.planner.protocols import DecodeCounters

Serve = Callable[..., Any]
HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n"


def nothing() -> None:
    """Cancel nothing."""


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Callable[..., Recording]]:
    """Return a function that starts a recording; all are closed when the test ends."""
    started: list[Recording] = []

    def start(source: str, **options: Any) -> Recording:
        options = {"window": 2.0, "stall": 1.0, "reconnect": 2.0, **options}
        started.append(Recording(parse_address(source), tmp_path / "out", **options))
        return started[-1]

    yield start
    for recording in started:
        recording.close()


def windows(recording: Recording) -> list[Recorded]:
    """Return all windows up to the end."""
    found: list[Recorded] = []
    while (window := recording.next(nothing)) is not None:
        found.append(window)
    return found


def frames_of(window: Recorded) -> int:
    return VideoFile(window.path, "x", isolate=False).index.frames


def grow(path: Path, data: bytes, seconds: float) -> threading.Thread:
    """Append `data` to a file in forty pieces."""

    def write() -> None:
        size = -(-len(data) // 40)
        with path.open("ab") as file:
            for at in range(0, len(data), size):
                file.write(data[at : at + size])
                file.flush()
                time.sleep(seconds / 40)

    path.touch()
    thread = threading.Thread(target=write)
    thread.start()
    return thread


def container(clip: Path, form: str) -> bytes:
    """Return the clip's packets in another container."""
    held = io.BytesIO()
    fragments = {"movflags": "+frag_keyframe+empty_moov"} if form == "mp4" else {}
    with av.open(str(clip)) as source, av.open(held, "w", form, options=fragments) as target:
        picture = source.streams.video[0]
        copied = target.add_stream_from_template(picture)
        for packet, _ in zip(source.demux(picture), range(100), strict=False):
            packet.stream = copied
            target.mux_one(packet)
    return held.getvalue()


@pytest.mark.parametrize("form", ["mpegts", "matroska", "mp4"])
def test_a_growing_file_is_cut_into_windows(
    clip: Path, tmp_path: Path, record: Callable[..., Recording], form: str
) -> None:
    file = tmp_path / "growing"
    writer = grow(file, container(clip, form), 1.0)
    recording = record(str(file))
    found = windows(recording)
    writer.join()
    assert recording.ended == "the file no longer grows"
    assert [w.number for w in found] == [0, 1, 2, 3, 4]
    assert [w.ts for w in found] == pytest.approx([0, 2, 4, 6, 8])
    assert [w.seconds for w in found] == pytest.approx([2] * 5)
    assert [(w.received, w.kept, frames_of(w)) for w in found] == [(20, 20, 20)] * 5
    # The pictures are those of the clip, to the bit.
    whole = VideoFile(clip, "clip", isolate=False)
    part = VideoFile(found[2].path, "part", isolate=False)
    wanted = np.array([0, 7, 19])
    mine = part.read(wanted, counters=DecodeCounters(), cancel=nothing)
    theirs = whole.read(wanted + 40, counters=DecodeCounters(), cancel=nothing)
    for (_, a), (_, b) in zip(mine, theirs, strict=True):
        assert (a == b).all()


def test_windows_come_while_the_file_still_grows(
    transport_stream: bytes, tmp_path: Path, record: Callable[..., Recording]
) -> None:
    file = tmp_path / "growing.ts"
    file.write_bytes(transport_stream[: len(transport_stream) // 2])
    recording = record(str(file), stall=60.0)
    first = recording.next(nothing)
    assert first is not None
    assert first.number == 0
    with file.open("ab") as more:
        more.write(transport_stream[len(transport_stream) // 2 :])
    assert [w.number for w in (recording.next(nothing) for _ in range(3)) if w] == [1, 2, 3]


def test_the_same_packets_make_the_same_file(
    transport_stream: bytes, tmp_path: Path, record: Callable[..., Recording]
) -> None:
    file = tmp_path / "a.ts"
    file.write_bytes(transport_stream)
    first = [w.path.read_bytes() for w in windows(record(str(file), stall=0.2))]
    again = [w.path.read_bytes() for w in windows(record(str(file), stall=0.2))]
    assert first == again


def test_it_goes_on_where_it_stood(
    transport_stream: bytes, tmp_path: Path, record: Callable[..., Recording]
) -> None:
    file = tmp_path / "a.ts"
    file.write_bytes(transport_stream)
    before = windows(record(str(file), stall=0.2))
    rest = windows(record(str(file), stall=0.2, first=3, ts=6.0, resume=before[2].dts))
    assert [(w.number, w.ts, w.kept) for w in rest] == [(3, 6, 20), (4, 8, 20)]
    assert not windows(record(str(file), stall=0.2, first=5, resume=before[4].dts))


def test_a_file_that_is_replaced_has_ended(
    transport_stream: bytes, tmp_path: Path, record: Callable[..., Recording]
) -> None:
    file = tmp_path / "a.ts"
    file.write_bytes(transport_stream)
    recording = record(str(file), stall=60.0)
    assert recording.next(nothing) is not None
    file.unlink()
    assert len(windows(recording)) == 4


def test_an_mp4_whose_table_comes_last(
    clip: Path, tmp_path: Path, record: Callable[..., Recording]
) -> None:
    data = clip.read_bytes()
    table = data.index(b"moov") - 4
    assert table > len(data) // 2  # the table stands behind the pictures
    whole, growing = tmp_path / "whole.mp4", tmp_path / "growing.mp4"
    whole.write_bytes(data)
    growing.write_bytes(data[:table])
    assert len(windows(record(str(whole), stall=0.2))) == 10
    with pytest.raises(OperationalError, match="fragmented MP4"):
        record(str(growing), stall=0.2).next(nothing)


# --- servers ------------------------------------------------------------------------------------


def test_a_stream_over_http(
    transport_stream: bytes, serve: Serve, record: Callable[..., Recording]
) -> None:
    server = serve([(transport_stream, 2.0, "close")], head=HTTP, reads=True)
    recording = record(f"http://127.0.0.1:{server.port}/live.ts", reconnect=0.5)
    found = windows(recording)
    assert [(w.received, w.kept) for w in found] == [(20, 20)] * 5
    assert "did not come back" in recording.ended
    assert any("connection lost" in note for note in recording.notes)


def test_a_bare_connection_that_breaks_and_comes_back(
    transport_stream: bytes, serve: Serve, record: Callable[..., Recording]
) -> None:
    # The second connection starts in the middle of a group of pictures: those are dropped.
    middle = transport_stream.index(b"\x47", len(transport_stream) * 55 // 100 // 188 * 188)
    server = serve([(transport_stream, 1.0, "close"), (transport_stream[middle:], 1.0, "close")])
    recording = record(f"tcp://127.0.0.1:{server.port}", reconnect=5.0)
    found: list[Recorded] = []
    while len(found) < 7:
        window = recording.next(nothing)
        assert window is not None
        found.append(window)
    assert any("connected again" in note for note in recording.notes)
    assert [w.number for w in found] == list(range(7))
    after = found[5]
    assert after.received > after.kept  # the pictures before the first keyframe
    assert frames_of(after) <= after.kept
    assert after.ts >= found[4].ts + found[4].seconds


def test_a_source_that_falls_silent_is_lost(
    transport_stream: bytes, serve: Serve, record: Callable[..., Recording]
) -> None:
    half = transport_stream[: len(transport_stream) // 2]
    server = serve([(half, 0.5, "stall")], head=HTTP, reads=True)
    recording = record(f"http://127.0.0.1:{server.port}/x", stall=0.5, reconnect=0.3)
    found = windows(recording)
    assert sum(w.kept for w in found) >= 45
    assert "did not come back" in recording.ended


@pytest.mark.parametrize("scheme", ["http", "tcp", "rtsp"])
def test_a_source_that_nobody_serves(scheme: str, record: Callable[..., Recording]) -> None:
    with pytest.raises(OperationalError, match="cannot be opened") as caught:
        record(f"{scheme}://127.0.0.1:9/x").next(nothing)
    assert caught.value.sqlstate == "58030"


def test_a_missing_camera_and_a_missing_file(record: Callable[..., Recording]) -> None:
    for source in ("camera:99", "/no/such/file.ts"):
        with pytest.raises(OperationalError, match="cannot be opened"):
            record(source).next(nothing)


# --- ends ---------------------------------------------------------------------------------------


def test_closing_ends_the_child_and_leaves_no_pieces(
    transport_stream: bytes, serve: Serve, record: Callable[..., Recording], tmp_path: Path
) -> None:
    server = serve([(transport_stream, 2.0, "stall")])
    recording = record(f"tcp://127.0.0.1:{server.port}", stall=60.0)
    first = recording.next(nothing)
    assert first is not None
    recording.close()
    recording.close()
    with pytest.raises(ProcessLookupError):
        os.kill(recording.pid, 0)
    assert [p.name for p in (tmp_path / "out").iterdir()] == [first.path.name]


def test_waiting_can_be_cancelled(serve: Serve, record: Callable[..., Recording]) -> None:
    server = serve([(b"", 0.0, "stall")])
    recording = record(f"tcp://127.0.0.1:{server.port}", stall=60.0)
    turns = iter(range(3))

    def cancel() -> None:
        if next(turns, None) is None:
            raise QueryCanceled("stop")

    with pytest.raises(QueryCanceled):
        recording.next(cancel)


def test_a_crash_of_the_child_is_an_error(serve: Serve, record: Callable[..., Recording]) -> None:
    server = serve([(b"", 0.0, "stall")])
    recording = record(f"tcp://127.0.0.1:{server.port}", stall=60.0)
    os.kill(recording.pid, 11)
    with pytest.raises(OperationalError, match="SIGSEGV"):
        recording.next(nothing)


# --- hostile sources ----------------------------------------------------------------------------


PLAYLISTS = {
    "hls": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://%s\n#EXT-X-ENDLIST\n",
    "concat": b"ffconcat version 1.0\nfile '%s'\n",
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("by", ["file", "http"])
def test_no_play_list_leads_elsewhere(
    clip: Path, tmp_path: Path, serve: Serve, record: Callable[..., Recording], kind: str, by: str
) -> None:
    text = PLAYLISTS[kind].replace(b"%s", str(clip).encode())
    if by == "file":
        source = tmp_path / "list.ts"
        source.write_bytes(text)
        recording = record(str(source), stall=0.2)
    else:
        server = serve([(text, 0.0, "close")] * 4, head=HTTP, reads=True)
        recording = record(f"http://127.0.0.1:{server.port}/a.m3u8", stall=1.0, reconnect=0.2)
    with pytest.raises(FovealError):
        recording.next(nothing)


def test_no_redirection_leads_to_a_file(
    clip: Path, serve: Serve, record: Callable[..., Recording]
) -> None:
    for target in (f"file://{clip}", f"concat:{clip}", f"subfile,,start,0,end,0,,:{clip}"):
        head = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nConnection: close\r\n\r\n"
        server = serve([(b"", 0.0, "close")] * 4, head=head.encode(), reads=True)
        with pytest.raises(OperationalError):
            record(f"http://127.0.0.1:{server.port}/").next(nothing)
