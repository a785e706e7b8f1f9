"""Arrow columns become flat buffers and come back the same, slices and NULLs included."""

import datetime
from decimal import Decimal as D
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from foveal.engine.compile.arrow import column_data, to_arrow, unpack_validity, wide_integers
from foveal.engine.compile.data import ColumnData, KernelError
from foveal.planner.ir.types import DATE, I128, Code, Decimal

DAYS = [datetime.date(1970, 1, 1), None, datetime.date(1992, 2, 29), datetime.date(1, 1, 1)]
MOMENTS = [datetime.datetime(2024, 5, 6, 7, 8, 9, 10), None, datetime.datetime(1900, 1, 1), None]
ARRAYS: list[Any] = [
    pa.array([True, None, False, True]),
    pa.array([1, None, -128, 127], pa.int8()),
    pa.array([1, 2**64 - 1, 0, 3], pa.uint64()),
    pa.array([1.5, None, float("inf"), -0.0]),
    pa.array([1.5, None, 2.5, -0.0], pa.float32()),
    pa.array([D("1.25"), None, D("-99.99"), D("0.01")], pa.decimal128(4, 2)),
    pa.array([D("1.25"), None, D("-9.99"), D("0.01")], pa.decimal32(9, 2)),
    pa.array([D("1.25"), None, D(10) ** 30, -(D(10) ** 30)], pa.decimal128(38, 2)),
    pa.array(DAYS, pa.date32()),
    pa.array(MOMENTS, pa.timestamp("us")),
    pa.array(["b", None, "a", "b"]),
    pa.array(["b", None, "a", "b"]).dictionary_encode(),
]


def back(data: ColumnData) -> Any:
    """Return the column as Arrow again."""
    valid = unpack_validity(data.validity, data.rows)
    return to_arrow(data.values, valid, data.type, data.dictionary)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: str(a.type))
def test_there_and_back(array: Any) -> None:
    """Whole, sliced, chunked and empty columns keep their values."""
    for taken in (array, array.slice(1), array.slice(1, 2), array.slice(0, 0)):
        assert back(column_data(taken)).to_pylist() == taken.to_pylist()
    chunks = pa.chunked_array([array.slice(2), array.slice(0, 3)])
    assert back(column_data(chunks)).to_pylist() == chunks.to_pylist()


def test_bitmaps_are_whole_words_and_invalid_rows_hold_zero() -> None:
    """Kernels read 64 bits at a time, and never see what Arrow left under a NULL."""
    data = column_data(pa.array([7, None, 9] * 30).slice(1))
    assert data.validity is not None
    assert data.validity.nbytes % 8 == 0
    assert data.values[0] == 0
    assert (data.low, data.high) == (7, 9)


def test_codes_are_in_order() -> None:
    """Sorted by bytes, or in the order given; doubled and NULL entries fold."""
    data = column_data(pa.array(["b", "a", "b", "ä"]), dictionary="d")
    assert data.type == Code("d")
    assert data.dictionary is not None
    assert data.dictionary.to_pylist() == ["a", "b", "ä"]
    assert data.values.tolist() == [1, 0, 1, 2]
    dictionaries: Any = pa.DictionaryArray
    doubled = dictionaries.from_arrays(
        pa.array([0, 1, 2, 3], pa.int8()), pa.array(["x", None, "x", "a"])
    )
    data = column_data(doubled, sort=False)
    assert data.dictionary is not None
    assert data.dictionary.to_pylist() == ["x", "a"]
    assert back(data).to_pylist() == ["x", None, "x", "a"]


def test_hugeint_has_two_words() -> None:
    """A HUGEINT arrives as decimal(38, 0); sums past it are not Arrow's."""
    values = [2**100, -1, -(2**70), None]
    data = column_data(
        pa.array([None if v is None else D(v) for v in values], pa.decimal128(38)), I128
    )
    assert data.values.shape == (4, 2)
    assert wide_integers(data.values).tolist() == [2**100, -1, -(2**70), 0]
    assert (data.low, data.high) == (-(2**70), 2**100)
    with pytest.raises(KernelError):
        to_arrow(np.array([[0, 2**63 - 1]]), None, I128)


def test_other_types_are_refused() -> None:
    """No silent reinterpretation."""
    with pytest.raises(TypeError):
        column_data(pa.array([[1]]))
    with pytest.raises(TypeError):
        column_data(pa.array([1]), DATE)
    with pytest.raises(TypeError):
        column_data(pa.array([D(1)], pa.decimal128(4, 2)), Decimal(5, 2))
