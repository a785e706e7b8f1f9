"""Code of `TopK`: rows that may be among the first are gathered; the rest fail a threshold.

A candidate is a record: per order a word for NULL's rank and a word that sorts, the row number, and
per field its value and validity. When the buffer is full it is pruned from outside, between
morsels, which sets the threshold of the first order.
"""

from __future__ import annotations

from foveal.engine.compile.llvm import floats
from foveal.engine.compile.llvm.appending import stored_value
from foveal.engine.compile.llvm.builders import PlainCode
from foveal.engine.compile.llvm.cells import Cell, Facts, Unsupported, bits_for, is_float
from foveal.engine.compile.llvm.layout import storage_type
from foveal.engine.compile.llvm.row import Row
from foveal.engine.compile.llvm.text import TRUE, Function, Value, integer
from foveal.planner.ir.program import Order, TopK
from foveal.planner.ir.types import Type, physical

# Words of the state.
COUNT, LIMIT, BUFFER, RANK, KEY = 0, 1, 2, 3, 4
MORSEL = 1 << 14


def field_words(type_: Type) -> int:
    """Return the words of a field's value."""
    return 2 if storage_type(physical(type_)) == "i128" else 1


class TopKCode(PlainCode):
    """A buffer of candidates."""

    morsel_rows = MORSEL
    state_words = 8

    def __init__(self, builder: TopK, facts: Facts) -> None:
        """Lay out a candidate.

        Raises:
            Unsupported: an order by integers of more than 64 bits.
        """
        self.builder = builder
        for order in builder.order:
            known = facts.range(order.expr)
            if known is not None and bits_for(*known) > 64:
                raise Unsupported("an order by integers of more than 64 bits")
        self.row_word = 2 * len(builder.order)
        self.field_offsets: list[int] = []
        words = self.row_word + 1
        for _, x in builder.fields:
            self.field_offsets.append(words)
            words += field_words(x.type) + 1
        self.record_words = words
        self._state: Value | None = None

    def start(self, f: Function, state: Value, outs: list[Value], start: Value) -> None:
        """Keep where the buffer is described."""
        self._state = state

    def room(self, f: Function, state: Value) -> Value | None:
        """Return whether another morsel of candidates would fit."""
        count = f.load("i64", f.at(state, "i64", integer(COUNT)))
        limit = f.load("i64", f.at(state, "i64", integer(LIMIT)))
        return f.compare("sle", f.op("add", count, integer(self.morsel_rows)), limit)

    def row(self, row: Row, keep: Value, running: list[Value], index: Value) -> list[Value]:
        """Write a row that is not behind the threshold."""
        f, state = row.f, self._state
        assert state is not None
        keys = [_sort_words(row, order) for order in self.builder.order]
        fields: list[tuple[Cell, Value]] = []
        for _, x in self.builder.fields:
            cell = row.cell(x)
            fields.append((cell, stored_value(f, cell, x.type)))
        for order in self.builder.order:
            row.check(order.expr, TRUE)
        for _, x in self.builder.fields:
            row.check(x, TRUE)
        candidate = TRUE
        if keys:
            rank, key = keys[0]
            best_rank = f.load("i64", f.at(state, "i64", integer(RANK)))
            best_key = f.load("i64", f.at(state, "i64", integer(KEY)))
            closer = f.both(f.compare("eq", rank, best_rank), f.compare("sle", key, best_key))
            candidate = f.either(f.compare("slt", rank, best_rank), closer)
        write, done = f.label("write"), f.label("written")
        f.branch_if(candidate, write, done)
        f.open(write)
        counter = f.at(state, "i64", integer(COUNT))
        count = f.load("i64", counter)
        buffer = f.load("ptr", f.at(state, "i64", integer(BUFFER)))
        record = f.at(buffer, "i64", f.op("mul", count, integer(self.record_words)))
        words = [word for pair in keys for word in pair]
        for position, word in enumerate([*words, index]):
            f.store(word, f.at(record, "i64", integer(position)))
        for (cell, stored), offset in zip(fields, self.field_offsets, strict=True):
            f.store(stored, f.at(record, "i64", integer(offset)), align=8)
            width = 2 if stored.type == "i128" else 1
            valid = f.resize(cell.valid, "i64", signed=False)
            f.store(valid, f.at(record, "i64", integer(offset + width)))
        f.store(f.op("add", count, integer(1)), counter)
        f.branch(done)
        f.open(done)
        return []


def _sort_words(row: Row, order: Order) -> tuple[Value, Value]:
    """Return NULL's rank and a word that ascends in the order."""
    f, cell = row.f, row.cell(order.expr)
    if is_float(order.expr.type):
        key = floats.order_key(f, cell.value)
    else:
        key = f.resize(cell.value, "i64", signed=cell.value.type != "i1")
    if order.descending:
        key = f.op("xor", key, integer(-1))
    first, last = integer(0), integer(1)
    ranks = (last, first) if order.nulls_first else (first, last)
    return f.select(cell.valid, *ranks), f.select(cell.valid, key, integer(0))
