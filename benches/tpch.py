"""TPC-H at scale factor 1: compiled programs beside DuckDB, Polars and numba; all 22 queries.

    python benches/tpch.py [--quick] [--json] [--data DIR] [--peers]

Data comes from `tpchgen-cli` (a package of that name), or is read from `--data`, a folder of
Parquet files, one per table. Q6 and Q1: DuckDB over its own table, keys as ENUM, in one process in
turn with the programs, medians; over 64-bit columns the program runs by itself, and the memory that
it reads per second is told as a share of what a sum over 512 MB reads in the same run. All 22
queries: every answer is compared with DuckDB's; `auto` is their total time, by rounds of the second
half, when columns that pay have become resident; `compiled` lists those that run a program under
`foveal.compile = on`. `--peers` adds Polars and numba (apart: their threads
spin), where they are installed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from report import report
from tpch_queries import QUERIES

from foveal.engine.compile.data import Inputs, SourceData
from foveal.engine.compile.runtime import CompiledRunner
from foveal.engine.context import QueryContext
from foveal.engine.operators.compiled import sources
from foveal.engine.session import Session
from foveal.planner.compiled.reading import read_statement
from foveal.planner.ir.types import Int

TABLES = ("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier")


def data_folder(given: str | None, scale: float) -> Path:
    """Return the folder of Parquet files, made where none is given."""
    if given:
        return Path(given)
    folder = Path(tempfile.gettempdir()) / f"foveal-tpch-{scale:g}"
    if not (folder / "supplier.parquet").exists():
        tool = shutil.which("tpchgen-cli") or str(Path(sys.executable).parent / "tpchgen-cli")
        command = [tool, "parquet", "-s", f"{scale:g}", "--output-dir", str(folder)]
        subprocess.run(command, check=True)
    return folder


def opened(folder: Path) -> Session:
    """Return a session over the tables; short flags are ENUMs, as the fair peer has them."""
    session = Session()
    for table in TABLES:
        session.execute(f"CREATE TABLE {table} AS FROM '{folder / table}.parquet'").close()
    for column in ("l_returnflag", "l_linestatus"):
        session.execute(f"CREATE TYPE {column}_t AS ENUM (SELECT DISTINCT {column} FROM lineitem)"
                        ).close()  # fmt: skip
        session.execute(f"ALTER TABLE lineitem ALTER {column} TYPE {column}_t").close()
    return session


def set_mode(session: Session, mode: str) -> None:
    """Set `foveal.compile`."""
    session.execute(f"SET foveal.compile = '{mode}'").close()


def seconds(session: Session, sql: str) -> float:
    """Return what a statement takes, its rows included."""
    started = time.perf_counter()
    session.execute(sql).fetchall()
    return time.perf_counter() - started


def in_turn(runs: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Run each `repeats` times, in turn."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            found[name].append(run())
    return found


def mode_run(session: Session, mode: str, sql: str) -> Callable[[], float]:
    """Return a run of a statement under a mode."""

    def run() -> float:
        set_mode(session, mode)
        return seconds(session, sql)

    return run


def sum_seconds(values: np.ndarray[Any, Any], threads: int) -> float:
    """Return what reading an array takes on so many threads."""
    from concurrent.futures import ThreadPoolExecutor

    parts = np.array_split(values, threads)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(np.sum, parts))
        started = time.perf_counter()
        list(pool.map(np.sum, parts))
        return time.perf_counter() - started


class Wide:
    """Q6's program over columns of 64 bits each, run beside the session."""

    def __init__(self, session: Session) -> None:
        """Take the program and its columns from the session, and widen them."""
        statements = session.compiled
        check = QueryContext({}).check
        compiled = statements.planning.compile(read_statement(QUERIES[6]), {}, check)
        (candidate,) = compiled.candidates
        data = sources(candidate, statements.store, check)
        wide = {
            name: SourceData(
                source.rows,
                {
                    c: replace(d, values=d.values.astype(np.int64))
                    for c, d in source.columns.items()
                },
            )
            for name, source in data.items()
        }
        (source,) = candidate.program.sources
        columns = tuple(replace(c, storage=Int(64)) for c in source.columns)
        self.program = replace(candidate.program, sources=(replace(source, columns=columns),))
        self.inputs = Inputs(wide, candidate.scalars, dict(compiled.tables[0]))
        self.bytes = sum(d.values.nbytes for w in wide.values() for d in w.columns.values())
        self.runner = CompiledRunner(tier="O3")
        self.check = check

    def __call__(self) -> float:
        """Run it once and return the seconds."""
        started = time.perf_counter()
        self.runner(self.program, self.inputs, self.check)
        return time.perf_counter() - started


