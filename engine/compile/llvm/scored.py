"""The code of a loop with models: rows that pass gather in blocks, blocks are scored, then go on.

A morsel runs in turns of three steps. *Gather*: the filter's part that needs no model is computed
row by row until a block's worth has passed (each row's number is written down, the place moves on
only when it passes: no branch depends on data), then the models' arguments of those. *Score*: each
model's kernel runs over the block. *Take*: the rest of the filter and the builder run over the
block's rows, which find the models' outputs ready.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from foveal.engine.compile.llvm import layout as slots
from foveal.engine.compile.llvm.builders import BuilderCode
from foveal.engine.compile.llvm.cells import Cell, Facts, Unsupported, llvm_type
from foveal.engine.compile.llvm.layout import Layout
from foveal.engine.compile.llvm.loops import LoopWriter
from foveal.engine.compile.llvm.models import BLOCK, array_count, emit_model_block
from foveal.engine.compile.llvm.row import LookupTable, Row, Surroundings
from foveal.engine.compile.llvm.text import TRUE, Function, Phi, Value, integer, number
from foveal.planner.ir import nodes
from foveal.planner.ir.nodes import Expr, Predict, children
from foveal.planner.ir.program import Loop
from foveal.planner.ir.types import BOOL
from foveal.udfs.scoring.kinds import parse_kind

_LOOP_METADATA = 1000
"""Numbers of metadata from here on are those of loops."""


@dataclass(frozen=True, slots=True, eq=False)
class Scoring:
    """One model over one list of arguments, and the block's buffers of it.

    `valid`: a byte each for rows without a NULL; None: there are none, or NULL is a value.
    """

    node: Predict
    word: str
    name: str
    x: Value
    out: Value
    valid: Value | None


def predictions(loop: Loop) -> list[Predict]:
    """Return the models that a loop applies, each with its arguments, once for all its outputs.

    Raises:
        Unsupported: a model over what another one gives.
    """
    out: dict[tuple[str, tuple[Expr, ...]], Predict] = {}

    def visit(x: Expr, within: bool) -> None:
        if isinstance(x, Predict):
            if within:
                raise Unsupported("a model over another model's output")
            out.setdefault((x.model, x.arguments), x)
        for child in children(x):
            visit(child, within or isinstance(x, Predict))

    for x in slots.expressions(loop):
        visit(x, False)
    return list(out.values())


def predicts(x: Expr) -> bool:
    """Say whether an expression applies a model."""
    return isinstance(x, Predict) or any(predicts(child) for child in children(x))


def divided(where: Expr | None) -> tuple[Expr | None, Expr | None]:
    """Return what of a filter needs no model and what is left.

    Of the terms of an AND those before the first one with a model are taken: what comes later must
    not raise where an earlier term is false.
    """
    terms: list[Expr] = []

    def visit(x: Expr) -> None:
        if isinstance(x, nodes.Binary) and x.op == "and":
            visit(x.left)
            visit(x.right)
        else:
            terms.append(x)

    if where is not None:
        visit(where)
    first = next((k for k, term in enumerate(terms) if predicts(term)), len(terms))
    return _all(terms[:first]), _all(terms[first:])


def _all(terms: list[Expr]) -> Expr | None:
    """Return the conjunction of terms."""
    out: Expr | None = None
    for term in terms:
        out = term if out is None else nodes.Binary("and", out, term, BOOL)
    return out


class ScoredLoopWriter(LoopWriter):
    """Writes the functions of a loop with models."""

    def __init__(
        self, loop: Loop, number: int, layout: Layout, builder: BuilderCode, facts: Facts
    ) -> None:
        """Divide the filter; the loop's own is what the scored rows must still pass."""
        self.early, late = divided(loop.where)
        super().__init__(replace(loop, where=late), number, layout, builder, facts)
        self.applied = predictions(loop)

    def functions(self) -> list[Function]:
        """Return the loop's functions and the kernels of its models."""
        kernels: list[Function] = []
        for place, node in enumerate(self.applied):
            word = self.layout.models[node.model].kind
            name = f"score_{self.number}_{place}"
            kernels += emit_model_block(word, len(node.arguments), name)
        return [*super().functions(), *kernels]

    # --- a morsel ---

    def _inner(self) -> Function:
        f = Function(
            f"inner_{self.number}", "i64", self._parameters(), "noinline nounwind", "internal"
        )
        start, end = f.parameters["start"], f.parameters["end"]
        scalars, tables = self._scalars(f), self._tables(f)
        outs = [self._argument(f, "out", self.loop.into, k) for k in range(self.builder.outs)]
        self.builder.start(f, f.parameters["state"], outs, start)
        bitmaps = self._bitmaps(f)
        scorings = [self._scoring(f, node, place) for place, node in enumerate(self.applied)]
        kept_rows = f.alloca(f"[{BLOCK} x i64]")
        block, score, take, latch, done = (
            f.label(x) for x in ("block", "score", "take", "latch", "done")
        )
        initial = [*self.builder.running(), integer(0)]
        entry = f.block
        f.branch(block)
        f.open(block)
        base = f.phi("i64")
        base.add(start, entry)
        outer = [f.phi(value.type) for value in initial]
        for phi, value in zip(outer, initial, strict=True):
            phi.add(value, entry)
        asked = f.emit("i64", f"load atomic i64, {f.parameters['cancel']} monotonic, align 8")
        gather, given_up = f.label("gather"), f.label("cancelled")
        stop = f.compare("ne", asked, integer(0))
        f.branch_if(stop, given_up, gather, likely=False)
        f.open(given_up)
        f.ret(outer[-1].value)
        f.open(gather)
        around = _Around(scalars, tables, bitmaps, scorings, kept_rows)
        index, kept, errors = self._gather(f, around, base.value, end, outer[-1].value)
        f.branch(score)
        f.open(score)
        some = f.compare("sgt", kept, integer(0))
        scoring, before = f.label("scoring"), f.block
        f.branch_if(some, scoring, latch)
        f.open(scoring)
        for each in scorings:
            arrays = [
                self._argument(f, "model", each.node.model, k)
                for k in range(array_count(each.word))
            ]
            f.call("void", each.name, each.x, kept, *arrays, each.out)
        registers = [phi.value for phi in outer[:-1]]
        f.branch(take)
        after, last = self._take(f, around, base.value, kept, [*registers, errors], take)
        f.branch(latch)
        f.open(latch)
        merged: list[Value] = []
        for old, new in zip([*registers, errors], after, strict=True):
            phi = f.phi(old.type)
            phi.add(old, before)
            phi.add(new, last)
            merged.append(phi.value)
        f.branch_if(f.compare("slt", index, end), block, done)
        base.add(index, latch)
        for phi, value in zip(outer, merged, strict=True):
            phi.add(value, latch)
        f.open(done)
        f.ret(self._finished(f, merged))
        return f

    def _scoring(self, f: Function, node: Predict, place: int) -> Scoring:
        """Reserve a model's buffers. Rows beyond the block's are computed too: they begin as 0."""
        model = self.layout.models[node.model]
        kind = parse_kind(model.kind)
        if any(feature != kind.input_type for feature in model.features):
            raise Unsupported(f"a model whose features are not all {kind.input_type}")
        if len(model.outputs) != kind.outputs or set(model.outputs) != {kind.output_type}:
            raise Unsupported(f"a model of {len(model.outputs)} outputs as {model.kind}")
        count = len(node.arguments)
        x = f.alloca(f"[{count * BLOCK} x {llvm_type(kind.input_type)}]")
        size = integer(count * BLOCK * kind.inputs // 8)
        f.call("void", "llvm.memset.p0.i64", x, integer(0, "i8"), size, Value("0", "i1"))
        out = f.alloca(f"[{kind.outputs * BLOCK} x {llvm_type(kind.output_type)}]")
        nullable = any(self.facts.nullable(x) for x in node.arguments)
        valid = f.alloca(f"[{BLOCK} x i8]") if nullable and not kind.missing else None
        return Scoring(node, model.kind, f"score_{self.number}_{place}", x, out, valid)

    def _bitmaps(self, f: Function) -> dict[str, tuple[Value, Value]]:
        """Return validity bitmaps, each with a mask of byte numbers: none but 0 if there is none.

        Rows are taken out of order, so bits are read one by one.
        """
        nullable = [name for name, column in self.layout.columns.items() if column.nullable]
        if not nullable:
            return {}
        ones = f.alloca("i64")
        f.store(integer(-1), ones)
        out: dict[str, tuple[Value, Value]] = {}
        for name in nullable:
            bitmap = self._argument(f, "validity", name)
            absent = f.compare("eq", bitmap, Value("null", "ptr"))
            mask = f.select(absent, integer(0), integer(-1))
            out[name] = (f.select(absent, ones, bitmap), mask)
        return out

    def _row_at(
        self, f: Function, around: _Around, index: Value, made: dict[Predict, Cell] | None = None
    ) -> Row:
        """Return a writer of expressions of the row with a number."""

        def load(x: nodes.Column) -> Cell:
            cell = self._column(f, x, index, index, None)
            if x.name not in around.bitmaps:
                return cell
            bitmap, mask = around.bitmaps[x.name]
            byte = f.load(
                "i8", f.at(bitmap, "i8", f.op("and", f.op("lshr", index, integer(3)), mask))
            )
            place = f.resize(f.op("and", index, integer(7)), "i8")
            return Cell(cell.value, f.resize(f.op("lshr", byte, place), "i1"))

        cancel = f.parameters["cancel"]
        world = Surroundings(load, around.scalars, around.tables, {}, made or {}, cancel)
        return Row(f, world, self.facts)

    def _gather(
        self, f: Function, around: _Around, base: Value, end: Value, errors: Value
    ) -> tuple[Value, Value, Value]:
        """Fill the block from row `base` on; return the next row, how many it holds, errors."""
        if self.early is None:
            stop = f.op("add", base, integer(BLOCK))
            index = f.select(f.compare("slt", stop, end), stop, end)
            kept = f.op("sub", index, base)
        else:
            index, kept, errors = self._kept(f, around, self.early, base, end, errors)
        some, fill, full = f.label("some"), f.label("fill"), f.label("full")
        f.branch(some)
        f.open(some)
        f.branch_if(f.compare("sgt", kept, integer(0)), fill, full)
        f.open(fill)
        place, seen = f.phi("i64"), f.phi("i64")
        place.add(integer(0), some)
        seen.add(errors, some)
        row = self._row_at(f, around, self._index(f, around, base, place.value))
        bits = self._write(f, row, around, place.value, seen.value)
        following = f.emit("i64", f"add nuw nsw {place.value}, 1")
        last = f.block
        again = f.compare("slt", following, kept)
        f.line(f"br {again}, label %{fill}, label %{full}{self._row_by_row(f)}")
        place.add(following, last)
        seen.add(bits, last)
        f.open(full)
        return index, kept, _either(f, errors, some, bits, last)

    def _row_by_row(self, f: Function) -> str:
        """Return what keeps LLVM from reading scattered rows as vectors: gathers are slower."""
        if self.early is None:
            return ""
        name = f"!{_LOOP_METADATA + self.number}"
        f.declarations.add(
            f'{name} = distinct !{{{name}, !{{!"llvm.loop.vectorize.enable", i1 0}}}}'
        )
        return f", !llvm.loop {name}"

    def _kept(
        self, f: Function, around: _Around, early: Expr, base: Value, end: Value, errors: Value
    ) -> tuple[Value, Value, Value]:
        """Write down which rows pass until the block is full: the place moves on when one does."""
        turn, found, before = f.label("filter"), f.label("found"), f.block
        f.branch(turn)
        f.open(turn)
        index, kept, seen = f.phi("i64"), f.phi("i64"), f.phi("i64")
        for phi, value in ((index, base), (kept, integer(0)), (seen, errors)):
            phi.add(value, before)
        row = self._row_at(f, around, index.value)
        keep = row.true(row.cell(early))
        row.check(early, TRUE)
        bits = _joined(f, seen.value, row.error_mask())
        f.store(index.value, f.at(around.kept_rows, "i64", kept.value))
        more = f.op("add", kept.value, f.resize(keep, "i64", signed=False))
        following = f.emit("i64", f"add nuw nsw {index.value}, 1")
        room = f.compare("slt", more, integer(BLOCK))
        last = f.block
        f.branch_if(f.both(f.compare("slt", following, end), room), turn, found)
        index.add(following, last)
        kept.add(more, last)
        seen.add(bits, last)
        f.open(found)
        return following, more, bits

    def _index(self, f: Function, around: _Around, base: Value, place: Value) -> Value:
        """Return the number of the row at a place of the block."""
        if self.early is None:
            return f.op("add", base, place)
        return f.load("i64", f.at(around.kept_rows, "i64", place))

    def _write(self, f: Function, row: Row, around: _Around, place: Value, errors: Value) -> Value:
        """Write a row's arguments to a place of the block; return the errors."""
        for each in around.scorings:
            kind = parse_kind(each.word)
            valid: list[Value] = []
            for k, x in enumerate(each.node.arguments):
                cell = row.cell(x)
                row.check(x, TRUE)
                value = cell.value
                if kind.missing:
                    value = f.select(cell.valid, value, number(math.nan, value.type))
                valid.append(cell.valid)
                at = f.op("add", place, integer(k * BLOCK))
                f.store(value, f.at(each.x, value.type, at))
            if each.valid is not None:
                byte = f.resize(f.both(*valid), "i8", signed=False)
                f.store(byte, f.at(each.valid, "i8", place))
        return _joined(f, errors, row.error_mask())

    def _take(
        self,
        f: Function,
        around: _Around,
        base: Value,
        kept: Value,
        initial: list[Value],
        turn: str,
    ) -> tuple[list[Value], str]:
        """Write the loop over the scored rows; return what runs along after it, and its block."""
        before = f.block
        f.open(turn)
        place = f.phi("i64")
        place.add(integer(0), before)
        running = [f.phi(value.type) for value in initial]
        for phi, value in zip(running, initial, strict=True):
            phi.add(value, before)
        index = self._index(f, around, base, place.value)
        made: dict[Predict, Cell] = {}
        for each in around.scorings:
            model = self.layout.models[each.node.model]
            valid = TRUE
            if each.valid is not None:
                byte = f.load("i8", f.at(each.valid, "i8", place.value))
                valid = f.compare("ne", byte, integer(0, "i8"))
            for k, type_ in enumerate(model.outputs):
                written = llvm_type(type_)
                at = f.op("add", place.value, integer(k * BLOCK))
                value = f.load(written, f.at(each.out, written, at))
                made[replace(each.node, output=k, type=type_)] = Cell(value, valid)
        row = self._row_at(f, around, index, made)
        updated = self._row(f, row, [phi.value for phi in running], index)
        following = f.emit("i64", f"add nuw nsw {place.value}, 1")
        last, taken = f.block, f.label("taken")
        f.branch_if(f.compare("slt", following, kept), turn, taken)
        place.add(following, last)
        for phi, value in zip(running, updated, strict=True):
            phi.add(value, last)
        f.open(taken)
        return updated, taken


@dataclass(frozen=True, slots=True, eq=False)
class _Around:
    """What is the same for all rows of a loop."""

    scalars: dict[str, Cell]
    tables: dict[str, LookupTable]
    bitmaps: dict[str, tuple[Value, Value]]
    scorings: list[Scoring]
    kept_rows: Value


def _joined(f: Function, errors: Value, mask: Value) -> Value:
    """Return an error mask with another one in it."""
    return errors if mask.text == "0" else f.op("or", errors, mask)


def _either(f: Function, old: Value, here: str, new: Value, inside: str) -> Value:
    """Return one of two values by the block that control came from."""
    if old == new:
        return old
    phi: Phi = f.phi(old.type)
    phi.add(old, here)
    phi.add(new, inside)
    return phi.value
