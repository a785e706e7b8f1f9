"""`foveal follow DATABASE STREAM`: records a video stream and prints each window as it is known."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from foveal import errors
from foveal.server.console import assignments
from foveal.server.progress_line import ProgressLine
from foveal.server.status import Status

if TYPE_CHECKING:
    from foveal.reports import Notice, StreamWindow


def main(arguments: Sequence[str]) -> int:
    """Follow a stream; return the exit status: 0 at its end, 1 for an error, 2 for Ctrl-C."""
    options = _parser().parse_args(arguments)
    line = None
    if sys.stderr.isatty() and not options.no_progress:
        line = ProgressLine(sys.stderr)

    def erase() -> None:
        if line is not None:
            line.erase()

    def remark(notice: Notice) -> None:
        erase()
        print(f"{notice.severity}: {notice.message}", file=sys.stderr, flush=True)

    try:
        _, given = assignments(options.set)
        from foveal.dbapi import connect

        with connect(options.database, settings=given, progress=line) as connection:
            head, write = _FORMATS[options.format]
            if head:
                print(head, flush=True)
            for window in connection.follow(
                options.stream, seconds=options.seconds, windows=options.windows, notice=remark
            ):
                erase()
                print(write(window), flush=True)
    except errors.Error as error:
        erase()
        print(errors.render(error), file=sys.stderr)
        return Status.FAILED
    except KeyboardInterrupt:
        erase()
        print("interrupted: the window under way is not kept", file=sys.stderr)
        return Status.LOST
    return Status.OK


_COLUMNS = (
    "number", "video", "started", "ts", "seconds", "frames", "frames_dropped", "calls",
    "estimate", "low", "high", "confidence", "guarantee",
)  # fmt: skip


def describe(window: StreamWindow) -> str:
    """Return a window as a line for people."""
    if window.estimate is None:
        found = f"not looked at, in [{window.low:g}, {window.high:g}]"
    elif window.guarantee == "exact":
        found = f"{window.estimate:.3f} (exact)"
    else:
        found = f"{window.estimate:.3f} in [{window.low:.3f}, {window.high:.3f}]"
    dropped = f"  {window.frames_dropped:,} dropped" if window.frames_dropped else ""
    return (
        f"{window.started:%H:%M:%S}  {window.video}  {window.seconds:.1f} s  "
        f"{window.frames:,} frames{dropped}  {window.calls:,} calls  {found}"
    )


def _values(window: StreamWindow) -> dict[str, object]:
    held = asdict(window)
    return {
        name: value.isoformat() if isinstance(value := held[name], datetime) else value
        for name in _COLUMNS
    }


def _csv(window: StreamWindow) -> str:
    return ",".join("" if value is None else str(value) for value in _values(window).values())


_FORMATS: Mapping[str, tuple[str, Callable[[StreamWindow], str]]] = {
    "text": ("", describe),
    "csv": (",".join(_COLUMNS), _csv),
    "json": ("", lambda window: json.dumps(_values(window))),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="foveal follow",
        description="Record a video stream and print each window as soon as it was looked at.",
        epilog="Ctrl-C ends it; what was told before is kept.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("database", metavar="DATABASE", help="DuckDB file")
    add("stream", metavar="STREAM", help="name of a CREATE VIDEO STREAM")
    add("--seconds", type=float, metavar="N", help="end when so much of the stream was seen")
    add("--windows", type=int, metavar="N", help="end after so many windows")
    add("--format", choices=tuple(_FORMATS), default="text", help="a line of what per window")
    add("-v", "--set", action="append", default=[], metavar="NAME=VALUE", help="a foveal setting")
    add("--no-progress", action="store_true", help="no progress line on the terminal")
    return parser
