"""PREDICT fused into scan, filter and GROUP BY, against UDFs, batches, compiled models and SQL.

    python benches/predict.py [--quick] [--json]

Two queries of one shape: `select g, sum(s), count(*) from (select g, model(f0..f7) s from t where
f0 > -0.25) where s > c group by g`, with 100 trees of 31 leaves over FLOAT features and with a
logistic regression over DOUBLE ones. All ways run in turn in one process, median of the repeats;
answers are compared. What a way spends once (compiling, converting) is a column of its own.
"""

from __future__ import annotations

import importlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from report import arguments, peer, report

from foveal.engine.compile.data import ColumnData, Inputs, SourceData
from foveal.engine.compile.model_facts import specialised
from foveal.engine.compile.object_cache import KernelMemory, ObjectFiles
from foveal.engine.compile.runtime import CompiledRunner
from foveal.planner.ir import nodes, program, typing
from foveal.planner.ir.types import F32, F64, I8, physical
from foveal.udfs.scoring.lightgbm_text import read_lightgbm
from foveal.udfs.scoring.linear import linear
from foveal.udfs.scoring.model import ScoringModel

FEATURES, TREES, LEAVES, GROUPS, SEED = 8, 100, 31, 4, 0
NAMES = [f"f{k}" for k in range(FEATURES)]
THREADS = os.cpu_count() or 1
arrow: Any = pa
TOTAL = "select g, sum(s), count(*) from {} where s > {} group by g order by g"
Answer = list[tuple[int, float, int]]
Way = Callable[[], Answer]
Model = ScoringModel


def ours(model: Model, columns: dict[str, Any], cut: float) -> tuple[Way, dict[str, float]]:
    """Return our way: a program over columns, and what compiling it took, in milliseconds."""
    rows = len(columns["g"])
    made = {
        name: ColumnData(model.feature_types[0], values)
        for name, values in columns.items()
        if name != "g"
    }
    made["g"] = ColumnData(I8, columns["g"], low=0, high=GROUPS - 1)
    source = program.Source(
        "t",
        tuple(
            program.Column(name, c.type, physical(c.type), nullable=False, low=c.low, high=c.high)
            for name, c in made.items()
        ),
    )
    parameter = model.parameter("m")
    refs = {name: nodes.Column(name, c.type) for name, c in made.items()}
    score = typing.predict(parameter, [refs[name] for name in NAMES])
    where = typing.both(
        typing.binary("gt", refs["f0"], typing.literal(-0.25, refs["f0"].type)),
        typing.binary("gt", score, typing.literal(cut, score.type)),
    )
    group = program.Group(
        (program.Key("g", refs["g"], nullable=False, low=0, high=GROUPS - 1),),
        (("s", typing.fold("sum", score)), ("n", typing.fold("count"))),
        "dense",
    )
    loop = program.Loop("r", "t", group, where, "compact")
    whole = program.Program("q", (source,), (loop,), ("r",), models=(parameter,))
    inputs = Inputs({"t": SourceData(rows, made)}, models={"m": model})
    costs: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        objects = ObjectFiles(Path(folder) / "objects")
        runner = CompiledRunner(THREADS, "O3", objects, KernelMemory())
        began = time.perf_counter()
        runner.kernel(whole)
        costs["compile"] = 1e3 * (time.perf_counter() - began)
        again = CompiledRunner(THREADS, "O3", objects, KernelMemory())
        began = time.perf_counter()
        again.kernel(whole)
        costs["reload"] = 1e3 * (time.perf_counter() - began)
    # What a model's first use costs beside the code: its branches cut, its arrays laid out.
    began = time.perf_counter()
    assert specialised(whole, inputs, 0)[1].models["m"].arrays
    costs["arrays"] = 1e3 * (time.perf_counter() - began)

    def run() -> Answer:
        table = again(whole, inputs, lambda: None)["r"].to_pylist()
        return sorted((row["g"], row["s"], row["n"]) for row in table)

    return run, costs


