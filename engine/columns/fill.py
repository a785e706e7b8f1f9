"""Missing columns of a relation, streamed out of DuckDB into narrow arrays.

Three steps on the session's connection: one query for counts and bounds, one per string column for
its distinct strings, then one stream of all columns. The first two are cheap where DuckDB has
statistics, and let the arrays be allocated once, in their final width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from foveal.engine.columns.encode import Target, narrowest, storage_of, stored_integer
from foveal.engine.columns.relations import Described, Relation, Unavailable, literal, quoted
from foveal.engine.compile.data import ColumnData
from foveal.engine.substrate import Substrate, translate
from foveal.planner.ir.types import F64, I64, Code, Float, Int, physical
from foveal.planner.protocols import CancelCheck

BATCH = 122_880
MOST_STRINGS = 65_536
"""Strings that a dictionary may have; in short relations fewer: an eighth of the rows."""
FEW_STRINGS = 16
"""Up to here DuckDB turns strings into codes itself (a CASE), on its own dictionaries: at 6M rows
39 ms with 4 strings, 234 ms with 50; strings that come out as they are take 170 to 300 ms."""

Advance = Callable[[int, int], None]
"""Told how many rows of how many were read."""


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """A column that was read, or why it cannot be. `seconds`: its share of the time it took."""

    data: ColumnData | None
    nulls: int = 0
    refused: str = ""
    seconds: float = 0.0


def most_strings(rows: int) -> int:
    """Return how many distinct strings a column of `rows` rows may have."""
    return max(256, min(MOST_STRINGS, rows // 8))


def fill_seconds(column: Described, rows: int) -> float:
    """Estimate the time to read a column, measured at 6M rows on two cores."""
    nanoseconds = 8.0
    if isinstance(column.type, Code):
        nanoseconds = 30.0 if column.sql_type == "VARCHAR" else 6.0
    return 1e-3 + nanoseconds * 1e-9 * rows


@contextmanager
def _told(check: CancelCheck) -> Generator[None]:
    """Turn what DuckDB and its stream raise into our errors, a cancellation first."""
    try:
        yield
    except duckdb.Error as error:
        check()
        raise translate(error) from error
    except (OSError, pa.ArrowException) as error:  # the stream's: the class is lost, the text not
        check()
        stopped = str(error).startswith("INTERRUPT")
        kind = duckdb.InterruptException if stopped else duckdb.OperationalError
        raise translate(kind(str(error))) from error


def _one_row(substrate: Substrate, sql: str) -> pa.Table:
    return substrate.connection.sql(sql).to_arrow_table()


def _counted(
    substrate: Substrate, relation: Relation, columns: Sequence[Described]
) -> tuple[int, dict[str, Target | str]]:
    """Return the number of rows, and per column what to allocate or why not."""
    asked = ["count(*)"]
    for column in columns:
        name = quoted(column.name)
        asked.append(f"count({name})")
        if not isinstance(column.type, Float | Code):
            asked += [f"min({name})", f"max({name})"]
    row = _one_row(substrate, f"SELECT {', '.join(asked)} FROM {relation.sql}")
    numbers = iter(stored_integer(c.combine_chunks()) for c in row.itercolumns())
    rows = next(numbers) or 0
    found: dict[str, Target | str] = {}
    for column in columns:
        assert column.type is not None
        nulls = rows - (next(numbers) or 0)
        if isinstance(column.type, Float | Code):
            machine = physical(column.type)
            found[column.name] = Target(column.type, machine, rows, nulls)
            continue
        low, high = next(numbers), next(numbers)
        bounds = None if low is None or high is None else (low, high)
        storage = storage_of(column.type, bounds)
        if storage is None:
            found[column.name] = "its values do not fit 64 bits"
        else:
            found[column.name] = Target(column.type, storage, rows, nulls, low, high)
    return rows, found


def _enum_entries(substrate: Substrate, column: Described) -> list[str]:
    found = substrate.connection.sql(f"SELECT unnest(enum_range(NULL::{column.sql_type}))")
    return [str(entry) for (entry,) in found.fetchall()]


def _strings(substrate: Substrate, relation: Relation, column: Described, rows: int) -> list[str]:
    """Return the distinct strings of a column in the order of their bytes.

    Raises:
        Unavailable: there are too many.
    """
    name, most = quoted(column.name), most_strings(rows)
    found = _one_row(
        substrate,
        f"SELECT DISTINCT {name} FROM {relation.sql} WHERE {name} IS NOT NULL LIMIT {most + 1}",
    ).column(0)
    if len(found) > most:
        raise Unavailable(f"it has more than {most:,} distinct strings")
    return sorted(str(entry) for entry in found.to_pylist())  # code points order as bytes do


def _coded(target: Target, entries: list[str]) -> None:
    """Make `target` one of codes of these entries."""
    storage = narrowest(0, max(0, len(entries) - 1))
    assert storage is not None
    target.storage = storage
    target.dictionary = pa.array(entries, pa.string())
    if target.rows > target.nulls:
        target.low, target.high = 0, len(entries) - 1


def _expression(column: Described, target: Target) -> str:
    """Return the SQL that gives a column's numbers, or its strings."""
    name = quoted(column.name)
    if target.dictionary is None:
        return name
    if column.sql_type != "VARCHAR":
        return f"enum_code({name})"
    entries = [str(entry) for entry in target.dictionary.to_pylist()]
    if len(entries) > FEW_STRINGS or any("\0" in entry for entry in entries):
        target.as_strings = True
        return name
    if not entries:
        return "NULL::UTINYINT"
    arms = " ".join(f"WHEN {literal(entry)} THEN {i}" for i, entry in enumerate(entries))
    return f"(CASE {name} {arms} END)::UTINYINT"


