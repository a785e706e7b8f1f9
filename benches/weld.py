"""Weld's workloads as Python functions that foveal fuses, against the libraries themselves.

Crime index, Black-Scholes, vector sum, logistic regression (scoring, and one step over all rows of
training) and haversine (S. Palkar et al., "Evaluating End-to-End Optimization for Data Analytics
Applications in Weld", PVLDB 11(9), 2018). Each is written once as plain Python over one row, made a
function by `foveal.udf`, and run as one compiled loop over float64 columns with one thread and with
two. Peers run interleaved in turn; numba apart, since its threads spin after a call. Times are
medians; conversion of columns and compilation are not in them (compilation is shown).

    python benches/weld.py [--quick] [--json]
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as numpy_typed
import scipy.special as special_typed
from report import arguments, peer, report

import foveal
from foveal.engine.compile.data import ColumnData, Inputs, SourceData
from foveal.engine.compile.runtime import CompiledRunner
from foveal.planner.ir.function import apply
from foveal.planner.ir.nodes import Binary, Expr, Parameter
from foveal.planner.ir.nodes import Column as Read
from foveal.planner.ir.program import Append, Column, Fold, Loop, Program, Scalar, Source, Struct
from foveal.planner.ir.types import F64

Call = Callable[[], Any]
numexpr: Any = peer("numexpr")
np: Any = numpy_typed
pd: Any = peer("pandas")
special: Any = special_typed
FEATURES = 8


# --- the functions -------------------------------------------------------------------------------


@foveal.udf
def crime(population: float, adults: float, robberies: float) -> float:
    """Return a big city's crime index, nothing for others."""
    if population <= 500000.0:
        return 0.0
    index = (population + 2.0 * adults - 2000.0 * robberies) / 100000.0
    if index > 0.02:
        return 0.032
    return 0.005 if index < 0.01 else index


def normal(x: float) -> float:
    """Return the standard normal distribution function."""
    return 0.5 + 0.5 * math.erf(x * 0.7071067811865476)


@foveal.udf
def call_price(price: float, strike: float, years: float, rate: float, volatility: float) -> float:
    """Return a European call's price (Black and Scholes, 1973)."""
    spread = volatility * np.sqrt(years)
    d1 = (np.log(price / strike) + (rate + volatility * volatility * 0.5) * years) / spread
    return price * normal(d1) - strike * np.exp(-rate * years) * normal(d1 - spread)


@foveal.udf
def put_price(price: float, strike: float, years: float, rate: float, volatility: float) -> float:
    """Return a European put's price, by parity."""
    spread = volatility * np.sqrt(years)
    d1 = (np.log(price / strike) + (rate + volatility * volatility * 0.5) * years) / spread
    worth = strike * np.exp(-rate * years)
    return worth - price + price * normal(d1) - worth * normal(d1 - spread)


