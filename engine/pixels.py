"""Pixel functions for DuckDB: lazy pictures in, decoded once per frame, values out.

Each picture is shown to a function once: the answer is looked up first, whoever asks again. So the
same call may stand twice in a statement, and DuckDB may test rows in any order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from duckdb.func import FunctionNullHandling, PythonUDFType

from foveal.engine.catalog.videos import LiveTable
from foveal.engine.context import QueryContext
from foveal.engine.pixel_functions import PREFIX, Known, PictureFunction, Run
from foveal.engine.pixel_memo import PixelMemo, picture_keys
from foveal.engine.relations import HANDLE
from foveal.engine.substrate import Substrate
from foveal.errors import DataError, FovealError, OperationalError, ProgrammingError
from foveal.planner.protocols import DecodeCounters, PixelFacts, Video

_HANDLE_SQL = "STRUCT(source VARCHAR, frame BIGINT, xmin FLOAT, ymin FLOAT, xmax FLOAT, ymax FLOAT)"
_MASK_SQL = "STRUCT(x DOUBLE, y DOUBLE)[]"
_BATCH_BYTES = 32 << 20
"""Pixels shown to a function at once, so that memory stays bounded on whole frames too."""
_BATCH = 256


class PixelFunctions:
    """Registers pixel functions with DuckDB and runs them for the statement at work.

    DuckDB calls from threads of its own; what they read (the tables, the context) is set before
    a statement and does not change while it runs. One thread computes at a time, so that no picture
    is shown twice.
    """

    def __init__(self, substrate: Substrate) -> None:
        """Register foveal's own functions, before a transaction could take them back.

        What is registered in a transaction is gone after its ROLLBACK, and its name taken for good.
        """
        self._substrate = substrate
        self._beside: Substrate | None = None
        self._registered: set[tuple[Substrate, str]] = set()
        self._memo = PixelMemo()
        self._lock = threading.RLock()
        self.functions = Known()
        self.tables: Mapping[str, LiveTable] = {}
        self.context: QueryContext | None = None
        self._serving: frozenset[str] = frozenset()
        for name in self.functions.internal():
            self._register(substrate, name)

    def give(
        self, name: str, run: Run, returns: str, cost: float | None, version: str | None
    ) -> None:
        """Take a function of the user's: see `Connection.create_pixel_function`.

        Raises:
            ProgrammingError: 25001, a transaction is open, or as `Known.give`.
            DataError: 22023, as `Known.give`.
        """
        if self._substrate.in_transaction:
            raise ProgrammingError(
                "a pixel function cannot be created inside a transaction",
                sqlstate="25001",
                hint="commit() or rollback() first",
            )
        self._register(self._substrate, self.functions.give(name, run, returns, cost, version))

    # --- the statement at work -----------------------------------------------------------------

    def serve(
        self, names: Collection[str], tables: Mapping[str, LiveTable], context: QueryContext
    ) -> None:
        """Let the functions of these internal names work for the statement that comes next."""
        self.tables, self.context = tables, context
        self._serving = frozenset(names)

    def beside(self) -> Substrate:
        """Return a DuckDB that has the statement's functions and nothing else.

        Predicates are tried there while the session's own connection runs the statement.
        """
        if self._beside is None:
            self._beside = Substrate(":memory:")
            self._beside.execute("SET threads = 1")
        for name in self._serving:
            self._register(self._beside, name)
        return self._beside

    def finish(self) -> None:
        """Keep the statement's answers for the next ones."""
        self._memo.keep()

    def close(self) -> None:
        """Close the DuckDB beside the session's."""
        if self._beside is not None:
            self._beside.close()
            self._beside = None

    def facts(
        self, names: Collection[str], tables: Mapping[str, LiveTable]
    ) -> dict[str, PixelFacts]:
        """Return what the functions of these internal names cost, as far as it was measured."""
        found: dict[str, PixelFacts] = {}
        for name in names:
            if not self.functions.looks(name):
                continue
            measured = [
                seconds
                for table in tables.values()
                if (seconds := table.storage.profiles.measured("pixels", name)) is not None
            ]
            cost = measured[0] if measured else self.functions.cost(name)
            found[name] = PixelFacts(self.functions.shown(name), cost, bool(measured))
        return found

    # --- DuckDB's side -------------------------------------------------------------------------

    def _register(self, database: Substrate, name: str) -> None:
        if (database, name) in self._registered:
            return
        self._registered.add((database, name))
        kinds = self.functions.arguments(name)
        columns = {"content": _HANDLE_SQL, "mask": _MASK_SQL}
        returns = self.functions.returns(name)
        kind = self.functions.arrow(name)

        def run(*arguments: Any) -> Any:
            try:
                return pa.array(self._values(name, arguments), kind)
            except BaseException as error:
                if self.context is not None:
                    self.context.error = self.context.error or error
                raise

        # DuckDB counts the parameters, and evaluates annotations: no pyarrow generics.
        def run_one(one: Any) -> Any:
            return run(one)

        def run_two(one: Any, two: Any) -> Any:
            return run(one, two)

        database.connection.create_function(
            name,
            run_one if len(kinds) == 1 else run_two,
            [duckdb.sqltype(columns.get(kind, "VARCHAR")) for kind in kinds],
            duckdb.sqltype(returns),
            type=PythonUDFType.ARROW,
            null_handling=FunctionNullHandling.SPECIAL,
        )

    def _values(self, name: str, arguments: Sequence[pa.ChunkedArray[Any]]) -> list[object]:
        polygons = self.functions.polygons(name)
        if polygons is not None:
            columns = [argument.to_pylist() for argument in arguments]
            return [polygons(row) for row in zip(*columns, strict=True)]
        handles = arguments[0]
        out: list[object] = [None] * len(handles)
        if len(arguments) == 1:
            self._fill(self.functions.plain(name), handles, np.arange(len(out)), out)
            return out
        models = arguments[1].to_pylist()
        assert self.context is not None
        for model in dict.fromkeys(m for m in models if m is not None):
            rows = np.flatnonzero([m == model for m in models])
            self._fill(self.functions.model(name, model, self.context.settings), handles, rows, out)
        return out

    def _fill(
        self, function: PictureFunction, handles: pa.ChunkedArray[Any],
        rows: npt.NDArray[np.intp], out: list[object],
    ) -> None:  # fmt: skip
        """Write the function's values of the pictures in `rows`."""
        array = cast("pa.StructArray", handles.combine_chunks().cast(HANDLE))
        sources = cast("list[str | None]", array.field("source").to_pylist())
        frames = array.field("frame").to_numpy(zero_copy_only=False)
        boxes = np.stack(
            [array.field(n).to_numpy(zero_copy_only=False)
             for n in ("xmin", "ymin", "xmax", "ymax")],
            axis=1,
        ).astype(np.float32)  # fmt: skip
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        by_source: dict[str, list[int]] = {}
        for row in cast("list[int]", rows.tolist()):
            source: str | None = sources[row]
            if valid[row] and source is not None:
                by_source.setdefault(source, []).append(row)
        with self._lock:
            for source, mine in by_source.items():
                at = np.array(mine)
                values = self._answers(function, source, frames[at].astype(np.int64), boxes[at])
                for row, value in zip(mine, values, strict=True):
                    out[row] = value

    def _source(self, source: str) -> tuple[LiveTable, Video]:
        for table in self.tables.values():
            video = table.video_by_path(source)
            if video is not None:
                return table, video
        # A handle that was stored and read back may point to any path: only videos of the
        # database's own tables are opened.
        raise DataError(
            f'the picture belongs to "{Path(source).name}", which is in no video table',
            sqlstate="22023",
            hint="pictures are read from their video: create a video table over it",
        )

    # --- answers -------------------------------------------------------------------------------

    def _answers(
        self, function: PictureFunction, source: str, frames: npt.NDArray[np.int64],
        boxes: npt.NDArray[np.float32],
    ) -> list[object]:  # fmt: skip
        """Return a value per picture of one video, from memory where it is known."""
        table, video = self._source(source)
        storage, durable = table.storage, function.durable
        keys = picture_keys(frames, boxes)
        known: dict[bytes, object] = {}
        if function.kept:
            known = self._memo.known(storage, video.content_hash, function.key, durable=durable)
        missing: dict[bytes, int] = {}
        for at, key in enumerate(keys):
            if key not in known:
                missing.setdefault(key, at)
        if missing:
            places = np.array(list(missing.values()))
            fresh = self._compute(function, table, video, frames[places], boxes[places])
            found = dict(zip(missing, fresh, strict=True))
            if function.kept:
                self._memo.add(
                    storage, video.content_hash, function.key, function.kind, found, durable=durable
                )
                known = self._memo.known(storage, video.content_hash, function.key, durable=durable)
            else:
                known = found
        return [known[key] for key in keys]

    def _compute(
        self, function: PictureFunction, table: LiveTable, video: Video,
        frames: npt.NDArray[np.int64], boxes: npt.NDArray[np.float32],
    ) -> list[object]:  # fmt: skip
        """Show pictures to a function, in the order of their frames; each frame is decoded once."""
        context = self.context
        assert context is not None
        from foveal.connectors.video.crops import crop

        out: list[object] = [None] * len(frames)
        order = np.argsort(frames, kind="stable")
        counters = DecodeCounters()
        held: list[tuple[int, Any]] = []
        spent, calls, size = 0.0, 0, 0

        def show() -> None:
            nonlocal spent, calls, size
            if not held:
                return
            context.check()
            begun = time.perf_counter()
            values = _called(function, [image for _, image in held])
            spent += time.perf_counter() - begun
            calls += len(held)
            for (row, _), value in zip(held, values, strict=True):
                out[row] = value
            held.clear()
            size = 0

        try:
            at = 0
            for number, picture in video.read(
                np.unique(frames), counters=counters, cancel=context.check
            ):
                while at < len(order) and frames[order[at]] == number:
                    image = crop(picture, boxes[order[at]])
                    if image.size:  # a box outside of the picture has no pixels: NULL
                        held.append((int(order[at]), image))
                        size += image.nbytes
                    at += 1
                    if len(held) >= _BATCH or size >= _BATCH_BYTES:
                        show()
            show()
        finally:
            context.counters.frames_decoded += counters.frames_decoded
            context.counters.seeks += counters.seeks
            context.counters.seconds += counters.seconds
            report = context.report
            report.pixel_calls[function.name] = report.pixel_calls.get(function.name, 0) + calls
            if calls:
                table.storage.profiles.averaged("pixels", function.internal, spent / calls)
        return out


def _called(function: PictureFunction, images: list[Any]) -> list[object]:
    """Return the function's values, each of the type that it is said to return.

    Raises:
        OperationalError: 38000, it failed, or gave something else than a value per picture.
    """
    try:
        values = function.run(images)
        values = values.tolist() if isinstance(values, np.ndarray) else list(values)
        if len(values) == len(images):
            return cast("Any", pa.array(values, function.kind)).to_pylist()
    except FovealError:
        raise
    except Exception as error:
        raise OperationalError(
            f"the pixel function {function.name}() failed",
            sqlstate="38000",
            detail=f"{type(error).__name__}: {error}",
            hint="it takes a list of uint8 RGB pictures [h, w, 3] and returns a value for each",
        ) from error
    raise OperationalError(
        f"the pixel function {function.name}() returned {len(values)} value(s) for "
        f"{len(images)} picture(s)",
        sqlstate="38000",
        hint="it takes a list of uint8 RGB pictures [h, w, 3] and returns a value for each",
    )


__all__ = ["PREFIX", "PixelFunctions"]
