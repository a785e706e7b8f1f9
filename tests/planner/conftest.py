"""A snapshot made by hand, and a function that binds a statement under it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from foveal.planner.bind.binder import Bound, bind
from foveal.planner.parse.parser import parse
from foveal.planner.parse.statement import Query
from foveal.planner.protocols import DetectorInfo, Profile, Snapshot, VideoFacts, VideoTable

BindSql = Callable[..., Bound]


@pytest.fixture(scope="session")
def bound_snapshot() -> Snapshot:
    """A video table `street` of two videos; the parameters are $1 to $3."""
    videos = (
        VideoFacts("a.mp4", 900, 90.0, 96, 64, 12.0, 0),
        VideoFacts("b.mp4", 600, 60.0, 96, 64, 12.0, 0),
    )
    detector = DetectorInfo("pool", "heatmap", "k", ("car", "bus"), 64, 96, confidence=0.4)
    profile = Profile(decode_frame=0.001, seek=0.006, detect_frame=0.04)
    return Snapshot(
        video_tables={"street": VideoTable("street", detector, 20, videos, profile)},
        system_tables={"videos": ("table_name", "video")},
        parameters={"1": 0.25, "2": "car", "3": 5},
    )


@pytest.fixture(scope="session")
def bind_sql(bound_snapshot: Snapshot) -> BindSql:
    """Bind a statement; a second argument is the snapshot to bind it under."""

    def bound(sql: str, snapshot: Snapshot = bound_snapshot) -> Bound:
        query = parse(sql, snapshot.names() | {"foveal"})
        assert isinstance(query, Query)
        return bind(query, snapshot)

    return bound
