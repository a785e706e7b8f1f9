"""What all tests share: a private cache directory, and the real clips and detectors where given."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

AssetPath = Callable[[str], Path]

# What lands must not depend on the luck of a draw; other runs explore.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# A shell's background job starts with Ctrl-C ignored, and so would the programs that tests start.
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    and threading.current_thread() is threading.main_thread()
):
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the user's own cache directory out of the tests, and the tests out of it."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        yield folder


@pytest.fixture(scope="session")
def asset() -> AssetPath:
    """Return a function from an asset's name ("video/vtest.avi") to its path.

    The function skips the test where no folder of FOVEAL_ASSETS holds the asset.
    """
    folders = [Path(part) for part in os.environ.get("FOVEAL_ASSETS", "").split(os.pathsep) if part]

    def find(name: str) -> Path:
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
        pytest.skip(f"no folder of FOVEAL_ASSETS holds {name}")

    return find


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a rendered street of known content: 200 frames at 10 per second, cars and people."""
    from foveal.connectors.video import scene

    path = tmp_path_factory.mktemp("clip") / "street.mp4"
    scene.render(path, seed=7, seconds=20, fps=10, gop=20)
    return path


@pytest.fixture(scope="session")
def transport_stream(clip: Path) -> bytes:
    """Return ten seconds of the rendered street as an MPEG-TS: a keyframe every two seconds."""
    import io

    import av

    held = io.BytesIO()
    with av.open(str(clip)) as source, av.open(held, "w", format="mpegts") as target:
        picture = source.streams.video[0]
        copied = target.add_stream_from_template(picture)
        for packet, _ in zip(source.demux(picture), range(100), strict=False):
            packet.stream = copied
            target.mux_one(packet)
    return held.getvalue()


class StreamServer:
    """Sends pieces of bytes, evenly over time, to whoever connects: one script per connection.

    A script is (bytes, seconds, "close" or "stall"). After the last script nobody is let in.
    `head` is sent first (an HTTP answer's head, say); with `reads` a request is read before.
    """

    def __init__(
        self, scripts: list[tuple[bytes, float, str]], *, head: bytes = b"", reads: bool = False
    ) -> None:
        self._scripts = list(scripts)
        self._head = head
        self._reads = reads
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(30)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self._server = server
        self.port = int(server.sockets[0].getsockname()[1])
        self._tasks: set[asyncio.Task[object]] = set()
        self._ready.set()
        await self._end.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            if self._reads:
                await reader.readuntil(b"\r\n\r\n")
            data, seconds, after = self._scripts.pop(0)
            if not self._scripts:
                self._server.close()
            writer.write(self._head)
            pieces = 40
            size = -(-len(data) // pieces) or 1
            for at in range(0, len(data), size):
                writer.write(data[at : at + size])
                await writer.drain()
                await asyncio.sleep(seconds / pieces)
            if after == "stall":
                await self._end.wait()
        writer.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)


@pytest.fixture
def serve() -> Iterator[Callable[..., StreamServer]]:
    """Return a function that starts a `StreamServer`; all are closed when the test ends."""
    started: list[StreamServer] = []

    def start(scripts: list[tuple[bytes, float, str]], **options: Any) -> StreamServer:
        started.append(StreamServer(scripts, **options))
        return started[-1]

    yield start
    for server in started:
        server.close()
