"""What a selection sees of frames without the detector: labels nearby, proxies, differences.

All of it only orders frames. It may be learnt from labels that the run itself bought, and changed
in the middle of it, because the certificate samples whatever is left unseen.
"""

from __future__ import annotations

import numpy as np

from foveal.engine import proxies
from foveal.engine.catalog.videos import LiveTable, Positions
from foveal.engine.executor import Runtime
from foveal.engine.inference import ensure
from foveal.engine.stages import Stages
from foveal.planner import cost
from foveal.planner.estimators.belief import Array, Belief
from foveal.planner.estimators.neighbours import by_neighbours
from foveal.planner.estimators.selection import SelectionRun
from foveal.planner.estimators.thresholds import ThresholdRun
from foveal.planner.lower.proxied import LEARN_LABELS, SCORE_SECONDS, TRAIN_SECONDS, stored_for
from foveal.planner.physical import Cascade
from foveal.planner.protocols import FrameFacts, ProxyFacts, VideoTable

MARGIN = 1.2
"""What is learnt on the way must promise to save so many times what it costs."""
SAVES = 0.5
"""Share of the looks left that a proxy not trained yet is taken to save."""
RELEARN = 3.0
"""A proxy is trained again when so many times the labels are known."""
MOST_TRAINED = 3
"""Times that one statement trains."""
WEAK = 0.2
"""Beside labels nearby, a proxy helps from this r2 on, even where it does not beat them."""


class CascadeLook:
    """The belief of one selection, from labels in time up to proxies and difference detectors."""

    def __init__(
        self, node: Cascade, runtime: Runtime, table: LiveTable, positions: Positions
    ) -> None:
        """Look at nothing yet."""
        self._node = node
        self._runtime = runtime
        self._table = table
        self._positions = positions
        self._scores: Array | None = None
        self._facts: ProxyFacts | None = None
        self._learnt = 0
        self._trained = 0
        self._staged = 0
        self._stages: Stages | None = None

    def belief(self) -> Belief:
        """Return the belief by labels nearby and the scores there are."""
        return by_neighbours(self._positions, self._table.starts[1:-1], self._scores)

    def begin(self) -> None:
        """Label some frames spread over time, unless enough are known; read stored scores."""
        processed = self._table.processed()[self._positions]
        missing = LEARN_LABELS - int(processed.sum())
        if missing > 0:
            ensure(self._table, self._spread(missing), self._runtime.context)
        quantity = self._node.quantity
        stored = stored_for(quantity, self._table.facts()) if quantity is not None else None
        if stored is not None and _helps(stored):
            self._use(stored)

    def consider(self, run: SelectionRun | ThresholdRun) -> None:
        """Train a proxy, or use difference detectors, where what is left to do says it pays."""
        if run.finished:
            return
        changed = self._learn(run)
        if self._scores is not None:
            changed |= self._stage(run)
        elif changed:
            run.believe(self.belief())

    def _learn(self, run: SelectionRun | ThresholdRun) -> bool:
        quantity = self._node.quantity
        labels = int(self._table.processed()[self._positions].sum())
        again = max(LEARN_LABELS, RELEARN * self._learnt)
        if quantity is None or not self._node.learns or labels < again:
            return False
        if self._trained >= MOST_TRAINED:
            return False
        facts = self._table.facts()
        kept = sum(video.thumbnails for video in facts.videos) / max(self._table.frames, 1)
        look = len(self._positions) * ((1 - kept) * facts.profile.thumbnail + SCORE_SECONDS)
        saved = self._saved(run.forecast(), facts)
        if saved < MARGIN * (look + TRAIN_SECONDS):
            return False
        self._trained += 1
        self._learnt = labels
        trained = proxies.try_train(self._table, quantity, self._runtime)
        if (
            trained is None
            or not _helps(trained)
            or (self._facts is not None and trained.r2 < self._facts.r2)
        ):
            return False
        self._use(trained)
        return True

    def _saved(self, calls: int, facts: VideoTable) -> float:
        """Return the seconds that a proxy not trained yet is taken to save of so many looks."""
        frames = FrameFacts(len(self._positions), 0, self._table.keyframes(self._positions))
        left = round((1 - SAVES) * calls)
        decode = cost.decode_sample(calls, frames, facts.profile)
        decode -= cost.decode_sample(left, frames, facts.profile)
        return decode + cost.detect(calls - left, facts.profile)

    def _stage(self, run: SelectionRun | ThresholdRun) -> bool:
        """Use the difference detectors under which the fewest looks are forecast."""
        labelled, labels = run.labelled
        known = int(labelled.sum())
        if known < RELEARN * self._staged:
            return False
        self._staged = known
        plain = self.belief()
        found: list[tuple[int, Belief, Positions | None, str]] = [
            (run.forecast(plain), plain, None, "")
        ]
        self._stages = self._stages or Stages(self._table, self._positions, self._runtime.context)
        for stage in self._stages.fitted(labelled, labels, self._node.fnr or 0.0):
            belief = by_neighbours(
                self._positions,
                self._table.starts[1:-1],
                self._scores,
                empty=stage.empty,
                leaders=stage.leaders,
            )
            found.append((run.forecast(belief), belief, stage.leaders, stage.words))
        _, belief, leaders, words = min(found, key=lambda f: f[0])
        run.believe(belief, leaders)
        if words:
            self._runtime.context.notice(f"difference detector: {words}")
        return True

    def _use(self, facts: ProxyFacts) -> None:
        found = proxies.scores(self._table, facts, self._positions, self._runtime)
        self._scores = found.values.astype(np.float64)
        self._facts = facts

    def _spread(self, count: int) -> Positions:
        """Return one random frame that is not known of each of `count` equal intervals."""
        free = self._positions[~self._table.processed()[self._positions]]
        count = min(count, len(free))
        edges = np.linspace(0, len(free), count + 1).astype(np.int64)
        generator = np.random.default_rng([self._node.seed, len(free)])
        return free[generator.integers(edges[:-1], edges[1:])]


def _helps(facts: ProxyFacts) -> bool:
    return facts.useful or (facts.family != "mean" and facts.r2 >= WEAK)
