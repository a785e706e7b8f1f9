"""Specialised models at work: labels from stored detections, training, scores of any frame, kept.

Nothing here decides whether to train or to use a model; the planner and the operators do.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foveal.engine.cache.proxies import StoredProxy, proxy_facts
from foveal.engine.catalog.videos import LiveTable, Positions
from foveal.engine.context import QueryContext
from foveal.engine.executor import Runtime, named
from foveal.engine.inference import object_batch
from foveal.engine.relations import OBJECTS
from foveal.engine.small_detector import look_seconds, offered
from foveal.engine.thumbnails import ensure_thumbnails, thumbnails_at
from foveal.errors import FovealError, InternalError, OperationalError, QueryCanceled
from foveal.planner.protocols import ProxyFacts, Quantity

if TYPE_CHECKING:
    from foveal.udfs.models.proxies import Fitted, Keeper

Doubles = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

MOST_LABELS = 2000
"""Labels that a model learns from at most: exact kernel methods cost their number cubed."""
LABEL_CHUNK = 8192
SCORE_CHUNK = 4096
"""Frames labelled or scored at once (38 MB of thumbnails)."""
KEEP_CHUNKS = 16
"""Scores are made durable after so many chunks: some seconds of work."""
_COLUMNS = ("video", "frame", "class", "confidence", "xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, slots=True, eq=False)
class ProxyScores:
    """Scores of n frames by one model.

    `values` float64 [n]: the expected value. Where `labelled` bool [n] is True the frame was learnt
    from, and its score is that of models that did not see it, so that all can be compared.
    """

    values: Doubles
    labelled: npt.NDArray[np.bool_]
    fitted: Fitted

    def at_least(self, least: float) -> Doubles:
        """Return the probability that the value is `least` or more, float64 [n]."""
        return self.fitted.at_least(self.values, least)


def stored(table: LiveTable) -> tuple[ProxyFacts, ...]:
    """Return the models that the table has, by name. Reads names; opens each model once."""
    videos = {video.content_hash: video.index.frames for video in table.videos}
    return table.storage.proxies.facts(table.name.lower(), table.info.key, videos)


def labels(table: LiveTable, quantity: Quantity, positions: Positions, runtime: Runtime) -> Doubles:
    """Return the quantity at frames with stored detections (sorted positions), float64 [n].

    Frames without detections count as empty: ask only for processed ones. Counts are clipped at
    the table's max_count. Nothing is decoded or detected.

    Raises:
        FovealError: DuckDB cannot compute the quantity.
    """
    values = np.zeros(len(positions))
    numbers = {video.name: i for i, video in enumerate(table.videos)}
    for start in range(0, len(positions), LABEL_CHUNK):
        runtime.context.check()
        chunk = positions[start : start + LABEL_CHUNK]
        parts = [object_batch(table, i, f, _COLUMNS) for i, f in table.split(chunk)]
        rows = pa.Table.from_batches(parts, schema=OBJECTS)
        with named(runtime.scratch, {"__objects": rows}):
            found = runtime.scratch.table(quantity.sql("__objects"))
        if not found.num_rows:
            continue
        videos = np.array([numbers[str(v)] for v in found.column("video").to_pylist()])
        at = table.starts[videos] + found.column("frame").to_numpy()
        counted = np.nan_to_num(found.column("value").to_numpy().astype(np.float64))
        values[start + np.searchsorted(chunk, at)] = counted
    return np.minimum(values, table.definition.max_count) if quantity.value == "1" else values


def spread(positions: Positions, frames: int, most: int) -> Positions:
    """Return at most `most` of the sorted positions, spread over `frames`.

    Each of `most` equal intervals gives its first before any gives a second.
    """
    if len(positions) <= most:
        return positions
    intervals = positions * most // max(frames, 1)
    firsts = np.flatnonzero(np.diff(intervals, prepend=-1))
    counts = np.diff(np.append(firsts, len(positions)))
    ranks = np.arange(len(positions)) - np.repeat(firsts, counts)
    order = np.lexsort((intervals, ranks))
    return np.sort(positions[order[:most]])


def spread_draw(table: LiveTable, count: int, seed: int) -> Positions:
    """Return one random frame of each of `count` equal intervals of the table, sorted.

    An interval that holds frames with stored detections gives one of those.
    """
    processed = table.processed()
    count = min(count, table.frames)
    edges = np.arange(count + 1) * table.frames // max(count, 1)
    rng = np.random.default_rng(seed)
    draws = rng.random(count)
    chosen = np.empty(count, np.int64)
    for i in range(count):
        known = np.flatnonzero(processed[edges[i] : edges[i + 1]])
        width = len(known) or int(edges[i + 1] - edges[i])
        place = int(draws[i] * width)
        chosen[i] = edges[i] + (known[place] if len(known) else place)
    return chosen


def should_train(table: LiveTable, quantity: Quantity, known: ProxyFacts | None) -> bool:
    """Whether training anew may pay: there is no model, or twice as many labels by now."""
    available = min(int(table.processed().sum()), MOST_LABELS)
    return known is None or available >= 2 * known.labels


def automatic_name(table: LiveTable, quantity: Quantity) -> str:
    """Return the name of a model that no one named: readable, and one per quantity."""
    words = re.findall(r"[a-z0-9]+", f"{table.name} {quantity.text}".lower())
    short = hashlib.blake2b(quantity.text.encode(), digest_size=3).hexdigest()
    return "_".join(["auto", *words])[:48].rstrip("_") + "_" + short


def train(
    table: LiveTable,
    quantity: Quantity,
    runtime: Runtime,
    *,
    positions: Positions | None = None,
    name: str | None = None,
    seconds: float | None = None,
    families: Sequence[str] | None = None,
    seed: int | None = None,
) -> ProxyFacts:
    """Train on frames with stored detections and keep the model with where it came from.

    `positions`: the frames to learn from (sorted; all with stored detections); else all that are
    stored, spread, at most MOST_LABELS. Learning from the same frames again gives the stored model.
    What came out may be of no use: `useful` and `why` tell. Thumbnails are made where need be.

    Raises:
        QueryCanceled: 57014. OperationalError: a video fails, or the model cannot be kept.
        ProgrammingError: 42704, no such family. FovealError: the quantity cannot be computed.
    """
    from foveal.udfs.models.proxies import LAST_RESORTS, SECONDS, fit

    context = runtime.context
    if positions is None:
        positions = spread(np.flatnonzero(table.processed()), table.frames, MOST_LABELS)
    named_ = name or automatic_name(table, quantity)
    used = int(context.settings["seed"]) if seed is None else seed
    budget = SECONDS if seconds is None else seconds
    with _accounted(context, "train"):
        values = labels(table, quantity, positions, runtime)
        asked = _labels_hash(table, quantity, positions, values, [used, budget, families])
        for known in table.storage.proxies.find(table.name.lower(), table.info.key):
            if known.name.lower() == named_.lower() and known.labels_hash == asked:
                return _facts(table, known)
        fitted = fit(
            lambda wanted: _thumbnails(table, wanted, context),
            _times(table),
            positions,
            values,
            table.starts,
            seed=used,
            seconds=budget,
            families=families,
            counts=quantity.value == "1",
            keeper=keeper(table),
            extras=offered(table, quantity, runtime),
            cancel=context.check,
        )
        if fitted.family in LAST_RESORTS and fitted.model is not None:
            fitted = replace(fitted, score_frame=fitted.score_frame + look_seconds(table))
        kept = table.storage.proxies.put(
            StoredProxy(
                named_,
                table.name.lower(),
                table.info.key,
                quantity,
                fitted,
                tuple(video.content_hash for video in table.videos),
                tuple(int(start) for start in table.starts),
                table.definition.max_count,
                asked,
                datetime.now(UTC).isoformat(timespec="seconds"),
            )
        )
    return _facts(table, kept)


def try_train(table: LiveTable, quantity: Quantity, runtime: Runtime) -> ProxyFacts | None:
    """Return `train`, or None and a notice where it fails: the statement did not ask for it.

    Raises:
        QueryCanceled: 57014. OperationalError: 53400, the BUDGET is spent. InternalError: XX000.
    """
    try:
        return train(table, quantity, runtime)
    except (QueryCanceled, InternalError):
        raise
    except FovealError as error:
        if error.sqlstate == "53400":
            raise
        runtime.context.notice(
            f"no proxy was trained for {quantity.text}: {error.message}", severity="WARNING"
        )
        return None


def scores(
    table: LiveTable, facts: ProxyFacts, positions: Positions, runtime: Runtime
) -> ProxyScores:
    """Return the scores of frames (sorted positions); what is new is computed once and kept.

    Stored scores need no thumbnail and no decoding. What was scored before a cancellation is kept.

    Raises:
        QueryCanceled: 57014. OperationalError: 55000, the model is gone or was never trained;
            58030, a video fails; 53100, the disk is full.
    """
    found = table.storage.proxies.find(table.name.lower(), table.info.key)
    proxy = next((p for p in found if p.key == facts.key), None)
    if proxy is None or proxy.fitted.model is None:
        raise OperationalError(
            f'proxy "{facts.name}" has no model', sqlstate="55000",
            hint="SELECT * FROM foveal.proxies tells why; CREATE OR REPLACE PROXY trains it anew",
        )  # fmt: skip
    with _accounted(runtime.context, "proxy"):
        values = _scores(table, proxy, positions, runtime)
    labelled, known = _own_labels(table, proxy)
    at = np.searchsorted(positions, labelled)
    inside = at < len(positions)
    inside[inside] = positions[at[inside]] == labelled[inside]
    marks = np.zeros(len(positions), np.bool_)
    marks[at[inside]] = True
    values[at[inside]] = known[inside]
    return ProxyScores(values, marks, proxy.fitted)


def _scores(
    table: LiveTable, proxy: StoredProxy, positions: Positions, runtime: Runtime
) -> Doubles:
    from foveal.udfs.models.proxies import background_positions

    context, store = runtime.context, table.storage.proxies
    dense = np.full(table.frames, np.nan)
    for i, frames in table.split(positions):
        known, rows = store.scores.read(proxy.key, table.videos[i].content_hash, frames)
        if known.any():
            dense[table.starts[i] + frames[known]] = rows[known, 0]
    missing = positions[np.isnan(dense[positions])]
    if len(missing):
        times = _times(table)
        extras = offered(table, proxy.quantity, runtime)
        fresh: list[Positions] = []

        def keep() -> None:
            done = np.concatenate([missing[:0], *fresh])
            fresh.clear()
            for i, frames in table.split(done):
                new = dense[table.starts[i] + frames, None]
                store.scores.add(proxy.key, table.videos[i].content_hash, frames, new)

        unseen = _without_pictures(table, proxy.fitted.family, missing)
        looked_at = [background_positions(table.starts, i) for i, _ in table.split(unseen)]
        try:
            # In one pass over each video: the frames of its background lie all over it.
            ensure_thumbnails(table, np.unique(np.concatenate([unseen, *looked_at])), context)
            for start in range(0, len(missing), SCORE_CHUNK):
                chunk = missing[start : start + SCORE_CHUNK]
                context.advance("score", start, len(missing))
                dense[chunk] = proxy.fitted.score(
                    lambda wanted: _thumbnails(table, wanted, context),
                    chunk,
                    times=times,
                    breaks=table.starts,
                    cancel=context.check,
                    keeper=keeper(table),
                    extras=extras,
                )
                fresh.append(chunk)
                if len(fresh) >= KEEP_CHUNKS:
                    keep()
            context.advance("score", len(missing), len(missing))
        finally:
            keep()
    return dense[positions]


def keeper(table: LiveTable) -> Keeper:
    """Return what keeps embeddings of the table's frames beside its detections."""
    features = table.storage.proxies.features

    def kept(name: str, positions: Positions, compute: Callable[[Positions], Singles]) -> Singles:
        parts: list[Singles] = []
        for i, frames in table.split(positions):
            video = table.videos[i].content_hash
            known, rows = features.read(name, video, frames)
            missing = frames[~known]
            if len(missing):
                fresh = compute(table.starts[i] + missing)
                features.add(name, video, missing, fresh)
                if rows.shape[1] != fresh.shape[1]:
                    rows = np.zeros((len(frames), fresh.shape[1]), np.float16)
                rows[~known] = fresh
            parts.append(rows.astype(np.float32))
        return np.concatenate(parts) if parts else compute(positions)

    return kept


