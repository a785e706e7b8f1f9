"""Difference detectors on a table: fitted to labels, kept within a video, and only an order."""

from collections.abc import Callable

import numpy as np

from foveal.engine.context import QueryContext
from foveal.engine.session import Session
from foveal.engine.stages import Stages
from foveal.settings import defaults


def test_stages_follow_labels_and_videos(open_toy: Callable[..., Session]) -> None:
    session = open_toy()
    seen = session.execute("SELECT DISTINCT video, frame FROM street").fetchall()
    session._refresh()  # pyright: ignore[reportPrivateUsage]
    table = session._tables.table("street")  # pyright: ignore[reportPrivateUsage]
    starts = {v.name: int(s) for v, s in zip(table.videos, table.starts, strict=False)}
    truth = np.zeros(table.frames, np.bool_)
    truth[[starts[video] + frame for video, frame in seen]] = True
    every = np.arange(table.frames, dtype=np.int64)
    stages = Stages(table, every, QueryContext(defaults()))
    labelled = every % 2 == 0
    found = stages.fitted(labelled, truth, 0.2)
    rejecting = [s for s in found if s.empty is not None]
    inheriting = [s for s in found if s.leaders is not None]
    assert rejecting or inheriting
    for stage in rejecting:
        assert stage.empty is not None
        assert truth[stage.empty].mean() < 0.3 * truth.mean()
    for stage in inheriting:
        assert stage.leaders is not None
        video = np.searchsorted(table.starts[1:-1], every, side="right")
        assert (video[stage.leaders] == video).all()
        assert (stage.leaders <= every).all()
        follows = stage.leaders != every
        assert (truth[stage.leaders] == truth)[follows].mean() > 0.8
    # Where a frame between is left out there is nothing to inherit from it.
    apart = Stages(table, every[::2], QueryContext(defaults()))
    for stage in apart.fitted(labelled[::2], truth[::2], 0.2):
        if stage.leaders is not None:
            assert (every[::2][stage.leaders] <= every[::2]).all()
    assert not stages.fitted(np.zeros(table.frames, np.bool_), truth, 0.2)
