"""The arguments of a loop's machine code: one 64-bit slot each, in an order known to both sides.

Made from the program alone, without compiling: code from the object cache runs with it too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from foveal.engine.compile.llvm.cells import Unsupported, llvm_type
from foveal.engine.compile.llvm.models import array_count
from foveal.planner.ir import nodes, types
from foveal.planner.ir.nodes import Expr, children
from foveal.planner.ir.program import (
    Append,
    Bitmap,
    Column,
    Fold,
    Group,
    Loop,
    Model,
    Program,
    Scatter,
    Struct,
    Table,
    TopK,
)

Role: TypeAlias = Literal[
    "column", "validity", "scalar", "scalar_high", "scalar_valid", "table", "table_valid",
    "table_size", "model", "out",
]  # fmt: skip

# Words of the control block, each group on a cache line of its own.
COUNTER, CANCEL, ERROR, ROWS, MORSEL = 0, 8, 9, 16, 17
CONTROL_WORDS = 24
# Why a loop's function returned.
DONE, BUDGET, STOPPED, FULL = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Slot:
    """One argument: what it is and of what; `number` tells several of one name apart."""

    role: Role
    name: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table that a loop looks up: a parameter, or an earlier loop's result."""

    type: types.Type
    has_valid: bool
    nullable: bool


@dataclass(slots=True)
class Layout:
    """What one loop reads, and the slots it comes in."""

    columns: dict[str, Column] = field(default_factory=dict[str, Column])
    scalars: dict[str, nodes.Parameter] = field(default_factory=dict[str, nodes.Parameter])
    tables: dict[str, TableInfo] = field(default_factory=dict[str, TableInfo])
    models: dict[str, Model] = field(default_factory=dict[str, Model])
    slots: list[Slot] = field(default_factory=list[Slot])

    def position(self, role: Role, name: str, number: int = 0) -> int:
        """Return a slot's place."""
        return self.slots.index(Slot(role, name, number))


def storage_type(storage: types.Bool | types.Int | types.Float) -> str:
    """Return the LLVM type in which an array holds a machine type."""
    match storage:
        case types.Bool():
            return "i8"
        case types.Float(bits=bits):
            return "float" if bits == 32 else "double"
        case types.Int(bits=bits):
            return f"i{bits}"


def expressions(loop: Loop) -> list[Expr]:
    """Return the expressions of a loop: the filter, then the builder's in order."""
    out: list[Expr] = [] if loop.where is None else [loop.where]

    def folds(fields: tuple[tuple[str, Fold], ...]) -> list[Expr]:
        return [fold.operand for _, fold in fields if fold.operand is not None]

    match loop.builder:
        case Struct(fields=fields):
            out += folds(fields)
        case Group(keys=keys, fields=fields):
            out += [key.expr for key in keys] + folds(fields)
        case Append(fields=fields):
            out += [x for _, x in fields]
        case TopK(order=order, fields=fields):
            out += [part.expr for part in order] + [x for _, x in fields]
        case Bitmap(index=index):
            out.append(index)
        case Scatter(index=index, value=value):
            out += [index, value]
    return out


def table_info(program: Program, name: str) -> TableInfo:
    """Return what is known of a table by its name.

    Raises:
        Unsupported: neither a parameter nor an earlier loop's table.
    """
    for table in program.tables:
        if table.name == name:
            return _parameter(table)
    for loop in program.loops:
        if loop.into == name:
            match loop.builder:
                case Bitmap():
                    return TableInfo(types.BOOL, has_valid=False, nullable=False)
                case Scatter(value=value):
                    return TableInfo(value.type, has_valid=True, nullable=True)
                case _:
                    break
    raise Unsupported(f"no table {name}")


def _parameter(table: Table) -> TableInfo:
    return TableInfo(table.type, has_valid=table.nullable, nullable=table.nullable)


def lay_out(program: Program, loop: Loop, outs: int) -> Layout:
    """Return a loop's arguments; `outs`: how many arrays its builder writes to."""
    layout = Layout()
    if all(source.name != loop.source for source in program.sources):
        raise Unsupported("a loop over the rows of another")
    declared = {
        column.name: column
        for source in program.sources
        if source.name == loop.source
        for column in source.columns
    }

    models = {model.name: model for model in program.models}

    def visit(x: Expr) -> None:
        match x:
            case nodes.Column():
                layout.columns.setdefault(x.name, declared[x.name])
            case nodes.Parameter():
                layout.scalars.setdefault(x.name, x)
            case nodes.Lookup():
                layout.tables.setdefault(x.table, table_info(program, x.table))
            case nodes.Predict():
                layout.models.setdefault(x.model, models[x.model])
            case _:
                pass
        for child in children(x):
            visit(child)

    for x in expressions(loop):
        visit(x)
    nullable = {scalar.name: scalar.nullable for scalar in program.scalars}
    for name, column in layout.columns.items():
        layout.slots.append(Slot("column", name))
        if column.nullable:
            layout.slots.append(Slot("validity", name))
    for name, x in layout.scalars.items():
        layout.slots.append(Slot("scalar", name))
        if llvm_type(x.type) == "i128":
            layout.slots.append(Slot("scalar_high", name))
        if nullable[name]:
            layout.slots.append(Slot("scalar_valid", name))
    for name, info in layout.tables.items():
        layout.slots.append(Slot("table", name))
        layout.slots.append(Slot("table_size", name))
        if info.has_valid:
            layout.slots.append(Slot("table_valid", name))
    for name, model in layout.models.items():
        layout.slots += [Slot("model", name, k) for k in range(array_count(model.kind))]
    layout.slots += [Slot("out", loop.into, k) for k in range(outs)]
    return layout
