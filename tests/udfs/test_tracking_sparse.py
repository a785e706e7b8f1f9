"""Trackers that look at few frames find the tracks of all: random worlds, with flicker."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.udfs.tracking import TRACKERS, Clip, Rows, Sightings, fetch_from, hits_of, trackids
from foveal.udfs.tracking.contributions import Contributions
from foveal.udfs.tracking.kalman import Run
from foveal.udfs.tracking.linked import Links, NotLookedAt
from foveal.udfs.tracking.sightings import Tracked

Tracks = dict[int, set[tuple[int, int]]]


def world(seed: int, frames: int, density: float, flicker: float, clutter: float) -> Rows:
    """Return the rows of objects that come, go, cross and flicker, and of false detections."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[float, ...]] = []
    for _ in range(rng.poisson(density)):
        begin, length = int(rng.integers(0, frames)), int(rng.integers(1, 60))
        x, y = rng.uniform(0, 300, 2)
        vx, vy = rng.normal(0, 4, 2)
        side = rng.uniform(15, 60)
        odd = rng.random() < 0.1  # seen in every other frame only, all of one parity
        for t in range(begin, min(begin + length, frames)):
            if rng.random() < flicker or (odd and (t - begin) % 2 and t - begin > 8):
                continue
            jitter = rng.normal(0, 1, 2)
            cx, cy = x + vx * (t - begin) + jitter[0], y + vy * (t - begin) + jitter[1]
            score = rng.choice([0.35, 0.9], p=[0.2, 0.8])
            rows.append((t, cx - side / 2, cy - side, cx + side / 2, cy + side, score))
    for _ in range(rng.poisson(clutter)):
        x, y = rng.uniform(0, 300, 2)
        rows.append((int(rng.integers(0, frames)), x, y, x + 30, y + 60, 0.6))
    table = np.array(sorted(rows), np.float64).reshape(-1, 6)
    frame = table[:, 0].astype(np.int64)
    place = np.arange(frame.size) - np.searchsorted(frame, frame)
    boxes, scores = table[:, 1:5].astype(np.float32), table[:, 5].astype(np.float32)
    return Rows(frame, place.astype(np.int64), boxes, scores)


def grouped(tracked: Tracked) -> Tracks:
    found: Tracks = {}
    ids = trackids(tracked)
    for i, t, p in zip(ids.tolist(), tracked.frame.tolist(), tracked.place.tolist(), strict=True):
        found.setdefault(i, set()).add((t, p))
    return found


def dense(name: str, clip: Clip, rows: Rows) -> Tracks:
    """Return the tracks of a run over every frame, one after the other."""
    sightings = Sightings(clip, fetch_from(rows))
    sightings.look(np.arange(clip.frames))
    if name == "kalman":
        run = Run(clip)
        for t in range(clip.frames):
            at = sightings.at(t)
            run.step(t, at.place, at.boxes, at.scores)
        found: Tracks = {}
        for tracked in run.tracks():
            found |= grouped(tracked)
        return found
    return grouped(TRACKERS[name].follow(sightings))


WORLDS = {
    "seed": st.integers(0, 2**32 - 1),
    "rate": st.sampled_from([5.0, 10.0, 25.0]),
    "density": st.sampled_from([0.5, 2.0, 6.0, 20.0]),
    "flicker": st.sampled_from([0.0, 0.1, 0.3, 0.6]),
    "clutter": st.sampled_from([0.0, 3.0, 30.0]),
}


@pytest.mark.parametrize("name", sorted(TRACKERS))
@settings(deadline=None, max_examples=60)
@given(**WORLDS)
def test_few_frames_give_the_tracks_of_all(
    name: str, seed: int, rate: float, density: float, flicker: float, clutter: float
) -> None:
    clip = Clip(300, rate, 320.0, 320.0)
    rows = world(seed, clip.frames, density, flicker, clutter)
    sightings = Sightings(clip, fetch_from(rows))
    found = grouped(TRACKERS[name].follow(sightings))
    assert found == dense(name, clip, rows)
    grid = np.arange(0, clip.frames, hits_of(rate))
    assert sightings.known[grid].all()


@settings(deadline=None, max_examples=60)
@given(**WORLDS)
def test_a_track_is_the_same_from_each_of_its_frames(
    seed: int, rate: float, density: float, flicker: float, clutter: float
) -> None:
    clip = Clip(300, rate, 320.0, 320.0)
    rows = world(seed, clip.frames, density, flicker, clutter)
    whole = dense("linked", clip, rows)
    member = {row: members for members in whole.values() for row in members}
    rng = np.random.default_rng(seed)
    chosen = rng.choice(rows.frame.size, min(rows.frame.size, 6), replace=False)
    for row in chosen.tolist():
        sightings = Sightings(clip, fetch_from(rows))
        sightings.look(rows.frame[row : row + 1])
        links = Links(sightings)
        point = (int(rows.frame[row]), int(rows.place[row]))
        while True:
            try:
                found = links.track(point)
                break
            except NotLookedAt as needed:
                sightings.look(needed.frames)
        assert (set(found) if found is not None else None) == member.get(point)


@pytest.mark.parametrize("name", sorted(TRACKERS))
def test_an_empty_video_costs_the_grid_alone(name: str) -> None:
    clip = Clip(1000, 25.0, 320.0, 320.0)
    sightings = Sightings(clip, fetch_from(world(0, 1000, 0.0, 0.0, 0.0)))
    assert TRACKERS[name].follow(sightings).frame.size == 0
    assert sightings.known.sum() == 200


@pytest.mark.parametrize(("name", "most"), [("kalman", 1000 / 5 + 150), ("linked", 1000 / 5 + 60)])
def test_one_short_visit_costs_little_more(name: str, most: float) -> None:
    rows = world(1, 1000, 0.0, 0.0, 0.0)
    frames = np.arange(400, 440)
    boxes = np.tile(np.array([[100, 100, 140, 160]], np.float32), (40, 1))
    rows = Rows(frames, np.zeros(40, np.int64), boxes, np.full(40, 0.9, np.float32))
    sightings = Sightings(Clip(1000, 25.0, 320.0, 320.0), fetch_from(rows))
    assert len(grouped(TRACKERS[name].follow(sightings))) == 1
    assert sightings.known.sum() <= most


@settings(deadline=None, max_examples=30)
@given(**WORLDS)
def test_what_frames_contribute_adds_up_to_the_tracks(
    seed: int, rate: float, density: float, flicker: float, clutter: float
) -> None:
    clip = Clip(300, rate, 320.0, 320.0)
    rows = world(seed, clip.frames, density, flicker, clutter)
    whole = dense("linked", clip, rows)
    groups = np.arange(clip.frames) // 150
    every = Contributions(Sightings(clip, fetch_from(rows)), groups)(np.arange(clip.frames))
    for g in (0, 1):
        tracks = sum(any(t // 150 == g for t, _ in members) for members in whole.values())
        assert every[groups == g].sum() == pytest.approx(tracks)
    few = Sightings(clip, fetch_from(rows))
    chosen = np.sort(np.random.default_rng(seed).choice(clip.frames, 4, replace=False))
    assert Contributions(few, groups)(chosen) == pytest.approx(every[chosen])
    # Tracks span less than the video: neither is all of it looked at.
    if density <= 0.5 and rate == 5.0 and not clutter:
        assert few.known.sum() < clip.frames
