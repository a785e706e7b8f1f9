"""One console session: runs statements and backslash commands and prints what they give.

Rows go to the output (standard output or a file), remarks and errors to standard error.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, TextIO

from foveal import errors
from foveal.cursor import Cursor
from foveal.dbapi import Connection
from foveal.reports import QueryReport
from foveal.server.formats import BINARY_FORMATS, FORMATS, write_records
from foveal.server.progress_line import ProgressLine, seconds
from foveal.server.script import MetaCommand, Statement, read_script
from foveal.server.status import Status
from foveal.session_thread import Parameters


class Quit(Exception):
    """The user asked to leave."""


class Shell:
    """A connection with the console's switches: format, output, timing, expanded, variables."""

    def __init__(
        self,
        connection: Connection,
        run_meta_command: Callable[[Shell, MetaCommand], bool],
        *,
        format_name: str = "table",
        progress: bool = True,
        stop_on_error: bool = False,
    ) -> None:
        """Print to standard output; show progress where standard error is a terminal."""
        self.connection = connection
        self._run_meta_command = run_meta_command
        self.format = format_name
        self.stop_on_error = stop_on_error
        self.timing = False
        self.expanded = False
        self.interrupted = False
        self.statements_run = 0
        self.last_statement = ""
        self._file: IO[bytes] | None = None
        self._line = ProgressLine(sys.stderr) if progress and sys.stderr.isatty() else None
        connection.progress = self._line

    @property
    def progress_line(self) -> ProgressLine | None:
        """The progress line, where there is one."""
        return self._line

    # --- where things go -------------------------------------------------------------------

    @property
    def out(self) -> IO[bytes]:
        """Where rows go."""
        return sys.stdout.buffer if self._file is None else self._file

    @property
    def errors(self) -> TextIO:
        """Where remarks and errors go."""
        return sys.stderr

    def redirect(self, path: str | None) -> None:
        """Send rows to a new file, or for None back to standard output.

        Raises:
            OperationalError: 58030, the file cannot be written.
        """
        self.close_output()
        if path is not None:
            try:
                self._file = Path(path).expanduser().open("wb")
            except OSError as error:
                raise file_error(error, path) from error

    def close_output(self) -> None:
        """Close the output file, if rows go to one."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def say(self, text: str) -> None:
        """Print a line between results."""
        self.out.write((text + "\n").encode("utf-8", "surrogatepass"))
        self.out.flush()

    def complain(self, error: BaseException, sql: str | None = None) -> None:
        """Print an error as a person reads it, with the place in `sql`."""
        print(errors.render(error, sql), file=self.errors, flush=True)

    # --- running ---------------------------------------------------------------------------

    def run_script(self, lines: Iterable[str]) -> Status:
        """Run a script; go on after an error unless ON_ERROR_STOP is set."""
        for item in read_script(lines):
            if not self.run(item):
                if self.interrupted:
                    return Status.LOST
                if self.stop_on_error:
                    return Status.SCRIPT_ERROR
        return Status.OK

    def run_file(self, path: str) -> Status:
        """Run a script file, standard input for `-`."""
        if path == "-":
            return self.run_script(sys.stdin)
        try:
            with Path(path).expanduser().open(encoding="utf-8") as lines:
                return self.run_script(lines)
        except OSError as error:
            self.complain(file_error(error, path))
        except UnicodeDecodeError as error:
            self.complain(errors.DataError(f"{path} is not UTF-8: {error}", sqlstate="22021"))
        return Status.FAILED

    def run_command(self, text: str) -> Status:
        """Run what follows `-c`: it ends at its first error."""
        for item in read_script(text.splitlines(keepends=True)):
            if not self.run(item):
                return Status.LOST if self.interrupted else Status.FAILED
        return Status.OK

    def run(self, item: Statement | MetaCommand) -> bool:
        """Run one statement or backslash command. Return whether it went well.

        Raises:
            Quit: the user asked to leave.
        """
        self.interrupted = False
        sql = item.text if isinstance(item, Statement) else None
        try:
            if isinstance(item, Statement):
                return self._run_statement(item.text)
            return self._run_meta_command(self, item)
        except errors.Error as error:
            self.complain(error, sql)
        except KeyboardInterrupt:
            self.interrupted = True
            print("interrupted", file=self.errors, flush=True)
        finally:
            self._erase()
        return False

    def _run_statement(self, sql: str) -> bool:
        started = time.perf_counter()
        self.statements_run += 1
        self.last_statement = sql
        with self.connection.cursor() as cursor:
            try:
                cursor.execute(sql)
                if cursor.description is not None and self.format not in BINARY_FORMATS:
                    cursor.wait_for_rows()
            except KeyboardInterrupt as stop:
                self._erase()
                self.interrupted = True
                if stop.__cause__ is not None or cursor.description is None:
                    print("canceled", file=self.errors, flush=True)
                    return False
                print("interrupted: this is the answer so far", file=self.errors, flush=True)
            self._erase()
            self._print(cursor)
            for notice in cursor.notices:
                print(f"{notice.severity}: {notice.message}", file=self.errors, flush=True)
        if self.timing:
            self.say(f"Time: {(time.perf_counter() - started) * 1000:.3f} ms")
        return not self.interrupted

    def show(self, sql: str, parameters: Parameters | None = None) -> int:
        """Run a query of the console's own and print its rows; return how many."""
        with self.connection.execute(sql, parameters) as cursor:
            return self._print(cursor)

    def _print(self, cursor: Cursor) -> int:
        plain = self.format == "table"
        count = 0
        if cursor.description is not None:
            write = write_records if plain and self.expanded else FORMATS[self.format]
            count = write(cursor, self.out)
        elif plain and cursor.tag:
            self.say(cursor.tag + (f" {cursor.rowcount}" if cursor.rowcount >= 0 else ""))
        answer = None if cursor.report is None else describe_answer(cursor.report)
        if answer is not None:
            if plain:
                self.say(answer)
            else:
                print(answer, file=self.errors, flush=True)
        self.out.flush()
        return count

    def _erase(self) -> None:
        if self._line is not None:
            self._line.erase()


