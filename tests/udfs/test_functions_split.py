"""Split = unsplit: annotated functions give what the functions themselves give."""

import threading
from typing import Any

import numpy as np
import pytest
import scipy.special

import foveal
from foveal import Broadcast, Concat, Reduce, Rows, annotate, annotated, splittable
from foveal.udfs.functions.split_run import cache_bytes, evaluate
from foveal.udfs.functions.splitting import Lazy

SIZES = [1, 2, 7, 1023, 1024, 1025, 5003]
np_: Any = np
xp: Any = annotated(np)
sp: Any = annotated(scipy.special)


def numbers(rows: int, *more: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).random((rows, *more)) + 0.5


def _same(a: Any) -> Any:
    return a


def agrees(lazy: Any, wanted: Any, *, close: bool = False) -> None:
    assert isinstance(lazy, Lazy), lazy
    for threads, chunk in ((1, 100), (3, 64), (2, None)):
        found = evaluate([lazy], threads, chunk)[0]
        if close:
            np.testing.assert_allclose(found, wanted, rtol=1e-12)
        else:
            np.testing.assert_array_equal(found, wanted)


UFUNCS = ["add", "subtract", "multiply", "divide", "power", "arctan2", "hypot", "maximum",
          "minimum", "fmod", "greater", "less_equal", "copysign", "logical_and"]  # fmt: skip
UNARY = ["exp", "log", "sqrt", "sin", "cos", "tanh", "abs", "negative", "floor", "isnan", "square",
         "arcsin", "log1p", "expm1", "sign", "rint"]  # fmt: skip


@pytest.mark.parametrize("name", UFUNCS)
@pytest.mark.parametrize("rows", [1, 7, 1025])
def test_numpy_of_two(name: str, rows: int) -> None:
    a, b, f = numbers(rows), numbers(rows, seed=1), getattr(np, name)
    agrees(getattr(xp, name)(a, b), f(a, b))
    agrees(getattr(xp, name)(a, 2.0), f(a, 2.0))
    agrees(getattr(xp, name)(3.0, b), f(3.0, b))


@pytest.mark.parametrize("name", UNARY)
def test_numpy_of_one(name: str) -> None:
    a = numbers(1025) - 0.9
    with np.errstate(all="ignore"):
        agrees(getattr(xp, name)(a), getattr(np, name)(a))


@pytest.mark.parametrize("name", ["erf", "erfc", "expit", "gammaln", "ndtr", "xlogy"])
def test_scipy(name: str) -> None:
    a = numbers(2049)
    given = (a, a) if name == "xlogy" else (a,)
    agrees(getattr(sp, name)(*given), getattr(scipy.special, name)(*given))


@pytest.mark.parametrize("name", ["sum", "prod", "min", "max", "any", "all", "count_nonzero"])
@pytest.mark.parametrize("rows", SIZES)
def test_reductions(name: str, rows: int) -> None:
    a = numbers(rows, 3)
    given = a > 1 if name in ("any", "all", "count_nonzero") else a * 0.5
    f, lazy = getattr(np, name), getattr(xp, name)
    for axis in (None, 0, 1):
        agrees(lazy(given, axis=axis), f(given, axis=axis), close=True)


def test_other_functions_of_numpy() -> None:
    a = numbers(3001)
    edges, heights = np.linspace(0, 2, 50), np.linspace(5, 9, 50)
    agrees(xp.where(a > 1, a, 0.0), np.where(a > 1, a, 0.0))
    agrees(xp.clip(a, 0.7, 1.1), np.clip(a, 0.7, 1.1))
    agrees(xp.interp(a, edges, heights), np.interp(a, edges, heights))
    agrees(xp.digitize(a, edges), np.digitize(a, edges))
    agrees(xp.searchsorted(edges, a), np.searchsorted(edges, a))
    agrees(xp.isin(a, a[:5]), np.isin(a, a[:5]))
    agrees(xp.round(a, 2), np.round(a, 2))


