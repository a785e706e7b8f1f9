"""A search at work: frames that are known first, then steps of a `SearchRun` until it is over.

Which frames are looked at is the run's to say; here they are decoded, detected, and the block's own
text is evaluated on them, so that every row is verified. A frame is looked at once at most.
"""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pyarrow as pa

from foveal.engine.candidates import Block, Candidates, Flags, Floats, Ints
from foveal.engine.catalog.videos import LiveTable
from foveal.engine.context import TimeIsUp
from foveal.engine.executor import Runtime
from foveal.engine.inference import stretches
from foveal.engine.proxies import scores, should_train, try_train
from foveal.errors import FovealError
from foveal.planner.lower.proxied import stored_for
from foveal.planner.lower.search import frame_rate
from foveal.planner.physical import FrameScan, GapLimitRows, ObjectScan
from foveal.planner.protocols import FrameFacts, ProxyFacts, Quantity
from foveal.planner.search import Prices, SearchRun, Step

KNOWN = 128
"""Known frames evaluated before the first look at the limit; then twice as many each time."""
MOST_KNOWN = 8192
PIXELS = frozenset({"content", "image"})
"""Columns that are decoded when a function asks: of these no more is read than need be."""
DEAR_SEEK = 0.25
"""Decoding starts are preferred where reaching a random frame costs this share of detecting it."""


