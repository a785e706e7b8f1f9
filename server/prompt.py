"""The interactive console: editing, highlighting, completion, history."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.lexers import PygmentsLexer

from foveal import errors
from foveal.server.highlight import CLAUSE_WORDS, SQL_WORDS, FovealLexer
from foveal.server.meta_commands import META_COMMANDS
from foveal.server.script import ScriptReader, is_complete
from foveal.server.shell import Quit, Shell
from foveal.server.status import Status

if TYPE_CHECKING:
    from foveal.engine.session import CatalogWords

_WORD = re.compile(r"\\?[\w.?]*\Z")
_AFTER_TABLE_WORD = re.compile(
    r"(?:\b(?:from|join|into|update|table|describe)\s+|\\dt?\s+)\S*\Z", re.IGNORECASE
)
_AFTER_SET = re.compile(r"(?:\b(?:set|show|reset)\s+|\\set\s+)\S*\Z", re.IGNORECASE)


class CatalogCompleter(Completer):
    """Completes tables after FROM, settings after SET, backslash commands, and all words else."""

    def __init__(self, shell: Shell) -> None:
        """Ask `shell`'s session for the names, again after each statement."""
        self._shell = shell
        self._asked_at = -1
        self._words: CatalogWords | None = None

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        """Yield what the word before the cursor may become."""
        before = document.text_before_cursor
        typed = _WORD.search(before)
        word = typed[0] if typed is not None else ""
        if not word and not complete_event.completion_requested:
            return
        for candidate in sorted(set(self._candidates(before, word)), key=str.lower):
            if candidate.lower().startswith(word.lower()) and candidate != word:
                yield Completion(candidate, start_position=-len(word))

    def _candidates(self, before: str, word: str) -> tuple[str, ...]:
        if word.startswith("\\"):
            return tuple("\\" + name for name in META_COMMANDS)
        words = self._catalog()
        tables = () if words is None else words.tables
        if _AFTER_TABLE_WORD.search(before):
            return tables
        settings = () if words is None else words.settings
        if _AFTER_SET.search(before):
            return (*settings, "ON_ERROR_STOP") if before.startswith("\\") else settings
        names = () if words is None else (*words.columns, *words.functions)
        return (*SQL_WORDS, *CLAUSE_WORDS, *tables, *names)

    def _catalog(self) -> CatalogWords | None:
        """Return the catalog's names, None where a broken transaction hides them."""
        if self._asked_at != self._shell.statements_run:
            self._asked_at = self._shell.statements_run
            thread = self._shell.connection.thread
            try:
                self._words = thread.call(lambda _: thread.session.completions())
            except errors.DatabaseError:
                self._words = None
        return self._words


def history_file() -> Path:
    """Return where the console keeps what was typed."""
    return Path(platformdirs.user_data_dir("foveal", appauthor=False)) / "history"


def converse(shell: Shell, database: str) -> Status:
    """Read and run statements until the user leaves."""
    name = "foveal" if database == ":memory:" else Path(database).stem
    session: PromptSession[str] = PromptSession(
        message=f"{name}=> ",
        prompt_continuation=lambda width, line, wrapped: "-> ".rjust(width),
        multiline=Condition(lambda: not _submits(get_app().current_buffer.text)),
        lexer=PygmentsLexer(FovealLexer),
        completer=CatalogCompleter(shell),
        complete_in_thread=True,
        history=_history(shell),
    )
    print("foveal: SQL over tables and video. \\? for help, \\q to leave.")
    while True:
        try:
            text = session.prompt()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return Status.OK
        reader = ScriptReader()
        try:
            for line in text.splitlines(keepends=True):
                for item in reader.feed(line):
                    shell.run(item)
            for item in reader.rest():
                shell.run(item)
        except Quit:
            return Status.OK


def _submits(text: str) -> bool:
    return not text.strip() or is_complete(text)


def _history(shell: Shell) -> History:
    path = history_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        print(f"NOTICE: no history is kept: {error}", file=shell.errors)
        return InMemoryHistory()
    return FileHistory(path)