@pytest.mark.parametrize("rows", SIZES)
def test_a_chain_with_a_whole_result_in_its_middle(rows: int) -> None:
    a, b = numbers(rows), numbers(rows, seed=1)

    def work(xp_: Any) -> Any:
        x = xp_.exp(xp_.multiply(a, -0.5))
        share = xp_.divide(x, xp_.sum(x))
        return xp_.add(xp_.sqrt(share), xp_.where(xp_.greater(share, b), 1.0, -1.0))

    agrees(work(xp), work(np), close=True)


def test_operators_and_numpys_own_functions_are_captured() -> None:
    a = numbers(4097)
    x, plain = xp.sqrt(a), np_
    made: Any = plain.where((x * 2 + 1) > 2.5, x, -x) ** 2
    wanted: Any = plain.where((np.sqrt(a) * 2 + 1) > 2.5, np.sqrt(a), -np.sqrt(a)) ** 2
    agrees(made, wanted)
    found: Any = plain.asarray(made)
    np.testing.assert_array_equal(found, wanted)
    assert float(xp.sum(x)) == pytest.approx(np.sqrt(a).sum())
    assert np.median(x) == np.median(np.sqrt(a))  # none of ours: it runs on the value


def test_broadcasting_follows_numpy() -> None:
    table, row, column = numbers(1030, 4), numbers(4), numbers(1030, 1)
    agrees(xp.multiply(table, row), table * row)
    agrees(xp.multiply(table, column), table * column)
    agrees(xp.add(table, np.ones((1, 4))), table + 1)
    square = numbers(4, 4)
    agrees(xp.multiply(square, row), square * row)
    centred = xp.subtract(table, xp.max(table, axis=0))
    agrees(centred, table - table.max(axis=0))


def test_writing_in_place_keeps_the_order_of_reads_and_writes() -> None:
    a, b = numbers(5000), numbers(5000, seed=1)
    c = a.copy()
    first = xp.multiply(c, 3.0)
    xp.add(c, b, out=c)
    between = xp.sum(c)
    last = xp.multiply(c, 2.0, out=c)
    assert last.value(threads=3, chunk=100) is c
    np.testing.assert_array_equal(c, (a + b) * 2)
    np.testing.assert_array_equal(first.value(), a * 3)
    assert float(between) == pytest.approx((a + b).sum())


def test_what_has_other_rows_is_refused() -> None:
    with pytest.raises(foveal.DataError, match="x2 has 5 rows where x1 has 9") as caught:
        xp.add(np.ones(9), np.ones(5))
    assert caught.value.sqlstate == "22023"


def test_annotations_of_ones_own() -> None:
    @splittable(a=Rows, scale=Broadcast, out=Reduce("sum"))
    def total(a: Any, scale: Any) -> Any:
        return float((a * scale).sum())

    @splittable(a=Rows, out=Concat)
    def kept(a: Any) -> Any:
        return a[a > 1]

    @splittable(a=Rows, out=Reduce(lambda x, y: {k: x.get(k, 0) + y.get(k, 0) for k in {*x, *y}}))
    def counts(a: Any) -> dict[int, int]:
        values, times = np.unique(a, return_counts=True)
        return dict(zip(values.tolist(), times.tolist(), strict=True))

    a = numbers(4001)
    agrees(total(a, 2.0), (a * 2).sum(), close=True)
    agrees(kept(a), a[a > 1])
    whole = np.arange(4001) % 7
    assert counts(whole).value(threads=2, chunk=97) == counts.function(whole)


def test_a_failing_function_is_named_with_its_rows() -> None:
    @splittable(a=Rows, out=Concat)
    def picky(a: Any) -> Any:
        if a[-1] > 250:
            raise ValueError("too much")
        return a

    lazy = picky(np.arange(1000.0))
    with pytest.raises(foveal.OperationalError, match=r"picky\(\) failed on rows 200 to 299") as e:
        lazy.value(threads=1, chunk=100)
    assert isinstance(e.value.__cause__, ValueError)
    with pytest.raises(foveal.OperationalError):
        lazy.value(threads=4, chunk=10)


