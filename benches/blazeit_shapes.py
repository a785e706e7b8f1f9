"""BlazeIt's eight query shapes as questions about a scene, and what is wrong with an answer."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hour import hour
from video import find

WRONG, CONFIDENCE = 0.01, 0.95


@dataclass(frozen=True, slots=True)
class Scene:
    """A video and the questions' numbers for it. `most`: BlazeIt's K; `gap` in frames.

    `repeats`: how often foveal is asked what it answers by drawing or searching (selections half
    as often); `exact_repeats`: how often what it answers exactly, whose calls cannot vary.
    `only`: the shapes asked, all if empty. `shared`: ask all in one database as well. `steady`:
    measure prices once a repetition, not once a shape.
    """

    name: str
    path: Path
    detector: str
    options: Mapping[str, float]
    wanted: str
    epsilon: float
    most: int
    least: int
    limit: int
    gap: int
    width: int
    red: float
    area: float
    repeats: int
    exact_repeats: int
    only: tuple[int, ...] = ()
    shared: bool = True
    steady: bool = False

    def times(self, shape: Shape) -> int:
        """Return how often a shape is asked."""
        if shape.kind == "selection":
            return (self.repeats + 1) // 2
        return self.exact_repeats if shape.kind == "exact" else self.repeats


@dataclass(frozen=True, slots=True)
class Shape:
    """One of BlazeIt's query shapes. `kind`: mean, search, selection or exact.

    `tenth`: only a tenth of the frames is asked about, from frame 100 on. `filters`: BlazeIt has
    filters for it. `stride`: of its temporal filter.
    """

    number: int
    name: str
    kind: str
    sql: str
    tenth: bool = False
    filters: bool = False
    stride: int = 1

    def asked(self, frames: int) -> npt.NDArray[np.int64]:
        """Return the frames that the question is about."""
        if self.tenth:
            return np.arange(100, min(100 + frames // 10, frames), dtype=np.int64)
        return np.arange(frames, dtype=np.int64)


def shapes(s: Scene, frames: int) -> tuple[Shape, ...]:
    """Return the eight shapes in foveal's SQL."""
    where = f"FROM v WHERE class = '{s.wanted}'"
    within = f"FNR WITHIN {WRONG} FPR WITHIN {WRONG} AT CONFIDENCE 95%"
    return (
        Shape(1, "aggregate", "mean",
              f"SELECT FCOUNT(*) {where} ERROR WITHIN {s.epsilon} AT CONFIDENCE 95%"),
        Shape(2, "scrubbing", "search",
              f"SELECT frame FROM v GROUP BY frame HAVING SUM(class = '{s.wanted}') >= {s.least} "
              f"LIMIT {s.limit} GAP {s.gap}"),
        Shape(3, "content, over 15 frames", "exact",
              f"SELECT trackid {where} AND redness(content) > {s.red} AND area(mask) > {s.area} "
              "GROUP BY trackid HAVING COUNT(*) > 15", filters=True, stride=7),
        Shape(4, "distinct", "exact", f"SELECT COUNT(DISTINCT trackid) {where}"),
        Shape(5, "NoScope", "selection", f"SELECT frame {where} {within}", filters=True),
        Shape(6, "user function", "exact",
              f"SELECT COUNT(*) {where} AND brightness(content) > 100", filters=True),
        Shape(7, "region", "exact", f"SELECT frame, xmax {where} AND xmax < {s.width // 2}",
              filters=True),
        Shape(8, "plain, a tenth", "exact",
              f"SELECT frame, confidence {where} AND frame BETWEEN 100 AND {99 + frames // 10}",
              tenth=True, filters=True),
    )  # fmt: skip


class Judge:
    """What the detector says of every frame: the truth that answers are held against."""

    def __init__(self, values: npt.NDArray[np.float64]) -> None:
        """Take the count of every frame."""
        self.values = values
        self.holds = values > 0

    def mean(self, answer: float) -> float:
        """Return the distance from the true mean."""
        return abs(answer - float(self.values.mean()))

    def search(self, frames: Sequence[int], s: Scene) -> float:
        """Return the share of returned frames that are wrong; 1 where too few came without need.

        In order of time, every frame that is far enough from the last is taken: no choice has more.
        """
        found = np.array(frames, np.int64)
        if len(found):
            near = len(found) > 1 and int(np.diff(np.sort(found)).min()) < s.gap
            return 1.0 if near else float((self.values[found] < s.least).mean())
        return float(bool((self.values >= s.least).any()))

    def selection(self, frames: Sequence[int]) -> float:
        """Return the larger of the false negative and the false positive rate."""
        chosen = np.zeros(len(self.values), np.bool_)
        chosen[np.array(frames, np.int64)] = True
        missed = (self.holds & ~chosen).sum() / max(self.holds.sum(), 1)
        wrong = (~self.holds & chosen).sum() / max((~self.holds).sum(), 1)
        return float(max(missed, wrong))

    def unseen(self, seen: npt.NDArray[np.bool_], shape: Shape) -> float:
        """Return the share of the frames that may hold a row and were not looked at.

        They hold the class; where only long tracks count, in stretches that are long enough.
        """
        may = np.zeros(len(self.holds), np.bool_)
        asked = shape.asked(len(self.holds))
        may[asked] = self.holds[asked]
        if shape.stride > 1:
            edges = np.flatnonzero(np.diff(np.concatenate(([0], may.astype(np.int8), [0]))))
            for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                may[start:stop] = stop - start > 2 * shape.stride + 1
        return float((may & ~seen).sum() / max(may.sum(), 1))


def scenes(options: argparse.Namespace) -> list[Scene]:
    """Return the videos to be asked."""
    yolox = {"confidence": 0.3}
    repeats, only = options.repeats, tuple(options.shapes)
    exact = options.exact_repeats
    if options.quick:
        return [
            Scene("bangkok", find("video/bangkok_half_res.mp4"), "yolox_nano", yolox,
                  "car", 0.5, 20, 16, 5, 10, 640, 5.0, 2000.0, 1, 1, only, shared=False,
                  steady=True)
        ]  # fmt: skip
    found: list[Scene] = []
    if "one-by-one" in options.scenes:
        found.append(
            Scene("one-by-one", find("video/one-by-one-person-detection.mp4"), "yolox_nano", yolox,
                  "person", 0.1, 4, 2, 5, 20, 768, 5.0, 20000.0, repeats, exact, only)
        )  # fmt: skip
    if "vtest" in options.scenes:
        found.append(
            Scene("vtest", find("video/vtest.avi"), "yolox_nano", yolox,
                  "person", 0.5, 14, 9, 5, 20, 768, 5.0, 4000.0, repeats, exact, only)
        )  # fmt: skip
    if "bangkok" in options.scenes:
        found.append(
            Scene("bangkok", find("video/bangkok_half_res.mp4"), "yolox_nano", yolox,
                  "car", 0.5, 20, 16, 5, 10, 640, 5.0, 2000.0, repeats, exact, only)
        )  # fmt: skip
    if options.hour or "hour" in options.scenes:
        path, _ = hour()
        found.append(
            Scene("hour", path, "demo", {}, "car", 0.02, 6, 3, 5, 300, 640, 5.0, 4000.0,
                  min(repeats, 3), 1, only, shared=not only)
        )  # fmt: skip
    return found