def interleaved(ways: dict[str, Way], repeats: int) -> dict[str, list[float]]:
    """Return each way's milliseconds, all of them in turn; refuse answers that differ."""
    answers = {name: way() for name, way in ways.items()}
    first = next(iter(answers.values()))
    for name, answer in answers.items():
        assert [(g, n) for g, _, n in answer] == [(g, n) for g, _, n in first], (name, answer)
        for mine, theirs in zip(first, answer, strict=True):
            assert abs(mine[1] - theirs[1]) <= 1e-6 * abs(theirs[1]), (name, mine, theirs)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            times[name].append(1e3 * (time.perf_counter() - began))
    return times


def connected(columns: dict[str, Any]) -> duckdb.DuckDBPyConnection:
    """Return a connection to DuckDB with the rows in a table of its own."""
    con = duckdb.connect(config={"threads": THREADS})
    con.register("source", pa.table(columns))
    con.execute("create table t as select * from source")
    return con


def with_udf(con: Any, predict: Callable[[Any], Any], type_: str, cut: float, name: str) -> Way:
    """Return DuckDB calling a function of Arrow arrays."""

    # DuckDB counts positional parameters: `*columns` is refused.
    def model(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
        matrix = np.column_stack([x.to_numpy() for x in (a, b, c, d, e, f, g, h)])
        return arrow.array(predict(matrix))

    feature = duckdb.sqltype(type_)
    con.create_function(name, model, [feature] * FEATURES, duckdb.sqltype("DOUBLE"), type="arrow")
    inside = f"(select g, {name}({', '.join(NAMES)}) s from t where f0 > -0.25)"
    return lambda: con.execute(TOTAL.format(inside, cut)).fetchall()


def in_batches(con: Any, predict: Callable[[Any], Any], cut: float) -> Way:
    """Return DuckDB to Arrow, one batch through the library, and back into DuckDB."""
    wanted = f"select g, {', '.join(NAMES)} from t where f0 > -0.25"

    def run() -> Answer:
        table = con.sql(wanted).to_arrow_table().combine_chunks()
        matrix = np.column_stack([table[name].to_numpy() for name in NAMES])
        con.register("scored", pa.table({"g": table["g"], "s": predict(matrix)}))
        return con.execute(TOTAL.format("scored", cut)).fetchall()

    return run


def compiled_model(booster: Any, folder: Path) -> tuple[Callable[[Any], Any], float]:
    """Return treelite's model compiled by tl2cgen with gcc, and the milliseconds that took."""
    tl2cgen, treelite = peer("tl2cgen"), peer("treelite")

    began = time.perf_counter()
    model = treelite.frontend.from_lightgbm(booster)
    library = folder / "model.so"
    tl2cgen.export_lib(model, toolchain="gcc", libpath=library, params={"parallel_comp": THREADS})
    predictor = tl2cgen.Predictor(library, nthread=THREADS)
    cost = 1e3 * (time.perf_counter() - began)

    def predict(matrix: Any) -> Any:
        rows: Any = tl2cgen.DMatrix(matrix, dtype="float32")
        scores: Any = predictor.predict(rows, pred_margin=True)
        return scores.ravel()

    return predict, cost


def trees(rows: int, repeats: int, folder: Path) -> list[dict[str, Any]]:
    """Measure the trees."""
    random = np.random.default_rng(SEED)
    x = random.standard_normal((rows, FEATURES)).astype("f4")
    train = x[:50_000]
    signal = np.sin(train[:, 0] * 2) + train[:, 1] * train[:, 2] + 0.5 * train[:, 3]
    target = signal + random.standard_normal(len(train)) * 0.3 > 0
    settings = dict(objective="binary", num_leaves=LEAVES, verbosity=-1, num_threads=THREADS)
    lightgbm = peer("lightgbm")
    data = lightgbm.Dataset(train.astype("f8"), target.astype(int))
    booster = lightgbm.train(settings, data, TREES)
    columns = {name: np.ascontiguousarray(x[:, k]) for k, name in enumerate(NAMES)}
    columns["g"] = random.integers(0, GROUPS, rows).astype("i1")
    model = read_lightgbm(booster.model_to_string().encode()).raw().over_floats()
    assert model.model_kind.input_type == F32
    con = connected(columns)

    def batch(threads: int) -> Callable[[Any], Any]:
        return lambda matrix: booster.predict(matrix, raw_score=True, num_threads=threads)

    fused, costs = ours(model, columns, 0.0)
    ways: dict[str, Way] = {"foveal": fused}
    once: dict[str, float] = {}
    try:
        generated, once["tl2cgen"] = compiled_model(booster, folder)
        ways["tl2cgen"] = in_batches(con, generated, 0.0)
    except ImportError as error:
        print(f"no tl2cgen: {error}")
    ways["LightGBM batch"] = in_batches(con, batch(THREADS), 0.0)
    ways["Arrow UDF, LightGBM"] = with_udf(con, batch(1), "FLOAT", 0.0, "library")
    return results(f"{TREES} trees, {rows} rows", ways, costs, once, repeats)


def logistic(rows: int, repeats: int) -> list[dict[str, Any]]:
    """Measure the logistic regression."""
    # Imported by name: scikit-learn has no types.
    learning: Any = importlib.import_module("sklearn.linear_model")
    random = np.random.default_rng(SEED)
    columns: dict[str, Any] = {name: random.standard_normal(rows) for name in NAMES}
    columns["g"] = random.integers(0, GROUPS, rows).astype("i1")
    train = np.column_stack([columns[name][:20_000] for name in NAMES])
    target = train @ random.standard_normal(FEATURES) + random.standard_normal(len(train)) > 0
    library: Any = learning.LogisticRegression().fit(train, target)
    weights, intercept = library.coef_[0], float(library.intercept_[0])
    model = linear(weights[None], np.array([intercept]), link="logistic")
    assert model.model_kind.input_type == F64
    con = connected(columns)

    def predict(matrix: Any) -> Any:
        return 1.0 / (1.0 + np.exp(-(matrix @ weights + intercept)))

    # A literal with a point is a DECIMAL in SQL: as doubles, like any inlining would write them.
    terms = [f"{float(w)!r}::double * {name}" for w, name in zip(weights, NAMES, strict=True)]
    value = f"1 / (1 + exp(-({intercept!r}::double + {' + '.join(terms)})))"
    inside = f"(select g, {value} s from t where f0 > -0.25)"
    fused, costs = ours(model, columns, 0.5)
    by_library = with_udf(con, lambda x: library.predict_proba(x)[:, 1], "DOUBLE", 0.5, "library")
    ways: dict[str, Way] = {
        "foveal": fused,
        "SQL inlined": lambda: con.execute(TOTAL.format(inside, 0.5)).fetchall(),
        "Arrow UDF, NumPy": with_udf(con, predict, "DOUBLE", 0.5, "formula"),
        "Arrow UDF, scikit-learn": by_library,
    }
    return results(f"logistic, {rows} rows", ways, costs, {}, repeats)


def results(
    case: str, ways: dict[str, Way], costs: dict[str, float], once: dict[str, float], repeats: int
) -> list[dict[str, Any]]:
    """Run the ways; return a row for each peer."""
    times = interleaved(ways, repeats)
    middle = {name: statistics.median(each) for name, each in times.items()}
    out: list[dict[str, Any]] = []
    for name, each in times.items():
        if name == "foveal":
            continue
        ratios = sorted(theirs / mine for mine, theirs in zip(times["foveal"], each, strict=True))
        out.append(
            {
                "case": case,
                "peer": name,
                "ours": round(middle["foveal"], 2),
                "theirs": round(middle[name], 2),
                "ratio": round(middle[name] / middle["foveal"], 2),
                "spread": f"{ratios[0]:.1f}-{ratios[-1]:.1f}",
                "unit": "ms",
                "our compile": round(costs["compile"], 1),
                "our reload": round(costs["reload"], 2),
                "our arrays": round(costs["arrays"], 1),
                "their compile": round(once[name], 1) if name in once else None,
            }
        )
    return out


def main() -> None:
    options = arguments(__doc__ or "")
    size = 5 if options.quick else 1
    if not options.json:
        print(f"load {os.getloadavg()[0]:.2f}, {THREADS} threads")
    with tempfile.TemporaryDirectory() as folder:
        rows = trees(300_000 // size, 7 if options.quick else 11, Path(folder))
    rows += logistic(3_000_000 // size, 7 if options.quick else 11)
    report("predict", rows, quiet=options.json)


if __name__ == "__main__":
    main()
