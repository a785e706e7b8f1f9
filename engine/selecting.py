"""Which frames a block selects: labels by the block's own SQL, decisions kept for a question.

Decisions are recalled only for the question that they were made for: the same frames, detector,
predicates, confidence and seed, and rates no smaller than those they were asked to reach.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from foveal.engine.catalog.videos import LiveTable, Positions
from foveal.engine.executor import Runtime
from foveal.engine.inference import object_batch
from foveal.engine.recall import reads_model
from foveal.engine.relations import OBJECTS
from foveal.errors import FovealError
from foveal.planner.estimators.selection import SelectionResult
from foveal.planner.logical import Frames, Project, SelectFrames
from foveal.planner.lower.selection import THRESHOLDS
from foveal.planner.physical import Cascade, FrameScan, ObjectScan
from foveal.planner.protocols import FrameFacts
from foveal.settings import Value

Mask = npt.NDArray[np.bool_]

KNOWN_FRAMES = 4000
LEAST_FRAMES = 30
"""Cached frames looked at to guess the share of true ones, at most and at least."""
CHUNK = 8192
_KIND = "selections"


def true_frames(
    node: SelectFrames | Cascade,
    table: LiveTable,
    positions: Positions,
    runtime: Runtime,
    *,
    on_scratch: bool = False,
) -> Mask:
    """Return which of these frames (sorted positions, all with stored detections) are selected.

    Raises:
        FovealError: DuckDB cannot compute the block's conditions.
    """
    found = np.zeros(len(positions), np.bool_)
    assert isinstance(node.rows, Project | ObjectScan)
    columns = node.rows.columns
    name = runtime.fresh_name()
    where = " AND ".join(f"({c.text})" for c in node.predicates)
    sql = f"SELECT video, frame FROM {node.source.sql.replace('{rows}', name)}"
    sql += (f" WHERE {where}" if where else "") + " GROUP BY video, frame"
    sql += f" HAVING {node.having}" if node.having else ""
    videos = pa.array([v.name for v in table.videos], pa.string())
    for at in range(0, len(positions), CHUNK):
        runtime.context.check()
        chunk = positions[at : at + CHUNK]
        parts = [object_batch(table, i, frames, columns) for i, frames in table.split(chunk)]
        rows = pa.Table.from_batches(parts, schema=OBJECTS)
        shown = runtime.query(sql, {name: rows}, on_scratch=on_scratch)
        if shown.num_rows:
            video = pc.index_in(shown.column(0), value_set=videos).to_numpy()
            places = table.starts[video] + shown.column(1).to_numpy()
            found[at + np.searchsorted(chunk, places)] = True
    return found


def selection_facts(node: SelectFrames, runtime: Runtime) -> FrameFacts:
    """Return the share of true frames among cached ones as `mean`, and whether it was answered."""
    assert isinstance(node.frames, Frames)
    table = runtime.tables[node.table]
    positions = runtime.positions(node.table, node.frames.conjuncts)
    cached = positions[table.processed()[positions]] if len(positions) else positions
    asked = question(node, table, runtime.context.settings)
    recalled = recall(asked, node, table, positions) is not None
    mean = None
    if LEAST_FRAMES <= len(cached) < len(positions):
        chosen = cached[np.linspace(0, len(cached) - 1, min(KNOWN_FRAMES, len(cached))).astype(int)]
        chosen = np.unique(chosen)
        try:
            mean = float(true_frames(node, table, chosen, runtime, on_scratch=True).mean())
        except FovealError as error:
            if error.sqlstate in ("57014", "58030"):
                raise
            mean = None  # what only the session's own DuckDB knows is not known while planning
    return FrameFacts(len(positions), len(cached), 1, mean=mean, recalled=recalled)


def question(node: SelectFrames | Cascade, table: LiveTable, settings: Mapping[str, Value]) -> str:
    """Return what names the question without its rates."""
    frames = node.frames
    assert isinstance(frames, Frames | FrameScan)
    asked: dict[str, object] = {
        "videos": [[v.name, v.content_hash] for v in table.videos],
        "detector": table.info.key,
        "frames": [[c.alias, c.text] for c in frames.conjuncts],
        "source": node.source.sql,
        "predicates": [c.text for c in node.predicates],
        "having": node.having,
        "by_frame": node.by_frame,
        "confidence": node.confidence,
        "guarantee": settings["guarantee"],
        "seed": settings["seed"],
    }
    if reads_model([node.source.sql, node.having, *(c.text for c in node.predicates)]):
        asked["once"] = uuid.uuid4().hex  # what the model's file holds next time is not known
    return hashlib.blake2b(json.dumps(asked).encode(), digest_size=16).hexdigest()


def recall(
    asked: str, node: SelectFrames | Cascade, table: LiveTable, positions: Positions
) -> SelectionResult | None:
    """Return the decisions stored for the question with rates no larger, or None."""
    rates = (node.fnr or 0.0, node.fpr or 0.0)
    best: tuple[tuple[float, ...], str] | None = None
    for key in table.storage.artifacts.keys(_KIND):
        if not key.startswith(asked + "-"):
            continue
        stored = tuple(float(part) for part in key[len(asked) + 1 :].split("-r"))
        if all(s <= r for s, r in zip(stored, rates, strict=True)) and (
            best is None or stored > best[0]
        ):
            best = (stored, key)
    if best is None:
        return None
    kept = table.storage.artifacts.get(_KIND, best[1])
    if kept is None or kept.num_rows != len(positions) + 3:
        return None
    numbers = kept.column("value").to_numpy()
    return SelectionResult(
        numbers[3:].astype(np.int8), *(float(x) for x in numbers[:3]),
        looked=0, sampled=0, met=True, exact=False,
    )  # fmt: skip


def keep(asked: str, node: Cascade, table: LiveTable, result: SelectionResult) -> None:
    """Store the decisions of a question whose rates were reached, or were not to be bounded."""
    if result.exact or not (result.met or node.method == THRESHOLDS):
        return
    rates = "-r".join(repr(rate) for rate in (node.fnr or 0.0, node.fpr or 0.0))
    bounds = [result.fnr, result.fpr, result.precision]
    values = np.concatenate([bounds, result.decisions]).astype(np.float32)
    # float32 rounds: outwards, so that a bound stays one.
    values[:2] = np.minimum(np.nextafter(values[:2], np.float32(2)), 1)
    values[2] = np.nextafter(values[2], np.float32(-1))
    table.storage.artifacts.put(_KIND, f"{asked}-{rates}", pa.table({"value": pa.array(values)}))
