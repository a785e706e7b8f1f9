"""How much memory the machine has, and how much of it is free, as Linux tells."""

from __future__ import annotations

import os
from pathlib import Path

_TABLE = Path("/proc/meminfo")
RESERVE = 0.05
"""Share of the machine's memory that cached columns leave free."""


def _line(name: str) -> int | None:
    """Return a line of /proc/meminfo in bytes; None where there is no such file or line."""
    try:
        lines = _TABLE.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, rest = line.partition(":")
        if key == name:
            return int(rest.split()[0]) * 1024
    return None


def total() -> int:
    """Return the bytes of memory of the machine."""
    found = _line("MemTotal")
    return found if found is not None else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def shortage(wanted: int) -> int:
    """Return how many bytes are lacking to allocate `wanted` and leave the reserve free."""
    free = _line("MemAvailable")
    if free is None:
        return 0
    return max(0, wanted + int(RESERVE * total()) - free)
