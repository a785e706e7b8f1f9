"""Peers that are answered from a recorded naive run see what looking gives, and pay for it."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from foveal.connectors.video.scene import render
from foveal.planner.protocols import DecodeCounters

BENCHES = Path(__file__).resolve().parents[1] / "benches"


@pytest.fixture
def benches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[ModuleType, ModuleType, Path]:
    """The modules `eye` and `recorded`, and a clip; the naive run is kept in a new folder."""
    monkeypatch.setenv("FOVEAL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(BENCHES))
    clip = tmp_path / "street.mp4"
    render(clip, seed=3, seconds=6.0)
    return importlib.import_module("eye"), importlib.import_module("recorded"), clip


def test_a_recorded_look_is_a_look_and_every_frame_is_paid_for_once(
    benches: tuple[ModuleType, ModuleType, Path],
) -> None:
    eyes, recorded, clip = benches
    detector = eyes.load("demo", {})
    first = recorded.Recording(clip, detector)
    again = recorded.Recording(clip, detector)
    assert first.fresh
    assert not again.fresh
    cars = eyes.count_of("car")
    live = eyes.Eye(clip, detector)
    some = np.array([0, 3, 17, 40, 41], np.int64)
    price = np.array([2.0, 1.0])
    none = np.zeros(2)
    eye = recorded.RecordedEye(again, recorded.Prices(price, none, none, none))
    for frames in (some, some[:2]):
        assert np.array_equal(eye.look(frames, cars), live.look(frames, cars))
    assert eye.calls == live.bill.calls == 5
    assert eye.bill["detect"].tolist() == [10.0, 5.0]


def test_decoding_is_charged_as_the_reader_decodes(
    benches: tuple[ModuleType, ModuleType, Path],
) -> None:
    eyes, recorded, clip = benches
    recording = recorded.Recording(clip, eyes.load("demo", {}))
    one, none = np.ones(2), np.zeros(2)
    for count in (1, 4, 30):
        rng = np.random.default_rng(count)
        frames = np.sort(rng.choice(recording.frames, count, replace=False)).astype(np.int64)
        counters = DecodeCounters()
        pictures = list(recording.video.read(frames, counters=counters, cancel=lambda: None))
        decoded = recording.decoding(frames, recorded.Prices(none, one, none, none))[0]
        converted = recording.decoding(frames, recorded.Prices(none, none, none, one))[0]
        # A decoder that reorders pictures may have to run a few further.
        assert decoded == pytest.approx(counters.frames_decoded, rel=0.15, abs=3)
        assert converted == len(pictures)
