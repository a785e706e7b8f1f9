"""The code of one loop: a driver that takes morsels, and the rows of a morsel within it.

    i64 @loop_k(ptr arguments, ptr control, ptr state, i64 budget)

takes morsels from the shared counter until none is left, the budget is spent, somebody cancels or a
row raises. `inner_k` runs a morsel: columns as pointers that alias nothing, accumulators as phis,
validity bitmaps unpacked to bytes for a block of rows at a time, so that LLVM can vectorise it.
"""

from __future__ import annotations

from foveal.engine.compile.llvm import layout as slots
from foveal.engine.compile.llvm.builders import BLOCK, BuilderCode
from foveal.engine.compile.llvm.cells import OPERATOR_ERROR, Cell, Facts, bits_for, llvm_type
from foveal.engine.compile.llvm.layout import Layout, storage_type
from foveal.engine.compile.llvm.row import LookupTable, Row, Surroundings
from foveal.engine.compile.llvm.text import TRUE, Function, Phi, Value, bits_of, integer
from foveal.planner.ir import nodes, types
from foveal.planner.ir.program import Column, Loop
from foveal.planner.ir.types import physical


def is_signed(type_: types.Bool | types.Int | types.Float) -> bool:
    """Say whether a machine type's integers are signed."""
    return not isinstance(type_, types.Int) or type_.signed


