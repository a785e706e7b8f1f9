"""The console on a real terminal (a pty): prompt, Ctrl-C during a statement, Ctrl-D."""

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pty = pytest.importorskip("pty")

ENDLESS = "SELECT count(*) FROM range(1000000000000) WHERE range % 7 = 3;"


class Terminal:
    """A `foveal` process on a pty, and what it has shown."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self._control, its_end = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "XDG_DATA_HOME": str(home)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "foveal", *arguments],
            stdin=its_end,
            stdout=its_end,
            stderr=its_end,
            env=environment,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(its_end)
        self.shown = ""

    def send(self, text: str) -> None:
        os.write(self._control, text.encode())

    def wait_for(self, text: str, times: int = 1) -> None:
        deadline = time.monotonic() + 60
        while self.shown.count(text) < times:
            assert time.monotonic() < deadline, f"no {text!r} in {self.shown!r}"
            if select.select([self._control], [], [], 0.1)[0]:
                try:
                    part = os.read(self._control, 65536).decode(errors="replace")
                except OSError:
                    part = ""
                assert part, f"the console left after {self.shown!r}"
                self.shown += part
                if "\x1b[6n" in part:
                    self.send("\x1b[1;1R")  # the cursor's place, which the prompt asks for

    def leave(self) -> int:
        """Press Ctrl-D until the console is gone: between two prompts nobody reads the key."""
        deadline = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"still there after {self.shown!r}"
            self.send("\x04")
            if select.select([self._control], [], [], 1.0)[0]:
                with contextlib.suppress(OSError):
                    self.shown += os.read(self._control, 65536).decode(errors="replace")
        return self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._control)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


def test_ctrl_c_cancels_the_statement_and_not_the_session(terminal: Terminal) -> None:
    terminal.wait_for("foveal=>")
    terminal.send(ENDLESS + "\r")
    time.sleep(1)
    terminal.send("\x03")
    terminal.wait_for("canceled")
    terminal.send("SELECT 40 + 2 AS answer;\r")
    terminal.wait_for("(1 row)")
    assert " 42" in terminal.shown
    assert terminal.leave() == 0
