"""A parsed query and the session's state in, a physical plan out: facts are gathered on the way.

The planner itself is pure. This is where it meets the world: views and macros are written out,
tables are opened, their facts frozen into a `Snapshot`, and the frames' facts handed to `lower`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from foveal.engine.catalog.definitions import Definitions
from foveal.engine.catalog.system import SCHEMAS
from foveal.engine.catalog.videos import LiveTable
from foveal.engine.context import QueryContext
from foveal.engine.executor import Runtime
from foveal.engine.facts import gather
from foveal.engine.pixels import PREFIX, PixelFunctions
from foveal.engine.substrate import Substrate
from foveal.engine.tables import LiveTables
from foveal.errors import FovealError, ProgrammingError, Span
from foveal.planner.bind import Bound, bind
from foveal.planner.bind.expand import expand, keep_names
from foveal.planner.bind.interval_columns import Carried
from foveal.planner.lower import lower
from foveal.planner.parse.parser import parse
from foveal.planner.parse.statement import Query, Statement
from foveal.planner.physical import Physical
from foveal.planner.protocols import Snapshot
from foveal.planner.rules import RULES, optimize
from foveal.planner.text import Edit, Mapped, apply
from foveal.planner.tree import Node

_DEPTH = 32
"""Views within views; more is taken for a cycle."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A statement ready to run.

    `mapped` leads from the text that DuckDB reads to the user's. `stages` are the logical plans on
    the way, for EXPLAIN VERBOSE. `functions` are the pixel functions it calls. `carrying`: see
    `planner.bind.Bound`.
    """

    physical: Physical
    mapped: Mapped
    stages: tuple[tuple[str, Node], ...]
    approximate: bool
    functions: frozenset[str]
    tables: Mapping[str, LiveTable]
    budget: tuple[float | None, int | None] = (None, None)
    carrying: Mapped | None = None
    carried: tuple[Carried, ...] = ()


class Planning:
    """Plans the queries of one session."""

    def __init__(
        self,
        substrate: Substrate,
        definitions: Definitions,
        tables: LiveTables,
        runtime: Callable[[QueryContext, Mapping[str, LiveTable]], Runtime],
        pixels: PixelFunctions,
    ) -> None:
        """Take what planning reads; `runtime` makes what facts are gathered with."""
        self._substrate = substrate
        self._definitions = definitions
        self._tables = tables
        self._runtime = runtime
        self._pixels = pixels
        self._functions: frozenset[str] | None = None

    def parse(self, sql: str, prepared: frozenset[str] = frozenset()) -> Statement:
        """Return the statement that `sql` is, given what the database defines."""
        names = frozenset(self._definitions.videos) | frozenset(self._definitions.stored)
        return parse(sql, names, prepared)

    def plan(self, query: Query, context: QueryContext, mapped: Mapped) -> Planned:
        """Return the plan of a query whose text came from the user's by `mapped`.

        Raises:
            FovealError: its span refers to the user's own text.
        """
        try:
            query, mapped = self._expand(query, mapped)
            query, mapped, functions = self._rename(query, mapped)
            words = {t.name.lower() for t in query.tokens if t.kind in ("word", "quoted")}
            tables = self._tables.mentioned(words)
            snapshot = Snapshot(
                video_tables={name: live.facts() for name, live in tables.items()},
                stored=self._definitions.stored,
                settings=context.settings,
                system_tables={name: tuple(s.names) for name, s in SCHEMAS.items()},
                schemas=self._schemas(words),
                parameters=context.parameters,
                user_functions=self._users_functions(query),
                pixel_functions=self._pixels.facts(functions, tables),
                passed={n: _passed(live) for n, live in tables.items()} if functions else {},
            )
            bound = bind(query, snapshot)
            for remark in bound.notices:
                context.notice(remark)
            logical, trace = optimize(
                bound.plan, RULES, check=bool(context.settings["verify_plans"])
            )
            facts = gather(logical, self._runtime(context, tables))
            physical = lower(logical, snapshot, facts)
        except FovealError as error:
            if error.span is not None:
                error.span = mapped.source(error.span)
            raise
        return Planned(
            physical,
            mapped.then(bound.mapped),
            _stages(bound, trace),
            bound.approximate,
            functions,
            tables,
            bound.budget,
            bound.carrying and mapped.then(bound.carrying),
            bound.carried,
        )

    def _expand(self, query: Query, mapped: Mapped) -> tuple[Query, Mapped]:
        """Write out views and macros, ours included, layer by layer."""
        ours = self._pixels.functions.macros(self._users_functions(query))
        for _ in range(_DEPTH):
            expanded = expand(query, self._definitions.stored, ours)
            if expanded is None:
                return query, mapped
            mapped = mapped.then(expanded)
            query = self._again(expanded.text)
        raise ProgrammingError("views or macros refer to each other without end", sqlstate="42P19")

    def _rename(self, query: Query, mapped: Mapped) -> tuple[Query, Mapped, frozenset[str]]:
        """Give pixel functions the internal names that DuckDB knows them by."""
        names = self._pixels.functions.renamed(self._users_functions(query))
        edits: list[Edit] = []
        used: set[str] = set()
        for token, following in zip(query.tokens, query.tokens[1:], strict=False):
            name = token.name.lower()
            if token.kind == "word" and following.text == "(" and name in names:
                edits.append(Edit(Span(token.start, token.end), names[name]))
                used.add(names[name])
            elif following.text == "(" and self._pixels.functions.has(name):
                used.add(name)  # a macro of ours was written out as its call
        if not edits:
            return query, mapped, frozenset(used)
        renamed = apply(query.text, edits + keep_names(query, edits))
        return self._again(renamed.text), mapped.then(renamed), frozenset(used)

    def _again(self, text: str) -> Query:
        parsed = self.parse(text)
        if not isinstance(parsed, Query):
            raise ProgrammingError("a view or macro over video must be a query")
        return parsed

    def forget_functions(self) -> None:
        """Read the user's own functions anew when they are next needed."""
        self._functions = None

    def _users_functions(self, query: Query) -> frozenset[str]:
        """Return the user's own macros, which win over functions of ours or DuckDB's.

        Listing them takes tens of milliseconds, so they are kept until something may change them.
        """
        calls = (following.text == "(" for following in query.tokens[1:])
        if not any(c and t.name for t, c in zip(query.tokens, calls, strict=False)):
            return frozenset()
        return self.users_functions()

    def users_functions(self) -> frozenset[str]:
        """Return the folded names of the user's own functions and macros."""
        if self._functions is None:
            rows = self._substrate.rows(
                "SELECT function_name FROM duckdb_functions() WHERE NOT internal"
            )
            names = (str(name).lower() for (name,) in rows)
            self._functions = frozenset(n for n in names if not n.startswith(PREFIX))
        return self._functions

    def _schemas(self, words: set[str]) -> frozenset[str]:
        """Return the user's schemas, where the statement may mean one called foveal."""
        if "foveal" not in words:
            return frozenset()
        rows = self._substrate.rows("SELECT schema_name FROM duckdb_schemas() WHERE NOT internal")
        return frozenset(str(name).lower() for (name,) in rows)


def _passed(table: LiveTable) -> dict[str, float]:
    """Return what shares of the table's objects passed predicates on pixels before."""
    return table.storage.profiles.every("passes", f"{table.info.key}|")


def _stages(bound: Bound, trace: tuple[tuple[str, Node], ...]) -> tuple[tuple[str, Node], ...]:
    return (("bound plan", bound.plan), *((f"after {name}", plan) for name, plan in trace))
