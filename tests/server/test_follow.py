"""`foveal follow`: a line per window, in three formats, and its ends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import foveal
from foveal.__main__ import main

OPTIONS = "detector = 'demo', max_count = 6, window = '2 s', budget_calls = 6, stall = 0.3"


@pytest.fixture
def database(transport_stream: bytes, tmp_path: Path) -> str:
    """Return a database with the stream `cam` over a file that no longer grows."""
    (tmp_path / "cam.ts").write_bytes(transport_stream)
    with foveal.connect(tmp_path / "city.db") as con:
        con.execute(f"CREATE VIDEO STREAM cam FROM '{tmp_path}/cam.ts' WITH ({OPTIONS})")
    return str(tmp_path / "city.db")


def test_a_line_per_window(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["follow", database, "cam", "--windows", "1"]) == 0
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    assert "000000.mkv  2.0 s  20 frames  " in line
    assert " calls  " in line
    assert " in [" in line
    assert err == ""
    assert main(["follow", database, "cam", "--format", "json", "--seconds", "2"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["number"], told["frames"], told["confidence"]) == (1, 20, 0.95)
    assert main(["follow", database, "cam", "--format", "csv"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("number,video,started,ts,seconds,frames,frames_dropped,calls,")
    assert [line.split(",")[0] for line in lines[1:]] == ["2", "3", "4"]
    assert "the stream ended: the file no longer grows" in err


def test_errors(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["follow", database, "came"]) == 1
    err = capsys.readouterr().err
    assert "ERROR 42P01" in err
    assert 'did you mean "cam"?' in err
    with pytest.raises(SystemExit):
        main(["follow", database])


def test_ctrl_c_keeps_what_was_told(
    transport_stream: bytes, serve: Callable[..., Any], tmp_path: Path
) -> None:
    port = serve([(transport_stream, 0.5, "stall")]).port
    options = OPTIONS.replace("0.3", "50")
    path = tmp_path / "live.db"
    with foveal.connect(path) as con:
        con.execute(f"CREATE VIDEO STREAM cam FROM 'tcp://127.0.0.1:{port}' WITH ({options})")
    with subprocess.Popen(
        [sys.executable, "-m", "foveal", "follow", str(path), "cam", "--format", "csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("number,")
        assert process.stdout.readline().startswith("0,")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "the window under way is not kept" in err
    with foveal.connect(path) as con:
        assert con.execute("SELECT count(*) FROM foveal.windows").fetchone()[0] >= 1  # pyright: ignore
    assert not list(tmp_path.glob("live.db.foveal/streams/*/*.part"))