class LoopWriter:
    """Writes the two functions of one loop."""

    def __init__(
        self, loop: Loop, number: int, layout: Layout, builder: BuilderCode, facts: Facts
    ) -> None:
        """Keep what the loop reads, and who takes its rows."""
        self.loop, self.number, self.layout = loop, number, layout
        self.builder, self.facts = builder, facts

    def functions(self) -> list[Function]:
        """Return the loop's functions, what the builder adds included."""
        return [self._inner(), self._driver(), *self.builder.functions()]

    # --- a morsel ---

    def _parameters(self) -> list[tuple[str, str]]:
        """Return the inner function's parameters: a slot each, then rows and state."""
        out: list[tuple[str, str]] = []
        for place, slot in enumerate(self.layout.slots):
            out.append((self._type_of(slot), f"a{place}"))
        out += [("i64", "start"), ("i64", "end"), ("ptr noalias", "state"), ("ptr", "cancel")]
        return out

    def _type_of(self, slot: slots.Slot) -> str:
        match slot.role:
            case "column" | "validity" | "table" | "table_valid" | "model":
                return "ptr noalias readonly"
            case "out":
                return "ptr noalias"
            case "scalar" if llvm_type(self.layout.scalars[slot.name].type) == "double":
                return "double"
            case "scalar" if llvm_type(self.layout.scalars[slot.name].type) == "float":
                return "float"
            case _:
                return "i64"

    def _argument(self, f: Function, role: slots.Role, name: str, number: int = 0) -> Value:
        return f.parameters[f"a{self.layout.position(role, name, number)}"]

    def _inner(self) -> Function:
        f = Function(
            f"inner_{self.number}", "i64", self._parameters(), "noinline nounwind", "internal"
        )
        start, end = f.parameters["start"], f.parameters["end"]
        scalars, tables = self._scalars(f), self._tables(f)
        outs = [self._argument(f, "out", self.loop.into, k) for k in range(self.builder.outs)]
        self.builder.start(f, f.parameters["state"], outs, start)
        bitmaps = {
            name: (self._argument(f, "validity", name), f.alloca(f"[{BLOCK} x i8]"))
            for name, column in self.layout.columns.items()
            if column.nullable
        }
        initial = [*self.builder.running(), integer(0)]
        entry = f.block
        block, rows, done = f.label("block"), f.label("row"), f.label("done")
        f.branch(block)
        f.open(block)
        base = f.phi("i64")
        base.add(start, entry)
        outer = _phis(f, initial, entry)
        if bitmaps:
            stop = f.op("add", base.value, integer(BLOCK))
            stop = f.select(f.compare("slt", stop, end), stop, end)
            for bitmap, buffer in bitmaps.values():
                _unpack(f, bitmap, buffer, base.value, stop)
        else:
            stop = end
        before = f.block
        f.branch(rows)
        f.open(rows)
        index = f.phi("i64")
        index.add(base.value, before)
        running = _phis(f, [phi.value for phi in outer], before)

        def load(x: nodes.Column) -> Cell:
            buffer = bitmaps[x.name][1] if x.name in bitmaps else None
            return self._column(f, x, index.value, base.value, buffer)

        around = Surroundings(load, scalars, tables, cancel=f.parameters["cancel"])
        row = Row(f, around, self.facts)
        updated = self._row(f, row, [phi.value for phi in running], index.value)
        following = f.emit("i64", f"add nuw nsw {index.value}, 1")
        last = f.block
        more = f.compare("slt", following, stop)
        latch = f.label("latch")
        f.branch_if(more, rows, latch)
        index.add(following, last)
        for phi, value in zip(running, updated, strict=True):
            phi.add(value, last)
        f.open(latch)
        f.branch_if(f.compare("slt", stop, end), block, done)
        base.add(stop, latch)
        for phi, value in zip(outer, updated, strict=True):
            phi.add(value, latch)
        f.open(done)
        f.ret(self._finished(f, updated))
        return f

    def _finished(self, f: Function, running: list[Value]) -> Value:
        """Write what comes after the rows; return the error mask. `running` ends with the rows'."""
        *registers, errors = running
        wrapped = self.builder.finish(f, registers)
        return _joined(f, errors, f.select(wrapped, integer(OPERATOR_ERROR), integer(0)))

    def _row(self, f: Function, row: Row, running: list[Value], index: Value) -> list[Value]:
        """Write one row: filter and builder, by mask or behind branches; the error mask is last."""
        *registers, errors = running
        where = self.loop.where
        branches = where is not None and (
            self.builder.branches or self.loop.how == "branch" or self._has_loop(row)
        )
        if where is None or not branches:
            keep = TRUE
            if where is not None:
                keep = row.true(row.cell(where))
                row.check(where, TRUE)
            after = self.builder.row(row, keep, registers, index)
            return [*after, _joined(f, errors, row.error_mask())]
        skip = f.label("skip")
        exits: list[tuple[str, Value]] = []
        for stage in _stages(where):
            keep = row.true(row.cell(stage))
            row.check(stage, TRUE)
            errors = _joined(f, errors, row.error_mask())
            if keep == TRUE:
                continue
            body = f.label("body")
            exits.append((f.block, errors))
            f.branch_if(keep, body, skip)
            f.open(body)
        after = self.builder.row(row, TRUE, registers, index)
        after = [*after, _joined(f, errors, row.error_mask())]
        end = f.block
        f.branch(skip)
        f.open(skip)
        out: list[Value] = []
        for place, new in enumerate(after):
            olds = [old_errors if place == len(registers) else registers[place]
                    for _, old_errors in exits]  # fmt: skip
            if all(old == new for old in olds):
                out.append(new)
                continue
            phi = f.phi(new.type)
            for (block, _), old in zip(exits, olds, strict=True):
                phi.add(old, block)
            phi.add(new, end)
            out.append(phi.value)
        return out

    def _has_loop(self, row: Row) -> bool:
        return any(row.has_loop(x) for x in slots.expressions(self.loop))

    # --- what a row reads ---

    def _column(
        self, f: Function, x: nodes.Column, index: Value, base: Value, buffer: Value | None
    ) -> Cell:
        """Load a column's value and validity."""
        column = self.layout.columns[x.name]
        stored = storage_type(column.storage)
        value = f.load(stored, f.at(self._argument(f, "column", x.name), stored, index))
        valid = TRUE
        if buffer is not None:
            byte = f.load("i8", f.at(buffer, "i8", f.op("sub", index, base)))
            valid = f.compare("ne", byte, integer(0, "i8"))
        return Cell(self._typed(f, value, column), valid)

    def _typed(self, f: Function, value: Value, column: Column) -> Value:
        """Return a loaded value in a type that code computes with."""
        wanted = llvm_type(column.type)
        if wanted == "i1":
            return f.compare("ne", value, integer(0, value.type))
        if wanted in ("float", "double"):
            return f.convert("fpext", value, wanted)
        known = self.facts.range(nodes.Column(column.name, column.type))
        bits = bits_of(value.type)
        if not is_signed(column.storage) and (known is None or bits_for(*known) > bits):
            return f.resize(value, f"i{2 * bits}", signed=False)
        return value

    def _scalars(self, f: Function) -> dict[str, Cell]:
        """Return the scalars' cells, in as few bits as their class needs."""
        out: dict[str, Cell] = {}
        for name, x in self.layout.scalars.items():
            value = self._argument(f, "scalar", name)
            type_ = llvm_type(x.type)
            if type_ == "i1":
                value = f.compare("ne", value, integer(0))
            elif type_ == "i128":
                high = f.resize(self._argument(f, "scalar_high", name), "i128")
                low = f.resize(value, "i128", signed=False)
                value = f.op("or", f.op("shl", high, integer(64, "i128")), low)
            elif type_ not in ("float", "double"):
                value = f.resize(value, f"i{bits_for(*(self.facts.range(x) or (0, 0)))}")
            valid = TRUE
            if self.facts.nullable(x):
                given = self._argument(f, "scalar_valid", name)
                valid = f.compare("ne", given, integer(0))
            out[name] = Cell(value, valid, adapts=type_ not in ("i1", "float", "double"))
        return out

    def _tables(self, f: Function) -> dict[str, LookupTable]:
        """Return the tables that the loop looks up."""
        out: dict[str, LookupTable] = {}
        for name, info in self.layout.tables.items():
            machine = physical(info.type)
            out[name] = LookupTable(
                self._argument(f, "table", name),
                self._argument(f, "table_valid", name) if info.has_valid else None,
                self._argument(f, "table_size", name),
                storage_type(machine),
                is_signed(machine),
            )
        return out

    # --- all morsels of a thread ---

    def _driver(self) -> Function:
        f = Function(
            f"loop_{self.number}", "i64",
            [("ptr", "arguments"), ("ptr", "control"), ("ptr", "state"), ("i64", "budget")],
            "nounwind",
        )  # fmt: skip
        control, state = f.parameters["control"], f.parameters["state"]

        def word(number: int) -> Value:
            return f.at(control, "i64", integer(number))

        arguments: list[Value] = []
        for place, slot in enumerate(self.layout.slots):
            type_ = self._type_of(slot).split()[0]
            where = f.at(f.parameters["arguments"], "i64", integer(place))
            arguments.append(f.load(type_, where, align=8))
        rows, morsel = f.load("i64", word(slots.ROWS)), f.load("i64", word(slots.MORSEL))
        counter, cancel, error = word(slots.COUNTER), word(slots.CANCEL), word(slots.ERROR)
        flush_every = self.builder.flush_rows
        check, room, take, work, after, done, stopped = (
            f.label(x) for x in ("check", "room", "take", "work", "after", "done", "stopped")
        )
        spent = f.label("spent")
        entry = f.block
        f.branch(check)
        f.open(check)
        budget, pending = f.phi("i64"), f.phi("i64")
        budget.add(f.parameters["budget"], entry)
        pending.add(integer(0), entry)
        asked = f.emit("i64", f"load atomic i64, {cancel} monotonic, align 8")
        failed = f.emit("i64", f"load atomic i64, {error} monotonic, align 8")
        stop = f.compare("ne", f.op("or", asked, failed), integer(0))
        f.branch_if(stop, stopped, room, likely=False)
        f.open(room)
        has_budget = f.compare("sgt", budget.value, integer(0))
        has_room = self.builder.room(f, state)
        full = f.label("full")
        if has_room is None:
            f.branch_if(has_budget, take, spent)
        else:
            enough = f.label("enough")
            f.branch_if(has_budget, enough, spent)
            f.open(enough)
            f.branch_if(has_room, take, full)
            f.open(full)
            self._end(f, state, slots.FULL)
        f.open(take)
        start = f.emit("i64", f"atomicrmw add {counter}, {morsel} monotonic, align 8")
        f.branch_if(f.compare("slt", start, rows), work, done)
        f.open(work)
        end = f.op("add", start, morsel)
        end = f.select(f.compare("slt", end, rows), end, rows)
        before = pending.value
        if flush_every is not None:
            before = self._flush_when_due(f, state, pending.value, morsel, flush_every)
        bits = f.call("i64", f"inner_{self.number}", *arguments, start, end, state, cancel)
        bad = f.label("bad")
        f.branch_if(f.compare("eq", bits, integer(0)), after, bad, likely=True)
        f.open(bad)
        f.emit("i64", f"atomicrmw or {error}, {bits} monotonic, align 8")
        f.branch(stopped)
        f.open(after)
        budget.add(f.op("sub", budget.value, integer(1)), after)
        pending.add(f.op("add", before, morsel), after)
        f.branch(check)
        for label, reason in ((done, slots.DONE), (spent, slots.BUDGET), (stopped, slots.STOPPED)):
            f.open(label)
            self._end(f, state, reason)
        return f

    def _end(self, f: Function, state: Value, reason: int) -> None:
        """Return, with partial sums added to the totals."""
        if self.builder.flush_rows is not None:
            f.call("void", f"flush_{self.number}", state)
        f.ret(integer(reason))

    def _flush_when_due(
        self, f: Function, state: Value, pending: Value, morsel: Value, every: int
    ) -> Value:
        """Flush partial sums before they could overflow; return the rows in them."""
        due, on = f.label("due"), f.label("on")
        here = f.block
        after = f.op("add", pending, morsel)
        f.branch_if(f.compare("sgt", after, integer(every)), due, on)
        f.open(due)
        f.call("void", f"flush_{self.number}", state)
        f.branch(on)
        f.open(on)
        out = f.phi("i64")
        out.add(pending, here)
        out.add(integer(0), due)
        return out.value


