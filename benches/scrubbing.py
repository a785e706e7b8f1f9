"""Rare frames, far enough apart: detector calls and seconds until enough of them are found.

    FOVEAL_ASSETS=... python benches/scrubbing.py [--quick] [--json] [--only WORDS] [--blazeit]
        [--trace] [--hour] [--file PATH:DETECTOR:CLASS:LEAST ...]

`LIMIT n GAP m` on real clips: in order (leaping over the gap after each find) and in random order,
both decoding and detecting for real, and foveal from a new database (cold) and with a proxy whose
labels were paid for before (sunk; true frames among the labels then are rows that cost nothing).
With --blazeit BlazeIt's ranking too, replayed from one naive run: its training third and held-out
sixth are on its bill, as a clip has no other day. All rows of foveal are checked against the
detector's own answer on every frame. With --hour the rendered hour is searched. With --trace the
day-long label traces: there are no pixels in them, so only ways without proxies run, no second is
measured, and every row says trace. The last table has the ratios by prevalence.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from blazeit_peers import Networks, blazeit_search
from eye import Eye, Values, count_of, load
from hour import hour
from populations import trace
from recorded import RecordedEye, Recording
from report import report, table
from video import find

import foveal
from foveal.planner.protocols import DecodeCounters, FrameFacts, Profile
from foveal.planner.search import Prices, SearchRun, pack
from foveal.planner.search.belief import UNKNOWN

GAP = 10
PROXY_LABELS = 150
DETECT, DECODE = 0.036, 0.003
"""Seconds that the traces' searches are told a look and a frame cost (YOLOX-nano, one core)."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A file, and what is rare in it."""

    name: str
    path: Path
    detector: str
    confidence: float | None
    wanted: str
    least: int
    limit: int
    gap: int = GAP


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one way cost, and how many rows it gave."""

    calls: float
    seconds: float
    rows: int
    how: str = ""


def recorded(scene: Scene) -> Recording:
    """Return the naive run of a scene: the detector's answer on every frame."""
    return Recording(scene.path, load(scene.detector, _options(scene)))


def _options(scene: Scene) -> dict[str, str | int | float | bool]:
    return {} if scene.confidence is None else {"confidence": scene.confidence}


def in_order(scene: Scene) -> Outcome:
    """Decode once, in order; detect every frame that lies far enough from the last find."""
    eye = Eye(scene.path, load(scene.detector, _options(scene)))
    detector, measure = load(scene.detector, _options(scene)), count_of(scene.wanted)
    began, calls, found, free = time.perf_counter(), 0, 0, 0
    every = np.arange(eye.frames, dtype=np.int64)
    stream = eye.video.read(every, counters=DecodeCounters(), cancel=lambda: None)
    for number, picture in stream:
        if number < free:
            continue
        calls += 1
        if measure(detector.detect([picture])[0], detector.info.classes) >= scene.least:
            found, free = found + 1, number + scene.gap
        if found == scene.limit:
            break
    return Outcome(calls, time.perf_counter() - began, found)


def at_random(scene: Scene, seed: int) -> Outcome:
    """Look at frames in random order, a sorted batch at a time."""
    eye = Eye(scene.path, load(scene.detector, _options(scene)))
    order = np.random.default_rng(seed).permutation(eye.frames)
    measure = count_of(scene.wanted)
    began = time.perf_counter()
    found: list[int] = []
    for at in range(0, len(order), 16):
        batch = np.sort(order[at : at + 16])
        batch = batch[[all(abs(f - g) >= scene.gap for g in found) for f in batch.tolist()]]
        for frame, value in zip(batch.tolist(), eye.look(batch, measure).tolist(), strict=True):
            if value >= scene.least and all(abs(frame - g) >= scene.gap for g in found):
                found.append(frame)
        if len(found) >= scene.limit:
            break
    return Outcome(eye.bill.calls, time.perf_counter() - began, min(len(found), scene.limit))


