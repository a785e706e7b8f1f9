"""The thumbnail store keeps what it is given: first wins, reopening, sharing, kills, damage."""

import errno
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from foveal.engine.cache.files import write_durably
from foveal.engine.cache.manifest import Manifest
from foveal.engine.cache.thumbnails import CHUNK, ThumbnailStore
from foveal.errors import DataError, OperationalError
from foveal.planner.protocols import THUMBNAIL

Frames = npt.NDArray[np.int64]
Pictures = npt.NDArray[np.uint8]


def made(frames: Frames | list[int]) -> Pictures:
    """Each frame's picture follows from its number."""
    numbers = np.asarray(frames, np.int64)[:, None, None]
    ramp = np.arange(THUMBNAIL * THUMBNAIL).reshape(THUMBNAIL, THUMBNAIL)
    return (ramp * 7 + numbers * 31 + numbers // 256).astype(np.uint8)


def numbers(*frames: int) -> Frames:
    return np.array(frames, np.int64)


@contextmanager
def opened(folder: Path | None, **options: object) -> Generator[tuple[ThumbnailStore, Manifest]]:
    manifest = Manifest(folder, **options)  # pyright: ignore[reportArgumentType]
    try:
        yield ThumbnailStore(manifest, "path-1"), manifest
    finally:
        manifest.close()


def files(folder: Path) -> list[Path]:
    return sorted((folder / "files").iterdir())


def test_read_back_and_reopened(tmp_path: Path) -> None:
    with opened(tmp_path / "c") as (store, _):
        assert store.kept("v", 3).tolist() == [False] * 3
        store.append("v", numbers(2, 5, 7), made([2, 5, 7]))
        store.append("v", numbers(0, 6), made([0, 6]))
        store.append("w", numbers(1), made([99]))
        assert store.read("v", numbers()).shape == (0, THUMBNAIL, THUMBNAIL)
    with opened(tmp_path / "c") as (store, manifest):
        assert np.flatnonzero(store.kept("v", 9)).tolist() == [0, 2, 5, 6, 7]
        assert store.kept("v", 3).tolist() == [True, False, True]
        for wanted in ([0, 2, 5, 6, 7], [2, 6], [7], [5, 7]):
            np.testing.assert_array_equal(store.read("v", numbers(*wanted)), made(wanted))
        np.testing.assert_array_equal(store.read("w", numbers(1)), made([99]))
        assert ThumbnailStore(manifest, "path-2").kept("v", 9).sum() == 0
        assert store.summary() == [("v", 5, 2, 5 * 9216), ("w", 1, 1, 9216)]


def test_the_first_wins_and_repeating_writes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "c") as (store, _):
        store.append("v", numbers(1, 2), made([1, 2]))
        before = files(tmp_path / "c")
        store.append("v", numbers(1, 2), made([1, 2]))
        assert files(tmp_path / "c") == before
        store.append("v", numbers(1, 2, 3), made([50, 51, 3]))
        np.testing.assert_array_equal(store.read("v", numbers(1, 2, 3)), made([1, 2, 3]))
        assert store.summary()[0][1:3] == (3, 2)


def test_many_frames_in_chunks_and_pieces(tmp_path: Path) -> None:
    count = CHUNK + 600
    every = np.arange(count)
    with opened(tmp_path / "c") as (store, _):
        store.append("v", every, made(every))
        assert store.summary()[0][1:3] == (count, 2)
    with opened(tmp_path / "c") as (store, _):
        for _ in range(2):  # from disk verified, then in pieces
            for wanted in (every[::2], every[::37], every[3000:4200], every[-5:]):
                np.testing.assert_array_equal(store.read("v", wanted), made(wanted))


def test_small_appends_are_merged(tmp_path: Path) -> None:
    order = np.random.default_rng(4).permutation(400).reshape(100, 4)
    with opened(tmp_path / "c") as (store, _), opened(tmp_path / "c") as (other, _):
        for part in order:
            frames = np.sort(part)
            store.append("v", frames, made(frames))
        assert store.summary()[0][2] < 40
        assert len(list((tmp_path / "c" / "files").glob("*.raw"))) == store.summary()[0][2]
        for reader in (store, other):
            every = np.arange(400)
            assert reader.kept("v", 400).all()
            np.testing.assert_array_equal(reader.read("v", every), made(every))


def test_wrong_pictures_and_frames_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "c") as (store, _):
        for frames, pictures, state in (
            (numbers(1, 2), made([1]), "22000"),
            (numbers(2, 1), made([2, 1]), "22000"),
            (numbers(1), made([1]).astype(np.int16), "22000"),
            (numbers(-1), made([1]), "22003"),
        ):
            with pytest.raises(DataError) as caught:
                store.append("v", frames, pictures)  # pyright: ignore[reportArgumentType]
            assert caught.value.sqlstate == state
        assert not store.kept("v", 9).any()
        with pytest.raises(OperationalError, match="not kept, the first is 4") as caught_one:
            store.read("v", numbers(4, 5))
        assert caught_one.value.sqlstate == "58030"


