"""A statement's text in, verified programs out: facts are gathered, DuckDB asked for types.

The planner's translation is not taken on trust: DuckDB describes every key, aggregate and typed
part of an expression, and where it says another type than the program has, nothing is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from foveal.engine.columns import ColumnStore, Unavailable
from foveal.engine.columns.sql_types import ir_type
from foveal.engine.compile.data import TableData
from foveal.engine.operators.compiled import dotted, entry_table, sources
from foveal.engine.substrate import Substrate, bindings
from foveal.errors import FovealError, Span
from foveal.planner.compiled.consider import consider, tables_named
from foveal.planner.compiled.facts import TableFacts
from foveal.planner.compiled.plan import Candidate, Considered
from foveal.planner.compiled.reading import Reading
from foveal.planner.compiled.refusal import NotCompilable
from foveal.planner.compiled.rewriting import Typed, rewritten
from foveal.planner.ir.function import IrFunction
from foveal.planner.ir.passes import parametrized
from foveal.planner.ir.types import Code, Type
from foveal.planner.protocols import CancelCheck
from foveal.planner.text import Mapped, apply

Described = tuple[tuple[str, str], ...]
"""Columns as (name, DuckDB type)."""
_ROUNDS = 4
"""How often facts are gathered anew: for unique keys, then for columns that were read."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement ready to run: its programs, and the text that DuckDB runs over their rows.

    `described` is what the user's own text gives. `tables`: per program, over dictionaries.
    `candidates` are as they run, after the passes; `considered` has them as they were written.
    """

    candidates: tuple[Candidate, ...]
    mapped: Mapped
    described: Described
    considered: Considered
    tables: tuple[Mapping[str, TableData], ...]


class CompiledPlanning:
    """Plans the programs of one session's statements."""

    def __init__(
        self,
        substrate: Substrate,
        scratch: Substrate,
        store: ColumnStore,
        users: Callable[[], frozenset[str]],
        inlined: Callable[[], Mapping[str, IrFunction]],
    ) -> None:
        """Take what planning reads. `scratch` evaluates expressions over dictionaries.

        `users`: names of the user's own functions; `inlined`: those put in the place of calls.
        """
        self._substrate = substrate
        self._scratch = scratch
        self._store = store
        self._users = users
        self._inlined = inlined

    def facts(self, reading: Reading) -> dict[tuple[str, ...], TableFacts | None]:
        """Return what is known of the tables that a statement names."""
        found: dict[tuple[str, ...], TableFacts | None] = {}
        for table in tables_named(reading):
            try:
                found[table] = self._store.facts(dotted(table))
            except Unavailable:
                found[table] = None
        return found

    def table_names(self, reading: Reading) -> tuple[str, ...]:
        """Return the tables that a statement names, without schema, as versions know them."""
        return tuple(sorted({table[-1] for table in tables_named(reading)}))

    def weighed(
        self, reading: Reading, parameters: Mapping[str, object]
    ) -> tuple[Considered, Mapping[tuple[str, ...], TableFacts | None]]:
        """Return the programs that a statement may have, and the facts, without reading a column.

        Keys that nobody looked at yet are taken for unique.
        """
        facts = self.facts(reading)
        hopeful = {
            name: None
            if table is None
            else replace(
                table,
                columns=tuple(
                    replace(c, unique=True) if c.unique is None else c for c in table.columns
                ),
            )
            for name, table in facts.items()
        }
        reading = replace(reading, functions=self._inlined())
        return consider(reading, hopeful, parameters, self._users()), facts

    def consider(self, reading: Reading, parameters: Mapping[str, object]) -> Considered:
        """Return the programs that could stand for parts of a statement, by today's facts."""
        reading = replace(reading, functions=self._inlined())
        return consider(reading, self.facts(reading), parameters, self._users())

    def compile(
        self,
        reading: Reading,
        parameters: Mapping[str, object],
        check: CancelCheck,
        passes_off: Collection[str] = frozenset(),
    ) -> Compiled:
        """Return a statement's programs, the columns that they read made resident.

        Constants are parameters of theirs: statements that differ in constants share machine code.
        `passes_off`: names of passes (`planner.ir.passes`) to leave out.

        Raises:
            NotCompilable: no part of it is compiled.
            QueryCanceled: `check` raised it.
        """
        considered = self._settled(reading, parameters, check)
        kept: list[Typed] = []
        refusals = list(considered.refusals)
        for candidate in considered.candidates:
            try:
                kept.append(self._typed(candidate, parameters))
            except NotCompilable as refusal:
                refusal.span = refusal.span or candidate.span
                refusals.append(refusal)
        if not kept:
            raise refusals[0] if refusals else NotCompilable("nothing to compile")
        mapped = apply(reading.text, rewritten(reading, kept))
        tables = tuple(self._tables(typed.candidate, parameters, check) for typed in kept)
        whole = Considered(tuple(t.candidate for t in kept), tuple(refusals))
        whole_text = reading.fragment(Span(0, reading.tokens[-1].end))
        described = self.describe(whole_text, parameters)
        passed = tuple(_passed(c, passes_off) for c in whole.candidates)
        return Compiled(passed, mapped, described, whole, tables)

    def _settled(
        self, reading: Reading, parameters: Mapping[str, object], check: CancelCheck
    ) -> Considered:
        """Consider until the facts that the programs rest on are exact."""
        asked: set[tuple[tuple[str, ...], str]] = set()
        considered = self.consider(reading, parameters)
        for _ in range(_ROUNDS):
            wanted = considered.wanted_unique - asked
            missing = [c for c in considered.candidates if not self._resident(c)]
            if not wanted and not missing:
                break
            try:
                for table, column in sorted(wanted):
                    asked.add((table, column))
                    self._store.unique(dotted(table), column, check)
                if not wanted:
                    for candidate in missing:
                        sources(candidate, self._store, check)
            except Unavailable as error:
                if not wanted:
                    raise NotCompilable(str(error)) from None
            considered = self.consider(reading, parameters)
        return considered

    def _resident(self, candidate: Candidate) -> bool:
        """Say whether all columns that a program reads are resident."""
        for read in candidate.reads.values():
            facts = self._store.facts(dotted(read.table))
            for name in read.columns:
                column = facts.column(name)
                if column is None or not column.resident:
                    return False
        return True

    # --- what DuckDB says --------------------------------------------------------------------

    def describe(self, text: str, parameters: Mapping[str, object]) -> Described:
        """Return the columns of a query without running it.

        Raises:
            NotCompilable: DuckDB refuses it; running the user's text tells why.
        """
        try:
            rows = self._substrate.rows(f"DESCRIBE {text}", bindings(text, parameters))
        except FovealError as error:
            if error.sqlstate == "25P02":
                raise
            raise NotCompilable(f"DuckDB: {error.message.splitlines()[0]}") from None
        return tuple((str(row[0]), str(row[1])) for row in rows)

    def _typed(self, candidate: Candidate, parameters: Mapping[str, object]) -> Typed:
        """Return a candidate with DuckDB's types and names, where they agree with ours."""
        found = [type_ for _, type_ in self.describe(candidate.probe, parameters)]
        for output, sql_type in zip(candidate.outputs, found, strict=True):
            _agree(output.text, output.type, sql_type)
        for text, types in candidate.checks:
            said = self.describe(text, parameters)
            for type_, (name, sql_type) in zip(types, said, strict=True):
                _agree(name, type_, sql_type)
        names: tuple[str, ...] = ()
        if candidate.naming:
            names = tuple(name for name, _ in self.describe(candidate.naming, parameters))
        return Typed(candidate, tuple(found), names)

    def _tables(
        self, candidate: Candidate, parameters: Mapping[str, object], check: CancelCheck
    ) -> Mapping[str, TableData]:
        if not candidate.entries:
            return {}
        try:
            data = sources(candidate, self._store, check)
            made: dict[str, TableData] = {}
            for table in candidate.entries:
                named = dotted(candidate.reads[table.source].table)
                query = f"SELECT {dotted((table.of,))} FROM {named}"
                ((_, sql_type),) = self.describe(query, {})
                made[table.name] = entry_table(
                    table, data[table.source], sql_type, self._scratch, parameters
                )
        except Unavailable as error:
            raise NotCompilable(str(error)) from None
        except FovealError as error:
            if error.sqlstate in ("57014", "25P02"):
                raise
            raise NotCompilable(f"DuckDB: {error.message.splitlines()[0]}") from None
        return made


def _passed(candidate: Candidate, off: Collection[str]) -> Candidate:
    """Return a candidate whose program has been rewritten, its constants apart."""
    program, scalars = parametrized(candidate.program, off)
    return replace(candidate, program=program, scalars=scalars)


def _agree(text: str, ours: Type, theirs: str) -> None:
    """Check that DuckDB gives a part of an expression the type that the program has."""
    said = ir_type(theirs)
    if said == ours or (isinstance(said, Code) and isinstance(ours, Code)):
        return
    raise NotCompilable(f"{text} is {theirs} in DuckDB and {ours} here")
