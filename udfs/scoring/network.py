"""Small networks of dense layers: multi-layer perceptrons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from foveal.udfs.scoring.kinds import NetworkKind
from foveal.udfs.scoring.model import ScoringModel, broken

Array = npt.NDArray[Any]
Activation: TypeAlias = Literal["identity", "relu", "tanh", "sigmoid", "leaky_relu"]
MAX_WIDTH = 512
"""Widest layer: two of them must fit beside each other in the cache."""
MAX_LAYERS = 32
TOGETHER = 4
"""Neurons that the kernel computes at a time: rows of weights are padded with zeros to this."""
FIELDS = 5
"""Inputs, outputs, first weight, first bias, activation: what the kernel knows of a layer."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """`weights` [outputs, inputs], `bias` [outputs], then the activation; `slope` of leaky_relu."""

    weights: Array
    bias: Array
    activation: Activation = "identity"
    slope: float = 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network(ScoringModel):
    """Layers, one after the other."""

    layers: tuple[Layer, ...]

    @property
    def model_kind(self) -> NetworkKind:
        """Which kernel runs it."""
        return NetworkKind(
            inputs=self.inputs,
            raw=len(self.layers[-1].bias),
            shift=not self.shift.trivial,
            missing=self.missing,
            link=self.link,
            pair=self.pair,
        )

    @property
    def arrays(self) -> Sequence[Array]:
        """Layers [layers, FIELDS], weights and biases one after the other, numbers, shifts.

        Numbers: how many layers, the scale, the slope of leaky_relu.
        """
        type_ = np.float32 if self.inputs == 32 else np.float64
        table: list[list[int]] = []
        weights: list[Array] = []
        biases: list[Array] = []
        first = bias = 0
        for layer in self.layers:
            outputs, inputs = layer.weights.shape
            padded = -(-outputs // TOGETHER) * TOGETHER
            rows, added = np.zeros((padded, inputs), type_), np.zeros(padded, type_)
            rows[:outputs], added[:outputs] = layer.weights, layer.bias
            place = get_args(Activation).index(layer.activation)
            table.append([inputs, padded, first, bias, place])
            weights.append(rows.reshape(-1))
            biases.append(added)
            first, bias = first + rows.size, bias + padded
        slopes = [x.slope for x in self.layers if x.activation == "leaky_relu"]
        return [
            np.array(table, np.int64),
            np.concatenate(weights),
            np.concatenate(biases),
            np.array([float(len(table)), self.scale, slopes[0] if slopes else 0.0]),
            self.shift.rows(type_),
        ]

    def over_floats(self) -> Network:
        """Return the same model."""
        return self

    def raw_outputs(self, x: Array) -> Array:
        """Return the last layer's sums [rows, raw]."""
        type_ = x.dtype
        with np.errstate(all="ignore"):
            for layer in self.layers:
                x = x @ layer.weights.astype(type_).T + layer.bias.astype(type_)
                x = activated(layer, x)
        return x


def activated(layer: Layer, x: Array) -> Array:
    """Return a layer's sums through its activation, in their own type."""
    match layer.activation:
        case "identity":
            return x
        case "relu":
            return np.maximum(x, x.dtype.type(0))
        case "leaky_relu":
            return np.where(x >= 0, x, x * x.dtype.type(layer.slope))
        case "tanh":
            return np.tanh(x)
        case "sigmoid":
            return (1.0 / (1.0 + np.exp(-x.astype(np.float64)))).astype(x.dtype)


def check_layers(layers: Sequence[Layer], features: int) -> None:
    """Refuse layers that do not follow on each other.

    Raises:
        DataError: 22023.
    """
    if not 1 <= len(layers) <= MAX_LAYERS:
        raise broken(f"{len(layers)} layers; 1 to {MAX_LAYERS} are possible")
    width = features
    slopes = {layer.slope for layer in layers if layer.activation == "leaky_relu"}
    if len(slopes) > 1:
        raise broken("layers with leaky rectifiers of different slopes")
    for number, layer in enumerate(layers):
        if layer.weights.ndim != 2 or layer.weights.shape[1] != width:
            raise broken(f"layer {number} takes {layer.weights.shape[1:]} values, not {width}")
        width = layer.weights.shape[0]
        if layer.bias.shape != (width,) or not 1 <= width <= MAX_WIDTH:
            raise broken(f"layer {number} has {width} neurons; 1 to {MAX_WIDTH} are possible")
        if not (np.isfinite(layer.weights).all() and np.isfinite(layer.bias).all()):
            raise broken(f"layer {number} has a weight that is no finite number")
    if features > MAX_WIDTH:
        raise broken(f"{features} features; a network takes {MAX_WIDTH} at most")
