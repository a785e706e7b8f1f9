"""Time against rows: programs, DuckDB and what `auto` makes of the two, 10^3 to 10^8 rows.

    python benches/scale.py [--quick] [--json]

A generated table of narrow columns per size; two statements over it, one that filters and sums, one
that groups. `foveal.compile` on, off and auto run in turn in one session, medians; on one and on
two threads. `auto` first runs up to 60 times, as its choice follows from what runs took. Asked is
that a program's time grows no faster than the rows (nanoseconds per row at the largest size over
those a factor of ten below, at most 1.25), and that at every size the engine that `auto` has chosen
takes at most 1.25 times what the better one takes. A row's ratio is the better engine's time over
that of `auto`, which differs from the chosen engine's by `auto`'s own work and by noise.
"""

from __future__ import annotations

import sys
import time
from statistics import median
from typing import Any

from report import arguments, report

from foveal.engine.compiled_choice import Shapes
from foveal.engine.session import Session

STATEMENTS = {
    "sum": "SELECT sum(price * discount) FROM t WHERE day BETWEEN 400 AND 764 AND quantity < 24",
    "groups": "SELECT kind, sum(price), avg(quantity), count(*) FROM t WHERE day < 2400 "
    "GROUP BY kind ORDER BY kind",
}
TABLE = """CREATE TABLE t AS SELECT (hash(i) % 2557)::SMALLINT AS day,
(hash(i + 1) % 50)::TINYINT AS quantity, (hash(i + 2) % 11)::TINYINT AS discount,
(hash(i + 3) % 30000)::INTEGER AS price, (hash(i + 4) % 6)::TINYINT AS kind
FROM range({rows}) r(i)"""
MODES = ("on", "off", "auto")
WITHIN = 1.25
"""How many times the better engine's time the chosen one may take, and time per row may grow."""
THREADS = (1, 2)
LARGE = 1_000_000
"""Rows from which on time is mostly work per row."""
SETTLED = 6
"""Runs in turn by programs after which `auto` is taken to stay with them."""


def set_to(session: Session, **values: object) -> None:
    """Set `foveal.*` settings."""
    for name, value in values.items():
        session.execute(f"SET foveal.{name} = '{value}'").close()


def seconds(session: Session, sql: str) -> float:
    """Return what a statement takes, its rows included."""
    started = time.perf_counter()
    session.execute(sql).fetchall()
    return time.perf_counter() - started


def settle(session: Session, sql: str) -> None:
    """Run a statement until columns and code are there and `auto` has made up its mind."""
    set_to(session, compile="on")
    for _ in range(3):
        seconds(session, sql)
        time.sleep(0.2)  # better code is compiled meanwhile
    set_to(session, compile="auto")
    compiled = 0
    for _ in range(60):  # the savings of small tables take that long to pay for compiling
        seconds(session, sql)
        compiled = compiled + 1 if session.report.plan_kind == "compiled" else 0
        if compiled == SETTLED:
            return


def measured(session: Session, sql: str, repeats: int) -> tuple[dict[str, list[float]], bool]:
    """Return the seconds of each mode, in turn, and whether `auto` runs programs at the end."""
    found: dict[str, list[float]] = {mode: [] for mode in MODES}
    compiled = 0
    for number in range(repeats):
        for mode in MODES[number % 3 :] + MODES[: number % 3]:
            set_to(session, compile=mode)
            found[mode].append(seconds(session, sql))
            compiled += mode == "auto" and session.report.plan_kind == "compiled"
    return found, 2 * compiled > repeats


def at_size(rows: int, repeats: int) -> list[dict[str, Any]]:
    """Return what the statements take over a table of some rows, on one and on two threads."""
    session = Session()
    out: list[dict[str, Any]] = []
    try:
        session.execute(TABLE.format(rows=rows)).close()
        for threads in THREADS:
            session.execute(f"SET threads = {threads}").close()
            set_to(session, threads=threads)
            session.compiled.shapes = Shapes()  # `auto` is to learn these threads' times
            for name, sql in STATEMENTS.items():
                settle(session, sql)
                taken, compiled = measured(session, sql, repeats)
                out.append(told(name, threads, rows, taken, compiled=compiled))
    finally:
        session.close()
    return out


def told(
    name: str, threads: int, rows: int, taken: dict[str, list[float]], *, compiled: bool
) -> dict[str, Any]:
    """Return the row of one statement at one size."""
    ms = {mode: median(values) * 1e3 for mode, values in taken.items()}
    better = min(ms["on"], ms["off"])
    return {
        "case": f"{name}, {threads} threads, 10^{len(str(rows)) - 1} rows",
        "peer": "better engine",
        "ours": ms["auto"],
        "theirs": better,
        "ratio": better / ms["auto"],
        "spread": f"{min(taken['auto']) * 1e3:.3g}-{max(taken['auto']) * 1e3:.3g}",
        "unit": "ms",
        "compiled": ms["on"],
        "DuckDB": ms["off"],
        "auto runs": "compiled" if compiled else "DuckDB",
        "ns per row": ms["on"] * 1e6 / rows,
        "what": name,
        "threads": threads,
        "rows": rows,
    }


def verdicts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return per statement and threads: linearity, cut-over, and the worst of `auto`."""
    out: list[dict[str, Any]] = []
    for name, threads in dict.fromkeys((r["what"], r["threads"]) for r in rows):
        mine = [r for r in rows if (r["what"], r["threads"]) == (name, threads)]
        large = [r["ns per row"] for r in mine if r["rows"] >= LARGE]
        growth = large[-1] / large[-2] if len(large) > 1 else None
        faster = next((r["rows"] for r in mine if r["compiled"] < r["DuckDB"]), None)
        cut = next((r["rows"] for r in mine if r["auto runs"] == "compiled"), None)
        worst = max(1 / r["ratio"] for r in mine)
        chosen = max(r[r["auto runs"]] / r["theirs"] for r in mine)
        out.append(
            {
                "statement": f"{name}, {threads} threads",
                "per row, last / before": growth,
                "compiled faster from": faster,
                "auto compiles from": cut,
                "auto / better, worst": worst,
                "chosen / better, worst": chosen,
                "kept": (growth is None or growth <= WITHIN) and chosen <= WITHIN,
            }
        )
    return out


def main() -> None:
    """Run the bench."""
    given = arguments((__doc__ or "").split("\n")[0])
    exponents = range(3, 7) if given.quick else range(3, 9)
    rows: list[dict[str, Any]] = []
    for exponent in exponents:
        repeats = 31 if exponent <= 5 else 15 if exponent <= 7 else 7
        rows += at_size(10**exponent, repeats)
        print(f"10^{exponent} rows: done", file=sys.stderr)
    rows.sort(key=lambda r: (r["threads"], r["what"], r["rows"]))
    report("scale", rows, details=verdicts(rows), quiet=given.json)


if __name__ == "__main__":
    main()
