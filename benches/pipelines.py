"""Generated pipelines: interpreter, every pass, machine code and DuckDB must agree on each of them.

    python benches/pipelines.py --count 20000 --seed 0

Each seed makes one program over columns of random types, ranges and NULLs. It is interpreted as
written, after all passes, with each pass off in turn, and with each pass alone in turn; run as
machine code on one or two threads, without LLVM's optimisation and, for a share, with all of it;
and asked of DuckDB as SQL. Whole numbers, decimals, dates, booleans and strings must be equal,
doubles to 1e-9; an error here must be an error there. `--seed` and `--count` pick a range, so that
a long run can be cut in pieces; a seed alone repeats its case.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from pipelines_check import Checker, Mismatch
from pipelines_programs import random_case
from report import commit

from foveal.engine.compile.llvm.machine import Level
from foveal.planner.ir.passes import NAMES, parametrized
from foveal.planner.ir.program import Program

OPTIMISED_EVERY = 7
"""One in so many programs is also compiled with all optimisation."""
BIG_EVERY = 1009
"""One in so many programs runs over more rows than a thread takes at a time."""
SHOWN = 20

Rewrite = Callable[[Program], tuple[Program, Mapping[str, Any]]]


def without(*names: str) -> Rewrite:
    """Return the passes but some."""
    return lambda program: parametrized(program, names)


def variants(seed: int) -> dict[str, Rewrite]:
    """Return the ways in which a seed's program is rewritten: which passes are off takes turns."""
    off, alone = NAMES[seed % len(NAMES)], NAMES[seed // len(NAMES) % len(NAMES)]
    return {
        "all passes": without(),
        f"without {off}": without(off),
        f"{alone} alone": without(*(name for name in NAMES if name != alone)),
    }


def levels(seed: int) -> list[tuple[Level, int]]:
    """Return how a seed's program is compiled, and on how many threads it runs."""
    out: list[tuple[Level, int]] = [("O0", 1 + seed % 2)]
    if seed % OPTIMISED_EVERY == 0:
        out.append(("O3", 1 + seed // OPTIMISED_EVERY % 2))
    return out


def run(seeds: range, *, quiet: bool = False) -> Checker:
    """Check the cases of some seeds; return what came out."""
    checker = Checker()
    started = time.perf_counter()
    for done, seed in enumerate(seeds):
        try:
            case = random_case(seed, big=seed % BIG_EVERY == BIG_EVERY - 1)
            checker.check(case, variants(seed), levels(seed))
        except Mismatch as error:
            checker.tally.bad.append((seed, str(error)))
            if len(checker.tally.bad) <= SHOWN:
                print(f"MISMATCH {error}\n", flush=True)
        if not quiet and done % 1000 == 999:
            print(f"{done + 1} programs, {time.perf_counter() - started:.0f} s", flush=True)
    return checker


def main() -> None:
    """Run a range of seeds and print RESULT."""
    parser = argparse.ArgumentParser(description="Generated pipelines, run in every way.")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--quick", action="store_true", help="500 programs")
    parser.add_argument("--json", action="store_true", help="print only the RESULT line")
    given = parser.parse_args()
    seeds = range(given.seed, given.seed + (500 if given.quick else given.count))
    started = time.perf_counter()
    checker = run(seeds, quiet=given.json)
    counts = checker.tally.counts
    if not given.json:
        for name, count in counts.most_common():
            print(f"{count:8d}  {name}")
    result = {
        "bench": "pipelines",
        "programs": counts["programs"],
        "seeds": [seeds.start, seeds.stop],
        "mismatches": len(checker.tally.bad),
        "seeds of mismatches": [seed for seed, _ in checker.tally.bad[:SHOWN]],
        "results compared with DuckDB": counts["in duckdb"],
        "rewritten programs": counts["rewritten"],
        "compiled runs": counts["compiled"],
        "without machine code": counts["unsupported"],
        "raised": counts["raised"],
        "seconds": round(time.perf_counter() - started),
        "load": round(os.getloadavg()[0], 2),
        "commit": commit(),
    }
    print("RESULT " + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
