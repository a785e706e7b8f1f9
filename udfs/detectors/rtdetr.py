"""RT-DETR and D-FINE: a set of queries, each a box and its class scores; no suppression needed.

Three layouts. Deployed: outputs labels [N, Q], boxes [N, Q, 4] (corners in pixels of the size
given as `orig_target_sizes`) and scores [N, Q]. Raw: logits [N, Q, C] and pred_boxes [N, Q, 4]
(centre and sides, 0..1). Joint: one output [N, Q, 4 + C] of boxes (centre and sides, 0..1) and
class scores.

Source: Zhao et al., "DETRs Beat YOLOs on Real-time Object Detection", CVPR 2024, with
lyuwenyu/RT-DETR `tools/export_onnx.py` and `rtdetr_postprocessor.py`; Peng et al., "D-FINE", ICLR
2025, with Peterande/D-FINE (same outputs); the raw layout is that of Hugging Face transformers, the
joint one of Ultralytics. Pictures are stretched, RGB, 0..1.
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
    sigmoid,
)
from foveal.udfs.detectors.picture import Picture

_COCO_IDS = 91
_MOST_QUERIES = 1000


def _read(outputs: Outputs, size: Size) -> Head | None:
    if {"labels", "boxes", "scores"} <= outputs.keys():
        deployed = outputs["boxes"].ndim == 3 and outputs["scores"].ndim == 2
        return Head(size, 0, variant="deployed") if deployed else None
    if {"logits", "pred_boxes"} <= outputs.keys():
        classes = int(outputs["logits"].shape[-1])
        labels = "coco" if classes == _COCO_IDS else "zero"
        return Head(size, classes, variant="raw", labels=labels)
    if len(outputs) == 1:
        joint = next(iter(outputs.values()))
        if joint.ndim == 3 and joint.shape[2] >= 5 and joint.shape[1] <= _MOST_QUERIES:
            return Head(size, joint.shape[2] - 4, variant="joint")
    return None


def _decode(outputs: Outputs, head: Head, threshold: float) -> Iterator[Candidates]:
    sides = np.array([head.size.width, head.size.height] * 2, dtype=np.float32)
    if head.variant == "deployed":
        for labels, boxes, scores in zip(
            outputs["labels"], outputs["boxes"], outputs["scores"], strict=True
        ):
            sure = scores >= np.float32(threshold)
            yield Candidates(
                boxes[sure].astype(np.float32),
                scores[sure].astype(np.float32),
                labels[sure].astype(np.int32),
            )
    elif head.variant == "raw":
        for logits, boxes in zip(outputs["logits"], outputs["pred_boxes"], strict=True):
            joint = sigmoid(logits.astype(np.float32))
            queries, labels = np.nonzero(joint >= np.float32(threshold))
            corners = from_centres(boxes[queries].astype(np.float32)) * sides
            yield Candidates(corners, joint[queries, labels], labels.astype(np.int32))
    else:
        for table in next(iter(outputs.values())):
            rows, scores, labels = best_class(table[:, 4:], threshold)
            corners = from_centres(table[rows, :4].astype(np.float32)) * sides
            yield Candidates(corners, scores, labels)


FAMILY = Family(
    name="rtdetr",
    source="lyuwenyu/RT-DETR tools/export_onnx.py; Peterande/D-FINE",
    evidence="published",
    picture=Picture("stretch", interpolation="area"),
    confidence=0.5,
    nms=False,
    read=_read,
    decode=_decode,
)
