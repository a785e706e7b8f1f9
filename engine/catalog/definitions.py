"""Definitions kept in the user's own DuckDB file, so that they follow the user's transaction."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from foveal.engine.stream_options import StreamOptions
from foveal.engine.substrate import Substrate
from foveal.errors import OperationalError
from foveal.planner.protocols import DetectorInfo, StoredText

FORMAT_VERSION = 1
SCHEMA = "__foveal"
_TABLE = f'"{SCHEMA}".definitions'


@dataclass(frozen=True, slots=True)
class ListedVideo:
    """A file of a video table: the value of its `video` column, and where it is."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class VideoDefinition:
    """A video table as it was created.

    `sources` are the patterns as written, `videos` the files they named then. `detector_file`
    is (path, bytes, mtime_ns) of the detector's file, empty for one that has none. `stream` is a
    stream's own options; its `videos` are then what was recorded, which the definition leaves out.
    """

    name: str
    sources: tuple[str, ...]
    options: dict[str, str | int | float | bool]
    max_count: int
    tracker: str
    videos: tuple[ListedVideo, ...]
    detector: DetectorInfo
    detector_file: tuple[str, int, int] | None
    stream: StreamOptions | None = None

    def dump(self) -> str:
        """Return the definition as JSON."""
        detector = {f: getattr(self.detector, f) for f in DetectorInfo.__slots__}
        return json.dumps(
            {
                "sources": self.sources,
                "options": self.options,
                "max_count": self.max_count,
                "tracker": self.tracker,
                "videos": [[v.name, v.path] for v in self.videos],
                "detector": detector,
                "detector_file": self.detector_file,
                "stream": None if self.stream is None else self.stream.dump(),
            }
        )

    @classmethod
    def load(cls, name: str, text: str) -> VideoDefinition:
        """Return the definition that `dump` wrote."""
        held = cast("dict[str, Any]", json.loads(text))
        detector = dict(held["detector"])
        detector["classes"] = tuple(detector["classes"])
        file, stream = held["detector_file"], held.get("stream")
        return cls(
            name,
            tuple(held["sources"]),
            held["options"],
            held["max_count"],
            held["tracker"],
            tuple(ListedVideo(n, p) for n, p in held["videos"]),
            DetectorInfo(**detector),
            (str(file[0]), int(file[1]), int(file[2])) if file else None,
            None if stream is None else StreamOptions(**stream),
        )


def _dump_stored(stored: StoredText) -> str:
    return json.dumps(
        {"body": stored.body, "parameters": stored.parameters, "columns": stored.columns}
    )


def _load_stored(name: str, kind: str, text: str) -> StoredText:
    held = cast("dict[str, Any]", json.loads(text))
    return StoredText(name, kind, held["body"], tuple(held["parameters"]), tuple(held["columns"]))


_CHANGES: Counter[str] = Counter()
"""How often this process changed the definitions of each database, by its path."""

_FUNCTION = "function"

_HARMLESS = frozenset(
    {"select", "from", "with", "values", "insert", "update", "delete", "explain", "describe"}
    | {"show", "summarize", "set", "reset", "pragma", "prepare", "execute", "deallocate"}
)
"""First words of statements that change no definition."""


class Definitions:
    """Reads and writes the definitions of one database through the session's own connection."""

    def __init__(self, substrate: Substrate, database: str) -> None:
        """Write nothing yet. `database`: its path, or a name of its own for one in memory."""
        self._substrate = substrate
        self._database = database
        self._seen: tuple[tuple[str, str, str], ...] = ()
        self._fresh_at: int | None = None
        self.videos: dict[str, VideoDefinition] = {}
        self.stored: dict[str, StoredText] = {}
        self.functions: dict[str, tuple[str, str]] = {}
        """Functions by their folded names: the name as written, and the definition."""

    def ran(self, words: Sequence[str]) -> None:
        """Take note of a statement of DuckDB's, by its first words: it may change what is defined.

        The end of a transaction may show or take away definitions, here and in other sessions.
        """
        if not words or words[0].lower() not in _HARMLESS:
            _CHANGES[self._database] += 1

    def refresh(self) -> None:
        """Read what the session's transaction sees now, unless nothing can have changed.

        Raises:
            OperationalError: 58000, a newer foveal wrote them.
        """
        changes = _CHANGES[self._database]
        if changes == self._fresh_at:
            return
        self._read()
        self._fresh_at = changes

    def _read(self) -> None:
        exists = self._substrate.rows(
            "SELECT 1 FROM duckdb_schemas() WHERE schema_name = $name AND "
            "database_name = current_database()",
            {"name": SCHEMA},
        )
        rows: list[tuple[Any, ...]] = []
        if exists:
            rows = self._substrate.rows(
                f"SELECT name, kind, definition FROM {_TABLE} ORDER BY 1, 2"
            )
        seen = tuple((str(n), str(k), str(d)) for n, k, d in rows)
        if seen == self._seen:
            return
        self.videos, self.stored, self.functions = {}, {}, {}
        for name, kind, text in seen:
            if kind == "format_version":
                if int(text) > FORMAT_VERSION:
                    raise OperationalError(
                        f"the database was written by a newer foveal (format {text}, this one "
                        f"reads {FORMAT_VERSION})",
                        hint="upgrade foveal to open it",
                    )
            elif kind == "video_table":
                self.videos[name.lower()] = VideoDefinition.load(name, text)
            elif kind == _FUNCTION:
                self.functions[name.lower()] = (name, text)
            else:
                self.stored[name.lower()] = _load_stored(name, kind, text)
        self._seen = seen

    def save_video(self, definition: VideoDefinition) -> None:
        """Write a video table's definition, replacing one of the same name."""
        self._save(definition.name, "video_table", definition.dump())

    def save_stored(self, stored: StoredText) -> None:
        """Write a view's or macro's definition, replacing one of the same name."""
        self._save(stored.name, stored.kind, _dump_stored(stored))

    def save_function(self, name: str, definition: str) -> None:
        """Write a function's definition, replacing one of the same name."""
        self._save(name, _FUNCTION, definition)

    def drop(self, name: str) -> None:
        """Forget the definition of a table, view or macro."""
        self._drop(name, function=False)

    def drop_function(self, name: str) -> None:
        """Forget a function: functions have names of their own."""
        self._drop(name, function=True)

    def _drop(self, name: str, *, function: bool) -> None:
        _CHANGES[self._database] += 1
        self._substrate.rows(
            f"DELETE FROM {_TABLE} WHERE lower(name) = lower($name) AND kind <> 'format_version' "
            f"AND (kind = '{_FUNCTION}') = $function",
            {"name": name, "function": function},
        )

    def _save(self, name: str, kind: str, text: str) -> None:
        run = self._substrate.rows
        with self._substrate.atomic():
            run(f'CREATE SCHEMA IF NOT EXISTS "{SCHEMA}"')
            run(
                f"CREATE TABLE IF NOT EXISTS {_TABLE} "
                "(name VARCHAR NOT NULL, kind VARCHAR NOT NULL, definition VARCHAR NOT NULL)"
            )
            run(
                f"INSERT INTO {_TABLE} SELECT 'foveal', 'format_version', $version WHERE NOT "
                f"EXISTS (SELECT 1 FROM {_TABLE} WHERE kind = 'format_version')",
                {"version": str(FORMAT_VERSION)},
            )
            self._drop(name, function=kind == _FUNCTION)
            run(
                f"INSERT INTO {_TABLE} VALUES ($name, $kind, $text)",
                {"name": name, "kind": kind, "text": text},
            )
