"""Answers of pixel functions by picture: looked up before a call, kept beside the detections."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foveal.engine.catalog.videos import Storage

_KIND = "pixels"
_WIDTH = 24
"""Bytes of a picture's key: its frame as int64, its box as four float32."""
_KEEP = 5000
"""Answers are made durable at the end of a statement, or when there are so many new ones."""
_PARTS = 16
"""Tables of one function's answers about one video, before they are written as one."""

Answers = dict[bytes, Any]


def picture_keys(frames: npt.NDArray[np.int64], boxes: npt.NDArray[np.float32]) -> list[bytes]:
    """Return the keys of pictures: the same frame and box, the same key, bit for bit."""
    rows = np.empty(len(frames), np.dtype([("frame", "<i8"), ("box", "<f4", 4)]))
    rows["frame"], rows["box"] = frames, boxes
    whole = rows.tobytes()
    return [whole[at : at + _WIDTH] for at in range(0, len(whole), _WIDTH)]


class PixelMemo:
    """The answers known to a session, by (video content hash, function key).

    A function's key names its content and, for a model, that of its file; so an answer never
    changes. Answers about functions that are not `durable` last as long as the session.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self._answers: dict[tuple[str, str], Answers] = {}
        self._fresh: dict[tuple[str, str], tuple[Storage, pa.DataType, list[bytes]]] = {}
        self._lock = threading.Lock()

    def known(self, storage: Storage, video: str, function: str, *, durable: bool) -> Answers:
        """Return the answers of a function about a video, to be read only."""
        with self._lock:
            found = self._answers.get((video, function))
            if found is None:
                found = self._answers[video, function] = (
                    _read(storage, video, function) if durable else {}
                )
            return found

    def add(
        self, storage: Storage, video: str, function: str, kind: pa.DataType,
        found: Mapping[bytes, Any], *, durable: bool,
    ) -> None:  # fmt: skip
        """Take in new answers; `kind` is the Arrow type of their values."""
        self.known(storage, video, function, durable=durable).update(found)
        if not durable:
            return
        with self._lock:
            _, _, keys = self._fresh.setdefault((video, function), (storage, kind, []))
            keys += found
            many = len(keys) >= _KEEP
        if many:
            self.keep()

    def keep(self) -> None:
        """Make the new answers durable.

        Raises:
            OperationalError: 53100 or 58030, the store cannot be written.
        """
        with self._lock:
            fresh, self._fresh = self._fresh, {}
            for (video, function), (storage, kind, keys) in fresh.items():
                answers = self._answers[video, function]
                _write(storage, video, function, kind, {k: answers[k] for k in keys})


def _read(storage: Storage, video: str, function: str) -> Answers:
    head = f"{video}-{function}-"
    parts = [k for k in storage.artifacts.keys(_KIND) if k.startswith(head)]
    found: Answers = {}
    kind: pa.DataType | None = None
    for part in parts:
        table = storage.artifacts.get(_KIND, part)
        if table is not None:
            kind = cast("pa.DataType", table.column("value").type)
            keys = cast("list[bytes]", table.column("picture").to_pylist())
            found.update(zip(keys, table.column("value").to_pylist(), strict=True))
    if len(parts) > _PARTS and kind is not None:
        _write(storage, video, function, kind, found)
        for part in parts:
            storage.artifacts.drop(_KIND, part)
    return found


def _write(
    storage: Storage, video: str, function: str, kind: pa.DataType, answers: Answers
) -> None:
    if not answers:
        return
    table = pa.table(
        {
            "picture": pa.array(list(answers), pa.binary(_WIDTH)),
            "value": pa.array(list(answers.values()), kind),
        }
    )
    storage.artifacts.put(_KIND, f"{video}-{function}-{uuid.uuid4().hex}", table)
