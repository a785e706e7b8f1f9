"""ONNX models: scaling, then trees, weights or layers, then what is made of the sums.

Source: ONNX and ONNX-ML operator references; the graphs that skl2onnx, onnxmltools and PyTorch
write for linear models, forests, boosted trees and multi-layer perceptrons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from foveal.errors import NotSupportedError
from foveal.udfs.scoring.kinds import Link
from foveal.udfs.scoring.linear import linear
from foveal.udfs.scoring.model import Feature, ScoringModel, Shift, broken, check_features
from foveal.udfs.scoring.network import Activation, Layer, Network, check_layers
from foveal.udfs.scoring.onnx_graph import Chain, Step, read_chain
from foveal.udfs.scoring.onnx_trees import POST, read_trees

Array = npt.NDArray[Any]
_PASSING = ("Identity", "Cast", "ZipMap", "Flatten", "Reshape", "Dropout")
_TREES = ("TreeEnsembleClassifier", "TreeEnsembleRegressor")
_WEIGHTS = ("LinearClassifier", "LinearRegressor")
_ACTIVATIONS: dict[str, Activation] = {
    "Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "LeakyRelu": "leaky_relu",
}  # fmt: skip
_MOVING = ("Scaler", "Mul", "Add", "Sub", "Div")


def read_onnx(data: bytes) -> ScoringModel:
    """Return the model of a file's bytes: what its last output is made of.

    Raises:
        DataError: 22023: it is not a whole model.
        NotSupportedError: it does something that we do not run.
    """
    chain = read_chain(data)
    try:
        return _model(chain)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise broken(f"a part is missing or of another form: {error!r}") from error


def _model(chain: Chain) -> ScoringModel:
    steps = [step for step in chain.steps if step.op not in _PASSING]
    moves: list[Step] = []
    while steps and steps[0].op in _MOVING:
        moves.append(steps.pop(0))
    if not steps:
        raise NotSupportedError("this ONNX file holds no model that we know")
    count = len(chain.names) or chain.width or _width(steps[0])
    check_features(count)
    names = chain.names or tuple(f"f{k}" for k in range(count))
    features = tuple(Feature(name) for name in names)
    shift = _shift(moves, count)
    head, *tail = steps
    if head.op in _TREES:
        made = read_trees(head.op, head.attributes, features, shift, chain.double)
        _refuse(tail, made.link)
        return made
    bits = 64 if chain.double else 32
    if head.op in _WEIGHTS:
        made = _weights(head, count, bits, names, shift)
        _refuse(tail, made.link)
        return made
    return _layers(steps, features, shift, bits)


def _refuse(tail: Sequence[Step], link: Link) -> None:
    """Refuse steps after the model; probabilities that are scaled to a sum of 1 already are."""
    for step in tail:
        if step.op == "Normalizer" and step.attributes.get("norm") == "L1" and link == "softmax":
            continue
        raise NotSupportedError(
            f"ONNX operator {step.op} after a model is not supported",
            hint="a model is a chain of steps: scaling, then trees, weights or layers",
        )


def _width(step: Step) -> int:
    """Return how many features the first step of a model takes."""
    given = step.attributes
    if step.op in _TREES:
        return 1 + max(int(x) for x in given["nodes_featureids"])
    if step.op in _WEIGHTS:
        return len(given["coefficients"]) // max(len(given.get("intercepts") or ()), _rows(step))
    if step.op in ("MatMul", "Gemm"):
        return _matrix(step).shape[1]
    raise NotSupportedError(
        f"ONNX operator {step.op} is not supported",
        hint="trees, linear models and dense layers are; scaling may come before them",
    )


def _rows(step: Step) -> int:
    labels = step.attributes.get("classlabels_ints") or step.attributes.get("classlabels_strings")
    return len(labels) if labels else int(step.attributes.get("targets", 1))


def _shift(moves: Sequence[Step], features: int) -> Shift:
    """Return what the steps before a model do to its features: (x - offset) * factor + added."""
    plain = Shift.none(features)
    offset, factor, added = plain.offset, plain.factor, plain.added
    stage = 0
    for step in moves:
        if step.op == "Scaler":
            given = (step.attributes["offset"], step.attributes["scale"])
            parts = [("Sub", given[0]), ("Mul", given[1])]
        elif 0 in step.constants and step.op in ("Sub", "Div"):
            raise NotSupportedError(f"ONNX operator {step.op} from a constant is not supported")
        else:
            parts = [(step.op, next(iter(step.constants.values())))]
        for op, constant in parts:
            value = np.broadcast_to(np.asarray(constant, np.float64).reshape(-1), (features,))
            place = {"Sub": 1, "Mul": 2, "Div": 2, "Add": 3}[op]
            if not np.isfinite(value).all() or (op == "Div" and (value == 0).any()):
                raise broken("features are scaled by no finite number")
            if op == "Div" and not _powers_of_two(value):
                raise NotSupportedError("ONNX models that divide features are not supported")
            if place <= stage:
                raise NotSupportedError("ONNX models that scale features twice are not supported")
            stage = place
            if place == 1:
                offset = value
            elif place == 2:
                factor = 1 / value if op == "Div" else value
            else:
                added = value
    return Shift(offset, factor, added, plain.zero)


def _powers_of_two(value: Array) -> bool:
    return bool((np.frexp(value)[0] == 0.5).all())


def _weights(
    step: Step, count: int, bits: int, names: tuple[str, ...], shift: Shift
) -> ScoringModel:
    """Return a linear model."""
    given = step.attributes
    rows = _rows(step)
    weights = np.asarray(given["coefficients"], np.float64).reshape(-1, count)
    intercepts = np.asarray(given.get("intercepts") or np.zeros(rows), np.float64)
    if len(weights) != rows or intercepts.shape != (rows,):
        raise NotSupportedError(f"ONNX classifiers of {rows} classes with {len(weights)} sums")
    post = str(given.get("post_transform", "NONE"))
    if post not in POST:
        raise NotSupportedError(f"ONNX's transform {post} is not supported")
    labels = given.get("classlabels_ints") or given.get("classlabels_strings") or ()
    outputs = tuple(str(x) for x in labels)
    return linear(
        weights, intercepts, link=POST[post], inputs=bits, names=names, outputs=outputs, shift=shift
    )


def _matrix(step: Step) -> Array:
    """Return a layer's weights [outputs, inputs]."""
    weights = np.asarray(step.constants[1], np.float64)
    if weights.ndim != 2:
        raise broken(f"weights of shape {weights.shape}")
    if step.op == "Gemm":
        given: Mapping[str, Any] = step.attributes
        if given.get("alpha", 1.0) != 1 or given.get("beta", 1.0) != 1 or given.get("transA", 0):
            raise NotSupportedError("ONNX's Gemm with factors is not supported")
        return weights if given.get("transB", 0) else weights.T
    return weights.T


