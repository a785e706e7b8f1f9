"""Loops of functions that never end: a statement is cancelled all the same."""

import threading
import time

import pytest

import foveal


@pytest.mark.parametrize("compiling", ["off", "on"])
def test_an_endless_loop_is_cancelled(compiling: str) -> None:
    con = foveal.connect()
    con.execute("CREATE TABLE t AS SELECT range::DOUBLE AS x FROM range(20000)")
    con.execute(
        "CREATE FUNCTION f(x DOUBLE) RETURNS DOUBLE LANGUAGE python AS $$\n"
        "y = 1.0\nwhile y > 0:\n    y = 1.0 + x - x\nreturn y\n$$"
    )
    assert con.session.functions.compiled("f") is not None
    # Python would not end: the kernel is taken from the first row on.
    con.session.functions._stored["f"].rows = 1 << 20  # pyright: ignore[reportPrivateUsage]
    con.execute(f"SET foveal.compile = '{compiling}'")
    ended = threading.Event()

    def stop() -> None:
        while not ended.is_set():  # a statement that has not begun yet forgets it
            time.sleep(0.1)
            con.session.cancel()

    stopper = threading.Thread(target=stop, daemon=True)
    stopper.start()
    try:
        with pytest.raises(foveal.QueryCanceled):
            con.execute("SELECT sum(f(x)) FROM t").fetchall()
    finally:
        ended.set()
        stopper.join()
    assert con.execute("SELECT count(*) FROM t").fetchall() == [(20000,)]
    con.close()