def _phis(f: Function, initial: list[Value], entry: str) -> list[Phi]:
    """Start a phi for each register."""
    out: list[Phi] = []
    for value in initial:
        phi = f.phi(value.type)
        phi.add(value, entry)
        out.append(phi)
    return out


def _stages(where: nodes.Expr) -> list[nodes.Expr]:
    """Return the parts of a filter, each to be computed only where those before it are true.

    What looks up tables comes by itself, for it may wait for memory. A part that can raise stays
    with the one before it: where that is NULL, AND computes both sides.
    """
    out: list[nodes.Expr] = []
    for part in _conjuncts(where):
        if out and not (_looks_up(part) and _is_safe(part)):
            out[-1] = nodes.Binary("and", out[-1], part, types.BOOL)
        else:
            out.append(part)
    return out


def _conjuncts(where: nodes.Expr) -> list[nodes.Expr]:
    if isinstance(where, nodes.Binary) and where.op == "and":
        return [*_conjuncts(where.left), *_conjuncts(where.right)]
    return [where]


def _is_safe(x: nodes.Expr) -> bool:
    """Say whether an expression is of kinds that never raise."""
    match x:
        case nodes.Column() | nodes.Literal() | nodes.Parameter():
            return True
        case nodes.Lookup() | nodes.Coalesce() | nodes.Unary("not" | "is_null"):
            return all(_is_safe(part) for part in nodes.children(x))
        case nodes.Binary(op) if op in (*nodes.COMPARISONS, *nodes.LOGIC):
            return all(_is_safe(part) for part in nodes.children(x))
        case _:
            return False


