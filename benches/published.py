"""Published ways to query video, as peers: each looks through an `Eye` and answers a question.

NoScope: Kang et al., VLDB 2017 (BlazeIt is in blazeit_peers.py). Where the paper trains on another
day, a clip has only itself: the first third is labelled for training and the next sixth is held
out, both paid for by the detector, and the network is a small one that such clips can train.
None of these bounds its error on the video it is asked about, but for sampling, asymptotically.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from eye import Eye, Frames, Measure, Values, View
from scipy import special

from foveal.udfs.models.proxies import Fitted, fit

DIFFERENCES = 24
"""Thresholds of the difference detector that are tried."""
BOOTSTRAPS = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Mean:
    """An aggregate's answer; `kept` says whether its stopping rule bounds the error at all."""

    estimate: float
    how: str
    kept: bool


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Frames that a search or a selection returns, sorted."""

    frames: Frames
    how: str


# --- aggregates --------------------------------------------------------------------------------


def naive_mean(eye: View, measure: Measure) -> Mean:
    """Look at every frame."""
    every = np.arange(eye.frames, dtype=np.int64)
    return Mean(float(eye.look(every, measure).mean()), "every frame", True)


def oracle_mean(eye: View, measure: Measure, holds: npt.NDArray[np.bool_]) -> Mean:
    """NoScope with perfect knowledge: only frames that hold the class are looked at."""
    values = eye.look(np.flatnonzero(holds).astype(np.int64), measure)
    return Mean(float(values.sum()) / eye.frames, "frames with the class, known for free", True)


def sampled_mean(
    eye: View, measure: Measure, epsilon: float, delta: float, most: float, seed: int
) -> Mean:
    """BlazeIt's AQP: uniform samples, K/epsilon of them at first, until the CLT is satisfied."""
    order = np.random.default_rng(seed).permutation(eye.frames).astype(np.int64)
    count = min(math.ceil(most / epsilon), eye.frames)
    while True:
        values = eye.look(np.sort(order[:count]), measure)
        if clt(values, eye.frames, delta) < epsilon or count == eye.frames:
            return Mean(float(values.mean()), f"{count} samples", True)
        count = min(math.ceil(count * 1.5), eye.frames)


def interpolated_mean(eye: View, measure: Measure, epsilon: float) -> Mean:
    """Frames at equal steps, twice as many until two answers agree; no bound on the error."""
    count, before = 16, math.inf
    while True:
        count = min(count, eye.frames)
        places = np.unique(np.linspace(0, eye.frames - 1, count).astype(np.int64))
        values = eye.look(places, measure)
        answer = float(np.interp(np.arange(eye.frames), places, values).mean())
        if abs(answer - before) < epsilon / 2 or count == eye.frames:
            return Mean(answer, f"{count} frames at equal steps", False)
        before, count = answer, count * 2


def clt(values: Values, population: int, delta: float) -> float:
    """Return the half width of the mean's interval by the central limit theorem."""
    if len(values) < 2:
        return math.inf
    left = (population - len(values)) / max(population - 1, 1)
    z = -float(special.ndtri(delta / 2))
    return z * float(values.std(ddof=1)) * math.sqrt(left / len(values))


# --- searches ----------------------------------------------------------------------------------


def verify(
    eye: View, measure: Measure, order: Frames, least: float, limit: int, gap: int
) -> Frames:
    """Look at frames in `order`, skip those too near to what was found, stop at the limit."""
    found: list[int] = []
    for frame in order.tolist():
        if len(found) == limit:
            break
        if any(abs(frame - other) < gap for other in found):
            continue
        if eye.look(np.array([frame], np.int64), measure)[0] >= least:
            found.append(frame)
    return np.sort(np.array(found, np.int64))


def sequential_search(eye: View, measure: Measure, least: float, limit: int, gap: int) -> Found:
    """Look at frames in order until enough are found."""
    found: list[int] = []
    for start in range(0, eye.frames, 64):
        frames = np.arange(start, min(start + 64, eye.frames), dtype=np.int64)
        for frame, value in zip(frames.tolist(), eye.look(frames, measure).tolist(), strict=True):
            if value >= least and len(found) < limit and all(frame - f >= gap for f in found):
                found.append(frame)
        if len(found) == limit:
            break
    return Found(np.array(found, np.int64), "in order")


def oracle_search(
    eye: View, measure: Measure, least: float, limit: int, gap: int, holds: npt.NDArray[np.bool_]
) -> Found:
    """NoScope with perfect knowledge: frames with the class, in order."""
    order = np.flatnonzero(holds).astype(np.int64)
    return Found(verify(eye, measure, order, least, limit, gap), "frames with the class, in order")


