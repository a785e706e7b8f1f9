"""Script text, line by line, into statements and backslash commands.

Only finds where a statement ends (a `;` outside strings, quoted names, comments and dollar
quotes), so that it also works on half a statement while a person types.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL statement, without its semicolon and the space around it."""

    text: str


@dataclass(frozen=True, slots=True)
class MetaCommand:
    """A line that begins with a backslash: the word after it, and the rest of the line."""

    name: str
    arguments: str


# What ends each state, and what opens another one. A quote doubled inside a string closes and at
# once opens it again, which comes to the same.
_CODE = re.compile(
    r"(?P<open>--|/\*|(?<![\w$])[eE]'|'|\"|(?<![\w$])\$(?:[^\W\d]\w*)?\$)|(?P<end>;)|(?P<solid>\S)"
)
_CLOSE = {
    "--": re.compile(r"\n|\Z"),
    "/*": re.compile(r"(?P<deeper>/\*)|\*/"),
    "'": re.compile(r"'"),
    '"': re.compile(r'"'),
    "e'": re.compile(r"(?P<escaped>\\.)|'", re.DOTALL),
}


class ScriptReader:
    """Takes lines and gives what is complete; keeps the rest."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.clear()

    def clear(self) -> None:
        """Forget an unfinished statement."""
        self._parts: list[str] = []
        self._solid = False
        self._state = ""
        self._depth = 0

    @property
    def unfinished(self) -> bool:
        """Whether a statement, a string or a comment is open."""
        return self._solid or self._state not in ("", "--")

    def feed(self, line: str) -> Iterator[Statement | MetaCommand]:
        """Take one line, with its line end, and yield what it completes."""
        if not self._state and line.lstrip().startswith("\\"):
            name, _, arguments = line.strip()[1:].partition(" ")
            yield MetaCommand(name, arguments.strip())
            return
        start = at = 0
        while at < len(line):
            if self._state:
                closed = self._closing().search(line, at)
                if closed is None:
                    break
                at = closed.end()
                self._depth += {"deeper": 1, "escaped": 0}.get(closed.lastgroup or "", -1)
                if self._depth == 0:
                    self._state = ""
                continue
            token = _CODE.search(line, at)
            if token is None:
                break
            at = token.end()
            if token["open"]:
                self._state, self._depth = token["open"], 1
                if self._state == "E'":
                    self._state = "e'"
                self._solid = self._solid or self._state not in ("--", "/*")
            elif token["end"]:
                self._parts.append(line[start : token.start()])
                yield from self.rest()
                start = at
            else:
                self._solid = True
        if self._state == "--":
            self._state = ""
        self._parts.append(line[start:])

    def rest(self) -> Iterator[Statement]:
        """Yield the statement that stands without a semicolon, if there is one."""
        text = "".join(self._parts).strip()
        solid = self._solid
        self.clear()
        if solid:
            yield Statement(text)

    def _closing(self) -> re.Pattern[str]:
        known = _CLOSE.get(self._state)
        return known if known is not None else re.compile(re.escape(self._state))


def read_script(lines: Iterable[str]) -> Iterator[Statement | MetaCommand]:
    """Yield everything in a script, the last statement with or without its semicolon."""
    reader = ScriptReader()
    for line in lines:
        yield from reader.feed(line)
    yield from reader.rest()


def is_complete(text: str) -> bool:
    """Return whether `text`, as typed so far, needs no further line."""
    reader = ScriptReader()
    for line in text.splitlines(keepends=True):
        for _ in reader.feed(line):
            pass
    return not reader.unfinished
