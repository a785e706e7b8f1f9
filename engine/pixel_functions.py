"""The functions over masks and pictures that a session knows: ours, and those the user gave it."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import pyarrow as pa

from foveal.errors import DataError, ProgrammingError
from foveal.planner.protocols import StoredText
from foveal.settings import Value
from foveal.udfs.masks import PolygonFunction
from foveal.udfs.pixels import FUNCTIONS, Function

PREFIX = "__foveal_"
"""What the names begin with under which DuckDB knows the functions."""

_ARROW: Mapping[str, pa.DataType] = {
    "DOUBLE": pa.float64(), "BIGINT": pa.int64(), "BOOLEAN": pa.bool_(), "VARCHAR": pa.string(),
    "BLOB": pa.binary(),
}  # fmt: skip

_VERSION = 1
"""Raise when an answer of a function of ours changes: kept answers are keyed by it."""

Run = Callable[[list[Any]], Sequence[Any] | npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class PictureFunction:
    """One function over pictures. `run` takes uint8 RGB pictures [h, w, 3], none of them empty.

    `key` names all that its answers depend on but the picture. `kept`: answers are looked up before
    a call; `durable`: in later sessions too.
    """

    name: str
    internal: str
    key: str
    kind: pa.DataType
    run: Run
    kept: bool = True
    durable: bool = True


@dataclass(frozen=True, slots=True)
class _Given:
    """A function of the user's."""

    name: str
    returns: str
    cost: float
    function: PictureFunction


