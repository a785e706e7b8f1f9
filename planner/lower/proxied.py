"""Plans that look at every frame through a proxy: what the look costs, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass

from foveal.planner.logical import FrameAggregate
from foveal.planner.protocols import FrameFacts, ProxyFacts, Quantity, VideoTable

LEARN_LABELS = 100
"""Labelled frames from which a proxy is first trained."""
PRIOR_R2 = 0.5
"""Share of the variance that a proxy not trained yet is taken to explain."""
TRAIN_SECONDS = 1.0
SCORE_SECONDS = 1e-4
"""Training one, and its score of one frame, until they are measured."""
LABELS_AGAIN = 2.0
"""A quantity on which a proxy was dropped is tried again with so many times the labels."""


@dataclass(frozen=True, slots=True)
class Look:
    """One proxy's way to see the frames. `decode` and `train` (scoring included) in seconds.

    `r2`: share of the variance that it explains, measured or taken. `stored`: it is trained.
    `why_not` is set where there is no such way.
    """

    decode: float = 0.0
    train: float = 0.0
    r2: float = 0.0
    stored: bool = False
    why_not: str = ""


def stored_for(quantity: Quantity, table: VideoTable) -> ProxyFacts | None:
    """Return the table's best proxy for the quantity; one of no use only where all are."""
    found = [p for p in table.proxies if p.quantity == quantity]
    return max(found, key=lambda p: (p.useful, p.r2, p.labels), default=None)


def looks(node: FrameAggregate, table: VideoTable, frames: FrameFacts) -> tuple[Look, Look]:
    """Return the look through stored proxies, and the look through ones still to be trained."""
    untaught = [a.source for a in node.aggregates if a.quantity is None]
    if untaught:
        none = Look(why_not=f"no proxy can learn {untaught[0]}")
        return none, none
    quantities = list(dict.fromkeys(a.quantity for a in node.aggregates if a.quantity is not None))
    kept = [stored_for(q, table) for q in quantities]
    return _stored(quantities, kept, table, frames), _learnt(quantities, kept, table, frames)


def _stored(
    quantities: list[Quantity], kept: list[ProxyFacts | None], table: VideoTable, frames: FrameFacts
) -> Look:
    decode = train = 0.0
    least = 1.0
    for quantity, proxy in zip(quantities, kept, strict=True):
        if proxy is None:
            return Look(why_not=f"no proxy is trained for {quantity.text}")
        if not proxy.useful:
            return Look(why_not=f"the proxy of {quantity.text} is dropped: {proxy.why}")
        unscored = frames.frames * (1 - proxy.scored / max(table.frames, 1))
        decode = max(decode, min(unscored, _unseen(table, frames)) * table.profile.thumbnail)
        train += unscored * proxy.score_frame
        least = min(least, proxy.r2)
    return Look(decode, train, least, stored=True)


def _learnt(
    quantities: list[Quantity], kept: list[ProxyFacts | None], table: VideoTable, frames: FrameFacts
) -> Look:
    if frames.frames < 2 * LEARN_LABELS:
        return Look(why_not="too few frames to train a proxy for")
    for quantity, proxy in zip(quantities, kept, strict=True):
        if proxy is None:
            continue
        if proxy.useful:
            return Look(why_not=f"a proxy is trained for {quantity.text}")
        if frames.cached < LABELS_AGAIN * proxy.labels:
            return Look(why_not=f"it was tried with {proxy.labels} labels: {proxy.why}")
    decode = _unseen(table, frames) * table.profile.thumbnail
    train = len(quantities) * (TRAIN_SECONDS + frames.frames * SCORE_SECONDS)
    return Look(decode, train, PRIOR_R2)


def _unseen(table: VideoTable, frames: FrameFacts) -> float:
    """Return how many of the frames have no thumbnail, taking them to be spread evenly."""
    kept = sum(video.thumbnails for video in table.videos)
    return frames.frames * (1 - kept / max(table.frames, 1))
