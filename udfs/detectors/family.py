"""What a family of detectors is: how it wants its picture, and how its outputs become boxes.

One file per family builds one `Family`; `FAMILIES` in the package's `__init__` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from foveal.udfs.detectors.boxes import Floats, Ints
from foveal.udfs.detectors.picture import Picture

Outputs = Mapping[str, npt.NDArray[Any]]
"""Every output of one run, by name, in the file's order. The first axis is the batch."""


class Size(NamedTuple):
    """A network's input, in pixels."""

    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Head:
    """What was found out about one file's outputs.

    `classes`: how many the head scores, 0 if the outputs do not tell. `labels`: how a label counts:
    from 0, from 1 (0 is the background), or as COCO's ids 1..90. `strides`: input pixels per cell.
    `variant`: which of its family's layouts. `batched`: the outputs keep the batch axis.
    """

    size: Size
    classes: int
    variant: str = ""
    strides: tuple[int, ...] = ()
    labels: Literal["zero", "one", "coco"] = "zero"
    batched: bool = True


class Candidates(NamedTuple):
    """What one picture may hold: boxes float32 [n, 4] in input pixels, scores, labels."""

    boxes: Floats
    scores: Floats
    labels: Ints


@dataclass(frozen=True, slots=True)
class Family:
    """One family of detectors.

    `read` returns the head of outputs it knows, else None. `decode` yields the candidates of each
    picture of a batch that score at least the threshold. `nms`: its boxes still need suppression.
    `evidence`: released = run on a released file; published = written from its publisher's layout
    and tested on graphs of that layout, not yet run on a released file.
    """

    name: str
    source: str
    evidence: Literal["released", "published"]
    picture: Picture
    confidence: float
    nms: bool
    read: Callable[[Outputs, Size], Head | None]
    decode: Callable[[Outputs, Head, float], Iterable[Candidates]]


def grid(size: Size, strides: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Return cells float32 [n, 2] (x, y) and strides float32 [n, 1], level after level, by rows."""
    cells: list[Floats] = []
    steps: list[Floats] = []
    for stride in strides:
        rows, columns = size.height // stride, size.width // stride
        ys, xs = np.divmod(np.arange(rows * columns), max(columns, 1))
        cells.append(np.stack((xs, ys), axis=1).astype(np.float32))
        steps.append(np.full((rows * columns, 1), stride, dtype=np.float32))
    return np.concatenate(cells), np.concatenate(steps)


def cell_count(size: Size, strides: tuple[int, ...]) -> int:
    """Return how many cells the levels have together."""
    return sum((size.height // s) * (size.width // s) for s in strides)


def strides_for(anchors: int, size: Size, per_cell: int = 1) -> tuple[int, ...]:
    """Return the strides whose cells number `anchors` with `per_cell` each, or () if none do."""
    for strides in ((8, 16, 32), (8, 16, 32, 64)):
        if cell_count(size, strides) * per_cell == anchors:
            return strides
    return ()


def best_class(scores: Floats, threshold: float) -> tuple[npt.NDArray[np.int64], Floats, Ints]:
    """Return rows of scores [n, C] whose best class reaches `threshold`, that score and class."""
    best = scores.max(axis=1)
    rows = np.flatnonzero(best >= np.float32(threshold))
    return rows, best[rows].astype(np.float32), scores[rows].argmax(axis=1).astype(np.int32)


def sigmoid(x: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)) without overflow."""
    return (0.5 * (1.0 + np.tanh(0.5 * x))).astype(np.float32)
