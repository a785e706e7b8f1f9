"""Ctrl-C, cancel and progress: the caller stays awake while its session works."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import pytest

import foveal
from foveal.reports import Progress, ProgressCallback
from foveal.session_thread import SessionThread

if TYPE_CHECKING:
    from foveal.engine.session import Session

ENDLESS = "SELECT count(*) FROM range(1000000000000) WHERE range % 7 = 3"

PROGRAM = f"""
import foveal
with foveal.connect() as con:
    cur = con.cursor()
    print("ready", flush=True)
    try:
        cur.execute({ENDLESS!r})
        cur.fetchone()
    except KeyboardInterrupt as error:
        print("interrupted", type(error.__cause__).__name__, cur.description)
    print(con.execute("SELECT 42").fetchone())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_ctrl_c_stops_the_statement_and_the_session_goes_on() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        time.sleep(0.5)
        program.send_signal(signal.SIGINT)
        try:
            out, err = program.communicate(timeout=60)
        finally:
            program.kill()  # else leaving the block would wait for a child that hangs
    assert err == ""
    first, second = out.splitlines()
    assert first.startswith("interrupted QueryCanceled")
    assert second == "(42,)"


def test_cancel_from_another_thread() -> None:
    with foveal.connect() as con:
        cur = con.cursor()
        timer = threading.Timer(0.3, cur.cancel)
        timer.start()
        with pytest.raises(foveal.QueryCanceled) as caught:
            cur.execute(ENDLESS).fetchall()
        timer.join()
        assert caught.value.sqlstate == "57014"
        con.cancel()
        assert con.execute("SELECT 1").fetchone() == (1,)


class Counting:
    """A session whose one statement counts until it is cancelled."""

    in_transaction = False

    def __init__(self) -> None:
        self.canceled = threading.Event()
        self.closed = False

    def execute(
        self,
        sql: str,
        parameters: Sequence[object] | Mapping[str, object] | None = None,
        *,
        progress: ProgressCallback | None = None,
    ) -> Any:
        self.canceled.clear()
        for n in range(1000):
            if progress is not None:
                progress(Progress("count", n, 1000, n * 0.01))
            if self.canceled.wait(0.01):
                raise foveal.QueryCanceled("stopped")
        raise AssertionError("nobody cancelled")

    def cancel(self) -> None:
        self.canceled.set()

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def counting() -> tuple[Counting, SessionThread]:
    session = Counting()
    return session, SessionThread(lambda: cast("Session", session))


def test_progress_arrives_in_the_callers_thread(counting: tuple[Counting, SessionThread]) -> None:
    _, thread = counting
    seen: list[tuple[int, int]] = []

    def show(progress: Progress) -> None:
        seen.append((threading.get_ident(), progress.done))
        if progress.done == 3:
            thread.cancel()

    with pytest.raises(foveal.QueryCanceled):
        thread.call(lambda report: thread.run("count", None, report, None), show)
    assert {ident for ident, _ in seen} == {threading.get_ident()}
    assert [done for _, done in seen][:4] == [0, 1, 2, 3]
    thread.close()


def test_an_error_in_the_progress_callback_cancels_and_is_raised(
    counting: tuple[Counting, SessionThread],
) -> None:
    session, thread = counting

    def fail(progress: Progress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        thread.call(lambda report: thread.run("count", None, report, None), fail)
    assert isinstance(caught.value.__cause__, foveal.QueryCanceled)
    thread.close()
    assert session.closed


def test_a_progress_callback_cannot_use_its_own_connection(
    counting: tuple[Counting, SessionThread],
) -> None:
    _, thread = counting

    def nest(progress: Progress) -> None:
        thread.call(lambda _: None)

    with pytest.raises(foveal.InterfaceError, match="only cancel"):
        thread.call(lambda report: thread.run("count", None, report, None), nest)
    thread.close()
    with pytest.raises(foveal.InterfaceError, match="closed"):
        thread.call(lambda _: None)


def test_a_failing_start_ends_the_thread() -> None:
    before = threading.active_count()

    def start() -> Session:
        raise foveal.OperationalError("no such file")

    with pytest.raises(foveal.OperationalError):
        SessionThread(start)
    deadline = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
