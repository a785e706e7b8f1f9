"""Split types: how arguments of a black-box function are cut by rows, how its results are joined.

Split annotations: S. Palkar and M. Zaharia, "Optimizing Data-Intensive Computations in Existing
Libraries with Split Annotations", SOSP 2019.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

NDARRAY: Any = np.ndarray


@dataclass(frozen=True, slots=True)
class Rows:
    """Cut by rows, always: an array, Series, DataFrame or Arrow array as long as the others."""


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Given whole to every chunk."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """Cut by rows where NumPy's broadcasting would walk along the rows, else given whole."""


@dataclass(frozen=True, slots=True)
class Written:
    """Cut by rows, and written in place (`out=`): the chunks are views of the caller's array."""


@dataclass(frozen=True, slots=True)
class Concat:
    """The chunks' results one behind the other."""


@dataclass(frozen=True, slots=True)
class Reduce:
    """The chunks' results put together two by two, in the order of the rows.

    `combine`: sum, prod, min, max, any, all, or an associative function of two results.
    """

    combine: str | Callable[[Any, Any], Any]

    def function(self) -> Callable[[Any, Any], Any]:
        """Return the function of two results.

        Raises:
            ValueError: the word is none of those above.
        """
        if not isinstance(self.combine, str):
            return self.combine
        if self.combine not in _COMBINE:
            raise ValueError(
                f'no reduction is called "{self.combine}"; choose one of {", ".join(_COMBINE)}'
            )
        return _COMBINE[self.combine]


_COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "sum": operator.add, "prod": operator.mul, "min": np.minimum, "max": np.maximum,
    "any": np.logical_or, "all": np.logical_and,
}  # fmt: skip

ArgumentSplit: TypeAlias = Rows | Broadcast | Aligned | Written
ResultSplit: TypeAlias = Concat | Reduce
ResultRule: TypeAlias = ResultSplit | Callable[[dict[str, Any]], ResultSplit | None]
"""A result's split, or a function of the arguments by name that says it; None: it cannot split."""


def rows_of(value: Any) -> int | None:
    """Return how many rows a value has, None for what has none."""
    if isinstance(value, NDARRAY):
        return int(value.shape[0]) if value.ndim else None
    if hasattr(value, "iloc") or (hasattr(value, "slice") and hasattr(value, "null_count")):
        return len(value)
    return None


def cut(value: Any, start: int, stop: int) -> Any:
    """Return rows of a value; of arrays and Arrow without a copy."""
    if isinstance(value, NDARRAY):
        return value[start:stop]
    if hasattr(value, "iloc"):
        return value.iloc[start:stop]
    return value.slice(start, stop - start)


def row_bytes(value: Any) -> int:
    """Return about how many bytes a row of a value takes."""
    rows = rows_of(value)
    if not rows:
        return 0
    if isinstance(value, NDARRAY):
        return max(1, value.nbytes // rows)
    if hasattr(value, "memory_usage"):
        used: Any = value.memory_usage(index=False)
        return max(1, int(np.sum(used)) // rows)
    return max(1, int(value.nbytes) // rows)


def joined(parts: list[Any], rows: int) -> Any:
    """Return chunks' results one behind the other."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if hasattr(first, "iloc"):
        import pandas  # pyright: ignore[reportMissingTypeStubs, reportMissingImports]

        whole: Any = pandas
        return whole.concat(parts)
    if hasattr(first, "slice") and hasattr(first, "null_count"):
        import pyarrow

        arrow: Any = pyarrow
        return arrow.concat_arrays([p for part in parts for p in getattr(part, "chunks", [part])])
    return np.concatenate(parts)