def close(a: object, b: object) -> bool:
    """Say whether two values are equal, floats but for the order of summation."""
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= 1e-9 * max(abs(a), abs(b), 1e-300)
    return a == b


def same(ours: list[tuple[Any, ...]], theirs: list[tuple[Any, ...]]) -> bool:
    """Say whether two answers are equal, in any order."""
    left, right = sorted(ours, key=repr), sorted(theirs, key=repr)
    return len(left) == len(right) and all(
        len(x) == len(y) and all(map(close, x, y)) for x, y in zip(left, right, strict=True)
    )


def row(case: str, peer: str, ours: list[float], theirs: list[float]) -> dict[str, Any]:
    """Return a RESULT row of times in milliseconds."""
    spread = f"{min(theirs) / max(ours):.2f}-{max(theirs) / min(ours):.2f}"
    return {"case": case, "peer": peer, "ours": median(ours) * 1e3, "theirs": median(theirs) * 1e3,
            "ratio": median(theirs) / median(ours), "spread": spread, "unit": "ms"}  # fmt: skip


def kernels(session: Session, repeats: int) -> tuple[list[dict[str, Any]], float, int]:
    """Return the rows of Q6 and Q1 against DuckDB, the 64-bit program's seconds and bytes."""
    rows: list[dict[str, Any]] = []
    for name, sql in {"Q6": QUERIES[6], "Q1": QUERIES[1]}.items():
        set_mode(session, "on")
        for _ in range(3):  # columns, code, and the better code that is compiled meanwhile
            seconds(session, sql)
            time.sleep(0.5)
        runs = {mode: mode_run(session, mode, sql) for mode in ("off", "on")}
        found = in_turn(runs, repeats)
        rows.append(row(f"{name}, narrowed columns", "DuckDB", found["on"], found["off"]))
    wide = Wide(session)
    wide()
    found = in_turn({"off": mode_run(session, "off", QUERIES[6]), "wide": wide}, repeats)
    rows.insert(1, row("Q6, 64-bit columns", "DuckDB", found["wide"], found["off"]))
    back_to_back = min(wide() for _ in range(2 * repeats))
    return rows, back_to_back, wide.bytes


