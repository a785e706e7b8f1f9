"""How NumPy's functions split that are no ufuncs (ufuncs all split element by element)."""

from __future__ import annotations

from typing import Any

from foveal.udfs.functions.split_types import Aligned, Broadcast, Concat, Reduce, ResultSplit, Rows


def _along(kind: str) -> Any:
    """Return the result's rule of a reduction: over all or down the rows; else row by row."""

    def rule(arguments: dict[str, Any]) -> ResultSplit | None:
        axis = arguments.get("axis")
        plain = set(arguments) <= {"a", "axis", "dtype"}
        if not plain or (axis is not None and not isinstance(axis, int)):
            return None  # `out`, `where`, `initial` and lists of axes run unsplit
        if axis is None or axis == 0:
            return Reduce(kind)
        return Concat() if axis > 0 else None

    return rule


ANNOTATIONS: dict[str, dict[str, Any]] = {
    "where": {
        "condition": Aligned, "x": Aligned, "y": Aligned, "out": Concat(),
        "names": ("condition", "x", "y"),
    },
    "clip": {"a": Aligned, "a_min": Aligned, "a_max": Aligned, "out": Concat(),
             "names": ("a", "a_min", "a_max")},
    "nan_to_num": {"x": Rows, "out": Concat()},
    "isclose": {"a": Aligned, "b": Aligned, "out": Concat()},
    "round": {"a": Rows, "out": Concat(), "names": ("a", "decimals")},
    "real": {"val": Rows, "out": Concat()},
    "imag": {"val": Rows, "out": Concat()},
    "interp": {"x": Rows, "xp": Broadcast, "fp": Broadcast, "out": Concat()},
    "digitize": {"x": Rows, "bins": Broadcast, "out": Concat()},
    "searchsorted": {"a": Broadcast, "v": Rows, "out": Concat()},
    "isin": {"element": Rows, "test_elements": Broadcast, "out": Concat()},
    "sum": {"a": Rows, "out": _along("sum")},
    "prod": {"a": Rows, "out": _along("prod")},
    "min": {"a": Rows, "out": _along("min")},
    "max": {"a": Rows, "out": _along("max")},
    "amin": {"a": Rows, "out": _along("min")},
    "amax": {"a": Rows, "out": _along("max")},
    "any": {"a": Rows, "out": _along("any")},
    "all": {"a": Rows, "out": _along("all")},
    "count_nonzero": {"a": Rows, "out": _along("sum")},
}  # fmt: skip
for _entry in ANNOTATIONS.values():
    for _name, _split in list(_entry.items()):
        if isinstance(_split, type):
            _entry[_name] = _split()
