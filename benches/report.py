"""What a bench prints: a table for people and, last, one `RESULT {...}` line for machines."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULT_KEYS = ("case", "peer", "ours", "theirs", "ratio", "spread", "unit")
"""The keys of a RESULT row. `ratio` above 1 means that foveal is better."""


def arguments(description: str) -> argparse.Namespace:
    """Parse `--quick` (end within a minute) and `--json` (the RESULT line alone)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="end within a minute")
    parser.add_argument("--json", action="store_true", help="print only the RESULT line")
    return parser.parse_args()


def peer(module: str) -> Any:
    """Return a peer's module; the extra `bench` has those that pip installs.

    Raises:
        SystemExit: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise SystemExit(f"{module} is missing: pip install 'foveal[bench]' {module}") from None


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table whose columns are the rows' keys, in order of appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [
        max(len(column), *(len(line[i]) for line in text)) if text else len(column)
        for i, column in enumerate(columns)
    ]
    for line in (columns, ["-" * width for width in widths], *text):
        yield "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def commit() -> str:
    """Return the commit that was measured, with a `+` where the tree differs from it."""
    folder = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=folder, capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        dirty = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=folder, check=False)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if dirty.returncode else "")


def report(
    bench: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    details: Sequence[Mapping[str, Any]] = (),
    quiet: bool = False,
) -> None:
    """Print `details`, then `rows`, as tables (unless `quiet`) and the RESULT line.

    Every row has the keys of `RESULT_KEYS`; `details` are free.
    """
    for row in rows:
        missing = [key for key in RESULT_KEYS if key not in row]
        if missing:
            raise ValueError(f"row {row.get('case')!r} has no {', '.join(missing)}")
    if not quiet:
        for part in (details, rows):
            if part:
                print("\n".join(table(part)), end="\n\n")
    result = {
        "bench": bench,
        "rows": [dict(row) for row in rows],
        "load": round(os.getloadavg()[0], 2),
        "cores": os.cpu_count(),
        "machine": f"{platform.machine()} {platform.system()} Python {platform.python_version()}",
        "commit": commit(),
    }
    print("RESULT " + json.dumps(result), flush=True)
