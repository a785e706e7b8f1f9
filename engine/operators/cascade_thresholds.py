"""A selection by thresholds alone: labels, a look at every frame, what is in doubt by the detector.

NoScope's cascade in its own terms (VLDB 2017): nothing is sampled to bound what was decided unseen.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from foveal.engine.catalog.videos import LiveTable, Positions
from foveal.engine.executor import Runtime
from foveal.engine.inference import ensure
from foveal.engine.operators.cascade_look import CascadeLook
from foveal.engine.selecting import Mask, true_frames
from foveal.planner.estimators.selection import SelectionResult
from foveal.planner.estimators.thresholds import ThresholdRun
from foveal.planner.lower.selection import (
    LABELS_GROW,
    LABELS_SHARE,
    THRESHOLD_LABELS,
    THRESHOLD_TRUE,
)
from foveal.planner.physical import Cascade


def by_thresholds(
    node: Cascade, runtime: Runtime, table: LiveTable, positions: Positions
) -> tuple[SelectionResult, int]:
    """Decide frames (sorted positions), and say how many calls labelled some to learn from.

    Frames of the table that are known already teach as well, asked for or not.
    """
    context = runtime.context
    before = context.report.detector_calls
    plain = len(node.source.levels) == 1
    judged = node
    wide = positions
    if plain:
        # Conditions on frames say which are asked for; the others are labelled by the rest.
        judged = replace(node, predicates=tuple(c for c in node.predicates if not c.frame_only))
        wide = np.union1d(positions, np.flatnonzero(table.processed()))
    known, labels = _label(judged, runtime, table, positions, wide)
    taught = context.report.detector_calls - before
    look = CascadeLook(node, runtime, table, wide)
    look.begin()
    begun = time.perf_counter()
    run = ThresholdRun(
        look.belief(),
        known,
        labels,
        np.isin(wide, positions),
        fnr=node.fnr,
        fpr=node.fpr if node.by_frame else None,
    )
    context.estimate_seconds += time.perf_counter() - begun
    while True:
        look.consider(run)
        batch = run.next_batch()
        if batch is None:
            break
        ensure(table, wide[batch], context)
        found = true_frames(judged, table, wide[batch], runtime)
        begun = time.perf_counter()
        run.add(found)
        context.estimate_seconds += time.perf_counter() - begun
        context.advance("select", run.looked, None)
    result = run.result()
    return replace(result, decisions=result.decisions[np.isin(wide, positions)]), taught


def _label(
    judged: Cascade, runtime: Runtime, table: LiveTable, positions: Positions, wide: Positions
) -> tuple[Mask, Mask]:
    """Label frames spread over time until enough are true; return what is known of `wide`."""
    labels = np.zeros(len(wide), np.bool_)
    known = np.zeros(len(wide), np.bool_)
    most = math.ceil(LABELS_SHARE * len(positions))
    bought = 0
    while True:
        fresh = table.processed()[wide] & ~known
        labels[fresh] = true_frames(judged, table, wide[fresh], runtime)
        known |= fresh
        count = int(known.sum())
        least = min(int(labels.sum()), count - int(labels.sum()))
        wanted = THRESHOLD_LABELS
        if count >= THRESHOLD_LABELS and least < THRESHOLD_TRUE:
            share = (THRESHOLD_TRUE + 1) / (least + 1)
            wanted = math.ceil(count * min(share, LABELS_GROW))
        missing = min(wanted - count, most - bought)
        if missing <= 0:
            return known, labels
        free = positions[~table.processed()[positions]]
        missing = min(missing, len(free))
        if not missing:
            return known, labels
        edges = np.linspace(0, len(free), missing + 1).astype(np.int64)
        generator = np.random.default_rng([judged.seed, count])
        ensure(table, free[generator.integers(edges[:-1], edges[1:])], runtime.context)
        bought += missing
