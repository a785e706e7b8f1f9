"""Linear models: weighted sums of features in their order, then the link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.udfs.scoring.kinds import LinearKind, Link
from foveal.udfs.scoring.model import Feature, ScoringModel, Shift, broken, check_features

Array = npt.NDArray[Any]
MAX_OUTPUTS = 1024


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Linear(ScoringModel):
    """`weights` [raw, features] and `intercepts` [raw] in f64, used in the features' type.

    Sums start from the intercept and go in the order of the features, a product rounded before it
    is added.
    """

    weights: Array
    intercepts: Array

    @property
    def model_kind(self) -> LinearKind:
        """Which kernel runs it."""
        return LinearKind(
            inputs=self.inputs,
            raw=len(self.intercepts),
            shift=not self.shift.trivial,
            missing=self.missing,
            link=self.link,
            pair=self.pair,
        )

    @property
    def arrays(self) -> Sequence[Array]:
        """Weights, intercepts, the scale, shifts."""
        type_ = np.float32 if self.inputs == 32 else np.float64
        return [
            np.ascontiguousarray(self.weights.astype(type_)),
            self.intercepts.astype(type_),
            np.array([self.scale]),
            self.shift.rows(type_),
        ]

    def over_floats(self) -> Linear:
        """Return the same model; its sums over doubles could not be told from those over floats."""
        return self

    def raw_outputs(self, x: Array) -> Array:
        """Return the sums [rows, raw]."""
        weights, intercepts = self.weights.astype(x.dtype), self.intercepts.astype(x.dtype)
        out = np.tile(intercepts, (len(x), 1))
        with np.errstate(all="ignore"):
            for k in range(x.shape[1]):
                out = out + x[:, k : k + 1] * weights[:, k]
        return out


def linear(
    weights: Array,
    intercepts: Array,
    *,
    link: Link = "identity",
    pair: bool = False,
    inputs: int = 64,
    names: Sequence[str] = (),
    outputs: Sequence[str] = (),
    shift: Shift | None = None,
) -> Linear:
    """Return a linear model from `weights` [raw, features] and `intercepts` [raw].

    Raises:
        DataError: 22023: shapes that do not fit, or a weight that is no finite number.
    """
    weights, intercepts = np.asarray(weights, np.float64), np.asarray(intercepts, np.float64)
    if weights.ndim != 2 or intercepts.shape != weights.shape[:1]:
        raise broken(f"weights {weights.shape} and intercepts {intercepts.shape}")
    raw, features = weights.shape
    check_features(features)
    if not 1 <= raw <= MAX_OUTPUTS:
        raise broken(f"{raw} outputs; 1 to {MAX_OUTPUTS} are possible")
    if not (np.isfinite(weights).all() and np.isfinite(intercepts).all()):
        raise broken("a weight is no finite number")
    known = tuple(names) or tuple(f"f{k}" for k in range(features))
    made = Linear(
        features=tuple(Feature(name) for name in known),
        output_names=(),
        shift=shift or Shift.none(features),
        inputs=inputs,
        link=link,
        pair=pair,
        weights=weights,
        intercepts=intercepts,
    )
    count = made.model_kind.outputs
    return replace(made, output_names=tuple(outputs) or tuple(f"output_{k}" for k in range(count)))
