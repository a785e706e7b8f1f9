"""SSD and the two-stage heads exported like it: boxes decoded from their anchors in the graph.

Four layouts. TensorFlow's detection API: detection_boxes [N, R, 4] (ymin, xmin, ymax, xmax, 0..1),
detection_scores [N, R], detection_classes [N, R] (COCO ids from 1), num_detections. The MLPerf and
ONNX model zoo SSD: bboxes [N, R, 4] (corners, 0..1), labels [N, R] from 1, scores [N, R].
torchvision: boxes [R, 4] in pixels, labels [R] (COCO ids), scores [R]. Anchors: boxes [N, A, 4]
(corners, 0..1) and scores [N, A, 1 + C], background first; only this one still needs suppression.

Source: Liu et al., "SSD", ECCV 2016; tensorflow/models object_detection `exporter.py`; onnx/models
ssd and ssd_mobilenet_v1; pytorch/vision; Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB. Which
mean and deviation a file wants differs: 0..255 goes in as it is for uint8 inputs, ImageNet's
normalisation otherwise, and the options mean, std and order change that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.udfs.detectors.family import Candidates, Family, Head, Outputs, Size, best_class
from foveal.udfs.detectors.picture import IMAGENET_MEAN, IMAGENET_STD, Picture

_TF = ("detection_boxes", "detection_scores", "detection_classes")


def _named(outputs: Outputs, name: str) -> npt.NDArray[Any]:
    """Return the output called `name`, with or without TensorFlow's `:0`."""
    return outputs[name] if name in outputs else outputs[f"{name}:0"]


def _read(outputs: Outputs, size: Size) -> Head | None:
    names = {name.removesuffix(":0") for name in outputs}
    if names >= set(_TF):
        return Head(size, 0, variant="tensorflow", labels="coco")
    if names >= {"bboxes", "labels", "scores"}:
        return Head(size, 0, variant="zoo", labels="one")
    if names >= {"boxes", "labels", "scores"} and outputs["boxes"].ndim == 2:
        return Head(size, 0, variant="torchvision", labels="coco", batched=False)
    if names == {"boxes", "scores"}:
        boxes, scores = outputs["boxes"], outputs["scores"]
        if boxes.ndim == scores.ndim == 3 and boxes.shape[:2] == scores.shape[:2]:
            return Head(size, scores.shape[2] - 1, variant="anchors", labels="zero")
    return None


def _decode(outputs: Outputs, head: Head, threshold: float) -> Iterator[Candidates]:
    sides = np.array([head.size.width, head.size.height] * 2, dtype=np.float32)
    if head.variant == "anchors":
        for boxes, table in zip(outputs["boxes"], outputs["scores"], strict=True):
            rows, scores, labels = best_class(table[:, 1:], threshold)
            yield Candidates(boxes[rows].astype(np.float32) * sides, scores, labels)
        return
    if head.variant == "tensorflow":
        triples = zip(*(_named(outputs, name) for name in _TF), strict=True)
        swap, scale = [1, 0, 3, 2], sides
    elif head.variant == "zoo":
        triples = zip(outputs["bboxes"], outputs["scores"], outputs["labels"], strict=True)
        swap, scale = [0, 1, 2, 3], sides
    else:
        triples = iter([(outputs["boxes"], outputs["scores"], outputs["labels"])])
        swap, scale = [0, 1, 2, 3], np.ones(4, dtype=np.float32)
    for boxes, scores, labels in triples:
        sure = scores >= np.float32(threshold)
        yield Candidates(
            boxes[sure][:, swap].astype(np.float32) * scale,
            scores[sure].astype(np.float32),
            labels[sure].astype(np.int32),
        )


FAMILY = Family(
    name="ssd",
    source="tensorflow/models object_detection exporter.py; onnx/models ssd; pytorch/vision",
    evidence="published",
    picture=Picture("stretch", mean=IMAGENET_MEAN, std=IMAGENET_STD),
    confidence=0.5,
    nms=True,
    read=_read,
    decode=_decode,
)
