"""Thumbnails of a video table: decoded once, kept, counted; a cancelled look keeps what it saw."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from foveal.engine.catalog.videos import LiveTable
from foveal.engine.context import QueryContext
from foveal.engine.session import Session
from foveal.engine.thumbnails import ensure_thumbnails, thumbnails_at
from foveal.errors import QueryCanceled
from foveal.planner.cost import look_all, look_keyframes, look_sample
from foveal.planner.protocols import DecodeCounters, FrameFacts, Profile
from foveal.reports import Progress
from foveal.settings import defaults

OpenToy = Callable[..., Session]


def live(session: Session) -> LiveTable:
    session._refresh()  # pyright: ignore[reportPrivateUsage]
    return session._tables.table("street")  # pyright: ignore[reportPrivateUsage]


def context(progress: Callable[[Progress], None] | None = None) -> QueryContext:
    return QueryContext(defaults(), progress)


class Stopping(QueryContext):
    """A statement that is cancelled once it got anywhere."""

    def advance(self, stage: str, done: int, total: int | None) -> None:
        if done:
            self.cancelled.set()


def test_they_are_decoded_once_and_kept(open_toy: OpenToy, tmp_path: Path) -> None:
    told: list[Progress] = []
    wanted = np.array([0, 5, 89, 90, 120, 149, 189])
    table = live(open_toy(tmp_path / "d.db"))
    first = context(told.append)
    ensure_thumbnails(table, wanted, first)
    assert first.counters.frames_decoded >= 7
    assert first.counters.seconds > 0
    assert {p.stage for p in told} == {"look"}
    assert (told[-1].done, told[-1].total) == (7, 7)
    np.testing.assert_array_equal(np.flatnonzero(table.thumbnailed()), wanted)
    assert [v.thumbnails for v in table.facts().videos] == [3, 3, 1]
    seen = thumbnails_at(table, wanted)
    assert seen.shape == (7, 96, 96)
    for i, frames in table.split(wanted):
        video = table.videos[i]
        read = video.thumbnails(frames, counters=DecodeCounters(), cancel=lambda: None)
        low = int((wanted < table.starts[i]).sum())
        pictures = np.concatenate([part for _, part in read])
        np.testing.assert_array_equal(seen[low : low + len(frames)], pictures)
    again = context()
    ensure_thumbnails(table, wanted, again)
    assert again.counters == DecodeCounters()
    every = np.arange(table.frames)
    ensure_thumbnails(table, every, again)
    assert table.thumbnailed().all()
    np.testing.assert_array_equal(thumbnails_at(table, every)[wanted], seen)
    assert thumbnails_at(table, every[:0]).shape == (0, 96, 96)


def test_a_cancelled_look_keeps_what_it_saw(
    open_toy: OpenToy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foveal.connectors.video.thumbnails.BATCH", 16)
    table = live(open_toy())
    running = Stopping(defaults())
    with pytest.raises(QueryCanceled):
        ensure_thumbnails(table, np.arange(table.frames), running)
    assert 16 <= table.thumbnailed().sum() < table.frames
    ensure_thumbnails(table, np.arange(table.frames), context())
    assert table.thumbnailed().all()


def test_making_a_table_measures_thumbnails(open_toy: OpenToy) -> None:
    session = open_toy()
    table = live(session)
    profiles = table.storage.profiles
    first = table.facts().profile
    assert 0 < first.thumbnail < 0.1
    counters = DecodeCounters(frames_decoded=1000, seconds=1000 * 5 * first.thumbnail)
    for _ in range(30):
        profiles.looked(table.videos[0].content_hash, table.video_facts(0), counters)
    assert table.facts().profile.thumbnail > 1.5 * first.thumbnail
    assert table.facts().profile.decode_frame == first.decode_frame


def test_what_looks_cost() -> None:
    profile = Profile(0.004, 0.3, 0.04, thumbnail=0.003)
    short = FrameFacts(10_000, 0, 1000)
    long = FrameFacts(10_000, 0, 40)
    assert look_all(10_000, profile) == pytest.approx(30)
    for facts in (short, long):
        costs = [look_sample(n, facts, profile) for n in (1, 10, 100, 1000, 10_000)]
        assert costs == sorted(costs)
        assert costs[-1] <= look_all(10_000, profile)
        assert look_keyframes(facts, profile) <= look_all(10_000, profile)
    assert look_keyframes(long, profile) < look_keyframes(short, profile)
    assert look_sample(0, short, profile) == 0
