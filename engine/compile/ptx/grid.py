"""The kernels of one loop: its rows, and the records that they fold into, before and after.

    loop_k    each thread takes every n-th row, n being the threads of the grid
    clear_k   writes what records start from
    merge_k   adds records [target, total) to [0, target), `target` apart

All three have one body each, the same for a GPU and emulated (`target`). `merge_k` runs again and
again with a sixteenth of the records until one is left, so sums of floats without keys depend on
the grid's size alone, not on the order in which threads run.
"""

from __future__ import annotations

from foveal.engine.compile.llvm.accumulators import FoldPlan
from foveal.engine.compile.llvm.builders import BuilderCode
from foveal.engine.compile.llvm.cells import OPERATOR_ERROR, Cell
from foveal.engine.compile.llvm.folds import record_words
from foveal.engine.compile.llvm.layout import storage_type
from foveal.engine.compile.llvm.loops import LoopWriter
from foveal.engine.compile.llvm.mathlib import library
from foveal.engine.compile.llvm.row import Row, Surroundings
from foveal.engine.compile.llvm.text import TRUE, Function, Value, integer
from foveal.engine.compile.ptx.planning import GridPlan, plan_grid
from foveal.engine.compile.ptx.states import (
    BlockTable,
    ThreadFolds,
    write_initial,
    write_merged,
)
from foveal.engine.compile.ptx.target import Target, body, grid_place
from foveal.planner.ir import nodes
from foveal.planner.ir.program import Program

_WEIGHTS = (
    '!0 = !{!"branch_weights", i32 1000, i32 1}\n!1 = !{!"branch_weights", i32 1, i32 1000}\n'
)
LOOP_TAIL = ("start", "end", "state", "copies", "errors")
"""Parameters of a loop's kernel behind its slots."""


class GridWriter(LoopWriter):
    """Writes the body of a loop's kernel over rows start .. end."""

    def parameters(self) -> list[tuple[str, str]]:
        """Return the kernel's parameters: a slot each, then those of `LOOP_TAIL`.

        `state`: records; `copies`: how many tables the blocks share; `errors`: an i64 mask.
        """
        slots = [(self._type_of(slot), f"a{k}") for k, slot in enumerate(self.layout.slots)]
        return [
            *slots, ("i64", "start"), ("i64", "end"), ("ptr noalias", "state"), ("i64", "copies"),
            ("ptr noalias", "errors"),
        ]  # fmt: skip

    def body(self) -> Function:
        """Return what one thread does."""
        f = body(f"rows_{self.number}", self.parameters())
        scalars, tables = self._scalars(f), self._tables(f)
        outs = [self._argument(f, "out", self.loop.into, k) for k in range(self.builder.outs)]
        place, step = grid_place(f)
        first = f.op("add", f.parameters["start"], place)
        end = f.parameters["end"]
        self.builder.start(f, self._state(f, place), outs, first)
        initial = [*self.builder.running(), integer(0)]
        entry, rows, done = f.block, f.label("row"), f.label("done")
        f.branch_if(f.compare("slt", first, end), rows, done)
        f.open(rows)
        index = f.phi("i64")
        index.add(first, entry)
        running = [f.phi(value.type) for value in initial]

        def load(x: nodes.Column) -> Cell:
            return self._loaded(f, x, index.value)

        row = Row(f, Surroundings(load, scalars, tables), self.facts)
        updated = self._row(f, row, [phi.value for phi in running], index.value)
        following = f.op("add", index.value, step)
        last = f.block
        f.branch_if(f.compare("slt", following, end), rows, done)
        index.add(following, last)
        f.open(done)
        finals: list[Value] = []
        for phi, start, value in zip(running, initial, updated, strict=True):
            phi.add(start, entry)
            phi.add(value, last)
            final = f.phi(value.type)
            final.add(start, entry)
            final.add(value, last)
            finals.append(final.value)
        _report(f, self._finished(f, finals))
        f.ret()
        return f

    def _state(self, f: Function, place: Value) -> Value:
        """Return the thread's own record, or its block's table."""
        state = f.parameters["state"]
        match self.builder:
            case ThreadFolds():
                pass
            case BlockTable():
                place = f.op("urem", f.parameters["block"], f.parameters["copies"])
            case _:
                return state
        return f.at(state, "i64", f.op("mul", place, integer(self.builder.state_words)))

    def _loaded(self, f: Function, x: nodes.Column, index: Value) -> Cell:
        """Load a column's value, and the bit that says whether it is valid."""
        column = self.layout.columns[x.name]
        stored = storage_type(column.storage)
        value = f.load(stored, f.at(self._argument(f, "column", x.name), stored, index))
        valid = TRUE
        if column.nullable:
            bitmap = self._argument(f, "validity", x.name)
            byte = f.load("i8", f.at(bitmap, "i8", f.op("lshr", index, integer(3))))
            place = f.resize(f.op("and", index, integer(7)), "i8")
            valid = f.resize(f.op("lshr", byte, place), "i1")
        return Cell(self._typed(f, value, column), valid)


