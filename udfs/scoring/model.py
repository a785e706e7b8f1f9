"""What every model as data is: a kind, a signature, arrays for the kernel, and NumPy's answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from foveal.errors import DataError
from foveal.planner.ir import program
from foveal.planner.ir.types import Type
from foveal.udfs.scoring.kinds import Kind, Link
from foveal.udfs.scoring.links import linked

Array = npt.NDArray[Any]
MAX_FEATURES = 4096
"""More features than this make no sense beside SQL's columns."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One argument. `categorical`: its numbers are places among `categories` (None: not named)."""

    name: str
    categorical: bool = False
    categories: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Shift:
    """What happens to features first: (x - offset) * factor + added, each [features] in f64.

    `zero`: magnitudes up to this are a missing value; -1: none is.
    """

    offset: Array
    factor: Array
    added: Array
    zero: Array

    @classmethod
    def none(cls, features: int) -> Shift:
        """Return the shift that changes nothing."""
        zeros = np.zeros(features)
        return cls(zeros, np.ones(features), zeros, np.full(features, -1.0))

    @property
    def trivial(self) -> bool:
        """Whether it changes nothing."""
        plain = not self.offset.any() and not self.added.any() and bool((self.factor == 1).all())
        return plain and bool((self.zero < 0).all())

    def applied(self, x: Array) -> Array:
        """Return features [rows, features] shifted, in their own type."""
        if self.trivial:
            return x
        type_ = x.dtype
        with np.errstate(all="ignore"):
            moved = (x - self.offset.astype(type_)) * self.factor.astype(type_)
            moved = moved + self.added.astype(type_)
            return np.where(np.abs(moved) <= self.zero.astype(type_), type_.type(np.nan), moved)

    def rows(self, type_: Any) -> Array:
        """Return [4, features] in the features' type, as kernels read it."""
        return np.stack([self.offset, self.factor, self.added, self.zero]).astype(type_)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoringModel(ABC):
    """A model as data: `foveal.engine.compile.data.ModelData`.

    `link`, `scale`: what is made of raw outputs. `pair`: 1 - p comes out before p. `inputs`: bits
    of the features' floats. `missing`: NULL is a missing value rather than NULL's reason.
    `output_names`: one for each output.
    """

    features: tuple[Feature, ...]
    output_names: tuple[str, ...]
    shift: Shift
    inputs: int
    link: Link = "identity"
    scale: float = 1.0
    pair: bool = False
    missing: bool = False

    @property
    @abstractmethod
    def model_kind(self) -> Kind:
        """Which kernel runs it."""

    @property
    @abstractmethod
    def arrays(self) -> Sequence[Array]:
        """The contiguous arrays that the kernel of this kind takes, in its order."""

    @abstractmethod
    def raw_outputs(self, x: Array) -> Array:
        """Return the sums before the link [rows, raw] for shifted features [rows, features]."""

    @property
    def kind(self) -> str:
        """The word for the kernel."""
        return str(self.model_kind)

    def parameter(self, name: str) -> program.Model:
        """Return the model's parameter of a program."""
        kind = self.model_kind
        return program.Model(
            name, self.kind, self.feature_types, (kind.output_type,) * kind.outputs
        )

    @property
    def feature_types(self) -> tuple[Type, ...]:
        """Types of the arguments: all FLOAT or all DOUBLE."""
        return (self.model_kind.input_type,) * len(self.features)

    def raw(self) -> Self:
        """Return the same model without its link: log odds instead of probabilities."""
        names = tuple(f"raw_{k}" for k in range(self.model_kind.raw))
        return replace(self, link="identity", pair=False, output_names=names)

    def predict(self, features: Sequence[Array], valid: Sequence[Array | None]) -> list[Array]:
        """Return every output [rows] for features [rows] each: the reference, in NumPy.

        Outputs are masked arrays where the model knows no missing values and a feature is NULL.
        """
        type_ = np.float32 if self.inputs == 32 else np.float64
        columns: list[Array] = []
        absent: Array | None = None
        for values, mask in zip(features, valid, strict=True):
            with np.errstate(all="ignore"):
                column = values.astype(type_)
            if mask is not None:
                column = np.where(mask, column, type_(np.nan))
                absent = ~mask if absent is None else absent | ~mask
            columns.append(column)
        raw = self.raw_outputs(self.shift.applied(np.stack(columns, axis=1)))
        outputs = linked(self.model_kind, raw, self.scale)
        if absent is None or self.missing:
            return outputs
        return [np.ma.masked_array(output, absent) for output in outputs]


def check_features(count: int) -> None:
    """Refuse a number of features that no model should have.

    Raises:
        DataError: 22023.
    """
    if not 1 <= count <= MAX_FEATURES:
        raise broken(f"{count} features; 1 to {MAX_FEATURES} are possible")


def broken(reason: str) -> DataError:
    """Return the error for a file that is not the model that it says it is."""
    return DataError(
        f"this model file cannot be read: {reason}",
        sqlstate="22023",
        hint="write the model again with the library that trained it",
    )
