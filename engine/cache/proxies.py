"""Specialised models and their scores, kept beside the detections: by name, by content, by video.

A model never changes under its key, which names its content; a name leads to the newest. Scores
belong to a model and a video's content, so a table that is made again finds them again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foveal.engine.cache.artifacts import ArtifactStore
from foveal.engine.cache.frame_arrays import FrameArrays
from foveal.planner.protocols import ProxyFacts, Quantity

if TYPE_CHECKING:
    from foveal.udfs.models.proxies import Fitted

MODELS = "proxies"
_FACTS = b"foveal.proxy"
_ARRAYS = pa.schema(
    [
        ("name", pa.string()), ("type", pa.string()), ("shape", pa.list_(pa.int64())),
        ("content", pa.large_binary()),
    ]
)  # fmt: skip
_UNTIMED = ("seconds", "score_frame", "trials")
"""What of a model says how long it took: no part of its content."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredProxy:
    """A specialised model with where it came from.

    `videos` are the content hashes of the table's videos and `breaks` their first positions (and
    the number of frames) when it was trained: `fitted.labelled` counts by them. `max_count`:
    what its labels were clipped at. `created`: ISO 8601, UTC. `labels_hash` names frames, values
    and how they were learnt from. `table` is folded, `name` as written; `key` names its content,
    and is "" before it is stored.
    """

    name: str
    table: str
    detector: str
    quantity: Quantity
    fitted: Fitted
    videos: tuple[str, ...]
    breaks: tuple[int, ...]
    max_count: int
    labels_hash: str
    created: str
    key: str = ""

    def content_key(self) -> str:
        """Return the hex digest of its content, whatever it is called."""
        arrays, facts = self.fitted.dump()
        digest = hashlib.blake2b(digest_size=16)
        held = {k: v for k, v in facts.items() if k not in _UNTIMED}
        asked = [self.detector, *self.quantity.conditions, self.quantity.value, self.labels_hash]
        digest.update(json.dumps([asked, held], sort_keys=True).encode())
        for name in sorted(arrays):
            digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
        return digest.hexdigest()


class ProxyStore:
    """Specialised models in a cache folder. As thread- and process-safe as `ArtifactStore`.

    `scores` holds a score per frame under a model's key, `features` embeddings under theirs.
    """

    def __init__(self, artifacts: ArtifactStore) -> None:
        """Read nothing yet."""
        self._artifacts = artifacts
        self.scores = FrameArrays(artifacts, "proxy_scores", np.float64)
        self.features = FrameArrays(artifacts, "features", np.float16)
        self._known: dict[str, StoredProxy] = {}

    def put(self, proxy: StoredProxy) -> StoredProxy:
        """Keep a model durably and return it with its key; it takes the place of its namesake.

        Raises:
            OperationalError: as `ArtifactStore.put`; the old one stays then.
        """
        arrays, facts = proxy.fitted.dump()
        key = proxy.content_key()
        rows = [
            {
                "name": name,
                "type": array.dtype.str,
                "shape": list(array.shape),
                "content": np.ascontiguousarray(array).tobytes(),
            }
            for name, array in arrays.items()
        ]
        about = {
            "name": proxy.name,
            "conditions": proxy.quantity.conditions,
            "value": proxy.quantity.value,
            "fitted": facts,
            "videos": proxy.videos,
            "breaks": proxy.breaks,
            "max_count": proxy.max_count,
            "labels_hash": proxy.labels_hash,
            "created": proxy.created,
        }
        table = pa.Table.from_pylist(rows, schema=_ARRAYS)
        place = _place(proxy.table, proxy.name.lower(), proxy.detector, key)
        old = [p for p in self._places() if _parts(p)[:2] == (proxy.table, proxy.name.lower())]
        self._artifacts.put(
            MODELS, place, table.replace_schema_metadata({_FACTS: json.dumps(about).encode()})
        )
        for other in old:
            if other != place:
                self._drop(other)
        return replace(proxy, key=key)

    def find(self, table: str | None = None, detector: str | None = None) -> list[StoredProxy]:
        """Return the models of a table (folded name) and detector key, or all, by name."""
        found: list[StoredProxy] = []
        for place in self._places():
            its_table, _, its_detector, _ = _parts(place)
            if table not in (None, its_table) or detector not in (None, its_detector):
                continue
            stored = self._known.get(place) or self._read(place)
            if stored is not None:
                found.append(stored)
        return found

    def drop(self, proxy: StoredProxy) -> None:
        """Delete a model and its scores."""
        for place in self._places():
            if _parts(place)[:2] == (proxy.table, proxy.name.lower()):
                self._drop(place)

    def facts(self, table: str, detector: str, videos: Mapping[str, int]) -> tuple[ProxyFacts, ...]:
        """Return what the planner may know of a table's models; `videos`: frames by content hash.

        Only those count that learnt from one of the videos. The files of scores are not opened.
        """
        found = [p for p in self.find(table, detector) if set(p.videos) & videos.keys()]
        if not found:
            return ()
        counts = self.scores.counts()

        def scored(key: str) -> int:
            return sum(min(counts.get((key, v), 0), frames) for v, frames in videos.items())

        return tuple(proxy_facts(proxy, scored(proxy.key)) for proxy in found)

    def _places(self) -> list[str]:
        return self._artifacts.keys(MODELS)

    def _drop(self, place: str) -> None:
        self._known.pop(place, None)
        self._artifacts.drop(MODELS, place)
        key = _parts(place)[3]
        if not any(_parts(other)[3] == key for other in self._places()):
            self.scores.drop(key)

    def _read(self, place: str) -> StoredProxy | None:
        from foveal.udfs.models.proxies import load

        held = self._artifacts.get(MODELS, place)
        if held is None:
            return None
        about = cast("dict[str, Any]", json.loads((held.schema.metadata or {})[_FACTS]))
        arrays: Mapping[str, npt.NDArray[Any]] = {
            row["name"]: np.frombuffer(row["content"], row["type"]).reshape(row["shape"])
            for row in held.to_pylist()
        }
        table, _, detector, key = _parts(place)
        stored = self._known[place] = StoredProxy(
            about["name"],
            table,
            detector,
            Quantity(tuple(about["conditions"]), about["value"]),
            load(arrays, about["fitted"]),
            tuple(about["videos"]),
            tuple(about["breaks"]),
            about["max_count"],
            about["labels_hash"],
            about["created"],
            key,
        )
        return stored


def proxy_facts(proxy: StoredProxy, scored: int) -> ProxyFacts:
    """Return a stored model as the planner sees it."""
    fitted = proxy.fitted
    return ProxyFacts(
        proxy.name, proxy.table, proxy.quantity, fitted.family, proxy.key, len(fitted.values),
        fitted.positives, fitted.r2, fitted.r2_time, fitted.residual, fitted.deviation,
        fitted.seconds, fitted.score_frame, scored, fitted.useful, fitted.why,
    )  # fmt: skip


def _place(*parts: str) -> str:
    return "/".join(quote(part, safe="") for part in parts)


def _parts(place: str) -> tuple[str, str, str, str]:
    table, name, detector, key = (unquote(part) for part in place.split("/"))
    return table, name, detector, key
