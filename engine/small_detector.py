"""The table's detector at half its input, a cheap look: its detections kept, pooled per frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foveal.engine.catalog.videos import LiveTable, Positions, load_detector
from foveal.engine.executor import Runtime, named
from foveal.engine.inference import ensure, object_batch
from foveal.engine.relations import OBJECTS
from foveal.planner.protocols import Quantity

Singles = npt.NDArray[np.float32]

CONFIDENCES = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Confidences from which on objects are pooled; the first is all that is kept."""
STEP = 32
"""Inputs are multiples of this many pixels: what detectors with strides up to 32 take."""
CHUNK = 2048
_COLUMNS = ("video", "frame", "class", "confidence", "xmin", "ymin", "xmax", "ymax")
_smaller: WeakKeyDictionary[LiveTable, LiveTable] = WeakKeyDictionary()


def smaller(table: LiveTable) -> LiveTable:
    """Return the table as its detector sees it at half its input; detections are kept as its own.

    Raises:
        FovealError: the detector takes no other input than its own.
    """
    found = _smaller.get(table)
    if found is None:
        info, definition = table.info, table.definition
        height, width = (
            -(-side // 2 // STEP) * STEP for side in (info.input_height, info.input_width)
        )
        options = {**definition.options, "input": f"{width}x{height}", "slices": 0}
        options["confidence"] = CONFIDENCES[0]
        spec = str(options["detector"])
        given = {name: value for name, value in options.items() if name != "detector"}
        detector = load_detector(spec, given, threads=table.threads, device=table.device)
        found = table.under(replace(definition, options=options, detector=detector.info), detector)
        _smaller[table] = found
    return found


def look_seconds(table: LiveTable) -> float:
    """Return what a frame takes: decoded, and seen by the small detector, as measured so far."""
    profile = smaller(table).facts().profile
    return profile.decode_frame + profile.detect_frame


def pooled(
    table: LiveTable, quantity: Quantity, runtime: Runtime
) -> Callable[[Positions], Singles]:
    """Return what gives frames at sorted positions their features, float32 [n, 6].

    The quantity among the small detector's objects from each of CONFIDENCES on, and weighted by
    confidence. Its calls are not counted as the detector's.

    Raises:
        FovealError: as `smaller`.
    """
    small = smaller(table)
    conditions = [c for c in quantity.conditions if "confidence" not in c]
    where = " AND ".join(f"({c})" for c in conditions) or "true"
    sums = [f"sum({quantity.value}) FILTER (confidence >= {c})" for c in CONFIDENCES]
    sums.append(f"sum(({quantity.value}) * confidence)")
    columns = ", ".join(f"coalesce({s}, 0)::FLOAT AS f{i}" for i, s in enumerate(sums))
    sql = f"SELECT video, frame, {columns} FROM __small WHERE {where} GROUP BY video, frame"
    numbers = {video.name: i for i, video in enumerate(table.videos)}

    def features(positions: Positions) -> Singles:
        context = runtime.context
        calls, seconds = context.report.detector_calls, context.detect_seconds
        try:
            ensure(small, positions, context)
        finally:
            context.report.detector_calls, context.detect_seconds = calls, seconds
        out = np.zeros((len(positions), len(sums)), np.float32)
        for start in range(0, len(positions), CHUNK):
            chunk = positions[start : start + CHUNK]
            parts = [object_batch(small, i, f, _COLUMNS) for i, f in small.split(chunk)]
            rows = pa.Table.from_batches(parts, schema=OBJECTS)
            with named(runtime.scratch, {"__small": rows}):
                found = runtime.scratch.table(sql)
            if found.num_rows:
                videos = np.array([numbers[str(v)] for v in found.column("video").to_pylist()])
                at = table.starts[videos] + found.column("frame").to_numpy()
                for i in range(len(sums)):
                    out[start + np.searchsorted(chunk, at), i] = found.column(f"f{i}").to_numpy()
        return out

    return features


def offered(
    table: LiveTable, quantity: Quantity, runtime: Runtime
) -> dict[str, Callable[[Positions], Singles]]:
    """Return `pooled` under the family's name where the detector takes a smaller input, else {}.

    The detector is loaded when it is first asked for features, so that offering costs nothing.
    """
    from foveal.udfs.models.proxies.small_detector import NAME

    if not table.info.path and table.info.family == "torchvision":
        return {}
    made: list[Callable[[Positions], Singles]] = []

    def features(positions: Positions) -> Singles:
        if not made:
            made.append(pooled(table, quantity, runtime))
        return made[0](positions)

    return {NAME: features}
