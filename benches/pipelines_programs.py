"""Random programs of the loop language over random columns, every node and builder among them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pipelines_data import Made, dictionaries, random_column
from pipelines_expressions import Writer
from pipelines_sql import NoSql, Printer, type_sql

from foveal.engine.compile.arrow import machine_dtype
from foveal.engine.compile.data import ColumnData, Inputs, SourceData, TableData
from foveal.planner.ir import nodes, program, typing
from foveal.planner.ir.inference import Inference, of_loop
from foveal.planner.ir.nodes import Expr
from foveal.planner.ir.types import (
    BOOL,
    I32,
    Bool,
    Code,
    Date,
    Decimal,
    Float,
    Int,
    Type,
    physical,
)

ROWS = (0, 1, 7, 40, 300, 2049)
SHARES = (0.04, 0.06, 0.15, 0.3, 0.3, 0.15)


@dataclass(frozen=True, slots=True)
class Case:
    """A program, its inputs, and how DuckDB is asked the same.

    `arrow`: the columns, with the SQL that gives each its type in `casts`. `queries`: by result,
    those that SQL can say. `ordered`: results whose rows have an order. `spare`: a row may raise
    here that DuckDB never looks at (behind a NULL in WHERE, beside NULLs alone).
    """

    seed: int
    program: program.Program
    inputs: Inputs
    arrow: pa.Table
    casts: tuple[str, ...]
    queries: Mapping[str, str]
    ordered: frozenset[str]
    spare: bool


class _Maker:
    """Makes one case."""

    def __init__(self, seed: int, big: bool) -> None:
        self.seed = seed
        self.random = np.random.default_rng(seed)
        self.rows = 65537 if big else int(self.random.choice(ROWS, p=SHARES))
        self.columns: dict[str, Made] = {}
        for k in range(int(self.random.integers(3, 8))):
            self.columns[f"c{k}"] = random_column(self.random, f"c{k}", self.rows)
        self.writer = Writer(self.random, self.columns)
        self.careful = self.random.random() < 0.75
        self.source = program.Source("t", tuple(m.declared for m in self.columns.values()))

    # --- expressions that mostly do not raise ---

    def inference(self) -> Inference:
        whole = self.whole(())
        loop = program.Loop("r", "t", program.Struct(()))
        return of_loop(whole, loop)

    def settled(self, make: Any) -> Expr:
        """Return an expression that cannot raise, if a few tries find one."""
        x: Expr = nodes.TRUE
        for _ in range(6):
            x = make()
            raises = self.inference().facts(x).can_raise
            if not raises or (not self.careful and self.writer.chance(0.4)):
                return x
        if self.careful or self.writer.chance(0.7):
            found = self.writer.column()
            assert found is not None
            return typing.unary("is_null", found) if x.type == BOOL else found
        return x

    def value(self) -> Expr:
        depth = int(self.random.integers(0, 4))
        return self.tamed(self.settled(lambda: self.writer.any(depth)))

    def tamed(self, x: Expr) -> Expr:
        """Return an expression whose AND and OR evaluate nothing on the right that can raise.

        DuckDB evaluates both sides there.
        """
        inference = self.inference()

        def visit(node: Expr) -> Expr:
            parts = tuple(visit(child) for child in nodes.children(node))
            node = nodes.rebuilt(node, parts)
            if (
                isinstance(node, nodes.Binary)
                and node.op in nodes.LOGIC
                and inference.facts(node.right).can_raise
            ):
                return nodes.Binary(node.op, node.left, nodes.TRUE, BOOL)
            return node

        return visit(x)

    def where(self) -> Expr | None:
        if self.writer.chance(0.35):
            return None
        terms = [
            self.tamed(self.settled(lambda: self.writer.condition(int(self.random.integers(0, 3)))))
            for _ in range(int(self.random.integers(1, 4)))
        ]
        return typing.both(*terms)

    # --- builders ---

    def fold(self) -> program.Fold:
        if self.writer.chance(0.12):
            return typing.fold("count")
        maths, self.writer.maths = self.writer.maths, self.writer.maths and self.writer.chance(0.5)
        x = self.value()
        self.writer.maths = maths
        ops = ["count", "min", "max"]
        if isinstance(x.type, Int | Decimal | Float):
            ops += ["sum", "sum", "avg"]
        if isinstance(x.type, Bool):
            ops += ["sum"]
        return typing.fold(self.writer.pick(*ops), x)

    def folds(self, count: int) -> tuple[tuple[str, program.Fold], ...]:
        return tuple((f"f{k}", self.fold()) for k in range(count))

    def keys(self) -> tuple[program.Key, ...]:
        found: list[program.Key] = []
        for k in range(int(self.random.integers(1, 4))):
            x = self.writer.column() if self.writer.chance(0.7) else self.value()
            assert x is not None
            made = self.columns[x.name].declared if isinstance(x, nodes.Column) else None
            if made is not None and self.writer.chance(0.5):
                found.append(program.Key(f"k{k}", x, made.nullable, made.low, made.high))
            else:
                found.append(program.Key(f"k{k}", x))
        return tuple(found)

    def builder(self) -> program.Builder:
        way = self.random.random()
        if way < 0.4:
            return program.Struct(self.folds(int(self.random.integers(1, 6))))
        if way < 0.65:
            return program.Group(self.keys(), self.folds(int(self.random.integers(1, 4))))
        fields = tuple((f"x{k}", self.value()) for k in range(int(self.random.integers(1, 5))))
        if way < 0.88:
            return program.Append(fields)
        order = tuple(
            program.Order(
                self.writer.column() or self.value(),
                self.writer.chance(0.5),
                self.writer.chance(0.5),
            )
            for _ in range(int(self.random.integers(1, 3)))
        )
        return program.TopK(int(self.writer.pick(0, 1, 3, 10, 5000)), order, fields)

    def earlier(self) -> None:
        """Make a table for later loops."""
        bounded = [
            m.declared
            for m in self.columns.values()
            if isinstance(m.declared.type, Int | Date | Code)
            and m.declared.low is not None
            and m.declared.high is not None
            and m.declared.high - m.declared.low < 5000
            and m.declared.type != Int(128)
        ]
        name = f"e{len(self.writer.earlier)}"
        if self.writer.chance(0.5) and self.rows:
            made = random_column(self.random, "row", self.rows, I32)
            values = np.arange(self.rows, dtype=np.int32)
            data = ColumnData(I32, values, None, None, 0, self.rows - 1)
            declared = program.Column("row", I32, I32, False, 0, self.rows - 1)
            self.columns["row"] = Made(declared, data, pa.array(values), made.tame)
            value = self.writer.column()
            assert value is not None
            builder = program.Scatter(nodes.Column("row", I32), value, 0, self.rows - 1)
        elif bounded:
            column = self.writer.pick(*bounded)
            index = nodes.Column(column.name, column.type)
            builder = program.Bitmap(index, column.low, column.high)
        else:
            return
        where = None
        flag = self.writer.column()
        if flag is not None and self.writer.chance(0.6):
            where = typing.unary("not", typing.unary("is_null", flag))
            if isinstance(flag.type, Bool):
                where = flag
        self.source = program.Source("t", tuple(m.declared for m in self.columns.values()))
        self.writer.refs = [nodes.Column(n, m.declared.type) for n, m in self.columns.items()]
        self.writer.earlier.append(program.Loop(name, "t", builder, where))

    # --- the whole ---

    def whole(self, loops: tuple[program.Loop, ...]) -> program.Program:
        writer = self.writer
        return program.Program(
            "fuzz",
            (self.source,),
            (*writer.earlier, *loops),
            tuple(loop.into for loop in loops),
            tuple(s for s, _ in writer.scalars.values()),
            tuple(t for t, _ in writer.tables.values()),
            (),
            tuple(writer.messages),
        )

    def case(self) -> Case:
        if self.writer.chance(0.12):
            self.earlier()
        loops: list[program.Loop] = []
        count = int(self.random.choice([1, 2, 3], p=[0.7, 0.2, 0.1]))
        where = self.where()
        for k in range(count):
            builder = self.builder()
            how = str(self.writer.pick("", "", "mask", "branch"))
            loops.append(program.Loop(f"r{k}", "t", builder, where, how))
            if self.writer.chance(0.5):
                where = self.where()
        whole = self.whole(tuple(loops))
        writer = self.writer
        scalars = {n: v for n, (_, v) in writer.scalars.items()}
        tables = {n: _table_data(t.type, v) for n, (t, v) in writer.tables.items()}
        data = {n: m.data for n, m in self.columns.items()}
        inputs = Inputs({"t": SourceData(self.rows, data)}, scalars, tables)
        printer = Printer(
            scalars,
            {n: v for n, (_, v) in writer.tables.items()},
            dictionaries(self.columns),
            whole,
        )
        queries: dict[str, str] = {}
        ordered: set[str] = set()
        for loop in loops:
            if isinstance(loop.builder, program.Append | program.TopK):
                ordered.add(loop.into)
            with contextlib.suppress(NoSql):
                queries[loop.into] = printer.query(loop)
        spare = any(
            any(of_loop(whole, loop).facts(x).can_raise for x in _behind(loop.where))
            for loop in loops
            if loop.where is not None
        )
        # DuckDB leaves out what an operator is to be applied to beside a vector of NULLs alone.
        spare |= any(value is None for value in writer.given)
        spare |= any(all(v is None for v in values) for _, values in writer.tables.values())
        spare |= any(made.arrow.null_count == self.rows for made in self.columns.values())
        arrow = pa.table(
            {
                **{n: m.arrow for n, m in self.columns.items()},
                "i_": pa.array(np.arange(self.rows)),
            }
        )
        casts = tuple(
            f"CAST({n} AS {type_sql(m.declared.type)}) AS {n}" for n, m in self.columns.items()
        )
        return Case(
            self.seed, whole, inputs, arrow, (*casts, "i_"), queries, frozenset(ordered), spare
        )


def _behind(node: Expr) -> list[Expr]:
    """Return the right sides of AND and OR in a condition."""
    if not isinstance(node, nodes.Binary) or node.op not in nodes.LOGIC:
        return []
    return [node.right, *_behind(node.left), *_behind(node.right)]


def _table_data(type_: Type, values: list[Any]) -> TableData:
    """Return a lookup table's entries."""
    machine = physical(type_)
    zeros = [0 if v is None else v for v in values]
    array: Any = np.array(zeros, machine_dtype(machine))
    valid = np.array([v is not None for v in values], np.bool_)
    return TableData(array, None if bool(valid.all()) else valid)


def random_case(seed: int, *, big: bool = False) -> Case:
    """Return the case of a seed: always the same one."""
    return _Maker(seed, big).case()
