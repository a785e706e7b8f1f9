"""BlazeIt's eight query shapes, end to end: foveal against naive and published ways to answer them.

    FOVEAL_ASSETS=... python benches/blazeit.py [--quick] [--json] [--hour] [--repeats N]

foveal is run for real, decoder, detector and all: cold (a new database), again, and in a database
that was asked the other shapes before (shared, once). Naive was measured once per video and machine
and is replayed for the peers at prices measured before each of foveal's repetitions (recorded.py):
training and labels are on their bill, functions on pixels and tracking are not. `--hour` adds the
rendered hour with foveal's own detector, beside the real clips, never instead of them.

A peer keeps its promise if, over `DRAWS` seeds, its error exceeds the target no more often than one
seed in twenty makes plausible (binomial, 5 %); a peer without chance must never exceed it. Shapes
that only an exact answer serves have a target of 0. `cpu` is processor time, of child processes
too: other work on the machine moves it less, and it sees no gain in decoding while detecting. The
oracle knows for free which frames hold the
class: no system can, so it is compared with, and counted, apart.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from blazeit_peers import Networks, blazeit_mean, blazeit_search, blazeit_selection
from blazeit_shapes import CONFIDENCE, WRONG, Judge, Scene, Shape, scenes, shapes
from eye import count_of, load, presence_of
from published import (
    interpolated_mean,
    naive_mean,
    oracle_mean,
    oracle_search,
    sampled_mean,
    sequential_search,
)
from recorded import Prices, RecordedEye, Recording, clock
from report import report
from scipy import stats

import foveal

DRAWS = 100
"""Seeds over which a peer that draws is judged; trained networks are as many as repetitions."""
STAGES = ("decode", "detect", "train", "proxy")


@dataclass(slots=True)
class Run:
    """What one way spent on one shape, and how wrong it was (see `Judge`)."""

    seconds: float
    processor: float
    calls: int
    error: float
    how: str
    bounds: bool
    stages: dict[str, float]


Answer = tuple[float, str, bool]
"""Error, how it was found, and whether the way bounds its error."""
Way = Callable[[RecordedEye, int], Answer]
"""A peer: its view of the video and a seed in, its answer out."""


def peers(
    s: Scene, shape: Shape, recording: Recording, judge: Judge, networks: Networks
) -> Iterator[tuple[str, Way]]:
    """Yield each peer of a shape; naive comes first."""
    counts, sight = count_of_once(s.wanted), presence_of_once(s.wanted)
    every, holds, delta = shape.asked(recording.frames), judge.holds, 1 - CONFIDENCE
    size = (s.least, s.limit, s.gap)

    def mean(way: Callable[[RecordedEye, int], Any]) -> Way:
        def run(eye: RecordedEye, seed: int) -> Answer:
            answer = way(eye, seed)
            return judge.mean(answer.estimate), answer.how, answer.kept

        return run

    def search(way: Callable[[RecordedEye, int], Any], *, bounds: bool = True) -> Way:
        def run(eye: RecordedEye, seed: int) -> Answer:
            found = way(eye, seed)
            return judge.search(found.frames.tolist(), s), found.how, bounds

        return run

    if shape.kind == "mean":
        yield "naive", mean(lambda eye, _: naive_mean(eye, counts))
        yield "NoScope oracle", mean(lambda eye, _: oracle_mean(eye, counts, holds))
        yield (
            "AQP (CLT)",
            mean(lambda eye, n: sampled_mean(eye, counts, s.epsilon, delta, s.most, n)),
        )
        yield "time interpolation", mean(lambda eye, _: interpolated_mean(eye, counts, s.epsilon))
        yield (
            "BlazeIt",
            mean(
                lambda eye, n: blazeit_mean(
                    eye, networks, counts, s.epsilon, delta, s.most, n, n % s.repeats
                )
            ),
        )
        return
    if shape.kind == "search":
        yield "naive", search(lambda eye, _: sequential_search(eye, counts, *size))
        yield "NoScope oracle", search(lambda eye, _: oracle_search(eye, counts, *size, holds))
        yield (
            "BlazeIt",
            search(lambda eye, n: blazeit_search(eye, networks, counts, *size, n % s.repeats)),
        )
        return

    def naive(eye: RecordedEye, _: int) -> Answer:
        eye.look(every, counts)
        return 0.0, "every frame", True

    def oracle(eye: RecordedEye, _: int) -> Answer:
        eye.look(every[holds[every]], counts)
        return 0.0, "frames with the class, known for free", True

    def filtered(eye: RecordedEye, seed: int) -> Answer:
        of = seed % s.repeats
        found = blazeit_selection(eye, networks, sight, every, of, shape.stride)
        if shape.kind == "selection":
            return judge.selection(found.frames.tolist()), found.how, False
        return judge.unseen(eye.seen, shape), found.how, False

    yield "naive", naive
    yield "NoScope oracle", oracle
    if shape.filters:
        yield "BlazeIt", filtered


_ONCE: dict[tuple[str, str], Any] = {}


def count_of_once(wanted: str) -> Any:
    """Return the measure that counts a class, the same object each time."""
    return _ONCE.setdefault(("count", wanted), count_of(wanted))


def presence_of_once(wanted: str) -> Any:
    """Return the measure of a class in sight, the same object each time."""
    return _ONCE.setdefault(("presence", wanted), presence_of(wanted))


DRAWING = {("mean", "AQP (CLT)"), ("mean", "BlazeIt")}
"""Peers whose answer depends on what they draw."""


def ask_peer(way: Way, recording: Recording, prices: Prices, seed: int) -> Run:
    """Run a peer once, and price what it did."""
    eye = RecordedEye(recording, prices)
    error, how, bounds = way(eye, seed)
    bill = eye.bill
    wall, processor = sum(bill.values(), np.zeros(2))
    stages = {stage: float(seconds[0]) for stage, seconds in bill.items()}
    return Run(float(wall), float(processor), eye.calls, error, how, bounds, stages)


def judged(s: Scene, shape: Shape, name: str, way: Way, recording: Recording, free: Prices) -> str:
    """Return in how many of how many seeds a peer missed its target, with "kept" or "broken"."""
    draws = DRAWS if (shape.kind, name) in DRAWING else s.repeats
    runs = [ask_peer(way, recording, free, seed) for seed in range(draws)]
    misses = sum(run.error > target(s, shape) + 1e-9 for run in runs)
    by_chance = (shape.kind, name) in DRAWING
    plausible = float(stats.binom.sf(misses - 1, draws, 1 - CONFIDENCE)) >= 0.05
    kept = misses == 0 or (by_chance and plausible)
    return f"{'kept' if kept else 'broken'}, {misses}/{draws}"


def target(s: Scene, shape: Shape) -> float:
    """Return the error that a shape allows."""
    return {"mean": s.epsilon, "selection": WRONG}.get(shape.kind, 0.0)


def connect(s: Scene, folder: Path, seed: int) -> foveal.Connection:
    """Open a new database with the scene as table v."""
    con = foveal.connect(folder / "bench.db", settings={"seed": seed})
    options = "".join(f", {name} = {value}" for name, value in s.options.items())
    con.execute(
        f"CREATE VIDEO TABLE v FROM '{s.path}' "
        f"WITH (detector = '{s.detector}', max_count = {s.most}{options})"
    )
    return con


def ask(con: foveal.Connection, s: Scene, shape: Shape, judge: Judge) -> Run:
    """Ask foveal one shape."""
    began = clock()
    rows = con.execute(shape.sql).fetchall()
    seconds, processor = (clock() - began).tolist()
    q = con.last_query()
    assert q is not None
    error = 0.0
    if shape.kind == "mean":
        error = judge.mean(float(rows[0][0]))
    elif shape.kind == "search":
        error = judge.search([int(row[0]) for row in rows], s)
    elif shape.kind == "selection":
        error = judge.selection([int(row[0]) for row in rows])
    stages = {stage: q.seconds[stage] for stage in STAGES}
    how = f"{q.plan_kind}, {q.guarantee}"
    return Run(seconds, processor, q.detector_calls, error, how, True, stages)


def bench(s: Scene) -> Iterator[dict[str, Any]]:
    """Yield a row per shape and way: medians over the repetitions."""
    recording = Recording(s.path, load(s.detector, s.options))
    judge = Judge(recording.values(count_of_once(s.wanted)))
    networks = Networks(recording)
    asked = [a for a in shapes(s, recording.frames) if not s.only or a.number in s.only]
    runs: dict[tuple[int, str], list[Run]] = {}

    def keep(number: int, way: str, run: Run) -> None:
        if way.startswith("foveal"):
            said = f"{s.name} {number} {way}: {run.seconds:.2f} s, {run.calls} calls, {run.how}"
            print(f"{said}, error {run.error:.4f}", file=sys.stderr, flush=True)
        runs.setdefault((number, way), []).append(run)

    kept: dict[tuple[int, str], str] = {}
    calls_now: list[float] = []
    for seed in range(max(s.times(shape) for shape in asked)):
        prices = recording.measure(seed)
        for shape in asked:
            if seed >= s.times(shape):
                continue
            if not s.steady:
                prices = recording.measure(seed)
            calls_now.append(float(prices.call[0]))
            for name, way in peers(s, shape, recording, judge, networks):
                keep(shape.number, name, ask_peer(way, recording, prices, seed))
                if seed == 0:
                    verdict = judged(s, shape, name, way, recording, prices)
                    kept[shape.number, name] = verdict
            with tempfile.TemporaryDirectory() as folder, connect(s, Path(folder), seed) as con:
                keep(shape.number, "foveal cold", ask(con, s, shape, judge))
                keep(shape.number, "foveal again", ask(con, s, shape, judge))
            if shape.kind == "mean":
                with tempfile.TemporaryDirectory() as folder, connect(s, Path(folder), seed) as con:
                    con.execute("SET foveal.guarantee = 'asymptotic'")
                    keep(shape.number, "foveal asymptotic", ask(con, s, shape, judge))
    if s.shared:
        with tempfile.TemporaryDirectory() as folder, connect(s, Path(folder), 0) as con:
            # The dear, exact shapes come last: they label every frame.
            for shape in sorted(asked, key=lambda shape: shape.kind == "exact"):
                keep(shape.number, "foveal shared", ask(con, s, shape, judge))
    whole = recording.decode + recording.detect
    told = "now" if recording.fresh else "before, kept"
    print(
        f"{s.name}: {recording.frames} frames; naive measured once ({told}): {whole:.1f} s, "
        f"{1000 * recording.detect / recording.frames:.1f} ms a call; in this run "
        f"{1000 * statistics.median(calls_now):.1f} ms (from {1000 * min(calls_now):.1f} to "
        f"{1000 * max(calls_now):.1f})",
        file=sys.stderr,
    )
    for shape in asked:
        mine = {way: found for (number, way), found in runs.items() if number == shape.number}
        yield from _rows(s, shape, mine, kept, recording.frames)


def _rows(
    s: Scene,
    shape: Shape,
    mine: dict[str, list[Run]],
    kept: dict[tuple[int, str], str],
    frames: int,
) -> Iterator[dict[str, Any]]:
    cold = _middle(mine["foveal cold"], "seconds")
    for way, found in mine.items():
        seconds = [run.seconds for run in found]
        misses = sum(run.error > target(s, shape) + 1e-9 for run in found)
        yield {
            "case": f"{s.name} {shape.number} {shape.name}",
            "peer": way + ("" if found[0].bounds else " (no bound)"),
            "ours": round(cold, 4),
            "theirs": round(_middle(found, "seconds"), 4),
            "ratio": round(_middle(found, "seconds") / cold, 3),
            "spread": round((max(seconds) - min(seconds)) / statistics.median(seconds), 3),
            "unit": "s",
            "cpu s": round(_middle(found, "processor"), 3),
            "calls": int(_middle(found, "calls")),
            "of": frames,
            "runs": len(found),
            "error": round(max(run.error for run in found), 4),
            "target": target(s, shape),
            "promise": kept.get((shape.number, way), f"{misses}/{len(found)}"),
            **{
                f"{stage} s": round(statistics.median(r.stages[stage] for r in found), 3)
                for stage in ("decode", "detect", "train", "proxy")
            },
            "how": found[0].how,
        }


def _middle(found: list[Run], what: str) -> float:
    return statistics.median(float(getattr(run, what)) for run in found)


def verdicts(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield, for each case, how foveal cold stands against the best of the peers.

    The quickest and the fewest calls are those of peers that keep the target, the oracle apart.
    """
    for case in dict.fromkeys(row["case"] for row in rows):
        mine = [r for r in rows if r["case"] == case]
        cold = next(r for r in mine if r["peer"] == "foveal cold")
        others = [r for r in mine if not r["peer"].startswith("foveal")]
        oracle = next(r for r in others if "oracle" in r["peer"])
        real = [r for r in others if r is not oracle]
        keeping = [r for r in real if r["promise"].startswith("kept")]
        bounding = [r for r in keeping if "no bound" not in r["peer"]]
        quickest = min(real, key=lambda r: r["theirs"])
        best = min(keeping, key=lambda r: r["theirs"])
        fewest = min(bounding, key=lambda r: r["calls"])
        yield {
            "case": case,
            "foveal s": cold["theirs"],
            "quickest kept": best["peer"],
            "its s": best["theirs"],
            "foveal / it": round(cold["theirs"] / best["theirs"], 2),
            "quickest of all": quickest["peer"],
            "foveal / that": round(cold["theirs"] / quickest["theirs"], 2),
            "cpu": round(cold["cpu s"] / min(r["cpu s"] for r in keeping), 2),
            "/ oracle": round(cold["theirs"] / max(oracle["theirs"], 1e-9), 2),
            "foveal calls": cold["calls"],
            "fewest kept": f"{fewest['peer']} {fewest['calls']}",
            "without bounds": min(r["calls"] for r in keeping),
            "oracle": oracle["calls"],
            "broken": ", ".join(r["peer"] for r in others if r not in keeping and r is not oracle),
        }


