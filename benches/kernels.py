"""Machine code of two programs against DuckDB's own tables: TPC-H Q6 and Q1 over made-up rows.

    python benches/kernels.py [--quick]

Rows are drawn as dbgen draws them (uniform quantities, discounts, taxes, dates), with NULLs in a
variant, as 64-bit columns or as narrow as the values. Each way runs in turn in one process, two
threads. The first table is what a kernel costs to make; cached means linked from its object.
"""

from __future__ import annotations

import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from report import arguments, report

from foveal.engine.compile.data import ColumnData, Inputs, SourceData
from foveal.engine.compile.llvm import kernel as kernels
from foveal.engine.compile.llvm import machine
from foveal.engine.compile.object_cache import ObjectFiles
from foveal.engine.compile.runtime import run_kernel
from foveal.planner.ir import nodes, program, typing
from foveal.planner.ir.types import DATE, I32, Code, Decimal, Int, Type, physical

MONEY = Decimal(15, 2)
TYPES: dict[str, Type] = {
    "quantity": MONEY, "price": MONEY, "discount": MONEY, "tax": MONEY, "shipped": DATE,
    "flag": Code("flag"), "status": Code("status"),
}  # fmt: skip
ENTRIES = {"flag": ["A", "N", "R"], "status": ["F", "O"]}
Q6 = """SELECT sum(price * discount) FROM lineitem WHERE shipped >= DATE '1994-01-01'
  AND shipped < DATE '1995-01-01' AND discount BETWEEN 0.05 AND 0.07 AND quantity < 24"""
Q1 = """SELECT flag, status, sum(quantity), sum(price), sum(price * (1 - discount)),
  sum(price * (1 - discount) * (1 + tax)), avg(quantity), avg(price), avg(discount), count(*)
  FROM lineitem WHERE shipped <= DATE '1998-09-02' GROUP BY ALL ORDER BY ALL"""
VARIANTS = {
    "64 bits": (False, False),
    "narrow": (True, False),
    "64 bits, NULLs": (False, True),
    "narrow, NULLs": (True, True),
}


def draw(rows: int, nulls: bool) -> dict[str, tuple[Any, Any]]:
    """Return stored values, and bool validity or None, of each column."""
    random = np.random.default_rng(1)
    values: dict[str, Any] = {
        "quantity": random.integers(1, 51, rows) * 100,
        "price": random.integers(90_000, 10_500_000, rows),
        "discount": random.integers(0, 11, rows),
        "tax": random.integers(0, 9, rows),
        "shipped": random.integers(8036, 10_562, rows),
        "flag": random.integers(0, 3, rows),
        "status": random.integers(0, 2, rows),
    }
    money = ("quantity", "price", "discount", "tax")
    return {
        name: (v, random.random(rows) >= 0.05 if nulls and name in money else None)
        for name, v in values.items()
    }


