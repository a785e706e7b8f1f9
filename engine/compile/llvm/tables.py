"""Code of `Bitmap` and `Scatter`: tables that all threads write, for later loops to look up."""

from __future__ import annotations

from foveal.engine.compile.llvm.appending import stored_value
from foveal.engine.compile.llvm.builders import PlainCode
from foveal.engine.compile.llvm.cells import Flag
from foveal.engine.compile.llvm.row import Row
from foveal.engine.compile.llvm.text import FALSE, TRUE, Function, Value, bits_of, integer
from foveal.planner.ir.nodes import Expr
from foveal.planner.ir.program import Bitmap, Scatter

# A byte of `Scatter` per entry.
ABSENT, VALID, NULL = 0, 1, 2


class TableCode(PlainCode):
    """What both have in common: a place per integer of low .. high."""

    def __init__(self, builder: Bitmap | Scatter) -> None:
        """Keep the bounds."""
        self.builder = builder
        self.size = max(builder.high - builder.low + 1, 0)
        self.outs = 1 if isinstance(builder, Bitmap) else 2
        self._outs: list[Value] = []

    def start(self, f: Function, state: Value, outs: list[Value], start: Value) -> None:
        """Keep where the table is."""
        self._outs = outs

    def row(self, row: Row, keep: Value, running: list[Value], index: Value) -> list[Value]:
        """Mark or write a row's entry; an index out of bounds raises, NULL is passed over."""
        f = row.f
        place, valid = self._place(row, self.builder.index)
        inside = f.compare("ult", place, integer(self.size))
        row.raise_if(Flag(f.both(valid, f.negate(inside))))
        row.check(self.builder.index, TRUE)
        if isinstance(self.builder, Scatter):
            value = row.cell(self.builder.value)
            row.check(self.builder.value, TRUE)
        write, done = f.label("write"), f.label("written")
        before = f.block
        f.branch_if(f.both(valid, inside), write, done)
        f.open(write)
        twice = FALSE
        if isinstance(self.builder, Scatter):
            value = row.cell(self.builder.value)
            stored = stored_value(f, value, self.builder.value.type)
            state = f.select(value.valid, integer(VALID, "i8"), integer(NULL, "i8"))
            pointer = f.at(self._outs[1], "i8", place)
            old = f.emit("i8", f"atomicrmw xchg {pointer}, {state} monotonic, align 1")
            twice = f.compare("ne", old, integer(ABSENT, "i8"))
            f.store(stored, f.at(self._outs[0], stored.type, place))
        else:
            pointer = f.at(self._outs[0], "i8", place)
            f.line(f"store atomic i8 1, {pointer} monotonic, align 1")
        f.branch(done)
        f.open(done)
        if twice != FALSE:
            phi = f.phi("i1")
            phi.add(FALSE, before)
            phi.add(twice, write)
            row.raise_if(Flag(phi.value))
        return []

    def _place(self, row: Row, x: Expr) -> tuple[Value, Value]:
        """Return a row's place as i64, and whether it has one."""
        f, cell = row.f, row.cell(x)
        low = self.builder.low
        if cell.value.type != "i1" and bits_of(cell.value.type) > 64:
            wide = f.op("sub", cell.value, integer(low, cell.value.type))
            fits = f.compare("ult", wide, integer(max(self.size, 1), wide.type))
            place = f.select(fits, f.resize(wide, "i64"), integer(-1))
            return place, cell.valid
        signed = cell.value.type != "i1"
        return f.op("sub", f.resize(cell.value, "i64", signed=signed), integer(low)), cell.valid
