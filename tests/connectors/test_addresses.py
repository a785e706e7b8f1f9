"""Addresses of streams: what is a source, what is refused, and what FFmpeg may open for each."""

from pathlib import Path

import pytest

from foveal.connectors.video.addresses import PROTOCOLS, Address, parse_address
from foveal.errors import DataError


@pytest.mark.parametrize(
    ("source", "scheme", "text"),
    [
        ("/var/cam/growing.ts", "file", "/var/cam/growing.ts"),
        ("file:///var/cam/growing.ts", "file", "/var/cam/growing.ts"),
        ("file:/var/cam/a b.mkv", "file", "/var/cam/a b.mkv"),
        ("FILE:///a.ts", "file", "/a.ts"),
        ("camera:0", "camera", "0"),
        ("http://host/live.ts?token=1", "http", "http://host/live.ts?token=1"),
        ("https://user:pass@host:8443/x", "https", "https://user:pass@host:8443/x"),
        ("rtsp://10.0.0.7:554/stream1", "rtsp", "rtsp://10.0.0.7:554/stream1"),
        ("tcp://127.0.0.1:9000", "tcp", "tcp://127.0.0.1:9000"),
        ("udp://@:1234", "udp", "udp://@:1234"),
        ("udp://239.0.0.1:1234", "udp", "udp://239.0.0.1:1234"),
    ],
)
def test_sources(source: str, scheme: str, text: str) -> None:
    address = parse_address(source)
    assert (address.scheme, address.text) == (scheme, text)
    assert address.live == (scheme != "file")


def test_a_relative_path_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_address("cam/a.ts") == Address("file", str(tmp_path / "cam" / "a.ts"))
    for name in ("concat:a.ts", "subfile,,start,0,end,9,,:/etc/passwd"):
        assert parse_address(f"./{name}") == Address("file", str(tmp_path / name))
    odd = "subfile,,start,0,end,9,,:/etc/passwd"  # no scheme holds a comma: a file's name
    assert parse_address(odd) == Address("file", str(tmp_path / odd))


@pytest.mark.parametrize(
    "source",
    [
        "", " ", "a\nb", "a\0b",
        "concat:/etc/passwd|/etc/hosts",
        "concatf:/etc/passwd",
        "subfile:x",
        "pipe:0", "fd:0", "data:text/plain,x", "cache:http://h/x", "crypto:/etc/passwd",
        "async:http://h/", "hls+http://h/x.m3u8", "tee:a", "md5:", "gopher://h/", "ftp://h/x",
        "sftp://h/x", "smb://h/x", "srt://h:1", "rtmp://h/x", "unix:/tmp/sock", "lavfi:testsrc",
        "tls://h:1", "httpproxy://h", "mmsh://h", "rtp://h:1", "ipfs://x",
        "http:", "http://", "http:///x", "http:x", "rtsp:/h", "tcp://", "tcp://h", "udp://h",
        "tcp://h:port", "tcp://h:99999",
        "tcp://0.0.0.0:80?listen=1", "udp://h:1?localaddr=1.2.3.4", "tcp://h:1?listen",
        "camera:", "camera:/dev/video0", "camera:0:1", "camera:-1",
        "file://other/host.ts", "file:", "file://host",
    ],
)  # fmt: skip
def test_what_is_refused(source: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_address(source)
    assert caught.value.sqlstate == "22023"
    assert "rtsp://" in (caught.value.hint or "")


def test_a_password_is_not_shown() -> None:
    address = parse_address("rtsp://admin:secret@10.0.0.7/1")
    assert address.shown == "rtsp://admin:***@10.0.0.7/1"
    assert parse_address("http://h/secret@x").shown == "http://h/secret@x"


def test_no_scheme_may_open_files() -> None:
    for allowed in PROTOCOLS.values():
        assert not set(allowed.split(",")) & {"file", "concat", "subfile", "pipe", "data", "crypto"}
