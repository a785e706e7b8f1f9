"""What is known of a search's condition before it is planned, from frames with detections."""

from __future__ import annotations

import numpy as np

from foveal.engine.candidates import Candidates
from foveal.engine.executor import Runtime
from foveal.engine.proxies import labels
from foveal.errors import FovealError
from foveal.planner.logical import Frames, GapLimit
from foveal.planner.lower.search import frame_rate
from foveal.planner.protocols import FrameFacts
from foveal.planner.search import effective_trials, pack
from foveal.planner.search.forecast import EVENT_SECONDS
from foveal.planner.tree import walk

KNOWN_FRAMES = 20_000
"""Known frames looked at, spread evenly."""
BIASED = 0.5
"""What a known frame tells, beside one drawn at random: searches leave their findings behind."""
MOST_TRIALS = 100.0


def search_facts(node: GapLimit, runtime: Runtime) -> FrameFacts:
    """Return what known frames say of the heads: how often they hold, and how many rows there are.

    Reads stored detections; decodes and detects nothing.
    """
    frames = next(n for n in walk(node.child) if isinstance(n, Frames))
    table = runtime.tables[frames.table]
    positions = runtime.positions(frames.table, frames.conjuncts)
    cached = positions[table.processed()[positions]] if len(positions) else positions
    base = FrameFacts(len(positions), len(cached), 1)
    if not len(cached):
        return base
    if len(cached) > KNOWN_FRAMES:
        cached = np.unique(cached[np.linspace(0, len(cached) - 1, KNOWN_FRAMES).astype(np.int64)])
    holds = np.ones(len(cached), np.bool_)
    try:
        for quantity, least in node.heads:
            most = table.definition.max_count if quantity.value == "1" else np.inf
            holds &= labels(table, quantity, cached, runtime) >= min(least, most)
    except FovealError as error:
        if error.sqlstate in ("57014", "58030"):
            raise
        return base  # DuckDB cannot compute it; the search finds out by itself
    known = Candidates.of(table, cached, node.unit)
    hits = holds[np.searchsorted(cached, known.positions)]
    event = EVENT_SECONDS * (1.0 if node.unit == "seconds" else frame_rate(table.facts()))
    apart = np.full(len(known), np.inf)
    same = known.videos[1:] == known.videos[:-1]
    apart[1:] = np.where(same, np.diff(known.places), np.inf)
    worth = effective_trials(apart, event) * BIASED
    worth *= min(1.0, MOST_TRIALS / max(float(worth.sum()), 1e-9))
    spaced = pack(known.videos[hits], known.places[hits], node.gap, node.limit + node.offset)
    return FrameFacts(
        len(positions), base.cached, 1, looked=float(worth.sum()),
        positives=float(worth[hits].sum()), spaced=len(spaced),
    )  # fmt: skip
