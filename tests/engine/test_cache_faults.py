"""The cache under faults: kills, several writers, damaged files, a full disk, a folder not ours."""

import errno
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from foveal.engine.cache.artifacts import ArtifactStore
from foveal.engine.cache.files import write_durably
from foveal.engine.cache.objects import OBJECTS
from foveal.engine.cache.store import SegmentStore
from foveal.errors import OperationalError

WRITER = """
import sys
from pathlib import Path
import numpy as np
import pyarrow as pa
from foveal.engine.cache.objects import OBJECTS
from foveal.engine.cache.store import SegmentStore

def made(frames):
    rows = [(f, k) for f in frames for k in range(f * 7919 % 4)]
    columns = {name: [f * 31 % 97 + k for f, k in rows] for name in OBJECTS.names}
    columns.update(frame=[f for f, _ in rows], ordinal=[k for _, k in rows])
    return pa.Table.from_pydict(columns, schema=OBJECTS)

def main():
    folder, seed, appends = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    random = np.random.default_rng(seed)
    print("ready", flush=True)
    with SegmentStore(folder) as store:
        for number in range(appends):
            frames = np.unique(random.integers(0, 5000, 8))
            store.append("v", "d", frames, made(frames.tolist()))
            print(*frames, flush=True)
            if number % 10 == 9:
                store.compact()

if __name__ == "__main__":
    main()
"""
_namespace: dict[str, object] = {"__name__": "writer"}
exec(WRITER, _namespace)
made: Callable[[list[int]], pa.Table] = _namespace["made"]  # pyright: ignore[reportAssignmentType]