def blazeit(scene: Scene, recording: Recording, seed: int) -> tuple[Outcome, int]:
    """Return what BlazeIt's ranking cost, and how many of its calls were labels for training."""
    eye = RecordedEye(recording, recording.measure(seed))
    networks = Networks(recording)
    measure = count_of(scene.wanted)
    found = blazeit_search(eye, networks, measure, scene.least, scene.limit, scene.gap, seed)
    labels = len(networks.train) + len(networks.held)
    wall = float(sum(float(seconds[0]) for seconds in eye.bill.values()))
    return Outcome(eye.calls, wall, len(found.frames), found.how), labels


def ours(scene: Scene, counts: Values, seed: int, *, sunk: bool) -> Outcome:
    """Ask foveal, from a new database; with `sunk`, a proxy is made before the clock starts."""
    with (
        tempfile.TemporaryDirectory() as folder,
        foveal.connect(str(Path(folder) / "bench.db")) as con,
    ):
        con.execute(f"SET foveal.seed = {seed}")
        given = "" if scene.confidence is None else f", confidence = {scene.confidence}"
        con.execute(
            f"CREATE VIDEO TABLE v FROM '{scene.path}' WITH (detector = '{scene.detector}'{given})"
        )
        if sunk:
            con.execute(
                f"CREATE PROXY p ON v FOR COUNT(class = '{scene.wanted}') "
                f"WITH (labels = {PROXY_LABELS})"
            )
        began = time.perf_counter()
        found = con.execute(
            f"SELECT frame FROM v GROUP BY frame HAVING SUM(class = '{scene.wanted}') >= "
            f"{scene.least} LIMIT {scene.limit} GAP {scene.gap}"
        ).fetchall()
        seconds = time.perf_counter() - began
        told = con.last_query()
        assert told is not None
    frames = np.array([row[0] for row in found], np.int64)
    if (counts[frames] < scene.least).any() or (np.diff(frames) < scene.gap).any():
        raise AssertionError(f"{scene.name}: a row that is not one")
    return Outcome(told.detector_calls, seconds, len(frames), told.plan_kind)


def _row(case: str, peer: str, ours_: list[float], theirs: float, unit: str) -> dict[str, Any]:
    mean = statistics.mean(ours_)
    return {
        "case": case, "peer": peer, "ours": round(mean, 3), "theirs": round(theirs, 3),
        "ratio": round(theirs / max(mean, 1e-9), 3) if mean else None,
        "spread": f"{min(ours_):.3g}..{max(ours_):.3g}", "unit": unit,
    }  # fmt: skip


