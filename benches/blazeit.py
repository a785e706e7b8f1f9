"""BlazeIt's eight query shapes, end to end: foveal against naive and published ways to answer them.

    FOVEAL_ASSETS=... python benches/blazeit.py [--quick] [--json] [--hour] [--repeats N]

Every way decodes and calls the real detector itself (see eye.py); training, labelling and scoring
are on its bill. foveal runs cold (a new database), after the clip's other questions (shared), and
again. `--hour` adds the rendered hour with foveal's own detector, beside the real clips, never
instead of them. Peers that bound no error are marked; shapes that only an exact answer serves have
naive and the oracle as peers.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from eye import Bill, Eye, count_of, load
from hour import hour
from published import (
    blazeit_mean,
    blazeit_search,
    interpolated_mean,
    naive_mean,
    noscope_selection,
    oracle_mean,
    oracle_search,
    sampled_mean,
    sequential_search,
)
from report import report
from video import find

import foveal
from foveal.planner.protocols import Detector

WRONG, CONFIDENCE = 0.01, 0.95


@dataclass(frozen=True, slots=True)
class Scene:
    """A video and the questions' numbers for it. `most`: BlazeIt's K; `gap` in frames.

    `trains`: ask the peers that train a network too, which takes a minute each.
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
    trains: bool = True


@dataclass(frozen=True, slots=True)
class Shape:
    """One of BlazeIt's query shapes. `kind`: mean, search, selection or exact."""

    number: int
    name: str
    kind: str
    sql: str
    clauses: str = ""


@dataclass(slots=True)
class Run:
    """What one way spent on one shape, and how wrong it was (see `Judge`)."""

    seconds: float
    calls: int
    error: float
    how: str
    bounds: bool
    bill: Bill | None = None


