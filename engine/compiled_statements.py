"""DuckDB's own statements, where programs take over a part of them: `SET foveal.compile`.

`off`: never. `on`: whatever compiles. `auto`: what pays (`engine.compiled_choice`). A statement
that a program fails on (a row raises, memory is short) runs in DuckDB as it is written.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from foveal.engine.columns import ColumnStore, Unavailable, Versions
from foveal.engine.columns.cache import CACHE
from foveal.engine.compile.data import KernelError, Runner
from foveal.engine.compiled_choice import QUICK, Shape, Shapes
from foveal.engine.compiled_explain import explained
from foveal.engine.compiled_planning import Compiled, CompiledPlanning
from foveal.engine.compiled_profile import machine
from foveal.engine.compiled_runner import Programs, Unsupported
from foveal.engine.context import QueryContext
from foveal.engine.operators.compiled import run, sources
from foveal.engine.operators.compiled_rows import as_values
from foveal.engine.substrate import Parameters, Substrate, bindings
from foveal.errors import FovealError
from foveal.planner.compiled.cost import estimate
from foveal.planner.compiled.reading import read_statement
from foveal.planner.compiled.refusal import NotCompilable
from foveal.planner.compiled.rewriting import relation_name
from foveal.planner.ir.function import IrFunction
from foveal.settings import Value, listed_words

Finish = Callable[[Exception | None], Exception | None]

_REMEMBERED = 256
"""Statements whose programs, or refusals, are kept."""
_MAY = re.compile(r"\b(?:sum|min|max|count|avg|mean|any_value|group)\b", re.IGNORECASE)
_BEGINS = re.compile(r"(?:\s|--[^\n]*\n|\()*(?:select|from|with)\b", re.IGNORECASE)
_EXPLAIN = re.compile(r"\s*EXPLAIN\s*\(\s*COMPILED(?:\s+(LLVM|ASSEMBLY|PTX))?\s*\)", re.IGNORECASE)


@dataclass(slots=True)
class _Known:
    """What became of a statement's text with these parameters, for a `stamp` of its tables."""

    compiled: Compiled | None
    refusal: str
    stamp: object
    tables: tuple[str, ...] = field(default=())


