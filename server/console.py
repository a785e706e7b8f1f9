"""The command line of the console: `foveal [DATABASE] [-c SQL].. [-f FILE]..`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from foveal.server.status import Status

if TYPE_CHECKING:
    from foveal.server.shell import Shell
    from foveal.settings import Value

FORMAT_NAMES = ("table", "csv", "json", "arrow", "parquet")

_EPILOG = """
With neither -c nor -f, statements come from standard input: a prompt on a terminal, else a script.
Exit status, as psql's (the last -c or -f decides): 0 all went well; 1 a -c failed, or a file or an
option is wrong; 2 the database cannot be opened, or Ctrl-C; 3 a script failed under ON_ERROR_STOP.
"""


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print how the command is used and leave with status 1 (2 means a lost database)."""
        self.print_usage(sys.stderr)
        self.exit(Status.FAILED, f"{self.prog}: {message}\n")


class _InOrder(argparse.Action):
    """Keeps -c and -f in the order they stand in."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Append (destination, value) to `actions`."""
        namespace.actions = [*namespace.actions, (self.dest, str(values))]


class _Version(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Print the version, found only now because finding it is slow, and leave."""
        import foveal

        print(f"foveal {foveal.__version__}")
        parser.exit(Status.OK)


def build_parser(commands: Mapping[str, tuple[str, str]]) -> argparse.ArgumentParser:
    """Return the parser; `commands` are the subcommands to name in the help."""
    listed = "\n".join(f"  foveal {name:<18} {summary}" for name, (_, summary) in commands.items())
    parser = _Arguments(
        prog="foveal",
        description="SQL over tables and video.",
        epilog=f"commands:\n{listed}\n{_EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("database", nargs="?", default=":memory:", metavar="DATABASE",
        help="DuckDB file, made if missing; memory if not given")  # fmt: skip
    add("-c", "--command", action=_InOrder, metavar="SQL", help="run SQL and leave; may repeat")
    add(
        "-f",
        "--file",
        action=_InOrder,
        metavar="FILE",
        help="run a script (- is stdin); may repeat",
    )
    add("--format", choices=FORMAT_NAMES, default="table", help="how rows are printed")
    add("-o", "--output", metavar="FILE", help="send rows to FILE")
    add("-v", "--set", action="append", default=[], metavar="NAME=VALUE",
        help="a foveal setting (SELECT * FROM foveal.settings), or ON_ERROR_STOP=1")  # fmt: skip
    add("--read-only", action="store_true", help="open the database for reading")
    add("--no-progress", action="store_true", help="no progress line on the terminal")
    add("-V", "--version", action=_Version, nargs=0, help="show the version and leave")
    parser.set_defaults(actions=[])
    return parser


def run(options: argparse.Namespace) -> int:
    """Do what the parsed options ask and return the exit status."""
    from foveal import errors

    try:
        stop_on_error, given = assignments(options.set)
    except errors.Error as error:
        print(errors.render(error), file=sys.stderr)
        return Status.FAILED

    from foveal.dbapi import connect
    from foveal.server.meta_commands import run_meta_command
    from foveal.server.shell import Quit, Shell

    try:
        connection = connect(options.database, read_only=options.read_only, settings=given)
    except errors.Error as error:
        print(errors.render(error), file=sys.stderr)
        return Status.LOST
    with connection:
        shell = Shell(
            connection,
            run_meta_command,
            format_name=options.format,
            progress=not options.no_progress,
            stop_on_error=stop_on_error,
        )
        try:
            shell.redirect(options.output)
            status = _run_all(shell, options)
            shell.close_output()
        except Quit:
            shell.close_output()
            status = Status.OK
        except errors.Error as error:
            shell.complain(error)
            status = Status.FAILED
    return status


def main(arguments: Sequence[str], commands: Mapping[str, tuple[str, str]]) -> int:
    """Run the console with the command line's `arguments`; return the exit status."""
    try:
        return run(build_parser(commands).parse_args(arguments))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return Status.LOST
    except BrokenPipeError:
        # The reader of the output left (`| head`). Python would complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Status.FAILED


def _run_all(shell: Shell, options: argparse.Namespace) -> Status:
    actions: list[tuple[str, str]] = options.actions
    if not actions:
        if sys.stdin.isatty():
            from foveal.server.prompt import converse

            return converse(shell, options.database)
        return shell.run_file("-")
    status = Status.OK
    for kind, value in actions:
        status = shell.run_command(value) if kind == "command" else shell.run_file(value)
        if status is Status.LOST or (status is not Status.OK and shell.stop_on_error):
            break
    return status


def assignments(pairs: Sequence[str]) -> tuple[bool, dict[str, Value]]:
    """Split -v arguments into ON_ERROR_STOP and checked foveal settings.

    Raises:
        ProgrammingError: 42601, an argument is no assignment; 42704, there is no such setting.
        DataError: 22023, a value does not fit.
    """
    from foveal import errors, settings

    stop = False
    given: dict[str, Value] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if name.upper() == "ON_ERROR_STOP":
            stop = value.lower() not in ("0", "off", "false")
            continue
        if not equals:
            raise errors.ProgrammingError(f'"{pair}" is not NAME=VALUE')
        setting = settings.lookup(name.lower().removeprefix("foveal."))
        given[setting.name] = setting.parse(value)
    return stop, given
