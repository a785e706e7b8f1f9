"""A process killed in the middle of its work: the next one goes on with what was stored."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.engine import proxies
from foveal.engine.context import QueryContext
from foveal.settings import defaults

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


SCORE = """
import sys
import numpy as np
from foveal.engine import proxies
from foveal.engine.context import QueryContext
from foveal.engine.session import Session
from foveal.settings import defaults

class Telling(QueryContext):
    def advance(self, stage, done, total):
        print(stage, done, flush=True)

proxies.SCORE_CHUNK, proxies.KEEP_CHUNKS = 16, 2
session = Session(sys.argv[1], settings={"isolate_decode": False, "threads": 1})
session.execute("SELECT 1").close()
live = session._tables.table("street")
runtime = session._runtime(Telling(defaults()), {"street": live})
proxies.scores(live, proxies.stored(live)[0], np.arange(live.frames), runtime)
"""


def test_kill_in_the_middle_of_scoring(open_toy: Any, tmp_path: Path) -> None:
    path = tmp_path / "city.db"
    proxy = "CREATE PROXY busy ON street FOR COUNT(*) WITH (labels = 95, family = ridge)"
    scored = "SELECT frames_scored, key FROM foveal.proxies"
    session = open_toy(path)
    session.execute(proxy)
    session.close()
    process = subprocess.Popen(
        [sys.executable, "-c", SCORE, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while process.stdout.readline() != "score 80\n":
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    again = open_toy(path, create=False)
    ((kept, key),) = again.execute(scored).fetchall()
    assert 64 <= kept < 190
    live = again._tables.table("street")
    runtime = again._runtime(QueryContext(defaults()), {"street": live})
    rest = proxies.scores(live, proxies.stored(live)[0], np.arange(190), runtime)
    assert again.execute(scored).fetchall() == [(190, key)]
    whole = open_toy()
    whole.execute(proxy)
    live = whole._tables.table("street")
    runtime = whole._runtime(QueryContext(defaults()), {"street": live})
    truth = proxies.scores(live, proxies.stored(live)[0], np.arange(190), runtime)
    np.testing.assert_array_equal(rest.values, truth.values)