def columns(rows: int, narrow: bool, nulls: bool) -> tuple[Inputs, program.Source]:
    """Return the rows as a program takes them."""
    data: dict[str, ColumnData] = {}
    declared: list[program.Column] = []
    for name, (values, valid) in draw(rows, nulls).items():
        type_, low, high = TYPES[name], int(values.min()), int(values.max())
        stored = physical(type_)
        assert isinstance(stored, Int)
        if narrow:
            stored = next(w for w in map(Int, (8, 16, 32)) if high < 1 << (w.bits - 1))
        array = np.ascontiguousarray(values.astype(f"i{stored.bits // 8}"))
        bitmap = None
        if valid is not None:
            array[~valid] = 0
            packed = np.packbits(valid, bitorder="little")
            bitmap = np.zeros(-(-rows // 64) * 8, np.uint8)
            bitmap[: len(packed)] = packed
        entries = pa.array(ENTRIES[name]) if name in ENTRIES else None
        data[name] = ColumnData(type_, array, bitmap, entries, low, high)
        declared.append(program.Column(name, type_, stored, valid is not None, low, high))
    return Inputs({"lineitem": SourceData(rows, data)}), program.Source("lineitem", tuple(declared))


def database(rows: int, nulls: bool) -> duckdb.DuckDBPyConnection:
    """Return DuckDB with the same rows in a table of its own, codes as ENUMs."""
    arrays: dict[str, Any] = {}
    for name, (values, valid) in draw(rows, nulls).items():
        mask = None if valid is None else ~valid
        arrays[name] = pa.array(values, mask=mask)
    con = duckdb.connect(config={"threads": 2})
    con.register("drawn", pa.table(arrays))
    items = [
        f"(({n})::DECIMAL(18,0) / 100)::DECIMAL(15,2) AS {n}"
        for n in ("quantity", "price", "discount", "tax")
    ]
    con.execute("CREATE TYPE flag AS ENUM ('A', 'N', 'R'); CREATE TYPE status AS ENUM ('F', 'O')")
    con.execute(
        f"CREATE TABLE lineitem AS SELECT {', '.join(items)}, DATE '1970-01-01' + shipped::INTEGER"
        " AS shipped, (['A', 'N', 'R'])[flag + 1]::flag AS flag,"
        " (['F', 'O'])[status + 1]::status AS status FROM drawn"
    )
    con.unregister("drawn")
    return con


def day(text: str) -> nodes.Expr:
    """Return a date as a constant."""
    return typing.literal(int(np.datetime64(text).astype("i8")), DATE)


def programs(source: program.Source) -> dict[str, program.Program]:
    """Return Q6 and Q1."""
    c = {x.name: nodes.Column(x.name, x.type) for x in source.columns}
    year = typing.both(
        typing.binary("ge", c["shipped"], day("1994-01-01")),
        typing.binary("lt", c["shipped"], day("1995-01-01")),
        typing.binary("ge", c["discount"], typing.literal(5, MONEY)),
        typing.binary("le", c["discount"], typing.literal(7, MONEY)),
        typing.binary("lt", c["quantity"], typing.literal(2400, MONEY)),
    )
    revenue = typing.fold("sum", typing.arithmetic("mul", c["price"], c["discount"]))
    one = typing.literal(1, I32)
    paid = typing.arithmetic("mul", c["price"], typing.arithmetic("sub", one, c["discount"]))
    taxed = typing.arithmetic("mul", paid, typing.arithmetic("add", one, c["tax"]))
    folds = [
        *(typing.fold("sum", x) for x in (c["quantity"], c["price"], paid, taxed)),
        *(typing.fold("avg", c[n]) for n in ("quantity", "price", "discount")),
        typing.fold("count"),
    ]
    keys = tuple(program.Key(n, c[n], False, 0, len(ENTRIES[n]) - 1) for n in ENTRIES)
    group = program.Group(keys, tuple((f"f{k}", x) for k, x in enumerate(folds)), "dense")
    until = typing.binary("le", c["shipped"], day("1998-09-02"))
    loops = {
        "Q6": program.Loop("r", "lineitem", program.Struct((("revenue", revenue),)), year),
        "Q1": program.Loop("r", "lineitem", group, until),
    }
    return {n: program.Program(n, (source,), (loop,), ("r",)) for n, loop in loops.items()}


def made(whole: program.Program, level: machine.Level, files: ObjectFiles) -> tuple[Any, Any]:
    """Return a kernel, and what making and linking it took."""
    began = time.perf_counter()
    code = kernels.object_code(kernels.plan_program(whole), level)
    compiled = time.perf_counter()
    key = kernels.cache_key(whole, level)
    files.store(key, code)
    stored = time.perf_counter()
    kept = files.load(key)
    assert kept is not None
    kernel = kernels.load_kernel(whole, kernels.plan_program(whole), kept, level)
    linked = time.perf_counter()
    cost = {"compile ms": (compiled - began) * 1e3, "cached ms": (linked - stored) * 1e3}
    return kernel, cost | {"bytes": len(code)}


def ask(con: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    """Return DuckDB's rows."""
    return con.sql(sql).fetchall()


def main() -> None:
    """Compare and print."""
    given = arguments(__doc__ or "")
    rows, repeats = (1_000_000, 7) if given.quick else (6_000_000, 15)
    files = ObjectFiles(Path(tempfile.mkdtemp()) / "objects")
    out: list[dict[str, Any]] = []
    for variant, (narrow, nulls) in VARIANTS.items():
        inputs, source = columns(rows, narrow, nulls)
        con = database(rows, nulls)
        for query, whole in programs(source).items():
            sql = Q6 if query == "Q6" else Q1
            ways: dict[str, Callable[[], Any]] = {}
            costs: dict[str, Any] = {}
            for level in ("O0", "O3"):
                kernel, costs[level] = made(whole, level, files)
                ways[level] = functools.partial(run_kernel, kernel, inputs, lambda: None, 2)
            ways["duckdb"] = functools.partial(ask, con, sql)
            times: dict[str, list[float]] = {way: [] for way in ways}
            answers: dict[str, Any] = {}
            for turn in range(repeats + 2):
                for way, run in ways.items():
                    began = time.perf_counter()
                    answers[way] = run()
                    if turn > 1:
                        times[way].append((time.perf_counter() - began) * 1e3)
            for level in ("O0", "O3"):
                check(query, answers[level]["r"], answers["duckdb"])
                ours, theirs = (statistics.median(times[w]) for w in (level, "duckdb"))
                spread = f"{min(times[level]):.3g}..{max(times[level]):.3g}"
                row = {"case": f"{query}, {variant}, {level}", "peer": "DuckDB", "ours": ours}
                row |= {"theirs": theirs, "ratio": theirs / ours, "spread": spread, "unit": "ms"}
                out.append(row | costs[level])
    report("kernels", out, quiet=given.json)


def check(query: str, ours: pa.Table, theirs: list[tuple[Any, ...]]) -> None:
    """Compare answers: exactly, but for averages."""
    mine = sorted(tuple(row.values()) for row in ours.to_pylist())
    assert len(mine) == len(theirs), query
    for a, b in zip(mine, theirs, strict=True):
        for x, y in zip(a, b, strict=True):
            close = isinstance(x, float) and abs(x - y) <= 1e-12 * abs(y)
            assert close or x == y, (query, a, b)


if __name__ == "__main__":
    main()
