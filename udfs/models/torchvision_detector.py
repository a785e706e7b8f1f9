"""torchvision's own detectors: a builder's name in, a `Detector` out (needs the torchvision extra).

Source: pytorch/vision `torchvision.models.detection`: a model takes float RGB pictures of 0..1 of
any size, and answers boxes in the picture's pixels, scores, and COCO's category ids from 1. Its
weights, trained on COCO, are downloaded by torchvision on first use and kept in torch's cache.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from foveal.errors import DataError, OperationalError, ProgrammingError, did_you_mean
from foveal.planner.protocols import Detections, DetectorInfo
from foveal.udfs.detectors import coco
from foveal.udfs.detectors.boxes import Ints, best_first
from foveal.udfs.detectors.options import Options
from foveal.udfs.detectors.picture import Image

BUILDERS = (
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
)
"""The box detectors of torchvision with weights trained on COCO."""

CONFIDENCE = 0.5


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise OperationalError(
            f"torchvision detectors need {name.partition('.')[0]}, which is not installed",
            hint="pip install 'foveal[torchvision]'",
        ) from error


def load(name: str, options: Options, *, threads: int, device: str) -> TorchvisionDetector:
    """Return torchvision's detector called `name`, with its COCO weights.

    Raises:
        OperationalError: 58000, torchvision is not installed or cuda is not there; 58030, the
            weights cannot be fetched.
        ProgrammingError: 42704, there is no such builder.
        DataError: 22023, an option that a torchvision model does not take.
    """
    if name not in BUILDERS:
        raise ProgrammingError(
            f'unknown torchvision detector "{name}"',
            sqlstate="42704",
            hint=did_you_mean(name, BUILDERS) or "choose one of " + ", ".join(BUILDERS),
        )
    for option in ("family", "classes", "input", "order", "mean", "std"):
        if getattr(options, option) is not None:
            raise DataError(
                f"a torchvision detector takes no option {option}",
                sqlstate="22023",
                hint="it takes confidence and iou; the rest comes with its weights",
            )
    if options.slices:
        raise DataError(
            "a torchvision detector takes no option slices",
            sqlstate="22023",
            hint="export it to ONNX to look at tiles",
        )
    torch = _module("torch")
    detection = _module("torchvision.models.detection")
    weights = _module("torchvision.models").get_model_weights(name).DEFAULT
    if device == "cuda" and not torch.cuda.is_available():
        raise OperationalError("torch finds no cuda device", hint="SET foveal.device = 'cpu'")
    confidence = CONFIDENCE if options.confidence is None else options.confidence
    # Each family of builders has its own names for the two thresholds; unknown ones are ignored.
    prefix = "box_" if name.startswith("fasterrcnn") else ""
    thresholds = {f"{prefix}score_thresh": confidence, f"{prefix}nms_thresh": options.iou}
    try:
        model = getattr(detection, name)(weights=weights, **thresholds)
    except (OSError, RuntimeError) as error:
        raise OperationalError(
            f'the weights of torchvision detector "{name}" cannot be loaded',
            sqlstate="58030",
            detail=str(error),
        ) from error
    if threads > 0:
        torch.set_num_threads(threads)
    # SSDs stretch to one size; the others bring the short side to one and bound the long one.
    resize = model.transform
    fixed = getattr(resize, "fixed_size", None)  # width, height
    height, width = fixed[::-1] if fixed else (int(resize.min_size[-1]), int(resize.max_size))
    key = f"{weights.url}\n{confidence!r}\n{options.iou!r}"
    info = DetectorInfo(
        name=f"torchvision:{name}",
        family="torchvision",
        key=hashlib.sha256(key.encode()).hexdigest(),
        classes=coco.NAMES,
        input_height=height,
        input_width=width,
        confidence=confidence,
        iou=options.iou,
        path=str(weights.url),
    )
    return TorchvisionDetector(info, model.to(device).eval(), device)


def _label_to_class() -> Ints:
    table = np.full(max(coco.CATEGORY_IDS) + 1, -1, dtype=np.int32)
    table[list(coco.CATEGORY_IDS)] = np.arange(len(coco.NAMES), dtype=np.int32)
    return table


class TorchvisionDetector:
    """A torchvision model in inference mode; torch modules may be called by many threads then."""

    def __init__(self, info: DetectorInfo, model: Any, device: str) -> None:
        """Keep the parts; `model` is a torchvision detection module, already on `device`."""
        self._info = info
        self._model = model
        self._device = device
        self._torch = _module("torch")
        self._table = _label_to_class()

    @property
    def info(self) -> DetectorInfo:
        """What this detector is."""
        return self._info

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return the detections of each picture (uint8 RGB [H, W, 3]), best first.

        Raises:
            OperationalError: 58030, the model fails on a picture.
        """
        torch = self._torch
        batch = [
            torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
            .to(self._device)
            .float()
            .div(255)
            for image in images
        ]
        try:
            with torch.inference_mode():
                answers: list[dict[str, Any]] = self._model(batch)
        except RuntimeError as error:
            raise OperationalError(
                f'the detector "{self._info.name}" failed on a picture',
                sqlstate="58030",
                detail=str(error),
            ) from error
        return [self._detections(answer) for answer in answers]

    def _detections(self, answer: dict[str, Any]) -> Detections:
        boxes = answer["boxes"].cpu().numpy().astype(np.float32).reshape(-1, 4)
        scores = answer["scores"].cpu().numpy().astype(np.float32)
        labels = answer["labels"].cpu().numpy()
        known = (labels >= 0) & (labels < self._table.size)
        classes = np.where(known, self._table[np.where(known, labels, 0)], -1).astype(np.int32)
        good = (classes >= 0) & (scores >= np.float32(self._info.confidence))
        order = np.flatnonzero(good)[best_first(scores[good])]
        return Detections(boxes[order], scores[order], classes[order])
