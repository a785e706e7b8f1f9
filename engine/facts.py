"""What planning needs to know of a statement's frames: counts, caches, groups, spread."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from foveal.engine.executor import Runtime, named
from foveal.engine.inference import object_batch
from foveal.engine.operators.frame_groups import frames_sql
from foveal.engine.recall import question, recall
from foveal.engine.relations import OBJECTS
from foveal.engine.search_facts import search_facts
from foveal.engine.selecting import selection_facts
from foveal.engine.substrate import bindings
from foveal.errors import FovealError
from foveal.planner.logical import (
    FrameAggregate,
    Frames,
    GapLimit,
    Logical,
    Project,
    SelectFrames,
    Track,
)
from foveal.planner.lower import Facts, needs_facts
from foveal.planner.protocols import FrameFacts
from foveal.planner.tree import walk

SPREAD_FRAMES = 2000
"""Cached frames looked at to guess how much the per-frame value varies."""
LEAST_SPREAD_FRAMES = 30


def gather(plan: Logical, runtime: Runtime) -> Facts:
    """Return the facts that `lower` asks for. Reads indexes and caches; decodes nothing."""
    found: dict[Logical, FrameFacts] = {}
    for node in walk(plan):
        if isinstance(node, Track) and node.classes:
            found[node] = _presence(node, runtime)
    for node in needs_facts(plan):
        if isinstance(node, Frames):
            found[node] = _frames(node, runtime)
    for node in needs_facts(plan):
        if isinstance(node, FrameAggregate):
            found[node] = _aggregate(node, runtime)
        elif isinstance(node, GapLimit):
            found[node] = search_facts(node, runtime)
        elif isinstance(node, SelectFrames):
            found[node] = selection_facts(node, runtime)
    return found


def _frames(node: Frames, runtime: Runtime) -> FrameFacts:
    table = runtime.tables[node.table]
    positions = runtime.positions(node.table, node.conjuncts)
    cached = int(table.processed()[positions].sum()) if len(positions) else 0
    if not len(positions):
        return FrameFacts(0, cached, 0)
    span = sum(int(frames[-1] - frames[0]) + 1 for _, frames in table.split(positions))
    return FrameFacts(len(positions), cached, table.keyframes(positions), span=span)


def _presence(node: Track, runtime: Runtime) -> FrameFacts:
    """Return as `mean` the share of some cached frames in which one of the classes was seen."""
    table = runtime.tables[node.table]
    processed = table.processed()
    cached = np.flatnonzero(processed)
    if len(cached) < LEAST_SPREAD_FRAMES:
        return FrameFacts(len(processed), len(cached), 1)
    wanted = [i for i, name in enumerate(table.info.classes) if name in node.classes]
    chosen = cached[np.linspace(0, len(cached) - 1, min(SPREAD_FRAMES, len(cached))).astype(int)]
    seen = 0
    for i, frames in table.split(np.unique(chosen)):
        stored = table.storage.detections.read(table.videos[i].content_hash, table.info.key, frames)
        mine = np.isin(stored.column("class").to_numpy(), wanted)
        seen += np.unique(stored.column("frame").to_numpy()[mine]).size
    return FrameFacts(len(processed), len(cached), 1, mean=seen / len(np.unique(chosen)))


def _aggregate(node: FrameAggregate, runtime: Runtime) -> FrameFacts:
    assert isinstance(node.frames, Frames)
    base = _frames(node.frames, runtime)
    groups = _groups(node, runtime) if node.keys else 1
    mean = deviation = None
    if not node.tolerance.exact and node.relation == "objects":
        values = _cached_values(node, runtime)
        if values is not None:
            mean, deviation = float(values.mean()), float(values.std(ddof=1))
    return FrameFacts(
        base.frames, base.cached, base.keyframes, groups, mean, deviation, _recalled(node, runtime)
    )


def _recalled(node: FrameAggregate, runtime: Runtime) -> bool:
    if node.tolerance.exact or node.relation != "objects":
        return False
    table = runtime.tables[node.table]
    asked = question(node, table, runtime.context.settings)
    return recall(asked, node.tolerance, table) is not None


def _groups(node: FrameAggregate, runtime: Runtime) -> int:
    """Return the number of groups of frames; 1 where it cannot be told before running."""
    if not all(key.frame_only for key in node.keys):
        return 1
    assert isinstance(node.frames, Frames)
    table = runtime.tables[node.table]
    positions = runtime.positions(node.table, node.frames.conjuncts)
    index = pa.Table.from_batches([table.frame_batch(positions, ("video", "frame", "ts"))])
    keys = ", ".join(f"({k.text})" for k in node.keys)
    try:
        with named(runtime.scratch, {"__frames": index}):
            sql = (
                f"SELECT count(*) FROM (SELECT DISTINCT {keys} FROM "
                f"{frames_sql(node.source, '__frames')})"
            )
            rows = runtime.scratch.rows(sql, bindings(sql, runtime.context.parameters))
    except FovealError:
        return 1  # a key that only the session's own macros or parameters explain
    return int(rows[0][0])


def _cached_values(node: FrameAggregate, runtime: Runtime) -> np.ndarray | None:
    """Return the per-frame counts of some cached frames, or None without enough of them."""
    assert isinstance(node.frames, Frames)
    assert isinstance(node.rows, Project)
    first = node.aggregates[0]
    if first.kind not in ("fcount", "count_star") or not all(c.pure for c in node.predicates):
        return None
    table = runtime.tables[node.table]
    positions = runtime.positions(node.table, node.frames.conjuncts)
    cached = positions[table.processed()[positions]]
    if len(cached) < LEAST_SPREAD_FRAMES:
        return None
    chosen = cached[np.linspace(0, len(cached) - 1, min(SPREAD_FRAMES, len(cached))).astype(int)]
    chosen = np.unique(chosen)
    parts = [object_batch(table, i, f, node.rows.columns) for i, f in table.split(chosen)]
    rows = pa.Table.from_batches(parts, schema=OBJECTS)
    where = " AND ".join(f"({c.text})" for c in node.predicates)
    source = node.source.sql.replace("{rows}", "__rows") + (f" WHERE {where}" if where else "")
    try:
        with named(runtime.scratch, {"__rows": rows}):
            sql = f"SELECT {first.call} FROM {source} GROUP BY video, frame"
            found = runtime.scratch.table(sql, bindings(sql, runtime.context.parameters))
    except FovealError:
        return None
    values = np.zeros(len(chosen))
    values[: found.num_rows] = found.column(0).to_numpy()
    return values
