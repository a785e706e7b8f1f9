"""The detection store keeps what it is given: first wins, empty frames, reopening, sharing."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from foveal.engine.cache.objects import OBJECTS
from foveal.engine.cache.store import SegmentStore
from foveal.errors import DataError, InterfaceError
from foveal.planner.protocols import DetectionStore

if TYPE_CHECKING:
    from foveal.planner.protocols import Frames

Row = tuple[int, int, int, float]


def table(rows: list[Row]) -> pa.Table:
    """Return objects from (frame, ordinal, class, confidence); the box follows from the frame."""
    columns: dict[str, list[float]] = {name: [] for name in OBJECTS.names}
    for frame, ordinal, label, confidence in rows:
        values = (frame, ordinal, label, confidence, frame, ordinal, frame + 1, ordinal + 1)
        for name, value in zip(OBJECTS.names, values, strict=True):
            columns[name].append(value)
    return pa.Table.from_pydict(columns, schema=OBJECTS)


def made(frames: "Frames | list[int]", salt: int = 0) -> pa.Table:
    """Return objects for the frames: frame n has (n + salt) % 4 of them."""
    return table(
        [(int(f), k, (int(f) + k) % 80, 0.5) for f in frames for k in range((int(f) + salt) % 4)]
    )


def numbers(*frames: int) -> "Frames":
    return np.array(frames, dtype=np.int64)


def test_it_is_a_detection_store(tmp_path: Path) -> None:
    with SegmentStore(tmp_path / "c") as store:
        contract: DetectionStore = store
        assert contract.processed("v", "d", 3).tolist() == [False] * 3


def test_read_back_by_frame_and_place(tmp_path: Path) -> None:
    rows = [(7, 1, 3, 0.25), (2, 0, 1, 0.5), (7, 0, 2, 0.75)]
    with SegmentStore(tmp_path / "c") as store:
        store.append("v", "d", numbers(7, 2, 5), table(rows))
        assert store.processed("v", "d", 9).nonzero()[0].tolist() == [2, 5, 7]
        assert store.processed("v", "d", 3).tolist() == [False, False, True]
        found = store.read("v", "d", numbers(2, 5, 7))
        assert found.schema == OBJECTS
        assert found == table([rows[1], rows[2], rows[0]])
        assert store.read("v", "d", numbers(5, 6, 10**6)).num_rows == 0
        assert store.read("v", "other", numbers(7)).num_rows == 0
        assert store.read("other", "d", numbers(7)).num_rows == 0


def test_the_first_append_wins(tmp_path: Path) -> None:
    with SegmentStore(tmp_path / "c") as store:
        store.append("v", "d", numbers(1, 2), made([1, 2]))
        store.append("v", "d", numbers(2, 3), made([2, 3], salt=1))
        store.append("v", "d", numbers(1, 2, 3), made([1, 2, 3], salt=2))
        expected = pa.concat_tables([made([1, 2]), made([3], salt=1)]).combine_chunks()
        assert store.read("v", "d", numbers(1, 2, 3)) == expected
        assert store.summary()[0][2:5] == (3, expected.num_rows, 2)


def test_reopened_and_shared(tmp_path: Path) -> None:
    with SegmentStore(tmp_path / "c") as one, SegmentStore(tmp_path / "c") as two:
        assert not two.processed("v", "d", 4).any()
        one.append("v", "d", numbers(1), made([1]))
        assert two.processed("v", "d", 4).tolist() == [False, True, False, False]
        two.append("v", "d", numbers(1, 3), made([1, 3], salt=1))
        assert one.read("v", "d", numbers(1, 3)) == table(
            [(1, 0, 1, 0.5)]
        )  # frame 3 with salt 1 has (3 + 1) % 4 = 0 objects
        assert one.processed("v", "d", 4).tolist() == [False, True, False, True]
    with SegmentStore(tmp_path / "c") as again:
        assert again.processed("v", "d", 4).tolist() == [False, True, False, True]
        assert again.take_notices() == []
    assert {f.name for f in (tmp_path / "c").iterdir()} == {"manifest.sqlite", "files"}


def test_compaction_changes_no_answer(tmp_path: Path) -> None:
    with SegmentStore(tmp_path / "c") as store, SegmentStore(tmp_path / "c") as other:
        for frame in (4, 1, 3, 0, 9):
            store.append("v", "d", numbers(frame), made([frame]))
        store.append("w", "d", numbers(1), made([1]))
        before = other.read("v", "d", np.arange(10))
        assert store.compact() == 4
        assert store.compact() == 0
        assert store.summary()[0][2:5] == (5, before.num_rows, 1)
        for reader in (store, other):
            assert reader.read("v", "d", np.arange(10)) == before
            assert reader.processed("v", "d", 10).sum() == 5
        assert len(list((tmp_path / "c" / "files").iterdir())) == 2


def test_many_small_appends_are_merged_unasked(tmp_path: Path) -> None:
    with SegmentStore(tmp_path / "c") as store:
        for frame in range(100):
            store.append("v", "d", numbers(frame), made([frame]))
        assert store.summary()[0][4] < 40
        assert store.read("v", "d", np.arange(100)) == made(np.arange(100))


def test_threads_share_one_store(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def work(store: SegmentStore, seed: int) -> None:
        random = np.random.default_rng(seed)
        try:
            for _ in range(15):
                frames = np.unique(random.integers(0, 200, 12))
                store.append("v", "d", frames, made(frames))
                done = store.processed("v", "d", 200).nonzero()[0]
                assert store.read("v", "d", done) == made(done)
        except BaseException as error:
            failures.append(error)

    with SegmentStore(tmp_path / "c") as store:
        threads = [threading.Thread(target=work, args=(store, seed)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        summary = store.summary()[0]
        assert summary[2] == store.processed("v", "d", 200).sum()


@pytest.mark.parametrize(
    ("frames", "objects", "state"),
    [
        ([-1], made([]), "22003"),
        ([2**40], made([]), "22003"),
        ([1], made([2]), "22000"),
        ([1], made([1]).drop_columns(["xmin"]), "22000"),
        ([1], pa.Table.from_pydict({**made([1]).to_pydict(), "frame": [None]}), "22000"),
        ([1], pa.Table.from_pydict({**made([1]).to_pydict(), "class": ["car"]}), "22000"),
    ],
)
def test_wrong_appends_are_refused(
    tmp_path: Path, frames: list[int], objects: pa.Table, state: str
) -> None:
    with SegmentStore(tmp_path / "c") as store:
        with pytest.raises(DataError) as caught:
            store.append("v", "d", np.array(frames), objects)
        assert caught.value.sqlstate == state
        assert store.summary() == []


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = SegmentStore(tmp_path / "c")
    store.close()
    store.close()
    with pytest.raises(InterfaceError, match="closed"):
        store.processed("v", "d", 1)


@given(
    st.lists(st.sets(st.integers(0, 300), max_size=40), max_size=6),
    st.sets(st.integers(0, 400), max_size=60),
)
@settings(max_examples=25, deadline=None)
def test_any_frames_read_back(appends: list[set[int]], wanted: set[int]) -> None:
    with SegmentStore(None) as store:
        kept: set[int] = set()
        for frames in appends:
            store.append("v", "d", np.array(sorted(frames), dtype=np.int64), made(sorted(frames)))
            kept |= frames
        assert set(store.processed("v", "d", 500).nonzero()[0].tolist()) == kept
        found = store.read("v", "d", np.array(sorted(wanted), dtype=np.int64))
        assert found == made(sorted(wanted & kept))


KEYS = st.sampled_from([("v", "d"), ("v", "e"), ("w", "d")])
FRAMES = st.sets(st.integers(0, 60), max_size=20)


class StoreMachine(RuleBasedStateMachine):
    """Two stores on one folder behave as one dictionary from (key, frame) to a salt."""

    @initialize()
    def start(self) -> None:
        self.home = SegmentStore(None)  # its temporary folder holds the shared one
        self.folder = self.home.manifest.folder / "shared"
        self.stores = [SegmentStore(self.folder), SegmentStore(self.folder)]
        self.model: dict[tuple[tuple[str, str], int], int] = {}

    @rule(who=st.integers(0, 1), key=KEYS, frames=FRAMES, salt=st.integers(0, 3))
    def append(self, who: int, key: tuple[str, str], frames: set[int], salt: int) -> None:
        listed = sorted(frames)
        self.stores[who].append(*key, np.array(listed, dtype=np.int64), made(listed, salt))
        for frame in listed:
            self.model.setdefault((key, frame), salt)

    @rule(who=st.integers(0, 1), key=KEYS, frames=FRAMES)
    def read(self, who: int, key: tuple[str, str], frames: set[int]) -> None:
        known = [f for f in sorted(frames) if (key, f) in self.model]
        pieces = [made([f], self.model[key, f]) for f in known]
        found = self.stores[who].read(*key, np.array(sorted(frames), dtype=np.int64))
        assert found == pa.concat_tables([OBJECTS.empty_table(), *pieces]).combine_chunks()

    @rule(who=st.integers(0, 1))
    def compact(self, who: int) -> None:
        self.stores[who].compact()

    @rule(who=st.integers(0, 1))
    def reopen(self, who: int) -> None:
        self.stores[who].close()
        self.stores[who] = SegmentStore(self.folder)

    @rule(who=st.integers(0, 1), key=KEYS)
    def processed(self, who: int, key: tuple[str, str]) -> None:
        found = self.stores[who].processed(*key, 70).nonzero()[0].tolist()
        assert found == sorted(f for k, f in self.model if k == key)

    @invariant()
    def no_notice(self) -> None:
        for store in getattr(self, "stores", []):
            assert store.take_notices() == []

    def teardown(self) -> None:
        for store in [
            *getattr(self, "stores", []),
            *([self.home] if hasattr(self, "home") else []),
        ]:
            store.close()


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
