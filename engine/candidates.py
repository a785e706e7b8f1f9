"""The frames that a search may look at, in order of (video's name, place), and what they hold.

A block whose rows follow from single frames is evaluated on any set of frames: which of them give
a row, the rows themselves, and the counts that its condition is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foveal.engine.catalog.videos import LiveTable, Positions
from foveal.engine.executor import Runtime
from foveal.engine.inference import objects_at
from foveal.engine.proxies import labels
from foveal.engine.relations import OBJECTS
from foveal.planner.physical import FrameScan, GapLimitRows, ObjectScan
from foveal.planner.protocols import Quantity

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Frames by number of candidate: sorted by their video's name, then by place.

    `positions`: each one's position in the table. `videos`: a number per video, in order of
    names. `places`: the frame's number, or its ts in seconds.
    """

    positions: Positions
    videos: Ints
    places: Floats

    @classmethod
    def of(cls, table: LiveTable, positions: Positions, unit: str) -> Candidates:
        """Return the candidates at sorted positions; `unit` is frames or seconds."""
        names = [video.name for video in table.videos]
        rank = {name: i for i, name in enumerate(sorted(names))}
        parts: list[tuple[int, Positions, Floats]] = []
        for i, frames in table.split(positions):
            places = table.videos[i].index.ts[frames] if unit == "seconds" else frames
            parts.append((rank[names[i]], frames + table.starts[i], places.astype(np.float64)))
        parts.sort(key=lambda part: part[0])
        if not parts:
            return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        return cls(
            np.concatenate([p for _, p, _ in parts]),
            np.concatenate([np.full(len(p), r, np.int64) for r, p, _ in parts]),
            np.concatenate([at for _, _, at in parts]),
        )

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.positions)


class Block:
    """A block's text over frames of one scan."""

    def __init__(self, node: GapLimitRows, table: LiveTable, runtime: Runtime) -> None:
        """Take the search's node; its fragment has one input, a scan."""
        self._node, self._table, self._runtime = node, table, runtime
        scan = node.child.inputs[0].child
        assert isinstance(scan, ObjectScan | FrameScan)
        self._scan = scan
        self._input = node.child.inputs[0].name
        names = sorted(video.name for video in table.videos)
        self._video = {name: i for i, name in enumerate(names)}

    def rows(self, positions: Positions, objects: pa.RecordBatch | None = None) -> pa.Table:
        """Return the block's rows for frames at sorted positions, detected first where need be.

        `objects`: theirs, where they are at hand.
        """
        context = self._runtime.context
        if objects is not None:
            found = pa.Table.from_batches([objects], schema=OBJECTS)
        elif isinstance(self._scan, ObjectScan):
            found = objects_at(self._table, positions, self._scan.columns, context)
        else:
            found = pa.Table.from_batches([self._table.frame_batch(positions, self._scan.columns)])
        return self._runtime.query(self._node.child.text, {self._input: found})

    def places_of(self, candidates: Candidates, rows: pa.Table) -> tuple[Ints, Ints]:
        """Return (candidate, row) of each frame's first row, candidates ascending.

        The rows' last two columns name video and place; rows without a place belong to no frame.
        """
        line = rows.column(rows.num_columns - 1).cast(pa.float64()).to_numpy()
        row_of = np.flatnonzero(~np.isnan(line))
        if not len(row_of):
            return np.zeros(0, np.int64), row_of
        place = line[row_of]
        names = rows.column(rows.num_columns - 2).take(row_of).to_pylist()
        video = np.array([self._video[str(name)] for name in names], np.int64)
        first = np.searchsorted(candidates.videos, video)
        ends = np.searchsorted(candidates.videos, video, side="right")
        at = np.empty(len(row_of), np.int64)
        for number in np.unique(video):
            mine = video == number
            low, high = int(first[mine][0]), int(ends[mine][0])
            at[mine] = low + np.searchsorted(candidates.places[low:high], place[mine])
        unique, which = np.unique(at, return_index=True)
        return unique, row_of[which]

    def values(self, heads: Sequence[tuple[Quantity, float]], positions: Positions) -> Floats:
        """Return what frames with stored detections (sorted positions) count, [frames, heads]."""
        columns = [labels(self._table, q, positions, self._runtime) for q, _ in heads]
        return np.stack(columns, axis=1) if columns else np.zeros((len(positions), 0))