def describe_answer(report: QueryReport) -> str | None:
    """Return one line on an answer's interval, guarantee and cost, None where there is no cost."""
    parts: list[str] = []
    unbounded = report.guarantee == "none"
    approximate = report.guarantee not in ("", "exact") and report.confidence is not None
    if unbounded:
        value = "" if report.estimate is None else f"{report.estimate:.6g}, "
        parts.append(f"{value}nothing bounds the error")
    elif approximate:
        parts.append(_interval(report))
    if not parts and report.detector_calls == 0 and report.frames_total == 0:
        return None
    of = f" of {report.frames_total:,}" if report.frames_total else ""
    cached = f" ({report.frames_cached:,} cached)" if report.frames_cached else ""
    parts.append(f"detector ran on {report.detector_calls:,}{of} frames{cached}")
    if "total" in report.seconds:
        parts.append(seconds(report.seconds["total"]))
    return " · ".join(parts)


def _interval(report: QueryReport) -> str:
    sure = f"at {100 * (report.confidence or 0):.4g} % confidence ({report.guarantee})"
    missed = "" if report.target_met else ", short of the target"
    if report.estimate is None or report.low is None or report.high is None:
        return f"intervals of the rows hold {sure}{missed}"
    above, below = report.high - report.estimate, report.estimate - report.low
    half = max(above, below)
    if half <= 0 or min(above, below) >= 0.8 * half:
        return f"{report.estimate:.6g} ± {half:.3g} {sure}{missed}"
    return f"{report.estimate:.6g}, between {report.low:.6g} and {report.high:.6g} {sure}{missed}"


def file_error(error: OSError, path: str) -> errors.OperationalError:
    """Return the foveal error for a file that cannot be opened."""
    reason = error.strerror or str(error)
    return errors.OperationalError(f"{path}: {reason}", sqlstate="58030")
