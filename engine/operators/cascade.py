"""Cascade: the frames that a block selects, with error rates certified by few detector calls.

Blocking until every frame is decided; then the rows stream from the store. Memory: a few numbers
per frame. What was detected is kept whenever it ends, so that a later run goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foveal.engine import proxies
from foveal.engine.catalog.videos import LiveTable, Positions
from foveal.engine.executor import Runtime
from foveal.engine.flow import ProducedStream
from foveal.engine.inference import ensure, object_batch
from foveal.engine.operators.object_scan import CACHED_CHUNK, object_scan
from foveal.engine.operators.sample_aggregate import costs_of
from foveal.engine.relations import OBJECTS, assemble, constant
from foveal.engine.selecting import Mask, keep, question, recall, true_frames
from foveal.engine.substrate import ArrowStream
from foveal.planner.estimators import Costs
from foveal.planner.estimators.belief import Belief, by_score
from foveal.planner.estimators.selection import ACCEPTED, TRUE, SelectionResult, SelectionRun
from foveal.planner.lower.proxied import LEARN_LABELS, stored_for
from foveal.planner.physical import Cascade
from foveal.planner.protocols import ProxyFacts

RELEARN = 2.0
"""A proxy is trained again when so many times the labels are known."""
MOST_TRAINED = 3
"""Times that one statement trains."""


def cascade(node: Cascade, runtime: Runtime) -> ArrowStream:
    """Return the objects of the selected frames, or with `by_frame` a row for each of them."""
    if runtime.describe_only:
        return ProducedStream(OBJECTS, lambda: iter(()), runtime.context)
    if node.method in ("exact", "cached") and not node.by_frame:
        return object_scan(node.rows, runtime)  # the block's own text does the rest, as it streams
    table = runtime.tables[node.rows.table]
    positions = runtime.positions(node.rows.table, node.frames.conjuncts)
    report = runtime.context.report
    report.frames_total += len(positions)
    report.frames_cached += int(table.processed()[positions].sum())
    asked = question(node, table, runtime.context.settings)
    result = recall(asked, node, table, positions) if node.method == "recalled" else None
    if result is None:
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
    look = _Look(node, runtime, table, positions) if certified else None
    if look is not None:
        look.begin()
    known = table.processed()[positions]
    labels = np.zeros(len(positions), np.bool_)
    labels[known] = true_frames(node, table, positions[known], runtime)
    flat = by_score(np.zeros(len(positions)))
    run = SelectionRun(
        look.belief if look is not None and look.belief is not None else flat,
        known,
        labels,
        fnr=node.fnr if certified else None,
        fpr=node.fpr if certified else None,
        delta=1 - node.confidence,
        seed=node.seed,
        unseen=node.method == "cascade",
        costs=_costs(table, positions),
    )
    while (batch := run.next_batch()) is not None:
        ensure(table, positions[batch], context)
        run.add(true_frames(node, table, positions[batch], runtime))
        context.advance("select", run.looked, None)
        if look is not None and not run.finished and look.again():
            assert look.belief is not None
            run.believe(look.belief)
    return run.result()


class _Look:
    """The scores of a proxy for one selection: a stored one's, or of one trained on the way."""

    def __init__(
        self, node: Cascade, runtime: Runtime, table: LiveTable, positions: Positions
    ) -> None:
        self._node = node
        self._runtime = runtime
        self._table = table
        self._positions = positions
        self._learnt = 0
        self._trained = 0
        self.belief: Belief | None = None

    def begin(self) -> None:
        """Score every frame; first label some and train, where the plan says so."""
        assert self._node.quantity is not None
        stored = stored_for(self._node.quantity, self._table.facts())
        if stored is not None and stored.useful:
            self._use(stored)
        elif self._node.learns:
            processed = self._table.processed()[self._positions]
            missing = LEARN_LABELS - int(processed.sum())
            if missing > 0:
                ensure(self._table, self._spread(missing, processed), self._runtime.context)
            self._train()

    def again(self) -> bool:
        """Whether it looks anew, for there are many more labels now."""
        if not self._node.learns or self._trained >= MOST_TRAINED:
            return False
        labels = int(self._table.processed()[self._positions].sum())
        if labels < RELEARN * self._learnt:
            return False
        return self._train()

    def _train(self) -> bool:
        assert self._node.quantity is not None
        self._trained += 1
        self._learnt = int(self._table.processed()[self._positions].sum())
        facts = proxies.train(self._table, self._node.quantity, self._runtime)
        if not facts.useful:
            return False
        self._use(facts)
        return True

    def _use(self, facts: ProxyFacts) -> None:
        found = proxies.scores(self._table, facts, self._positions, self._runtime)
        self.belief = by_score(found.values.astype(np.float64))

    def _spread(self, count: int, processed: Mask) -> Positions:
        """Return one random frame that is not known of each of `count` equal intervals."""
        free = self._positions[~processed]
        count = min(count, len(free))
        edges = np.linspace(0, len(free), count + 1).astype(np.int64)
        generator = np.random.default_rng([self._node.seed, len(free)])
        return free[generator.integers(edges[:-1], edges[1:])]


def _costs(table: LiveTable, positions: Positions) -> Costs:
    """Return prices for batches that are places in `positions`."""
    prices = costs_of(table, table.facts(), detects=True)
    return replace(prices, decode=lambda places: prices.decode(positions[places]))


def _tell(node: Cascade, runtime: Runtime, result: SelectionResult) -> None:
    """Write what is certain of the answer on the report."""
    report = runtime.context.report
    report.confidence = node.confidence
    reached = {"fnr": result.fnr, "fpr": result.fpr}
    for name, value in reached.items():
        report.certified[name] = max(report.certified.get(name, 0.0), value)
    lower = {"recall": 1 - result.fnr, "precision": result.precision}
    for name, value in lower.items():
        report.certified[name] = min(report.certified.get(name, 1.0), value)
    if result.exact or (result.fnr == 0 and result.fpr == 0):
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
