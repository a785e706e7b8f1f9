"""CREATE, DROP and REFRESH VIDEO STREAM, and what foveal.streams and foveal.windows list."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, replace

import pyarrow as pa

from foveal.engine.catalog.definitions import Definitions, VideoDefinition
from foveal.engine.catalog.videos import TABLE_OPTIONS, create_definition
from foveal.engine.context import QueryContext
from foveal.engine.ddl import Ddl
from foveal.engine.following import Following, count_objects
from foveal.engine.relations import OBJECTS
from foveal.engine.stream_options import OPTIONS, stream_options
from foveal.engine.substrate import Substrate
from foveal.engine.tables import LiveTables
from foveal.errors import (
    DataError,
    FovealError,
    NotSupportedError,
    ProgrammingError,
    Span,
    did_you_mean,
)
from foveal.planner.parse.statement import CreateVideoTable, DropVideoTable, RefreshVideoStream
from foveal.reports import StreamWindow
from foveal.settings import Value

WINDOWS = pa.schema(
    [
        ("number", pa.int64()), ("video", pa.string()), ("started", pa.timestamp("us", "UTC")),
        ("ts", pa.float64()), ("seconds", pa.float64()), ("frames", pa.int64()),
        ("frames_dropped", pa.int64()), ("calls", pa.int64()), ("estimate", pa.float64()),
        ("low", pa.float64()), ("high", pa.float64()), ("confidence", pa.float64()),
        ("guarantee", pa.string()),
    ]
)  # fmt: skip


class StreamStatements:
    """The statements about streams, of one session."""

    def __init__(
        self,
        substrate: Substrate,
        scratch: Substrate,
        definitions: Definitions,
        tables: LiveTables,
        ddl: Ddl,
        settings: Mapping[str, Value],
    ) -> None:
        """Take what streams are kept in and followed with."""
        self._substrate = substrate
        self._scratch = scratch
        self._definitions = definitions
        self._tables = tables
        self._ddl = ddl
        self._settings = settings

    def create(self, statement: CreateVideoTable, context: QueryContext) -> str:
        """CREATE VIDEO STREAM: its options are checked and its detector is loaded; nothing is read.

        Raises:
            DataError: 22023, the source or an option is wrong.
            ProgrammingError: 42P07, the name is taken; 25001, a stream would be replaced within a
                transaction, which could not bring its recording back.
        """
        from foveal.connectors.video.addresses import parse_address

        tag = "CREATE VIDEO STREAM"
        old = self._definitions.videos.get(statement.name.lower())
        if not self._ddl.may_create("video stream", statement, context):
            return tag
        if old is not None and old.stream is not None:
            self._refuse_in_transaction("CREATE OR REPLACE VIDEO STREAM", statement.name_span)
        if len(statement.sources) != 1:
            raise NotSupportedError(
                "a video stream has one source",
                span=statement.source_spans[1],
                hint="make a stream for each camera",
            )
        try:
            address = parse_address(statement.sources[0])
        except DataError as error:
            error.span = statement.source_spans[0]
            raise
        self._check_options(statement)
        options = stream_options(statement, uuid.uuid4().hex[:12])
        if not address.live:  # wherever the stream is followed from later
            options = replace(options, source=f"file:{address.text}")
        self._check_where(statement, options.where)
        definition = create_definition(
            replace(
                statement,
                sources=(),
                source_spans=(),
                options={k: v for k, v in statement.options.items() if k not in OPTIONS},
            ),
            threads=int(self._settings["threads"]),
            device=str(self._settings["device"]),
        )
        definition = replace(definition, sources=statement.sources, stream=options)
        self._definitions.save_video(definition)
        self._tables.forget(statement.name)
        if old is not None:
            self._delete_recording(old, context)
        return tag

    def drop(self, statement: DropVideoTable, context: QueryContext) -> str:
        """DROP VIDEO STREAM: the definition and the recording go, what was detected stays.

        Raises:
            ProgrammingError: 42P01, there is none; 25001, inside a transaction.
        """
        tag = "DROP VIDEO STREAM"
        if statement.if_exists and statement.name.lower() not in self._definitions.videos:
            context.notice(f'video stream "{statement.name}" does not exist, skipped')
            return tag
        definition = self._known(statement.name, statement.name_span)
        self._refuse_in_transaction("DROP VIDEO STREAM", statement.name_span)
        self._definitions.drop(statement.name)
        self._tables.forget(statement.name)
        self._delete_recording(definition, context)
        return tag

    def refresh(self, statement: RefreshVideoStream, context: QueryContext) -> pa.Table:
        """REFRESH VIDEO STREAM: record and look, up to the limit or the end; return the windows.

        Ctrl-C ends it with the windows so far.
        """
        following = self.follow(statement.name, statement.name_span)
        found: list[StreamWindow] = []
        context.answers_when_cancelled = True
        try:
            while not _reached(statement, found):
                window = following.next(context)
                if window is None:
                    break
                found.append(window)
                context.answer = (window.estimate, window.low, window.high)
                context.advance("record", sum(w.frames for w in found), None)
        except FovealError as error:
            if not found or context.stopped.is_set():
                raise
            # What was told before holds; the rest of the story is a warning.
            severity = "NOTICE" if error.sqlstate == "57014" else "WARNING"
            context.notice(f"it ended early: {error.message}", severity=severity)
            context.cancelled.clear()
        finally:
            context.answers_when_cancelled = False
            following.close()
        return pa.Table.from_pylist([asdict(window) for window in found], schema=WINDOWS)

    def follow(self, name: str, span: Span | None = None) -> Following:
        """Start to follow a stream; whoever asked closes it.

        Raises:
            ProgrammingError: 42P01, there is no such stream.
        """
        definition = self._known(name, span)
        if self._tables.read_only:
            raise ProgrammingError(
                "a stream cannot be recorded in a database that is opened for reading only",
                sqlstate="25006",
                span=span,
                hint="open it for writing",
            )
        assert definition.stream is not None
        return Following(
            self._tables.apart(replace(definition, videos=())),
            definition.stream,
            self._tables.stream_log(definition.stream),
            self._scratch,
            lambda videos: self._tables.apart(replace(definition, videos=videos)),
            confidence=float(self._settings["confidence"]),
            seed=int(self._settings["seed"]),
        )

    # --- catalogs ----------------------------------------------------------------------------

    def streams(self) -> list[dict[str, object]]:
        """Return a row per stream."""
        from foveal.connectors.video.addresses import parse_address

        rows: list[dict[str, object]] = []
        for definition in self._definitions.videos.values():
            options = definition.stream
            if options is None:
                continue
            log = self._tables.stream_log(options)
            windows = log.windows()
            kept = [log.folder / logged.file for logged in windows if not logged.gone]
            rows.append(
                {
                    "name": definition.name,
                    "source": parse_address(options.source).shown,
                    "detector": definition.detector.name,
                    "condition": options.where or None,
                    "window_seconds": options.window,
                    "budget_calls": options.budget_calls,
                    "budget_seconds": options.budget_seconds,
                    "error": options.error,
                    "keep_seconds": options.keep,
                    "windows": len(windows),
                    "windows_kept": len(kept),
                    "seconds": sum(logged.window.seconds for logged in windows),
                    "frames": sum(logged.window.frames for logged in windows),
                    "frames_dropped": sum(logged.window.frames_dropped for logged in windows),
                    "bytes": sum(path.stat().st_size for path in kept if path.exists()),
                    "folder": str(log.folder),
                }
            )
        return rows

    def windows(self) -> list[dict[str, object]]:
        """Return a row per window of every stream."""
        return [
            {"stream": definition.name, **asdict(logged.window), "kept": not logged.gone}
            for definition in self._definitions.videos.values()
            if definition.stream is not None
            for logged in self._tables.stream_log(definition.stream).windows()
        ]

    # --- inside ------------------------------------------------------------------------------

    def _known(self, name: str, span: Span | None) -> VideoDefinition:
        definition = self._definitions.videos.get(name.lower())
        if definition is not None and definition.stream is None:
            raise ProgrammingError(
                f'"{name}" is a video table',
                sqlstate="42809",
                span=span,
                hint="its statements say VIDEO TABLE",
            )
        if definition is None:
            streams = [d.name for d in self._definitions.videos.values() if d.stream is not None]
            raise ProgrammingError(
                f'video stream "{name}" does not exist',
                sqlstate="42P01",
                span=span,
                hint=did_you_mean(name, streams) or "SELECT * FROM foveal.streams lists them",
            )
        return definition

    def _refuse_in_transaction(self, what: str, span: Span) -> None:
        if self._substrate.in_transaction:
            raise ProgrammingError(
                f"{what} deletes a recording and cannot run inside a transaction",
                sqlstate="25001",
                span=span,
                hint="COMMIT or ROLLBACK first",
            )

    def _check_options(self, statement: CreateVideoTable) -> None:
        from foveal.udfs import detectors

        known = {**OPTIONS, **TABLE_OPTIONS, **detectors.OPTIONS}
        for name in statement.options:
            if name not in known:
                raise ProgrammingError(
                    f'video streams have no option "{name}"',
                    sqlstate="42704",
                    span=statement.option_spans[name][0],
                    hint=did_you_mean(name, known) or "there are " + ", ".join(sorted(known)),
                )

    def _check_where(self, statement: CreateVideoTable, where: str) -> None:
        try:
            count_objects(self._scratch, OBJECTS.empty_table(), where)
        except FovealError as error:
            raise DataError(
                f"where is no condition over an object's columns: {error.message.splitlines()[0]}",
                sqlstate="22023",
                span=statement.option_spans["where"][1],
                hint="write where = 'class = ''car'' AND xmin > 100'",
            ) from error

    def _delete_recording(self, definition: VideoDefinition, context: QueryContext) -> None:
        if definition.stream is None:
            return
        folder = self._tables.stream_log(definition.stream).folder
        try:
            if folder.exists():
                shutil.rmtree(folder)
        except OSError as error:
            context.notice(f"the recording {folder} stays: {error.strerror or error}")


def _reached(statement: RefreshVideoStream, found: list[StreamWindow]) -> bool:
    """Whether the statement's FOR is fulfilled."""
    if statement.limit is None:
        return False
    if statement.unit == "windows":
        return len(found) >= statement.limit
    return sum(window.seconds for window in found) >= statement.limit - 1e-6
