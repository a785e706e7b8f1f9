"""The `foveal` command: the console, or a subcommand when the first argument names one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence

COMMANDS: Mapping[str, tuple[str, str]] = {
    "demo": ("foveal.server.demo", "render a street and ask three questions about it"),
    "follow": ("foveal.server.follow", "record a video stream, a line per window"),
    "show": ("foveal.server.show.command", "write what a query finds as a picture or a page"),
}
"""Subcommand to (module with `main(arguments) -> int`, summary). A name wins over a file's."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (the process's own by default); return the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in COMMANDS:
        module = importlib.import_module(COMMANDS[arguments[0]][0])
        return int(module.main(arguments[1:]))

    from foveal.server import console

    return console.main(arguments, COMMANDS)


if __name__ == "__main__":
    sys.exit(main())