def everything(session: Session, rounds: int) -> tuple[list[dict[str, Any]], dict[str, list[int]]]:
    """Return the rows of all 22 queries, and what was found of them."""
    compiled: list[int] = []
    wrong: list[int] = []
    for number, sql in QUERIES.items():
        set_mode(session, "off")
        theirs = session.execute(sql).fetchall()
        set_mode(session, "on")
        ours = session.execute(sql).fetchall()
        if session.report.plan_kind == "compiled":
            compiled.append(number)
        if not same(ours, theirs):
            wrong.append(number)
    totals: dict[str, list[float]] = {"off": [], "auto": []}
    each: dict[str, dict[int, list[float]]] = {m: {q: [] for q in QUERIES} for m in totals}
    for _ in range(rounds):
        for number, sql in QUERIES.items():
            for mode in totals:
                set_mode(session, mode)
                each[mode][number].append(seconds(session, sql))
    kept = {m: [sum(each[m][q][i] for q in QUERIES) for i in range(rounds // 2, rounds)]
            for m in totals}  # fmt: skip
    rows = [row("22 queries, auto", "DuckDB", kept["auto"], kept["off"])]
    for number in QUERIES:
        half = rounds // 2
        rows.append(row(f"Q{number}, auto", "DuckDB", each["auto"][number][half:],
                        each["off"][number][half:]))  # fmt: skip
    return rows, {"compiled": compiled, "wrong": wrong}


def peers(folder: Path, repeats: int) -> list[dict[str, Any]]:
    """Return Q6 of Polars and numba as rows; nothing for those that are not installed."""
    rows: list[dict[str, Any]] = []
    try:
        pl: Any = importlib.import_module("polars")
        frame = pl.read_parquet(folder / "lineitem.parquet", columns=list(Q6_COLUMNS))
        context = pl.SQLContext(lineitem=frame, eager=True)
        sql = (
            QUERIES[6]
            .replace("+ interval '1' year", "")
            .replace("l_shipdate < date '1994-01-01'", "l_shipdate < date '1995-01-01'")
        )
        taken: list[float] = []
        for _ in range(repeats):
            started = time.perf_counter()
            context.execute(sql)
            taken.append(time.perf_counter() - started)
        rows.append(row("Q6, apart", "Polars", taken, taken))
    except ImportError:
        print("polars is not installed", file=sys.stderr)
    try:
        rows.append(row("Q6, apart", "numba", *[_numba(folder, repeats)] * 2))
    except ImportError:
        print("numba is not installed", file=sys.stderr)
    return rows


Q6_COLUMNS = ("l_shipdate", "l_discount", "l_quantity", "l_extendedprice")


def _numba(folder: Path, repeats: int) -> list[float]:
    """Return what Q6 takes as a loop that numba compiles, over 64-bit columns."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    numba: Any = importlib.import_module("numba")
    table: Any = pq.read_table(folder / "lineitem.parquet", columns=list(Q6_COLUMNS))
    day = table["l_shipdate"].cast("int32").to_numpy().astype(np.int64)
    cents = [
        np.asarray(pc.multiply(table[c].cast("float64"), 100.0).to_numpy()).round().astype(np.int64)
        for c in Q6_COLUMNS[1:]
    ]

    @numba.njit(parallel=True)
    def q6(day: Any, discount: Any, quantity: Any, price: Any) -> Any:
        total = 0
        for i in numba.prange(len(day)):
            keep = (day[i] >= 8766) & (day[i] < 9131) & (discount[i] >= 5) & (discount[i] <= 7)
            total += price[i] * discount[i] * (keep & (quantity[i] < 2400))
        return total

    q6(day, *cents)
    taken: list[float] = []
    for _ in range(repeats):
        started = time.perf_counter()
        q6(day, *cents)
        taken.append(time.perf_counter() - started)
    return taken


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="scale factor 0.1, few repeats")
    parser.add_argument("--json", action="store_true", help="print only the RESULT line")
    parser.add_argument("--data", help="a folder of Parquet files, one per table")
    parser.add_argument("--peers", action="store_true", help="Polars and numba too")
    given = parser.parse_args()
    folder = data_folder(given.data, 0.1 if given.quick else 1.0)
    repeats, rounds = (5, 6) if given.quick else (11, 24)
    session = opened(folder)
    rows, wide_seconds, wide_bytes = kernels(session, repeats)
    block = np.ones(1 << 26, np.int64)
    bandwidth = block.nbytes / min(sum_seconds(block, os.cpu_count() or 1) for _ in range(5))
    share = wide_bytes / wide_seconds / bandwidth
    rows.append({"case": "Q6, 64-bit: share of bandwidth", "peer": "NumPy sum", "ours": share,
                 "theirs": 1.0, "ratio": share, "spread": f"{bandwidth / 1e9:.1f} GB/s",
                 "unit": "share"})  # fmt: skip
    found, told = everything(session, rounds)
    details = [{"what": key, "queries": ", ".join(map(str, value)) or "none", "count": len(value)}
               for key, value in told.items()]  # fmt: skip
    if given.peers:
        found += peers(folder, repeats)
    report("tpch", rows + found, details=details, quiet=given.json)
    if told["wrong"]:
        sys.exit(f"answers differ from DuckDB's: {told['wrong']}")


if __name__ == "__main__":
    main()
