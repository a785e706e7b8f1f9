"""Pixel functions for DuckDB: lazy pictures in, decoded once per frame, values out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, cast

import duckdb
import numpy as np
import pyarrow as pa
from duckdb.func import FunctionNullHandling, PythonUDFType

from foveal.engine.catalog.videos import LiveTable
from foveal.engine.context import QueryContext
from foveal.engine.relations import HANDLE
from foveal.engine.substrate import Substrate
from foveal.errors import DataError
from foveal.planner.protocols import DecodeCounters, Video
from foveal.udfs.pixels import Function

PREFIX = "__foveal_"
_HANDLE_SQL = "STRUCT(source VARCHAR, frame BIGINT, xmin FLOAT, ymin FLOAT, xmax FLOAT, ymax FLOAT)"
_ARROW = {"DOUBLE": pa.float64(), "BLOB": pa.binary(), "BIGINT": pa.int64()}


class PixelFunctions:
    """Registers pixel functions with the session's DuckDB and runs them for the statement at work.

    DuckDB calls from threads of its own; what they read (the tables, the context) is set before
    a statement and does not change while it runs.
    """

    def __init__(self, substrate: Substrate) -> None:
        """Register nothing yet."""
        self._substrate = substrate
        self.tables: Mapping[str, LiveTable] = {}
        self.context: QueryContext | None = None

    def serve(
        self, names: Collection[str], tables: Mapping[str, LiveTable], context: QueryContext
    ) -> None:
        """Make the functions called `names` work for the statement that comes next."""
        from foveal.udfs.pixels import FUNCTIONS

        self.tables, self.context = tables, context
        for name in names:
            self._register(FUNCTIONS[name])

    def _register(self, function: Function) -> None:
        name = PREFIX + function.name
        known = self._substrate.rows(
            "SELECT 1 FROM duckdb_functions() WHERE function_name = $name", {"name": name}
        )
        if known:
            return
        returns = _ARROW[function.returns]

        def run(handles: Any) -> Any:  # DuckDB evaluates the annotations: no pyarrow generics
            return pa.array(self._values(function, handles), returns)

        self._substrate.connection.create_function(
            name,
            run,
            [duckdb.sqltype(_HANDLE_SQL)],
            duckdb.sqltype(function.returns),
            type=PythonUDFType.ARROW,
            null_handling=FunctionNullHandling.SPECIAL,
        )

    def _values(self, function: Function, handles: pa.ChunkedArray[Any]) -> list[object]:
        context = self.context
        assert context is not None
        assert function.call is not None
        array = cast("pa.StructArray", handles.combine_chunks().cast(HANDLE))
        out: list[object] = [None] * len(array)
        sources = cast("list[str | None]", array.field("source").to_pylist())
        frames = array.field("frame").to_numpy(zero_copy_only=False)
        boxes = np.stack(
            [array.field(n).to_numpy(zero_copy_only=False)
             for n in ("xmin", "ymin", "xmax", "ymax")],
            axis=1,
        )  # fmt: skip
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        by_source: dict[str, list[int]] = {}
        for row, source in enumerate(sources):
            if valid[row] and source is not None:
                by_source.setdefault(source, []).append(row)
        for source, rows in by_source.items():
            self._one_video(
                self._video(source), np.array(rows), frames, boxes, function.call, out, context
            )
        return out

    def _video(self, source: str) -> Video:
        for table in self.tables.values():
            video = table.video_by_path(source)
            if video is not None:
                return video
        # A handle that was stored and read back may point to any path: only videos of the
        # database's own tables are opened.
        raise DataError(
            f'the picture belongs to "{Path(source).name}", which is in no video table',
            sqlstate="22023",
            hint="pictures are read from their video: create a video table over it",
        )

    def _one_video(
        self, video: Video, rows: np.ndarray, frames: np.ndarray, boxes: np.ndarray,
        call: Callable[..., object], out: list[object], context: QueryContext,
    ) -> None:  # fmt: skip
        counters = DecodeCounters()
        wanted = frames[rows].astype(np.int64)
        order = np.argsort(wanted, kind="stable")
        rows, wanted = rows[order], wanted[order]
        try:
            at = 0
            for number, picture in video.read(
                np.unique(wanted), counters=counters, cancel=context.check
            ):
                while at < len(rows) and wanted[at] == number:
                    out[rows[at]] = call(_crop(picture, boxes[rows[at]]))
                    at += 1
        except BaseException as error:
            context.error = context.error or error
            raise
        finally:
            context.counters.frames_decoded += counters.frames_decoded
            context.counters.seconds += counters.seconds


def _crop(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    from foveal.connectors.video.crops import crop

    return crop(picture, box)
