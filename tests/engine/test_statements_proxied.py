"""Aggregates that look through a proxy: trained on the way, stored, or alone, without a bound."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.engine.cache.profiles import Profiles
from foveal.engine.operators.proxy_look import ProxyLook
from foveal.engine.session import Session
from foveal.planner.estimators import SamplingRun
from foveal.planner.protocols import Profile

FRAMES = 1200
CARS = "SELECT FCOUNT(*) FROM street WHERE class = 'car'"


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clip whose counts jump from frame to frame: time tells nothing, pixels all."""
    import av

    path = tmp_path_factory.mktemp("long") / "jumps.mp4"
    draws = np.random.default_rng(5)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(  # pyright: ignore[reportUnknownMemberType]
            "libx264", rate=10, options={"crf": "8", "preset": "ultrafast", "g": "12"}
        )
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(FRAMES):
            image = np.full((64, 96, 3), 12, np.uint8)
            for lane in draws.permutation(4)[: draws.integers(0, 4)]:
                x = 4 * int(draws.integers(0, 20))
                image[16 * lane : 16 * lane + 8, x : x + 8, 0] = 200
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the planner believe in a detector that takes 20 seconds a frame."""
    known = Profiles.profile

    def profile(self: Profiles, *given: Any, **named: Any) -> Profile:
        return replace(known(self, *given, **named), detect_frame=20.0)

    monkeypatch.setattr(Profiles, "profile", profile)


@pytest.fixture
def ask(long_clip: Path, toy: Any) -> Iterator[Callable[..., Session]]:
    """Return a function that opens a session over the clip."""
    opened: list[Session] = []

    def open_session(**settings: Any) -> Session:
        session = Session(":memory:", settings={"isolate_decode": False, "threads": 1, **settings})
        session.execute(
            f"CREATE VIDEO TABLE street FROM '{long_clip}' WITH (detector = '{toy.detector}', "
            "classes = 'car,person,bus', iou = 0.3, max_count = 6)"
        )
        opened.append(session)
        return session

    yield open_session
    for session in opened:
        session.close()


def _never(look: ProxyLook, run: SamplingRun) -> None:
    del look, run


def truth(open_session: Callable[..., Session]) -> float:
    rows = open_session().execute(CARS).fetchall()
    return float(str(rows[0][0]))


@pytest.mark.usefixtures("dear")
def test_a_proxy_is_trained_on_the_way_and_used_again(ask: Callable[..., Session]) -> None:
    session = ask()
    first = session.execute(f"{CARS} ERROR WITHIN 0.08")
    exact = truth(ask)
    assert abs(float(str(first.fetchall()[0][0])) - exact) <= 0.08
    assert first.report.plan_kind == "learn"
    listed = session.execute("SELECT quantity, useful, labels FROM foveal.proxies").fetchall()
    assert [row[:2] for row in listed] == [("COUNT(class = 'car')", True)]
    alone = ask()
    alone.execute("CREATE PROXY cars ON street FOR COUNT(class = 'car') WITH (labels = 200)")
    again = alone.execute(f"{CARS} ERROR WITHIN 0.05")
    assert abs(float(str(again.fetchall()[0][0])) - exact) <= 0.05
    assert again.report.plan_kind == "proxy"
    assert again.report.guarantee == "finite"


@pytest.mark.usefixtures("dear")
def test_the_scores_save_detector_calls(
    ask: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: dict[bool, int] = {}
    for through in (True, False):
        session = ask()
        session.execute("CREATE PROXY cars ON street FOR COUNT(class = 'car') WITH (labels = 200)")
        if not through:
            session.execute("DROP PROXY cars")
            monkeypatch.setattr(ProxyLook, "consider", _never)
        result = session.execute(f"{CARS} ERROR WITHIN 0.05")
        result.fetchall()
        calls[through] = result.report.detector_calls
    assert calls[True] < 0.7 * calls[False]


@pytest.mark.usefixtures("dear")
def test_without_a_guarantee_a_proxy_answers_alone(ask: Callable[..., Session]) -> None:
    session = ask(guarantee="none")
    result = session.execute(f"{CARS} ERROR WITHIN 0.01")
    value = float(str(result.fetchall()[0][0]))
    assert result.report.plan_kind == "rewrite"
    assert result.report.guarantee == "none"
    assert result.report.low is None
    assert result.report.detector_calls == 200
    assert any("nothing bounds the error" in n.message for n in result.report.notices)
    assert abs(value - truth(ask)) < 0.2
