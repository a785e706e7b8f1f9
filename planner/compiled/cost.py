"""What a statement costs as programs and in DuckDB, in seconds, from figures of this machine.

    ours   = statement + max(bytes / bandwidth, rows x operations) per loop + rows out x crossing
    DuckDB = statement + values x scan + rows x operations + rows x grouping + rows x joining

Both are rough, to within a factor of two or so; what a statement really took corrects them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foveal.planner.compiled.facts import TableFacts
from foveal.planner.compiled.plan import Candidate
from foveal.planner.compiled.sourcing import builder_exprs
from foveal.planner.ir.nodes import (
    Binary,
    Cast,
    Column,
    Expr,
    Literal,
    Lookup,
    Parameter,
    Unary,
    children,
)
from foveal.planner.ir.program import Append, Bitmap, Group, Loop, Program, Scatter, Struct
from foveal.planner.ir.types import Code, Date, Float, Int

_MATH = frozenset({"exp", "log", "log2", "log10", "sqrt", "cbrt", "sin", "cos", "tan", "pow",
                   "asin", "acos", "atan", "erf", "sinh", "cosh", "tanh"})  # fmt: skip
_DIVISIONS = frozenset({"div", "idiv", "mod", "year", "month", "day", "quarter", "dayofyear"})
_SELECTED = 0.3
"""Share of the rows that pass a filter of which nothing is known."""
_STRINGS = 100
"""Entries of a dictionary, or days, of which nothing is known."""
_DENSE = 1 << 16
"""Groups up to which a table of them stays in the caches."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Figures of a machine, in seconds (bandwidth: bytes per second), over all threads.

    `operation`: a simple operator of a program, per row. `lookup`: loading from an array by key.
    `group`: adding a row to a group, `hash`: finding it in a large table. `scan`: DuckDB, a value
    of its table. `duckdb_operation`, `duckdb_group`, `duckdb_join`: DuckDB, per row. `crossing`: a
    value from a program to DuckDB. `statement`, `program`: what any statement of DuckDB, any
    program, costs beside. `compile`: a program that was never compiled on this machine, `load`: one
    that was.
    """

    bandwidth: float = 20e9
    operation: float = 0.05e-9
    lookup: float = 0.6e-9
    group: float = 0.3e-9
    hash: float = 8e-9
    scan: float = 0.6e-9
    duckdb_operation: float = 0.5e-9
    duckdb_group: float = 4e-9
    duckdb_join: float = 4e-9
    crossing: float = 4e-9
    statement: float = 0.6e-3
    program: float = 1.2e-3
    compile: float = 0.05
    load: float = 4e-3


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds of a candidate: `ours` with resident columns, `duckdb`, and `fill` of those not."""

    ours: float
    duckdb: float
    fill: float

    @property
    def saving(self) -> float:
        """Seconds that the program saves per run."""
        return self.duckdb - self.ours


def estimate(
    candidates: Sequence[Candidate],
    facts: Mapping[tuple[str, ...], TableFacts | None],
    machine: Machine,
) -> Estimate:
    """Return what the candidates of one statement cost together."""
    ours, duckdb, fill = machine.statement, machine.statement, 0.0
    filled: set[tuple[tuple[str, ...], str]] = set()
    for candidate in candidates:
        tables = {source: facts[read.table] for source, read in candidate.reads.items()}
        rows = {s: float(t.rows) for s, t in tables.items() if t is not None}
        ours += machine.program + program_seconds(candidate.program, rows, machine)
        duckdb += _duckdb(candidate.program, rows, machine)
        for source, read in candidate.reads.items():
            table = tables[source]
            for name in read.columns:
                column = table.column(name) if table is not None else None
                if column is None or column.resident or (read.table, name) in filled:
                    continue
                filled.add((read.table, name))
                fill += column.fill_seconds
    return Estimate(ours, duckdb, fill)


