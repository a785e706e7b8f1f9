"""YOLOX: one anchor-free output [N, cells, 5 + C] over strides 8, 16, 32.

Source: Ge et al., "YOLOX: Exceeding YOLO Series in 2021", arXiv 2107.08430, section 2, and the
export and demo of Megvii-BaseDetection/YOLOX (letterbox at the top left in 114, BGR, 0..255). Files
exported with `--decode_in_inference` hold boxes in pixels already; which it is shows in the values.
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
    strides_for,
)
from foveal.udfs.detectors.picture import Picture


def _read(outputs: Outputs, size: Size) -> Head | None:
    if len(outputs) != 1:
        return None
    raw = next(iter(outputs.values()))
    if raw.ndim != 3 or raw.shape[2] < 6:
        return None
    strides = strides_for(raw.shape[1], size)
    if not strides:
        return None
    # Undecoded centres are offsets of about 0..1 from their own cell; decoded ones are pixels.
    cells, steps = grid(size, strides)
    centres = raw[0, :, :2].astype(np.float32)
    as_offsets = np.median(np.abs(centres - 0.5))
    as_pixels = np.median(np.abs(centres / steps - cells - 0.5))
    variant = "decoded" if as_pixels < as_offsets else "raw"
    return Head(size, raw.shape[2] - 5, variant=variant, strides=strides)


def _decode(outputs: Outputs, head: Head, threshold: float) -> Iterator[Candidates]:
    cells, steps = grid(head.size, head.strides)
    for raw in next(iter(outputs.values())):
        sure = np.flatnonzero(raw[:, 4] >= np.float32(threshold))  # a class never raises it
        rows, scores, labels = best_class(raw[sure, 5:] * raw[sure, 4:5], threshold)
        rows = sure[rows]
        boxes = raw[rows, :4].astype(np.float32)
        if head.variant == "raw":
            boxes[:, :2] = (boxes[:, :2] + cells[rows]) * steps[rows]
            boxes[:, 2:] = np.exp(np.minimum(boxes[:, 2:], 20.0)) * steps[rows]
        yield Candidates(from_centres(boxes), scores, labels)


FAMILY = Family(
    name="yolox",
    source="Megvii-BaseDetection/YOLOX, arXiv 2107.08430",
    evidence="released",
    picture=Picture("corner", order="bgr", std=(1.0, 1.0, 1.0)),
    confidence=0.3,
    nms=True,
    read=_read,
    decode=_decode,
)
