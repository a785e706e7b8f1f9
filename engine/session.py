"""One connection's life: settings, transaction, catalog; one statement at a time from text to rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from foveal.engine.catalog.definitions import Definitions
from foveal.engine.catalog.system import SCHEMAS, PastQuery, SystemCatalog, now, show
from foveal.engine.catalog.videos import LiveTable, Storage, create_definition, list_videos
from foveal.engine.context import QueryContext
from foveal.engine.executor import Runtime
from foveal.engine.facts import gather
from foveal.engine.pixels import PREFIX, PixelFunctions
from foveal.engine.result import Column, Result
from foveal.engine.substrate import Parameters, Substrate, bindings, translate
from foveal.errors import (
    FovealError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    QueryCanceled,
    Span,
    did_you_mean,
)
from foveal.planner.bind import bind
from foveal.planner.bind.expand import expand, keep_names
from foveal.planner.explain import chosen, explain_json, explain_text
from foveal.planner.logical import Logical
from foveal.planner.lower import lower
from foveal.planner.parse.lexer import tokenize
from foveal.planner.parse.parser import parse
from foveal.planner.parse.split import split
from foveal.planner.parse.statement import (
    CreateStored,
    CreateVideoTable,
    Deallocate,
    DropStored,
    DropVideoTable,
    Execute,
    Explain,
    Plain,
    Prepare,
    Query,
    RefreshVideoTable,
    SetSetting,
    ShowSetting,
    Statement,
)
from foveal.planner.physical import ExactSelection, Physical, SqlFragment
from foveal.planner.protocols import Snapshot, StoredText
from foveal.planner.rules import RULES, optimize
from foveal.planner.text import Edit, Mapped, apply, whole
from foveal.planner.tree import Node
from foveal.reports import ProgressCallback, QueryReport
from foveal.settings import Value, defaults, lookup

MEMORY = ":memory:"
_DEPTH = 32
_NO_ROWS = frozenset({"INSERT", "UPDATE", "DELETE", "COPY", "CREATE", "MERGE"})
_PAST = 1000


@dataclass(frozen=True, slots=True)
class CatalogWords:
    """What a console completes: names, folded as they are written."""

    tables: tuple[str, ...]
    columns: tuple[str, ...]
    functions: tuple[str, ...]
    settings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """A statement ready to run. `mapped` leads from the text that DuckDB reads to the user's."""

    physical: Physical
    mapped: Mapped
    stages: tuple[tuple[str, Node], ...]
    approximate: bool
    functions: frozenset[str]
    tables: Mapping[str, LiveTable]


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
        name = str(database)
        self._substrate = Substrate(name, read_only=read_only)
        self._scratch = Substrate(MEMORY)
        folder = None if name == MEMORY or not name else Path(name + ".foveal")
        self._folder = folder
        self._read_only = read_only
        self._held: Storage | None = None
        self._definitions = Definitions(self._substrate)
        self._live: dict[str, LiveTable] = {}
        self._settings: dict[str, Value] = defaults()
        for key, value in (settings or {}).items():
            self._settings[lookup(key).name] = lookup(key).parse(value)
        self._prepared: dict[str, str] = {}
        self._pixels = PixelFunctions(self._substrate)
        self._past: list[PastQuery] = []
        self._system = SystemCatalog(self._every_table, lambda: self._settings, self._past)
        self._open: Result | None = None
        self._context: QueryContext | None = None
        self._lock = threading.RLock()
        self.in_transaction = False
        self.report = QueryReport()
        self.closed = False

    # --- the door --------------------------------------------------------------------------------

    def split(self, sql: str) -> list[str]:
        """Return the statements of a script."""
        return [sql[span.start : span.end] for span in split(sql)]

    def execute(
        self, sql: str, parameters: Parameters = None, *,
        progress: ProgressCallback | None = None,
    ) -> Result:  # fmt: skip
        """Run one statement.

        Raises:
            FovealError: whatever the statement does wrong; its span refers to `sql`.
            InterfaceError: the session is closed.
        """
        with self._lock:
            if self.closed:
                raise InterfaceError("the connection is closed")
            self._settle()
            bound = _by_key(parameters)
            context = QueryContext(dict(self._settings), progress, bound)
            context.report.sql = sql
            self._context = context
            self.report = context.report
            try:
                return self._run(sql, parameters, context)
            except FovealError as error:
                raise self._cause(error, context) from error
            finally:
                context.settle()

    def cancel(self) -> None:
        """Stop the running statement; an approximate aggregate answers with its interval so far."""
        context = self._context
        if context is not None:
            context.cancelled.set()
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
        self._substrate.close()
        self._scratch.close()
        if self._held is not None:
            self._held.close()

    def completions(self) -> CatalogWords:
        """Return the names that a console completes."""
        with self._lock:
            self._settle()
            run = self._substrate.rows
            tables = [
                str(n)
                for (n,) in run(
                    "SELECT DISTINCT table_name FROM duckdb_tables() "
                    "WHERE NOT internal AND schema_name <> '__foveal'"
                )
            ]
            tables += [
                str(n) for (n,) in run("SELECT view_name FROM duckdb_views() WHERE NOT internal")
            ]
            columns = [
                str(n)
                for (n,) in run(
                    "SELECT DISTINCT column_name FROM duckdb_columns() "
                    "WHERE NOT internal AND schema_name <> '__foveal'"
                )
            ]
            functions = [
                str(n) for (n,) in run("SELECT DISTINCT function_name FROM duckdb_functions()")
            ]
            self._definitions.refresh()
        from foveal.planner.logical import FRAME_COLUMNS, OBJECT_COLUMNS, TRACK_COLUMNS
        from foveal.udfs.pixels import FUNCTIONS

        for definition in self._definitions.videos.values():
            tables += [definition.name, f"{definition.name}.frames", f"{definition.name}.tracks"]
        tables += [s.name for s in self._definitions.stored.values()]
        tables += [f"foveal.{name}" for name in SCHEMAS]
        columns += [*OBJECT_COLUMNS, *FRAME_COLUMNS, *TRACK_COLUMNS]
        functions += ["FCOUNT", *FUNCTIONS]
        settings = [f"foveal.{name}" for name in self._settings]
        return CatalogWords(
            tuple(sorted(set(tables))), tuple(sorted(set(columns))),
            tuple(sorted(set(functions))), tuple(settings),
        )  # fmt: skip

    # --- one statement -----------------------------------------------------------------------------

    def _run(self, sql: str, parameters: Parameters, context: QueryContext) -> Result:
        self._refresh(sql)
        statement = self._parse(sql)
        match statement:
            case Plain():
                return self._plain(sql, parameters, context)
            case Query():
                return self._query(statement, context, whole(sql))
            case Explain():
                return self._explain(statement, context)
            case CreateVideoTable():
                return self._create_video(statement, context)
            case DropVideoTable():
                return self._drop_video(statement, context)
            case RefreshVideoTable():
                return self._refresh_video(statement, context)
            case CreateStored():
                return self._create_stored(statement, context)
            case DropStored():
                return self._drop_stored(statement, context)
            case SetSetting():
                return self._set(statement, context)
            case ShowSetting():
                return self._show(statement, context)
            case Prepare():
                return self._prepare(statement, context)
            case Execute():
                return self._execute_prepared(statement, context)
            case Deallocate():
                del self._prepared[statement.name.lower()]
                return Result("DEALLOCATE", context.report)

    def _parse(self, sql: str) -> Statement:
        names = frozenset(self._definitions.videos) | frozenset(self._definitions.stored)
        return parse(sql, names, frozenset(self._prepared))

    def _refresh(self, sql: str) -> None:
        """Read the definitions, unless the transaction is broken: then only ROLLBACK is next."""
        try:
            self._definitions.refresh()
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
        kept = context.error
        if isinstance(kept, FovealError):
            return kept
        if context.cancelled.is_set() and error.sqlstate == "57014":
            return QueryCanceled("the statement was cancelled")
        return error

    # --- DuckDB's own statements ---------------------------------------------------------------------

    def _plain(self, sql: str, parameters: Parameters, context: QueryContext) -> Result:
        self._check_target(sql)
        self._substrate.execute(sql, parameters)
        return self._pending(sql, context, finish=None)

    def _check_target(self, sql: str) -> None:
        """Refuse to make or drop an ordinary object where a video table has the name."""
        tokens = tokenize(sql)[:12]
        words = [t.text.lower() for t in tokens]
        if not words or words[0] not in ("create", "drop", "alter", "truncate"):
            return
        known = {**self._definitions.videos, **self._definitions.stored}
        for i, token in enumerate(tokens):
            if token.kind not in ("word", "quoted") or token.name.lower() not in known:
                continue
            if words[i - 1] in ("table", "view", "exists", "sequence", "type", "truncate"):
                video = token.name.lower() in self._definitions.videos
                kind = "video table" if video else "view"
                if words[0] == "create":
                    raise ProgrammingError(
                        f'{kind} "{token.name}" already exists', sqlstate="42P07",
                        span=Span(token.start, token.end),
                    )  # fmt: skip
                raise ProgrammingError(
                    f'"{token.name}" is a {kind}', sqlstate="42809",
                    span=Span(token.start, token.end),
                    hint=f"use {words[0].upper()} {kind.upper()} {token.name}",
                )  # fmt: skip
            return

    def _pending(
        self, sql: str, context: QueryContext, *,
        finish: Callable[[Exception | None], Exception | None] | None,
        tag: str | None = None,
    ) -> Result:  # fmt: skip
        """Return the result that is pending on the connection now."""
        connection = self._substrate.connection
        words = [t.text.upper() for t in tokenize(sql)[:3] if t.kind == "word"]
        first = words[0] if words else "SELECT"
        self._follow_transaction(words)
        described = connection.description or []
        columns = tuple(Column(str(d[0]), str(d[1])) for d in described)
        command = len(columns) == 1 and (
            (columns[0] == Column("Success", "BOOLEAN") and first not in ("SELECT", "FROM", "WITH"))
            or (columns[0] == Column("Count", "BIGINT") and first in _NO_ROWS)
        )
        if command:
            rowcount = connection.rowcount
            connection.complete()
            if finish is not None:
                finish(None)
            made = " ".join(words[:2]) if first in ("CREATE", "DROP", "ALTER") else first
            return Result(tag or made, context.report, rowcount=rowcount)
        result = Result(
            tag or ("SELECT" if first in ("FROM", "WITH", "(") else first), context.report,
            columns=columns, substrate=self._substrate, finish=self._finisher(context, finish),
        )  # fmt: skip
        self._open = result
        return result

    def _finisher(
        self,
        context: QueryContext,
        finish: Callable[[Exception | None], Exception | None] | None,
    ) -> Callable[[Exception | None], Exception | None]:
        def done(error: Exception | None) -> Exception | None:
            told = error
            if isinstance(error, FovealError):
                told = self._cause(error, context)
            elif error is not None and context.error is not None:
                told = context.error if isinstance(context.error, Exception) else error
            if finish is not None:
                told = finish(told)
            context.settle()
            return told

        return done

    def _follow_transaction(self, words: list[str]) -> None:
        if not words:
            return
        if words[0] in ("BEGIN", "START"):
            self.in_transaction = True
        elif words[0] in ("COMMIT", "END", "ROLLBACK", "ABORT"):
            self.in_transaction = False

    # --- statements over extension relations -----------------------------------------------------------

    def plan(self, query: Query, context: QueryContext, mapped: Mapped) -> Planned:
        """Return the physical plan of a query; errors' spans refer to the user's own text."""
        from foveal.udfs.pixels import FUNCTIONS

        users_own = self._users_functions(query)
        macros = {
            name: StoredText(name, "scalar_macro", f.body, (f.argument,))
            for name, f in FUNCTIONS.items()
            if f.body is not None and name not in users_own
        }
        pixel = frozenset(n for n, f in FUNCTIONS.items() if f.body is None and n not in users_own)
        try:
            for _ in range(_DEPTH):
                expanded = expand(query, self._definitions.stored, macros)
                if expanded is None:
                    break
                mapped = mapped.then(expanded)
                again = self._parse(expanded.text)
                if not isinstance(again, Query):
                    raise ProgrammingError("a view over video must be a query")
                query = again
            else:
                raise ProgrammingError(
                    "views or macros refer to each other without end", sqlstate="42P19"
                )
            renamed, used = _rename_functions(query, pixel)
            if renamed is not None:
                mapped = mapped.then(renamed)
                again = self._parse(renamed.text)
                assert isinstance(again, Query)
                query = again
            tables = self._tables_of(query)
            snapshot = Snapshot(
                video_tables={name: live.facts() for name, live in tables.items()},
                stored=self._definitions.stored,
                settings=self._settings,
                system_tables={name: tuple(s.names) for name, s in SCHEMAS.items()},
                schemas=self._user_schemas(query),
                parameters=context.parameters,
            )
            bound = bind(query, snapshot)
            for remark in bound.notices:
                context.notice(remark)
            check = bool(self._settings["verify_plans"])
            logical, trace = optimize(bound.plan, RULES, check=check)
            runtime = self._runtime(context, tables)
            physical = lower(logical, snapshot, gather(logical, runtime))
        except FovealError as error:
            if error.span is not None and mapped.text != context.report.sql:
                error.span = mapped.source(error.span)
            raise
        stages: list[tuple[str, Node]] = [("bound plan", bound.plan)]
        stages += [(f"after {name}", plan) for name, plan in trace]
        return Planned(
            physical, mapped.then(bound.mapped), tuple(stages), bound.approximate, used, tables
        )

    def _users_functions(self, query: Query) -> frozenset[str]:
        """Return the user's own macros among the function names that the statement mentions."""
        from foveal.udfs.pixels import FUNCTIONS

        mentioned = {t.name.lower() for t in query.tokens if t.kind in ("word", "quoted")}
        if not mentioned & set(FUNCTIONS):
            return frozenset()
        rows = self._substrate.rows(
            "SELECT function_name FROM duckdb_functions() WHERE NOT internal"
        )
        return frozenset(str(n).lower() for (n,) in rows)

    def _user_schemas(self, query: Query) -> frozenset[str]:
        if not any(t.name.lower() == "foveal" for t in query.tokens):
            return frozenset()
        rows = self._substrate.rows("SELECT schema_name FROM duckdb_schemas() WHERE NOT internal")
        return frozenset(str(n).lower() for (n,) in rows)

    def _tables_of(self, query: Query) -> dict[str, LiveTable]:
        mentioned = {t.name.lower() for t in query.tokens if t.kind in ("word", "quoted")}
        return {n: self._table(n) for n in self._definitions.videos if n in mentioned}

    def _table(self, name: str) -> LiveTable:
        """Return the table at work, opened anew when its definition or a file has changed."""
        definition = self._definitions.videos[name]
        live = self._live.get(name)
        if live is None or live.definition != definition or live.stale():
            live = LiveTable(
                definition,
                self._storage(),
                isolate=bool(self._settings["isolate_decode"]),
                threads=int(self._settings["threads"]),
                device=str(self._settings["device"]),
                notice=self._notice,
            )
            self._live[name] = live
        return live

    def _notice(self, message: str) -> None:
        if self._context is not None:
            self._context.notice(message, severity="WARNING")

    def _every_table(self) -> Mapping[str, LiveTable]:
        return {name: self._table(name) for name in self._definitions.videos}

    def _storage(self) -> Storage:
        if self._held is None:
            self._held = Storage(self._folder, read_only=self._read_only)
        return self._held

    def _runtime(
        self, context: QueryContext, tables: Mapping[str, LiveTable], *, describe: bool = False
    ) -> Runtime:
        return Runtime(
            self._substrate, self._scratch, tables, context, self._system.table, describe
        )

    def _query(self, query: Query, context: QueryContext, mapped: Mapped) -> Result:
        planned = self.plan(query, context, mapped)
        return self._start(planned, query, context)

    def _start(self, planned: Planned, query: Query, context: QueryContext) -> Result:
        """Run a plan up to its first row."""
        describe = query.kind == "describe"
        runtime = self._runtime(context, planned.tables, describe=describe)
        picks = chosen(planned.physical)
        context.report.plan = explain_text(planned.physical)
        context.report.plan_kind = ", ".join(dict.fromkeys(a.name for a in picks)) or "exact"
        context.report.estimated_seconds = {
            "decode": sum(a.decode for a in picks),
            "detect": sum(a.detect for a in picks),
            "total": sum(a.total for a in picks),
            "calls": float(sum(a.calls for a in picks)),
        }
        self._register_pixels(planned, context)
        root = planned.physical
        while isinstance(root, ExactSelection):
            context.report.confidence = root.confidence
            root = root.child
        assert isinstance(root, SqlFragment)
        if planned.approximate and query.kind in ("create_table_as", "insert", "copy"):
            context.notice("an approximate result is stored by its value only, not its interval")
        names: list[str] = []
        started = now()

        def finish(error: Exception | None) -> Exception | None:
            context.stopped.set()
            for name in names:
                self._substrate.unregister(name)
            names.clear()
            self._remember(started, context)
            return error

        try:
            streams = runtime.materialised(root.inputs)
            for name, stream in streams.items():
                self._substrate.register(name, stream)
                names.append(name)
            self._substrate.execute(
                root.text, bindings(root.text, context.parameters), mapped=planned.mapped
            )
        except BaseException:
            self._abandon()
            finish(None)
            raise
        return self._pending(
            context.report.sql,
            context,
            finish=finish,
            tag=None if query.kind != "select" else "SELECT",
        )

    def _abandon(self) -> None:
        self._substrate.connection.abort()

    def _remember(self, started: Any, context: QueryContext) -> None:
        context.settle()
        self._past.append(PastQuery(started, context.report))
        del self._past[:-_PAST]
        if self._held is not None:
            for notice in self._held.detections.take_notices():
                context.notice(notice.message, severity=notice.severity)

    def _register_pixels(self, planned: Planned, context: QueryContext) -> None:
        from foveal.udfs.pixels import FUNCTIONS

        self._pixels.tables = planned.tables
        self._pixels.context = context
        for name in planned.functions:
            self._pixels.register(FUNCTIONS[name])

    # --- EXPLAIN ---------------------------------------------------------------------------------------

    def _explain(self, statement: Explain, context: QueryContext) -> Result:
        query = statement.statement
        mapped = whole(statement.text)
        if isinstance(query, Execute):
            query = self._bound_execute(query)
        if not isinstance(query, Query):
            raise ProgrammingError(
                "EXPLAIN shows the plans of queries", sqlstate="42601",
                hint="EXPLAIN SELECT ..",
            )  # fmt: skip
        planned = self.plan(query, context, mapped)
        report = None
        if statement.analyze:
            result = self._start(planned, query, context)
            while result.fetchmany(10000):
                pass
            self._open = None
            context.settle()
            report = context.report
        if statement.format == "json":
            import json

            text = json.dumps([explain_json(planned.physical, report)], indent=2)
            table = pa.table({"QUERY PLAN": [text]})
        else:
            stages = planned.stages if statement.verbose else ()
            lines = explain_text(planned.physical, stages, report).split("\n")
            table = pa.table({"QUERY PLAN": lines})
        return _table_result("EXPLAIN", context.report, table)

    # --- definitions -------------------------------------------------------------------------------------

    def _create_video(self, statement: CreateVideoTable, context: QueryContext) -> Result:
        name = statement.name.lower()
        exists = name in self._definitions.videos
        if exists and statement.if_not_exists:
            context.notice(f'video table "{statement.name}" already exists, skipped')
            return Result("CREATE VIDEO TABLE", context.report)
        if exists and not statement.or_replace:
            raise ProgrammingError(
                f'video table "{statement.name}" already exists', sqlstate="42P07",
                span=statement.name_span,
                hint="CREATE OR REPLACE VIDEO TABLE replaces it; its detections stay known",
            )  # fmt: skip
        self._check_free(statement.name, statement.name_span, replacing=exists)
        definition = create_definition(
            statement, threads=int(self._settings["threads"]),
            device=str(self._settings["device"]),
        )  # fmt: skip
        self._definitions.save_video(definition)
        self._live.pop(name, None)
        return Result("CREATE VIDEO TABLE", context.report)

    def _check_free(self, name: str, span: Span, *, replacing: bool) -> None:
        if replacing:
            return
        taken = self._substrate.rows(
            "SELECT 1 FROM duckdb_tables() WHERE lower(table_name) = lower($name) "
            "AND database_name = current_database() AND schema_name = current_schema() UNION ALL "
            "SELECT 1 FROM duckdb_views() WHERE lower(view_name) = lower($name) "
            "AND NOT internal AND schema_name = current_schema()",
            {"name": name},
        )
        if taken or name.lower() in self._definitions.stored:
            raise ProgrammingError(
                f'"{name}" already exists', sqlstate="42P07", span=span,
                hint="a video table cannot share its name with a table or a view",
            )  # fmt: skip

    def _need_video(self, name: str, span: Span) -> None:
        if name.lower() not in self._definitions.videos:
            raise ProgrammingError(
                f'video table "{name}" does not exist', sqlstate="42P01", span=span,
                hint=did_you_mean(name, self._definitions.videos)
                or "SELECT * FROM foveal.videos lists them",
            )  # fmt: skip

    def _drop_video(self, statement: DropVideoTable, context: QueryContext) -> Result:
        if statement.if_exists and statement.name.lower() not in self._definitions.videos:
            context.notice(f'video table "{statement.name}" does not exist, skipped')
        else:
            self._need_video(statement.name, statement.name_span)
            self._definitions.drop(statement.name)
            self._live.pop(statement.name.lower(), None)
        return Result("DROP VIDEO TABLE", context.report)

    def _refresh_video(self, statement: RefreshVideoTable, context: QueryContext) -> Result:
        self._need_video(statement.name, statement.name_span)
        old = self._definitions.videos[statement.name.lower()]
        videos = tuple(list_videos(old.sources))
        before, after = {v.path for v in old.videos}, {v.path for v in videos}
        context.notice(
            f"{len(videos)} video(s): {len(after - before)} added, {len(before - after)} gone"
        )
        self._definitions.save_video(replace(old, videos=videos))
        self._live.pop(statement.name.lower(), None)
        return Result("REFRESH VIDEO TABLE", context.report)

    def _create_stored(self, statement: CreateStored, context: QueryContext) -> Result:
        name = statement.name.lower()
        kind = "VIEW" if statement.kind == "view" else "MACRO"
        if name in self._definitions.stored:
            if statement.if_not_exists:
                context.notice(f'"{statement.name}" already exists, skipped')
                return Result(f"CREATE {kind}", context.report)
            if not statement.or_replace:
                raise ProgrammingError(
                    f'"{statement.name}" already exists', sqlstate="42P07",
                    span=statement.name_span, hint=f"CREATE OR REPLACE {kind} replaces it",
                )  # fmt: skip
        else:
            self._check_free(statement.name, statement.name_span, replacing=False)
            if name in self._definitions.videos:
                raise ProgrammingError(
                    f'video table "{statement.name}" already exists', sqlstate="42P07",
                    span=statement.name_span,
                )  # fmt: skip
        body = statement.text[statement.body.start : statement.body.end].strip().rstrip(";")
        if statement.kind == "view":
            self._check_body(body, statement, context)
        self._definitions.save_stored(
            StoredText(statement.name, statement.kind, body, statement.parameters,
                       statement.columns)
        )  # fmt: skip
        return Result(f"CREATE {kind}", context.report)

    def _check_body(self, body: str, statement: CreateStored, context: QueryContext) -> None:
        """Plan the view's query, so that a view that cannot run is refused when it is made."""
        parsed = self._parse(body)
        if isinstance(parsed, Query):
            try:
                self.plan(parsed, context, whole(body))
            except FovealError as error:
                if error.span is not None:
                    start = statement.text.index(body, statement.body.start)
                    error.span = Span(error.span.start + start, error.span.end + start)
                raise

    def _drop_stored(self, statement: DropStored, context: QueryContext) -> Result:
        kind = "VIEW" if statement.kind == "view" else "MACRO"
        self._definitions.drop(statement.name)
        return Result(f"DROP {kind}", context.report)

    # --- settings ------------------------------------------------------------------------------------------

    def _set(self, statement: SetSetting, context: QueryContext) -> Result:
        try:
            setting = lookup(statement.name)
        except ProgrammingError as error:
            error.span = statement.name_span
            raise
        if statement.value is None:
            self._settings[setting.name] = setting.default
            return Result("RESET", context.report)
        try:
            self._settings[setting.name] = setting.parse(statement.value)
        except FovealError as error:
            error.span = statement.value_span
            raise
        if setting.name in ("threads", "device", "isolate_decode"):
            self._live.clear()
        return Result("SET", context.report)

    def _show(self, statement: ShowSetting, context: QueryContext) -> Result:
        if statement.name.lower() == "all":
            return _table_result("SHOW", context.report, self._system.table("settings"))
        try:
            setting = lookup(statement.name)
        except ProgrammingError as error:
            error.span = statement.name_span
            raise
        value = show(self._settings[setting.name])
        return _table_result("SHOW", context.report, pa.table({f"foveal.{setting.name}": [value]}))

    # --- prepared statements -----------------------------------------------------------------------------------

    def _prepare(self, statement: Prepare, context: QueryContext) -> Result:
        body = statement.text[statement.body.start : statement.body.end].strip().rstrip(";")
        parsed = self._parse(body)
        if not isinstance(parsed, Query):
            raise ProgrammingError("PREPARE takes a query", span=statement.body)
        self._prepared[statement.name.lower()] = body
        return Result("PREPARE", context.report)

    def _bound_execute(self, statement: Execute) -> Query:
        parsed = self._parse(self._prepared[statement.name.lower()])
        assert isinstance(parsed, Query)
        return parsed

    def _execute_prepared(self, statement: Execute, context: QueryContext) -> Result:
        query = self._bound_execute(statement)
        values: dict[str, object] = {}
        for key, span in statement.arguments:
            text = statement.text[span.start : span.end]
            rows = self._substrate.rows(f"SELECT ({text})", bindings(text, context.parameters))
            values[key] = rows[0][0]
        wanted = {key for _, key in query.parameters}
        if set(values) != wanted:
            raise ProgrammingError(
                f'prepared statement "{statement.name}" takes {len(wanted)} parameter(s), '
                f"{len(values)} given",
                sqlstate="08P01",
                span=statement.name_span,
            )
        context.parameters = values
        context.report.sql = query.text
        return self._query(query, context, whole(query.text))


