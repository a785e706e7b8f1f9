"""What all tests share: a private cache directory, and the real clips and detectors where given."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

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