class CompiledStatements:
    """Runs statements of one session by programs, where they can and should."""

    def __init__(
        self,
        substrate: Substrate,
        scratch: Substrate,
        versions: Versions,
        settings: Mapping[str, Value],
        users: Callable[[], frozenset[str]],
        inlined: Callable[[], Mapping[str, IrFunction]],
    ) -> None:
        """Take what statements run on. `users`: the folded names of the user's own functions.

        `inlined`: those whose bodies programs have in the place of calls.
        """
        self._substrate = substrate
        self._settings = settings
        self._versions = versions
        self.store = ColumnStore(
            substrate, versions, lambda: float(settings["column_cache_memory"])
        )
        self.planning = CompiledPlanning(substrate, scratch, self.store, users, inlined)
        self._inlined = inlined
        self._known: OrderedDict[object, _Known] = OrderedDict()
        self.shapes = Shapes()
        self.programs = Programs()

    # --- the session's reports ---------------------------------------------------------------

    def runs(self, sql: str) -> None:
        """Take note that a statement begins: it may write to tables whose columns are kept."""
        self._versions.runs(sql, in_transaction=self._substrate.in_transaction)

    def ran(self) -> None:
        """Take note that the statement has ended."""
        self._versions.ran(in_transaction=self._substrate.in_transaction)

    def columns(self) -> list[dict[str, object]]:
        """Return the rows of foveal.column_cache."""
        listed = self.store.listed()
        names = ["column_name" if name == "column" else name for name in listed.column_names]
        return listed.rename_columns(names).to_pylist()

    def close(self) -> None:
        """Let go of the columns."""
        self.store.close()

    # --- statements --------------------------------------------------------------------------

    def execute(self, sql: str, parameters: Parameters, context: QueryContext) -> Finish | None:
        """Run a statement up to its first row, by programs where they can and should.

        Its result is then pending on the connection. Return what to call at its end, if anything.
        """
        mode = context.settings["compile"]
        if mode == "off" or not _MAY.search(sql) or not _BEGINS.match(sql):
            self._substrate.execute(sql, parameters)
            return None
        shape = self.shapes.of(sql) if mode == "auto" else None
        started = time.perf_counter()
        if shape is None or self._should(shape, sql, context):
            known = self._prepared(sql, context)
            finish = self._start(known, context)
            if finish is not None:
                if shape is not None:
                    shape.ran(time.perf_counter() - started)
                return finish
            if shape is not None:
                shape.refusal = known.refusal
        started = time.perf_counter()
        self._substrate.execute(sql, parameters)
        if shape is not None:
            shape.duckdb.append(time.perf_counter() - started)
        return None

    def _should(self, shape: Shape, sql: str, context: QueryContext) -> bool:
        """Say whether `auto` runs a statement's programs now."""
        taken = shape.duckdb_seconds
        if (QUICK if taken is None else taken) < QUICK or (taken is None and not CACHE.nbytes):
            return False
        shape.renewed(self._stamp(shape.tables))
        if shape.estimate is None and not shape.refusal:
            try:
                reading = read_statement(sql)
                considered, facts = self.planning.weighed(reading, context.parameters)
                shape.tables = tuple(sorted({read.table[-1] for c in considered.candidates
                                             for read in c.reads.values()}))  # fmt: skip
                shape.stamp = self._stamp(shape.tables)
                if considered.candidates:
                    shape.estimate = estimate(considered.candidates, facts, machine())
                else:
                    shape.refusal = "no part of it compiles"
            except NotCompilable as refusal:
                shape.refusal = refusal.reason
        return shape.pays(machine().compile)

    def _stamp(self, tables: tuple[str, ...]) -> object:
        """Return what changes when names mean other tables, or a table has other rows."""
        versions = self._versions
        functions = tuple(self._inlined().items())
        return versions.names, functions, tuple(versions.version(table) for table in tables)

    # --- what to run -------------------------------------------------------------------------

    def _prepared(self, sql: str, context: QueryContext) -> _Known:
        """Return a statement's programs, made anew when a table that they read has changed."""
        off = str(context.settings["compile_passes"])
        key = (sql, off, tuple(sorted((k, repr(v)) for k, v in context.parameters.items())))
        known = self._known.get(key)
        if known is not None and known.stamp == self._stamp(known.tables):
            self._known.move_to_end(key)
            return known
        started = time.perf_counter()
        tables: tuple[str, ...] = ()
        try:
            reading = read_statement(sql)
            tables = self.planning.table_names(reading)
            stamp = self._stamp(tables)
            compiled = self.planning.compile(
                reading, context.parameters, context.check, listed_words(off)
            )
            known = _Known(compiled, "", stamp, tables)
        except NotCompilable as refusal:
            known = _Known(None, refusal.reason, self._stamp(tables), tables)
        context.spend("compile", time.perf_counter() - started)
        self._known[key] = known
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return known

    def _start(self, known: _Known, context: QueryContext) -> Finish | None:
        """Run a statement's programs and the text over them; None where DuckDB is to run it."""
        compiled = known.compiled
        if compiled is None:
            return None
        names: list[str] = []

        def finish(error: Exception | None) -> Exception | None:
            for name in names:
                self._substrate.unregister(name)
            names.clear()
            return error

        failure = ""
        try:
            text = self._over_rows(compiled, names, context)
            self._substrate.execute(text, bindings(text, context.parameters))
            failure = self._doubt(known, compiled)
            if failure:
                self._substrate.connection.abort()
        except Unavailable:  # by now, as in a transaction that wrote: nothing to keep
            finish(None)
            return None
        except (KernelError, Unsupported) as error:
            failure = f"it failed: {error}"
        except FovealError as error:
            if error.sqlstate in ("57014", "25P02"):
                finish(None)
                raise
            failure = f"it failed: {error.message}"
        except BaseException:
            finish(None)
            raise
        if failure:
            finish(None)
            if failure != _MOVED:
                known.compiled, known.refusal = None, failure
            return None
        context.report.plan_kind = "compiled"
        context.report.plan = _plan(compiled)
        return finish

    def _over_rows(self, compiled: Compiled, names: list[str], context: QueryContext) -> str:
        """Run the programs; return the text that DuckDB runs over their rows.

        Few rows are written into it, others registered as tables; their `names` are added.
        """
        text = compiled.mapped.text
        for candidate, tables in zip(compiled.candidates, compiled.tables, strict=True):
            data = sources(candidate, self.store, context.check)
            runner = self._runner(context)
            started = self.programs.compiled_seconds
            rows: pa.Table = run(candidate, data, tables, runner, context.check)
            context.spend("compile", self.programs.compiled_seconds - started)
            name = relation_name(candidate)
            written = as_values(rows, [output.type for output in candidate.outputs])
            if written is not None:
                text = text.replace(f"FROM {name})", f"FROM {written})")
                continue
            self._substrate.register(name, rows)
            names.append(name)
        return text

    def _runner(self, context: QueryContext) -> Runner:
        """Return who runs programs, by the settings of the statement."""
        threads = int(context.settings["threads"])
        if context.settings["device"] != "cuda":
            return self.programs.runner(threads)
        return self.programs.on_device(threads, forced=context.settings["compile"] == "on")

    def _doubt(self, known: _Known, compiled: Compiled) -> str:
        """Return why a pending result is not the statement's after all, or nothing."""
        found = tuple((str(d[0]), str(d[1])) for d in self._substrate.connection.description or ())
        if found != compiled.described:
            return f"columns {found} in place of {compiled.described}"
        if known.stamp != self._stamp(known.tables) or not all(
            self._versions.quiet(table) for table in known.tables
        ):
            return _MOVED
        return ""

    # --- EXPLAIN -----------------------------------------------------------------------------

    def explain(self, sql: str, context: QueryContext) -> pa.Table | None:
        """Return what EXPLAIN (COMPILED) shows of a statement, or None where it is none."""
        found = _EXPLAIN.match(sql)
        if found is None:
            return None
        lines = explained(
            sql[found.end() :], (found.group(1) or "").lower(), self.planning, self.programs,
            context,
        )  # fmt: skip
        return pa.table({"QUERY PLAN": pa.array(lines, pa.string())})


_MOVED = "a table was written to meanwhile"


def _plan(compiled: Compiled) -> str:
    """Return the plan of a statement as text."""
    lines = ["SqlFragment"]
    last = len(compiled.candidates) - 1
    for i, candidate in enumerate(compiled.candidates):
        lines.append(("└─ " if i == last else "├─ ") + f"Compiled {candidate.what}")
    return "\n".join(lines)