def fill(
    substrate: Substrate,
    relation: Relation,
    columns: Sequence[Described],
    room: Callable[[int], None],
    check: CancelCheck,
    advance: Advance,
) -> tuple[int, Mapping[str, Read]]:
    """Read columns that have a type; return the number of rows and each column by name.

    `room` is asked for the bytes before they are allocated. The connection must be free and is
    free again afterwards. The caller finds out whether the relation changed meanwhile.

    Raises:
        Unavailable: `room` raised it, or the relation changed while it was read.
        QueryCanceled: `check` raised it.
        FovealError: DuckDB's error.
    """
    started = time.perf_counter()
    check()
    with _told(check):
        rows, found = _counted(substrate, relation, columns)
        spent: dict[str, float] = {}
        for column in columns:
            target = found[column.name]
            if isinstance(target, Target) and isinstance(target.type, Code):
                check()
                begun = time.perf_counter()
                try:
                    if column.sql_type == "VARCHAR":
                        entries = _strings(substrate, relation, column, rows)
                    else:
                        entries = _enum_entries(substrate, column)
                    _coded(target, entries)
                except Unavailable as reason:
                    found[column.name] = str(reason)
                spent[column.name] = time.perf_counter() - begun
        targets = {c: t for c, t in found.items() if isinstance(t, Target)}
        room(sum(t.nbytes + (t.rows if t.nulls else 0) for t in targets.values()))
        for target in targets.values():
            target.allocate()
        if targets and rows:
            _stream(substrate, relation, columns, targets, check, advance)
    share = (time.perf_counter() - started - sum(spent.values())) / max(len(columns), 1)
    read: dict[str, Read] = {}
    for name, target in found.items():
        seconds = share + spent.get(name, 0.0)
        if isinstance(target, Target):
            read[name] = Read(target.finish(), target.nulls, seconds=seconds)
        else:
            read[name] = Read(None, refused=target, seconds=seconds)
    return rows, read


def _stream(
    substrate: Substrate,
    relation: Relation,
    columns: Sequence[Described],
    targets: Mapping[str, Target],
    check: CancelCheck,
    advance: Advance,
) -> None:
    """Write every batch of the relation into the targets."""
    wanted = [(c, targets[c.name]) for c in columns if c.name in targets]
    shown = ", ".join(f"{_expression(c, t)} AS c{i}" for i, (c, t) in enumerate(wanted))
    rows, at = wanted[0][1].rows, 0
    changed = Unavailable("it changed while it was read")
    reader = substrate.connection.sql(f"SELECT {shown} FROM {relation.sql}").to_arrow_reader(BATCH)
    try:
        for batch in reader:
            check()
            if at + batch.num_rows > rows:
                raise changed
            for i, (_, target) in enumerate(wanted):
                if not target.write(at, batch.column(i)):
                    raise changed
            at += batch.num_rows
            advance(at, rows)
    finally:
        reader.close()
    if at != rows:
        raise changed


def widest(column: Described) -> Int | Float | None:
    """Return the widest machine type that the column may be stored in; None: it has no type."""
    match column.type:
        case None:
            return None
        case Float():
            return column.type
        case type_:
            machine = physical(type_)
            if isinstance(machine, Int):
                return machine if machine.signed and machine.bits <= 64 else I64
            return F64 if isinstance(machine, Float) else Int(8)