def _looks_up(x: nodes.Expr) -> bool:
    return isinstance(x, nodes.Lookup) or any(_looks_up(part) for part in nodes.children(x))


def _joined(f: Function, errors: Value, mask: Value) -> Value:
    """Return an error mask with another one in it."""
    return errors if mask.text == "0" else f.op("or", errors, mask)


def _unpack(f: Function, bitmap: Value, buffer: Value, start: Value, stop: Value) -> None:
    """Unpack validity bits of rows start .. stop to a byte each; no bitmap: all are valid.

    `start` is a multiple of 64, and whole words may be read.
    """
    absent = f.compare("eq", bitmap, Value("null", "ptr"))
    words, ones, done = f.label("words"), f.label("ones"), f.label("unpacked")
    entry = f.block
    f.branch_if(absent, ones, words)
    f.open(ones)
    f.call("void", "llvm.memset.p0.i64", buffer, integer(1, "i8"), integer(BLOCK), Value("0", "i1"))
    f.branch(done)
    f.open(words)
    at = f.phi("i64")
    at.add(start, entry)
    word = f.load("i64", f.at(bitmap, "i64", f.op("lshr", at.value, integer(6))))
    lanes = f.emit("<64 x i1>", f"bitcast {word} to <64 x i1>")
    octets = f.emit("<64 x i8>", f"zext {lanes} to <64 x i8>")
    f.store(octets, f.at(buffer, "i8", f.op("sub", at.value, start)), align=64)
    following = f.op("add", at.value, integer(64))
    at.add(following, words)
    f.branch_if(f.compare("slt", following, stop), words, done)
    f.open(done)