def _report(f: Function, mask: Value) -> None:
    """Add a thread's error bits to those of all, if there are any."""
    if mask.text == "0":
        return
    bad, fine = f.label("bad"), f.label("fine")
    f.branch_if(f.compare("eq", mask, integer(0)), fine, bad, likely=True)
    f.open(bad)
    f.emit("i64", f"atomicrmw or {f.parameters['errors']}, {mask} monotonic, align 8")
    f.branch(fine)
    f.open(fine)


CLEAR_PARAMETERS = [("ptr noalias", "records"), ("i64", "total")]
MERGE_PARAMETERS = [
    ("ptr", "records"), ("i64", "total"), ("i64", "target"), ("ptr noalias", "errors"),
]  # fmt: skip


def _record(f: Function, index: Value, plan: FoldPlan) -> Value:
    words = integer(record_words(plan.accumulators))
    return f.at(f.parameters["records"], "i64", f.op("mul", index, words))


def _clear(plan: FoldPlan, number: int) -> Function:
    """Return the body that writes what `total` records start from."""
    f = body(f"cleared_{number}", CLEAR_PARAMETERS)
    place, step = grid_place(f)
    entry, turn, done = f.block, f.label("record"), f.label("done")
    total = f.parameters["total"]
    f.branch_if(f.compare("slt", place, total), turn, done)
    f.open(turn)
    index = f.phi("i64")
    index.add(place, entry)
    write_initial(f, plan.accumulators, _record(f, index.value, plan))
    following = f.op("add", index.value, step)
    index.add(following, turn)
    f.branch_if(f.compare("slt", following, total), turn, done)
    f.open(done)
    f.ret()
    return f


def _merge(plan: FoldPlan, number: int) -> Function:
    """Return the body in which thread i < target adds records i + target, i + 2 target, .. to i."""
    f = body(f"merged_{number}", MERGE_PARAMETERS)
    place, _ = grid_place(f)
    total, target = f.parameters["total"], f.parameters["target"]
    begin, turn, done, out = (f.label(x) for x in ("begin", "record", "done", "out"))
    f.branch_if(f.compare("slt", place, target), begin, out)
    f.open(begin)
    own, first = _record(f, place, plan), f.op("add", place, target)
    f.branch_if(f.compare("slt", first, total), turn, out)
    f.open(turn)
    index, errors = f.phi("i64"), f.phi("i64")
    index.add(first, begin)
    errors.add(integer(0), begin)
    wrapped = write_merged(f, plan.accumulators, own, _record(f, index.value, plan))
    bit = f.select(wrapped, integer(OPERATOR_ERROR), integer(0))
    mask = f.op("or", errors.value, bit)
    following = f.op("add", index.value, target)
    index.add(following, turn)
    errors.add(mask, turn)
    f.branch_if(f.compare("slt", following, total), turn, done)
    f.open(done)
    _report(f, mask)
    f.branch(out)
    f.open(out)
    f.ret()
    return f


def fold_plan(code: BuilderCode) -> FoldPlan | None:
    """Return the accumulators of a builder's records; None: it has no records."""
    return code.plan if isinstance(code, ThreadFolds | BlockTable) else None


def parameter_count(program: Program, kernel: str) -> int | None:
    """Return how many parameters a kernel of a program has; None: it has no such kernel."""
    plans = plan_grid(program)
    kind, _, number = kernel.rpartition("_")
    if not number.isdigit() or int(number) >= len(plans):
        return None
    plan = plans[int(number)]
    if kind == "loop":
        return len(plan.layout.slots) + len(LOOP_TAIL)
    known = {"clear": CLEAR_PARAMETERS, "merge": MERGE_PARAMETERS}
    return len(known[kind]) if kind in known and fold_plan(plan.code) is not None else None


def module_text(plans: list[GridPlan], target: Target) -> str:
    """Return the module of a program's kernels as LLVM's text.

    Raises:
        Unsupported: an expression without machine code.
    """
    functions: list[Function] = []
    for number, plan in enumerate(plans):
        writer = GridWriter(plan.loop, number, plan.layout, plan.code, plan.facts)
        rows = writer.body()
        functions += [rows, target.kernel(f"loop_{number}", rows, writer.parameters())]
        folded = fold_plan(plan.code)
        if folded is None:
            continue
        clear, merge = _clear(folded, number), _merge(folded, number)
        functions += [clear, target.kernel(f"clear_{number}", clear, CLEAR_PARAMETERS)]
        functions += [merge, target.kernel(f"merge_{number}", merge, MERGE_PARAMETERS)]
    used = set[str]().union(*(function.library for function in functions))
    functions += library(used)
    declared = sorted(set[str]().union(*(f.declarations | f.globals for f in functions)))
    return "\n".join([*declared, *(function.text() for function in functions), _WEIGHTS])
