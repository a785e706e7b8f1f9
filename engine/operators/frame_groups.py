"""Which frames an aggregate block averages over, and which result row each feeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foveal.engine.catalog.videos import Positions
from foveal.engine.executor import Runtime
from foveal.engine.substrate import ArrowStream
from foveal.planner.logical import Key, Source
from foveal.planner.physical import FrameScan
from foveal.planner.text import quote


@dataclass(frozen=True, slots=True)
class FrameGroups:
    """`positions` int64 [n], sorted; `group` int64 [n]; `keys`: a row per group, in group order."""

    positions: Positions
    group: npt.NDArray[np.int64]
    keys: pa.Table

    @property
    def count(self) -> int:
        """Number of groups."""
        return self.keys.num_rows


def frames_sql(source: Source, rows: str) -> str:
    """Return FROM and WHERE over the frames relation `rows`, level by level of the block."""
    sql = f"{rows} AS {quote(source.levels[0][0])}"
    for i, (_, conjuncts) in enumerate(source.levels):
        where = " AND ".join(f"({c.text})" for c in conjuncts)
        sql += f" WHERE {where}" if where else ""
        if i + 1 < len(source.levels):
            sql = f"(SELECT * FROM {sql}) AS {quote(source.levels[i + 1][0])}"
    return sql


def frame_groups(
    runtime: Runtime,
    scan: FrameScan,
    prefix: str,
    source: Source,
    keys: tuple[Key, ...],
    inputs: dict[str, ArrowStream],
) -> FrameGroups:
    """Return the block's frames, grouped by its keys, in order of first appearance.

    Without keys there is one group, even of no frame.
    """
    table = runtime.tables[scan.table]
    places = runtime.positions(scan.table, scan.conjuncts)
    index = pa.Table.from_batches([table.frame_batch(places, ("video", "frame", "ts"))])
    index = index.append_column("__place", pa.array(places))
    name = runtime.fresh_name()
    listed = "".join(f", ({k.text}) AS {k.column}" for k in keys)
    found = runtime.query(
        f"{prefix}SELECT __place{listed} FROM {frames_sql(source, name)} ORDER BY __place",
        {**inputs, name: index},
    )
    positions = found.column(0).to_numpy()
    if not keys:
        return FrameGroups(positions, np.zeros(len(positions), np.int64), pa.table({"": [0]}))
    names = [k.column for k in keys]
    values = found.select(names)
    numbered = values.append_column("__row", pa.array(np.arange(values.num_rows)))
    listed = ", ".join(names)
    ranked = runtime.query(
        "SELECT __row, dense_rank() OVER (ORDER BY first) - 1 AS g FROM (SELECT __row, "
        f"min(__row) OVER (PARTITION BY {listed}) AS first FROM __groups) ORDER BY __row",
        {"__groups": numbered},
        on_scratch=True,
    )
    group = ranked.column("g").to_numpy().astype(np.int64)
    _, first = np.unique(group, return_index=True)
    return FrameGroups(positions, group, values.take(pa.array(first, pa.int64())))