def bench(
    scene: Scene, seeds: int, *, ranking: bool
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the RESULT rows of one scene, and its line of the table."""
    recording = recorded(scene)
    counts = recording.values(count_of(scene.wanted))
    hits = np.flatnonzero(counts >= scene.least)
    most = len(pack(np.zeros(len(hits), np.int64), hits.astype(np.float64), scene.gap))
    order = in_order(scene)
    random = [at_random(scene, seed) for seed in range(seeds)]
    cold = [ours(scene, counts, seed, sunk=False) for seed in range(seeds)]
    sunk = [ours(scene, counts, seed, sunk=True) for seed in range(seeds)]
    case = f"{scene.name} {scene.wanted} >= {scene.least}, LIMIT {scene.limit} GAP {scene.gap}"
    detail = {
        "case": case, "share": len(hits) / len(counts),
        "rows": f"{cold[0].rows} of {min(most, scene.limit)}", "in order": order.calls,
        "random": statistics.mean(o.calls for o in random),
        "cold": statistics.mean(o.calls for o in cold), "cold by": cold[0].how,
        "sunk": statistics.mean(o.calls for o in sunk), "sunk by": sunk[0].how,
        "in order s": order.seconds, "random s": statistics.mean(o.seconds for o in random),
        "cold s": statistics.mean(o.seconds for o in cold),
        "sunk s": statistics.mean(o.seconds for o in sunk),
    }  # fmt: skip
    peers = {"in order": [order], "random": random}
    if ranking:
        published, labels = blazeit(scene, recording, 0)
        peers["BlazeIt's ranking"] = [published]
        detail |= {"BlazeIt": published.calls, "BlazeIt, labels sunk": published.calls - labels}
    rows: list[dict[str, Any]] = []
    for label, found in (("cold", cold), ("labels sunk", sunk)):
        for peer, other in peers.items():
            for unit, what in (("detector calls", "calls"), ("seconds", "seconds")):
                mine = [float(getattr(o, what)) for o in found]
                theirs = statistics.mean(float(getattr(o, what)) for o in other)
                rows.append(_row(f"{case}, {label}", peer, mine, theirs, unit))
    return rows, detail


def by_prevalence(details: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what going in order costs in foveal's looks, by how rare the frames are."""
    found: list[dict[str, Any]] = []
    for words, low, high in (
        ("<= 0.1 %", 0.0, 0.0011), ("0.1 to 1.2 %", 0.0011, 0.0125), ("more", 0.0125, 1.1)
    ):  # fmt: skip
        mine = [d for d in details if low < float(d["share"]) <= high]
        if not mine:
            continue
        line: dict[str, Any] = {"prevalence": words, "cases": len(mine)}
        for what in ("cold", "sunk", "cold s", "sunk s"):
            paid = "in order s" if what.endswith(" s") else "in order"
            # Rows that were known are found without a look: the ratio counts that as one.
            least = 1e-3 if what.endswith(" s") else 1.0
            ratios = [d[paid] / max(d[what], least) for d in mine if what in d]
            if ratios:
                line |= {
                    f"{what}: geometric": statistics.geometric_mean(ratios),
                    f"{what}: worst": min(ratios),
                }
        found.append(line)
    return found


# --- traces ---------------------------------------------------------------------------------------


def searched(counts: Values, least: float, limit: int, gap: int, seed: int) -> tuple[int, int]:
    """Return (looks, rows) of foveal's search of a trace."""
    size = len(counts)
    profile = Profile(DECODE, 0.004 + 15 * DECODE, DETECT, thumbnail=DECODE)
    run = SearchRun(
        np.zeros(size, np.int64), np.arange(size, dtype=np.float64), want=limit, gap=gap,
        second=30.0, prices=Prices(FrameFacts(size, 0, size // 30), profile),
        methods=frozenset({"search", "random"}), belief=UNKNOWN, least=(least,), seed=seed,
    )  # fmt: skip
    looks = 0
    while (step := run.next()) is not None:
        for at in range(0, len(step.frames), step.chunk):
            frames = step.frames[at : at + step.chunk]
            frames = frames[run.open[frames]]
            if not len(frames):
                continue
            looks += len(frames)
            more = run.add(step, frames, counts[frames] >= least)
            run.label(step, frames, counts[frames, None])
            if not more:
                break
    return looks, len(run.found)


def _plain(counts: Values, order: np.ndarray[Any, Any], least: float, limit: int, gap: int) -> int:
    """Return the looks of taking frames in `order`, those too near to a find left out."""
    taken = np.zeros(len(counts), np.bool_)
    hits, looks, found = counts >= least, 0, 0
    for frame in order.tolist():
        if taken[frame]:
            continue
        looks += 1
        if hits[frame]:
            taken[max(frame - gap + 1, 0) : frame + gap] = True
            found += 1
            if found == limit:
                break
    return looks


def traces(seeds: int, *, quick: bool) -> Iterator[tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Yield RESULT rows and a line of the table per trace and rarity."""
    for name in ("taipei", "jackson", "archie"):
        day = trace(name)
        if day is None:
            continue
        part = day[200_000:][: 100_000 if quick else 500_000]
        levels = range(1, int(part.max()) + 1)
        rare = [[k for k in levels if 0 < (part >= k).mean() <= share] for share in (0.01, 0.001)]
        for least in dict.fromkeys(found[0] for found in rare if found):
            limit, gap = 10, 100
            hits = np.flatnonzero(part >= least)
            most = len(pack(np.zeros(len(hits), np.int64), hits.astype(np.float64), gap))
            limit = min(limit, max(most // 2, 1))
            order = _plain(part, np.arange(len(part)), least, limit, gap)
            random = [
                _plain(part, np.random.default_rng(s).permutation(len(part)), least, limit, gap)
                for s in range(seeds)
            ]
            mine = [float(searched(part, least, limit, gap, s)[0]) for s in range(seeds)]
            case = f"{name} count >= {least}, LIMIT {limit} GAP {gap}, cold (trace)"
            rows = [
                _row(case, "in order", mine, order, "detector calls"),
                _row(case, "random", mine, statistics.mean(random), "detector calls"),
            ]
            yield rows, {
                "case": case, "frames": len(part), "share": len(hits) / len(part),
                "rows there": most, "in order": order, "random": statistics.mean(random),
                "cold": statistics.mean(mine),
            }  # fmt: skip


def scenes(options: argparse.Namespace) -> Iterator[Scene]:
    """Yield what is to be searched."""
    for given in options.file:
        path, detector, wanted, least = given.rsplit(":", 3)
        yield Scene(Path(path).stem, Path(path), detector, None, wanted, int(least), 10)
    if options.hour:
        yield Scene("hour", hour()[0], "demo", None, "person", 1, 10, 20)
        yield Scene("hour", hour()[0], "demo", None, "person", 2, 3, 20)
        yield Scene("hour", hour()[0], "demo", None, "car", 3, 1, 20)
    if options.file or options.hour:
        return
    vtest = find("vtest.avi")
    yield Scene("vtest", vtest, "yolox_nano", 0.3, "person", 9, 10)
    if options.quick:
        return
    yield Scene("vtest", vtest, "yolox_nano", 0.3, "person", 10, 3)
    yield Scene("vtest", vtest, "yolox_nano", 0.3, "frisbee", 1, 2)
    yield Scene("vtest", vtest, "yolox_nano", 0.3, "fire hydrant", 1, 2)
    one = find("one-by-one-person-detection.mp4")
    yield Scene("one-by-one", one, "yolox_nano", 0.3, "person", 1, 10)
    yield Scene("one-by-one", one, "yolox_nano", 0.3, "dog", 1, 2)
    bangkok = find("bangkok_half_res.mp4")
    yield Scene("bangkok", bangkok, "yolox_nano", 0.3, "car", 15, 10)
    yield Scene("bangkok", bangkok, "yolox_nano", 0.3, "car", 16, 3)
    yield Scene("bangkok", bangkok, "yolox_nano", 0.3, "person", 3, 1)


def main() -> None:
    """Search, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within a minute")
    parser.add_argument("--json", action="store_true", help="print only the RESULT line")
    parser.add_argument("--trace", action="store_true", help="search the label traces")
    parser.add_argument("--hour", action="store_true", help="search the rendered hour")
    parser.add_argument("--blazeit", action="store_true", help="BlazeIt's ranking too")
    parser.add_argument("--only", default="", help="scenes whose name holds this")
    parser.add_argument("--file", action="append", default=[], help="PATH:DETECTOR:CLASS:LEAST")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    seeds = 1 if options.quick else 3
    found = (
        traces(8 if not options.quick else 3, quick=options.quick)
        if options.trace
        else (
            bench(s, seeds, ranking=options.blazeit)
            for s in scenes(options)
            if options.only in s.name
        )
    )
    for more, detail in found:
        rows += more
        details.append(detail)
        if not options.json:
            print("\n".join(table([detail])), flush=True)
    if not rows:
        sys.exit("set FOVEAL_ASSETS to a folder with the clips or the traces")
    if not options.json:
        print("\n".join(["", *table(by_prevalence(details)), ""]))
    report("scrubbing", rows, details=details, quiet=options.json)


if __name__ == "__main__":
    main()