@foveal.udf
def distance(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Return kilometres over the earth (haversine); angles in radians."""
    a = np.sin((lat2 - lat1) * 0.5)
    b = np.sin((lon2 - lon1) * 0.5)
    h = a * a + np.cos(lat1) * np.cos(lat2) * b * b
    return 2.0 * 6371.0 * np.arcsin(np.sqrt(h))


def sigmoid(x: float) -> float:
    """Return the logistic function."""
    return 1.0 / (1.0 + np.exp(-x))


@foveal.udf
def score(x0: float, x1: float, x2: float, x3: float, x4: float, x5: float, x6: float, x7: float,
          w0: float, w1: float, w2: float, w3: float, w4: float, w5: float, w6: float, w7: float,
          bias: float) -> float:  # fmt: skip
    """Return a logistic regression's probability."""
    return sigmoid(x0 * w0 + x1 * w1 + x2 * w2 + x3 * w3 + x4 * w4 + x5 * w5 + x6 * w6 + x7 * w7
                   + bias)  # fmt: skip


# --- programs ------------------------------------------------------------------------------------


def body(function: Any, arguments_: Sequence[Expr]) -> Expr:
    """Return a function over expressions; it must have been translated."""
    made = function.made.compiled
    assert made is not None, function.made.untranslated
    return apply(made, arguments_)


class Work:
    """One program over float64 columns."""

    def __init__(
        self, name: str, data: Mapping[str, Any], builder: Callable[[dict[str, Expr]], Any],
        scalars: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        """Compile it. `builder`: from the columns' and scalars' expressions by name."""
        given = dict(scalars or {})
        names: dict[str, Expr] = {n: Read(n, F64) for n in data}
        names.update({n: Parameter(n, F64) for n in given})
        columns = tuple(Column(n, F64, F64, nullable=False) for n in data)
        loop = Loop("out", "rows", builder(names))
        messages = ("a row raised",) * 64
        self.program = Program(
            name, (Source("rows", columns),), (loop,), ("out",),
            tuple(Scalar(n, F64) for n in given), messages=messages,
        )  # fmt: skip
        rows = len(next(iter(data.values())))
        held = {n: ColumnData(F64, v) for n, v in data.items()}
        self.inputs = Inputs({"rows": SourceData(rows, held)}, given)
        begun = time.perf_counter()
        self.runners = {n: CompiledRunner(n, "O3") for n in (1, 2)}
        self.runners[1].kernel(self.program)
        self.compiled = time.perf_counter() - begun

    def run(self, threads: int) -> Any:
        """Return the result's first column, or its only row."""
        made = self.runners[threads](self.program, self.inputs, _unchecked)["out"]
        return made


def _unchecked() -> None:
    """Nobody cancels a bench."""


def total(of: Callable[[dict[str, Expr]], Expr]) -> Callable[[dict[str, Expr]], Struct]:
    """Return the builder of one sum."""
    return lambda names: Struct((("value", Fold("sum", of(names), F64)),))


def columns_of(**of: Callable[[dict[str, Expr]], Expr]) -> Callable[[dict[str, Expr]], Append]:
    """Return the builder of result columns."""
    return lambda names: Append(tuple((n, make(names)) for n, make in of.items()))


def gradient(names: dict[str, Expr]) -> Struct:
    """Return the sums that one step of training needs: of the error times each feature."""
    features = [names[f"x{i}"] for i in range(FEATURES)]
    weights = [names[f"w{i}"] for i in range(FEATURES)]
    error = Binary("sub", body(score, [*features, *weights, names["bias"]]), names["y"], F64)
    sums = [(f"g{i}", Fold("sum", Binary("mul", error, x, F64), F64))
            for i, x in enumerate(features)]  # fmt: skip
    return Struct((*sums, ("g", Fold("sum", error, F64))))


# --- timing --------------------------------------------------------------------------------------


def timed(calls: Mapping[str, Call], repeats: int) -> dict[str, list[float]]:
    """Time calls in turn, so that what else the machine does hits all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begun)
    return seconds


def compared(
    case: str, work: Work, peers: Mapping[str, Call], apart: Mapping[str, Call], repeats: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return rows for the table and details."""
    ours = {f"foveal, {n} thread{'s' * (n > 1)}": lambda n=n: work.run(n) for n in (1, 2)}
    found = timed({**ours, **peers}, repeats)
    found.update(timed(apart, repeats))
    rows: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    for name, seconds in found.items():
        details.append(
            {"case": case, "who": name, "ms": 1e3 * statistics.median(seconds),
             "least ms": 1e3 * min(seconds),
             "compiled in ms": 1e3 * work.compiled if name.startswith("foveal, 1") else None}
        )  # fmt: skip
    for mine in ours:
        for other in (*peers, *apart):
            us, them = statistics.median(found[mine]), statistics.median(found[other])
            least = min(found[other]) / min(found[mine])
            rows.append(
                {"case": f"{case} ({mine.removeprefix('foveal, ')})", "peer": other,
                 "ours": us * 1e3, "theirs": them * 1e3, "ratio": them / us,
                 "spread": abs(them / us - least), "unit": "ms"}
            )  # fmt: skip
    return rows, details


def agree(made: Any, wanted: Any, tolerance: float = 1e-9) -> None:
    """Check a result before it is timed."""
    np.testing.assert_allclose(np.asarray(made, float), np.asarray(wanted, float), rtol=tolerance,
                               atol=1e-9)  # fmt: skip


# --- cases ---------------------------------------------------------------------------------------


def numba_of(function: Callable[..., Any], out: str, columns: Sequence[Any]) -> Call:
    """Return a call of the same function as a parallel loop of numba's. `out`: sum or rows."""
    # numba would take the bench called coverage.py for the package, which it does not need.
    sys.modules.setdefault("coverage", cast("Any", None))
    numba = peer("numba")
    one = numba.njit(fastmath={"reassoc", "nsz"})(function)
    places = ", ".join(f"c{i}" for i in range(len(columns)))
    items = ", ".join(f"c{i}[i]" for i in range(len(columns)))
    step, start, end = (
        (f"total += one({items})", "total = 0.0", "total")
        if out == "sum"
        else (f"out[i] = one({items})", "out = np.empty(len(c0))", "out")
    )
    text = (
        f"def loop({places}):\n    {start}\n    for i in numba.prange(len(c0)):\n"
        f"        {step}\n    return {end}"
    )
    space: dict[str, Any] = {"numba": numba, "one": one, "np": np}
    exec(text, space)
    loop = numba.njit(parallel=True, fastmath={"reassoc", "nsz"})(space["loop"])
    return lambda: loop(*columns)


def crimes(rows: int, repeats: int) -> Any:
    """Crime index: a sum over conditions."""
    rng = np.random.default_rng(0)
    data = {"population": rng.uniform(0, 1e6, rows), "adults": rng.uniform(0, 5e5, rows),
            "robberies": rng.uniform(0, 1e3, rows)}  # fmt: skip
    frame = pd.DataFrame(data)
    work = Work("crime", data, total(lambda n: body(crime, [n[c] for c in data])))

    def pandas_() -> float:
        big = frame[frame["population"] > 500000.0]
        index = (big["population"] + 2.0 * big["adults"] - 2000.0 * big["robberies"]) / 100000.0
        index = index.mask(index > 0.02, 0.032)
        index = index.mask(index < 0.01, 0.005)
        return float(index.sum())

    def numpy_() -> float:
        p, a, r = data.values()
        big = p > 500000.0
        index = (p[big] + 2.0 * a[big] - 2000.0 * r[big]) / 100000.0
        high, low = index > 0.02, index < 0.01
        index[high] = 0.032
        index[low] = 0.005
        return float(index.sum())

    def numexpr_() -> float:
        p, a, r = data.values()
        index = "((p + 2.0 * a - 2000.0 * r) / 100000.0)"
        capped = f"where({index} > 0.02, 0.032, where({index} < 0.01, 0.005, {index}))"
        text = f"sum(where(p > 500000.0, {capped}, 0.0))"
        return float(numexpr.evaluate(text, {"p": p, "a": a, "r": r}))

    agree(work.run(2).column(0).to_pylist(), [numpy_()])
    peers = {"pandas": pandas_, "NumPy": numpy_, "numexpr": numexpr_}
    apart = {"numba": numba_of(crime.function, "sum", list(data.values()))}
    return compared("crime index", work, peers, apart, repeats)


def options(rows: int, repeats: int) -> Any:
    """Black-Scholes: calls and puts."""
    rng = np.random.default_rng(1)
    data = {"price": rng.uniform(10, 50, rows), "strike": rng.uniform(10, 50, rows),
            "years": rng.uniform(1, 2, rows), "rate": rng.uniform(0.01, 0.05, rows),
            "volatility": rng.uniform(0.1, 0.3, rows)}  # fmt: skip

    def both(n: dict[str, Expr], function: Any) -> Expr:
        return body(function, [n[c] for c in data])

    work = Work("options", data, columns_of(call=lambda n: both(n, call_price),
                                            put=lambda n: both(n, put_price)))  # fmt: skip

    def numpy_() -> Any:
        s, k, t, r, v = data.values()
        spread = v * np.sqrt(t)
        d1 = (np.log(s / k) + (r + v * v * 0.5) * t) / spread
        d2 = d1 - spread
        n1: Any = 0.5 + 0.5 * special.erf(d1 * 0.7071067811865476)
        n2: Any = 0.5 + 0.5 * special.erf(d2 * 0.7071067811865476)
        worth = k * np.exp(-r * t)
        return s * n1 - worth * n2, worth - s + s * n1 - worth * n2

    made = work.run(2)
    for i, wanted in enumerate(numpy_()):
        agree(made.column(i).to_numpy(), wanted, 1e-7)

    def pair(s: float, k: float, t: float, r: float, v: float) -> float:
        spread = v * math.sqrt(t)
        d1 = (math.log(s / k) + (r + v * v * 0.5) * t) / spread
        n1 = 0.5 + 0.5 * math.erf(d1 * 0.7071067811865476)
        n2 = 0.5 + 0.5 * math.erf((d1 - spread) * 0.7071067811865476)
        worth = k * math.exp(-r * t)
        return (s * n1 - worth * n2) + (worth - s + s * n1 - worth * n2)

    apart = {"numba (sum of both)": numba_of(pair, "rows", list(data.values()))}
    return compared("Black-Scholes", work, {"NumPy + SciPy": numpy_}, apart, repeats)


def _same(x: float) -> float:
    return x


def sums(rows: int, repeats: int) -> Any:
    """Sum of a vector."""
    data = {"x": np.random.default_rng(2).random(rows)}
    work = Work("sum", data, total(lambda n: n["x"]))
    x = data["x"]
    agree(work.run(2).column(0).to_pylist(), [x.sum()])
    peers: dict[str, Call] = {
        "NumPy": x.sum, "numexpr": lambda: numexpr.evaluate("sum(x)", {"x": x}),
    }  # fmt: skip
    return compared("vector sum", work, peers, {"numba": numba_of(_same, "sum", [x])}, repeats)


def haversines(rows: int, repeats: int) -> Any:
    """Distances to one place each."""
    rng = np.random.default_rng(3)
    data = {"lat1": rng.uniform(-1.5, 1.5, rows), "lon1": rng.uniform(-3, 3, rows),
            "lat2": rng.uniform(-1.5, 1.5, rows), "lon2": rng.uniform(-3, 3, rows)}  # fmt: skip
    work = Work("haversine", data, columns_of(km=lambda n: body(distance, [n[c] for c in data])))

    def numpy_() -> Any:
        lat1, lon1, lat2, lon2 = data.values()
        a, b = np.sin((lat2 - lat1) * 0.5), np.sin((lon2 - lon1) * 0.5)
        h = a * a + np.cos(lat1) * np.cos(lat2) * b * b
        return 2.0 * 6371.0 * np.arcsin(np.sqrt(h))

    def numexpr_() -> Any:
        return numexpr.evaluate(
            "12742.0 * arcsin(sqrt(sin((lat2 - lat1) * 0.5) ** 2 "
            "+ cos(lat1) * cos(lat2) * sin((lon2 - lon1) * 0.5) ** 2))",
            data,
        )

    agree(work.run(2).column(0).to_numpy(), numpy_(), 1e-8)
    apart = {"numba": numba_of(distance.function, "rows", list(data.values()))}
    return compared("haversine", work, {"NumPy": numpy_, "numexpr": numexpr_}, apart, repeats)


def regressions(rows: int, repeats: int) -> Any:
    """Logistic regression: the sum of all scores; the gradient over all rows."""
    torch = peer("torch")

    torch.set_num_threads(2)
    rng = np.random.default_rng(4)
    matrix = rng.normal(size=(rows, FEATURES))
    weights = rng.normal(size=FEATURES)
    labels = (matrix @ weights + rng.normal(size=rows) > 0).astype(float)
    data = {f"x{i}": np.ascontiguousarray(matrix[:, i]) for i in range(FEATURES)}
    scalars = {**{f"w{i}": float(w) for i, w in enumerate(weights)}, "bias": 0.25}
    order = [*data, *scalars]
    scoring = Work("score", data, total(lambda n: body(score, [n[c] for c in order])), scalars)
    training = Work("train", {**data, "y": labels}, gradient, scalars)
    tensor, targets = torch.from_numpy(matrix), torch.from_numpy(labels)
    slope = torch.from_numpy(weights)

    def numpy_scores() -> Any:
        return 1.0 / (1.0 + np.exp(-(matrix @ weights + 0.25)))

    def numpy_step() -> Any:
        error = numpy_scores() - labels
        return [*(matrix.T @ error), error.sum()]

    def torch_step() -> Any:
        error = torch.sigmoid(tensor @ slope + 0.25) - targets
        return tensor.T @ error, error.sum()

    agree(scoring.run(2).column(0).to_pylist(), [numpy_scores().sum()])
    agree([c.to_pylist()[0] for c in training.run(2).columns], numpy_step(), 1e-7)
    one = compared(
        "logistic scoring", scoring,
        {"NumPy": lambda: numpy_scores().sum(),
         "torch": lambda: torch.sigmoid(tensor @ slope + 0.25).sum()}, {}, repeats,
    )  # fmt: skip
    two = compared(
        "logistic training step", training, {"NumPy": numpy_step, "torch": torch_step}, {}, repeats
    )
    return one[0] + two[0], one[1] + two[1]


def main() -> None:
    """Run every case and report."""
    args = arguments(__doc__ or "")
    size = 1_000_000 if args.quick else 8_000_000
    repeats = 7 if args.quick else 9
    numexpr.set_num_threads(2)
    rows: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    for case in (crimes, options, sums, regressions, haversines):
        # Weld's sizes are larger; half of them are enough to leave every cache.
        found = case(size // (2 if case is options else 1), repeats)
        rows += found[0]
        details += found[1]
    if not args.json:
        print(f"{size} rows, {repeats} repeats, load {os.getloadavg()[0]:.1f}")
    report("weld", rows, details=details, quiet=args.json)


if __name__ == "__main__":
    main()