def test_wrong_annotations_are_refused() -> None:
    with pytest.raises(foveal.ProgrammingError, match="no parameter b"):
        splittable(b=Rows)(_same)
    with pytest.raises(foveal.ProgrammingError, match="no annotation of sort"):
        annotate(np.sort)
    with pytest.raises(ValueError, match="median"):
        splittable(a=Rows, out=Reduce("median"))(_same)


def test_each_call_runs_once_per_chunk_and_pieces_go_through_the_chain_together() -> None:
    seen: list[tuple[str, int]] = []
    lock = threading.Lock()

    def step(name: str) -> Any:
        def work(a: Any) -> Any:
            with lock:
                seen.append((name, len(a)))
            return a + 1

        return annotate(work, a=Rows, out=Concat)

    lazy = step("second")(step("first")(np.zeros(1000)))
    assert lazy.value(threads=1, chunk=400).tolist() == [2.0] * 1000
    assert seen == [("first", 400), ("second", 400), ("first", 400), ("second", 400),
                    ("first", 200), ("second", 200)]  # fmt: skip
    lazy.value()
    assert len(seen) == 6


def test_no_rows() -> None:
    assert float(np.asarray(xp.exp(np.float64(0.0)))) == 1.0
    assert xp.exp(np.empty(0)).value().shape == (0,)


def test_pandas() -> None:
    pandas: Any = pytest.importorskip("pandas")
    s = pandas.Series(numbers(3000))
    s[::7] = np.nan
    t = pandas.Series(numbers(3000, seed=1))
    pairs = [
        (annotate(pandas.isna)(s), s.isna()),
        (annotate(pandas.Series.mul)(s, t), s * t),
        (annotate(pandas.Series.gt)(s, 1.0), s > 1.0),
        (annotate(pandas.Series.mask)(s, s > 1, 0.0), s.mask(s > 1, 0.0)),
        (annotate(pandas.Series.between)(s, 0.7, 1.1), s.between(0.7, 1.1)),
    ]
    for lazy, wanted in pairs:
        pandas.testing.assert_series_equal(lazy.value(threads=2, chunk=111), wanted)
    total = annotate(pandas.Series.sum)(annotate(pandas.Series.mul)(s, t))
    assert float(total.value(threads=2, chunk=100)) == pytest.approx((s * t).sum())
    with pytest.raises(foveal.DataError, match="another index"):
        annotate(pandas.Series.mul)(s, t.iloc[::-1])


def test_opencv() -> None:
    cv2: Any = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    one, two = (rng.integers(0, 256, (601, 40, 3), np.uint8) for _ in range(2))
    cv: Any = annotated(cv2)
    agrees(cv.add(one, two), cv2.add(one, two))
    agrees(cv.absdiff(one, two), cv2.absdiff(one, two))
    agrees(cv.addWeighted(one, 0.3, two, 0.7, 1.0), cv2.addWeighted(one, 0.3, two, 0.7, 1.0))
    agrees(cv.cvtColor(one, cv2.COLOR_BGR2GRAY), cv2.cvtColor(one, cv2.COLOR_BGR2GRAY))
    agrees(cv.convertScaleAbs(one, None, 1.5, 3), cv2.convertScaleAbs(one, None, 1.5, 3))
    lut = np.arange(255, -1, -1).astype(np.uint8)
    agrees(cv.LUT(one, lut), cv2.LUT(one, lut))
    low, high = np.array([10, 10, 10]), np.array([200, 200, 200])
    agrees(cv.inRange(one, low, high), cv2.inRange(one, low, high))
    assert cv.GaussianBlur is cv2.GaussianBlur  # it looks at other rows


def test_the_caches_size_is_plausible() -> None:
    assert 64 << 10 <= cache_bytes() <= 1 << 30