@pytest.mark.parametrize(
    ("harm", "seen"),
    [("altered", False), ("cut", False), ("cut", True), ("gone", False), ("gone", True)],
)
def test_damage_is_noticed_and_forgotten(tmp_path: Path, harm: str, seen: bool) -> None:
    with opened(tmp_path / "c") as (store, manifest):
        store.append("v", numbers(1, 2), made([1, 2]))
        (path,) = files(tmp_path / "c")
        store.append("v", numbers(3), made([3]))
        if not seen:
            manifest.close()
            manifest = Manifest(tmp_path / "c")
            store = ThumbnailStore(manifest, "path-1")
            assert store.kept("v", 4).sum() == 3
        content = path.read_bytes()
        if harm == "altered":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        elif harm == "cut":
            path.write_bytes(content[:-10])
        else:
            path.unlink()
        with pytest.raises(OperationalError) as caught:
            store.read("v", numbers(1, 3))
        assert caught.value.sqlstate == "58030"
        assert [notice.sqlstate for notice in manifest.take_notices()] == ["01000"]
        assert np.flatnonzero(store.kept("v", 4)).tolist() == [3]
        store.append("v", numbers(1, 2), made([1, 2]))
        np.testing.assert_array_equal(store.read("v", numbers(1, 2, 3)), made([1, 2, 3]))
        manifest.close()


def test_a_full_disk_is_an_error_and_nothing_is_left(tmp_path: Path) -> None:
    room = [2]

    def write(path: Path, content: memoryview) -> None:
        if not room[0]:
            path.write_bytes(content[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room[0] -= 1
        write_durably(path, content)

    with opened(tmp_path / "c", write_file=write) as (store, _):
        store.append("v", numbers(1), made([1]))
        store.append("v", numbers(2), made([2]))
        with pytest.raises(OperationalError) as caught:
            store.append("v", numbers(3), made([3]))
        assert caught.value.sqlstate == "53100"
        assert len(files(tmp_path / "c")) == 2
        assert np.flatnonzero(store.kept("v", 5)).tolist() == [1, 2]


def test_a_read_only_folder_is_read_and_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path / "c") as (store, _):
        store.append("v", numbers(1, 2), made([1, 2]))
    before = files(tmp_path / "c")
    with opened(tmp_path / "c", read_only=True) as (store, _):
        store.append("v", numbers(3), made([3]))
        np.testing.assert_array_equal(store.read("v", numbers(1, 2, 3)), made([1, 2, 3]))
    assert files(tmp_path / "c") == before


def test_an_older_manifest_gains_the_table(tmp_path: Path) -> None:
    Manifest(tmp_path / "c").close()
    with sqlite3.connect(tmp_path / "c" / "manifest.sqlite") as connection:
        connection.execute("DROP TABLE thumbnails")
    connection.close()
    with opened(tmp_path / "c") as (store, _):
        store.append("v", numbers(1), made([1]))
        assert store.kept("v", 2).tolist() == [False, True]


def test_threads_and_two_stores_agree(tmp_path: Path) -> None:
    with opened(tmp_path / "c") as (one, _), opened(tmp_path / "c") as (two, _):

        def work(store: ThumbnailStore, seed: int) -> None:
            draw = np.random.default_rng(seed)
            for _ in range(25):
                frames = np.unique(draw.integers(0, 500, 20))
                store.append("v", frames, made(frames))
                np.testing.assert_array_equal(store.read("v", frames), made(frames))

        threads = [threading.Thread(target=work, args=(s, k)) for k, s in enumerate((one, two) * 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for store in (one, two):
            done = np.flatnonzero(store.kept("v", 600))
            assert done.size > 400
            np.testing.assert_array_equal(store.read("v", done), made(done))


WRITER = """
import sys
from pathlib import Path
import numpy as np
from foveal.engine.cache.manifest import Manifest
from foveal.engine.cache.thumbnails import ThumbnailStore

def made(frames):
    numbers = frames[:, None, None]
    ramp = np.arange(96 * 96).reshape(96, 96)
    return (ramp * 7 + numbers * 31 + numbers // 256).astype(np.uint8)

manifest = Manifest(Path(sys.argv[1]))
store = ThumbnailStore(manifest, "path-1")
draw = np.random.default_rng(int(sys.argv[2]))
print("ready", flush=True)
while True:
    frames = np.unique(draw.integers(0, 20_000, 60))
    store.append("v", frames, made(frames))
    print(*frames, flush=True)
"""


def test_killed_writers_lose_only_what_was_in_flight(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    Manifest(folder).close()
    pause = random.Random(3)
    promised: set[int] = set()
    for seed in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(seed)],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(pause.uniform(0.1, 0.4))
            process.kill()
            said = process.stdout.read()
        complete = said[: said.rfind("\n") + 1]
        promised |= {int(number) for number in complete.split()}
    with opened(folder) as (store, manifest):
        kept = np.flatnonzero(store.kept("v", 20_000))
        assert promised <= set(kept.tolist())
        np.testing.assert_array_equal(store.read("v", kept), made(kept))
        assert manifest.take_notices() == []
    with sqlite3.connect(folder / "manifest.sqlite") as connection:
        rows = {name for (name,) in connection.execute("SELECT file FROM thumbnails")}
    connection.close()
    assert {path.name for path in folder.glob("files/*.raw") if path.name[:4] != "tmp-"} == rows
