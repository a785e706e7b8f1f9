"""What sampled frames of a table contribute to its number of tracks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from foveal.engine.catalog.videos import LiveTable, Positions
from foveal.engine.context import QueryContext
from foveal.engine.tracks import sightings_of

if TYPE_CHECKING:
    from foveal.udfs.tracking.contributions import Contributions


class TrackTerms:
    """Gives for frames the sum of 1/L over their objects: see `Contributions`."""

    def __init__(
        self,
        table: LiveTable,
        classes: Sequence[str],
        groups: npt.NDArray[np.int64],
        context: QueryContext,
    ) -> None:
        """Take the table's frames with their groups: int64 [frames], -1 for those not asked for."""
        self._table = table
        self._context = context
        self._groups = groups
        self._labels = [table.info.classes.index(c) for c in classes if c in table.info.classes]
        self._parts: dict[tuple[int, int], Contributions] = {}

    def __call__(self, positions: Positions) -> npt.NDArray[np.float64]:
        """Return float64 [n, 1] for sorted positions."""
        out = np.zeros((len(positions), 1))
        at = 0
        for video, frames in self._table.split(positions):
            for label in self._labels:
                out[at : at + len(frames), 0] += self._part(video, label)(frames)
            at += len(frames)
        return out

    def _part(self, video: int, label: int) -> Contributions:
        from foveal.udfs.tracking.contributions import Contributions

        if (video, label) not in self._parts:
            sightings = sightings_of(self._table, video, label, self._context)
            mine = self._groups[self._table.starts[video] : self._table.starts[video + 1]]
            self._parts[video, label] = Contributions(sightings, mine)
        return self._parts[video, label]
