"""Specialised models: families learn what moves, are judged without peeking, are kept whole."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from foveal.errors import ProgrammingError, QueryCanceled
from foveal.udfs.models.proxies import (
    BASELINES,
    FAMILIES,
    LAST_RESORTS,
    Fitted,
    cnn,
    fit,
    load,
)
from foveal.udfs.models.proxies.folds import gap_folds, gap_of, nearness

LEARNERS = [name for name in FAMILIES if name not in (*BASELINES, *LAST_RESORTS)]


@dataclass(frozen=True)
class Clip:
    pictures: npt.NDArray[np.uint8]
    values: npt.NDArray[np.float64]
    times: npt.NDArray[np.float64]
    breaks: npt.NDArray[np.int64]

    def thumbnails(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        return self.pictures[positions]

    def fit(self, labelled: npt.NDArray[np.int64], **options: Any) -> Fitted:
        options = {"seed": 1, "cancel": lambda: None, **options}
        return fit(
            self.thumbnails, self.times, labelled, self.values[labelled], self.breaks,
            **options,
        )  # fmt: skip

    def score(self, fitted: Fitted, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return fitted.score(
            self.thumbnails, positions, times=self.times, breaks=self.breaks, cancel=lambda: None
        )


def seconds(frames: int, fps: float) -> npt.NDArray[np.float64]:
    return (np.arange(frames) / fps).astype(np.float64)


def clip(frames: int = 600, *, stay: float = 0.75, seed: int = 0, fps: float = 4.0,
         levels: tuple[int, ...] = (12, 40, 60)) -> Clip:  # fmt: skip
    """Bright objects that come and go on a fixed background; the value is how many are there."""
    rng = np.random.default_rng(seed)
    scene = rng.integers(60, 160, (96, 96))
    places = [(16 * i + 2, 16 * j + 2) for i in range(5) for j in range(5)]
    there = np.zeros(len(places), bool)
    pictures = np.empty((frames, 96, 96), np.uint8)
    values = np.empty(frames)
    for frame in range(frames):
        change = rng.random(len(places)) > stay
        there[change] = rng.random(int(change.sum())) < 0.12
        picture = scene + rng.normal(0, 3, (96, 96)) + 10 * np.sin(frame / 40)
        for (y, x), shown in zip(places, there, strict=True):
            if shown:
                picture[y : y + 12, x : x + 10] += rng.choice(levels)
        pictures[frame] = picture.clip(0, 255)
        values[frame] = there.sum()
    return Clip(pictures, values, seconds(frames, fps), np.array([0, frames]))


def quicken(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the network train on few labels and briefly, or skip it where torch is missing."""
    if family == "cnn":
        pytest.importorskip("torch")
        monkeypatch.setattr(cnn.Cnn, "least_labels", 100)
        monkeypatch.setattr(cnn, "EPOCHS", 15)
        monkeypatch.setattr(cnn, "JUDGING_FOLDS", 2)


CLIP = clip()
LABELLED = np.arange(0, 600, 4)
REST = np.setdiff1d(np.arange(600), LABELLED)


