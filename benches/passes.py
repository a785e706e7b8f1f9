"""What each pass over programs brings: time with it off over time with all, on TPC-H's lineitem.

    python benches/passes.py --lineitem lineitem.parquet

The programs are as a front end writes them: constants cast to common types, every aggregate by
itself, sibling loops apart. All variants of a program run in turn, in one process; medians. The
same table says how long the optimised code of each takes to compile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from report import commit, table

from foveal.engine.compile.arrow import column_data, machine_dtype
from foveal.engine.compile.data import ColumnData, Inputs, SourceData
from foveal.engine.compile.llvm.kernel import Kernel, compile_program
from foveal.engine.compile.runtime import run_kernel
from foveal.planner.ir import nodes, program, typing
from foveal.planner.ir.nodes import Expr
from foveal.planner.ir.passes import NAMES, parametrized
from foveal.planner.ir.program import Group, Key, Loop, Program, Struct
from foveal.planner.ir.types import (
    F64,
    I32,
    TIMESTAMP,
    Bool,
    Decimal,
    Float,
    Int,
    limits,
    physical,
)

COLUMNS = (
    "l_shipdate", "l_discount", "l_quantity", "l_extendedprice", "l_tax", "l_returnflag",
    "l_linestatus", "l_suppkey", "l_partkey",
)  # fmt: skip
DAY = 86_400_000_000
_WIDTHS = (Int(8), Int(16), Int(32), Int(64))

Lineitem = Mapping[str, ColumnData]


def load(path: Path, rows: int | None) -> dict[str, ColumnData]:
    """Read lineitem, each column as narrow as its values are."""
    read: Any = pq.read_table(path, columns=list(COLUMNS))
    found: dict[str, ColumnData] = {}
    for name in COLUMNS:
        array: Any = read.column(name)
        data = column_data(array if rows is None else array.slice(0, rows), dictionary=name)
        if data.low is not None and data.high is not None:
            low, high = data.low, data.high
            narrow = next(t for t in _WIDTHS if limits(t)[0] <= low and high <= limits(t)[1])
            data = replace(data, values=data.values.astype(machine_dtype(narrow)))
        found[name] = data
    return found


def source_of(data: Lineitem) -> program.Source:
    """Return the declaration of lineitem."""
    columns: list[program.Column] = []
    for name, column in data.items():
        kind = column.values.dtype
        storage: Bool | Int | Float = physical(column.type)
        if kind.kind == "i":
            storage = Int(kind.itemsize * 8)
        columns.append(
            program.Column(
                name, column.type, storage, column.validity is not None, column.low, column.high
            )
        )
    return program.Source("lineitem", tuple(columns))


class Cases:
    """Programs over lineitem."""

    def __init__(self, source: program.Source) -> None:
        """Name the columns."""
        self.source = source
        self.ref = {c.name: nodes.Column(c.name, c.type) for c in source.columns}

    def whole(self, *loops: Loop) -> Program:
        """Return a program of some loops."""
        return Program("q", (self.source,), loops, tuple(loop.into for loop in loops))

    def decimal(self, op: str, name: str, value: int, scale: int) -> Expr:
        """Return a column compared with a constant of its own precision."""
        constant = typing.literal(value, Decimal(scale + 2, scale))
        return typing.arithmetic(op, self.ref[name], constant)

    def dates(self, first: str, last: str) -> Expr:
        """Return shipped between two days, as `date + interval` makes it: by timestamps."""
        days = [int(np.datetime64(day, "D").astype(int)) for day in (first, last)]
        low, high = (typing.literal(day * DAY, TIMESTAMP) for day in days)
        at = self.ref["l_shipdate"]
        return typing.both(typing.arithmetic("ge", at, low), typing.arithmetic("lt", at, high))

    def q6(self, year: int = 1994, into: str = "r") -> Loop:
        """Return TPC-H's query 6."""
        where = typing.both(
            self.dates(f"{year}-01-01", f"{year + 1}-01-01"),
            self.decimal("ge", "l_discount", 50, 3),
            self.decimal("le", "l_discount", 70, 3),
            self.decimal("lt", "l_quantity", 2400, 2),
        )
        product = typing.arithmetic("mul", self.ref["l_extendedprice"], self.ref["l_discount"])
        return Loop(into, "lineitem", Struct((("revenue", typing.fold("sum", product)),)), where)

    def q1(self) -> Loop:
        """Return TPC-H's query 1."""
        ref = self.ref
        one = typing.literal(1, I32)
        price = ref["l_extendedprice"]
        discounted = typing.arithmetic(
            "mul", price, typing.arithmetic("sub", one, ref["l_discount"])
        )
        charge = typing.arithmetic("mul", discounted, typing.arithmetic("add", one, ref["l_tax"]))
        folds = (
            ("sum_qty", typing.fold("sum", ref["l_quantity"])),
            ("sum_base_price", typing.fold("sum", price)),
            ("sum_disc_price", typing.fold("sum", discounted)),
            ("sum_charge", typing.fold("sum", charge)),
            ("avg_qty", typing.fold("avg", ref["l_quantity"])),
            ("avg_price", typing.fold("avg", price)),
            ("avg_disc", typing.fold("avg", ref["l_discount"])),
            ("count_order", typing.fold("count")),
        )
        keys = (Key("f", ref["l_returnflag"]), Key("s", ref["l_linestatus"]))
        return Loop("r", "lineitem", Group(keys, folds), self.dates("1970-01-01", "1998-09-03"))

    def grouped(self, name: str) -> Loop:
        """Return revenue by a key of many values."""
        folds = (("s", typing.fold("sum", self.ref["l_extendedprice"])),)
        return Loop("r", "lineitem", Group((Key("k", self.ref[name]),), folds))

    def rare(self) -> Loop:
        """Return a costly aggregate of the rows of one week."""
        x: Expr = typing.cast(self.ref["l_extendedprice"], F64)
        for _ in range(4):
            x = typing.unary("sqrt", typing.binary("add", x, typing.literal(1.5, F64)))
        folds = Struct((("s", typing.fold("sum", x)),))
        return Loop("r", "lineitem", folds, self.dates("1995-03-01", "1995-03-08"))

    def all(self) -> dict[str, Program]:
        """Return the programs by name."""
        years = [self.q6(year, f"r{year}") for year in (1993, 1994, 1995, 1996)]
        return {
            "Q6": self.whole(self.q6()),
            "Q1": self.whole(self.q1()),
            "Q6 of four years": self.whole(*years),
            "rare and costly": self.whole(self.rare()),
            "by supplier (10,000)": self.whole(self.grouped("l_suppkey")),
            "by part (200,000)": self.whole(self.grouped("l_partkey")),
        }


