"""The annotations that foveal has for other people's functions, found by the functions themselves.

NumPy's and SciPy's ufuncs all split alike; other functions are listed by library in
`annotations_*`. No library is imported for its annotations.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from foveal.udfs.functions import (
    annotations_numpy,
    annotations_opencv,
    annotations_pandas,
    annotations_scipy,
)
from foveal.udfs.functions.split_types import Aligned, Broadcast, Concat, Written
from foveal.udfs.functions.splitting import Splittable, splittable

_LISTS: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "numpy": annotations_numpy.ANNOTATIONS,
    "scipy": annotations_scipy.ANNOTATIONS,
    "pandas": annotations_pandas.ANNOTATIONS,
    "cv2": annotations_opencv.ANNOTATIONS,
}
_MADE: dict[int, tuple[object, Splittable | None]] = {}


def known_annotation(function: Callable[..., Any]) -> Splittable | None:
    """Return a function's annotated form, None where foveal has none."""
    kept = _MADE.get(id(function))
    if kept is None or kept[0] is not function:
        kept = _MADE[id(function)] = (function, _made(function))
    return kept[1]


def _made(function: Callable[..., Any]) -> Splittable | None:
    if isinstance(function, np.ufunc):
        return _ufunc(function)
    library = str(getattr(function, "__module__", "") or "").partition(".")[0]
    name = str(getattr(function, "__qualname__", getattr(function, "__name__", "")))
    if not library and getattr(sys.modules.get("cv2"), name, None) is function:
        library = "cv2"  # OpenCV's functions do not say where they are from
    listed = _LISTS.get(library, {}).get(name.replace("NDFrame.", "Series."))
    if listed is None:
        return None
    types = {key: split for key, split in listed.items() if key not in ("out", "names")}
    if "names" in listed:
        return Splittable(function, types, listed["out"], Broadcast(), listed["names"])
    return splittable(out=listed["out"], **types)(function)


def _ufunc(function: Any) -> Splittable | None:
    """Return a ufunc's annotated form: element by element, after NumPy's broadcasting."""
    if function.signature is not None or function.nout != 1:
        return None
    names = (*(f"x{i + 1}" for i in range(function.nin)), "out")
    types = {name: Aligned() for name in names[:-1]}
    if function.nin + function.nout == len(names):
        return Splittable(
            function, {**types, "out": Written(), "where": Aligned()}, Concat(), Broadcast(),
            (*names, "where", "dtype", "casting", "order", "subok"),
        )  # fmt: skip
    return None


class Annotated:
    """A module whose functions are captured where they have an annotation; the rest as it is."""

    def __init__(self, module: ModuleType) -> None:
        """Stand before a module."""
        self._module = module

    def __getattr__(self, name: str) -> Any:
        """Return the module's name, annotated where that is known."""
        found = getattr(self._module, name)
        if isinstance(found, ModuleType):
            return Annotated(found)
        if callable(found) and (annotated := known_annotation(found)) is not None:
            return annotated
        return found

    def __dir__(self) -> list[str]:
        """Return the module's names."""
        return dir(self._module)


def annotated(module: ModuleType) -> Any:
    """Return a stand-in for a module (NumPy, SciPy, OpenCV, pandas) whose calls are captured."""
    return Annotated(module)
