"""Programs that stand for parts of a statement: their inputs gathered, run, rows as DuckDB's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa

from foveal.engine.columns import ColumnStore
from foveal.engine.compile.data import Inputs, Runner, SourceData, TableData
from foveal.engine.substrate import Substrate, bindings
from foveal.planner.compiled.plan import Candidate, EntryTable
from foveal.planner.ir.types import Bool, Code, Int, physical
from foveal.planner.protocols import CancelCheck
from foveal.planner.text import quote

_ENTRIES = "__foveal_entries"


def dotted(table: Sequence[str]) -> str:
    """Return a table's name as the column store takes it."""
    return ".".join(quote(word) for word in table)


def sources(candidate: Candidate, store: ColumnStore, check: CancelCheck) -> dict[str, SourceData]:
    """Return the columns that a program reads, by source; those not there yet are read.

    Raises: see `ColumnStore.sources`.
    """
    wanted: dict[str, list[str]] = {}
    for read in candidate.reads.values():
        columns = wanted.setdefault(dotted(read.table), [])
        columns += [c for c in read.columns if c not in columns]
    found = store.sources(wanted, check)
    return {name: found[dotted(read.table)] for name, read in candidate.reads.items()}


def entry_table(
    table: EntryTable,
    data: SourceData,
    sql_type: str,
    scratch: Substrate,
    parameters: Mapping[str, object],
) -> TableData:
    """Return the answers of an expression for every entry of a column's dictionary.

    `sql_type`: of the column, VARCHAR or an ENUM.

    Raises:
        FovealError: DuckDB's, an entry has no answer.
    """
    dictionary = data.columns[table.of].dictionary
    assert dictionary is not None
    rows = pa.table({"n": pa.array(range(len(dictionary)), pa.int32()), "e": dictionary})
    scratch.register(_ENTRIES, rows)
    try:
        alias = quote(table.alias or "entries")
        text = (
            f"SELECT ({table.text}) AS found FROM (SELECT n AS __n, CAST(e AS {sql_type}) AS "
            f"{quote(table.column)} FROM {_ENTRIES}) AS {alias} ORDER BY __n"
        )
        found = scratch.table(text, bindings(text, parameters)).column("found")
    finally:
        scratch.unregister(_ENTRIES)
    return _answers(found.combine_chunks(), table)


def _answers(found: pa.Array[Any], table: EntryTable) -> TableData:
    """Return an Arrow column as a lookup table."""
    valid = np.asarray(found.is_valid().to_numpy(zero_copy_only=False), np.bool_)
    kept = None if bool(valid.all()) else valid
    if isinstance(table.type, Code):
        texts = found.to_pylist()
        entries = sorted({t for t in texts if t is not None}, key=lambda t: str(t).encode())
        place = {t: i for i, t in enumerate(entries)}
        codes = np.array([place.get(t, 0) for t in texts], np.int32)
        return TableData(codes, kept, pa.array(entries, pa.string()))
    machine = physical(table.type)
    kind: Any = (
        np.uint8 if isinstance(machine, Bool) else np.dtype(f"i{cast('Int', machine).bits // 8}")
    )
    values = [0 if v is None else int(v) for v in found.to_pylist()]
    return TableData(np.array(values, kind), kept)


def run(
    candidate: Candidate,
    data: Mapping[str, SourceData],
    tables: Mapping[str, TableData],
    runner: Runner,
    check: CancelCheck,
) -> pa.Table:
    """Run a program and return its rows, strings as strings.

    Raises:
        KernelError: a row raised.
        QueryCanceled: `check` raised it.
    """
    inputs = Inputs(data, candidate.scalars, dict(tables))
    found = runner(candidate.program, inputs, check)[candidate.program.results[0]]
    columns = [
        c.cast(c.type.value_type) if pa.types.is_dictionary(c.type) else c for c in found.columns
    ]
    return pa.table(columns, names=found.column_names)