def program_seconds(program: Program, rows: Mapping[str, float], machine: Machine) -> float:
    """Return what a program's loops cost on this machine's processors; `rows`: of each source."""
    total = 0.0
    for loop in program.loops:
        n = rows.get(loop.source, 0.0)
        reading = loop_bytes(program, loop, n)
        computing = n * sum(_cost(e, machine) for e in _nodes(loop))
        total += max(reading / machine.bandwidth, computing) + _building(loop, n, machine)
    return total


def loop_bytes(program: Program, loop: Loop, rows: float) -> float:
    """Return the bytes of columns that a loop reads over some rows."""
    widths = {
        c.name: _width(c.storage) for source in program.sources if source.name == loop.source
        for c in source.columns
    }  # fmt: skip
    wanted = {e.name for e in _nodes(loop) if isinstance(e, Column)}
    return rows * sum(widths.get(name, 4) for name in wanted)


def _building(loop: Loop, rows: float, machine: Machine) -> float:
    selected = rows * (1.0 if loop.where is None else _SELECTED)
    match loop.builder:
        case Group(_, fields) as group:
            slots = groups(group)
            each = machine.group * (1 + len(fields) / 2)
            out = min(selected, float(slots) if slots is not None else selected / 10)
            if slots is None or slots > _DENSE:
                each += machine.hash
            return selected * each + out * (len(fields) + 1) * machine.crossing
        case Struct():
            return 0.0
        case Append(fields):
            return selected * len(fields) * machine.crossing
        case Bitmap() | Scatter():
            return selected * machine.lookup
        case _:
            return rows * machine.group


def groups(group: Group) -> int | None:
    """Return how many groups there are at most, None where that is not known."""
    found = 1
    for key in group.keys:
        if isinstance(key.expr.type, Code | Date) and key.low is None:
            found *= _STRINGS  # not resident yet: as a guess
            continue
        if key.low is None or key.high is None:
            return None
        found *= key.high - key.low + 1 + key.nullable
    return found


def _duckdb(program: Program, rows: Mapping[str, float], machine: Machine) -> float:
    total = 0.0
    counted: set[str] = set()
    for loop in program.loops:
        n = rows.get(loop.source, 0.0)
        selected = n * (1.0 if loop.where is None else _SELECTED)
        if loop.source not in counted:  # DuckDB scans a table once
            counted.add(loop.source)
            columns = {e.name for e in _nodes(loop) if isinstance(e, Column)}
            total += n * len(columns) * machine.scan
        lookups = sum(isinstance(e, Lookup) and ":" in e.table for e in _nodes(loop))
        total += selected * min(lookups, 1) * machine.duckdb_join
        total += (
            selected
            * machine.duckdb_operation
            * sum(isinstance(e, Binary | Unary | Lookup) for e in _nodes(loop))
        )
        if isinstance(loop.builder, Group):
            slots = groups(loop.builder)
            wide = slots is None or slots > _DENSE
            each = machine.duckdb_group * (3 if wide else 1)
            total += selected * (each + machine.duckdb_operation * len(loop.builder.fields))
    return total


def _cost(expr: Expr, machine: Machine) -> float:
    """Return the seconds of one operator per row."""
    match expr:
        case Binary(op) | Unary(op):
            if op in _MATH:
                return machine.operation * 20
            return machine.operation * (8 if op in _DIVISIONS else 1)
        case Lookup():
            return machine.lookup
        case Cast():
            return machine.operation / 2
        case Literal() | Column() | Parameter():
            return 0.0
        case _:
            return machine.operation


def _nodes(loop: Loop) -> list[Expr]:
    found: dict[Expr, None] = {}
    stack = [*builder_exprs(loop.builder), *filter(None, (loop.where,))]
    while stack:
        expr = stack.pop()
        if expr not in found:
            found[expr] = None
            stack += children(expr)
    return list(found)


def _width(storage: object) -> int:
    return max(1, storage.bits // 8) if isinstance(storage, Int | Float) else 1
