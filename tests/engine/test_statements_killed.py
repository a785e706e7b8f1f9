"""A process killed in the middle of a scan: the next one goes on with what was stored."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCAN = """
import sys, time
from foveal.engine import inference
from foveal.engine.session import Session

inference.KEEP_FRAMES = 16
session = Session(sys.argv[1], settings={"isolate_decode": False, "threads": 1, "batch_frames": 4})
session.execute("SELECT 1").close()
live = session._tables.table("street")
detector, detect = live.detector, live.detector.detect

class Slow:
    info = detector.info

    def detect(self, images):
        print("batch", flush=True)
        time.sleep(0.02)
        return detect(images)

live.__dict__["detector"] = Slow()
session.execute(sys.argv[2]).fetchall()
print("done", flush=True)
"""


@pytest.mark.parametrize("batches", [6, 17])
@pytest.mark.parametrize(
    "sql", ["SELECT count(*) FROM street", "BEGIN; CREATE TABLE t AS FROM street"]
)
def test_kill_in_the_middle_of_a_scan(
    open_toy: Any, tmp_path: Path, sql: str, batches: int
) -> None:
    path = tmp_path / "city.db"
    whole = open_toy()
    truth = whole.execute("SELECT * FROM street ORDER BY ALL").fetchall()
    session = open_toy(path)
    session.close()
    process = subprocess.Popen(
        [sys.executable, "-c", SCAN, str(path), sql.removeprefix("BEGIN; ")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(batches):
        assert process.stdout.readline() == "batch\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    again = open_toy(path, create=False)
    assert again.execute("SELECT * FROM street ORDER BY ALL").fetchall() == truth
    calls = again.report.detector_calls
    assert calls < 190, "what was stored before the kill is used"
    assert calls >= 190 - 4 * batches - 4
    again.execute("SELECT count(*) FROM street").fetchall()
    assert again.report.detector_calls == 0
