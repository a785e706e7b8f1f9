"""An ONNX classification model in, labels of pictures out.

The file is read like a detector's: into memory, with weights from its own folder alone. Its answer
is a score per label; scores that are no probabilities go through a softmax, which changes no order.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from foveal.errors import DataError, FovealError, OperationalError
from foveal.udfs.detectors.graph import Graph, read_file
from foveal.udfs.detectors.picture import IMAGENET_MEAN, IMAGENET_STD, Picture, fitted

Image = npt.NDArray[np.uint8]

VERSION = 1
"""Raise when any change here alters an answer: kept answers are keyed by it."""
_BATCH = 16


class Classifier:
    """A loaded classification model. `key` names its content; the same picture, the same label."""

    def __init__(self, path: Path, *, threads: int, device: str) -> None:
        """Open the file and find its labels.

        Raises:
            OperationalError: 58P01 or 58030, the file is missing, corrupt or fails.
            NotSupportedError: 0A000, it does not take one batch of pictures.
            DataError: 22023, it is no classification model, or its labels are not known.
        """
        try:
            file = read_file(path)
            self._graph = Graph(file, threads=threads, device=device)
        except FovealError as error:
            error.message = error.message.replace("detector file", "model file")
            error.args = (error.message,)
            raise
        size = self._graph.fixed_size
        if size is None:
            raise DataError(
                f'model file "{path}" leaves its input size open',
                sqlstate="22023",
                hint="export it with a fixed height and width, such as 224 x 224",
            )
        self._size = size
        metadata = self._graph.metadata
        self._how = Picture(
            "stretch",
            order="bgr" if metadata.get("foveal.order") == "bgr" else "rgb",
            mean=_triple(metadata.get("foveal.mean")) or IMAGENET_MEAN,
            std=_triple(metadata.get("foveal.std")) or IMAGENET_STD,
        )
        scores = self._scores([np.full((*size, 3), 114, np.uint8)])
        self.labels = _labels(path, metadata, scores.shape[1])
        self.key = f"{file.digest[:32]}-{VERSION}-{_digest(self.labels)}"

    def probabilities(self, images: Sequence[Image]) -> npt.NDArray[np.float64]:
        """Return float64 [n, labels], each row adding up to 1."""
        found = [np.zeros((0, len(self.labels)))]
        step = _BATCH if self._graph.batched else 1
        for at in range(0, len(images), step):
            scores = self._scores(images[at : at + step])
            sums = scores.sum(axis=1, keepdims=True)
            if (scores < 0).any() or not np.allclose(sums, 1, atol=1e-3):
                scores = np.exp(scores - scores.max(axis=1, keepdims=True))
                sums = scores.sum(axis=1, keepdims=True)
            found.append(scores / sums)
        return np.concatenate(found)

    def __call__(self, images: Sequence[Image]) -> list[str]:
        """Return the likeliest label of each picture; the first of equals."""
        return [self.labels[i] for i in self.probabilities(images).argmax(axis=1)]

    def _scores(self, images: Sequence[Image]) -> npt.NDArray[np.float64]:
        size = self._size
        ready = [fitted(image, size.height, size.width, self._how)[0] for image in images]
        outputs = self._graph.run(self._graph.batch(ready, self._how), size)
        name = next(iter(outputs))
        scores = np.asarray(outputs[name], np.float64)
        scores = scores.reshape(len(images), -1) if scores.size else scores
        if len(outputs) != 1 or scores.ndim != 2 or scores.shape[1] < 2:
            shapes = ", ".join(f"{k} {list(v.shape)}" for k, v in outputs.items())
            raise DataError(
                f'model file "{self._graph.path}" is no classification model',
                sqlstate="22023",
                detail=f"it answers {shapes}",
                hint="classify() takes a model with one output, a score per label",
            )
        if not np.isfinite(scores).all():
            raise OperationalError(
                f'model "{self._graph.path.name}" gave a score that is not a number',
                sqlstate="58030",
            )
        return scores


def _labels(path: Path, metadata: dict[str, str], count: int) -> tuple[str, ...]:
    """Return the labels from a .names file beside the model, or from its metadata."""
    beside = path.with_suffix(".names")
    if beside.is_file():
        try:
            names = beside.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f'labels "{beside}" cannot be read', sqlstate="22023", detail=str(error)
            ) from error
        while names and not names[-1].strip():
            names.pop()
        names = [name.strip() for name in names]
    else:
        names = _stated(metadata)
        if names is None:
            raise DataError(
                f'model file "{path}" does not name its {count} labels',
                sqlstate="22023",
                hint=f'write them, one a line, into "{beside.name}" beside it',
            )
    if len(names) != count:
        raise DataError(
            f'model file "{path}" scores {count} labels, but {len(names)} names are given',
            sqlstate="22023",
            hint="give one name per label, in the order of the model's scores",
        )
    return tuple(names)


def _stated(metadata: dict[str, str]) -> list[str] | None:
    """Return the labels under the keys foveal.classes (JSON) or names (a Python literal)."""
    try:
        stated: Any = json.loads(metadata["foveal.classes"])
    except (KeyError, ValueError):
        try:
            stated = ast.literal_eval(metadata.get("names", ""))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    if isinstance(stated, dict):
        table = cast("dict[object, object]", stated)
        stated = [table.get(i, table.get(str(i))) for i in range(len(table))]
    if not isinstance(stated, list | tuple):
        return None
    names = list(cast("list[object]", stated))
    return [str(n) for n in names] if names and all(isinstance(n, str) for n in names) else None


def _triple(text: str | None) -> tuple[float, float, float] | None:
    try:
        red, green, blue = (float(part) for part in (text or "").strip("[]() ").split(","))
    except ValueError:
        return None
    return red, green, blue


def _digest(labels: tuple[str, ...]) -> str:
    import hashlib

    return hashlib.blake2b(json.dumps(labels).encode(), digest_size=8).hexdigest()
