"""foveal's own catalogs, `foveal.NAME`: videos, detectors, proxies, settings, queries and more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from foveal.engine.catalog.proxies import PROXIES, proxy_rows
from foveal.engine.catalog.videos import LiveTable
from foveal.reports import QueryReport
from foveal.settings import SETTINGS, Value

_TEXT, _INT, _REAL, _FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()

SCHEMAS: Mapping[str, pa.Schema] = {
    "videos": pa.schema(
        [
            ("table_name", _TEXT), ("video", _TEXT), ("path", _TEXT), ("frames", _INT),
            ("seconds", _REAL), ("fps", _REAL), ("width", _INT), ("height", _INT),
            ("codec", _TEXT), ("keyframes", _INT), ("frames_cached", _INT),
            ("thumbnails", _INT), ("seconds_skipped", _REAL), ("detector", _TEXT),
            ("max_count", _INT), ("content_hash", _TEXT),
        ]
    ),
    "detectors": pa.schema(
        [
            ("name", _TEXT), ("family", _TEXT), ("table_name", _TEXT), ("origin", _TEXT),
            ("classes", pa.list_(_TEXT)),
            ("input_width", _INT), ("input_height", _INT), ("confidence", _REAL), ("iou", _REAL),
            ("slices", _INT), ("seconds_per_frame", _REAL), ("measured", _FLAG), ("path", _TEXT),
            ("key", _TEXT),
        ]
    ),
    "proxies": PROXIES,
    "streams": pa.schema(
        [
            ("name", _TEXT), ("source", _TEXT), ("detector", _TEXT), ("condition", _TEXT),
            ("window_seconds", _REAL), ("budget_calls", _INT), ("budget_seconds", _REAL),
            ("error", _REAL), ("keep_seconds", _REAL), ("windows", _INT), ("windows_kept", _INT),
            ("seconds", _REAL), ("frames", _INT), ("frames_dropped", _INT), ("bytes", _INT),
            ("folder", _TEXT),
        ]
    ),
    "windows": pa.schema(
        [
            ("stream", _TEXT), ("number", _INT), ("video", _TEXT),
            ("started", pa.timestamp("us", "UTC")), ("ts", _REAL), ("seconds", _REAL),
            ("frames", _INT), ("frames_dropped", _INT), ("calls", _INT), ("estimate", _REAL),
            ("low", _REAL), ("high", _REAL), ("confidence", _REAL), ("guarantee", _TEXT),
            ("kept", _FLAG),
        ]
    ),
    "settings": pa.schema(
        [("name", _TEXT), ("value", _TEXT), ("default_value", _TEXT), ("meaning", _TEXT)]
    ),
    "functions": pa.schema(
        [
            ("name", _TEXT), ("argument", _TEXT), ("returns", _TEXT), ("meaning", _TEXT),
            ("language", _TEXT), ("translated", _FLAG), ("why", _TEXT), ("cost", _REAL),
        ]
    ),
    "column_cache": pa.schema(
        [
            ("relation", _TEXT), ("column_name", _TEXT), ("type", _TEXT), ("storage", _TEXT),
            ("rows", _INT), ("nulls", _INT), ("distinct", _INT), ("low", _TEXT), ("high", _TEXT),
            ("bytes", _INT), ("hits", _INT), ("fill_seconds", _REAL), ("refused", _TEXT),
        ]
    ),
    "queries": pa.schema(
        [
            ("started", pa.timestamp("us", "UTC")), ("sql", _TEXT), ("plan", _TEXT),
            ("guarantee", _TEXT), ("estimate", _REAL), ("low", _REAL), ("high", _REAL),
            ("confidence", _REAL), ("target_met", _FLAG), ("detector_calls", _INT),
            ("frames_decoded", _INT), ("decode_seconds", _REAL), ("detect_seconds", _REAL),
            ("total_seconds", _REAL),
        ]
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PastQuery:
    """A finished statement over extension relations."""

    started: datetime
    report: QueryReport


def now() -> datetime:
    """Return the current time, as the catalogs show it."""
    return datetime.now(UTC)


class SystemCatalog:
    """Makes the catalogs' rows when they are asked for."""

    def __init__(
        self,
        tables: Callable[[], Mapping[str, LiveTable]],
        settings: Callable[[], Mapping[str, Value]],
        past: Sequence[PastQuery],
        functions: Callable[[], Sequence[Mapping[str, object]]],
        more: Mapping[str, Callable[[], list[dict[str, object]]]],
    ) -> None:
        """Take where the facts come from; `more` makes the rows of further catalogs."""
        self._tables = tables
        self._more = more
        self._settings = settings
        self._past = past
        self._listed = functions

    def table(self, name: str) -> pa.Table:
        """Return the catalog called `name`."""
        makers: Mapping[str, Callable[[], list[dict[str, object]]]] = {
            "videos": self._videos,
            "detectors": self._detectors,
            "proxies": lambda: proxy_rows(self._tables()),
            "settings": self._setting_rows,
            "functions": self._functions,
            "queries": self._queries,
            **self._more,
        }
        return pa.Table.from_pylist(makers[name](), schema=SCHEMAS[name])

    def _videos(self) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = []
        for live in self._tables().values():
            facts = live.facts()
            for video, fact in zip(live.videos, facts.videos, strict=True):
                index = video.index
                rows.append(
                    {
                        "table_name": live.name,
                        "video": video.name,
                        "path": str(video.path),
                        "frames": fact.frames,
                        "seconds": fact.duration,
                        "fps": (fact.frames - 1) / fact.duration if fact.duration else None,
                        "width": fact.width,
                        "height": fact.height,
                        "codec": index.codec,
                        "keyframes": int(index.is_key.sum()),
                        "frames_cached": fact.cached,
                        "thumbnails": fact.thumbnails,
                        "seconds_skipped": float(sum(b - a for a, b in index.skipped)),
                        "detector": live.info.name,
                        "max_count": live.definition.max_count,
                        "content_hash": video.content_hash,
                    }
                )
        return rows

    def _detectors(self) -> list[dict[str, object]]:
        """Return the detectors that tables use, then those that any table could name."""
        rows: list[dict[str, object]] = []
        for live in self._tables().values():
            info, profile = live.info, live.facts().profile
            rows.append(
                {
                    "name": info.name,
                    "family": info.family,
                    "table_name": live.name,
                    "origin": "in use",
                    "classes": list(info.classes),
                    "input_width": info.input_width,
                    "input_height": info.input_height,
                    "confidence": info.confidence,
                    "iou": info.iou,
                    "slices": info.slices,
                    "seconds_per_frame": profile.detect_frame,
                    "measured": profile.measured,
                    "path": info.path,
                    "key": info.key,
                }
            )
        return [*rows, *_known_detectors()]

    def _setting_rows(self) -> list[dict[str, object]]:
        values = self._settings()
        return [
            {
                "name": f"foveal.{row.name}",
                "value": show(values[row.name]),
                "default_value": show(row.default),
                "meaning": row.meaning,
            }
            for row in SETTINGS.values()
        ]

    def _functions(self) -> list[dict[str, object]]:
        return [dict(row) for row in self._listed()]

    def _queries(self) -> list[dict[str, object]]:
        return [
            {
                "started": past.started,
                "sql": past.report.sql,
                "plan": past.report.plan_kind,
                "guarantee": past.report.guarantee,
                "estimate": past.report.estimate,
                "low": past.report.low,
                "high": past.report.high,
                "confidence": past.report.confidence,
                "target_met": past.report.target_met,
                "detector_calls": past.report.detector_calls,
                "frames_decoded": past.report.frames_decoded,
                "decode_seconds": past.report.seconds.get("decode"),
                "detect_seconds": past.report.seconds.get("detect"),
                "total_seconds": past.report.seconds.get("total"),
            }
            for past in self._past
        ]


def _known_detectors() -> list[dict[str, object]]:
    """Return the detectors that foveal can find by name; what is in them shows at first use."""
    from foveal.connectors import assets

    rows: list[dict[str, object]] = [{"name": "demo", "origin": "comes with foveal"}]
    for asset in assets.ASSETS:
        if asset.kind == "detector":
            found = assets.find(asset.name)
            rows.append(
                {
                    "name": asset.name.removesuffix(".onnx"),
                    "origin": f"download: {asset.url}" if found is None else "on this machine",
                    "path": str(found) if found is not None else None,
                }
            )
    return rows


def show(value: Value) -> str:
    """Return a setting's value as SHOW prints it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
