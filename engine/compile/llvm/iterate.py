"""Loops within a row: a block that turns until the condition ends, or the row fails."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from foveal.engine.compile.llvm.cells import Cell, Context, llvm_type
from foveal.engine.compile.llvm.text import TRUE, Function, Value, integer
from foveal.planner.ir import nodes
from foveal.planner.ir.nodes import Expr, children

Turning: TypeAlias = tuple[object, ...]
"""What loops within a row have in common that are one: all but their results."""

CANCEL_EVERY = 4096
"""Turns between looks at the cancel flag."""


@dataclass(frozen=True, slots=True)
class Turned:
    """A loop that is written: its variables behind it, where they are valid, what it raised."""

    variables: Mapping[str, Cell]
    present: Value
    raised: Value


class RowWriter(Protocol):
    """What a loop needs of the writer of the row that it is in.

    `turned`: the loops that are written; others that differ in their results only take from them.
    """

    f: Function
    turned: dict[Turning, Turned]

    @property
    def cancel(self) -> Value | None:
        """Where the cancel flag is; None: nobody cancels."""
        ...

    def cell(self, x: Expr, reach: Value = TRUE) -> Cell:
        """Return the value of an expression."""
        ...

    def check(self, x: Expr, reach: Value) -> None:
        """Gather what raises in a written expression."""
        ...

    def error_mask(self) -> Value:
        """Return the bits of all that was gathered since the last call."""
        ...

    def true(self, cell: Cell) -> Value:
        """Return whether a boolean is true."""
        ...

    def has_loop(self, x: Expr) -> bool:
        """Say whether an expression has a loop within a row."""
        ...

    def inner(self, variables: Mapping[str, Cell]) -> RowWriter:
        """Return a row that knows all that this one does, with variables of its own."""
        ...


def mentions(x: Expr, names: Collection[str]) -> bool:
    """Say whether an expression uses variables of these names."""
    if isinstance(x, nodes.Variable):
        return x.name in names
    return any(mentions(child, names) for child in children(x))


def write_iterate(row: RowWriter, x: nodes.Iterate, reach: Value, context: Context) -> Cell:
    """Write the loop and return its result; rows that `reach` leaves out make no turn."""
    key = (x.variables, x.initial, x.condition, x.step, reach)
    if key not in row.turned:
        row.turned[key] = _turned(row, x, reach)
    turned = row.turned[key]
    f, present = row.f, turned.present
    after = row.inner(turned.variables)
    result = after.cell(x.result, present)
    after.check(x.result, present)
    mask = f.op("or", turned.raised, after.error_mask())
    context.flag(f.compare("ne", mask, integer(0)), mask)
    return Cell(result.value, f.both(present, result.valid))


def _turned(row: RowWriter, x: nodes.Iterate, reach: Value) -> Turned:
    """Write the loop itself, up to the block behind it."""
    f = row.f
    names = [variable.name for variable in x.variables]
    starts = [
        _full(f, row.cell(start, reach), variable)
        for start, variable in zip(x.initial, x.variables, strict=True)
    ]
    for part in (x.condition, *x.step, x.result):
        _write_outside(row, part, names)
    entry, head, body, done = f.block, f.label("turn"), f.label("step"), f.label("left")
    f.branch(head)
    f.open(head)
    phis = [(f.phi(value.type), f.phi("i1")) for value, _ in starts]
    turns, failed = f.phi("i64"), f.phi("i64")
    for (value, valid), (phi, phi_valid) in zip(starts, phis, strict=True):
        phi.add(value, entry)
        phi_valid.add(valid, entry)
    turns.add(integer(1), entry)
    failed.add(integer(0), entry)
    variables = {
        name: Cell(phi.value, phi_valid.value)
        for name, (phi, phi_valid) in zip(names, phis, strict=True)
    }
    inner = row.inner(variables)
    present = f.both(reach, *(phi_valid.value for _, phi_valid in phis))
    held = inner.true(inner.cell(x.condition, present))
    inner.check(x.condition, present)
    so_far = f.op("or", failed.value, inner.error_mask())
    no_error = f.compare("eq", so_far, integer(0))
    goes_on = f.both(present, held, no_error, _not_cancelled(row, turns.value))
    f.branch_if(goes_on, body, done)
    f.open(body)
    stepped = [inner.cell(step, TRUE) for step in x.step]
    for step in x.step:
        inner.check(step, TRUE)
    errors = inner.error_mask()
    following = f.op("add", turns.value, integer(1))
    nexts = [_full(f, cell, variable) for cell, variable in zip(stepped, x.variables, strict=True)]
    back = f.block
    f.branch(head)
    for (value, valid), (phi, phi_valid) in zip(nexts, phis, strict=True):
        phi.add(value, back)
        phi_valid.add(valid, back)
    turns.add(following, back)
    failed.add(errors, back)
    f.open(done)
    return Turned(variables, present, so_far)


def _full(f: Function, cell: Cell, variable: nodes.Variable) -> tuple[Value, Value]:
    """Return a cell in the full width of a variable's type."""
    type_ = llvm_type(variable.type)
    if cell.value.type == type_ or type_ in ("float", "double", "i1"):
        return cell.value, cell.valid
    return f.resize(cell.value, type_), cell.valid


def _write_outside(row: RowWriter, x: Expr, names: list[str]) -> None:
    """Write what does not change from turn to turn before the loop."""
    if isinstance(x, nodes.Iterate):
        return
    if mentions(x, names):
        for child in children(x):
            _write_outside(row, child, names)
    elif not row.has_loop(x):
        row.cell(x)


def _not_cancelled(row: RowWriter, turns: Value) -> Value:
    """Return false once the statement is cancelled: every so many turns the flag is read."""
    f, cancel = row.f, row.cancel
    if cancel is None:
        return TRUE
    look, go_on = f.label("look"), f.label("on")
    due = f.compare("eq", f.op("and", turns, integer(CANCEL_EVERY - 1)), integer(0))
    before = f.block
    f.branch_if(due, look, go_on)
    f.open(look)
    flag = f.emit("i64", f"load atomic i64, {cancel} monotonic, align 8")
    clear = f.compare("eq", flag, integer(0))
    f.branch(go_on)
    f.open(go_on)
    out = f.phi("i1")
    out.add(TRUE, before)
    out.add(clear, look)
    return out.value
