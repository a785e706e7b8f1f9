"""PP-PicoDet: a generalised focal head per stride, or the same with its decoding in the graph.

Three layouts. Raw: for each stride a score map [N, cells, C], then for each a map [N, cells,
4 (reg + 1)] of distributions over the distance to each side, in strides. Decoded: boxes [N, A, 4]
(corners in pixels) and scores [N, C, A]. Suppressed: rows [R, 6] of class, score, corners, with the
count of rows; one picture at a time.

Source: Yu et al., "PP-PicoDet", arXiv 2111.00902; Li et al., "Generalized Focal Loss", NeurIPS
2020, section 3 (the distance is the distribution's mean); PaddlePaddle/PaddleDetection
`ppdet/modeling/heads/pico_head.py` and its ONNX demos. Pictures are stretched, RGB, ImageNet's
normalisation.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from foveal.udfs.detectors.boxes import Floats
from foveal.udfs.detectors.family import (
    Candidates,
    Family,
    Head,
    Outputs,
    Size,
    best_class,
    cell_count,
    grid,
)
from foveal.udfs.detectors.picture import IMAGENET_MEAN, IMAGENET_STD, Picture

_LEVELS = {3: (8, 16, 32), 4: (8, 16, 32, 64)}


def _read(outputs: Outputs, size: Size) -> Head | None:
    values = list(outputs.values())
    levels = len(values) // 2
    if len(values) == 2 * levels and levels in _LEVELS and all(v.ndim == 3 for v in values):
        strides = _LEVELS[levels]
        fits = all(
            values[k].shape[1] == values[levels + k].shape[1] == cell_count(size, (stride,))
            and values[levels + k].shape[2] % 4 == 0
            for k, stride in enumerate(strides)
        )
        if fits:
            return Head(size, values[0].shape[2], variant="raw", strides=strides)
    if len(values) == 2 and values[0].ndim == values[1].ndim == 3:
        boxes, scores = values
        if boxes.shape[2] == 4 and boxes.shape[1] == scores.shape[2]:
            return Head(size, scores.shape[1], variant="decoded")
    if values and values[0].ndim == 2 and values[0].shape[1] == 6:
        return Head(size, 0, variant="suppressed", batched=False)
    return None


def _distances(distribution: Floats) -> Floats:
    """Return float32 [n, 4]: the mean of each side's softmax over 0..reg, in strides."""
    logits = distribution.reshape(distribution.shape[0], 4, -1).astype(np.float32)
    weights = np.exp(logits - logits.max(axis=2, keepdims=True))
    places = np.arange(logits.shape[2], dtype=np.float32)
    return (weights @ places) / weights.sum(axis=2)


def _decode(outputs: Outputs, head: Head, threshold: float) -> Iterator[Candidates]:
    values = list(outputs.values())
    if head.variant == "suppressed":
        rows = values[0].astype(np.float32)
        if len(values) > 1:
            rows = rows[: int(values[1].reshape(-1)[0])]
        rows = rows[(rows[:, 1] >= np.float32(threshold)) & (rows[:, 0] >= 0)]
        yield Candidates(rows[:, 2:6], rows[:, 1], rows[:, 0].astype(np.int32))
        return
    if head.variant == "decoded":
        for boxes, table in zip(values[0], values[1], strict=True):
            rows, scores, labels = best_class(table.T, threshold)
            yield Candidates(boxes[rows].astype(np.float32), scores, labels)
        return
    cells, steps = grid(head.size, head.strides)
    levels = len(head.strides)
    for i in range(values[0].shape[0]):
        table = np.concatenate([level[i] for level in values[:levels]])
        sides = np.concatenate([level[i] for level in values[levels:]])
        rows, scores, labels = best_class(table, threshold)
        reach = _distances(sides[rows])
        centre = cells[rows] + np.float32(0.5)
        corners = np.concatenate((centre - reach[:, :2], centre + reach[:, 2:]), axis=1)
        yield Candidates(corners * steps[rows], scores, labels)


FAMILY = Family(
    name="picodet",
    source="PaddlePaddle/PaddleDetection pico_head.py, arXiv 2111.00902",
    evidence="published",
    picture=Picture("stretch", mean=IMAGENET_MEAN, std=IMAGENET_STD, interpolation="cubic"),
    confidence=0.5,
    nms=True,
    read=_read,
    decode=_decode,
)
