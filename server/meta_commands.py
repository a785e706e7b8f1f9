"""The console's backslash commands: one row each in `META_COMMANDS`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from foveal import errors, settings
from foveal.server.formats import FORMATS
from foveal.server.script import MetaCommand
from foveal.server.shell import Quit, Shell
from foveal.server.status import Status

_RELATIONS = """
    SELECT table_schema AS "schema", table_name AS name, lower(table_type) AS type
    FROM information_schema.tables
    WHERE table_catalog = current_database() AND table_schema <> '__foveal'
    UNION ALL SELECT current_schema(), unnest($videos), 'video table'
    UNION ALL SELECT current_schema(), unnest($stored), 'view or macro over video'
    ORDER BY ALL
"""
_ORDINARY = """
    SELECT table_name FROM information_schema.tables
    WHERE table_catalog = current_database()
"""


@dataclass(frozen=True, slots=True)
class Meta:
    """How a command is written, what it does, and the function that does it.

    `raw`: it takes the rest of its line as it stands, for quotes in SQL are not a shell's.
    """

    usage: str
    summary: str
    run: Callable[[Shell, list[str]], bool]
    raw: bool = False


def run_meta_command(shell: Shell, command: MetaCommand) -> bool:
    """Run one command. Return whether it went well.

    Raises:
        Quit: the command says to leave.
        ProgrammingError: 42601, there is no such command, or its arguments are wrong.
    """
    known = META_COMMANDS.get(command.name)
    if known is None:
        near = errors.did_you_mean(command.name, META_COMMANDS)
        raise errors.ProgrammingError(
            f'invalid command "\\{command.name}"', hint=near or "\\? lists the commands"
        )
    if known.raw:
        return known.run(shell, [command.arguments])
    try:
        arguments = shlex.split(command.arguments)
    except ValueError as error:
        raise errors.ProgrammingError(f"\\{command.name}: {error}") from error
    return known.run(shell, arguments)


def _describe(shell: Shell, arguments: list[str]) -> bool:
    match arguments:
        case []:
            _list_relations(shell)
        case [name]:
            shell.show(f"DESCRIBE {_quoted_path(name)}")
        case _:
            raise _usage("d")
    return True


def _tables(shell: Shell, arguments: list[str]) -> bool:
    if arguments:
        raise _usage("dt")
    _list_relations(shell)
    return True


def _list_relations(shell: Shell) -> None:
    """List what can be queried. Opens no video, so that a missing file hides nothing."""
    thread = shell.connection.thread
    ordinary = {str(name) for (name,) in shell.connection.execute(_ORDINARY)}
    words = thread.call(lambda _: thread.session.completions())
    ours = [name for name in words.tables if "." not in name and name not in ordinary]
    videos = [name for name in ours if f"{name}.frames" in words.tables]
    stored = [name for name in ours if name not in videos]
    shell.show(_RELATIONS, {"videos": videos, "stored": stored})


def _timing(shell: Shell, arguments: list[str]) -> bool:
    shell.timing = _switch("timing", arguments, shell.timing)
    shell.say(f"Timing is {'on' if shell.timing else 'off'}.")
    return True


def _expanded(shell: Shell, arguments: list[str]) -> bool:
    shell.expanded = _switch("x", arguments, shell.expanded)
    shell.say(f"Expanded display is {'on' if shell.expanded else 'off'}.")
    return True


def _format(shell: Shell, arguments: list[str]) -> bool:
    match arguments:
        case []:
            shell.say(f"Format is {shell.format}.")
        case [name] if name in FORMATS:
            shell.format = name
        case _:
            raise _usage("format")
    return True


def _output(shell: Shell, arguments: list[str]) -> bool:
    if len(arguments) > 1:
        raise _usage("o")
    shell.redirect(arguments[0] if arguments else None)
    return True


def _include(shell: Shell, arguments: list[str]) -> bool:
    if len(arguments) != 1:
        raise _usage("i")
    return shell.run_file(arguments[0]) is Status.OK


def _set(shell: Shell, arguments: list[str]) -> bool:
    match arguments:
        case []:
            shell.say(f"ON_ERROR_STOP = {'on' if shell.stop_on_error else 'off'}")
            shell.show("SELECT * FROM foveal.settings")
        case [name, value]:
            assign(shell, name, value)
        case _:
            raise _usage("set")
    return True


def assign(shell: Shell, name: str, value: str) -> None:
    """Set ON_ERROR_STOP or a `foveal.*` setting.

    Raises:
        ProgrammingError: 42704, neither has that name.
        DataError: 22023, the value does not fit.
    """
    if name.upper() == "ON_ERROR_STOP":
        shell.stop_on_error = _switch("set", [value], False)
        return
    setting = settings.lookup(name.lower().removeprefix("foveal."))
    text = str(setting.parse(value)).replace("'", "''")
    shell.connection.execute(f"SET foveal.{setting.name} = '{text}'").close()


def _show(shell: Shell, arguments: list[str]) -> bool:
    from foveal.server.show.command import show
    from foveal.server.show.render import DEFAULT_FILE, check_file

    words = re.match(r"(?:-o\s+(?:'([^']*)'|(\S+))(?:\s+|\Z))?(.*)", arguments[0], re.DOTALL)
    assert words is not None  # every part may be missing
    quoted, bare, sql = words.groups()
    sql = sql.rstrip().rstrip(";") or shell.last_statement
    if not sql:
        raise _usage("show")
    file = check_file(quoted or bare or DEFAULT_FILE)
    show(shell.connection, sql, file, line=shell.progress_line)
    return True


def _quit(shell: Shell, arguments: list[str]) -> bool:
    raise Quit


def _help(shell: Shell, arguments: list[str]) -> bool:
    width = max(len(meta.usage) for meta in META_COMMANDS.values())
    lines = [f"  {meta.usage:<{width}}  {meta.summary}" for meta in META_COMMANDS.values()]
    shell.say("A statement ends with a semicolon. Ctrl-C stops it, Ctrl-D leaves.")
    shell.say("\n".join(lines))
    return True


META_COMMANDS: Mapping[str, Meta] = {
    "d": Meta("\\d [NAME]", "list tables and views, or the columns of one", _describe),
    "dt": Meta("\\dt", "list tables and views, video tables too", _tables),
    "format": Meta("\\format [NAME]", "show or set the format: " + ", ".join(FORMATS), _format),
    "i": Meta("\\i FILE", "run a script", _include),
    "o": Meta("\\o [FILE]", "send rows to a file, or back here", _output),
    "q": Meta("\\q", "leave", _quit),
    "set": Meta("\\set [NAME VALUE]", "show settings, or set one (also ON_ERROR_STOP)", _set),
    "show": Meta(
        "\\show [-o FILE] [QUERY]",
        "write what a query (or the last one) finds as a picture or a page",
        _show,
        raw=True,
    ),
    "timing": Meta("\\timing [on|off]", "show how long each statement takes", _timing),
    "x": Meta("\\x [on|off]", "a line per column instead of a line per row", _expanded),
    "?": Meta("\\?", "this list", _help),
}


def _usage(name: str) -> errors.ProgrammingError:
    return errors.ProgrammingError(f"usage: {META_COMMANDS[name].usage}")


def _switch(name: str, arguments: list[str], before: bool) -> bool:
    words = {"on": True, "1": True, "true": True, "off": False, "0": False, "false": False}
    match arguments:
        case []:
            return not before
        case [word] if word.lower() in words:
            return words[word.lower()]
        case _:
            raise _usage(name)


def _quoted_path(name: str) -> str:
    """Quote each part of a dotted name that is not quoted yet.

    >>> _quoted_path('main.my table')
    '"main"."my table"'
    """
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))
