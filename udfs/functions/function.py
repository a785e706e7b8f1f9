"""A function of the user's: its signature, its Python, and what it was translated to.

`UserFunction` is what SQL calls. Called over Arrow arrays it runs Python: row by row, once per
distinct text, or over batches as NumPy, pandas or Arrow. `compiled` says what a compiled loop can
put in the calls' place, or why there is nothing.
"""

from __future__ import annotations

import importlib
import linecache
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from foveal.errors import DataError, FovealError, NotSupportedError, OperationalError
from foveal.planner.ir.function import IrFunction
from foveal.udfs.functions.source import PythonSource, Untranslatable
from foveal.udfs.functions.sqltypes import SqlType, converter
from foveal.udfs.functions.translate import translate

_compute: Any = pyarrow.compute
_array: Any = pa.array
_REMEMBERED = 65_536
"""Distinct arguments of a function of text whose results are kept."""
_UNKNOWN = object()
Arrays = Sequence[Any]


@dataclass(eq=False)
class UserFunction:
    """One function. `batch`: scalar, numpy, pandas or arrow; `null_handling`: strict or special.

    `make` returns the callable, which for text runs the text around it, so it is called when the
    function first has to run as Python. `source` is None where there is none to translate; `ready`
    is an expression that was given instead of Python. `cost`: seconds a row, None: not known.
    """

    name: str
    parameters: tuple[tuple[str, SqlType], ...]
    returns: SqlType
    make: Callable[[], Callable[..., Any]] | None
    source: PythonSource | None
    language: str = "python"
    batch: str = "scalar"
    null_handling: str = "strict"
    volatile: bool = False
    cost: float | None = None
    ready: IrFunction | None = None
    text: str = ""
    _translated: IrFunction | Untranslatable | None = field(default=None, repr=False)
    _known: dict[tuple[Any, ...], Any] = field(default_factory=dict[Any, Any], repr=False)

    # --- translated ------------------------------------------------------------------------------

    @property
    def compiled(self) -> IrFunction | None:
        """The function as an expression, None where `untranslated` says why not."""
        found = self._outcome()
        return found if isinstance(found, IrFunction) else None

    @property
    def untranslated(self) -> Untranslatable | None:
        """Why it runs as Python: the line of its text, and the reason."""
        found = self._outcome()
        return found if isinstance(found, Untranslatable) else None

    @property
    def over_text(self) -> bool:
        """Whether it takes strings alone, so that it is evaluated once per distinct value."""
        texts = all(kind.text == "VARCHAR" for _, kind in self.parameters)
        return texts and bool(self.parameters) and self.batch == "scalar" and not self.volatile

    def _outcome(self) -> IrFunction | Untranslatable:
        if self._translated is None:
            self._translated = self._translate()
        return self._translated

    def _translate(self) -> IrFunction | Untranslatable:
        if self.ready is not None:
            return self.ready
        if self.batch != "scalar":
            return Untranslatable(1, f"it works on batches ({self.batch})")
        if self.volatile:
            return Untranslatable(1, "it is volatile")
        if self.source is None:
            return Untranslatable(1, "its source is not at hand")
        kinds = [kind for _, kind in self.parameters]
        try:
            return translate(self.source, kinds, self.returns, null_handling=self.null_handling)
        except Untranslatable as error:
            return error
        except RecursionError:
            return Untranslatable(1, "it is nested too deeply")

    # --- as Python -------------------------------------------------------------------------------

    def evaluate(self, arguments: Arrays) -> pa.Array[Any]:
        """Return the values for Arrow arrays of the parameters' types, all of one length.

        Raises:
            OperationalError: 38000, the function raised, or returned what is not declared.
            DataError: 22003, a value does not fit the type that is declared.
        """
        if self.make is None:
            raise OperationalError(f"function {self.name}() has no Python", sqlstate="38000")
        with np.errstate(all="ignore"):
            if self.batch == "scalar":
                return self._rows(arguments)
            return self._batch(arguments)

    def _callable(self) -> Callable[..., Any]:
        assert self.make is not None
        try:
            return self.make()
        except Exception as error:
            raise self._failed(error, None) from error

    def _rows(self, arguments: Arrays) -> pa.Array[Any]:
        function, convert = self._callable(), converter(self.returns)
        strict = self.null_handling == "strict"
        columns = [argument.to_pylist() for argument in arguments]
        rows = list(zip(*columns, strict=True)) if columns else [()]
        known = self._known if self.over_text else None
        out: list[Any] = []
        for row in rows:
            if strict and None in row:
                out.append(None)
                continue
            if known is not None:
                kept = known.get(row, _UNKNOWN)
                if kept is not _UNKNOWN:
                    out.append(kept)
                    continue
            try:
                value = convert(function(*row))
            except FovealError:
                raise
            except Exception as error:
                raise self._failed(error, row) from error
            if known is not None and len(known) < _REMEMBERED:
                known[row] = value
            out.append(value)
        return self._array(out)

    def _array(self, values: Any) -> pa.Array[Any]:
        try:
            return pa.array(values, self.returns.arrow)
        except (pa.ArrowInvalid, OverflowError) as error:
            raise DataError(
                f"function {self.name}() returned a value that is no {self.returns.text}",
                sqlstate="22003",
                detail=str(error),
                hint="declare a wider type behind RETURNS",
            ) from error
        except (TypeError, ValueError, pa.ArrowTypeError) as error:
            raise self._failed(error, None) from error

    def _batch(self, arguments: Arrays) -> pa.Array[Any]:
        """Call the function once; strict functions see the rows without NULL alone."""
        function = self._callable()
        arrays = [_flat(argument) for argument in arguments]
        valid: npt.NDArray[np.bool_] | None = None
        if self.null_handling == "strict" and any(a.null_count for a in arrays):
            valid = np.ones(len(arrays[0]), bool)
            for array in arrays:
                valid &= _compute.is_valid(array).to_numpy(zero_copy_only=False)
            keep = _array(valid)
            arrays = [_compute.filter(array, keep) for array in arrays]
        rows = len(arrays[0]) if arrays else 1
        made: Any = None
        if rows:
            try:
                made = function(*(self._given(array) for array in arrays))
            except FovealError:
                raise
            except Exception as error:
                raise self._failed(error, None) from error
        found = self._returned(made, rows)
        if valid is None:
            return found
        places = np.cumsum(valid) - 1
        return _compute.take(found, _array(places, pa.int64(), mask=~valid))

    def _given(self, array: Any) -> Any:
        if self.batch == "arrow":
            return array
        if self.batch == "numpy":
            return np.asarray(array.to_numpy(zero_copy_only=False))
        pandas = _pandas()
        if array.null_count:
            return pandas.Series(array, dtype=pandas.ArrowDtype(array.type))
        return pandas.Series(array.to_numpy(zero_copy_only=False))

    def _returned(self, made: Any, rows: int) -> pa.Array[Any]:
        """Return a batch's result as Arrow; one value stands for every row."""
        if rows == 0:
            return pa.array([], self.returns.arrow)
        if callable(getattr(made, "value", None)):  # a split call: now it has to run
            made = made.value()
        found = self._as_array(_flat(made), rows)
        if len(found) != rows:
            raise OperationalError(
                f"function {self.name}() returned {len(found)} value(s) for {rows} row(s)",
                sqlstate="38000",
                hint="a function over batches returns a value for each row, or one for all",
            )
        if found.type != self.returns.arrow:
            try:
                found = found.cast(self.returns.arrow)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise DataError(
                    f"function {self.name}() returned {found.type}, declared {self.returns.text}",
                    sqlstate="22003",
                    detail=str(error),
                ) from error
        return found

    def _as_array(self, made: Any, rows: int) -> Any:
        arrow: Any = pa.Array
        if isinstance(made, arrow):
            return made
        try:
            if hasattr(made, "to_numpy"):
                kind = getattr(made, "dtype", None)
                made = made.to_numpy() if not hasattr(kind, "pyarrow_dtype") else _array(made)
            dimensions: int = np.ndim(made)
            if isinstance(made, arrow) or (hasattr(made, "dtype") and dimensions == 1):
                return _array(made)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError) as error:
            raise self._failed(error, None) from error
        if dimensions == 0:
            return self._array([converter(self.returns)(made)] * rows)
        return self._array(list(made))

    def _failed(self, error: Exception, row: tuple[Any, ...] | None) -> OperationalError:
        """Return the error that a statement fails with: the function, the line, Python's words."""
        place, code = _line_of(error.__traceback__, self.name)
        shown = f" at line {place}" if place is not None else ""
        given = ""
        if row is not None:
            pairs = zip((name for name, _ in self.parameters), row, strict=True)
            given = ", called with " + ", ".join(f"{n} = {v!r:.60}" for n, v in pairs)
        return OperationalError(
            f"function {self.name}() failed{shown}: {type(error).__name__}: {error}",
            sqlstate="38000",
            detail=(code + given.removeprefix(", " if not code else "")) or None,
            hint=None if place is not None else f"it is declared to return {self.returns.text}",
        )


def _line_of(trace: TracebackType | None, name: str) -> tuple[int | None, str]:
    """Return the line of the user's own that a traceback names, and what stands there.

    Of a function that was given as text its last line, of others the first outside of foveal.
    """
    line: int | None = None
    text = ""
    while trace is not None:
        code, home = trace.tb_frame.f_code, str(trace.tb_frame.f_globals.get("__name__", ""))
        in_text = code.co_filename == f"<function {name}>"
        if in_text or (line is None and not home.startswith("foveal.")):
            line = trace.tb_lineno
            text = linecache.getline(code.co_filename, line).strip()
        trace = trace.tb_next
    return line, text


def _flat(array: Any) -> Any:
    """Return an Arrow array in one piece."""
    chunked: Any = pa.ChunkedArray
    return array.combine_chunks() if isinstance(array, chunked) else array


def _pandas() -> Any:
    """Return pandas, which only functions that ask for it need.

    Raises:
        NotSupportedError: 0A000, it is not installed.
    """
    try:
        return importlib.import_module("pandas")
    except ModuleNotFoundError as error:
        raise NotSupportedError(
            "TYPE pandas needs pandas, which is not installed",
            hint="pip install pandas, or TYPE numpy or arrow",
        ) from error
