"""How SciPy's functions split that are no ufuncs; `scipy.special` consists of ufuncs mostly."""

from __future__ import annotations

from typing import Any

from foveal.udfs.functions.split_types import Broadcast, Concat, Rows


def _rows_only(arguments: dict[str, Any]) -> Concat | None:
    """Split over rows where the normalisation runs within each row."""
    axis = arguments.get("axis")
    return Concat() if isinstance(axis, int) and axis > 0 else None


def _without_out(arguments: dict[str, Any]) -> Concat | None:
    return Concat() if set(arguments) <= {"XA", "XB", "metric"} else None


ANNOTATIONS: dict[str, dict[str, Any]] = {
    "softmax": {"x": Rows(), "axis": Broadcast(), "out": _rows_only},
    "log_softmax": {"x": Rows(), "axis": Broadcast(), "out": _rows_only},
    "cdist": {"XA": Rows(), "XB": Broadcast(), "out": _without_out},
}
