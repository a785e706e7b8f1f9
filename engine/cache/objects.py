"""The table of detected objects as it is stored: its columns, its order, picking frames from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from foveal.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt

    Frames = npt.NDArray[np.int64]

OBJECTS = pa.schema(
    [
        pa.field("frame", pa.int64(), nullable=False),
        pa.field("ordinal", pa.int32(), nullable=False),
        pa.field("class", pa.int32(), nullable=False),
        pa.field("confidence", pa.float32(), nullable=False),
        pa.field("xmin", pa.float32(), nullable=False),
        pa.field("ymin", pa.float32(), nullable=False),
        pa.field("xmax", pa.float32(), nullable=False),
        pa.field("ymax", pa.float32(), nullable=False),
    ]
)
"""Columns of `DetectionStore.read`."""

MAX_FRAMES = 2**28
"""Frames per video that the store takes: over 100 days at 30 frames per second."""


def checked_frames(frames: npt.ArrayLike) -> Frames:
    """Return the frame numbers as int64, sorted and unique.

    Raises:
        DataError: 22003, a number is negative or not below MAX_FRAMES.
    """
    checked = np.unique(np.asarray(frames, dtype=np.int64))
    if checked.size and (int(checked[0]) < 0 or int(checked[-1]) >= MAX_FRAMES):
        raise DataError(
            f"frame numbers run from 0 to {MAX_FRAMES - 1}, "
            f"got {int(checked[0])} to {int(checked[-1])}",
            sqlstate="22003",
            hint="split the video into shorter files",
        )
    return checked


def checked_objects(objects: pa.Table, frames: Frames) -> pa.Table:
    """Return the objects with the columns and types of OBJECTS, by frame and ordinal.

    Raises:
        DataError: 22000, a column is missing, of another kind or has NULLs, or an object lies in
            a frame that is not among `frames`.
    """
    missing = [name for name in OBJECTS.names if name not in objects.column_names]
    if missing:
        raise DataError(
            f"the objects lack the columns {', '.join(missing)}",
            hint="give " + ", ".join(OBJECTS.names),
        )
    chosen = objects.select(OBJECTS.names)
    if any(column.null_count for column in chosen.columns):
        raise DataError("a stored object may not have NULLs")
    try:
        table = chosen.cast(OBJECTS).combine_chunks()
    except (pa.ArrowInvalid, ValueError) as error:
        raise DataError(f"the objects have columns of a wrong type: {error}") from error
    of_row = frame_column(table)
    ordinals = table.column("ordinal").to_numpy()
    same = of_row[1:] == of_row[:-1]
    ordered = (of_row[1:] > of_row[:-1]) | (same & (ordinals[1:] > ordinals[:-1]))
    if not bool(ordered.all()):
        table = table.take(np.lexsort((ordinals, of_row)))
        of_row = frame_column(table)
    if not bool(np.isin(of_row, frames).all()):
        stray = int(of_row[~np.isin(of_row, frames)][0])
        raise DataError(f"an object lies in frame {stray}, which is not among the frames given")
    return table


def frame_column(table: pa.Table) -> Frames:
    """Return the frame of each row, int64 [rows]."""
    return np.asarray(table.column("frame").to_numpy(), dtype=np.int64)


def rows_of(table: pa.Table, frames: Frames) -> pa.Table:
    """Return the rows of the sorted `frames` from a table sorted by frame."""
    of_row = frame_column(table)
    first = np.searchsorted(of_row, frames, side="left")
    counts = np.searchsorted(of_row, frames, side="right") - first
    total = int(counts.sum())
    if total == table.num_rows:
        return table
    if total == 0:
        return table.slice(0, 0)
    start = int(first[0])
    if int(first[-1] + counts[-1]) - start == total:
        return table.slice(start, total)
    ends = np.cumsum(counts)
    rows = np.arange(total) + np.repeat(first - (ends - counts), counts)
    return table.take(rows)


def joined(pieces: list[pa.Table]) -> pa.Table:
    """Return the rows of tables that share no frame, each sorted, as one table sorted by frame."""
    pieces = [piece for piece in pieces if piece.num_rows]
    if not pieces:
        return OBJECTS.empty_table()
    table = pa.concat_tables(pieces)
    if len(pieces) > 1:
        of_row = frame_column(table)
        if bool((of_row[1:] < of_row[:-1]).any()):
            table = table.take(np.argsort(of_row, kind="stable"))
    return table.combine_chunks()
