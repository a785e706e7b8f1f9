"""One file per physical node; `OPERATORS` says which function runs which node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from foveal.engine.executor import Runtime
from foveal.engine.operators.cascade import cascade
from foveal.engine.operators.exact_aggregate import exact_aggregate
from foveal.engine.operators.exact_selection import exact_selection
from foveal.engine.operators.frame_scan import frame_scan
from foveal.engine.operators.gap_limit_rows import gap_limit_rows
from foveal.engine.operators.object_scan import object_scan
from foveal.engine.operators.pixel_filter import pixel_filter
from foveal.engine.operators.sample_aggregate import sample_aggregate
from foveal.engine.operators.sample_tracks import sample_tracks
from foveal.engine.operators.sql_fragment import sql_fragment
from foveal.engine.operators.system_scan import system_scan
from foveal.engine.operators.track_scan import track_scan
from foveal.engine.substrate import ArrowStream
from foveal.planner.physical import (
    Cascade,
    ExactAggregate,
    ExactSelection,
    FrameScan,
    GapLimitRows,
    ObjectScan,
    Physical,
    PixelFilter,
    SampleAggregate,
    SampleTracks,
    SqlFragment,
    SystemScan,
    TrackScan,
)

OPERATORS: Mapping[type[Physical], Callable[[Any, Runtime], ArrowStream]] = {
    ObjectScan: object_scan,
    FrameScan: frame_scan,
    TrackScan: track_scan,
    SystemScan: system_scan,
    PixelFilter: pixel_filter,
    SqlFragment: sql_fragment,
    ExactAggregate: exact_aggregate,
    SampleAggregate: sample_aggregate,
    SampleTracks: sample_tracks,
    GapLimitRows: gap_limit_rows,
    ExactSelection: exact_selection,
    Cascade: cascade,
}
