"""Answers kept like detections: the same question about the same frames is answered from before.

A stored interval is recalled only for the question it was made for: the same frames, detector,
predicates, groups, confidence, guarantee, bound and seed, and an error at least as large as the
one it was asked to reach. The choice never looks at the stored answer itself, so its confidence is
what it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

import pyarrow as pa

from foveal.engine.catalog.videos import LiveTable
from foveal.planner.estimators import Interval
from foveal.planner.logical import FrameAggregate, Frames, Tolerance
from foveal.planner.physical import FrameScan, SampleAggregate
from foveal.settings import Value

_KIND = "answers"
_FIELDS = (
    "group", "target", "estimate", "low", "high", "samples", "known", "target_met", "guarantee",
    "clipped", "clipped_bound",
)  # fmt: skip
_TYPES = pa.schema(
    [
        ("group", pa.int64()), ("target", pa.int64()), ("estimate", pa.float64()),
        ("low", pa.float64()), ("high", pa.float64()), ("samples", pa.int64()),
        ("known", pa.int64()), ("target_met", pa.bool_()), ("guarantee", pa.string()),
        ("clipped", pa.int64()), ("clipped_bound", pa.float64()),
    ]
)  # fmt: skip


def question(
    node: FrameAggregate | SampleAggregate, table: LiveTable, settings: Mapping[str, Value]
) -> str | None:
    """Return what names the question without its error, or None where it is not self-contained."""
    if node.inputs or node.prefix or not all(c.pure for c in node.predicates):
        return None
    texts = [c.text for c in node.predicates] + [k.text for k in node.keys]
    if any("$" in text for text in [*texts, *(a.call for a in node.aggregates)]):
        return None  # its parameters are not part of the text
    if reads_model([*texts, node.source.sql, *(a.call for a in node.aggregates)]):
        return None  # the file's name is part of the text, its content is not
    frames = node.frames
    assert isinstance(frames, Frames | FrameScan)
    asked: dict[str, object] = {
        "videos": [[v.name, v.content_hash] for v in table.videos],
        "detector": table.info.key,
        "max_count": table.definition.max_count,
        "frames": [[c.alias, c.text] for c in frames.conjuncts],
        "source": node.source.sql,
        "levels": [[a, [c.text for c in cs]] for a, cs in node.source.levels],
        "predicates": [c.text for c in node.predicates],
        "keys": [k.text for k in node.keys],
        "aggregates": [a.call for a in node.aggregates],
        "bounds": [node.tolerance.low, node.tolerance.high],
        "confidence": node.tolerance.confidence,
        "guarantee": settings["guarantee"],
        "groups": settings["group_guarantee"],
        "seed": settings["seed"],
    }
    return hashlib.blake2b(json.dumps(asked).encode(), digest_size=16).hexdigest()


def reads_model(texts: Iterable[str]) -> bool:
    """Whether an answer depends on a model file that the texts only name."""
    return any("__foveal_classify(" in text for text in texts)


def recall(asked: str | None, tolerance: Tolerance, table: LiveTable) -> list[Interval] | None:
    """Return the intervals stored for the question with an error no larger, or None."""
    if asked is None or tolerance.epsilon is None:
        return None
    head = f"{asked}-{'r' if tolerance.relative else 'a'}-"
    best: tuple[float, str] | None = None
    for key in table.storage.artifacts.keys(_KIND):
        if key.startswith(head):
            error = float(key[len(head) :])
            # The largest error that will do: the least surprising, and no look at the answers.
            if error <= tolerance.epsilon and (best is None or error > best[0]):
                best = (error, key)
    if best is None:
        return None
    stored = table.storage.artifacts.get(_KIND, best[1])
    if stored is None:
        return None
    return [Interval(**row) for row in stored.to_pylist()]


def keep(
    asked: str | None, tolerance: Tolerance, table: LiveTable, intervals: list[Interval]
) -> None:
    """Store the intervals of a question whose error was reached."""
    if asked is None or tolerance.epsilon is None or not all(i.target_met for i in intervals):
        return
    rows = [{name: getattr(i, name) for name in _FIELDS} for i in intervals]
    key = f"{asked}-{'r' if tolerance.relative else 'a'}-{tolerance.epsilon!r}"
    table.storage.artifacts.put(_KIND, key, pa.Table.from_pylist(rows, schema=_TYPES))
