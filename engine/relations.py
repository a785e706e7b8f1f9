"""Stored detections and frame indexes as the relations that SQL sees: schemas and batches."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Column: TypeAlias = "pa.Array[Any]"  # quoted: the stubs alone know it as generic

HANDLE = pa.struct(
    [
        ("source", pa.string()),
        ("frame", pa.int64()),
        ("xmin", pa.float32()),
        ("ymin", pa.float32()),
        ("xmax", pa.float32()),
        ("ymax", pa.float32()),
    ]
)
"""A lazy picture: where its pixels are. Nothing is decoded until a pixel function reads it."""

MASK = pa.list_(pa.struct([("x", pa.float32()), ("y", pa.float32())]))

OBJECTS = pa.schema(
    [
        ("video", pa.string()),
        ("frame", pa.int64()),
        ("ts", pa.float64()),
        ("class", pa.string()),
        ("confidence", pa.float32()),
        ("xmin", pa.float32()),
        ("ymin", pa.float32()),
        ("xmax", pa.float32()),
        ("ymax", pa.float32()),
        ("mask", MASK),
        ("trackid", pa.int64()),
        ("content", HANDLE),
        ("features", pa.list_(pa.float32())),
    ]
)
FRAMES = pa.schema(
    [
        ("video", pa.string()),
        ("frame", pa.int64()),
        ("pts", pa.int64()),
        ("ts", pa.float64()),
        ("is_key", pa.bool_()),
        ("image", HANDLE),
    ]
)
TRACKS = pa.schema(
    [
        ("video", pa.string()),
        ("trackid", pa.int64()),
        ("class", pa.string()),
        ("first_frame", pa.int64()),
        ("last_frame", pa.int64()),
        ("first_ts", pa.float64()),
        ("last_ts", pa.float64()),
        ("frames", pa.int64()),
        ("confidence", pa.float32()),
    ]
)
RELATIONS: Mapping[str, pa.Schema] = {"objects": OBJECTS, "frames": FRAMES, "tracks": TRACKS}


def assemble(
    schema: pa.Schema, rows: int, columns: Mapping[str, Column], wanted: Collection[str]
) -> pa.RecordBatch:
    """Return a batch of the whole schema; columns that nobody reads are NULL."""
    arrays: list[Column] = []
    for i in range(len(schema)):
        field = cast("pa.Field[Any]", schema.field(i))
        if field.name in wanted and field.name in columns:
            arrays.append(columns[field.name].cast(field.type))
        else:
            arrays.append(cast("Column", pa.nulls(rows, field.type)))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def constant(text: str, rows: int) -> Column:
    """Return `rows` copies of `text`."""
    return pa.repeat(pa.scalar(text, pa.string()), rows)


def masks(boxes: npt.NDArray[np.float32]) -> Column:
    """Return each box [n, 4] as its four corners, clockwise from the top left."""
    xmin, ymin, xmax, ymax = boxes.T
    x = np.stack([xmin, xmax, xmax, xmin], axis=1).reshape(-1)
    y = np.stack([ymin, ymin, ymax, ymax], axis=1).reshape(-1)
    starts: npt.NDArray[np.int64] = np.arange(boxes.shape[0] + 1, dtype=np.int64) * 4
    offsets = pa.array(starts, pa.int32())
    points = pa.StructArray.from_arrays(
        [pa.array(x, pa.float32()), pa.array(y, pa.float32())], names=["x", "y"]
    )
    return pa.ListArray.from_arrays(offsets, points)


def handles(source: str, frames: npt.NDArray[np.int64], boxes: npt.NDArray[np.float32]) -> Column:
    """Return lazy pictures of the boxes [n, 4] in their frames."""
    columns = [pa.array(np.ascontiguousarray(boxes[:, i]), pa.float32()) for i in range(4)]
    return pa.StructArray.from_arrays(
        [constant(source, len(frames)), pa.array(frames, pa.int64()), *columns],
        fields=list(HANDLE),
    )


def box_array(table: pa.Table) -> npt.NDArray[np.float32]:
    """Return the stored boxes as float32 [n, 4]: xmin, ymin, xmax, ymax."""
    if table.num_rows == 0:
        return np.zeros((0, 4), np.float32)
    return np.stack(
        [table.column(n).to_numpy().astype(np.float32) for n in ("xmin", "ymin", "xmax", "ymax")],
        axis=1,
    )