def _table_result(tag: str, report: QueryReport, table: pa.Table) -> Result:
    types = {pa.int64(): "BIGINT", pa.float64(): "DOUBLE", pa.bool_(): "BOOLEAN"}
    columns = tuple(Column(f.name, types.get(f.type, "VARCHAR")) for f in table.schema)
    return Result(tag, report, columns=columns, table=table)


def _by_key(parameters: Parameters) -> dict[str, object]:
    """Return bound values by the key that DuckDB gives them."""
    if not parameters:
        return {}
    if isinstance(parameters, Mapping):
        return {str(key): value for key, value in parameters.items()}
    if isinstance(parameters, str | bytes):
        raise InterfaceError("parameters must be a sequence or a mapping, not one string")
    return {str(i + 1): value for i, value in enumerate(parameters)}


def _rename_functions(query: Query, names: frozenset[str]) -> tuple[Mapped | None, frozenset[str]]:
    """Give pixel functions the internal names that DuckDB knows them by."""
    edits: list[Edit] = []
    used: set[str] = set()
    for token, following in zip(query.tokens, query.tokens[1:], strict=False):
        if token.kind == "word" and following.text == "(" and token.name.lower() in names:
            edits.append(Edit(Span(token.start, token.end), PREFIX + token.name.lower()))
            used.add(token.name.lower())
    edits += keep_names(query, edits)
    return (apply(query.text, edits) if edits else None), frozenset(used)


__all__ = ["CatalogWords", "Logical", "OperationalError", "Sequence", "Session", "translate"]
