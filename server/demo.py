"""`foveal demo`: renders a street with known truth and asks questions about it.

With `--real` it asks a real clip instead, whose truth nobody knows.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from foveal import errors
from foveal.server.formats import text_of
from foveal.server.progress_line import ProgressLine
from foveal.server.status import Status

if TYPE_CHECKING:
    from foveal.dbapi import Connection
    from foveal.reports import QueryReport

REAL_CLIP = "one-by-one-person-detection.mp4"
REAL_DETECTOR = "yolox_nano"


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its SQL, and what the renderer knows of the answer (None for a real clip).

    `truth` gives, for the rows of the answer, the true value of each in words.
    """

    text: str
    sql: str
    truth: Callable[[list[tuple[object, ...]]], list[str]] | None


@dataclass(frozen=True, slots=True)
class Stage:
    """What is asked: a clip, its detector, an introduction, and the questions."""

    clip: Path
    detector: str
    introduction: str
    questions: tuple[Question, ...]


def main(arguments: Sequence[str]) -> int:
    """Run the demonstration and return the exit status."""
    parser = argparse.ArgumentParser(prog="foveal demo", description=__doc__)
    parser.add_argument("--real", action="store_true", help=f"ask {REAL_CLIP}")
    parser.add_argument("--seconds", type=float, default=90.0, help="length of the street's video")
    parser.add_argument("--seed", type=int, default=7, help="which street")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="keep clip and database there")
    options = parser.parse_args(arguments)
    try:
        with _folder(options.keep) as folder:
            if options.real:
                stage = _real_stage()
            else:
                stage = _rendered_stage(folder, options.seconds, options.seed)
            _play(stage, folder)
    except errors.Error as error:
        print(errors.render(error), file=sys.stderr)
        return Status.FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return Status.LOST
    return Status.OK


@contextlib.contextmanager
def _folder(keep: Path | None) -> Generator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="foveal-demo-") as name:
            yield Path(name)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{keep}: {error.strerror or error}"
        raise errors.OperationalError(message, sqlstate="58030") from error
    yield keep


def _rendered_stage(folder: Path, seconds: float, seed: int) -> Stage:
    """Render the street and word the questions so that they suit what happens in it."""
    import numpy as np

    from foveal.connectors.video.scene import render, truth_counts

    clip = folder / "street.mp4"
    terminal = sys.stderr if sys.stderr.isatty() else None

    def show(done: int, frames: int) -> None:
        if terminal is not None and (done % 25 == 0 or done == frames):
            terminal.write(f"\r\x1b[Krendering {done:,}/{frames:,} frames")
            terminal.flush()

    truth = render(clip, seed=seed, seconds=seconds, progress=show)
    if terminal is not None:
        terminal.write("\r\x1b[K")
    cars = truth_counts(truth, "car")
    people = truth_counts(truth, "person")
    crowd = max(1, int(np.quantile(people, 0.9)))
    second = np.arange(truth.frames) / truth.fps
    right = (truth.kind == truth.classes.index("person")) & (truth.xmin > 320)

    def by_half_minute(rows: list[tuple[object, ...]]) -> list[str]:
        starts = [float(str(row[0])) for row in rows]
        means = [people[(second >= t) & (second < t + 30)].mean() for t in starts]
        return [f"{mean:.3f}" for mean in means]

    def in_them(rows: list[tuple[object, ...]]) -> list[str]:
        return [f"{people[int(str(row[0]))]} people at least half visible" for row in rows]

    return Stage(
        clip,
        "demo",
        f"A rendered street: {truth.frames:,} frames, {truth.frames / truth.fps:.0f} s, seed "
        f"{seed}.\nThe cars and people are drawn, and the detector was trained on such drawings.\n"
        "The truth was counted while rendering; an interval is about what the detector would\n"
        "count if it ran on every frame, so the detector's own mistakes come on top.",
        (
            Question(
                "How many cars are in a frame, on average?",
                _average("car"),
                lambda _: [f"{cars.mean():.3f}"],
            ),
            Question(
                "How many people, in each half minute?",
                _by_half_minute("person"),
                by_half_minute,
            ),
            Question(
                "How often is a person seen on the right side of the picture, at each place?",
                _by_place("person"),
                lambda _: [f"{int(right.sum()):,}"],
            ),
            Question(
                f"Show five moments, two seconds apart, with {crowd} people or more.",
                _moments("person", crowd, round(2 * truth.fps)),
                in_them,
            ),
        ),
    )


