"""ANALYZE VIDEO fills the caches ahead of time, evenly, within its budget; a stop keeps all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.engine import analyze as analyzing
from foveal.engine.analyze import coarse_to_fine
from foveal.engine.session import Session
from foveal.errors import FovealError
from foveal.reports import Progress

OpenToy = Callable[..., Session]
FRAMES = 190
NAMES = ("video", "frames", "thumbnails", "new_thumbnails", "detected", "newly_detected")


def rows(session: Session, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    result = session.execute(sql, list(parameters) or None)
    assert tuple(column.name for column in result.columns) == NAMES
    return result.fetchmany(100)


def notices(session: Session) -> str:
    return " | ".join(notice.message for notice in session.report.notices)


def test_everything_is_done_once(open_toy: OpenToy, tmp_path: Path) -> None:
    session = open_toy(tmp_path / "d.db")
    assert rows(session, "ANALYZE VIDEO street") == [
        ("a.mp4", 90, 90, 90, 90, 90),
        ("b.mp4", 60, 60, 60, 60, 60),
        ("v.mkv", 40, 40, 40, 40, 40),
    ]
    assert session.report.detector_calls == FRAMES
    assert session.report.frames_decoded >= 2 * FRAMES
    assert session.report.seconds["decode"] > 0
    assert "added 190 thumbnails and the detections of 190 frames" in notices(session)
    assert "goes on" not in notices(session)
    listed = session.execute("SELECT thumbnails, frames_cached FROM foveal.videos ORDER BY video")
    assert listed.fetchmany(5) == [(90, 90), (60, 60), (40, 40)]
    again = rows(session, "analyze video Street")
    assert [row[3] + row[5] for row in again] == [0, 0, 0]
    assert session.report.frames_decoded == 0
    session.execute("SELECT count(*) FROM street").fetchmany(1)
    assert session.report.detector_calls == 0
    session.close()
    reopened = open_toy(tmp_path / "d.db", create=False)
    assert sum(row[5] for row in rows(reopened, "ANALYZE VIDEO street")) == 0


def test_a_budget_of_calls_is_spread_and_kept_to(open_toy: OpenToy) -> None:
    session = open_toy()
    first = rows(session, "ANALYZE VIDEO street BUDGET 20 CALLS")
    assert session.report.detector_calls == 20
    assert sum(row[5] for row in first) == 20
    assert [row[2] for row in first] == [90, 60, 40]
    assert [round(row[5] / 20 * FRAMES / row[1], 1) for row in first] == pytest.approx(
        [1, 1, 1], abs=0.4
    )
    assert "the BUDGET is spent: ANALYZE VIDEO street goes on from here" in notices(session)
    second = rows(session, "ANALYZE VIDEO street BUDGET ? CALLS", 30)
    assert sum(row[5] for row in second) == 30
    assert sum(row[4] for row in second) == 50
    assert sum(row[3] for row in second) == 0
    third = rows(session, "ANALYZE VIDEO street BUDGET 100000 CALLS")
    assert sum(row[4] for row in third) == FRAMES
    assert "goes on" not in notices(session)


def test_a_budget_of_seconds_ends_it(open_toy: OpenToy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foveal.connectors.video.thumbnails.BATCH", 8)
    session = open_toy()
    found = rows(session, "ANALYZE VIDEO street BUDGET 0.000001 SECONDS")
    assert 0 < sum(row[3] for row in found) < FRAMES
    assert sum(row[5] for row in found) == 0
    assert "the BUDGET is spent" in notices(session)
    found = rows(session, "ANALYZE VIDEO street BUDGET 1000 SECONDS")
    assert [(row[2], row[4]) for row in found] == [(90, 90), (60, 60), (40, 40)]
    session.execute("SELECT count(*) FROM street WHERE frame < 3").fetchmany(1)


def test_an_estimate_after_it_stays_unbiased_in_use(open_toy: OpenToy) -> None:
    """What was analysed is a certainty stratum; with all of it the answer is exact."""
    session = open_toy()
    rows(session, "ANALYZE VIDEO street")
    sql = "SELECT FCOUNT(*) FROM street WHERE class = 'car'"
    exact = session.execute(sql).fetchmany(1)
    near = session.execute(sql + " ERROR WITHIN 0.5").fetchmany(1)
    assert near[0][0] == pytest.approx(exact[0][0], abs=0.5)
    assert session.report.detector_calls == 0


def test_ctrl_c_keeps_what_was_done_and_says_so(
    open_toy: OpenToy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analyzing, "FIRST", 10)
    session = open_toy()

    def stop(progress: Progress) -> None:
        if progress.stage == "detect" and progress.done >= 10:
            session.cancel()

    result = session.execute("ANALYZE VIDEO street", progress=stop)
    found = result.fetchmany(10)
    assert 10 <= sum(row[5] for row in found) < FRAMES
    assert "cancelled: ANALYZE VIDEO street goes on from here" in notices(session)
    assert sum(row[5] for row in rows(session, "ANALYZE VIDEO street")) == FRAMES - sum(
        row[5] for row in found
    )


def test_its_progress_runs_through(open_toy: OpenToy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analyzing, "FIRST", 10)
    told: list[Progress] = []
    open_toy().execute("ANALYZE VIDEO street BUDGET 100 CALLS", progress=told.append)
    stages = [progress.stage for progress in told]
    assert stages == sorted(stages, key=["look", "detect"].index)
    detect = [progress for progress in told if progress.stage == "detect"]
    assert {progress.total for progress in detect} == {100}
    counts = [progress.done for progress in detect]
    assert counts == sorted(counts)
    assert counts[-1] == 100


def test_inside_a_transaction_that_rolls_back(open_toy: OpenToy) -> None:
    session = open_toy()
    session.begin()
    rows(session, "ANALYZE VIDEO street BUDGET 12 CALLS")
    session.rollback()
    assert sum(row[4] for row in rows(session, "ANALYZE VIDEO street BUDGET 1 CALL")) == 13


def test_duckdbs_analyze_is_left_alone(open_toy: OpenToy) -> None:
    session = open_toy()
    session.execute("CREATE TABLE video (a INTEGER, b INTEGER)")
    for sql in ("ANALYZE", "ANALYZE video", "ANALYZE video (a)", "ANALYZE video(a, b);"):
        session.execute(sql)
        assert session.report.detector_calls == 0
    with pytest.raises(FovealError, match="does not exist") as caught:
        session.execute("ANALYZE VIDEO strete")
    assert (caught.value.sqlstate, caught.value.hint) == ("42P01", 'did you mean "street"?')
    with pytest.raises(FovealError) as caught:
        session.execute("ANALYZE VIDEO street BUDGET ? CALLS", ["many"])
    assert caught.value.sqlstate == "22023"


@pytest.mark.parametrize("frames", [0, 1, 2, 3, 7, 64, 100, 1000])
def test_every_prefix_is_spread(frames: int) -> None:
    order = coarse_to_fine(frames, 5)
    np.testing.assert_array_equal(np.sort(order), np.arange(frames))
    for n in range(1, frames + 1):
        cells = 1 << (n.bit_length() - 1)
        edges = np.arange(cells + 1) * frames // cells
        counts = np.histogram(order[:n], bins=edges)[0] if frames > 1 else np.array([1])
        assert counts.min() >= 1
        assert counts.max() <= 2


def test_the_first_frames_are_random_and_seeded() -> None:
    np.testing.assert_array_equal(coarse_to_fine(500, 3), coarse_to_fine(500, 3))
    firsts = np.array([coarse_to_fine(500, seed)[:4] for seed in range(2000)])
    assert len(np.unique(firsts[:, 0])) > 450
    # Uniform over the table: the mean of 2000 draws of sd 144 lies within 5 standard errors.
    assert abs(firsts[:, 0].mean() - 249.5) < 5 * 144.4 / 2000**0.5
    assert abs(np.sort(firsts, axis=1)[:, 0].mean() - 62) < 5 * 36.1 / 2000**0.5
