"""The interactive console, driven through a pipe in place of a terminal."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

import foveal
from foveal.server.highlight import FovealLexer
from foveal.server.meta_commands import run_meta_command
from foveal.server.prompt import CatalogCompleter, converse, history_file
from foveal.server.shell import Shell


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PipeInput]:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        yield pipe


@pytest.fixture
def shell() -> Iterator[Shell]:
    with foveal.connect() as con:
        con.execute("CREATE TABLE cameras (id INTEGER, city VARCHAR)")
        yield Shell(con, run_meta_command)


def output(capfdbinary: pytest.CaptureFixture[bytes]) -> str:
    return capfdbinary.readouterr().out.decode()


def test_a_statement_goes_on_to_its_semicolon(
    keys: PipeInput, shell: Shell, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    keys.send_text("SELECT 'a;'\rAS letter\r;\r\\q\r")
    assert converse(shell, ":memory:") == 0
    assert " letter" in (text := output(capfdbinary))
    assert " a;" in text
    assert "SELECT 'a;'" in history_file().read_text(encoding="utf-8")


def test_ctrl_c_drops_the_line_and_ctrl_d_leaves(
    keys: PipeInput, shell: Shell, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    keys.send_text("SELECT 'dropped\x03SELECT 8 AS kept;\r\x04")
    assert converse(shell, "city.db") == 0
    assert "kept" in (text := output(capfdbinary))
    assert "dropped" not in text


def test_an_error_leaves_the_session_open(
    keys: PipeInput, shell: Shell, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    keys.send_text("SELECT nonesuch;\r\\dt\r\x04")
    converse(shell, ":memory:")
    out, err = capfdbinary.readouterr()
    assert b"ERROR 42703" in err
    assert b"cameras" in out


def completions(shell: Shell, text: str) -> list[str]:
    event = CompleteEvent(completion_requested=True)
    completer = CatalogCompleter(shell)
    return [found.text for found in completer.get_completions(Document(text), event)]


def test_completion_knows_the_catalog(shell: Shell) -> None:
    assert completions(shell, "SELECT * FROM cam") == ["cameras"]
    assert "city" in completions(shell, "SELECT ci")
    assert "ERROR WITHIN" in completions(shell, "SELECT 1 ERR")
    assert "foveal.seed" in completions(shell, "SET foveal.s")
    assert completions(shell, "\\ti") == ["\\timing"]
    shell.connection.execute("CREATE TABLE camels (id INTEGER)")
    assert completions(shell, "FROM cam") == ["camels", "cameras"]


def test_completion_survives_a_broken_transaction(shell: Shell) -> None:
    shell.connection.execute("BEGIN")
    with pytest.raises(foveal.DatabaseError):
        shell.connection.execute("SELECT nonesuch")
    assert "SELECT" in completions(shell, "SEL")


def test_our_words_are_keywords() -> None:
    tokens = list(FovealLexer().get_tokens("SELECT FCOUNT(*) FROM v ERROR WITHIN 0.1 GAP 5"))
    kinds = {value: str(kind) for kind, value in tokens}
    assert all("Keyword" in kinds[word] for word in ("FCOUNT", "WITHIN", "GAP", "SELECT"))
    assert "Keyword" not in kinds["v"]
