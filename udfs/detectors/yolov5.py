"""YOLOv5 and YOLOv7: [N, 3 anchors x cells, 5 + C], boxes decoded to input pixels in the graph.

Source: ultralytics/yolov5 `export.py` and `models/yolo.py` (Detect), and WongKinYiu/yolov7, whose
ONNX head is the same; letterbox in the middle in 114, RGB, 0..1. Score = objectness * class.
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

_ANCHORS = 3


def _read(outputs: Outputs, size: Size) -> Head | None:
    first, *rest = outputs.values()  # older exports add the undecoded levels behind
    if first.ndim != 3 or first.shape[2] < 6 or any(r.ndim != 5 for r in rest):
        return None
    strides = strides_for(first.shape[1], size, _ANCHORS)
    return Head(size, first.shape[2] - 5, strides=strides) if strides else None


def _decode(outputs: Outputs, head: Head, threshold: float) -> Iterator[Candidates]:
    for raw in next(iter(outputs.values())):
        sure = np.flatnonzero(raw[:, 4] >= np.float32(threshold))
        rows, scores, labels = best_class(raw[sure, 5:] * raw[sure, 4:5], threshold)
        boxes = raw[sure[rows], :4].astype(np.float32)
        yield Candidates(from_centres(boxes), scores, labels)


FAMILY = Family(
    name="yolov5",
    source="ultralytics/yolov5 export.py; WongKinYiu/yolov7",
    evidence="published",
    picture=Picture("centre"),
    confidence=0.25,
    nms=True,
    read=_read,
    decode=_decode,
)
