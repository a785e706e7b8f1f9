"""What the console says about an answer and about a running statement."""

import io

import pytest

from foveal.reports import Progress, QueryReport
from foveal.server.progress_line import ProgressLine, describe
from foveal.server.shell import describe_answer


def test_an_approximate_answer() -> None:
    report = QueryReport(
        guarantee="finite",
        confidence=0.95,
        estimate=1.5,
        low=1.4,
        high=1.6,
        detector_calls=1200,
        frames_total=9000,
        frames_cached=300,
        seconds={"total": 3.25},
    )
    assert describe_answer(report) == (
        "1.5 ± 0.1 at 95 % confidence (finite) · "
        "detector ran on 1,200 of 9,000 frames (300 cached) · 3.2 s"
    )
    report.high, report.target_met = 3.0, False
    line = describe_answer(report)
    assert line is not None
    assert line.startswith(
        "1.5, between 1.4 and 3 at 95 % confidence (finite), short of the target"
    )


def test_an_exact_answer_over_video_has_its_cost_and_others_nothing() -> None:
    assert describe_answer(QueryReport()) is None
    report = QueryReport(detector_calls=10, frames_total=10, seconds={"total": 75.0})
    assert describe_answer(report) == "detector ran on 10 of 10 frames · 1 min 15 s"


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress("index", 5, None, 2.0), "index 5 frames"),
        (Progress("detect", 5, 10, 2.0, 0.5), "detect 5/10 frames · 500 ms left"),
        (
            Progress("detect", 5, 10, 2.0, 4000.0, 0.5, 0.4, 0.6),
            "detect 5/10 frames · 0.5 ± 0.1 · 1 h 06 min left",
        ),
    ],
)
def test_progress(progress: Progress, text: str) -> None:
    assert describe(progress) == text


def test_the_progress_line_waits_a_second_and_erases_itself() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream)
    line(Progress("detect", 1, 10, 0.4))
    line.erase()
    assert stream.getvalue() == ""
    line(Progress("detect", 5, 10, 1.2))
    line(Progress("detect", 6, 10, 1.2001))
    line.erase()
    assert stream.getvalue() == "\r\x1b[Kdetect 5/10 frames\r\x1b[K"