# --- selections --------------------------------------------------------------------------------


def noscope_selection(
    eye: Eye, measure: Measure, wrong: float, seed: int, *, skip: int = 1
) -> Found:
    """NoScope's cascade: difference detector, network with two thresholds, detector between.

    Thresholds are those that kept the error rates on the held-out part; the false negatives' budget
    is halved between the stages. Only every `skip`-th frame is processed.
    """
    trained = _train(eye, measure, seed, presence=True)
    every = np.arange(0, eye.frames, skip, dtype=np.int64)
    if trained is None:
        return Found(every[eye.look(every, measure) > 0], "every frame: nothing to train on")
    scores, labels, held = trained
    began = time.perf_counter()
    pictures = eye.thumbnails()
    quiet = np.flatnonzero(labels[: held.start] == 0)
    moved = np.full(eye.frames, math.inf)
    if len(quiet):
        reference = np.median(pictures[quiet[:: max(len(quiet) // 64, 1)]], axis=0)
        for start in range(0, eye.frames, 2048):
            part = pictures[start : start + 2048].astype(np.float32) - reference
            moved[start : start + 2048] = (part * part).mean(axis=(1, 2))
    truth = labels[held] > 0
    low_move, low, high = _thresholds(moved[held], scores[held], truth, wrong)
    eye.spend("proxy", began)
    passed = every[moved[every] > low_move]
    unsure = passed[(scores[passed] > low) & (scores[passed] < high)]
    sure = passed[scores[passed] >= high]
    verified = unsure[eye.look(unsure, measure) > 0]
    how = f"{len(every) - len(passed)} still, {len(unsure)} of {len(every)} verified"
    return Found(np.sort(np.concatenate([sure, verified])), how)


def _thresholds(
    moved: Values, scores: Values, truth: npt.NDArray[np.bool_], wrong: float
) -> tuple[float, float, float]:
    """Return (still below, absent below, present above) with least frames between the last two."""
    positives, negatives = max(int(truth.sum()), 1), max(int((~truth).sum()), 1)
    best = (len(truth) + 1, -math.inf, -math.inf, math.inf)
    still = np.quantile(moved, np.linspace(0, 1, DIFFERENCES))
    for limit in [-math.inf, *still.tolist()]:
        if (truth & (moved <= limit)).sum() > wrong / 2 * positives:
            break
        left = moved > limit
        s, t = scores[left], truth[left]
        order = np.argsort(s)
        missed = np.cumsum(t[order])
        fine = np.flatnonzero(missed <= wrong / 2 * positives)
        low = float(s[order][fine[-1]]) if len(fine) else -math.inf
        raised = np.cumsum(~t[order][::-1])
        fine = np.flatnonzero(raised <= wrong * negatives)
        high = float(s[order][::-1][fine[-1]]) if len(fine) else math.inf
        if high < low:
            low = high = (low + high) / 2
        between = int(((s > low) & (s < high)).sum())
        if between < best[0]:
            best = (between, limit, low, high)
    return best[1], best[2], best[3]


# --- the network -------------------------------------------------------------------------------


def _train(
    eye: Eye, measure: Measure, seed: int, *, presence: bool = False
) -> tuple[Values, Values, slice] | None:
    """Return every frame's score, the labels of the first half, and the held-out part of it.

    None when the first third has too few frames that differ.
    """
    third, half = eye.frames // 3, eye.frames // 2
    labels = eye.look(np.arange(half, dtype=np.int64), measure)
    if presence:
        labels = (labels > 0).astype(np.float64)
    pictures = eye.thumbnails()
    times = eye.video.index.ts
    breaks = np.array([0, eye.frames], np.int64)
    chosen = np.unique(np.linspace(0, third - 1, min(third, 300)).astype(np.int64))

    def thumbnails(positions: Frames) -> npt.NDArray[np.uint8]:
        return pictures[positions]

    def cancel() -> None:
        return None

    began = time.perf_counter()
    found: Fitted = fit(
        thumbnails, times, chosen, labels[chosen], breaks,
        seed=seed, seconds=120.0, families=("cnn",), cancel=cancel,
    )  # fmt: skip
    eye.spend("train", began)
    if found.model is None:
        return None
    began = time.perf_counter()
    every = np.arange(eye.frames, dtype=np.int64)
    scores = found.score(thumbnails, every, times=times, breaks=breaks, cancel=cancel)
    eye.spend("proxy", began)
    return scores, labels, slice(third, half)