def _real_stage() -> Stage:
    from foveal.connectors import assets

    return Stage(
        Path(assets.resolve(REAL_CLIP)),
        REAL_DETECTOR,
        "A real clip: people walk through a room one by one (Intel IoT DevKit sample videos,\n"
        "CC BY 4.0). Nobody counted its truth; an interval is about what the detector would\n"
        "count if it ran on every frame.",
        (
            Question("How many people are in a frame, on average?", _average("person"), None),
            Question("How many, in each half minute?", _by_half_minute("person"), None),
            Question("How often on the right side, at each place?", _by_place("person"), None),
            Question(
                "Show five moments, five seconds apart, with somebody in view.",
                _moments("person", 1, 50),
                None,
            ),
        ),
    )


def _average(kind: str) -> str:
    return (
        f"SELECT FCOUNT(*) AS average FROM street WHERE class = '{kind}'\n"
        "ERROR WITHIN 0.1 AT CONFIDENCE 95%"
    )


def _moments(kind: str, least: int, gap: int) -> str:
    return (
        "SELECT frame, ts FROM street GROUP BY frame, ts\n"
        f"HAVING SUM(class = '{kind}') >= {least} LIMIT 5 GAP {gap}"
    )


def _by_half_minute(kind: str) -> str:
    return (
        "SELECT floor(ts / 30) * 30 AS second, FCOUNT(*) AS average FROM street\n"
        f"WHERE class = '{kind}' GROUP BY second ERROR WITHIN 0.3 AT CONFIDENCE 95%"
    )


def _by_place(kind: str) -> str:
    return (
        "SELECT place, sightings FROM cameras JOIN (\n"
        f"  SELECT video, COUNT(*) AS sightings FROM street WHERE class = '{kind}' AND xmin > 320\n"
        "  GROUP BY video ERROR WITHIN 20%) USING (video)"
    )


def _play(stage: Stage, folder: Path) -> None:
    from foveal.dbapi import connect

    line = ProgressLine(sys.stderr) if sys.stderr.isatty() else None
    print(stage.introduction)
    with connect(folder / "demo.db", progress=line) as connection:
        clip = str(stage.clip).replace("'", "''")
        for sql in (
            f"CREATE OR REPLACE VIDEO TABLE street FROM '{clip}' "
            f"WITH (detector = '{stage.detector}', max_count = 8)",
            "CREATE OR REPLACE TABLE cameras AS SELECT DISTINCT video, 'Main Street' AS place "
            "FROM foveal.videos WHERE table_name = 'street'",
        ):
            connection.execute(sql)
        for number, question in enumerate(stage.questions, start=1):
            print(f"\n{number}. {question.text}\n")
            print("   " + question.sql.replace("\n", "\n   ") + "\n", flush=True)
            _answer(connection, question, line)


def _answer(connection: Connection, question: Question, line: ProgressLine | None) -> None:
    cursor = connection.execute(question.sql)
    rows = cursor.fetchall()
    if line is not None:
        line.erase()
    names = [name for name, *_ in cursor.description or []]
    report = connection.last_query()
    truths = question.truth(rows) if question.truth is not None else []
    intervals = _intervals(report)
    for place, row in enumerate(rows):
        pairs = zip(names, row, strict=True)
        parts = ["  ".join(f"{name} = {_short(value)}" for name, value in pairs)]
        if len(intervals) == len(rows):
            parts.append("in [{:.6g}, {:.6g}]".format(*intervals[place]))
        if len(truths) == len(rows):
            parts.append(f"truth {truths[place]}")
        print("   " + "   ".join(parts))
    if report is not None:
        print(f"   {_costs(report)}", flush=True)
    for notice in cursor.notices:
        print(f"   {notice.severity}: {notice.message}")


def _intervals(report: QueryReport | None) -> list[tuple[float, float]]:
    """Return the answer's intervals, a row each, where the statement has any."""
    if report is None or report.intervals is None:
        return []
    held = report.intervals
    ends = [cast("list[float]", held.column(name).to_pylist()) for name in ("low", "high")]
    return list(zip(*ends, strict=True))


def _costs(report: QueryReport) -> str:
    known = f", {report.frames_cached:,} were known" if report.frames_cached else ""
    saved = report.frames_total - report.detector_calls
    return (
        f"the detector ran on {report.detector_calls:,} of {report.frames_total:,} frames{known}: "
        f"{saved:,} calls saved   guarantee {report.guarantee}   "
        f"{report.seconds.get('total', 0.0):.1f} s"
    )


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else text_of(value)
