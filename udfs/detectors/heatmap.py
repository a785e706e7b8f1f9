"""Centre heat maps: outputs heatmap [N, C, h, w], size [N, 2, h, w] and offset [N, 2, h, w].

Source: Zhou et al., "Objects as Points", arXiv 1904.07850, sections 3 and 4: an object is a local
3 x 3 maximum of its class's map; its centre is (cell + offset) * stride, its sides are the size map
in input pixels. The map has been through its sigmoid. Pictures are stretched, RGB, 0..1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from foveal.udfs.detectors.boxes import Floats, from_centres
from foveal.udfs.detectors.family import Candidates, Family, Head, Outputs, Size
from foveal.udfs.detectors.picture import Picture


def _read(outputs: Outputs, size: Size) -> Head | None:
    if not {"heatmap", "size", "offset"} <= outputs.keys():
        return None
    heat = outputs["heatmap"]
    if heat.ndim != 4 or heat.shape[2] == 0 or size.height % heat.shape[2]:
        return None
    stride = size.height // heat.shape[2]
    if heat.shape[3] * stride != size.width:
        return None
    return Head(size, heat.shape[1], strides=(stride,))


def _neighbourhood_max(heat: Floats) -> Floats:
    """Return float32 [C, h, w]: the greatest value in each cell's 3 x 3 surroundings."""
    padded = np.pad(heat, ((0, 0), (1, 1), (1, 1)), constant_values=-1.0)
    rows = np.maximum(np.maximum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    return np.maximum(np.maximum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])


def _decode(outputs: Outputs, head: Head, threshold: float) -> Iterator[Candidates]:
    stride = np.float32(head.strides[0])
    for heat, sides, offset in zip(
        outputs["heatmap"], outputs["size"], outputs["offset"], strict=True
    ):
        peaks = (heat >= np.float32(threshold)) & (heat >= _neighbourhood_max(heat))
        labels, ys, xs = np.nonzero(peaks)
        box = np.empty((labels.size, 4), dtype=np.float32)
        box[:, 0] = (xs + offset[0, ys, xs]) * stride
        box[:, 1] = (ys + offset[1, ys, xs]) * stride
        box[:, 2] = sides[0, ys, xs]
        box[:, 3] = sides[1, ys, xs]
        yield Candidates(from_centres(box), heat[peaks], labels.astype(np.int32))


FAMILY = Family(
    name="heatmap",
    source="Objects as Points, arXiv 1904.07850",
    evidence="released",
    picture=Picture("stretch"),
    confidence=0.4,
    nms=True,
    read=_read,
    decode=_decode,
)