class Known:
    """Functions by their internal names, and how the text that users write leads to these."""

    def __init__(self) -> None:
        """Know foveal's own functions."""
        self._given: dict[str, _Given] = {}
        self._models: dict[tuple[str, str, int, int], PictureFunction] = {}

    def give(
        self, name: str, run: Run, returns: str, cost: float | None, version: str | None
    ) -> str:
        """Take a function of the user's, in place of an earlier one of its name; return its own.

        Raises:
            ProgrammingError: 42602, the name is no plain name; 42723, foveal has a function of it.
            DataError: 22023, the type is not one of those that a function may return.
        """
        folded = name.lower()
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", folded) or folded.startswith("__"):
            raise ProgrammingError(
                f'"{name}" is no name for a function', sqlstate="42602",
                hint="use letters, digits and underscores",
            )  # fmt: skip
        if folded in FUNCTIONS:
            raise ProgrammingError(
                f"foveal has a function {folded}() of its own", sqlstate="42723",
                hint="give yours another name",
            )  # fmt: skip
        kind = _ARROW.get(returns.upper())
        if kind is None:
            raise DataError(
                f'a pixel function cannot return "{returns}"', sqlstate="22023",
                hint="it returns one of " + ", ".join(_ARROW),
            )  # fmt: skip
        if cost is not None and not cost >= 0:
            raise DataError("cost is seconds per call, not below 0", sqlstate="22023")
        durable = version is not None
        said = f"{folded}\0{returns.upper()}\0{version}" if durable else uuid.uuid4().hex
        key = hashlib.blake2b(said.encode(), digest_size=8).hexdigest()
        internal = f"{PREFIX}{folded}_{key}"
        made = PictureFunction(folded, internal, f"given-{key}", kind, run, durable=durable)
        self._given[folded] = _Given(folded, returns.upper(), 1e-3 if cost is None else cost, made)
        return internal

    def internal(self) -> list[str]:
        """Return the internal names of foveal's own functions that are not written out as SQL."""
        return [PREFIX + f.name for f in FUNCTIONS.values() if f.body is None]

    # --- from the user's text --------------------------------------------------------------------

    def macros(self, hidden: frozenset[str]) -> dict[str, StoredText]:
        """Return the functions that are written out as SQL, but for those a macro hides."""
        found: dict[str, StoredText] = {}
        for name, function in FUNCTIONS.items():
            if name in hidden or (len(function.arguments) == 1 and function.body is None):
                continue
            places = function.arguments
            if len(set(places)) < len(places):
                places = tuple(f"{place}_{i}" for i, place in enumerate(places, 1))
            body = function.body
            if body is None:
                listed = [f"({p})::VARCHAR" if p == "polygon" else p for p in places]
                body = f"{PREFIX}{name}({', '.join(listed)})"
            found[name] = StoredText(name, "scalar_macro", body, places)
        return found

    def renamed(self, hidden: frozenset[str]) -> dict[str, str]:
        """Return internal names by the names that the user writes, but for those a macro hides."""
        found = {
            name: PREFIX + name
            for name, function in FUNCTIONS.items()
            if function.body is None and len(function.arguments) == 1
        }
        found.update({name: given.function.internal for name, given in self._given.items()})
        return {name: internal for name, internal in found.items() if name not in hidden}

    def listed(self) -> list[dict[str, object]]:
        """Return a row for `foveal.functions` of every function."""
        ours = [(f.name, f.argument, f.returns, f.doc, "foveal") for f in FUNCTIONS.values()]
        given = [
            (g.name, "content", g.returns, "a Python function of this connection", "python")
            for g in self._given.values()
        ]
        names = ("name", "argument", "returns", "meaning", "language")
        return [dict(zip(names, row, strict=True)) for row in (*ours, *given)]

    # --- by internal name ------------------------------------------------------------------------

    def has(self, internal: str) -> bool:
        """Whether there is such a function."""
        return self._find(internal) is not None

    def looks(self, internal: str) -> bool:
        """Whether the function looks at pictures."""
        found = self._find(internal)
        return not isinstance(found, Function) or found.pixels

    def shown(self, internal: str) -> str:
        """Return the name as the user writes it."""
        return self._known(internal).name

    def cost(self, internal: str) -> float:
        """Return the seconds per call before any was measured."""
        return self._known(internal).cost

    def returns(self, internal: str) -> str:
        """Return the SQL type of the values."""
        return self._known(internal).returns

    def arrow(self, internal: str) -> pa.DataType:
        """Return the Arrow type of the values."""
        return _ARROW[self._known(internal).returns]

    def arguments(self, internal: str) -> tuple[str, ...]:
        """Return the kinds of the arguments."""
        found = self._known(internal)
        return found.arguments if isinstance(found, Function) else ("content",)

    def polygons(self, internal: str) -> PolygonFunction | None:
        """Return the function over polygons, None where it is none."""
        found = self._known(internal)
        return found.polygons if isinstance(found, Function) else None

    def plain(self, internal: str) -> PictureFunction:
        """Return a function of one picture."""
        found = self._known(internal)
        if not isinstance(found, Function):
            return found.function
        call = found.call
        assert call is not None

        def run(images: list[Any]) -> list[Any]:
            return [call(image) for image in images]

        key = f"{found.name}-{_VERSION}"
        return PictureFunction(found.name, internal, key, _ARROW[found.returns], run, found.kept)

    def model(self, internal: str, model: str, settings: Mapping[str, Value]) -> PictureFunction:
        """Return a function of a picture and the model in a file, loaded once as it is now."""
        from foveal.connectors.assets import resolve
        from foveal.udfs.models.classifier import Classifier

        found = self._known(internal)
        path = resolve(model).resolve()
        stamp = path.stat()
        beside = path.with_suffix(".names")
        labelled = beside.stat().st_mtime_ns if beside.is_file() else 0
        at = (internal, str(path), stamp.st_mtime_ns ^ labelled, stamp.st_size)
        known = self._models.get(at)
        if known is None:
            classifier = Classifier(
                path, threads=int(settings["threads"]), device=str(settings["device"])
            )
            known = self._models[at] = PictureFunction(
                found.name, internal, f"{found.name}-{classifier.key}", pa.string(), classifier
            )
        return known

    def _find(self, internal: str) -> Function | _Given | None:
        for given in self._given.values():
            if given.function.internal == internal:
                return given
        return FUNCTIONS.get(internal.removeprefix(PREFIX)) if internal.startswith(PREFIX) else None

    def _known(self, internal: str) -> Function | _Given:
        found = self._find(internal)
        assert found is not None
        return found
