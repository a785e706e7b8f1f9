"""One connection: its settings, transaction and pending result; a statement from text to rows."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from foveal.engine.catalog.definitions import Definitions
from foveal.engine.catalog.system import PastQuery, SystemCatalog, now, show
from foveal.engine.catalog.videos import LiveTable
from foveal.engine.catalog.words import CatalogWords, catalog_words
from foveal.engine.columns import Versions
from foveal.engine.compiled_runner import require_device
from foveal.engine.compiled_statements import CompiledStatements
from foveal.engine.context import QueryContext
from foveal.engine.ddl import Ddl
from foveal.engine.executor import Runtime
from foveal.engine.following import Following
from foveal.engine.function_statements import FunctionStatements
from foveal.engine.functions import Functions
from foveal.engine.functions import named as functions_named
from foveal.engine.functions import runner as functions_runner
from foveal.engine.intervals import carried_result
from foveal.engine.pictures import FramePicture, Place, pictures
from foveal.engine.pixel_functions import Run
from foveal.engine.pixels import PixelFunctions
from foveal.engine.planning import Planned, Planning
from foveal.engine.prepared import PreparedStatements
from foveal.engine.proxy_statements import ProxyStatements
from foveal.engine.result import Column, Result
from foveal.engine.stream_statements import StreamStatements
from foveal.engine.substrate import Parameters, Substrate, bindings, place_by_name
from foveal.engine.tables import LiveTables
from foveal.errors import FovealError, InterfaceError, ProgrammingError, QueryCanceled
from foveal.planner.explain import chosen, explain_json, explain_text
from foveal.planner.parse.lexer import tokenize
from foveal.planner.parse.split import split
from foveal.planner.parse.statement import (
    AnalyzeVideo,
    CreateFunction,
    CreateProxy,
    CreateStored,
    CreateVideoTable,
    Deallocate,
    DropFunction,
    DropProxy,
    DropStored,
    DropVideoTable,
    Execute,
    Explain,
    Plain,
    Prepare,
    Query,
    RefreshVideoStream,
    RefreshVideoTable,
    SetSetting,
    ShowProxies,
    ShowSetting,
)
from foveal.planner.physical import ExactSelection, SqlFragment
from foveal.planner.text import Mapped, whole
from foveal.reports import Notice, ProgressCallback, QueryReport, StreamWindow
from foveal.settings import Setting, Value, defaults, lookup
from foveal.udfs.functions.function import UserFunction

MEMORY = ":memory:"
_NO_ROWS = frozenset({"INSERT", "UPDATE", "DELETE", "COPY", "CREATE", "MERGE"})
_PAST = 1000
"""Finished statements that foveal.queries remembers."""

Finish = Callable[[Exception | None], Exception | None]

_CHANGE_FUNCTIONS = ("macro", "function", "rollback", "abort", "attach", "use", "load", "import")
"""Words of the statements after which the user may have other functions."""


class Session:
    """A database opened by one user. Statements run one at a time; `cancel` is for any thread."""

    def __init__(
        self,
        database: str | Path = MEMORY,
        *,
        read_only: bool = False,
        settings: Mapping[str, Value] | None = None,
    ) -> None:
        """Open (or make) a database.

        Raises:
            OperationalError: 55006, another process holds it; 58030, it cannot be opened.
            ProgrammingError: 42704, DataError 22023: a setting is wrong.
        """
        self._settings: dict[str, Value] = defaults()
        for key, value in (settings or {}).items():
            setting = lookup(key.lower().removeprefix("foveal."))
            self._settings[setting.name] = setting.parse(value)
        name = str(database)
        self._substrate = Substrate(name, read_only=read_only)
        self._scratch = Substrate(MEMORY)
        private = name in (MEMORY, "")
        known_as = f"{MEMORY}{id(self)}" if private else str(Path(name).resolve())
        self._definitions = Definitions(self._substrate, known_as)
        self._tables = LiveTables(
            self._definitions,
            self._settings,
            folder=None if private else Path(name + ".foveal"),
            read_only=read_only,
            notice=self._warn,
        )
        self._pixels = PixelFunctions(self._substrate)
        self.functions = Functions(
            self._substrate, self._definitions, self._settings, functions_runner
        )
        self._function_statements = FunctionStatements(self._definitions, self.functions)
        self._planning = Planning(
            self._substrate, self._definitions, self._tables, self._runtime, self._pixels
        )
        self._ddl = Ddl(
            self._substrate, self._definitions, self._tables, self._planning, self._settings
        )
        self._proxies = ProxyStatements(
            self._substrate,
            self._definitions,
            self._tables,
            self._runtime,
            self._planning.users_functions,
        )
        self._streams = StreamStatements(
            self._substrate,
            self._scratch,
            self._definitions,
            self._tables,
            self._ddl,
            self._settings,
        )
        self.compiled = CompiledStatements(
            self._substrate,
            self._scratch,
            Versions(known_as, None if private else name),
            self._settings,
            self._planning.users_functions,
            lambda: self.functions.inlined(self._planning.users_functions),
        )
        self._past: list[PastQuery] = []
        self._system = SystemCatalog(
            self._tables.every,
            lambda: self._settings,
            self._past,
            lambda: [*self._pixels.functions.listed(), *self.functions.listed()],
            {
                "streams": self._streams.streams,
                "windows": self._streams.windows,
                "column_cache": self.compiled.columns,
            },
        )
        self._prepared = PreparedStatements(self._substrate, self._planning)
        self._open: Result | None = None
        self._context: QueryContext | None = None
        self._lock = threading.RLock()
        self.report = QueryReport()
        self.closed = False

    @property
    def in_transaction(self) -> bool:
        """Whether BEGIN was run and neither COMMIT nor ROLLBACK since."""
        return self._substrate.in_transaction

    # --- the door ----------------------------------------------------------------------------

    def split(self, sql: str) -> list[str]:
        """Return the statements of a script."""
        return [sql[span.start : span.end] for span in split(sql)]

    def execute(
        self,
        sql: str,
        parameters: Parameters = None,
        *,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Run one statement.

        Raises:
            FovealError: whatever the statement does wrong; its span refers to `sql`.
            InterfaceError: the session is closed.
        """
        with self._lock:
            if self.closed:
                raise InterfaceError("the connection is closed")
            self._settle()
            context = QueryContext(dict(self._settings), progress, _by_key(parameters))
            context.report.sql = sql
            self._context = context
            self.report = context.report
            self.functions.context = context
            self.compiled.runs(sql)
            try:
                return self._run(sql, parameters, context)
            except FovealError as error:
                raise self._cause(error, context) from error
            finally:
                if self._open is None:
                    self.compiled.ran()
                context.settle()

    def cancel(self) -> None:
        """Stop the running statement; an approximate aggregate answers with its interval so far."""
        context = self._context
        if context is not None:
            context.cancelled.set()
        if context is None or not context.answers_when_cancelled:
            self._substrate.interrupt()
            self._scratch.interrupt()

    def begin(self) -> None:
        """Start a transaction."""
        self.execute("BEGIN").close()

    def commit(self) -> None:
        """Commit the transaction."""
        self.execute("COMMIT").close()

    def rollback(self) -> None:
        """Roll the transaction back. What detectors said stays known."""
        self.execute("ROLLBACK").close()

    def close(self) -> None:
        """Close the database. May be called twice."""
        if self.closed:
            return
        if self._open is not None:
            self._open.close()
        self.closed = True
        self.functions.close()
        self.compiled.close()
        self._substrate.close()
        self._scratch.close()
        self._pixels.close()
        self._tables.close()

    def completions(self) -> CatalogWords:
        """Return the names that a console completes."""
        with self._lock:
            self._settle()
            self._refresh()
            return catalog_words(self._substrate, self._definitions)

    def pictures(
        self,
        places: Sequence[Place],
        tables: Sequence[str],
        *,
        width: int,
        progress: ProgressCallback | None = None,
    ) -> list[FramePicture]:
        """Return the frames that rows name, no wider than `width`, with their stored objects.

        `tables` are the folded names of the video tables to look in, all of them when there is
        none. See `engine.pictures.pictures`, also for what it raises.
        """
        with self._lock:
            self._settle()
            self._refresh()
            context = self._context = QueryContext(dict(self._settings), progress)
            known = [self._tables.table(n) for n in tables if n in self._definitions.videos]
            try:
                return pictures(places, known or [*self._tables.every().values()], width, context)
            finally:
                self._context = None

    def create_pixel_function(
        self, name: str, run: Run, returns: str, cost: float | None, version: str | None
    ) -> None:
        """Let statements call a function over pictures: see `Connection.create_pixel_function`."""
        with self._lock:
            self._pixels.give(name, run, returns, cost, version)

    def create_function(self, function: UserFunction) -> None:
        """Let statements call a function of Python's: see `Connection.create_function`."""
        with self._lock:
            self._settle()
            self._refresh()
            self.functions.give(function)
            self._planning.forget_functions()

    def follow(self, stream: str) -> Following:
        """Start to follow a stream; whoever asked closes it, in this thread.

        Raises:
            ProgrammingError: 42P01, there is none.
        """
        with self._lock:
            self._settle()
            self._refresh()
            return self._streams.follow(stream)

    def next_window(
        self, following: Following, progress: ProgressCallback | None = None
    ) -> tuple[StreamWindow | None, list[Notice]]:
        """Wait for the next window of a stream; None at its end. Also what there is to remark."""
        with self._lock:
            self._settle()
            context = self._context = QueryContext(dict(self._settings), progress)
            try:
                return following.next(context), context.report.notices
            finally:
                self._context = None

    # --- one statement -----------------------------------------------------------------------

    def _run(self, sql: str, parameters: Parameters, context: QueryContext) -> Result:
        self._refresh()
        statement = self._planning.parse(sql, self._prepared.names)
        match statement:
            case Plain():
                return self._plain(sql, parameters, context)
            case Query():
                return self._query(statement, context)
            case Explain():
                return self._explain(statement, context)
            case CreateVideoTable():
                make = self._streams.create if statement.stream else self._ddl.create_video
                tag = make(statement, context)
            case DropVideoTable():
                drop = self._streams.drop if statement.stream else self._ddl.drop_video
                tag = drop(statement, context)
            case RefreshVideoStream():
                shown = self._streams.refresh(statement, context)
                return _kept("REFRESH VIDEO STREAM", context.report, shown)
            case RefreshVideoTable():
                tag = self._ddl.refresh_video(statement, context)
            case AnalyzeVideo():
                added = self._ddl.analyze_video(statement, context)
                return _kept("ANALYZE VIDEO", context.report, added)
            case CreateProxy():
                tag = self._proxies.create(statement, context)
            case DropProxy():
                tag = self._proxies.drop(statement, context)
            case ShowProxies():
                shown = self._proxies.show()
                if shown is None:
                    return self._plain(sql, parameters, context)
                return _kept("SHOW", context.report, shown)
            case CreateFunction():
                tag = self._function_statements.create(statement, context)
                self._planning.forget_functions()
            case DropFunction():
                dropped = self._drop_function(statement, context)
                if dropped is None:
                    return self._plain(sql, parameters, context)
                tag = dropped
            case CreateStored():
                tag = self._ddl.create_stored(statement, context)
            case DropStored():
                tag = self._ddl.drop_stored(statement)
            case SetSetting():
                tag = self._set(statement)
            case ShowSetting():
                return self._show(statement, context)
            case Prepare():
                tag = self._prepared.keep(statement)
            case Execute():
                return self._query(self._prepared.bound(statement, context), context)
            case Deallocate():
                tag = self._prepared.forget(statement)
        return Result(tag, context.report)

    def _refresh(self) -> None:
        """Read the definitions, unless the transaction is broken: then only ROLLBACK is next."""
        try:
            self._definitions.refresh()
            self.functions.sync()
        except FovealError as error:
            if error.sqlstate != "25P02":
                raise

    def _settle(self) -> None:
        """Free the connection: a result still being read keeps its remaining rows itself."""
        if self._open is not None and self._open.pending:
            self._open.detach()
        self._open = None

    def _cause(self, error: FovealError, context: QueryContext) -> FovealError:
        """Return what really went wrong, where DuckDB only wrapped it."""
        if isinstance(context.error, FovealError):
            return context.error
        if context.cancelled.is_set() and error.sqlstate == "57014":
            return QueryCanceled("the statement was cancelled")
        error.message = functions_named(error.message)
        error.args = (error.message,)
        place_by_name(error, context.report.sql)
        return error

    def _warn(self, message: str) -> None:
        if self._context is not None:
            self._context.notice(message, severity="WARNING")

    def _drop_function(self, statement: DropFunction, context: QueryContext) -> str | None:
        """Drop a function of ours; None: DuckDB has a macro of this name."""
        dropped = self._function_statements.drop(statement, context)
        if dropped is None and statement.name.lower() not in self._planning.users_functions():
            dropped = self._function_statements.missing(statement, context)
        self._planning.forget_functions()
        return dropped

    # --- DuckDB's own statements -------------------------------------------------------------

    def _plain(self, sql: str, parameters: Parameters, context: QueryContext) -> Result:
        self._ddl.check_plain(sql)
        self._function_statements.check_plain(sql)
        if any(word in sql.lower() for word in _CHANGE_FUNCTIONS):
            self._planning.forget_functions()
        shown = self.compiled.explain(sql, context)
        if shown is not None:
            return _kept("EXPLAIN", context.report, shown)
        return self._pending(sql, context, self.compiled.execute(sql, parameters, context))

    def _pending(self, sql: str, context: QueryContext, finish: Finish | None = None) -> Result:
        """Return the result that is pending on the connection now."""
        connection = self._substrate.connection
        words = [t.text.upper() for t in tokenize(sql)[:2] if t.kind == "word"]
        first = words[0] if words and words[0] not in ("FROM", "WITH", "PIVOT") else "SELECT"
        self._definitions.ran(words)
        if first in ("BEGIN", "START"):
            self._substrate.in_transaction = True
        elif first in ("COMMIT", "END", "ROLLBACK", "ABORT"):
            self._substrate.in_transaction = False
            self.functions.forget()
        columns = tuple(Column(str(d[0]), str(d[1])) for d in connection.description or ())
        done = columns == (Column("Success", "BOOLEAN"),) and first != "SELECT"
        if done or (columns == (Column("Count", "BIGINT"),) and first in _NO_ROWS):
            rowcount = connection.rowcount
            connection.complete()
            if finish is not None:
                finish(None)
            tag = " ".join(words) if first in ("CREATE", "DROP", "ALTER") else first
            return Result(tag, context.report, rowcount=rowcount)
        result = Result(
            first,
            context.report,
            columns=columns,
            substrate=self._substrate,
            finish=self._finisher(context, finish),
        )
        self._open = result
        return result

    def _finisher(self, context: QueryContext, finish: Finish | None) -> Finish:
        """Return what a result calls when its rows end: the true error, the final counters."""

        def done(error: Exception | None) -> Exception | None:
            if isinstance(error, FovealError):
                error = self._cause(error, context)
            elif error is not None and isinstance(context.error, Exception):
                error = context.error
            if finish is not None:
                error = finish(error)
            self.compiled.ran()
            context.settle()
            return error

        return done

    # --- statements over extension relations -------------------------------------------------

    def _runtime(self, context: QueryContext, tables: Mapping[str, LiveTable]) -> Runtime:
        return Runtime(
            self._substrate, self._scratch, tables, context, self._system.table,
            pixels=self._pixels,
        )  # fmt: skip

    def _query(self, query: Query, context: QueryContext) -> Result:
        planned = self._planning.plan(query, context, whole(query.text))
        return self._start(planned, query, context)

    def _start(self, planned: Planned, query: Query, context: QueryContext) -> Result:
        """Run a plan up to its first row."""
        runtime = self._runtime(context, planned.tables)
        runtime.describe_only = query.kind == "describe"
        self._announce(planned, query, context)
        context.limit(*planned.budget)
        self._pixels.serve(planned.functions, planned.tables, context)
        root = planned.physical
        while isinstance(root, ExactSelection):
            context.report.confidence = root.confidence
            root = root.child
        assert isinstance(root, SqlFragment)
        names: list[str] = []
        started = now()

        def finish(error: Exception | None) -> Exception | None:
            context.stopped.set()
            for name in names:
                self._substrate.unregister(name)
            names.clear()
            for notice in self._tables.take_notices():
                context.notice(notice.message, severity=notice.severity)
            self._pixels.finish()
            context.settle()
            self._past.append(PastQuery(started, context.report))
            del self._past[:-_PAST]
            return error

        try:
            for name, stream in runtime.materialised(root.inputs).items():
                self._substrate.register(name, stream)
                names.append(name)
            text, mapped = root.text, planned.mapped
            if planned.carrying is not None:
                text, mapped = planned.carrying.text, planned.carrying
            bound = bindings(text, context.parameters)
            self._substrate.execute(text, bound, mapped=mapped)
        except BaseException:
            self._substrate.connection.abort()
            finish(None)
            raise
        result = self._pending(query.text, context, finish)
        if planned.carrying is None:
            return result
        result = carried_result(result, planned.carried, context.report)
        self._open = result if result.pending else None
        return result

    def _announce(self, planned: Planned, query: Query, context: QueryContext) -> None:
        """Write the plan and what it should cost on the report."""
        picks = chosen(planned.physical)
        report = context.report
        report.plan = explain_text(planned.physical)
        report.video_tables = tuple(planned.tables)
        report.plan_kind = ", ".join(dict.fromkeys(a.name for a in picks)) or "exact"
        report.estimated_seconds = {
            "decode": sum(a.decode for a in picks),
            "detect": sum(a.detect for a in picks),
            "total": sum(a.total for a in picks),
        }
        report.estimated_calls = sum(a.calls for a in picks)
        if planned.approximate and query.kind in ("create_table_as", "insert", "copy"):
            context.notice("an approximate result is stored by its value only, not its interval")

    def _explain(self, statement: Explain, context: QueryContext) -> Result:
        query = statement.statement
        if isinstance(query, Execute):
            query = self._prepared.bound(query, context)
        if not isinstance(query, Query):
            raise ProgrammingError("EXPLAIN shows the plans of queries", hint="EXPLAIN SELECT ..")
        mapped: Mapped = whole(query.text)
        planned = self._planning.plan(query, context, mapped)
        report = None
        if statement.analyze:
            result = self._start(planned, query, context)
            while result.fetchmany(10_000):
                pass
            self._settle()
            context.settle()
            report = context.report
        if statement.format == "json":
            rows = [json.dumps([explain_json(planned.physical, report)], indent=2)]
        else:
            stages = planned.stages if statement.verbose else ()
            rows = explain_text(planned.physical, stages, report).split("\n")
        return _kept("EXPLAIN", context.report, pa.table({"QUERY PLAN": pa.array(rows)}))

    # --- settings -----------------------------------------------------------------------------

    def _set(self, statement: SetSetting) -> str:
        setting = self._setting(statement)
        if statement.value is None:
            self._settings[setting.name] = setting.default
            return "RESET"
        try:
            value = setting.parse(statement.value)
            if setting.name == "device" and value == "cuda":
                require_device()
            self._settings[setting.name] = value
        except FovealError as error:
            error.span = statement.value_span
            raise
        if setting.name in ("threads", "device", "isolate_decode"):
            self._tables.forget()
        return "SET"

    def _setting(self, statement: SetSetting | ShowSetting) -> Setting:
        try:
            return lookup(statement.name)
        except ProgrammingError as error:
            error.span = statement.name_span
            raise

    def _show(self, statement: ShowSetting, context: QueryContext) -> Result:
        if statement.name.lower() == "all":
            return _kept("SHOW", context.report, self._system.table("settings"))
        setting = self._setting(statement)
        value = pa.array([show(self._settings[setting.name])])
        return _kept("SHOW", context.report, pa.table({f"foveal.{setting.name}": value}))


def _kept(tag: str, report: QueryReport, table: pa.Table) -> Result:
    """Return a result whose rows are at hand."""
    types = {pa.int64(): "BIGINT", pa.float64(): "DOUBLE", pa.bool_(): "BOOLEAN"}
    columns = tuple(
        Column(name, types.get(column.type, "VARCHAR"))
        for name, column in zip(table.column_names, table.columns, strict=True)
    )
    return Result(tag, report, columns=columns, table=table)


def _by_key(parameters: Parameters) -> dict[str, object]:
    """Return bound values by the key that DuckDB gives them.

    Raises:
        InterfaceError: they are one string.
    """
    if not parameters:
        return {}
    if isinstance(parameters, Mapping):
        return {str(key): value for key, value in parameters.items()}
    if isinstance(parameters, str | bytes):
        raise InterfaceError("parameters must be a sequence or a mapping, not one string")
    return {str(i + 1): value for i, value in enumerate(parameters)}
