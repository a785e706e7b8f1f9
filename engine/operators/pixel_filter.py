"""PixelFilter: objects tested for cheap predicates first, then for those on pixels, in order.

Streaming; memory bound by one slice of objects and their pictures. The query above applies its
predicates again, and finds the answers of their functions known: what is dropped here, it would
drop as well. A predicate that cannot be tried here drops nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foveal.engine.executor import Runtime, named
from foveal.engine.flow import ProducedStream
from foveal.engine.relations import RELATIONS
from foveal.engine.substrate import ArrowStream, Substrate, bindings
from foveal.errors import FovealError
from foveal.planner.logical import Conjunct
from foveal.planner.physical import PixelFilter
from foveal.planner.pixel_order import PixelOrder, PixelStep, text_of, updated
from foveal.planner.text import quote

SLICE = 256
"""Objects tested at once: few enough that a LIMIT above stops the functions soon."""
PILOT = 32
"""Objects that every predicate is tried on where costs and shares are not known yet."""

Rows = npt.NDArray[np.int64]


def pixel_filter(node: PixelFilter, runtime: Runtime) -> ArrowStream:
    """Return the rows of the scan below that satisfy the predicates."""
    schema = RELATIONS[node.relation]
    stream = runtime.open(node.child)
    if runtime.describe_only:
        return stream

    def batches() -> Iterator[pa.RecordBatch]:
        sieve = PixelSieve(node.pixels, node.table, runtime)
        reader = pa.RecordBatchReader.from_stream(stream)
        for batch in reader:
            for part in sieve.parts(pa.Table.from_batches([batch])):
                yield from part.combine_chunks().to_batches()
        sieve.learn()

    return ProducedStream(schema, batches, runtime.context)


def sieved(
    rows: ArrowStream, pixels: PixelOrder | None, table: str, runtime: Runtime
) -> ArrowStream:
    """Return a relation's rows without those that the predicates drop."""
    if pixels is None or runtime.describe_only:
        return rows
    if isinstance(rows, pa.Table):
        sieve = PixelSieve(pixels, table, runtime)
        found = list(sieve.parts(rows))
        sieve.learn()
        return pa.concat_tables([rows.slice(0, 0), *found])
    assert isinstance(rows, ProducedStream)

    def batches() -> Iterator[pa.RecordBatch]:
        sieve = PixelSieve(pixels, table, runtime)
        for batch in pa.RecordBatchReader.from_stream(rows):
            for part in sieve.parts(pa.Table.from_batches([batch])):
                yield from part.combine_chunks().to_batches()
        sieve.learn()

    return ProducedStream(rows.schema, batches, runtime.context)


class PixelSieve:
    """Tests rows of one relation, slice by slice, and learns what its predicates cost and drop."""

    def __init__(self, pixels: PixelOrder, table: str, runtime: Runtime) -> None:
        """Take the order that the plan chose; a pilot may change it."""
        self._pixels = pixels
        self._steps: Sequence[PixelStep] = pixels.steps
        self._table = table
        self._runtime = runtime
        self._tested: dict[str, tuple[int, int]] = {}
        self._piloted: dict[str, tuple[int, int]] = {}
        self._pilots = len(pixels.steps) > 1 and not all(s.measured for s in pixels.steps)

    def parts(self, rows: pa.Table) -> Iterator[pa.Table]:
        """Yield the rows that satisfy every predicate, in order, slice by slice."""
        alive = np.arange(rows.num_rows, dtype=np.int64)
        for conjunct in self._pixels.cheap:
            alive = self._passing(rows, alive, conjunct)
        at = 0
        while at < len(alive):
            self._runtime.context.check()
            size = PILOT if self._pilots else SLICE
            part = alive[at : at + size]
            at += size
            if self._pilots:
                self._pilot(rows, part)
            for step in self._steps:
                tested = len(part)
                part = self._passing(rows, part, step.conjunct)
                self._count(step, tested, len(part))
            yield rows.take(pa.array(part, pa.int64()))

    def _pilot(self, rows: pa.Table, part: Rows) -> None:
        """Try every predicate on the same objects, and put the predicates into order."""
        self._pilots = False
        passes: dict[str, float] = {}
        for step in self._steps:
            # One more of each outcome than was seen: a handful of objects proves no 0 or 1.
            kept = len(self._passing(rows, part, step.conjunct))
            passes[text_of(step.conjunct)] = (kept + 1) / (len(part) + 2)
            self._piloted[step.source] = len(part), kept
        names = {name for step in self._steps for name in step.functions}
        pixels = self._runtime.pixels
        assert pixels is not None
        facts = pixels.facts(names, self._runtime.tables)
        self._steps = updated(self._steps, {n: f.seconds for n, f in facts.items()}, passes)

    def _passing(self, rows: pa.Table, part: Rows, conjunct: Conjunct) -> Rows:
        """Return the rows of `part` that satisfy a predicate."""
        if not len(part):
            return part
        context = self._runtime.context
        columns = [n for n in rows.column_names if n in conjunct.columns]
        batch = (
            rows.select(columns)
            .take(pa.array(part, pa.int64()))
            .append_column("__row", pa.array(part))
        )
        sql = f"SELECT __row FROM __objects AS {quote(conjunct.alias)} WHERE {conjunct.text}"
        try:
            with named(self._database(), {"__objects": batch}):
                found = self._database().table(sql, bindings(sql, context.parameters))
        except FovealError:
            if context.error is not None:
                raise
            return part  # only the user's own session can tell: it decides above
        return np.sort(found.column(0).to_numpy())

    def _database(self) -> Substrate:
        pixels = self._runtime.pixels
        assert pixels is not None
        return pixels.beside()

    def _count(self, step: PixelStep, tested: int, passed: int) -> None:
        before = self._tested.get(step.source, (0, 0))
        self._tested[step.source] = before[0] + tested, before[1] + passed
        steps = self._runtime.context.report.pixel_steps
        told = steps.get(step.source, (0, 0))
        steps[step.source] = told[0] + tested, told[1] + passed

    def learn(self) -> None:
        """Keep what share of the objects passed each predicate, for the next plan."""
        profiles = self._runtime.tables[self._table].storage.profiles
        key = self._runtime.tables[self._table].info.key
        for step in self._steps:
            unknown = self._piloted.get(step.source, (0, 0))
            tested, passed = self._tested.get(step.source, unknown)
            tested, passed = (tested, passed) if tested else unknown
            if tested:
                share = (passed + 1) / (tested + 2)
                profiles.averaged("passes", f"{key}|{text_of(step.conjunct)}", share)