def tally(found: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line per scene: on how many of the shapes foveal is the quickest and asks least."""
    for scene in dict.fromkeys(v["case"].split()[0] for v in found):
        mine = [v for v in found if v["case"].split()[0] == scene]
        least = [v for v in mine if v["foveal calls"] <= int(v["fewest kept"].split()[-1])]
        strict = [v for v in least if v["foveal calls"] < int(v["fewest kept"].split()[-1])]
        slow = [v["case"].split()[1] for v in mine if v["foveal / it"] > 1.1]
        dear = [v["case"].split()[1] for v in mine if v["cpu"] > 1.1]
        alone = f"{len(strict)} alone, the rest tie"
        late, dearer = (", ".join(which) or "none" for which in (slow, dear))
        yield (
            f"{scene}: fewest calls on {len(least)} of {len(mine)} ({alone}); over 10 % slower "
            f"than the best that keeps its promise: by the wall's clock {late}; in processor "
            f"time {dearer}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one clip, once")
    parser.add_argument("--json", action="store_true", help="print only the RESULT line")
    parser.add_argument("--hour", action="store_true", help="the rendered hour as well")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--exact-repeats", type=int, default=1, help="of what has no chance in it")
    parser.add_argument("--shapes", nargs="*", type=int, default=[], help="only these")
    parser.add_argument("--scenes", nargs="*", default=["one-by-one", "vtest", "bangkok"])
    options = parser.parse_args()
    rows = [row for scene in scenes(options) for row in bench(scene)]
    keys = ("case", "peer", "ours", "theirs", "ratio", "spread", "unit", "calls", "promise")
    found = list(verdicts(rows))
    if not options.json:
        report("blazeit detail", [], details=rows)
        print("\n".join(tally(found)), end="\n\n")
    report("blazeit", [{k: r[k] for k in keys} for r in rows], details=found, quiet=options.json)


if __name__ == "__main__":
    main()
