"""What this machine does in a second: measured once, kept in the user's cache folder.

The figures only steer what is tried; what statements really took corrects them
(`engine.compiled_choice`).
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from foveal.planner.compiled.cost import Machine

_ROWS = 400_000
_REPEATS = 3


@cache
def machine() -> Machine:
    """Return the machine's figures; measuring takes less than a second, the first time."""
    path = _path()
    try:
        kept = json.loads(path.read_text())
        return Machine(**{k: float(v) for k, v in kept.items()})
    except (OSError, ValueError, TypeError):
        found = measured()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(asdict(found), file)
        os.replace(file.name, path)
    except OSError:
        return found  # a home that cannot be written to: measured again by the next process
    return found


def _path() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    name = f"machine-{platform.machine()}-{os.cpu_count()}-{duckdb.__version__}.json"
    return Path(root) / "foveal" / name


def _best(run: Callable[[], object]) -> float:
    taken: list[float] = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return min(taken)


def measured() -> Machine:
    """Measure this machine: memory, and DuckDB's scan, grouping, joining and reading of Arrow."""
    start = Machine()
    values = np.arange(4_000_000, dtype=np.int64)
    bandwidth = values.nbytes / _best(values.sum)
    threads = os.cpu_count() or 1
    connection = duckdb.connect(":memory:")
    try:
        connection.execute(
            f"CREATE TABLE t AS SELECT (i % 100)::INTEGER a, i::BIGINT b, (i * 7 % 1000)::BIGINT c "
            f"FROM range({_ROWS}) r(i)"
        )
        connection.execute("CREATE TABLE d AS SELECT i::BIGINT k FROM range(10000) r(i)")
        rows = connection.sql("SELECT a, b FROM t").to_arrow_table()
        assert isinstance(rows, pa.Table)

        def took(sql: str) -> float:
            return _best(lambda: connection.execute(sql).fetchall())

        statement = took("SELECT sum(b) FROM t WHERE false")
        scan = max(took("SELECT sum(b), sum(c) FROM t") - statement, 1e-5) / (2 * _ROWS)
        group = max(took("SELECT a, sum(b) FROM t GROUP BY a") - statement, 1e-5) / _ROWS
        joined = max(took("SELECT sum(b) FROM t, d WHERE c = k") - statement, 1e-5) / _ROWS
        connection.register("arrow_rows", rows)
        crossed = max(took("SELECT sum(a), sum(b) FROM arrow_rows") - statement, 1e-5) / (2 * _ROWS)
    finally:
        connection.close()
    return replace(
        start,
        bandwidth=bandwidth * min(threads, 2),
        scan=scan,
        duckdb_operation=scan * 0.8,
        duckdb_group=max(group - 2 * scan, scan),
        duckdb_join=max(joined - 2 * scan, scan),
        crossing=crossed + 2e-9,
        statement=statement,
    )
