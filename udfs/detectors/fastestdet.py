"""FastestDet: one map [N, 5 + C, H/16, W/16] of objectness, box and class scores.

Source: dog-qiuqiu/FastestDet (BSD-3-Clause), its onnx-runtime example and `handle_preds`: score =
objectness^0.6 * class^0.4; centre = (cell + tanh) / cells; sides = sigmoid, of the whole picture.
Pictures are stretched, BGR, 0..1. The class scores are a softmax made in the graph.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from foveal.udfs.detectors.boxes import from_centres
from foveal.udfs.detectors.family import (
    Candidates,
    Family,
    Head,
    Outputs,
    Size,
    best_class,
    grid,
    sigmoid,
)
from foveal.udfs.detectors.picture import Picture

STRIDE = 16


def _read(outputs: Outputs, size: Size) -> Head | None:
    if len(outputs) != 1:
        return None
    raw = next(iter(outputs.values()))
    if raw.ndim != 4 or raw.shape[1] < 6:
        return None
    if raw.shape[2:] != (size.height // STRIDE, size.width // STRIDE):
        return None
    return Head(size, raw.shape[1] - 5, strides=(STRIDE,))


def _decode(outputs: Outputs, head: Head, threshold: float) -> Iterator[Candidates]:
    cells, steps = grid(head.size, head.strides)
    sides = np.array([head.size.width, head.size.height], dtype=np.float32)
    for raw in next(iter(outputs.values())):
        flat = raw.reshape(raw.shape[0], -1).T.astype(np.float32)
        objectness = np.maximum(flat[:, :1], 0.0) ** np.float32(0.6)
        joint = objectness * np.maximum(flat[:, 5:], 0.0) ** np.float32(0.4)
        rows, scores, labels = best_class(joint, threshold)
        box = np.empty((rows.size, 4), dtype=np.float32)
        box[:, :2] = (cells[rows] + np.tanh(flat[rows, 1:3])) * steps[rows]
        box[:, 2:] = sigmoid(flat[rows, 3:5]) * sides
        yield Candidates(from_centres(box), scores, labels)


FAMILY = Family(
    name="fastestdet",
    source="dog-qiuqiu/FastestDet",
    evidence="released",
    picture=Picture("stretch", order="bgr", interpolation="area"),
    confidence=0.5,
    nms=True,
    read=_read,
    decode=_decode,
)
