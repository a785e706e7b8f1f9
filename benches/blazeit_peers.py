"""BlazeIt's three algorithms as published, as peers (Kang, Bailis & Zaharia, VLDB 2020).

The paper trains on another day of 150,000 labelled frames; a clip has only itself. So the training
set is scaled: at most `LABELS` frames of the first third are labelled for training, and as many of
the next sixth are held out; both are paid for. The network is the best of foveal's own families of
proxies for those labels, which explains more of a clip than the paper's ResNet trained on so few.
Not carried out: the lifted content filter and the crop, which change what the detector sees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from eye import Frames, Measure, Values
from published import BOOTSTRAPS, Found, Mean, clt, sampled_mean, verify
from recorded import RecordedEye, Recording, Seconds, clock

from foveal.udfs.models.proxies import fit

LABELS = 300
"""Frames labelled for training, and frames held out, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Every frame's score, float64 [frames], and what learning and scoring took, in seconds."""

    scores: Values | None
    train: Seconds
    score: Seconds


class Networks:
    """Trains one network per measure and seed; every peer that uses it pays for all of it."""

    def __init__(self, recording: Recording) -> None:
        """Begin with none."""
        self._recording = recording
        third, half = recording.frames // 3, recording.frames // 2
        self.train = _spread(0, third)
        self.held = _spread(third, half)
        self._made: dict[tuple[Measure, int], Network] = {}

    def get(self, eye: RecordedEye, measure: Measure, seed: int) -> Values | None:
        """Return the scores, or None where nothing could be learnt; labels and work are paid."""
        labels = eye.look(self.train, measure)
        eye.look(self.held, measure)
        pictures = eye.thumbnails()
        key = measure, seed
        if key not in self._made:
            self._made[key] = self._fit(pictures, labels, seed)
        network = self._made[key]
        eye.charge("train", network.train)
        eye.charge("proxy", network.score)
        return network.scores

    def _fit(self, pictures: npt.NDArray[np.uint8], labels: Values, seed: int) -> Network:
        times = self._recording.video.index.ts
        breaks = np.array([0, self._recording.frames], np.int64)

        def thumbnails(positions: Frames) -> npt.NDArray[np.uint8]:
            return pictures[positions]

        def cancel() -> None:
            return None

        began = clock()
        found = fit(thumbnails, times, self.train, labels, breaks, seed=seed, cancel=cancel)
        train = clock() - began
        if found.model is None:
            return Network(None, train, np.zeros(2))
        began = clock()
        every = np.arange(self._recording.frames, dtype=np.int64)
        scores = found.score(thumbnails, every, times=times, breaks=breaks, cancel=cancel)
        return Network(scores, train, clock() - began)


def _spread(start: int, stop: int) -> Frames:
    return np.unique(np.linspace(start, stop - 1, min(stop - start, LABELS)).astype(np.int64))


def blazeit_mean(
    eye: RecordedEye, networks: Networks, measure: Measure, epsilon: float, delta: float,
    most: float, seed: int, trained: int,
) -> Mean:  # fmt: skip
    """Algorithm 1: rewrite to the network alone, else control variates, else samples.

    `seed` draws the samples, `trained` names the network.
    """
    scores = networks.get(eye, measure, trained)
    if scores is None:
        return sampled_mean(eye, measure, epsilon, delta, most, seed)
    labels = eye.look(networks.held, measure)
    residuals = scores[networks.held] - labels
    rng = np.random.default_rng(seed)
    draws = rng.choice(residuals, (BOOTSTRAPS, len(residuals)))
    if float((np.abs(draws.mean(axis=1)) < epsilon).mean()) >= 1 - delta:
        return Mean(float(scores.mean()), "rewritten to the network", False)
    order = np.random.default_rng(seed + 1).permutation(eye.frames).astype(np.int64)
    count = min(math.ceil(most / epsilon), eye.frames)
    while True:
        ordered = np.sort(order[:count])
        values = eye.look(ordered, measure)
        seen = scores[ordered]
        spread = float(scores.var())
        c = -float(np.cov(values, seen)[0, 1]) / spread if spread > 0 else 0.0
        varied = values + c * (seen - scores.mean())
        if clt(varied, eye.frames, delta) < epsilon or count == eye.frames:
            return Mean(float(varied.mean()), f"control variate, {count} samples", True)
        count = min(math.ceil(count * 1.5), eye.frames)


def blazeit_search(
    eye: RecordedEye, networks: Networks, measure: Measure, least: float, limit: int, gap: int,
    seed: int,
) -> Found:  # fmt: skip
    """Scrubbing: rank by what the network counts, verify down the ranking."""
    scores = networks.get(eye, measure, seed)
    if scores is None:
        order = np.random.default_rng(seed).permutation(eye.frames).astype(np.int64)
        found = verify(eye, measure, order, least, limit, gap)
        return Found(found, "random: nothing to train on")
    ranked = scores.copy()
    for known in (networks.train, networks.held):
        ranked[known] = eye.look(known, measure)
    order = np.argsort(-ranked, kind="stable").astype(np.int64)
    return Found(verify(eye, measure, order, least, limit, gap), "ranked by the network")


def blazeit_selection(
    eye: RecordedEye, networks: Networks, measure: Measure, asked: Frames, seed: int, stride: int
) -> Found:
    """Selection's label and temporal filters, with no false negative on what is held out.

    `asked`: the frames of the question. `measure` is 1 where the class is in sight. With `stride`
    above 1 only every such frame is looked at first, then all round hits while the class is there.
    """
    scores = networks.get(eye, measure, seed)
    passing = np.zeros(eye.frames, np.bool_)
    passing[asked] = True
    how = "every frame: nothing to train on"
    if scores is not None:
        held = eye.look(networks.held, measure) > 0
        least = float(scores[networks.held][held].min()) if held.any() else -math.inf
        passing &= scores >= least
        how = f"{int(passing.sum())} of {len(asked)} pass the label filter"
    grid = np.zeros(eye.frames, np.bool_)
    grid[::stride] = True
    first = np.flatnonzero(passing & grid).astype(np.int64)
    hits = first[eye.look(first, measure) > 0].tolist()
    if stride > 1:
        how += f", every {stride}th looked at first"
        for hit in hits:
            for step in (1, -1):
                at = hit + step
                while 0 <= at < eye.frames and not eye.seen[at]:
                    if eye.look(np.array([at], np.int64), measure)[0] <= 0:
                        break
                    at += step
    looked = np.flatnonzero(eye.seen).astype(np.int64)
    return Found(looked[eye.look(looked, measure) > 0], how)
