"""Runs a physical plan: each node's operator gives an Arrow stream, fragments run in DuckDB."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from foveal.engine.catalog.videos import LiveTable, Positions
from foveal.engine.context import QueryContext
from foveal.engine.pixels import PixelFunctions
from foveal.engine.substrate import ArrowStream, Substrate, bindings
from foveal.errors import FovealError
from foveal.planner.logical import Conjunct
from foveal.planner.physical import AggregatePlan, NamedInput, Physical
from foveal.planner.text import quote


@dataclass(slots=True)
class Runtime:
    """What operators work with: the session's DuckDB, a scratch one, the live tables, the context.

    `describe_only`: give schemas with no row behind them, and run no detector.
    """

    substrate: Substrate
    scratch: Substrate
    tables: Mapping[str, LiveTable]
    context: QueryContext
    system: Callable[[str], pa.Table]
    describe_only: bool = False
    pixels: PixelFunctions | None = None
    selections: dict[tuple[str, tuple[str, ...]], Positions] = field(
        default_factory=dict[tuple[str, tuple[str, ...]], Positions]
    )
    _names: int = 0

    def open(self, node: Physical) -> ArrowStream:
        """Return the node's stream; nothing is computed before it is read, but for aggregates."""
        from foveal.engine.operators import OPERATORS

        operator: Callable[..., ArrowStream] = OPERATORS[type(node)]
        return operator(node, self)

    def positions(self, table: str, conjuncts: Collection[Conjunct]) -> Positions:
        """Return the sorted places of the frames that satisfy every (pure) conjunct.

        A conjunct that fails on the index alone (it calls a macro of the user's, say) prunes
        nothing: DuckDB applies it again above.
        """
        live = self.tables[table]
        key = (table, tuple(c.alias + "\0" + c.text for c in conjuncts))
        known = self.selections.get(key)
        if known is not None:
            return known
        every = np.arange(live.frames, dtype=np.int64)
        if conjuncts:
            index = pa.Table.from_batches([live.frame_batch(every, ("video", "frame", "ts"))])
            index = index.append_column("__place", pa.array(every))
            for conjunct in conjuncts:
                every = every[np.isin(every, self._matching(index, conjunct), assume_unique=True)]
        self.selections[key] = every
        return every

    def _matching(self, index: pa.Table, conjunct: Conjunct) -> Positions:
        with named(self.scratch, {"__frames": index}):
            try:
                sql = (
                    f"SELECT __place FROM __frames AS {quote(conjunct.alias)} WHERE {conjunct.text}"
                )
                found = self.scratch.table(sql, bindings(sql, self.context.parameters))
            except FovealError:
                return index.column("__place").to_numpy()
        return np.sort(found.column(0).to_numpy())

    def query(
        self, sql: str, inputs: Mapping[str, ArrowStream], *, on_scratch: bool = False
    ) -> pa.Table:
        """Run one SELECT of ours over named streams and return all of it."""
        database = self.scratch if on_scratch else self.substrate
        with named(database, inputs):
            return database.table(sql, bindings(sql, self.context.parameters))

    def fresh_name(self) -> str:
        """Return a table name that nothing else in the statement has."""
        self._names += 1
        return f"__fvx{self._names}"

    def materialised(self, inputs: tuple[NamedInput, ...]) -> dict[str, ArrowStream]:
        """Return the inputs by name, each to be read from the start as often as needed."""
        return {item.name: self._input(item.child) for item in inputs}

    def _input(self, node: Physical) -> ArrowStream:
        """Open an input; beside estimates stand their intervals."""
        from foveal.engine.intervals import beside

        if not isinstance(node, AggregatePlan) or node.tolerance.exact or self.describe_only:
            return self.open(node)
        self.context.report.intervals = None
        rows = self.open(node)
        assert isinstance(rows, pa.Table)
        return beside(node, rows, self.context.report.intervals)


@contextmanager
def named(database: Substrate, streams: Mapping[str, ArrowStream]) -> Generator[None]:
    """Let SQL see `streams` under their names for a while."""
    added: list[str] = []
    try:
        for name, stream in streams.items():
            database.register(name, stream)
            added.append(name)
        yield
    finally:
        database.connection.complete()
        for name in added:
            database.unregister(name)
