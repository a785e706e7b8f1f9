"""From a statement to a file: runs it, finds what there is to see, writes a picture or a page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foveal import errors
from foveal.server.formats import batches
from foveal.server.shell import describe_answer, file_error
from foveal.server.show.chart import over_time, read_chart
from foveal.server.show.page import Heading, chart_page, frames_page
from foveal.server.show.sheet import chart_sheet, contact_sheet
from foveal.server.show.shots import FrameColumns, Plate, collect, plates

if TYPE_CHECKING:
    from foveal.connectors.video.drawing import Image
    from foveal.cursor import Cursor
    from foveal.dbapi import Connection
    from foveal.reports import Notice
    from foveal.result_set import Row
    from foveal.server.show.chart import Chart

DEFAULT_FILE = "foveal-show.html"
LIMIT = 24
"""Frames that are shown unless told otherwise."""
_PAGE_WIDTH, _SHEET_WIDTH = 960, 400
"""Most pixels across of a frame on a page, and in a contact sheet."""
_PAGES = (".html", ".htm")
_ENDINGS = (".png", ".jpg", ".jpeg", *_PAGES)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What a statement has to show: frames or a chart, under a heading."""

    heading: Heading
    plates: tuple[Plate, ...]
    chart: Chart | None
    notices: tuple[Notice, ...]

    @property
    def summary(self) -> str:
        """What it is, in words."""
        if self.chart is None:
            count = len(self.plates)
            return f"{count} frame{'' if count == 1 else 's'}"
        points = sum(len(one.points) for one in self.chart.series)
        band = " with intervals" if self.chart.banded else ""
        return f"a chart of {points} point{'' if points == 1 else 's'}{band}"

    def picture(self) -> Image:
        """Return all of it as one picture, uint8 RGB."""
        if self.chart is not None:
            return chart_sheet(self.heading, self.chart)
        return contact_sheet(self.heading, self.plates)

    def page(self) -> str:
        """Return all of it as an HTML page."""
        if self.chart is not None:
            return chart_page(self.heading, self.chart)
        return frames_page(self.heading, self.plates)


def check_file(path: str) -> Path:
    """Return where to write.

    Raises:
        ProgrammingError: 42601, the file's ending names no kind of picture.
    """
    file = Path(path).expanduser()
    if file.suffix.lower() not in _ENDINGS:
        raise errors.ProgrammingError(
            f'"{path}" ends in none of {", ".join(_ENDINGS)}',
            hint="the ending chooses: one picture as PNG or JPEG, or a page as HTML",
        )
    return file


def look(connection: Connection, sql: str, *, limit: int, kind: str | None, file: Path) -> View:
    """Run a statement (of a script the last one counts) and return what there is to see.

    `kind` is frames or chart, None to tell from the columns. `file` decides how large frames are.

    Raises:
        ProgrammingError: 42703, the result names no frames and is no series of numbers.
    """
    with connection.execute(sql) as cursor:
        while cursor.nextset():
            pass
        if cursor.description is None:
            raise _nothing_to_see("the statement returns no rows")
        columns = FrameColumns(cursor.description)
        if kind is None:
            frames = columns.name_frames
            kind = "frames" if frames else "chart" if over_time(cursor.description) else None
        if kind == "frames" and columns.name_frames:
            return _frames(connection, cursor, columns, limit, file)
        if kind == "chart" and over_time(cursor.description):
            return _chart(cursor)
        names = ", ".join(name for name, *_ in cursor.description)
        raise _nothing_to_see(f"nothing in the columns ({names}) can be shown")


def _frames(
    connection: Connection, cursor: Cursor, columns: FrameColumns, limit: int, file: Path
) -> View:
    shots, more = collect(columns, _rows(cursor, limit), limit)
    heading, notices = _heading(cursor, cut_off=more)
    tables = () if cursor.report is None else cursor.report.video_tables
    if not shots:
        raise errors.DataError(
            "the result has no rows that name a frame",
            sqlstate="02000",
            hint="there is nothing to show; does the query find anything?",
        )
    cursor.close()
    thread = connection.thread
    width = _PAGE_WIDTH if file.suffix.lower() in _PAGES else _SHEET_WIDTH
    pictures = thread.call(
        lambda report: thread.session.pictures(
            [shot.place for shot in shots],
            tables,
            width=width,
            progress=report if connection.progress is not None else None,
        ),
        connection.progress,
    )
    if more:
        remarks = (*heading.remarks, f"the first {len(shots)} frames; there are more")
        heading = Heading(heading.sql, heading.answer, remarks)
    return View(heading, tuple(plates(shots, pictures)), None, notices)


def _rows(cursor: Cursor, limit: int) -> Iterator[Row]:
    """Yield rows, few at a time while a first row may cost much, so that no more are computed."""
    while rows := cursor.fetchmany(min(limit, 32)):
        yield from rows


def _chart(cursor: Cursor) -> View:
    description = cursor.description or []
    rows = [row for part in batches(cursor) for row in part]
    heading, notices = _heading(cursor, cut_off=False)
    intervals = None if cursor.report is None else cursor.report.intervals
    chart = read_chart(description, rows, intervals)
    if not chart.series:
        raise errors.DataError(
            "the result has no row with a number to draw",
            sqlstate="02000",
            hint="there is nothing to show; does the query find anything?",
        )
    return View(heading, (), chart, notices)


def _heading(cursor: Cursor, *, cut_off: bool) -> tuple[Heading, tuple[Notice, ...]]:
    report = cursor.report
    notices = tuple(cursor.notices)
    if report is None or cut_off:  # what the rest would have cost nobody knows
        return Heading(cursor.statement.strip().rstrip(";"), "", ()), notices
    answer = describe_answer(report) or ""
    if report.video_tables and report.guarantee == "exact":
        answer = " · ".join(part for part in ("exact", answer) if part)
    remarks = tuple(notice.message for notice in notices)
    return Heading(cursor.statement.strip().rstrip(";"), answer, remarks), notices


def write(view: View, file: Path) -> None:
    """Write the view as the kind of file that the ending says, whole or not at all.

    Raises:
        OperationalError: 58030, the file cannot be written.
    """
    from foveal.connectors.video.drawing import encode_jpeg, encode_png

    ending = file.suffix.lower()
    if ending in _PAGES:
        data = view.page().encode("utf-8", "backslashreplace")
    else:
        data = (encode_png if ending == ".png" else encode_jpeg)(view.picture())
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise file_error(error, str(file)) from error


def _nothing_to_see(message: str) -> errors.ProgrammingError:
    return errors.ProgrammingError(
        message,
        sqlstate="42703",
        hint="for frames select video and frame (or ts, or content); for a chart, numbers behind "
        "a first column that is a time or a number",
    )
