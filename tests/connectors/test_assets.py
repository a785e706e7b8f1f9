"""Assets: the order in which they are looked for, and downloads that are checked or refused."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from foveal.connectors import assets
from foveal.errors import OperationalError

CONTENT = bytes(range(256)) * 1000


class _Publisher(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def publisher() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Publisher)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """Working directory, a folder of FOVEAL_ASSETS, the cache."""
    cwd, given, cache = (tmp_path / name for name in ("cwd", "given", "cache"))
    for folder in (cwd, given / "models", cache / "assets"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(cwd)
    monkeypatch.setenv("FOVEAL_ASSETS", str(given))
    monkeypatch.setenv("FOVEAL_CACHE_DIR", str(cache))
    return cwd, given, cache


def _asset(url: str) -> assets.Asset:
    digest = hashlib.sha256(CONTENT).hexdigest()
    return assets.Asset("thing.onnx", "detector", url, digest, len(CONTENT), "none")


def test_nearer_places_win(places: tuple[Path, Path, Path]) -> None:
    cwd, given, cache = places
    assert assets.find("yolox_nano.onnx") is None
    expected = cache / "assets" / "yolox_nano.onnx"
    for path in (expected, given / "models" / "yolox_nano.onnx", cwd / "yolox_nano.onnx"):
        path.write_bytes(b"x")
        assert assets.find("yolox_nano.onnx") == path
        assert assets.resolve("yolox_nano.onnx") == path
    assert assets.find("yolox_nano") == cwd / "yolox_nano.onnx"
    assert assets.find("yolox_nano", kinds=["clip"]) is None
    assert assets.find(str(expected)) == expected


def test_unknown_names_hint(places: tuple[Path, Path, Path]) -> None:
    with pytest.raises(OperationalError) as caught:
        assets.resolve("yolox_nan.onnx")
    assert caught.value.sqlstate == "58P01"
    assert caught.value.hint == 'did you mean "yolox_nano.onnx"?'


def test_download_arrives_whole_with_progress(
    places: tuple[Path, Path, Path], publisher: str
) -> None:
    seen: list[int] = []
    path = assets.fetch(
        _asset(publisher + "/thing"), progress=lambda name, done, total: seen.append(done)
    )
    assert path.read_bytes() == CONTENT
    assert seen == sorted(seen)
    assert seen[-1] == len(CONTENT)
    assert assets.find("thing") == path


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"size": 1000}])
def test_another_content_is_refused(
    places: tuple[Path, Path, Path], publisher: str, change: dict[str, str | int]
) -> None:
    with pytest.raises(OperationalError) as caught:
        assets.fetch(replace(_asset(publisher + "/thing"), **change))  # pyright: ignore[reportArgumentType]
    assert caught.value.sqlstate == "58030"
    assert list((places[2] / "assets").iterdir()) == []


@pytest.mark.parametrize("path", ["/missing", None])
def test_a_failed_download_teaches(
    places: tuple[Path, Path, Path], publisher: str, path: str | None
) -> None:
    url = publisher + path if path else "http://127.0.0.1:9/nobody"
    with pytest.raises(OperationalError) as caught:
        assets.fetch(_asset(url))
    assert caught.value.sqlstate == "58000"
    assert "FOVEAL_ASSETS" in str(caught.value.hint)
    assert list((places[2] / "assets").iterdir()) == []


def test_a_stopped_download_leaves_nothing(places: tuple[Path, Path, Path], publisher: str) -> None:
    def stop(name: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        assets.fetch(_asset(publisher + "/thing"), progress=stop)
    assert list((places[2] / "assets").iterdir()) == []


def test_pins_are_full_hashes() -> None:
    for asset in assets.ASSETS:
        assert len(bytes.fromhex(asset.sha256)) == 32
        assert asset.url.startswith("https://")


@pytest.mark.assets
def test_pins_match_the_copies_at_hand() -> None:
    present = [(asset, assets.find(asset.name)) for asset in assets.ASSETS]
    if not any(path for _, path in present):
        pytest.skip("no folder of FOVEAL_ASSETS holds an asset")
    for asset, path in present:
        if path is not None:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == asset.sha256, path
            assert path.stat().st_size == asset.size
