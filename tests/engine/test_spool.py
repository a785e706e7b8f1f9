"""The spool gives back what it took in, in memory and from its file, to every reader."""

import gc
import os
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.engine.spool import Spool
from foveal.errors import InterfaceError, OperationalError

SCHEMA = pa.schema([pa.field("n", pa.int64()), pa.field("s", pa.string())])


def batch(*numbers: int) -> pa.RecordBatch:
    columns = {"n": list(numbers), "s": [None if n % 3 == 0 else str(n) for n in numbers]}
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMA)


@given(st.lists(st.lists(st.integers(-5, 5), max_size=6), max_size=8), st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_every_reader_gets_everything(lists: list[list[int]], bound: int) -> None:
    batches = [batch(*numbers) for numbers in lists]
    with Spool(SCHEMA, bound) as spool:
        for each in batches:
            spool.append(each)
        spool.finish()
        assert spool.rows == sum(map(len, lists))
        assert spool.spilled == (sum(each.nbytes for each in batches) > bound)
        expected = pa.Table.from_batches(batches, schema=SCHEMA)
        first, second = spool.reader(), spool.reader()
        if batches:
            assert first.read_next_batch() == batches[0]
            assert first.read_all() == expected.slice(len(lists[0]))
        assert second.schema == SCHEMA
        assert second.read_all() == expected
        assert spool.reader().read_all() == expected


def test_the_file_is_in_the_folder_and_removed(tmp_path: Path) -> None:
    with Spool(SCHEMA, 0, tmp_path) as spool:
        spool.append(batch(1, 2))
        assert len(list(tmp_path.iterdir())) == 1
        spool.finish()
        spool.finish()
        assert spool.reader().read_all().num_rows == 2
        late = spool.reader()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises((InterfaceError, pa.ArrowInvalid), match="closed"):
        late.read_all()
    spool.close()


def test_an_abandoned_spool_leaves_no_file_and_no_handle(tmp_path: Path) -> None:
    counted = Path("/proc/self/fd")
    before = len(os.listdir(counted)) if counted.is_dir() else 0
    with Spool(SCHEMA, 0, tmp_path) as spool:
        spool.append(batch(1, 2))
    spool = Spool(SCHEMA, 0, tmp_path)
    spool.append(batch(1, 2))
    spool.finish()
    reader = spool.reader()
    del spool
    assert reader.read_all().num_rows == 2
    del reader
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    with Spool(SCHEMA, 0, tmp_path) as spool:
        spool.append(batch(1))
        spool.append(batch(2))
        spool.finish()
        half = spool.reader()
        assert half.read_next_batch() == batch(1)
        half.close()
        del half
    assert list(tmp_path.iterdir()) == []
    assert not counted.is_dir() or len(os.listdir(counted)) == before


def test_readers_in_threads(tmp_path: Path) -> None:
    numbers = np.arange(3000).reshape(30, 100)
    sums: list[int] = []
    with Spool(SCHEMA, 1000, tmp_path) as spool:
        for row in numbers:
            spool.append(batch(*row.tolist()))
        spool.finish()

        def read() -> None:
            column = spool.reader().read_all().column("n")
            sums.append(int(column.to_numpy().sum()))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sums == [int(numbers.sum())] * 4


def test_misuse_is_refused(tmp_path: Path) -> None:
    spool = Spool(SCHEMA)
    with pytest.raises(InterfaceError, match="not finished"):
        spool.reader()
    with pytest.raises(InterfaceError, match="another schema"):
        spool.append(pa.RecordBatch.from_pydict({"x": [1]}))
    spool.finish()
    with pytest.raises(InterfaceError, match="no more"):
        spool.append(batch(1))
    assert spool.reader().read_all().num_rows == 0
    spool.close()
    with pytest.raises(InterfaceError, match="closed"):
        spool.reader()
    with (
        Spool(SCHEMA, 0, tmp_path / "missing") as spool,
        pytest.raises(OperationalError) as caught,
    ):
        spool.append(batch(1))
    assert caught.value.sqlstate == "58030"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_full_disk(*_: object) -> tuple[int, str]:
        link = tmp_path / "full.arrow"
        link.symlink_to("/dev/full")
        return os.open(os.devnull, os.O_WRONLY), str(link)

    monkeypatch.setattr("foveal.engine.spool.tempfile.mkstemp", on_full_disk)
    with Spool(SCHEMA, 0) as spool:
        with pytest.raises(OperationalError) as caught:
            spool.append(batch(*range(50_000)))
        assert caught.value.sqlstate == "53100"
        with pytest.raises(InterfaceError, match="no more"):
            spool.append(batch(1))
        with pytest.raises(InterfaceError, match="closed"):
            spool.reader()
    assert list(tmp_path.iterdir()) == []
