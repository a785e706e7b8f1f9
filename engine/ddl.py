"""Statements that define: video tables, and views and macros over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa

from foveal.engine.analyze import analyze
from foveal.engine.catalog.definitions import Definitions, VideoDefinition
from foveal.engine.catalog.videos import create_definition, list_videos
from foveal.engine.context import QueryContext
from foveal.engine.planning import Planning
from foveal.engine.substrate import Substrate
from foveal.engine.tables import LiveTables
from foveal.errors import FovealError, ProgrammingError, Span, did_you_mean
from foveal.planner.bind.numbers import Numbers
from foveal.planner.parse.lexer import tokenize
from foveal.planner.parse.statement import (
    AnalyzeVideo,
    CreateStored,
    CreateVideoTable,
    DropStored,
    DropVideoTable,
    Query,
    RefreshVideoTable,
)
from foveal.planner.protocols import StoredText
from foveal.planner.text import whole
from foveal.settings import Value

_MAKERS = frozenset({"create", "drop", "alter", "truncate"})
_KINDS = frozenset({"table", "view", "exists", "sequence", "type", "truncate"})


class Ddl:
    """Runs definitions in the user's transaction. Each method returns the command's tag."""

    def __init__(
        self,
        substrate: Substrate,
        definitions: Definitions,
        tables: LiveTables,
        planning: Planning,
        settings: Mapping[str, Value],
    ) -> None:
        """Take what definitions are checked against and written to."""
        self._substrate = substrate
        self._definitions = definitions
        self._tables = tables
        self._planning = planning
        self._settings = settings

    def create_video(self, statement: CreateVideoTable, context: QueryContext) -> str:
        """CREATE VIDEO TABLE: its files are found and its detector is loaded, once, now."""
        tag = "CREATE VIDEO TABLE"
        if not self.may_create("video table", statement, context):
            return tag
        definition = create_definition(
            statement,
            threads=int(self._settings["threads"]),
            device=str(self._settings["device"]),
        )
        self._tables.open(definition).measure(context.check)
        self._definitions.save_video(definition)
        return tag

    def may_create(self, kind: str, statement: CreateVideoTable, context: QueryContext) -> bool:
        """Return whether a video table or stream is to be made; False: it is there already.

        Raises:
            ProgrammingError: 42P07, the name is taken; 42809, by the other kind of the two.
        """
        name, span = statement.name, statement.name_span
        old = self._definitions.videos.get(name.lower())
        if old is None:
            self._check_free(name, span)
            return True
        if statement.if_not_exists:
            context.notice(f'{kind_of(old)} "{name}" already exists, skipped')
            return False
        if not statement.or_replace:
            raise _taken(
                f'{kind_of(old)} "{name}"',
                span,
                f"CREATE OR REPLACE {kind_of(old).upper()} replaces it; its detections stay known",
            )
        if kind_of(old) != kind:
            raise _other_kind(old, span)
        return True

    def drop_video(self, statement: DropVideoTable, context: QueryContext) -> str:
        """DROP VIDEO TABLE: the definition goes, what its detector said stays."""
        tag = "DROP VIDEO TABLE"
        if statement.if_exists and statement.name.lower() not in self._definitions.videos:
            context.notice(f'video table "{statement.name}" does not exist, skipped')
            return tag
        self._check_known(statement.name, statement.name_span)
        self._definitions.drop(statement.name)
        self._tables.forget(statement.name)
        return tag

    def refresh_video(self, statement: RefreshVideoTable, context: QueryContext) -> str:
        """REFRESH VIDEO TABLE: the sources are looked at again."""
        self._check_known(statement.name, statement.name_span)
        old = self._definitions.videos[statement.name.lower()]
        videos = tuple(list_videos(old.sources))
        before, after = {v.path for v in old.videos}, {v.path for v in videos}
        context.notice(
            f"{len(videos)} video(s): {len(after - before)} added, {len(before - after)} gone"
        )
        self._definitions.save_video(replace(old, videos=videos))
        self._tables.forget(statement.name)
        return "REFRESH VIDEO TABLE"

    def analyze_video(self, statement: AnalyzeVideo, context: QueryContext) -> pa.Table:
        """ANALYZE VIDEO: caches are filled; return what each video has now and what is new."""
        self._check_known(statement.name, statement.name_span, stream=True)
        table = self._tables.table(statement.name.lower())
        seconds = calls = None
        if (budget := statement.budget) is not None:
            numbers = Numbers(context.parameters, context.settings)
            amount = numbers.number(budget.value, budget.span)
            if budget.unit == "seconds":
                seconds = amount
            else:
                calls = int(amount)
        return analyze(table, seconds, calls, context)

    def create_stored(self, statement: CreateStored, context: QueryContext) -> str:
        """CREATE VIEW or MACRO over extension objects: kept as text, planned once to check it."""
        tag = "CREATE VIEW" if statement.kind == "view" else "CREATE MACRO"
        name = statement.name.lower()
        if name in self._definitions.stored:
            if statement.if_not_exists:
                context.notice(f'"{statement.name}" already exists, skipped')
                return tag
            if not statement.or_replace:
                raise _taken(
                    f'"{statement.name}"',
                    statement.name_span,
                    tag.replace("CREATE", "CREATE OR REPLACE") + " replaces it",
                )
        elif name in self._definitions.videos:
            raise _taken(f'video table "{statement.name}"', statement.name_span, None)
        else:
            self._check_free(statement.name, statement.name_span)
        body = statement.text[statement.body.start : statement.body.end].strip().rstrip(";")
        if statement.kind == "view":
            self._check_body(body, statement, context)
        self._definitions.save_stored(
            StoredText(
                statement.name, statement.kind, body, statement.parameters, statement.columns
            )
        )
        return tag

    def drop_stored(self, statement: DropStored) -> str:
        """DROP VIEW or MACRO of one that foveal keeps."""
        name = statement.name.lower()
        video = self._definitions.videos.get(name)
        kept = self._definitions.stored.get(name)
        kind = "video table" if video is not None else "view"
        if video is None and kept is not None and kept.kind != "view":
            kind = "macro"
        if kind != ("view" if statement.kind == "view" else "macro"):
            raise ProgrammingError(
                f'"{statement.name}" is a {kind}',
                sqlstate="42809",
                span=statement.name_span,
                hint=f"use DROP {kind.upper()} {statement.name}",
            )
        self._definitions.drop(statement.name)
        return "DROP VIEW" if statement.kind == "view" else "DROP MACRO"

    def check_plain(self, sql: str) -> None:
        """Refuse an ordinary CREATE, DROP or ALTER whose target is an object of ours.

        Raises:
            ProgrammingError: 42P07, the name is taken; 42809, it is another kind of object.
        """
        tokens = tokenize(sql)[:12]
        words = [t.text.lower() for t in tokens]
        if not words or words[0] not in _MAKERS:
            return
        for i, token in enumerate(tokens):
            name = token.name.lower()
            video = name in self._definitions.videos
            if not video and name not in self._definitions.stored:
                continue
            if words[i - 1] in _KINDS:
                kind = "video table" if video else "view"
                span = Span(token.start, token.end)
                if words[0] == "create":
                    raise _taken(f'{kind} "{token.name}"', span, None)
                raise ProgrammingError(
                    f'"{token.name}" is a {kind}',
                    sqlstate="42809",
                    span=span,
                    hint=f"use DROP {kind.upper()} {token.name}"
                    if words[0] == "drop"
                    else f"CREATE OR REPLACE {kind.upper()} changes it",
                )
            return

    def _check_free(self, name: str, span: Span) -> None:
        taken = self._substrate.rows(
            "SELECT 1 FROM duckdb_tables() WHERE lower(table_name) = lower($name) "
            "AND database_name = current_database() AND schema_name = current_schema() UNION ALL "
            "SELECT 1 FROM duckdb_views() WHERE lower(view_name) = lower($name) "
            "AND NOT internal AND schema_name = current_schema()",
            {"name": name},
        )
        if taken or name.lower() in self._definitions.stored:
            raise _taken(f'"{name}"', span, "a video table cannot share a table's or view's name")

    def _check_known(self, name: str, span: Span, *, stream: bool = False) -> None:
        if name.lower() not in self._definitions.videos:
            raise ProgrammingError(
                f'video table "{name}" does not exist',
                sqlstate="42P01",
                span=span,
                hint=did_you_mean(name, self._definitions.videos)
                or "SELECT * FROM foveal.videos lists them",
            )
        definition = self._definitions.videos[name.lower()]
        if definition.stream is not None and not stream:
            raise _other_kind(definition, span)

    def _check_body(self, body: str, statement: CreateStored, context: QueryContext) -> None:
        """Plan the view's query, so that a view that cannot run is refused when it is made."""
        parsed = self._planning.parse(body)
        if not isinstance(parsed, Query):
            return
        try:
            self._planning.plan(parsed, context, whole(body))
        except FovealError as error:
            if error.span is not None:
                start = statement.text.index(body, statement.body.start)
                error.span = Span(error.span.start + start, error.span.end + start)
            raise


def kind_of(definition: VideoDefinition) -> str:
    """Return what SQL calls it: video table or video stream."""
    return "video table" if definition.stream is None else "video stream"


def _other_kind(definition: VideoDefinition, span: Span) -> ProgrammingError:
    return ProgrammingError(
        f'"{definition.name}" is a {kind_of(definition)}',
        sqlstate="42809",
        span=span,
        hint=f"its statements say {kind_of(definition).upper()}",
    )


def _taken(what: str, span: Span, hint: str | None) -> ProgrammingError:
    return ProgrammingError(f"{what} already exists", sqlstate="42P07", span=span, hint=hint)
