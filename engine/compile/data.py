"""What a program runs over: columns, tables and models as contiguous buffers, and who runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foveal.planner.ir.program import Program
from foveal.planner.ir.types import Type
from foveal.planner.protocols import CancelCheck

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class ColumnData:
    """A column of one source.

    `values` [rows]: contiguous, in the machine type that the program's column names as storage
    (bool is uint8 0/1; 128-bit integers are int64 [rows, 2], low word first). `validity`: a bit per
    row as in Arrow (uint8, least significant bit first, offset 0, whole 64-bit words readable),
    None: every row is valid. Values of invalid rows are 0 and need not hold the bounds.
    `dictionary`: of codes, the entries. `low`, `high`: bounds of the stored integers of valid rows
    (None for floats and for columns without a valid row).
    """

    type: Type
    values: Array
    validity: npt.NDArray[np.uint8] | None = None
    dictionary: pa.Array[Any] | None = None
    low: int | None = None
    high: int | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.values.shape[0])

    @property
    def nbytes(self) -> int:
        """Bytes of memory, the dictionary's included."""
        own = self.values.nbytes + (0 if self.validity is None else self.validity.nbytes)
        return own + (0 if self.dictionary is None else self.dictionary.nbytes)


@dataclass(frozen=True, slots=True, eq=False)
class SourceData:
    """The columns of one source by name, all of `rows` rows."""

    rows: int
    columns: Mapping[str, ColumnData]


@dataclass(frozen=True, slots=True, eq=False)
class TableData:
    """A lookup table: entries in the machine type of the table's type.

    `valid` bool [size], None: all are. `dictionary`: of codes, their entries.
    """

    values: Array
    valid: npt.NDArray[np.bool_] | None = None
    dictionary: pa.Array[Any] | None = None


class ModelData(Protocol):
    """A model as data for the kernel of its kind."""

    @property
    def kind(self) -> str:
        """Which kernel runs it; the same word as in the program's `Model`."""
        ...

    @property
    def arrays(self) -> Sequence[Array]:
        """The contiguous arrays that the kernel of this kind takes, in its order."""
        ...

    def predict(self, features: Sequence[Array], valid: Sequence[Array | None]) -> list[Array]:
        """Return every output [rows] for features [rows] each: the reference, in NumPy.

        `valid`: per feature bool [rows], or None where all are.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Everything that a program's parameters stand for.

    Scalars: bool, int (stored integers), float or None.
    """

    sources: Mapping[str, SourceData]
    scalars: Mapping[str, bool | int | float | None] = field(default_factory=dict[str, Any])
    tables: Mapping[str, TableData] = field(default_factory=dict[str, TableData])
    models: Mapping[str, ModelData] = field(default_factory=dict[str, ModelData])


class Runner(Protocol):
    """Who runs programs: the interpreter, or compiled code on threads."""

    def __call__(
        self, program: Program, inputs: Inputs, check: CancelCheck
    ) -> Mapping[str, pa.Table]:
        """Return each result of the program as a table in Arrow's types of its SQL types.

        HUGEINT is decimal128(38, 0) here; codes are dictionary arrays (int32 indices).

        Raises:
            KernelError: an operation raised for a row that reached it.
            QueryCanceled: `check` raised it.
        """
        ...


class KernelError(Exception):
    """A row raised: overflow, division by zero, a misfit cast, a key twice, or a message of ours.

    Who catches it runs the statement again where errors have their words.
    """

    def __init__(self, message: int | None = None) -> None:
        """Keep which message of the program, None for an operator's own error."""
        super().__init__("a row raised" if message is None else f"message {message}")
        self.message = message