def _layers(
    steps: Sequence[Step], features: tuple[Feature, ...], shift: Shift, bits: int
) -> ScoringModel:
    """Return a network."""
    layers: list[Layer] = []
    link: Link = "identity"
    pair = False
    for step in steps:
        if link != "identity" and step.op != "Pair":
            raise NotSupportedError(f"ONNX operator {step.op} after {link} is not supported")
        if step.op in ("MatMul", "Gemm"):
            weights = _matrix(step)
            bias = np.asarray(step.constants.get(2, np.zeros(len(weights))), np.float64)
            layers.append(Layer(weights, np.broadcast_to(bias.reshape(-1), (len(weights),))))
        elif step.op == "Add" and layers and layers[-1].activation == "identity":
            bias = np.asarray(next(iter(step.constants.values())), np.float64).reshape(-1)
            layers[-1] = replace(layers[-1], bias=layers[-1].bias + bias)
        elif step.op in _ACTIVATIONS and layers and layers[-1].activation == "identity":
            slope = float(step.attributes.get("alpha", 0.01))
            layers[-1] = replace(layers[-1], activation=_ACTIVATIONS[step.op], slope=slope)
        elif step.op == "Softmax" and layers:
            link = "softmax"
        elif step.op == "Pair" and layers:
            pair = True
        else:
            raise NotSupportedError(f"ONNX operator {step.op} is not supported here")
    if layers and layers[-1].activation == "sigmoid":
        layers[-1] = replace(layers[-1], activation="identity")
        link = "logistic"
    check_layers(layers, len(features))
    outputs = len(layers[-1].bias)
    if pair and outputs != 1:
        raise broken(f"1 - p beside {outputs} outputs")
    assert set(_ACTIVATIONS.values()) < set(get_args(Activation))
    return Network(
        features=features,
        output_names=tuple(f"output_{k}" for k in range(outputs + int(pair))),
        shift=shift,
        inputs=bits,
        link=link,
        pair=pair,
        layers=tuple(layers),
    )