@pytest.mark.parametrize("family", LEARNERS)
def test_each_family_learns_a_planted_signal(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(family, monkeypatch)
    fitted = CLIP.fit(LABELLED, families=[family], seconds=600)
    assert fitted.family == family
    assert fitted.useful, fitted.why
    scores = CLIP.score(fitted, REST)
    error = float(((scores - CLIP.values[REST]) ** 2).mean())
    assert error < 0.5 * float(CLIP.values.var())
    assert fitted.r2 > 0.4 > fitted.r2_time
    # The judgement on left-out labels is about what other frames then show.
    assert fitted.r2 < float(np.corrcoef(scores, CLIP.values[REST])[0, 1] ** 2) + 0.1
    assert abs(scores.mean() - CLIP.values[REST].mean()) < 0.15


def test_training_is_deterministic_and_cheap_families_win_ties() -> None:
    plain = clip(levels=(60,))
    first, second = plain.fit(LABELLED), plain.fit(LABELLED)
    assert first.family == second.family in ("ridge", "kernel")
    assert plain.score(first, REST).tobytes() == plain.score(second, REST).tobytes()
    assert [t.family for t in first.trials][:2] == list(BASELINES)


@pytest.mark.parametrize("family", LEARNERS)
def test_kept_models_score_the_same(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(family, monkeypatch)
    fitted = CLIP.fit(LABELLED[:120], families=[family], seconds=600)
    arrays, facts = fitted.dump()
    assert all(array.dtype != object for array in arrays.values())
    again = load({k: v.copy() for k, v in arrays.items()}, json.loads(json.dumps(facts)))
    assert CLIP.score(again, REST).tobytes() == CLIP.score(fitted, REST).tobytes()
    assert again.why == fitted.why
    assert again.trials == fitted.trials


def test_values_without_a_trace_in_the_picture_are_refused() -> None:
    noise = Clip(
        CLIP.pictures,
        np.random.default_rng(3).poisson(2.0, 600).astype(np.float64),
        CLIP.times,
        CLIP.breaks,
    )
    fitted = noise.fit(LABELLED)
    assert not fitted.useful
    assert "no better than the mean" in fitted.why


def test_interpolation_wins_where_labels_are_dense_and_values_smooth() -> None:
    values = (3 + 2 * np.sin(np.arange(600) / 15)).astype(np.float64)
    smooth = Clip(CLIP.pictures, values, seconds(600, 25.0), CLIP.breaks)
    fitted = smooth.fit(LABELLED, counts=False)
    assert not fitted.useful
    assert fitted.r2_time_near > 0.95
    assert "interpolating" in fitted.why or "mean" in fitted.why


def test_what_is_too_little_to_learn_from() -> None:
    assert "too few" in CLIP.fit(LABELLED[:40]).why
    flat = Clip(CLIP.pictures, np.zeros(600), CLIP.times, CLIP.breaks)
    fitted = flat.fit(LABELLED)
    assert fitted.model is None
    assert not fitted.useful
    assert "in all but 0 of 150" in fitted.why
    with pytest.raises(ValueError, match="no model"):
        flat.score(fitted, REST)


def test_models_carry_over_to_another_video_of_the_scene() -> None:
    both = Clip(
        np.concatenate([CLIP.pictures, CLIP.pictures[::-1]]),
        np.concatenate([CLIP.values, CLIP.values[::-1]]),
        np.concatenate([CLIP.times, CLIP.times]),
        np.array([0, 600, 1200]),
    )
    fitted = both.fit(LABELLED)
    assert fitted.near_share < 0.5
    other = np.arange(600, 1200)
    scores = both.score(fitted, other)
    assert np.corrcoef(scores, both.values[other])[0, 1] ** 2 > 0.5


def test_probabilities_grow_with_the_score_and_are_about_right() -> None:
    fitted = CLIP.fit(LABELLED)
    line = np.linspace(-3, 12, 50)
    for least in (1, 3, 5):
        chances = fitted.at_least(line, least)
        assert (np.diff(chances) >= 0).all()
        assert chances[0] < 0.1
        assert chances[-1] > 0.9
        found = fitted.at_least(CLIP.score(fitted, REST), least)
        assert abs(found.mean() - (CLIP.values[REST] >= least).mean()) < 0.08


def test_left_out_scores_do_not_know_their_label() -> None:
    """Labels of pure noise: a score that has seen its own would follow it."""
    noise = np.random.default_rng(5).poisson(3.0, 600).astype(np.float64)
    fitted = Clip(CLIP.pictures, noise, CLIP.times, CLIP.breaks).fit(LABELLED, families=["kernel"])
    assert np.corrcoef(fitted.scores, noise[LABELLED])[0, 1] < 0.25


def test_folds_hide_what_lies_within_the_gap() -> None:
    times, videos = np.tile(seconds(60, 2.0), 2), np.repeat([0, 1], 60)
    for fold in gap_folds(times, videos, 2.0, 6):
        seen = np.setdiff1d(np.arange(120), fold.hidden)
        for i in fold.judged:
            same = seen[videos[seen] == videos[i]]
            assert (np.abs(times[same] - times[i]) >= 2.0).all()
        assert set(fold.judged) <= set(fold.hidden)
    assert gap_of(seconds(100, 10.0), np.array([0, 100])) == pytest.approx(0.99)


def test_nearness_says_where_unlabelled_frames_lie() -> None:
    times, breaks = seconds(1000, 10.0), np.array([0, 1000])
    dense = nearness(np.arange(0, 1000, 10), times, breaks, 2.0)
    assert dense.share == 1.0
    third = nearness(np.arange(0, 300, 3), times, breaks, 2.0)
    assert 0.2 < third.share < 0.35
    assert third.weights.mean() == pytest.approx(1.0)


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(ProgrammingError, match="kernal") as caught:
        CLIP.fit(LABELLED, families=["kernal"])
    assert caught.value.sqlstate == "42704"
    assert caught.value.hint == 'did you mean "kernel"?'
    with pytest.raises(ProgrammingError, match="interpolation"):
        CLIP.fit(LABELLED, families=["interpolation"])


def test_it_stops_when_it_is_told_to() -> None:
    def stop() -> None:
        raise QueryCanceled("the statement was cancelled")

    with pytest.raises(QueryCanceled):
        CLIP.fit(LABELLED, cancel=stop)


def test_a_last_resort_is_tried_where_the_others_fail() -> None:
    hidden = Clip(np.full_like(CLIP.pictures, 90), CLIP.values, CLIP.times, CLIP.breaks)
    noise = np.random.default_rng(7).normal(0, 0.7, 600)

    def seen(positions: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return (CLIP.values + noise)[positions, None].astype(np.float32)

    assert not hidden.fit(LABELLED).useful
    fitted = hidden.fit(LABELLED, extras={"small_detector": seen})
    assert fitted.family == "small_detector"
    assert fitted.useful
    easy = CLIP.fit(LABELLED, extras={"small_detector": seen})
    assert "small_detector" not in [trial.family for trial in easy.trials]


def test_no_time_no_family() -> None:
    fitted = CLIP.fit(LABELLED, seconds=1e-6)
    assert fitted.model is None
    assert "ridge takes about" in fitted.why
