"""Writes LLVM's textual IR: functions, blocks, instructions; folds boolean constants on the way.

Text rather than llvmlite's objects: it is built several times faster, knows opaque pointers and
every intrinsic, and has types. A value is its name or constant with its LLVM type.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Value:
    """An SSA name or a constant, with its LLVM type."""

    text: str
    type: str

    def __str__(self) -> str:
        """Return it as an operand: type and name."""
        return f"{self.type} {self.text}"


TRUE, FALSE = Value("true", "i1"), Value("false", "i1")
INVERSE = {
    **{"eq": "ne", "ne": "eq", "slt": "sge", "sge": "slt", "sgt": "sle", "sle": "sgt"},
    **{"ult": "uge", "uge": "ult", "ugt": "ule", "ule": "ugt"},
}
FLOATS = ("float", "double")


def integer(value: int, type_: str = "i64") -> Value:
    """Return an integer constant."""
    return Value(str(value), type_)


def number(value: float, type_: str = "double") -> Value:
    """Return a float constant; of `float` it must be one exactly, or is rounded to one."""
    if type_ == "float":
        (value,) = struct.unpack("<f", struct.pack("<f", value))
    return Value(f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}", type_)


def bits_of(type_: str) -> int:
    """Return the width of an LLVM integer type."""
    return int(type_[1:])


@dataclass(slots=True)
class Phi:
    """A phi whose incoming values are added as blocks get written."""

    value: Value
    block: list[str]
    position: int
    incoming: list[str] = field(default_factory=list[str])

    def add(self, value: Value, label: str) -> None:
        """Add what it is when control comes from block `label`."""
        assert value.type == self.value.type, (value, self.value)
        self.incoming.append(f"[ {value.text}, %{label} ]")
        joined = ", ".join(self.incoming)
        self.block[self.position] = f"  {self.value.text} = phi {self.value.type} {joined}"


class Function:
    """One function being written; instructions go to the end of the current block."""

    def __init__(
        self,
        name: str,
        result: str,
        parameters: list[tuple[str, str]],
        attributes: str = "",
        linkage: str = "",
    ) -> None:
        """Open it at its first block. `parameters`: (type with attributes, name)."""
        listed = ", ".join(f"{type_} %{name}" for type_, name in parameters)
        self.head = f"define {linkage} {result} @{name}({listed}) {attributes} {{"
        self.name = name
        self.result = result
        self.parameters = {name: Value(f"%{name}", type_.split()[0]) for type_, name in parameters}
        self.declarations: set[str] = set()
        self.globals: set[str] = set()
        self.library: set[str] = set()
        self._blocks: list[tuple[str, list[str]]] = []
        self._names = 0
        self._allocas: list[str] = []
        self._negated: dict[str, Value] = {}
        self.block = ""
        self.lines: list[str] = []
        self.open("entry")

    # --- blocks ---

    def label(self, hint: str) -> str:
        """Return a new block's name, which `open` opens later."""
        self._names += 1
        return f"{hint}{self._names}"

    def open(self, label: str) -> None:
        """Go on writing in a new block."""
        self.block, self.lines = label, []
        self._blocks.append((label, self.lines))

    def branch(self, label: str) -> None:
        """End the block with a jump."""
        self.line(f"br label %{label}")

    def branch_if(self, condition: Value, yes: str, no: str, *, likely: bool | None = None) -> None:
        """End the block with a conditional jump."""
        hint = "" if likely is None else f", !prof !{0 if likely else 1}"
        self.line(f"br {condition}, label %{yes}, label %{no}{hint}")

    def phi(self, type_: str) -> Phi:
        """Start a phi at the current place (the head of a block)."""
        value = Value(self._name(), type_)
        self.lines.append("")
        return Phi(value, self.lines, len(self.lines) - 1)

    def ret(self, value: Value | None = None) -> None:
        """End the block by returning."""
        self.line("ret void" if value is None else f"ret {value}")

    # --- instructions ---

    def line(self, text: str) -> None:
        """Write an instruction without a result."""
        self.lines.append("  " + text)

    def emit(self, type_: str, text: str) -> Value:
        """Write an instruction whose result has a type."""
        name = self._name()
        self.lines.append(f"  {name} = {text}")
        return Value(name, type_)

    def _name(self) -> str:
        self._names += 1
        return f"%v{self._names}"

    def op(self, op: str, left: Value, right: Value) -> Value:
        """Write a binary instruction of two values of one type."""
        assert left.type == right.type, (op, left, right)
        return self.emit(left.type, f"{op} {left}, {right.text}")

    def compare(self, predicate: str, left: Value, right: Value) -> Value:
        """Write icmp or fcmp."""
        assert left.type == right.type, (predicate, left, right)
        kind = "fcmp" if left.type in FLOATS else "icmp"
        return self.emit("i1", f"{kind} {predicate} {left}, {right.text}")

    def convert(self, op: str, value: Value, type_: str) -> Value:
        """Write a conversion (trunc, sext, bitcast, ..) unless the type is already right."""
        if value.type == type_:
            return value
        return self.emit(type_, f"{op} {value} to {type_}")

    def resize(self, value: Value, type_: str, *, signed: bool = True) -> Value:
        """Return an integer in another width: cut off, or extended."""
        if value.type == type_:
            return value
        if value.text.lstrip("-").isdigit():
            return Value(value.text, type_)
        have, want = bits_of(value.type), bits_of(type_)
        if have > want:
            return self.convert("trunc", value, type_)
        return self.convert("sext" if signed and have > 1 else "zext", value, type_)

    def both(self, *conditions: Value) -> Value:
        """Return the conjunction of booleans."""
        kept = [c for c in dict.fromkeys(conditions) if c != TRUE]
        if FALSE in kept:
            return FALSE
        if not kept:
            return TRUE
        out = kept[0]
        for condition in kept[1:]:
            out = self.op("and", out, condition)
        return out

    def either(self, *conditions: Value) -> Value:
        """Return the disjunction of booleans."""
        kept = [c for c in dict.fromkeys(conditions) if c != FALSE]
        if TRUE in kept:
            return TRUE
        if not kept:
            return FALSE
        out = kept[0]
        for condition in kept[1:]:
            out = self.op("or", out, condition)
        return out

    def negate(self, condition: Value) -> Value:
        """Return the negation of a boolean."""
        if condition in (TRUE, FALSE):
            return FALSE if condition == TRUE else TRUE
        return self.emit("i1", f"xor {condition}, true")

    def select(self, condition: Value, yes: Value, no: Value) -> Value:
        """Return one of two values."""
        assert yes.type == no.type, (yes, no)
        if condition == TRUE or yes == no:
            return yes
        if condition == FALSE:
            return no
        if yes.type == "i1":
            if no == FALSE:
                return self.both(condition, yes)
            if yes == TRUE:
                return self.either(condition, no)
        return self.emit(yes.type, f"select {condition}, {yes}, {no}")

    def call(self, type_: str, name: str, *arguments: Value) -> Value:
        """Call a function or intrinsic, declared by the types of its arguments."""
        listed = ", ".join(str(argument) for argument in arguments)
        if name.startswith("llvm."):
            types = ", ".join(argument.type for argument in arguments)
            self.declarations.add(f"declare {type_} @{name}({types})")
        if type_ == "void":
            self.line(f"call void @{name}({listed})")
            return Value("", "void")
        return self.emit(type_, f"call {type_} @{name}({listed})")

    # --- memory ---

    def alloca(self, type_: str, align: int = 64) -> Value:
        """Reserve stack memory for the function's length."""
        name = self._name()
        self._allocas.append(f"  {name} = alloca {type_}, align {align}")
        return Value(name, "ptr")

    def at(self, pointer: Value, type_: str, index: Value) -> Value:
        """Return the address of an element of an array."""
        return self.emit("ptr", f"getelementptr inbounds {type_}, {pointer}, {index}")

    def load(self, type_: str, pointer: Value, align: int | None = None) -> Value:
        """Load a value, by default with the alignment of its own size (128 bits: 8 bytes)."""
        return self.emit(type_, f"load {type_}, {pointer}, align {align or alignment(type_)}")

    def store(self, value: Value, pointer: Value, align: int | None = None) -> None:
        """Store a value."""
        self.line(f"store {value}, {pointer}, align {align or alignment(value.type)}")

    # --- the whole ---

    def text(self) -> str:
        """Return the finished function."""
        parts = [self.head]
        for position, (label, lines) in enumerate(self._blocks):
            parts.append(f"{label}:")
            if position == 0:
                parts += self._allocas
            parts += lines
        parts.append("}")
        return "\n".join(parts)


def alignment(type_: str) -> int:
    """Return the bytes that a value of a type is aligned to in our arrays."""
    sizes = {"float": 4, "double": 8, "ptr": 8}
    return sizes[type_] if type_ in sizes else min(max(bits_of(type_) // 8, 1), 8)
