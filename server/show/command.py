"""`foveal show [DATABASE] QUERY [-o FILE]`, and what the console's show command shares with it."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from foveal import errors
from foveal.server.console import assignments
from foveal.server.progress_line import ProgressLine
from foveal.server.show import terminal
from foveal.server.show.render import DEFAULT_FILE, LIMIT, check_file, look, write
from foveal.server.status import Status

if TYPE_CHECKING:
    from foveal.dbapi import Connection

_DESCRIPTION = """
Run a query and show what it finds: frames with their objects, or numbers over time as a chart.
The file's ending chooses between one picture (.png, .jpg) and a page (.html).
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return the exit status: 0, 1 for an error, 2 for Ctrl-C."""
    options = _parser().parse_args(arguments)
    line = None
    if sys.stderr.isatty() and not options.no_progress:
        line = ProgressLine(sys.stderr)
    sql: str = options.query
    try:
        file = check_file(options.output)
        _, given = assignments(options.set)
        from foveal.dbapi import connect

        with connect(
            options.database, read_only=options.read_only, settings=given, progress=line
        ) as connection:
            show(
                connection,
                sql,
                file,
                limit=options.limit,
                kind=options.kind,
                inline=options.inline,
                open_it=options.open,
                line=line,
            )
    except errors.Error as error:
        if line is not None:
            line.erase()
        print(errors.render(error, sql), file=sys.stderr)
        return Status.FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return Status.LOST
    return Status.OK


def show(
    connection: Connection,
    sql: str,
    file: Path,
    *,
    limit: int = LIMIT,
    kind: str | None = None,
    inline: str = "auto",
    open_it: str = "auto",
    line: ProgressLine | None = None,
) -> None:
    """Run a query, write what there is to see, say so, and show it where that is possible."""
    view = look(connection, sql, limit=limit, kind=kind, file=file)
    if line is not None:
        line.erase()
    for notice in view.notices:
        print(f"{notice.severity}: {notice.message}", file=sys.stderr)
    write(view, file)
    how = terminal.protocol(sys.stdout, os.environ) if inline == "auto" else inline
    if how is not None and how != "no":
        sys.stdout.flush()
        sys.stdout.buffer.write(terminal.inline(view.picture(), how))
    print(f"{file}: {view.summary}", flush=True)
    if open_it == "yes" or (open_it == "auto" and how is None and _has_desktop()):
        webbrowser.open(file.absolute().as_uri())


def _has_desktop() -> bool:
    """Whether somebody sits in front who would see a viewer open."""
    if not sys.stdout.isatty() or os.environ.get("SSH_CONNECTION"):
        return False
    windows = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.platform in ("darwin", "win32") or bool(windows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="foveal show", description=_DESCRIPTION, allow_abbrev=False
    )
    add = parser.add_argument
    add("database", nargs="?", default=":memory:", metavar="DATABASE",
        help="DuckDB file; memory if not given")  # fmt: skip
    add("query", metavar="QUERY", help="SQL; of several statements the last one is shown")
    add("-o", "--output", default=DEFAULT_FILE, metavar="FILE",
        help=f"a .png, .jpg or .html file ({DEFAULT_FILE})")  # fmt: skip
    add("--limit", type=_count, default=LIMIT, metavar="N", help=f"most frames shown ({LIMIT})")
    add("--as", dest="kind", choices=("frames", "chart"), help="told from the columns if not given")
    add("--inline", choices=("auto", *terminal.PROTOCOLS, "no"), default="auto",
        help="how the terminal shows pictures, if it can")  # fmt: skip
    add("--open", choices=("auto", "yes", "no"), default="auto",
        help="open the file in the desktop's viewer")  # fmt: skip
    add("-v", "--set", action="append", default=[], metavar="NAME=VALUE", help="a foveal setting")
    add("--read-only", action="store_true", help="open the database for reading")
    add("--no-progress", action="store_true", help="no progress line on the terminal")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1000:
        raise argparse.ArgumentTypeError("give a number of frames from 1 to 1000")
    return value
