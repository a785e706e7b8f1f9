"""Runs the sql, python and console blocks of README.md and docs/*.md as a reader would.

Each file is one session: its sql blocks share a connection, its python blocks a namespace, and all
run in a folder that holds `street.mp4`, a rendered street (200 frames, 10 per second, cars and
people). Words after the language choose:

    sql error       each statement must fail
    sql assets      needs the real clips and detectors; the folder then holds the clips too
    ... skip        is not run

Of a console block, the lines `$ foveal ...` and `$ python ...` are run; where lines follow one,
they are its output, with a line `...` standing for any lines. An sql block's results are not shown
in the documents, so only that it runs is checked.
"""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SQLSTATE = re.compile(r"""(?:sqlstate=|sqlstate: str = |Exception, |Error, )"([0-9A-Z]{5})\"""")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s#]+)(?:#[^)]*)?\)")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block. `line` is its first line's number in the file."""

    line: int
    language: str
    words: frozenset[str]
    text: str


def blocks(file: Path) -> Iterator[Block]:
    """Yield a document's blocks that are to be run."""
    text = file.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        language, words, body = match.groups()
        block = Block(
            text.count("\n", 0, match.start(3)) + 1, language, frozenset(words.split()), body
        )
        if language in ("sql", "python", "console") and "skip" not in block.words:
            yield block


def statements(text: str) -> Iterator[str]:
    """Yield the statements of an sql block: each ends with a `;` at the end of its line."""
    for part in re.split(r";[ \t]*(?:--[^\n]*)?$", text, flags=re.MULTILINE):
        if re.sub(r"--[^\n]*", "", part).strip():
            yield part.strip()


def matches(output: list[str], wanted: list[str]) -> bool:
    """Say whether `output` is `wanted`, where a wanted line `...` stands for any lines."""
    if not wanted:
        return not output
    if wanted[0].strip() == "...":
        return any(matches(output[i:], wanted[1:]) for i in range(len(output) + 1))
    return (
        bool(output)
        and output[0].rstrip() == wanted[0].rstrip()
        and matches(output[1:], wanted[1:])
    )


def run_sql(connection: Any, block: Block) -> None:
    """Run a block's statements."""
    import foveal

    for statement in statements(block.text):
        if "error" in block.words:
            with pytest.raises(foveal.Error):
                connection.execute(statement).fetchall()
        else:
            cursor = connection.execute(statement)
            if cursor.description is not None:
                cursor.fetchall()


def run_console(block: Block) -> None:
    """Run a console block's commands and compare their output where it is given."""
    commands: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], []))
        elif commands and commands[-1][0].endswith("\\"):
            commands[-1] = (commands[-1][0][:-1] + line, [])
        elif commands:
            commands[-1][1].append(line)
    for command, wanted in commands:
        words = shlex.split(command)
        if words[0] not in ("foveal", "python") or "&&" in words or "|" in words:
            continue
        arguments = ["-m", "foveal", *words[1:]] if words[0] == "foveal" else words[1:]
        done = subprocess.run(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        output = done.stdout.splitlines()
        while output and not output[-1].strip():
            output.pop()
        while wanted and not wanted[-1].strip():
            wanted.pop()
        shows_failure = any(line.startswith("ERROR ") for line in wanted)
        assert (done.returncode != 0) == shows_failure, f"{command}\n{done.stdout}"
        if wanted:
            assert matches(output, wanted), f"{command}\n{done.stdout}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_document(
    file: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = list(blocks(file))
    if not found:
        pytest.skip("nothing to run")
    import foveal

    (tmp_path / "street.mp4").symlink_to(clip)
    for folder in os.environ.get("FOVEAL_ASSETS", "").split(os.pathsep):
        for video in (Path(folder) / "video").glob("*") if folder else ():
            (tmp_path / video.name).symlink_to(video)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    with foveal.connect() as connection:
        for block in found:
            if "assets" in block.words and not os.environ.get("FOVEAL_ASSETS"):
                continue
            try:
                if block.language == "sql":
                    run_sql(connection, block)
                elif block.language == "python":
                    code = compile("\n" * (block.line - 1) + block.text, str(file), "exec")
                    with contextlib.redirect_stdout(io.StringIO()):
                        exec(code, namespace)
                else:
                    run_console(block)
            except BaseException as error:
                error.add_note(f"in {file.relative_to(ROOT)}, the block at line {block.line}")
                raise


def test_links_lead_somewhere() -> None:
    broken: list[str] = []
    for file in [*FILES, ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs" / "adr").glob("*.md"))]:
        for match in LINK.finditer(file.read_text(encoding="utf-8")):
            target = match.group(1)
            if "://" not in target and not (file.parent / target).exists():
                broken.append(f"{file.relative_to(ROOT)}: {target}")
    assert not broken, "\n".join(broken)


def test_readme_has_two_commands_to_begin_with() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "pip install . && foveal demo" in text
    assert "pip install -c constraints.txt -e '.[dev]' && python -m pytest" in text


def test_every_sqlstate_is_documented() -> None:
    raised: set[str] = set()  # 00000 is no error, but a notice
    for room in ("foveal", "planner", "udfs", "connectors", "engine", "server"):
        for file in (ROOT / room).rglob("*.py"):
            raised |= set(SQLSTATE.findall(file.read_text(encoding="utf-8")))
    documented = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert not [state for state in sorted(raised - {"00000"}) if state not in documented]
