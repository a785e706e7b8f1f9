"""GapLimit to GapLimitRows: what finding rows that lie far enough apart should cost, in which way.

The ways differ in the order in which frames are looked at; every row is verified by the detector.
The share of frames that satisfy the condition is not known: all figures are expectations over what
is believed of it.
"""

from __future__ import annotations

from dataclasses import replace

from foveal.planner.logical import Frames, GapLimit
from foveal.planner.lower.context import Lowering
from foveal.planner.lower.proxied import (
    LABELS_AGAIN,
    LEARN_LABELS,
    PRIOR_R2,
    SCORE_SECONDS,
    TRAIN_SECONDS,
    stored_for,
)
from foveal.planner.physical import Alternative, GapLimitRows, ObjectScan, SqlFragment
from foveal.planner.protocols import FrameFacts, VideoTable
from foveal.planner.search.belief import Belief
from foveal.planner.search.forecast import EVENTS, Outlook, Prices, Quest, between, forecast
from foveal.planner.tree import walk

_MEANS = {
    "search": "frames in order",
    "random": "one random frame per interval, from coarse to fine",
    "ranked": "down the ranking of stored proxies",
    "learn": "proxies are trained on what is found by then",
}


def lower_search(node: GapLimit, lowering: Lowering) -> GapLimitRows:
    """Return the search; it stops at the limit where rows follow from single frames."""
    fragment = lowering.lower(node.child)
    assert isinstance(fragment, SqlFragment)
    plain = GapLimitRows(
        fragment, node.limit, node.offset, node.gap, node.unit, node.by_frame,
        node.seconds, node.calls, (), node.heads, seed=int(lowering.settings["seed"]),
    )  # fmt: skip
    scans = [n for n in walk(fragment) if isinstance(n, ObjectScan)]
    if not node.by_frame or len(scans) != 1:
        return plain
    scan = scans[0].alternatives[0]
    frames = next(lowering.facts[n] for n in walk(node.child) if isinstance(n, Frames))
    table = lowering.snapshot.video_tables[scans[0].table]
    known = lowering.facts.get(node, frames)
    missing = node.limit + node.offset - known.spaced
    if not scan.calls or missing <= 0:
        every = (scan,) if not scan.calls else ()
        found = Alternative("cached", 0, 0.0, 0.0, 0.0, "exact", why="chosen; the rows are known")
        return replace(plain, alternatives=() if every else (found, _every(scan, 0)))
    belief = Belief().after(known.positives, known.looked - known.positives)
    prices, refused = _prices(node, table, frames)
    methods = tuple(m for m in _MEANS if m not in refused)
    outlooks = _outlooks(node, table, frames, missing, prices, methods)
    weights = belief.weights()
    seconds = {
        name: sum(float(weights @ o.seconds) for o in outlook) / len(outlook)
        for name, outlook in outlooks.items()
    }
    best = min(seconds, key=lambda name: (seconds[name], methods.index(name)))
    listed = [_alternative(name, outlooks[name], belief, node) for name in methods]
    chosen = next(a for a in listed if a.name == best)
    spread = _calls_between(outlooks[best], belief)
    alternatives = [
        replace(
            a,
            why=f"chosen; {_MEANS[a.name]}; {_words(belief, known)}, so {spread} calls"
            if a is chosen
            else f"{a.total / chosen.total:.1f}x the chosen plan's seconds; {_MEANS[a.name]}",
        )
        for a in listed
    ]
    alternatives += [
        Alternative(name, 0, 0.0, 0.0, 0.0, "exact", applies=False, why="does not apply: " + why)
        for name, why in refused.items()
    ]
    return replace(
        plain,
        alternatives=(*alternatives, _every(scan, chosen.calls)),
        method=best,
        methods=methods,
        belief=belief,
        prices=prices,
    )


