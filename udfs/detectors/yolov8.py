"""YOLOv8, v9, v10, v11 and their kin: [N, 4 + C, cells], or [N, rows, 6] with suppression inside.

Source: ultralytics/ultralytics `nn/modules/head.py` (Detect) and `engine/exporter.py`: boxes are
centre, width, height in input pixels, class scores are sigmoids, there is no objectness. Files of
YOLOv10, or exported with `nms=True`, hold rows of xmin, ymin, xmax, ymax, score, class. Letterbox
in the middle in 114, RGB, 0..1. Their metadata name the classes (`names`) and the size (`imgsz`).
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
    strides_for,
)
from foveal.udfs.detectors.picture import Picture


def _read(outputs: Outputs, size: Size) -> Head | None:
    if len(outputs) != 1:
        return None
    raw = next(iter(outputs.values()))
    if raw.ndim != 3:
        return None
    strides = strides_for(raw.shape[2], size)
    if strides and raw.shape[1] >= 5:
        return Head(size, raw.shape[1] - 4, variant="raw", strides=strides)
    if raw.shape[2] == 6:
        return Head(size, 0, variant="rows")
    return None


def _decode(outputs: Outputs, head: Head, threshold: float) -> Iterator[Candidates]:
    for raw in next(iter(outputs.values())):
        if head.variant == "rows":
            rows = raw[raw[:, 4] >= np.float32(threshold)].astype(np.float32)
            yield Candidates(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32))
            continue
        table = raw.T
        rows, scores, labels = best_class(table[:, 4:], threshold)
        boxes = table[rows, :4].astype(np.float32)
        yield Candidates(from_centres(boxes), scores, labels)


FAMILY = Family(
    name="yolov8",
    source="ultralytics/ultralytics nn/modules/head.py, engine/exporter.py",
    evidence="published",
    picture=Picture("centre"),
    confidence=0.25,
    nms=True,
    read=_read,
    decode=_decode,
)
