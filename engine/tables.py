"""A session's video tables at work: opened when first needed, opened anew when a file changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from foveal.engine.catalog.definitions import Definitions, ListedVideo, VideoDefinition
from foveal.engine.catalog.videos import LiveTable, Storage
from foveal.engine.stream_log import StreamLog
from foveal.engine.stream_options import StreamOptions
from foveal.reports import Notice
from foveal.settings import Value


class LiveTables:
    """Live tables by folded name, over one storage folder."""

    def __init__(
        self,
        definitions: Definitions,
        settings: Mapping[str, Value],
        *,
        folder: Path | None,
        read_only: bool,
        notice: Callable[[str], None],
    ) -> None:
        """Open nothing yet; `folder` None keeps what is paid for in a temporary one."""
        self._definitions = definitions
        self._settings = settings
        self._folder = folder
        self._read_only = read_only
        self._notice = notice
        self._storage: Storage | None = None
        self._live: dict[str, LiveTable] = {}
        self._logs: dict[str, StreamLog] = {}

    @property
    def read_only(self) -> bool:
        """Whether the database is opened for reading."""
        return self._read_only

    def table(self, name: str) -> LiveTable:
        """Return the table at work under its present definition and files."""
        definition = self._recorded(self._definitions.videos[name])
        live = self._live.get(name)
        if live is None or live.definition != definition or live.stale():
            live = self.open(definition)
        return live

    def open(self, definition: VideoDefinition) -> LiveTable:
        """Return a table at work under a definition, which need not be saved yet."""
        live = self.apart(definition)
        self._live[definition.name.lower()] = live
        return live

    def apart(self, definition: VideoDefinition) -> LiveTable:
        """Return a table at work that no statement sees by its name."""
        return LiveTable(
            definition,
            self.storage(),
            isolate=bool(self._settings["isolate_decode"]),
            threads=int(self._settings["threads"]),
            device=str(self._settings["device"]),
            notice=self._notice,
        )

    def _recorded(self, definition: VideoDefinition) -> VideoDefinition:
        """Return a stream's definition with the windows that are kept as its videos."""
        if definition.stream is None:
            return definition
        log = self.stream_log(definition.stream)
        kept = (log.folder / logged.file for logged in log.windows() if not logged.gone)
        videos = tuple(ListedVideo(path.name, str(path)) for path in kept if path.exists())
        return replace(definition, videos=videos)

    def stream_log(self, options: StreamOptions) -> StreamLog:
        """Return the log of a stream's recording."""
        if options.ident not in self._logs:
            root = self._folder or self.storage().detections.manifest.folder
            root = root.absolute()  # the working directory may change, and the decoder's is another
            self._logs[options.ident] = StreamLog(root / "streams" / options.ident)
        return self._logs[options.ident]

    def mentioned(self, words: Iterable[str]) -> dict[str, LiveTable]:
        """Return the tables whose folded names are among `words`."""
        found = set(words)
        return {name: self.table(name) for name in self._definitions.videos if name in found}

    def every(self) -> Mapping[str, LiveTable]:
        """Return all the database's video tables."""
        return {name: self.table(name) for name in self._definitions.videos}

    def storage(self) -> Storage:
        """Return what the database has paid for, opened at first use."""
        if self._storage is None:
            self._storage = Storage(self._folder, read_only=self._read_only)
        return self._storage

    def take_notices(self) -> list[Notice]:
        """Return what the storage has to say since the last call."""
        return self._storage.detections.take_notices() if self._storage is not None else []

    def forget(self, name: str | None = None) -> None:
        """Open a table anew at its next use; all of them without a name."""
        if name is None:
            self._live.clear()
        else:
            self._live.pop(name.lower(), None)

    def close(self) -> None:
        """Close the storage."""
        if self._storage is not None:
            self._storage.close()
