"""An ONNX file as a chain of steps from its inputs to one output: what models for SQL come as.

The one place that touches the onnx package. Only chains are understood: every step has one input
that is computed and constants beside it. What leads to other outputs (labels) is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.errors import NotSupportedError
from foveal.udfs.scoring.model import broken

Array = npt.NDArray[Any]
MAX_BYTES = 1 << 28
MAX_NODES = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One node: its operator, its attributes as Python values, its constants by place."""

    op: str
    attributes: Mapping[str, Any]
    constants: Mapping[int, Array]
    output: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Steps in the order that they run. `names`: of inputs of one column each, joined first.

    `double`: the inputs are DOUBLE. `width`: columns of the one matrix that comes in, if known.
    """

    steps: list[Step]
    names: tuple[str, ...]
    double: bool
    width: int | None


def read_chain(data: bytes) -> Chain:
    """Return the steps to a file's last output.

    Raises:
        DataError: 22023: it is no ONNX model.
        NotSupportedError: it is no chain, or the onnx package is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise NotSupportedError(
            "ONNX models are read with the onnx package, which is not installed",
            hint="pip install onnx",
        ) from error
    from google.protobuf.message import DecodeError

    if len(data) > MAX_BYTES:
        raise broken(f"it is larger than {MAX_BYTES >> 20} MiB")
    try:
        model: Any = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise broken(f"it is no ONNX file: {error}") from error
    graph = model.graph
    if not graph.output or not graph.input or len(graph.node) > MAX_NODES:
        raise broken("it has no inputs, no outputs or too many nodes")
    reader = _Reader(graph, onnx)
    steps = reader.backward(graph.output[-1].name)
    return Chain(steps, reader.names, reader.double, reader.width)


class _Reader:
    """A graph being followed from an output back to its inputs."""

    def __init__(self, graph: Any, onnx: Any) -> None:
        """Index what makes each value."""
        self._onnx = onnx
        self.makers = {name: node for node in graph.node for name in node.output if name}
        self.inputs = {value.name: value.type.tensor_type.elem_type for value in graph.input}
        self.constants: dict[str, Array] = {}
        for tensor in graph.initializer:
            self.constants[tensor.name] = self._array(tensor)
            self.inputs.pop(tensor.name, None)
        self.names: tuple[str, ...] = ()
        types = set(self.inputs.values())
        if not types <= {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE}:
            raise NotSupportedError("ONNX models over other inputs than floats are not supported")
        self.double = onnx.TensorProto.DOUBLE in types
        shapes = [v.type.tensor_type.shape.dim for v in graph.input if v.name in self.inputs]
        widths = [int(shape[1].dim_value) for shape in shapes if len(shape) == 2]
        self.width = widths[0] if len(widths) == 1 and widths[0] > 0 else None

    def _array(self, tensor: Any) -> Array:
        if tensor.data_location == self._onnx.TensorProto.EXTERNAL:
            raise NotSupportedError("ONNX files whose numbers lie in other files are not supported")
        try:
            return self._onnx.numpy_helper.to_array(tensor)
        except (ValueError, TypeError) as error:
            raise broken(f"tensor {tensor.name}: {error}") from error

    def _attributes(self, node: Any) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for attribute in node.attribute:
            value = self._onnx.helper.get_attribute_value(attribute)
            if attribute.type == self._onnx.AttributeProto.TENSOR:
                value = self._array(value)
            elif attribute.type == self._onnx.AttributeProto.STRING:
                value = value.decode("utf-8", "replace")
            elif attribute.type == self._onnx.AttributeProto.STRINGS:
                value = [each.decode("utf-8", "replace") for each in value]
            out[attribute.name] = value
        return out

    def backward(self, name: str) -> list[Step]:
        """Return the steps that lead to a value, in order."""
        steps: list[Step] = []
        seen: set[str] = set()
        while name not in self.inputs:
            if name in seen or name not in self.makers:
                raise broken(f"nothing makes {name}, or it is made of itself")
            seen.add(name)
            node = self.makers[name]
            output = list(node.output).index(name)
            if node.op_type == "Concat":
                name, step = self._joined(node)
                if step is not None:
                    steps.append(step)
                if not name:
                    break
                continue
            constants: dict[int, Array] = {}
            computed: list[str] = []
            for place, given in enumerate(node.input):
                if given in self.constants:
                    constants[place] = self.constants[given]
                elif given in self.makers and self.makers[given].op_type == "Constant":
                    constants[place] = np.asarray(self._attributes(self.makers[given])["value"])
                elif given:
                    computed.append(given)
            if len(computed) != 1:
                raise NotSupportedError(
                    f"ONNX operator {node.op_type} over {len(computed)} values is not supported",
                    hint="a model is a chain of steps: scaling, then trees, weights or layers",
                )
            steps.append(Step(node.op_type, self._attributes(node), constants, output))
            name = computed[0]
        if not self.names and len(self.inputs) != 1:
            raise NotSupportedError("ONNX models over several matrices are not supported")
        return steps[::-1]

    def _joined(self, node: Any) -> tuple[str, Step | None]:
        """Return what a Concat means: columns joined first (no name), or 1 - p beside p last."""
        given = list(node.input)
        if all(name in self.inputs for name in given) and set(given) == set(self.inputs):
            self.names = tuple(given)
            return "", None
        if len(given) == 2 and given[0] in self.makers:
            other = self.makers[given[0]]
            one = self.constants.get(other.input[0]) if len(other.input) == 2 else None
            complement = other.op_type == "Sub" and other.input[1] == given[1]
            if complement and one is not None and one.size == 1 and float(one.reshape(-1)[0]) == 1:
                return given[1], Step("Pair", {}, {})
        raise NotSupportedError("ONNX models that join values like this are not supported")