def prepared(written: Program, off: str | None) -> tuple[Kernel, dict[str, Any], float]:
    """Return a program's code with a pass off, the scalars it adds, and the compiling seconds."""
    made, values = parametrized(written, () if off is None else NAMES if off == "all" else (off,))
    started = time.perf_counter()
    kernel = compile_program(made, "O3")
    return kernel, dict(values), time.perf_counter() - started


def measure(written: Program, data: Lineitem, repeats: int) -> dict[str, dict[str, float]]:
    """Return milliseconds of running and of compiling, with all passes, each off, all off."""
    rows = next(iter(data.values())).rows
    ways: dict[str, tuple[Kernel, dict[str, Any], float]] = {}
    for off in (None, *NAMES, "all"):
        ways[off or "none"] = prepared(written, off)
    times: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    for _ in range(repeats):
        for name, (kernel, values, _) in ways.items():
            inputs = Inputs({"lineitem": SourceData(rows, data)}, values)
            started = time.perf_counter()
            made = run_kernel(kernel, inputs, lambda: None)
            times[name].append(time.perf_counter() - started)
            results[name] = {k: len(t.to_pylist()) for k, t in made.items()}
    assert len({json.dumps(r) for r in results.values()}) == 1
    same = {name: kernel.program for name, (kernel, _, _) in ways.items()}
    return {
        name: {
            "run ms": statistics.median(times[name]) * 1e3,
            "min ms": min(times[name]) * 1e3,
            "compile ms": ways[name][2] * 1e3,
            "changes": float(same[name] != same["none"]),
        }
        for name in ways
    }


def strategies(cases: Cases, data: Lineitem, repeats: int) -> list[dict[str, Any]]:
    """Return milliseconds of grouping by place and by hash, by the number of keys."""
    out: list[dict[str, Any]] = []
    rows = next(iter(data.values())).rows
    inputs = Inputs({"lineitem": SourceData(rows, data)})
    part = cases.ref["l_partkey"]
    for count in (100, 1000, 10_000, 50_000, 100_000, 200_000):
        key = typing.arithmetic("mod", part, typing.literal(count, part.type))
        folds = (("s", typing.fold("sum", cases.ref["l_extendedprice"])),)
        row: dict[str, Any] = {"keys": count}
        kernels = {
            way: compile_program(
                cases.whole(
                    Loop(
                        "r", "lineitem",
                        Group((Key("k", key, False, 0, count - 1),), folds, way),
                    )
                ),
                "O3",
            )
            for way in ("dense", "hash")
        }  # fmt: skip
        times: dict[str, list[float]] = {way: [] for way in kernels}
        for _ in range(repeats):
            for way, kernel in kernels.items():
                started = time.perf_counter()
                run_kernel(kernel, inputs, lambda: None)
                times[way].append(time.perf_counter() - started)
        for way, found in times.items():
            row[f"{way} ms"] = statistics.median(found) * 1e3
        out.append(row)
    return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What each pass over programs brings.")
    parser.add_argument("--lineitem", type=Path, required=True, help="TPC-H's table, as Parquet")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--quick", action="store_true", help="a million rows, three repeats")
    given = parser.parse_args()
    data = load(given.lineitem, 1_000_000 if given.quick else None)
    repeats = 3 if given.quick else given.repeats
    cases = Cases(source_of(data))
    rows: list[dict[str, Any]] = []
    for name, written in cases.all().items():
        found = measure(written, data, repeats)
        for off, figures in found.items():
            if off == "none" or figures["changes"]:
                ratio = figures["run ms"] / found["none"]["run ms"]
                rows.append({"program": name, "off": off, **figures, "off / all": ratio})
    groups = strategies(cases, data, repeats)
    print("\n".join(table(rows)), end="\n\n")
    print("\n".join(table(groups)), end="\n\n")
    result = {
        "bench": "passes", "rows": rows, "groups": groups, "load": os.getloadavg()[0],
        "cores": os.cpu_count(), "commit": commit(),
    }  # fmt: skip
    print("RESULT " + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
