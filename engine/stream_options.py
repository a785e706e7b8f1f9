"""WITH (..) of CREATE VIDEO STREAM: which options are the stream's own, and what they may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from foveal.errors import DataError, Span
from foveal.planner.parse.statement import CreateVideoTable, Scalar

_UNITS: Mapping[str, float] = {
    "millisecond": 1e-3, "ms": 1e-3, "second": 1.0, "s": 1.0, "minute": 60.0, "min": 60.0,
    "hour": 3600.0, "h": 3600.0, "day": 86400.0,
}  # fmt: skip
_LEAST: Mapping[str, float] = {
    "window": 0.1, "stall": 0.1, "reconnect": 0.0, "budget_seconds": 1e-3, "keep": 0.0,
}  # fmt: skip
"""The options that are times, and the least of each in seconds."""
_DURATION = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]+)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What a stream was made with. Times in seconds; None is no limit.

    `ident` names the folder of its recording. `where`: SQL over the columns of an object, empty for
    all objects. `error`: half width of the interval at which a window is done.
    """

    ident: str
    source: str
    window: float = 10.0
    budget_calls: int = 50
    budget_seconds: float | None = None
    error: float | None = None
    where: str = ""
    keep: float | None = 3600.0
    stall: float = 10.0
    reconnect: float = 30.0

    def dump(self) -> dict[str, object]:
        """Return the options as JSON can hold them."""
        return asdict(self)


OPTIONS: Mapping[str, str] = {
    "window": "how long a window lasts: '10 seconds'",
    "budget_calls": "most detector calls for a window",
    "budget_seconds": "most seconds of decoding and detecting for a window",
    "error": "half width of the interval at which a window is done before its budget is spent",
    "where": "which objects are counted, as SQL: 'class = ''car'''",
    "keep": "how much of the recording is kept: '1 hour', or 'all'",
    "stall": "silence after which a file has ended and a connection is lost: '10 seconds'",
    "reconnect": "how long a lost connection is tried again: '30 seconds'",
}


def stream_options(statement: CreateVideoTable, ident: str) -> StreamOptions:
    """Return the options that a statement gives a stream.

    Raises:
        DataError: 22023, a value does not fit.
    """
    given = statement.options
    found = StreamOptions(ident, statement.sources[0])
    for name, least in _LEAST.items():
        if name == "keep" and str(given.get(name)).lower() == "all":
            found = replace(found, keep=None)
        elif name in given:
            found = replace(found, **{name: _duration(statement, name, least)})
    if "budget_calls" in given:
        calls = given["budget_calls"]
        if isinstance(calls, bool) or not isinstance(calls, int) or calls < 1:
            raise _wrong(statement, "budget_calls", "give a whole number from 1 up")
        found = replace(found, budget_calls=calls)
    if "error" in given:
        error = given["error"]
        if isinstance(error, bool) or not isinstance(error, int | float) or error <= 0:
            raise _wrong(statement, "error", "give a number above 0, in objects per frame")
        found = replace(found, error=float(error))
    if "where" in given:
        found = replace(found, where=str(given["where"]))
    return found


def _duration(statement: CreateVideoTable, name: str, least: float) -> float:
    value: Scalar = statement.options[name]
    seconds: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and (said := _DURATION.fullmatch(value)) is not None:
        word = said[2].lower()
        unit = _UNITS.get(word) or _UNITS.get(word.removesuffix("s"))
        seconds = None if unit is None else float(said[1]) * unit
    if seconds is None or not least <= seconds <= 1e9:
        hint = f"give a time such as '10 seconds' or '2 minutes', at least {least:g} s"
        raise _wrong(statement, name, hint)
    return seconds


def _wrong(statement: CreateVideoTable, name: str, hint: str) -> DataError:
    span: Span = statement.option_spans[name][1]
    return DataError(
        f'invalid value for {name}: "{statement.options[name]}"',
        sqlstate="22023",
        span=span,
        hint=hint,
    )
