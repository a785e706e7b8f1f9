"""The rows of `foveal.proxies`: every specialised model of the database's tables."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa

from foveal.engine.catalog.videos import LiveTable

_TEXT, _INT, _REAL, _FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()

PROXIES = pa.schema(
    [
        ("name", _TEXT), ("table_name", _TEXT), ("quantity", _TEXT), ("family", _TEXT),
        ("useful", _FLAG), ("why", _TEXT), ("labels", _INT), ("positives", _INT), ("r2", _REAL),
        ("r2_time", _REAL), ("r2_near", _REAL), ("r2_time_near", _REAL), ("near_share", _REAL),
        ("residual", _REAL), ("deviation", _REAL), ("train_seconds", _REAL),
        ("score_seconds_per_frame", _REAL), ("frames_scored", _INT), ("frames", _INT),
        ("seed", _INT), ("labels_hash", _TEXT), ("key", _TEXT),
        ("created", pa.timestamp("us", "UTC")),
    ]
)  # fmt: skip


def proxy_rows(tables: Mapping[str, LiveTable]) -> list[dict[str, object]]:
    """Return a row for each model of each table, by table and name."""
    rows: list[dict[str, object]] = []
    for name, live in tables.items():
        stored = {(p.key, p.name): p for p in live.storage.proxies.find(name, live.info.key)}
        for facts in live.facts().proxies:
            proxy = stored[facts.key, facts.name]
            fitted = proxy.fitted
            rows.append(
                {
                    "name": proxy.name,
                    "table_name": live.name,
                    "quantity": facts.quantity.text,
                    "family": facts.family,
                    "useful": facts.useful,
                    "why": facts.why,
                    "labels": facts.labels,
                    "positives": facts.positives,
                    "r2": facts.r2,
                    "r2_time": facts.r2_time,
                    "r2_near": fitted.r2_near,
                    "r2_time_near": fitted.r2_time_near,
                    "near_share": fitted.near_share,
                    "residual": facts.residual,
                    "deviation": facts.deviation,
                    "train_seconds": facts.train_seconds,
                    "score_seconds_per_frame": facts.score_frame,
                    "frames_scored": facts.scored,
                    "frames": live.frames,
                    "seed": fitted.seed,
                    "labels_hash": proxy.labels_hash,
                    "key": facts.key,
                    "created": datetime.fromisoformat(proxy.created),
                }
            )
    return rows