def shapes(s: Scene) -> tuple[Shape, ...]:
    """Return the eight shapes in foveal's SQL."""
    where = f"FROM v WHERE class = '{s.wanted}'"
    half = s.width // 2
    return (
        Shape(1, "aggregate", "mean", f"SELECT FCOUNT(*) {where}",
              f" ERROR WITHIN {s.epsilon} AT CONFIDENCE 95%"),
        Shape(2, "scrubbing", "search",
              f"SELECT frame FROM v GROUP BY frame HAVING SUM(class = '{s.wanted}') >= {s.least}",
              f" LIMIT {s.limit} GAP {s.gap}"),
        Shape(3, "content, 15 frames and more", "exact",
              f"SELECT trackid {where} AND redness(content) > {s.red} AND area(mask) > {s.area} "
              "GROUP BY trackid HAVING COUNT(*) > 15"),
        Shape(4, "distinct", "exact", f"SELECT COUNT(DISTINCT trackid) {where}"),
        Shape(5, "NoScope", "selection", f"SELECT frame {where}",
              f" FNR WITHIN {WRONG} FPR WITHIN {WRONG} AT CONFIDENCE 95%"),
        Shape(6, "user function", "exact",
              f"SELECT COUNT(*) {where} AND brightness(content) > 100"),
        Shape(7, "region", "exact", f"SELECT frame, xmax {where} AND xmax < {half}"),
        Shape(8, "plain, a tenth of the time", "exact",
              f"SELECT frame, confidence {where} AND frame BETWEEN 100 AND 99 + {{tenth}}"),
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

    def search(self, frames: Sequence[int], least: int) -> float:
        """Return the share of returned frames that do not satisfy the condition."""
        found = np.array(frames, np.int64)
        return float((self.values[found] < least).mean()) if len(found) else 0.0

    def selection(self, frames: Sequence[int]) -> float:
        """Return the larger of the false negative and the false positive rate."""
        chosen = np.zeros(len(self.values), np.bool_)
        chosen[np.array(frames, np.int64)] = True
        missed = (self.holds & ~chosen).sum() / max(self.holds.sum(), 1)
        wrong = (~self.holds & chosen).sum() / max((~self.holds).sum(), 1)
        return float(max(missed, wrong))


def peers(
    s: Scene, shape: Shape, detector: Detector, judge: Judge, seed: int
) -> Iterator[tuple[str, Run]]:
    """Yield each peer's run of a shape; naive comes first."""
    measure = count_of(s.wanted)

    def run(work: Callable[[Eye], tuple[float, str, bool]]) -> Run:
        eye = Eye(s.path, detector)
        began = time.perf_counter()
        error, how, bounds = work(eye)
        return Run(time.perf_counter() - began, eye.bill.calls, error, how, bounds, eye.bill)

    def of_mean(answer: Any) -> tuple[float, str, bool]:
        return judge.mean(answer.estimate), answer.how, answer.kept

    def of_search(found: Any) -> tuple[float, str, bool]:
        return judge.search(found.frames.tolist(), s.least), found.how, True

    if shape.kind == "mean":
        delta = 1 - CONFIDENCE
        yield "naive", run(lambda eye: of_mean(naive_mean(eye, measure)))
        yield "NoScope oracle", run(lambda eye: of_mean(oracle_mean(eye, measure, judge.holds)))
        yield (
            "AQP (CLT)",
            run(lambda eye: of_mean(sampled_mean(eye, measure, s.epsilon, delta, s.most, seed))),
        )
        yield (
            "time interpolation",
            run(lambda eye: of_mean(interpolated_mean(eye, measure, s.epsilon))),
        )
        yield (
            "BlazeIt",
            run(lambda eye: of_mean(blazeit_mean(eye, measure, s.epsilon, delta, s.most, seed))),
        )
    elif shape.kind == "search":
        size = (s.least, s.limit, s.gap)
        yield "naive", run(lambda eye: of_search(sequential_search(eye, measure, *size)))
        yield (
            "NoScope oracle",
            run(lambda eye: of_search(oracle_search(eye, measure, *size, judge.holds))),
        )
        if s.trains:
            yield "BlazeIt", run(lambda eye: of_search(blazeit_search(eye, measure, *size, seed)))
    else:
        yield "naive", run(lambda eye: of_mean(naive_mean(eye, measure)))
        yield "NoScope oracle", run(lambda eye: of_mean(oracle_mean(eye, measure, judge.holds)))
        if shape.kind == "selection" and s.trains:

            def cascade(eye: Eye) -> tuple[float, str, bool]:
                found = noscope_selection(eye, measure, WRONG, seed)
                return judge.selection(found.frames.tolist()), found.how, False

            yield "NoScope", run(cascade)


def ours(s: Scene, judge: Judge, seed: int) -> Iterator[tuple[int, str, Run]]:
    """Yield (shape, state, run): each shape cold and again, then all in one database."""
    tenth = len(judge.values) // 10
    for shape in shapes(s):
        with tempfile.TemporaryDirectory() as folder, _open(s, Path(folder), seed) as con:
            yield shape.number, "cold", _ask(con, s, shape, judge, tenth)
            yield shape.number, "again", _ask(con, s, shape, judge, tenth)
    with tempfile.TemporaryDirectory() as folder, _open(s, Path(folder), seed) as con:
        # The dear, exact shapes come last: they label every frame.
        for shape in sorted(shapes(s), key=lambda shape: shape.kind == "exact"):
            yield shape.number, "shared", _ask(con, s, shape, judge, tenth)


def _open(s: Scene, folder: Path, seed: int) -> foveal.Connection:
    con = foveal.connect(folder / "bench.db", settings={"seed": seed})
    options = "".join(f", {name} = {value}" for name, value in s.options.items())
    con.execute(
        f"CREATE VIDEO TABLE v FROM '{s.path}' "
        f"WITH (detector = '{s.detector}', max_count = {s.most}{options})"
    )
    return con


def _ask(con: foveal.Connection, s: Scene, shape: Shape, judge: Judge, tenth: int) -> Run:
    sql = (shape.sql + shape.clauses).replace("{tenth}", str(tenth))
    began = time.perf_counter()
    rows = con.execute(sql).fetchall()
    seconds = time.perf_counter() - began
    q = con.last_query()
    assert q is not None
    error = 0.0
    if shape.kind == "mean":
        error = judge.mean(float(rows[0][0]))
    elif shape.kind == "search":
        error = judge.search([int(row[0]) for row in rows], s.least)
    elif shape.kind == "selection":
        error = judge.selection([int(row[0]) for row in rows])
    return Run(seconds, q.detector_calls, error, f"{q.plan_kind}, {q.guarantee}", True)


def every_count(s: Scene, detector: Detector) -> npt.NDArray[np.float64]:
    """Return what the detector counts in each frame."""
    eye = Eye(s.path, detector)
    return eye.look(np.arange(eye.frames, dtype=np.int64), count_of(s.wanted))


def bench(s: Scene) -> Iterator[dict[str, Any]]:
    """Yield a row per shape and way: medians over the repetitions."""
    detector = load(s.detector, s.options)
    judge = Judge(every_count(s, detector))
    runs: dict[tuple[int, str], list[Run]] = {}
    for seed in range(s.repeats):
        for shape in shapes(s):
            for name, run in peers(s, shape, detector, judge, seed):
                runs.setdefault((shape.number, name), []).append(run)
        for number, state, run in ours(s, judge, seed):
            runs.setdefault((number, f"foveal {state}"), []).append(run)
    for shape in shapes(s):
        mine = {k[1]: v for k, v in runs.items() if k[0] == shape.number}
        cold = _middle(mine["foveal cold"], "seconds")
        for way, found in mine.items():
            seconds = [run.seconds for run in found]
            yield {
                "case": f"{s.name} {shape.number} {shape.name}",
                "peer": way + ("" if found[0].bounds else " (no bound)"),
                "ours": round(cold, 4),
                "theirs": round(_middle(found, "seconds"), 4),
                "ratio": round(_middle(found, "seconds") / cold, 3),
                "spread": round((max(seconds) - min(seconds)) / statistics.median(seconds), 3),
                "unit": "s",
                "calls": int(_middle(found, "calls")),
                "of": len(judge.values),
                "error": round(max(run.error for run in found), 4),
                "target": {"mean": s.epsilon, "selection": WRONG}.get(shape.kind, 0.0),
                **_stages(found),
                "how": found[0].how,
            }


def _stages(found: list[Run]) -> dict[str, float]:
    bills = [run.bill for run in found if run.bill is not None]
    if not bills:
        return {}
    return {
        f"{stage} s": round(statistics.median(b.seconds[stage] for b in bills), 3)
        for stage in ("decode", "detect", "train", "proxy")
    }


def _middle(found: list[Run], what: str) -> float:
    return statistics.median(float(getattr(run, what)) for run in found)


def verdicts(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield, for each case, how foveal cold stands against the best of the peers."""
    for case in dict.fromkeys(row["case"] for row in rows):
        mine = [r for r in rows if r["case"] == case]
        cold = next(r for r in mine if r["peer"] == "foveal cold")
        others = [r for r in mine if not r["peer"].startswith("foveal")]
        keeping = [r for r in others if r["error"] <= r["target"] and "no bound" not in r["peer"]
                   and "oracle" not in r["peer"]]  # fmt: skip
        quickest = min(others, key=lambda r: r["theirs"])
        fewest = min((r["calls"] for r in keeping), default=0)
        yield {
            "case": case,
            "quickest peer": quickest["peer"],
            "its seconds": quickest["theirs"],
            "foveal": cold["theirs"],
            "within 10%": cold["theirs"] <= 1.1 * quickest["theirs"],
            "fewest calls kept": fewest,
            "foveal calls": cold["calls"],
            "fewest": cold["calls"] <= fewest,
        }


def scenes(options: argparse.Namespace) -> list[Scene]:
    """Return the videos to be asked."""
    yolox = {"confidence": 0.3}
    repeats = options.repeats
    found = [
        Scene("one-by-one", find("video/one-by-one-person-detection.mp4"), "yolox_nano", yolox,
              "person", 0.1, 4, 2, 5, 20, 768, 5.0, 20000.0, repeats, not options.quick),
    ]  # fmt: skip
    if not options.quick:
        found += [
            Scene("vtest", find("video/vtest.avi"), "yolox_nano", yolox,
                  "person", 0.5, 14, 10, 5, 20, 768, 5.0, 4000.0, repeats),
            Scene("bangkok", find("video/bangkok_half_res.mp4"), "yolox_nano", yolox,
                  "car", 0.5, 20, 16, 5, 10, 640, 5.0, 2000.0, repeats),
        ]  # fmt: skip
    if options.hour:
        path, _ = hour()
        found.append(
            Scene("hour", path, "demo", {}, "car", 0.02, 6, 3, 5, 300, 640, 5.0, 4000.0, 1)
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one clip, once, no peer that trains")
    parser.add_argument("--json", action="store_true", help="print only the RESULT line")
    parser.add_argument("--hour", action="store_true", help="the rendered hour as well")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if options.quick:
        options.repeats = 1
    rows = [row for scene in scenes(options) for row in bench(scene)]
    keys = ("case", "peer", "ours", "theirs", "ratio", "spread", "unit")
    if not options.json:
        report("blazeit detail", [{k: r[k] for k in keys} for r in rows][:0], details=rows)
    report(
        "blazeit",
        [{k: r[k] for k in keys} for r in rows],
        details=list(verdicts(rows)),
        quiet=options.json,
    )


if __name__ == "__main__":
    main()