class FrameSearch:
    """The search of one GapLimitRows node."""

    def __init__(self, node: GapLimitRows, scan: ObjectScan | FrameScan, runtime: Runtime) -> None:
        """Find the candidates; look at nothing yet."""
        self._node, self._scan, self._runtime = node, scan, runtime
        self._context = runtime.context
        self._live: LiveTable = runtime.tables[scan.table]
        positions = runtime.positions(scan.table, scan.conjuncts)
        self._all = Candidates.of(self._live, positions, node.unit)
        self._order = np.argsort(self._all.positions, kind="stable")
        self._sorted = self._all.positions[self._order]
        self._block = Block(node, self._live, runtime)
        self._heads = node.heads
        self._rows: dict[int, tuple[pa.Table, int]] = {}
        self._empty: pa.Table | None = None
        self._begun = self._context.report.detector_calls
        self._run = self._new_run()
        self.stopped = False

    def _new_run(self) -> SearchRun:
        node, facts = self._node, self._live.facts()
        prices = node.prices or Prices(FrameFacts(len(self._all), 0, 1), facts.profile)
        return SearchRun(
            self._all.videos,
            self._all.places,
            want=node.limit + node.offset,
            gap=node.gap,
            second=1.0 if node.unit == "seconds" else frame_rate(facts),
            prices=prices,
            methods=frozenset(node.methods),
            belief=node.belief,
            least=tuple(least for _, least in self._heads) or (1.0,),
            seed=node.seed,
            starts=self._starts(prices),
        )

    def _starts(self, prices: Prices) -> Ints | None:
        """Return the candidates at which a decoder can start, if it matters."""
        profile = prices.profile
        if profile.seek < DEAR_SEEK * profile.detect_frame:
            return None
        parts = [self._live.videos[i].index.is_key[f] for i, f in self._live.split(self._sorted)]
        keys = np.zeros(len(self._all), np.bool_)
        keys[self._order] = np.concatenate(parts) if parts else np.zeros(0, np.bool_)
        return np.flatnonzero(keys)

    @property
    def kind(self) -> str:
        """The way that was used: search, random, ranked or learn."""
        return self._run.kind

    def rows(self) -> pa.Table:
        """Return the rows that are found, by video and place, those before OFFSET left out.

        Raises:
            QueryCanceled: 57014; what was detected is kept. OperationalError: a video fails.
        """
        context = self._context
        if self._node.seconds is not None:
            context.deadline = context.elapsed + self._node.seconds
        try:
            self._look_at_known()
            if isinstance(self._scan, ObjectScan):
                self._search()
        except TimeIsUp:
            self.stopped = not self._run.full
        finally:
            context.deadline = None
        if self.stopped:
            self._tell_spent()
        chosen = [self._rows[i] for i in self._run.found[self._node.offset :].tolist()]
        if not chosen:
            return self._schema().slice(0, 0)
        return pa.concat_tables([table.slice(row, 1) for table, row in chosen]).combine_chunks()

    # --- looking ------------------------------------------------------------------------------

    def _look_at_known(self) -> None:
        """Evaluate the block on frames that cost no detection, in order, until there is enough."""
        context, report = self._context, self._context.report
        known = np.arange(len(self._all))
        report.frames_total += len(known)
        if isinstance(self._scan, ObjectScan):
            known = known[self._live.processed()[self._all.positions]]
            report.frames_cached += len(known)
        size, at = KNOWN, 0
        while at < len(known) and not self._run.full:
            context.check()
            frames = known[at : at + size]
            self._run.know(frames, self._hits(frames))
            if not self._run.full:
                self._run.label(None, frames, self._values(frames))
            at += size
            if not PIXELS & set(self._scan.columns):
                size = min(2 * size, MOST_KNOWN)

    def _search(self) -> None:
        if self._node.method == "ranked":
            self._score()
        while True:
            limit = None
            if self._node.calls is not None:
                limit = self._node.calls - (self._context.report.detector_calls - self._begun)
                if limit <= 0:
                    self.stopped = not self._run.full and bool(self._run.open.any())
                    return
            step = self._run.next(limit)
            if step is None:
                return
            if step.kind == "learn":
                self._learn()
            else:
                self._look(step)

    def _look(self, step: Step) -> None:
        """Look at a step's frames in one decoding pass, as long as they are of use."""
        run, context = self._run, self._context
        positions = np.sort(self._all.positions[step.frames])
        open_ = run.open

        def wanted(position: int) -> bool:
            return bool(open_[self._candidate(position)])

        looking = stretches(
            self._live, positions, context,
            columns=self._scan.columns, size=step.chunk, wanted=wanted,
        )  # fmt: skip
        looked: list[Ints] = []
        with closing(looking):
            for seen, objects in looking:
                frames = np.sort(self._order[np.searchsorted(self._sorted, seen)])
                hits = self._hits(frames, objects)
                looked.append(frames)
                go_on = run.add(step, frames, hits)
                context.advance("search", run.looked, None)
                if not go_on:
                    break
                if hits.any():
                    open_ = run.open
        if looked and not run.full:
            frames = np.sort(np.concatenate(looked))
            run.label(step, frames, self._values(frames))

    def _candidate(self, position: int) -> int:
        return int(self._order[np.searchsorted(self._sorted, position)])

    def _hits(self, frames: Ints, objects: pa.RecordBatch | None = None) -> Flags:
        """Return bool [frames], which of them give a row; keep the rows."""
        rows = self._block.rows(np.sort(self._all.positions[frames]), objects)
        self._empty = rows.slice(0, 0)
        found, row_of = self._block.places_of(self._all, rows)
        kept = rows.take(pa.array(row_of, pa.int64()))
        for row, candidate in enumerate(found.tolist()):
            self._rows[candidate] = (kept, row)
        return np.isin(frames, found, assume_unique=True)

    def _values(self, frames: Ints) -> Floats:
        """Return what the heads count in known frames, or else whether there is a row."""
        positions = self._all.positions[frames]
        order = np.argsort(positions, kind="stable")
        if self._heads:
            try:
                counted = np.empty((len(frames), len(self._heads)))
                counted[order] = self._block.values(self._heads, positions[order])
            except FovealError as error:
                if error.sqlstate in ("57014", "58030"):
                    raise
                self._heads = ()  # DuckDB cannot compute it: the rows tell all the same
                self._run.forget_heads()
            else:
                return counted
        return np.isin(frames, np.array(list(self._rows), np.int64)).astype(np.float64)[:, None]

    # --- proxies ------------------------------------------------------------------------------

    def _stored(self, quantity: Quantity) -> ProxyFacts | None:
        return stored_for(quantity, self._live.facts())

    def _score(self) -> None:
        """Rank by the stored proxies."""
        found = [self._stored(quantity) for quantity, _ in self._heads]
        self._rank([p for p in found if p is not None and p.useful], "ranked")

    def _learn(self) -> None:
        """Train proxies on what is detected by now, and rank by them where they are of use."""
        found: list[ProxyFacts] = []
        for quantity, _ in self._heads:
            known = self._stored(quantity)
            if known is None or should_train(self._live, quantity, known):
                known = try_train(self._live, quantity, self._runtime)
            if known is None or not known.useful:
                self._run.refuse()
                return
            found.append(known)
        self._rank(found, "learn")

    def _rank(self, proxies: list[ProxyFacts], kind: str) -> None:
        if len(proxies) < len(self._heads) or not proxies:
            self._run.refuse()
            return
        base = np.empty((len(self._all), len(proxies)))
        for head, proxy in enumerate(proxies):
            scored = scores(self._live, proxy, self._sorted, self._runtime)
            base[self._order, head] = scored.values
        again = sum(p.train_seconds + p.score_frame * len(self._all) for p in proxies)
        spread = np.array([proxy.residual for proxy in proxies])
        self._run.scored(base, spread, kind=kind, again=again)

    # --- what is said -------------------------------------------------------------------------

    def _schema(self) -> pa.Table:
        if self._empty is None:
            self._empty = self._block.rows(np.zeros(0, np.int64))
        return self._empty

    def _tell_spent(self) -> None:
        self._context.notice(
            f"the budget was spent after {self._run.looked} of {len(self._all)} frames",
            severity="WARNING",
        )
        self._context.report.target_met = False
