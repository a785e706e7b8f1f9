"""The console's exit status."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """psql's exit statuses."""

    OK = 0
    FAILED = 1
    """A `-c` failed, or the console itself did: a file is missing, an option is wrong."""
    LOST = 2
    """The database could not be opened, or the user interrupted a script."""
    SCRIPT_ERROR = 3
    """A script met an error and ON_ERROR_STOP was set."""
