"""Pictures in, detections out, through one ONNX file: place, run, decode, map back, suppress."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foveal.errors import OperationalError
from foveal.planner.protocols import Detections, DetectorInfo
from foveal.udfs.detectors.boxes import Ints, areas, best_first, suppress
from foveal.udfs.detectors.family import Candidates, Family, Head
from foveal.udfs.detectors.graph import Graph
from foveal.udfs.detectors.picture import Image, Picture, Placement, fitted
from foveal.udfs.detectors.slices import Region, cut_off, regions

MAX_BATCH = 8
"""Pictures and tiles given to the network at once: more only takes memory on a CPU."""


class OnnxDetector:
    """A detector from an ONNX file. Thread-safe, since it keeps no state between calls."""

    def __init__(
        self,
        info: DetectorInfo,
        graph: Graph,
        family: Family,
        head: Head,
        picture: Picture,
        label_to_class: Ints,
    ) -> None:
        """Keep the parts. `label_to_class` int32: the class of each label, -1 for none."""
        self._info = info
        self._graph = graph
        self._family = family
        self._head = head
        self._picture = picture
        self._label_to_class = label_to_class

    @property
    def info(self) -> DetectorInfo:
        """What this detector is."""
        return self._info

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return the detections of each picture (uint8 RGB [H, W, 3]), best first.

        Raises:
            OperationalError: 58030, the model fails on a picture.
        """
        tiles = [
            (i, region)
            for i, image in enumerate(images)
            for region in regions(image.shape[0], image.shape[1], self._info.slices)
        ]
        found: list[list[tuple[Region, Candidates]]] = [[] for _ in images]
        step = MAX_BATCH if self._graph.batched and self._head.batched else 1
        for start in range(0, len(tiles), step):
            chunk = tiles[start : start + step]
            parts = [images[i][r.top : r.bottom, r.left : r.right] for i, r in chunk]
            for (i, region), candidates in zip(chunk, self._run(parts), strict=True):
                found[i].append((region, candidates))
        return [self._merge(image, parts) for image, parts in zip(images, found, strict=True)]

    def _run(self, pictures: Sequence[Image]) -> list[Candidates]:
        """Return the candidates of each picture, boxes in the picture's pixels."""
        size = self._head.size
        placed: list[tuple[Image, Placement]] = [
            fitted(picture, size.height, size.width, self._picture) for picture in pictures
        ]
        tensor = self._graph.batch([image for image, _ in placed], self._picture)
        outputs = self._graph.run(tensor, size)
        try:
            decoded = list(self._family.decode(outputs, self._head, self._info.confidence))
        except (IndexError, ValueError) as error:
            raise OperationalError(
                f'the detector "{self._info.name}" answered in another layout than it showed',
                sqlstate="58030",
                detail=str(error),
            ) from error
        if len(decoded) != len(placed):
            raise OperationalError(
                f'the detector "{self._info.name}" answered for {len(decoded)} of '
                f"{len(placed)} pictures",
                sqlstate="58030",
            )
        return [
            Candidates(where.back(boxes), scores, labels)
            for (_, where), (boxes, scores, labels) in zip(placed, decoded, strict=True)
        ]

    def _merge(self, image: Image, parts: list[tuple[Region, Candidates]]) -> Detections:
        height, width = image.shape[:2]
        shifts = [np.array([r.left, r.top] * 2, dtype=np.float32) for r, _ in parts]
        boxes = np.concatenate([c.boxes + s for (_, c), s in zip(parts, shifts, strict=True)])
        scores = np.concatenate([c.scores for _, c in parts])
        labels = np.concatenate([c.labels for _, c in parts])
        known = (labels >= 0) & (labels < self._label_to_class.size)
        classes = np.where(known, self._label_to_class[np.where(known, labels, 0)], -1)
        cut = np.concatenate(
            [
                cut_off(c.boxes + s, r, height, width)
                for (r, c), s in zip(parts, shifts, strict=True)
            ]
        )
        limits = np.array([width, height] * 2, dtype=np.float32)
        boxes = np.clip(boxes, 0, limits).astype(np.float32)
        good = (
            (classes >= 0)
            & np.isfinite(boxes).all(axis=1)
            & (scores >= np.float32(self._info.confidence))
            & (areas(boxes) > 0)
        )
        boxes, scores, classes, cut = boxes[good], scores[good], classes[good], cut[good]
        if len(parts) > 1:
            kept = suppress(boxes, scores, classes, self._info.iou, cut=cut)
        elif self._family.nms:
            kept = suppress(boxes, scores, classes, self._info.iou)
        else:
            kept = best_first(scores)
        return Detections(
            np.ascontiguousarray(boxes[kept], dtype=np.float32),
            np.ascontiguousarray(np.minimum(scores[kept], 1.0), dtype=np.float32),
            np.ascontiguousarray(classes[kept], dtype=np.int32),
        )
