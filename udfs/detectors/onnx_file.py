"""The bytes of an ONNX file in, facts and edits out, at the level of protobuf fields.

Only three things are needed of the format, so that no ONNX package is needed to run: which outside
files the weights lie in, the names given to them, and a new size for the input. Source: onnx.proto
of onnx/onnx (field numbers) and the Protocol Buffers encoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5

# Field numbers on the way from a ModelProto down to every tensor.
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT = 1, 5, 11
_GRAPH_OUTPUT, _GRAPH_VALUE_INFO, _GRAPH_SPARSE = 12, 13, 15
_NODE_ATTRIBUTE, _FUNCTION_NODE = 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES = 22, 23
_TENSOR_EXTERNAL = 13

_DESCENT: dict[str, dict[int, str]] = {
    "model": {_MODEL_GRAPH: "graph", _MODEL_FUNCTIONS: "function"},
    "function": {_FUNCTION_NODE: "node"},
    "graph": {_GRAPH_NODE: "node", _GRAPH_INITIALIZER: "tensor", _GRAPH_SPARSE: "sparse"},
    "node": {_NODE_ATTRIBUTE: "attribute"},
    "attribute": {
        _ATTRIBUTE_TENSOR: "tensor",
        _ATTRIBUTE_TENSORS: "tensor",
        _ATTRIBUTE_GRAPH: "graph",
        _ATTRIBUTE_GRAPHS: "graph",
        _ATTRIBUTE_SPARSE: "sparse",
        _ATTRIBUTE_SPARSES: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {_TENSOR_EXTERNAL: "entry"},
}
_MAX_DEPTH = 64


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("not a protobuf message")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(data: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field number, start of the field, start of its payload, end) of one message."""
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        kind = tag & 7
        payload = at
        if kind == _VARINT:
            _, at = _varint(data, at)
        elif kind == _LEN:
            length, payload = _varint(data, at)
            at = payload + length
        elif kind in (_I64, _I32):
            at += 8 if kind == _I64 else 4
        else:
            raise ValueError("not a protobuf message")
        if at > len(data):
            raise ValueError("the message ends too early")
        yield tag >> 3 if kind == _LEN else -(tag >> 3), start, payload, at


def _walk(data: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise ValueError("the graph is nested too deeply")
    if kind == "entry":  # StringStringEntryProto: key = 1, value = 2
        entry = {n: bytes(data[a:b]).decode() for n, _, a, b in _fields(data)}
        if entry.get(1) == "location":
            yield entry.get(2, "")
        return
    below = _DESCENT[kind]
    for number, _, payload, end in _fields(data):
        if number in below:
            yield from _walk(data[payload:end], below[number], depth + 1)


def external_locations(model: bytes) -> frozenset[str]:
    """Return the names of all outside files that hold tensors of the model.

    Raises:
        ValueError: the bytes are not an ONNX model.
    """
    return frozenset(_walk(memoryview(model), "model", 0))


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _message(number: int, payload: bytes) -> bytes:
    return _encoded(number << 3 | _LEN) + _encoded(len(payload)) + payload


def _replaced(data: memoryview, path: Sequence[int], dims: dict[int, int]) -> bytes:
    """Return the message with the dims at the end of `path` (field numbers) set."""
    out = bytearray()
    position = 0
    for number, start, payload, end in _fields(data):
        if number != path[0]:
            out += data[start:end]
        elif len(path) > 1:
            out += _message(number, _replaced(data[payload:end], path[1:], dims))
        else:  # TensorShapeProto.Dimension: dim_value = 1
            value = dims.get(position)
            fixed = bytes(data[payload:end]) if value is None else b"\x08" + _encoded(value)
            out += _message(number, fixed)
            position += 1
    return bytes(out)


def with_input_size(model: bytes, name: str, dims: dict[int, int]) -> bytes:
    """Return the model with the axes `dims` of its input `name` set to new sizes.

    The stated shapes of inner values and outputs are taken out, since they no longer hold; the
    runtime finds them again. Whether the graph can run at that size, only a run tells.

    Raises:
        ValueError: the bytes are not an ONNX model.
    """
    # ValueInfoProto: name = 1, type = 2; TypeProto: tensor_type = 1; Tensor: shape = 2; dim = 1.
    out = bytearray()
    view = memoryview(model)
    for number, start, payload, end in _fields(view):
        if number != _MODEL_GRAPH:
            out += view[start:end]
            continue
        graph = bytearray()
        body = view[payload:end]
        for field, begin, inner, stop in _fields(body):
            if field == _GRAPH_VALUE_INFO:
                continue
            if field not in (_GRAPH_INPUT, _GRAPH_OUTPUT):
                graph += body[begin:stop]
                continue
            value = body[inner:stop]
            names = [bytes(value[a:b]).decode() for n, _, a, b in _fields(value) if n == 1]
            if field == _GRAPH_INPUT and names == [name]:
                graph += _message(field, _replaced(value, (2, 1, 2, 1), dims))
            elif field == _GRAPH_OUTPUT:
                graph += _message(field, _without(value, (2, 1, 2)))
            else:
                graph += body[begin:stop]
        out += _message(_MODEL_GRAPH, bytes(graph))
    return bytes(out)


def _without(data: memoryview, path: Sequence[int]) -> bytes:
    """Return the message without the field at `path`."""
    out = bytearray()
    for number, start, payload, end in _fields(data):
        if number != path[0]:
            out += data[start:end]
        elif len(path) > 1:
            out += _message(number, _without(data[payload:end], path[1:]))
    return bytes(out)
