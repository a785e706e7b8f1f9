"""End-to-end questions about real clips: foveal, cold and warm, against looking at every frame.

    FOVEAL_ASSETS=... python benches/video.py [--quick] [--json]

The peer decodes every frame in order, in this process, runs the same ONNX detector on each with
the same threads, keeps the counts and lets DuckDB answer. It runs before and after foveal's
queries, and the quicker run stands against each of them. These start from a new database (cold:
decode, detect and estimate included) or repeat the query there (warm). `error` is the greatest
distance to the answer of the detector on every frame.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from report import arguments, report

import foveal
from foveal.udfs import detectors

DETECTOR = "yolox_nano"
CONFIDENCE = 0.3
BATCH = 8


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip, the class asked for, and the count that makes a frame rare enough to look for."""

    file: str
    wanted: str
    error: float
    many: int


CLIPS = (
    Clip("vtest.avi", "person", 0.5, 8),
    Clip("one-by-one-person-detection.mp4", "person", 0.1, 2),
    Clip("bangkok_half_res.mp4", "car", 1.0, 14),
)


def find(name: str) -> Path:
    """Return an asset's path from the folders of FOVEAL_ASSETS."""
    for folder in os.environ.get("FOVEAL_ASSETS", "").split(os.pathsep):
        if folder and (Path(folder) / name).is_file():
            return Path(folder) / name
    sys.exit(f"no folder of FOVEAL_ASSETS holds {name}: this bench needs the real clips")


@dataclass(frozen=True, slots=True, eq=False)
class Naive:
    """What looking at every frame costs (seconds) and gives: `counts` int64 [frames]."""

    decode: float
    detect: float
    counts: npt.NDArray[np.int64]

    @property
    def total(self) -> float:
        """Seconds altogether."""
        return self.decode + self.detect


def look_at_every_frame(path: Path, wanted: str, frames: int | None) -> Naive:
    """Decode and detect the first `frames` frames (all, if None) one after the other."""
    detector = detectors.load(
        DETECTOR,
        options={"confidence": CONFIDENCE},
        resolve=lambda name: find(f"models/{name}"),
        threads=0,
        device="cpu",
    )
    kind = detector.info.classes.index(wanted)
    detector.detect([np.zeros((64, 64, 3), np.uint8)])  # loading is nobody's cost
    decode = detect = 0.0
    counts: list[int] = []
    batch: list[npt.NDArray[np.uint8]] = []

    def flush() -> None:
        nonlocal detect
        began = time.perf_counter()
        found = detector.detect(batch)
        counts.extend(int(np.count_nonzero(one.classes == kind)) for one in found)
        detect += time.perf_counter() - began
        batch.clear()

    with av.open(str(path)) as container:
        began = time.perf_counter()
        for frame in container.decode(video=0):
            batch.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
            decode += time.perf_counter() - began
            if len(batch) == BATCH:
                flush()
            if frames is not None and len(counts) + len(batch) >= frames:
                break
            began = time.perf_counter()
        if batch:
            flush()
    return Naive(decode, detect, np.array(counts, np.int64))


@dataclass(frozen=True, slots=True)
class Question:
    """One statement, the same in DuckDB over the naive counts, and whether it may be repeated."""

    name: str
    sql: str
    naive: str


def questions(clip: Clip, frames: int | None) -> Iterator[Question]:
    """Yield the questions about a clip, over its first `frames` frames if given."""
    part = f" AND frame < {frames}" if frames is not None else ""
    count = f"SELECT FCOUNT(*) FROM v WHERE class = '{clip.wanted}'{part}"
    mean = "SELECT avg(n) FROM naive"
    yield Question("fcount exact", count, mean)
    for error in (clip.error, clip.error / 2):
        yield Question(f"fcount within {error:g}", f"{count} ERROR WITHIN {error}", mean)
    yield Question(
        f"10 frames with {clip.many}+",
        f"SELECT frame FROM v WHERE class = '{clip.wanted}'{part} GROUP BY frame "
        f"HAVING count(*) >= {clip.many} LIMIT 10 GAP 5",
        f"SELECT least(count(*), 10) FROM naive WHERE n >= {clip.many}",
    )
    yield Question(
        "frames within FNR FPR 5%",
        f"SELECT DISTINCT frame FROM v WHERE class = '{clip.wanted}'{part} "
        "FNR WITHIN 5% FPR WITHIN 5%",
        "SELECT count(*) FROM naive WHERE n >= 1",
    )


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run of a question took and gave. Seconds by stage; calls of the detector."""

    answer: float
    seconds: Mapping[str, float]
    calls: int
    expected_calls: int
    expected_seconds: float
    frames_decoded: int
    guarantee: str
    plan: str


def chosen(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the alternatives that EXPLAIN says will run; what lies below one serves it."""
    here = [a for a in node.get("alternatives", ()) if a["chosen"]]
    yield from here
    if not here:
        for child in node.get("children", ()):
            yield from chosen(child)