def _prices(node: GapLimit, table: VideoTable, frames: FrameFacts) -> tuple[Prices, dict[str, str]]:
    """Return what the ways cost beyond looking, and those that do not apply, with why."""
    refused: dict[str, str] = {}
    unseen = frames.frames * (1 - sum(v.thumbnails for v in table.videos) / max(table.frames, 1))
    looks = unseen * table.profile.thumbnail
    score, r2 = 0.0, 1.0
    dropped = ""
    for quantity, _ in node.heads:
        proxy = stored_for(quantity, table)
        if proxy is None:
            refused.setdefault("ranked", f"no proxy is trained for {quantity.text}")
        elif not proxy.useful:
            refused.setdefault("ranked", f"the proxy of {quantity.text} is dropped: {proxy.why}")
            if frames.cached < LABELS_AGAIN * proxy.labels:
                dropped = f"it was tried with {proxy.labels} labels: {proxy.why}"
        else:
            unscored = frames.frames * (1 - proxy.scored / max(table.frames, 1))
            score = max(score, min(unscored, unseen) * table.profile.thumbnail)
            score += unscored * proxy.score_frame
            r2 = min(r2, proxy.r2)
    if not node.heads:
        words = "the condition is not made of counts of objects"
        refused["ranked"] = refused["learn"] = words
    elif "ranked" not in refused:
        refused["learn"] = "proxies are trained"
    elif dropped:
        refused["learn"] = dropped
    elif frames.frames < 2 * LEARN_LABELS:
        refused["learn"] = "too few frames to train a proxy for"
    train = len(node.heads) * (TRAIN_SECONDS + frames.frames * SCORE_SECONDS)
    prices = Prices(
        frames, table.profile, score, looks + train,
        r2=None if "ranked" in refused else r2,
        taught_r2=None if "learn" in refused else PRIOR_R2,
        labels=frames.cached,
    )  # fmt: skip
    return prices, refused


def frame_rate(table: VideoTable) -> float:
    """Return the mean frames per second of a table."""
    seconds = sum(video.duration for video in table.videos)
    return table.frames / seconds if seconds > 0 else 1.0


def _outlooks(
    node: GapLimit,
    table: VideoTable,
    frames: FrameFacts,
    missing: int,
    prices: Prices,
    methods: tuple[str, ...],
) -> dict[str, list[Outlook]]:
    """Return each way's outlook, one per length that an event may have."""
    rate = frame_rate(table)
    apart = node.gap * rate if node.unit == "seconds" else node.gap
    found: dict[str, list[Outlook]] = {name: [] for name in methods}
    for seconds in EVENTS:
        quest = Quest(frames.frames - frames.cached, missing, apart, max(seconds * rate, 1.0))
        for name, outlook in forecast(quest, prices, frozenset(methods)).items():
            found[name].append(outlook)
    return found


def _alternative(name: str, outlooks: list[Outlook], belief: Belief, node: GapLimit) -> Alternative:
    """Return the expectation over the share of frames and the length of events."""
    weights = belief.weights()

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    calls = mean([float(weights @ o.calls) for o in outlooks])
    share = 1.0 if node.calls is None else min(1.0, node.calls / max(calls, 1.0))
    decode = mean([float(weights @ o.decode) for o in outlooks])
    train = mean([float(weights @ o.extra) for o in outlooks])
    return Alternative(
        name, round(calls * share), decode * share, calls * share * outlooks[0].call, train, "exact"
    )


def _calls_between(outlooks: list[Outlook], belief: Belief) -> str:
    easy, hard = zip(*(between(belief, o.calls) for o in outlooks), strict=True)
    return f"{min(easy):.0f} to {max(hard):.0f}"


def _words(belief: Belief, known: FrameFacts) -> str:
    """Return what is believed of the share of frames that satisfy the condition."""
    high, low = belief.quantile(0.9), max(belief.quantile(0.1), 1e-5)
    told = f"{known.looked:.0f} known frames tell" if known.looked >= 1 else "nothing is known"
    return f"{told}: one frame in {1 / high:.2g} to {_round(1 / low)} may satisfy it"


def _round(number: float) -> str:
    return f"{float(f'{number:.2g}'):g}" if number < 1e5 else "100000"


def _every(scan: Alternative, calls: int) -> Alternative:
    """Return the scan of every frame, for comparison; it is what is paid if nothing is found."""
    times = f"; {scan.calls / calls:.1f}x the calls" if calls else ""
    return replace(scan, why=f"every frame: what is looked at where too little is found{times}")