@contextmanager
def writer(folder: Path, seed: int, appends: int) -> Generator[subprocess.Popen[str]]:
    """Run a writer; it is past its imports, and killed at the end if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(seed), str(appends)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def check(store: SegmentStore) -> int:
    """Read everything back, compare with the generator, return the number of frames."""
    done = store.processed("v", "d", 6000).nonzero()[0]
    assert store.read("v", "d", done) == made(done.tolist())
    assert store.take_notices() == []
    return int(done.size)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_at_any_moment(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    chance = random.Random(7)
    promised: set[int] = set()
    for kill in range(25):
        with writer(folder, kill, 10**6) as process:  # leaving it sends SIGKILL
            assert process.stdout is not None
            for _ in range(chance.randrange(6)):
                promised |= {int(frame) for frame in process.stdout.readline().split()}
            time.sleep(chance.uniform(0.0, 0.01))
        with SegmentStore(folder) as store:
            summary = store.summary()
            assert check(store) == sum(row[2] for row in summary)
            assert promised <= set(store.processed("v", "d", 6000).nonzero()[0].tolist())
            assert store.read("v", "d", np.arange(6000)).num_rows == sum(row[3] for row in summary)
            named = {
                row[0] for row in store.manifest.connection.execute("SELECT file FROM segments")
            }
        left = {f.name for f in (folder / "files").iterdir() if not f.name.startswith("tmp-")}
        assert left == named
    assert len(promised) > 25


def test_three_processes_write_at_once(tmp_path: Path) -> None:
    with ExitStack() as stack:
        store = stack.enter_context(SegmentStore(tmp_path / "c"))
        processes = [stack.enter_context(writer(tmp_path / "c", n, 40)) for n in range(3)]
        promised: set[int] = set()
        for _ in range(40):
            for process in processes:
                assert process.stdout is not None
                promised |= {int(frame) for frame in process.stdout.readline().split()}
            assert promised <= set(store.processed("v", "d", 6000).nonzero()[0].tolist())
            check(store)
        assert [process.wait() for process in processes] == [0, 0, 0]
        expected: set[int] = set()
        for generator in map(np.random.default_rng, range(3)):
            for _ in range(40):
                expected |= set(np.unique(generator.integers(0, 5000, 8)).tolist())
        assert promised == expected
        assert check(store) == len(expected)
        assert store.summary()[0][2] == len(expected)


def filled(folder: Path) -> list[Path]:
    """Write frames 0..9 and 10..19 as two segments; return their files in this order."""
    files: list[Path] = []
    with SegmentStore(folder) as store:
        for start in (0, 10):
            frames = list(range(start, start + 10))
            store.append("v", "d", np.array(frames), made(frames))
            (new,) = set((folder / "files").iterdir()) - set(files)
            files.append(new)
    return files


def cut_short(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize("harm", [cut_short, flip_a_bit, Path.unlink])
def test_a_damaged_segment_counts_as_not_processed(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    first, _ = filled(tmp_path / "c")
    harm(first)
    with SegmentStore(tmp_path / "c") as store:
        assert store.processed("v", "d", 20).nonzero()[0].tolist() == list(range(10, 20))
        (notice,) = store.take_notices()
        assert (notice.severity, "damaged" in notice.message) == ("WARNING", True)
        assert store.read("v", "d", np.arange(20)) == made(list(range(10, 20)))
        store.append("v", "d", np.arange(10), made(list(range(10))))
    with SegmentStore(tmp_path / "c") as store:
        assert check(store) == 20
        assert len(list((tmp_path / "c" / "files").iterdir())) == 2


def test_damage_after_the_promise_is_an_error_once(tmp_path: Path) -> None:
    first, second = filled(tmp_path / "c")
    with SegmentStore(tmp_path / "c") as store, SegmentStore(tmp_path / "c") as other:
        assert store.processed("v", "d", 20).all()
        assert other.processed("v", "d", 20).all()
        for each in (store, other):
            each._tables.clear()  # pyright: ignore[reportPrivateUsage]
        flip_a_bit(first)
        with pytest.raises(OperationalError, match="10 frames are damaged") as caught:
            store.read("v", "d", np.arange(20))
        assert caught.value.sqlstate == "58030"
        assert len(store.take_notices()) == 1
        # The other store learns of it from the manifest and does not pass them off as empty.
        with pytest.raises(OperationalError, match="10 frames are damaged"):
            other.read("v", "d", np.arange(20))
        for each in (store, other):
            assert each.processed("v", "d", 20).nonzero()[0].tolist() == list(range(10, 20))
        store.append("v", "d", np.arange(10), made(list(range(10))))
        for each in (store, other):
            assert check(each) == 20
    assert second.exists()


def test_merging_around_a_damaged_segment(tmp_path: Path) -> None:
    first, _ = filled(tmp_path / "c")
    with SegmentStore(tmp_path / "c") as store:
        assert store.processed("v", "d", 20).all()
        store._tables.clear()  # pyright: ignore[reportPrivateUsage]
        first.unlink()
        assert store.compact() == 0
        assert store.processed("v", "d", 20).nonzero()[0].tolist() == list(range(10, 20))


def test_a_merge_elsewhere_is_no_damage(tmp_path: Path) -> None:
    filled(tmp_path / "c")
    with SegmentStore(tmp_path / "c") as store, SegmentStore(tmp_path / "c") as other:
        assert store.processed("v", "d", 20).all()
        store._tables.clear()  # pyright: ignore[reportPrivateUsage]
        index = store._indexes["v", "d"]  # pyright: ignore[reportPrivateUsage]
        stale = index.segments.copy()
        assert other.compact() == 1
        for segment in stale.values():
            with pytest.raises(Exception, match="missing"):
                store._tables.read(segment)  # pyright: ignore[reportPrivateUsage]
        assert check(store) == 20


class FailingDisk:
    """A disk that fills up after some writes: the write leaves half a file and raises."""

    def __init__(self, writes: int, code: int) -> None:
        self.writes = writes
        self.code = code

    def __call__(self, path: Path, content: memoryview) -> None:
        self.writes -= 1
        if self.writes < 0:
            path.write_bytes(content[: len(content) // 2])
            raise OSError(self.code, os.strerror(self.code))
        write_durably(path, content)


@pytest.mark.parametrize(("code", "state"), [(errno.ENOSPC, "53100"), (errno.EIO, "58030")])
def test_a_failing_write_keeps_the_store_usable(tmp_path: Path, code: int, state: str) -> None:
    disk = FailingDisk(1, code)
    with SegmentStore(tmp_path / "c", write_file=disk) as store:
        store.append("v", "d", np.arange(10), made(list(range(10))))
        with pytest.raises(OperationalError) as caught:
            store.append("v", "d", np.arange(20), made(list(range(20))))
        assert caught.value.sqlstate == state
        assert caught.value.hint
        with pytest.raises(OperationalError):
            ArtifactStore(store.manifest).put("tracks", "k", made([1]))
        assert check(store) == 10
        assert len(list((tmp_path / "c" / "files").iterdir())) == 1
        disk.writes = 10
        store.append("v", "d", np.arange(20), made(list(range(20))))
        assert check(store) == 20


def test_a_full_disk_while_merging_is_a_notice(tmp_path: Path) -> None:
    with SegmentStore(tmp_path / "c", write_file=FailingDisk(32, errno.ENOSPC)) as store:
        for frame in range(32):
            store.append("v", "d", np.array([frame]), made([frame]))
        (notice,) = store.take_notices()
        assert "could not be merged" in notice.message
        assert check(store) == 32


def test_leftovers_are_swept_and_fresh_temporaries_left_alone(tmp_path: Path) -> None:
    filled(tmp_path / "c")
    files = tmp_path / "c" / "files"
    orphan, old, young, foreign = (
        files / name for name in ("0.arrow", "tmp-1.arrow", "tmp-2.arrow", "README")
    )
    for file in (orphan, old, young, foreign):
        file.write_bytes(b"x")
    os.utime(old, (0, 0))
    with SegmentStore(tmp_path / "c") as store:
        assert check(store) == 20
    assert [f.exists() for f in (orphan, old, young, foreign)] == [False, False, True, True]


def test_a_temporary_file_that_was_swept_is_written_again(tmp_path: Path) -> None:
    def swept(path: Path, content: memoryview) -> None:
        write_durably(path, content)
        if not seen:
            path.unlink()
        seen.append(path)

    seen: list[Path] = []
    with SegmentStore(tmp_path / "c", write_file=swept) as store:
        store.append("v", "d", np.arange(10), made(list(range(10))))
        assert check(store) == 10
    assert len(seen) == 2


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    filled(tmp_path / "c")
    with sqlite3.connect(tmp_path / "c" / "manifest.sqlite") as connection:
        connection.execute("UPDATE meta SET value = 2 WHERE name = 'format_version'")
    connection.close()
    for read_only in (False, True):
        with pytest.raises(OperationalError, match="made by a newer foveal") as caught:
            SegmentStore(tmp_path / "c", read_only=read_only)
        assert caught.value.sqlstate == "58000"
        assert caught.value.hint


def test_read_only_reads_what_is_there_and_adds_nothing(tmp_path: Path) -> None:
    files = filled(tmp_path / "c")
    before = {f: f.read_bytes() for f in [*files, tmp_path / "c" / "manifest.sqlite"]}
    with SegmentStore(tmp_path / "c", read_only=True) as store:
        (notice,) = store.take_notices()
        assert "not written to" in notice.message
        temporary = store.manifest.folder
        assert check(store) == 20
        store.append("v", "d", np.arange(15, 30), made(list(range(15, 30))))
        store.compact()
        assert check(store) == 30
    assert not temporary.exists()
    assert {f: f.read_bytes() for f in before} == before
    with SegmentStore(tmp_path / "c") as store:
        assert check(store) == 20


@pytest.mark.parametrize("read_only", [True, False])
def test_without_a_usable_folder_the_cache_is_cold(tmp_path: Path, read_only: bool) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    folder = tmp_path / "missing" if read_only else in_the_way / "c"
    with SegmentStore(folder, read_only=read_only) as store:
        assert "starts cold" in store.take_notices()[0].message
        store.append("v", "d", np.arange(5), made(list(range(5))))
        assert check(store) == 5
    assert not folder.exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions bind no superuser")
def test_a_folder_without_write_permission(tmp_path: Path) -> None:
    filled(tmp_path / "c")
    folders = [tmp_path / "c" / "files", tmp_path / "c"]
    try:
        for folder in folders:
            folder.chmod(0o500)
        with SegmentStore(tmp_path / "c") as store:
            assert len(store.take_notices()) == 1
            assert check(store) == 20
    finally:
        for folder in folders:
            folder.chmod(0o700)


def test_a_ruined_manifest_starts_cold(tmp_path: Path) -> None:
    filled(tmp_path / "c")
    (tmp_path / "c" / "manifest.sqlite").write_bytes(b"this is no database" * 1000)
    with SegmentStore(tmp_path / "c") as store:
        assert "starts cold" in store.take_notices()[0].message
        assert not store.processed("v", "d", 20).any()
        store.append("v", "d", np.arange(20), made(list(range(20))))
        assert check(store) == 20


def test_a_locked_manifest_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foveal.engine.cache.manifest.LOCK_SECONDS", 0.05)
    filled(tmp_path / "c")
    locker = sqlite3.connect(tmp_path / "c" / "manifest.sqlite", isolation_level=None)
    with SegmentStore(tmp_path / "c") as store:
        locker.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError) as caught:
            store.append("v", "d", np.array([50]), made([50]))
        assert caught.value.sqlstate == "55P03"
        assert check(store) == 20
        locker.execute("ROLLBACK")
        store.append("v", "d", np.array([50]), made([50]))
        assert check(store) == 21
    locker.close()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts handles in /proc")
def test_no_handles_are_left(tmp_path: Path) -> None:
    filled(tmp_path / "c")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with SegmentStore(tmp_path / "c") as store:
            assert check(store) == 20
    assert len(os.listdir("/proc/self/fd")) == before


def test_made_has_the_stored_columns() -> None:
    assert made([1, 2, 3]).schema == OBJECTS