def ask(con: foveal.Connection, sql: str) -> Measured:
    """Explain and run one statement."""
    row = con.execute(f"EXPLAIN (FORMAT JSON) {sql}").fetchone()
    assert row is not None
    (plan,) = json.loads(str(row[-1]))
    picks = list(chosen(plan["plan"]))
    began = time.perf_counter()
    rows = con.execute(sql).fetchall()
    wall = time.perf_counter() - began
    q = con.last_query()
    assert q is not None
    return Measured(
        answer=float(rows[0][0]) if "FCOUNT" in sql else float(len(rows)),
        seconds={**q.seconds, "total": wall},
        calls=q.detector_calls,
        expected_calls=sum(a["calls"] for a in picks),
        expected_seconds=sum(a["total"] for a in picks),
        frames_decoded=q.frames_decoded,
        guarantee=q.guarantee,
        plan=" ".join(a["name"] for a in picks),
    )


def bench(clip: Clip, frames: int | None, repeats: int) -> Iterator[dict[str, Any]]:
    """Yield a row per question and state of the cache."""
    path = find(f"video/{clip.file}")
    naive = look_at_every_frame(path, clip.wanted, frames)
    seen = pa.Table.from_pydict({"n": naive.counts})
    with duckdb.connect() as db:
        db.register("naive", seen)
        truths = {
            question.name: float((db.execute(question.naive).fetchone() or (0,))[0])
            for question in questions(clip, frames)
        }
    answers: dict[str, dict[str, list[Measured]]] = {}
    for question in questions(clip, frames):
        runs: dict[str, list[Measured]] = {"cold": [], "warm": []}
        exact = "ERROR" not in question.sql
        for repeat in range(1 if exact else repeats):
            with tempfile.TemporaryDirectory() as folder:
                database = Path(folder) / "bench.db"
                with foveal.connect(database, settings={"seed": repeat}) as con:
                    con.execute(
                        f"CREATE VIDEO TABLE v FROM '{path}' "
                        f"WITH (detector = '{DETECTOR}', confidence = {CONFIDENCE})"
                    )
                    for state in ("cold", "warm"):
                        runs[state].append(ask(con, question.sql))
        answers[question.name] = runs
    again = look_at_every_frame(path, clip.wanted, frames)
    best = min(naive, again, key=lambda run: run.total)
    for name, runs in answers.items():
        for state, measured in runs.items():
            yield row(clip, name, state, best, truths[name], measured)


def row(
    clip: Clip, name: str, state: str, naive: Naive, truth: float, runs: list[Measured]
) -> dict[str, Any]:
    """Return the figures of one question: medians over its runs."""

    def middle(values: list[float]) -> float:
        return statistics.median(values)

    totals = [run.seconds["total"] for run in runs]
    ours = middle(totals)
    return {
        "case": f"{clip.file.split('.')[0]}: {name}, {state}",
        "plan": runs[0].plan,
        "guarantee": runs[0].guarantee,
        "decode s": middle([run.seconds.get("decode", 0.0) for run in runs]),
        "detect s": middle([run.seconds.get("detect", 0.0) for run in runs]),
        "train s": middle([run.seconds.get("train", 0.0) for run in runs]),
        "proxy s": middle([run.seconds.get("proxy", 0.0) for run in runs]),
        "estimate s": middle([run.seconds.get("estimate", 0.0) for run in runs]),
        "total s": ours,
        "expected s": middle([run.expected_seconds for run in runs]),
        "calls": int(middle([float(run.calls) for run in runs])),
        "expected": int(middle([float(run.expected_calls) for run in runs])),
        "of": len(naive.counts),
        "decoded": int(middle([float(run.frames_decoded) for run in runs])),
        "answer": middle([run.answer for run in runs]),
        "error": max(abs(run.answer - truth) for run in runs),
        "peer": "every frame, then DuckDB",
        "ours": round(ours, 4),
        "theirs": round(naive.total, 4),
        "ratio": round(naive.total / ours, 3),
        "spread": round((max(totals) - min(totals)) / ours, 3),
        "unit": "s",
    }


def main() -> None:
    options = arguments(__doc__ or "")
    clips, frames, repeats = (CLIPS[2:], 120, 1) if options.quick else (CLIPS, None, 3)
    details = [found for clip in clips for found in bench(clip, frames, repeats)]
    keys = ("case", "peer", "ours", "theirs", "ratio", "spread", "unit")
    report(
        "video",
        [{key: detail[key] for key in keys} for detail in details],
        details=[{k: v for k, v in d.items() if k not in keys[1:]} for d in details],
        quiet=options.json,
    )


if __name__ == "__main__":
    main()