def _without_pictures(table: LiveTable, family: str, positions: Positions) -> Positions:
    """Return the positions whose thumbnails a model of the family wants to see."""
    from foveal.udfs.models.proxies import LAST_RESORTS
    from foveal.udfs.models.proxies.embedding import KEPT_AS

    if family in LAST_RESORTS:
        return positions[:0]
    if family != "embedding":
        return positions
    parts: list[Positions] = [positions[:0]]
    for i, frames in table.split(positions):
        video = table.videos[i].content_hash
        known, _ = table.storage.proxies.features.read(KEPT_AS, video, frames)
        parts.append(table.starts[i] + frames[~known])
    return np.concatenate(parts)


def _thumbnails(
    table: LiveTable, positions: Positions, context: QueryContext
) -> npt.NDArray[np.uint8]:
    ensure_thumbnails(table, positions, context)
    return thumbnails_at(table, positions)


def _times(table: LiveTable) -> Doubles:
    """Return each frame's seconds within its video, float64 [frames]."""
    parts = [video.index.ts for video in table.videos]
    return np.concatenate(parts) if parts else np.zeros(0)


def _own_labels(table: LiveTable, proxy: StoredProxy) -> tuple[Positions, Doubles]:
    """Return the sorted positions, in the table as it is now, of what the model learnt from.

    And their left-out scores: videos may have come and gone since.
    """
    now = {video.content_hash: int(table.starts[i]) for i, video in enumerate(table.videos)}
    breaks = np.array(proxy.breaks)
    videos = np.searchsorted(breaks[1:], proxy.fitted.labelled, side="right")
    starts = np.array([now.get(video, -1) for video in proxy.videos])
    here = starts[videos] >= 0
    at = proxy.fitted.labelled[here] - breaks[videos[here]] + starts[videos[here]]
    order = np.argsort(at)
    return at[order], proxy.fitted.scores[here][order]


def _facts(table: LiveTable, proxy: StoredProxy) -> ProxyFacts:
    found = [f for f in stored(table) if f.key == proxy.key and f.name == proxy.name]
    return found[0] if found else proxy_facts(proxy, 0)


def _labels_hash(
    table: LiveTable, quantity: Quantity, positions: Positions, values: Doubles, how: object
) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr([quantity.text, how, table.definition.max_count]).encode())
    for video, start in zip(table.videos, table.starts.tolist(), strict=False):
        digest.update(f"{video.content_hash}:{start};".encode())
    digest.update(positions.tobytes() + values.tobytes())
    return digest.hexdigest()


@contextmanager
def _accounted(context: QueryContext, stage: str) -> Generator[None]:
    """Add the time inside to the report's `stage`, without what decoding took of it."""
    begin, decoding = time.perf_counter(), context.counters.seconds
    try:
        yield
    finally:
        spent = time.perf_counter() - begin - (context.counters.seconds - decoding)
        context.spend(stage, spent)
