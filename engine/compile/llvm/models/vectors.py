"""Vectors and loops over them, in the textual IR."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from foveal.engine.compile.llvm.text import Function, Value, integer, number

LANES = 8
"""Rows in a vector."""


def vector(type_: str, lanes: int = LANES) -> str:
    """Return a vector's type.

    >>> vector("float")
    '<8 x float>'
    """
    return f"<{lanes} x {type_}>"


def element(type_: str) -> str:
    """Return the type of a vector's lanes."""
    return type_.strip("<>").partition(" x ")[2]


def lanes_of(type_: str) -> int:
    """Return how many lanes a vector has."""
    return int(type_.strip("<>").partition(" x ")[0])


def every(value: Value, lanes: int = LANES) -> Value:
    """Return a constant in every lane."""
    return Value(f"splat ({value})", vector(value.type, lanes))


def floats(value: float, type_: str, lanes: int = LANES) -> Value:
    """Return a float constant in every lane."""
    return every(number(value, type_), lanes)


def ints(value: int, type_: str, lanes: int = LANES) -> Value:
    """Return an integer constant in every lane."""
    return every(integer(value, type_), lanes)


def spread(f: Function, value: Value, lanes: int = LANES) -> Value:
    """Return a value in every lane."""
    type_ = vector(value.type, lanes)
    one = f.emit(type_, f"insertelement {type_} poison, {value}, i32 0")
    return f.emit(type_, f"shufflevector {one}, {type_} poison, <{lanes} x i32> zeroinitializer")


def compare(f: Function, predicate: str, left: Value, right: Value) -> Value:
    """Return a comparison of each lane."""
    kind = "fcmp" if element(left.type) in ("float", "double") else "icmp"
    type_ = vector("i1", lanes_of(left.type))
    return f.emit(type_, f"{kind} {predicate} {left}, {right.text}")


def choose(f: Function, condition: Value, yes: Value, no: Value) -> Value:
    """Return of each lane one of two values."""
    return f.emit(yes.type, f"select {condition}, {yes}, {no}")


def load(f: Function, type_: str, pointer: Value, align: int | None = None) -> Value:
    """Load a vector; blocks begin on cache lines, arrays on their elements."""
    size = 4 if element(type_) in ("float", "i32") else 8
    return f.emit(type_, f"load {type_}, {pointer}, align {align or size}")


def store(f: Function, value: Value, pointer: Value) -> None:
    """Store a vector."""
    size = 4 if element(value.type) in ("float", "i32") else 8
    f.line(f"store {value}, {pointer}, align {size}")


def lane(f: Function, value: Value, place: int) -> Value:
    """Return one lane."""
    return f.emit(element(value.type), f"extractelement {value}, i32 {place}")


def gather(f: Function, type_: str, read: Callable[[int], Value]) -> Value:
    """Return a vector whose lanes are read one by one."""
    out = Value("poison", type_)
    for place in range(lanes_of(type_)):
        out = f.emit(type_, f"insertelement {out}, {read(place)}, i32 {place}")
    return out


def wide(f: Function, value: Value) -> Value:
    """Return floats as doubles."""
    return f.convert("fpext", value, vector("double", lanes_of(value.type)))


def narrow(f: Function, value: Value, type_: str) -> Value:
    """Return doubles as floats of a type."""
    return f.convert("fptrunc", value, vector(type_, lanes_of(value.type)))


def intrinsic(f: Function, name: str, *arguments: Value) -> Value:
    """Call an intrinsic of float vectors."""
    type_ = arguments[0].type
    suffix = f"v{lanes_of(type_)}{'f64' if element(type_) == 'double' else 'f32'}"
    return f.call(type_, f"llvm.{name}.{suffix}", *arguments)


def counted(
    f: Function,
    first: Value,
    last: Value,
    initial: Sequence[Value],
    body: Callable[[Value, list[Value]], Sequence[Value]],
    *,
    step: int = 1,
    name: str = "turn",
) -> list[Value]:
    """Write a loop over first .. last - 1; return what runs along, after it.

    `body` gets the index and the running values and returns their next ones.
    """
    head, turn, done = f.label("head"), f.label(name), f.label("done")
    before = f.block
    f.branch(head)
    f.open(head)
    index = f.phi("i64")
    running = [f.phi(value.type) for value in initial]
    index.add(first, before)
    for phi, value in zip(running, initial, strict=True):
        phi.add(value, before)
    f.branch_if(f.compare("slt", index.value, last), turn, done)
    f.open(turn)
    after = body(index.value, [phi.value for phi in running])
    following = f.emit("i64", f"add nuw nsw {index.value}, {step}")
    end = f.block
    f.branch(head)
    index.add(following, end)
    for phi, value in zip(running, after, strict=True):
        phi.add(value, end)
    f.open(done)
    return [phi.value for phi in running]
