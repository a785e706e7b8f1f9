"""A session in a thread of its own, so that the caller stays awake for Ctrl-C and progress.

Python delivers SIGINT between bytecodes of the main thread, and a call into DuckDB or a detector
runs none for as long as it lasts. So the session lives in its own thread and the caller only
waits, which a signal ends at once.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar, cast

from foveal import errors
from foveal.reports import Progress, ProgressCallback, QueryReport
from foveal.result_set import ResultSet

if TYPE_CHECKING:
    from foveal.engine.session import Session

T = TypeVar("T")
Parameters = Sequence[object] | Mapping[str, object]
_Outcome = tuple[object, BaseException | None]
_Box = queue.SimpleQueue[Progress | _Outcome]
_Task = tuple[Callable[[], object], _Box]

_WAKE_SECONDS = 0.05
"""Where the platform does not interrupt a lock wait, a signal is still seen this soon."""
_CANCEL_AGAIN_SECONDS = 1.0
"""A cancel that came just before its statement began hit nothing: it is repeated this often."""
_GOODBYE_SECONDS = 5.0
"""How long a program that ends waits for its statement to stop."""


class SessionThread:
    """Runs a session's calls one after the other, each while its caller waits.

    A session has one open result at most; another call first reads its rest into memory.
    """

    def __init__(self, start: Callable[[], Session]) -> None:
        """Start the thread and, in it, the session."""
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=_serve, args=(self._tasks,), name="foveal-session", daemon=True
        )
        self._turn = threading.Lock()
        self._caller: int | None = None
        self._closed = False
        self._canceled = threading.Event()
        self._open_result: ResultSet | None = None
        self.report: QueryReport | None = None
        self._thread.start()
        try:
            self.session = self._wait(lambda _: start(), None)
        except BaseException:
            self._tasks.put(None)
            raise

    # --- in the caller's thread ------------------------------------------------------------

    def call(
        self, work: Callable[[ProgressCallback], T], progress: ProgressCallback | None = None
    ) -> T:
        """Run `work` in the session's thread; return what it returns or raise what it raises.

        What `work` hands to its argument reaches `progress` here, in the caller's thread. A
        KeyboardInterrupt, or an error of `progress`, cancels the statement, waits until `work`
        has stopped, and is raised; a second KeyboardInterrupt is raised without waiting.

        Raises:
            InterfaceError: called out of `progress`.
        """
        self._not_in_callback()
        with self._turn:
            if self._closed:
                raise errors.InterfaceError("the connection is closed")
            self._caller = threading.get_ident()
            self._canceled.clear()
            try:
                return self._wait(work, progress)
            finally:
                self._caller = None

    def cancel(self) -> None:
        """Cancel the statement that runs, from any thread."""
        self._canceled.set()
        self.session.cancel()

    def close(self) -> None:
        """Cancel what runs, then end the session and the thread.

        Raises what ending the session raises.
        """
        self._not_in_callback()
        self.cancel()
        with self._turn:
            self._closed = True
        box: _Box = queue.SimpleQueue()
        self._tasks.put((self._end, box))
        self._tasks.put(None)
        if threading.current_thread() is self._thread:
            return  # Garbage collected in the thread itself: it ends once this returns.
        self._thread.join(_GOODBYE_SECONDS)
        outcome = None if box.empty() else box.get()
        if isinstance(outcome, tuple) and outcome[1] is not None:
            raise outcome[1]

    def _not_in_callback(self) -> None:
        if self._caller == threading.get_ident():
            raise errors.InterfaceError("a progress callback may only cancel its own connection")

    def _wait(self, work: Callable[[ProgressCallback], T], progress: ProgressCallback | None) -> T:
        box: _Box = queue.SimpleQueue()
        stopped_by: BaseException | None = None
        cancel_at = 0.0
        self._tasks.put((lambda: work(box.put), box))
        while True:
            try:
                if stopped_by is not None and time.monotonic() >= cancel_at:
                    cancel_at = time.monotonic() + _CANCEL_AGAIN_SECONDS
                    self.cancel()
                message = box.get(timeout=_WAKE_SECONDS)
                if isinstance(message, tuple):
                    break
                if progress is not None and stopped_by is None:
                    progress(message)
            except queue.Empty:
                continue
            except BaseException as error:
                if stopped_by is not None:
                    raise
                stopped_by = error
        value, failure = message
        if stopped_by is not None:
            raise stopped_by from failure
        if failure is not None:
            raise failure
        return cast("T", value)

    # --- in the session's thread -----------------------------------------------------------

    def settle(self) -> None:
        """Free the session of an open result: keep its rest if somebody can still ask for it."""
        if (rows := self._open_result) is not None:
            self._open_result = None
            if rows.wanted():
                rows.settle()
            else:
                rows.close()

    def run(
        self,
        statement: str,
        parameters: Parameters | None,
        progress: ProgressCallback | None,
        reader: object,
    ) -> ResultSet:
        """Run one statement; its result, for `reader`, is then the open one.

        Raises:
            QueryCanceled: `cancel` was called before the statement began.
        """
        if self._canceled.is_set():
            raise errors.QueryCanceled("canceling statement due to user request")
        self.settle()
        try:
            result = self.session.execute(statement, parameters or None, progress=progress)
        except errors.FovealError as error:
            rendered = errors.render(error, statement)
            note = rendered.removeprefix(f"ERROR {error.sqlstate}: {error.message}").lstrip("\n")
            if note:
                error.add_note(note)
            raise
        rows = ResultSet(result, reader)
        self._open_result = None if rows.complete else rows
        self.report = result.report
        return rows

    def _end(self) -> None:
        if self._open_result is not None:
            self._open_result.close()
        if self.session.in_transaction:
            self.session.rollback()
        self.session.close()


def _serve(tasks: queue.SimpleQueue[_Task | None]) -> None:
    while (task := tasks.get()) is not None:
        work, box = task
        try:
            box.put((work(), None))
        except BaseException as error:
            box.put((None, error))
        # An idle thread keeps nothing alive: a dropped connection must be collected.
        del task, work, box
