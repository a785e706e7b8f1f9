"""Cascade: the frames that a block selects, with error rates certified by few detector calls.

Blocking until every frame is decided; then the rows stream from the store. Memory: a few numbers
per frame. What was detected is kept whenever it ends, so that a later run goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foveal.engine.catalog.videos import LiveTable, Positions
from foveal.engine.executor import Runtime
from foveal.engine.flow import ProducedStream
from foveal.engine.inference import ensure, object_batch
from foveal.engine.operators.cascade_look import CascadeLook
from foveal.engine.operators.cascade_thresholds import by_thresholds
from foveal.engine.operators.object_scan import CACHED_CHUNK, object_scan
from foveal.engine.operators.sample_aggregate import costs_of
from foveal.engine.relations import OBJECTS, assemble, constant
from foveal.engine.selecting import keep, question, recall, true_frames
from foveal.engine.substrate import ArrowStream
from foveal.planner.estimators import Costs
from foveal.planner.estimators.belief import by_score
from foveal.planner.estimators.selection import (
    ACCEPTED,
    REJECTED,
    TRUE,
    SelectionResult,
    SelectionRun,
)
from foveal.planner.lower.selection import THRESHOLDS
from foveal.planner.physical import Cascade

ROUNDING = 1e-5
"""Stored bounds are float32, rounded outwards: by less than this."""


def cascade(node: Cascade, runtime: Runtime) -> ArrowStream:
    """Return the objects of the selected frames, or with `by_frame` a row for each of them."""
    if runtime.describe_only:
        return ProducedStream(OBJECTS, lambda: iter(()), runtime.context)
    if node.method in ("exact", "cached") and not node.by_frame:
        runtime.context.report.confidence = node.confidence
        _note(runtime, 0.0, 0.0, 1.0)
        return object_scan(node.rows, runtime)  # the block's own text does the rest, as it streams
    table = runtime.tables[node.rows.table]
    positions = runtime.positions(node.rows.table, node.frames.conjuncts)
    report = runtime.context.report
    report.frames_total += len(positions)
    report.frames_cached += int(table.processed()[positions].sum())
    asked = question(node, table, runtime.context.settings)
    result = recall(asked, node, table, positions) if node.method == "recalled" else None
    if result is None and node.method == THRESHOLDS:
        result, taught = by_thresholds(node, runtime, table, positions)
        calls = {"training": taught, "certificate": 0, "answer": result.looked}
        _count(runtime, calls)
        keep(asked, node, table, result)
    elif result is None:
        result = _select(node, runtime, table, positions)
        keep(asked, node, table, result)
    _tell(node, runtime, result)
    chosen = positions[(result.decisions == TRUE) | (result.decisions == ACCEPTED)]
    return ProducedStream(OBJECTS, lambda: _batches(node, table, chosen), runtime.context)


def _select(
    node: Cascade, runtime: Runtime, table: LiveTable, positions: Positions
) -> SelectionResult:
    """Decide every frame."""
    context = runtime.context
    certified = node.method in ("verify", "cascade")
    look = CascadeLook(node, runtime, table, positions) if certified else None
    before = context.report.detector_calls
    if look is not None:
        look.begin()
    taught = context.report.detector_calls - before
    known = table.processed()[positions]
    labels = np.zeros(len(positions), np.bool_)
    labels[known] = true_frames(node, table, positions[known], runtime)
    begun = time.perf_counter()
    run = SelectionRun(
        look.belief() if look is not None else by_score(np.zeros(len(positions))),
        known,
        labels,
        fnr=node.fnr if certified else None,
        fpr=node.fpr if certified else None,
        delta=1 - node.confidence,
        seed=node.seed,
        unseen=node.method == "cascade",
        costs=_costs(table, positions),
    )
    context.estimate_seconds += time.perf_counter() - begun
    while True:
        if look is not None:
            look.consider(run)
        begun = time.perf_counter()
        batch = run.next_batch()
        context.estimate_seconds += time.perf_counter() - begun
        if batch is None:
            result = run.result()
            drawn = min(result.sampled, result.looked)
            calls = {"training": taught, "certificate": drawn, "answer": result.looked - drawn}
            _count(runtime, calls)
            return result
        ensure(table, positions[batch], context)
        run.add(true_frames(node, table, positions[batch], runtime))
        context.advance("select", run.looked, None)


def _count(runtime: Runtime, calls: Mapping[str, int]) -> None:
    """Say on the report what the detector was called for."""
    kept = runtime.context.report.calls_for
    for name, number in calls.items():
        kept[name] = kept.get(name, 0) + number


def _costs(table: LiveTable, positions: Positions) -> Costs:
    """Return prices for batches that are places in `positions`."""
    prices = costs_of(table, table.facts(), detects=True)

    def decode(places: Positions) -> float:
        return prices.decode(positions[places])

    return replace(prices, decode=decode)


def _tell(node: Cascade, runtime: Runtime, result: SelectionResult) -> None:
    """Write what is certain of the answer on the report."""
    report = runtime.context.report
    report.confidence = node.confidence if report.guarantee != "none" else None
    _note(runtime, result.fnr, result.fpr, result.precision)
    if result.exact or (result.fnr == 0 and result.fpr == 0):
        return
    if result.fnr > (node.fnr or 0) + ROUNDING or result.fpr > (node.fpr or 0) + ROUNDING:
        report.guarantee, report.confidence, report.target_met = "none", None, False
        unseen = int(np.isin(result.decisions, (REJECTED, ACCEPTED)).sum())
        runtime.context.notice(
            f"thresholds on labelled frames decided {unseen} of {len(result.decisions)} frames "
            "unseen: nothing bounds FNR and FPR",
            severity="WARNING",
        )
        return
    if report.guarantee == "exact":
        report.guarantee = "finite"
    parts = [f"recall >= {100 * (1 - result.fnr):.4g} %"]
    if node.by_frame:
        parts.append(f"false positive rate <= {100 * result.fpr:.4g} %")
        parts.append(f"precision >= {100 * result.precision:.4g} %")
    runtime.context.notice(
        f"{', '.join(parts)} certified at {100 * node.confidence:g} %"
        + ("" if node.by_frame else "; every frame returned was looked at")
    )


def _note(runtime: Runtime, fnr: float, fpr: float, precision: float) -> None:
    """Keep the worst of the statement's selections."""
    kept = runtime.context.report.certified
    for name, value in (("fnr", fnr), ("fpr", fpr)):
        kept[name] = max(kept.get(name, 0.0), value)
    for name, value in (("recall", 1 - fnr), ("precision", precision)):
        kept[name] = min(kept.get(name, 1.0), value)


def _batches(node: Cascade, table: LiveTable, chosen: Positions) -> Iterator[pa.RecordBatch]:
    for at in range(0, len(chosen), CACHED_CHUNK):
        for i, frames in table.split(chosen[at : at + CACHED_CHUNK]):
            if node.by_frame:
                yield _frame_rows(table, i, frames)
            else:
                yield object_batch(table, i, frames, node.rows.columns)


def _frame_rows(table: LiveTable, i: int, frames: npt.NDArray[np.int64]) -> pa.RecordBatch:
    """Return one row per frame, with the columns that belong to the frame."""
    video = table.videos[i]
    columns = {
        "video": constant(video.name, len(frames)),
        "frame": pa.array(frames, pa.int64()),
        "ts": pa.array(video.index.ts[frames], pa.float64()),
    }
    return assemble(OBJECTS, len(frames), columns, tuple(columns))
