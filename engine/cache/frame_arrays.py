"""A row of numbers per frame of a video, kept by what made it: scores, embeddings.

Rows are added in pieces, each a file of its own, so that a killed process loses at most the piece
in flight; many pieces are joined into one. Two processes may add at once: a frame that is in two
pieces has the same row in both.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foveal.engine.cache.artifacts import ArtifactStore

MOST_PIECES = 16
"""Pieces of one video and key, from which on they are joined."""

Frames = npt.NDArray[np.int64]


class FrameArrays:
    """Rows by (key, video content hash, frame), all of one `dtype`. As safe as `ArtifactStore`.

    A key is a digest or a plain word, without a slash.
    """

    def __init__(self, artifacts: ArtifactStore, kind: str, dtype: type[np.floating[Any]]) -> None:
        """Read nothing yet."""
        self._artifacts = artifacts
        self._kind = kind
        self._dtype = np.dtype(dtype)

    def read(
        self, key: str, video: str, frames: Frames
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]:
        """Return which of the sorted frames have a row, bool [n], and the rows [n, width].

        The width is 0 where nothing is stored; rows that are not there are 0.
        """
        known = np.zeros(len(frames), np.bool_)
        rows = np.zeros((len(frames), 0), self._dtype)
        for place in self._places(key, video):
            table = self._artifacts.get(self._kind, place)
            if table is None or not table.num_rows:
                continue
            stored = np.asarray(table.column("frame").to_numpy(), np.int64)
            at = np.searchsorted(frames, stored)
            inside = at < len(frames)
            inside[inside] = frames[at[inside]] == stored[inside]
            found = _rows(table, self._dtype)
            if rows.shape[1] != found.shape[1]:
                rows = np.zeros((len(frames), found.shape[1]), self._dtype)
            rows[at[inside]] = found[inside]
            known[at[inside]] = True
        return known, rows

    def add(self, key: str, video: str, frames: Frames, rows: npt.NDArray[Any]) -> None:
        """Keep the rows [n, width] of sorted frames durably.

        Raises:
            OperationalError: as `ArtifactStore.put`.
        """
        if not len(frames):
            return
        before = self._places(key, video)
        if len(before) >= MOST_PIECES:
            pieces = [self._artifacts.get(self._kind, place) for place in before]
            held = [(p.column("frame").to_numpy(), _rows(p, self._dtype)) for p in pieces if p]
            frames = np.concatenate([frames, *(f for f, _ in held)])
            rows = np.concatenate([rows, *(r for _, r in held)])
            frames, first = np.unique(frames, return_index=True)
            rows = rows[first]
        else:
            before = []
        flat = pa.array(np.ascontiguousarray(rows, self._dtype).reshape(-1))
        listed = cast("Any", pa.FixedSizeListArray).from_arrays(flat, rows.shape[1])
        table = pa.table({"frame": pa.array(frames, pa.int64()), "row": listed})
        place = f"{key}/{video}/{len(frames)}/{uuid.uuid4().hex}"
        self._artifacts.put(self._kind, place, table)
        for other in before:
            self._artifacts.drop(self._kind, other)

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Return how many rows there are by (key, video): a look at names, no file is opened."""
        counts: dict[tuple[str, str], int] = {}
        for place in self._artifacts.keys(self._kind):
            key, video, count, _ = place.split("/")
            counts[key, video] = counts.get((key, video), 0) + int(count)
        return counts

    def drop(self, key: str) -> None:
        """Delete all that is stored under a key."""
        for place in self._artifacts.keys(self._kind):
            if place.startswith(key + "/"):
                self._artifacts.drop(self._kind, place)

    def _places(self, key: str, video: str) -> list[str]:
        head = f"{key}/{video}/"
        return [place for place in self._artifacts.keys(self._kind) if place.startswith(head)]


def _rows(table: pa.Table, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    column = cast("Any", table.column("row").combine_chunks())
    flat = np.asarray(column.flatten().to_numpy(zero_copy_only=False), dtype)
    return flat.reshape(table.num_rows, -1)
