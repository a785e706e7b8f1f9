"""The `foveal` command in processes of its own: actions, formats, errors, exit status."""

import io
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foveal.__main__ import main

ENDLESS = "SELECT count(*) FROM range(1000000000000) WHERE range % 7 = 3"


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: bytes
    stderr: bytes


class Run(Protocol):
    def __call__(self, *arguments: str, script: str | None = None) -> Done: ...


@pytest.fixture
def foveal(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return the command as a function, run in this process to spare the start of another."""

    def run(*arguments: str, script: str | None = None) -> Done:
        monkeypatch.setattr(sys, "stdin", io.StringIO(script or ""))
        try:
            status = main(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capfdbinary.readouterr()
        return Done(status, out, err)

    return run


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.sql"
    path.write_text("SELECT 1 AS a;\nSELECT nonesuch;\nSELECT 2 AS b\n", encoding="utf-8")
    return path


def test_commands_and_files_run_in_order_on_one_session(foveal: Run, tmp_path: Path) -> None:
    path = tmp_path / "fill.sql"
    path.write_text("INSERT INTO t VALUES ('it''s; here');", encoding="utf-8")
    done = foveal("-c", "CREATE TABLE t (a VARCHAR)", "-f", str(path), "-c", "FROM t; SELECT 7")
    assert done.stderr == b""
    assert done.returncode == 0
    assert done.stdout.decode() == (
        "CREATE TABLE\nINSERT 1\n"
        "     a      \n------------\n it's; here\n(1 row)\n\n"
        " 7 \n---\n 7\n(1 row)\n\n"
    )


def test_the_installed_command_runs() -> None:
    command = [sys.executable, "-m", "foveal", "--format", "csv"]
    done = subprocess.run(command, input=b"SELECT 1 AS a", capture_output=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"a\n1\n", b"")


def test_a_database_file_keeps_what_was_written(foveal: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "city.db")
    assert foveal(path, "-c", "CREATE TABLE t AS SELECT 42 AS a").returncode == 0
    done = foveal("--format", "csv", "--read-only", path, "-c", "FROM t")
    assert done.stdout == b"a\n42\n"


def test_a_script_goes_on_after_an_error_and_ends_well(foveal: Run, script: Path) -> None:
    done = foveal("--format", "csv", "-f", str(script))
    assert done.stdout == b"a\n1\nb\n2\n"
    assert b"ERROR 42703" in done.stderr
    assert b"nonesuch" in done.stderr
    assert done.returncode == 0


def test_on_error_stop_ends_a_script_with_3(foveal: Run, script: Path) -> None:
    done = foveal("--format", "csv", "-v", "ON_ERROR_STOP=1", "-f", str(script), "-c", "SELECT 9")
    assert done.stdout == b"a\n1\n"
    assert done.returncode == 3
    inside = foveal("-f", "-", script="\\set ON_ERROR_STOP on\nSELECT nonesuch;\nSELECT 1;")
    assert inside.returncode == 3
    assert inside.stdout == b""


def test_standard_input_is_a_script(foveal: Run) -> None:
    done = foveal("--format", "csv", script="SELECT 'ü' AS a;\n-- remark\nSELECT\n2 AS b")
    assert done.stdout.decode() == "a\nü\nb\n2\n"
    assert done.returncode == 0


def test_a_command_with_an_error_fails_and_the_last_one_decides(foveal: Run) -> None:
    done = foveal("-c", "SELECT nonesuch; SELECT 1")
    assert (done.returncode, done.stdout) == (1, b"")
    assert foveal("-c", "SELECT nonesuch", "-c", "SELECT 1").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["-f", "no/such/file.sql"], 1, "No such file"),
        (["--nonesuch"], 1, "unrecognized"),
        (["--format", "xml"], 1, "invalid choice"),
        (["-v", "seeed=1"], 1, 'did you mean "seed"'),
        (["-v", "seed"], 1, "not NAME=VALUE"),
        (["-v", "confidence=7", "-c", "SELECT 1"], 1, "22023"),
        (["-o", "no/such/folder/x", "-c", "SELECT 1"], 1, "58030"),
        (["/", "-c", "SELECT 1"], 2, "ERROR"),
        (["--read-only", "no-such.db", "-c", "SELECT 1"], 2, "ERROR"),
    ],
)
def test_wrong_use(foveal: Run, arguments: list[str], status: int, message: str) -> None:
    done = foveal(*arguments)
    assert done.returncode == status
    assert done.stdout == b""
    assert message in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_settings_from_the_command_line(foveal: Run) -> None:
    done = foveal("--format", "csv", "-v", "seed=7", "-c", "SHOW foveal.seed")
    assert done.stdout.splitlines()[-1] == b"7"


def test_json_is_json(foveal: Run) -> None:
    sql = """SELECT range AS a, 'x"' || range AS b, NULL AS c, 1.50::DECIMAL(9,2) AS d,
        [1, NULL] AS e, {'k': 'v'} AS f, 'nan'::DOUBLE AS g, '{"j": 1}'::JSON AS h, 1 AS a,
        DATE '2026-01-02' AS i, true AS k FROM range(2)"""
    rows = json.loads(foveal("--format", "json", "-c", sql).stdout)
    assert rows[1] == {
        "a": 1,
        "b": 'x"1',
        "c": None,
        "d": 1.5,
        "e": [1, None],
        "f": {"k": "v"},
        "g": "nan",
        "h": {"j": 1},
        "a_1": 1,
        "i": "2026-01-02",
        "k": True,
    }
    assert len(rows) == 2
    assert json.loads(foveal("--format", "json", "-c", "SELECT 1 WHERE false").stdout) == []


def test_csv_tells_null_from_empty(foveal: Run) -> None:
    sql = "SELECT NULL AS \"a,b\", '' AS c, 'x\"\ny' AS d"
    assert foveal("--format", "csv", "-c", sql).stdout == b'"a,b",c,d\n,"","x""\ny"\n'


def test_arrow_goes_to_a_pipe(foveal: Run) -> None:
    done = foveal("--format", "arrow", "-c", "SELECT range AS a FROM range(100000)")
    table = pa.ipc.open_stream(done.stdout).read_all()
    assert table["a"].to_pylist() == list(range(100_000))


def test_parquet_goes_to_a_file_and_holds_one_result(foveal: Run, tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    done = foveal("--format", "parquet", "-o", str(path), "-c", "SELECT 1 AS a", "-c", "SELECT 2")
    assert done.returncode == 1
    assert b"a Parquet file holds one" in done.stderr
    assert pq.read_table(path).to_pylist() == [{"a": 1}]


def test_backslash_commands(foveal: Run, tmp_path: Path) -> None:
    other = tmp_path / "other file.csv"
    done = foveal(
        script=f"""CREATE TABLE cameras (id INTEGER, name VARCHAR);
\\dt
\\d cameras
\\x
SELECT 1 AS one, 'a' AS letter;
\\x off
\\format csv
\\o '{other}'
SELECT 5 AS a;
\\o
SELECT 6 AS b;
\\nonesuch
\\set seed 9
SHOW foveal.seed;
\\q
SELECT 'never' AS c;
"""
    )
    out = done.stdout.decode()
    assert " main   | cameras | base table\n" in out
    assert "name        | VARCHAR" in out
    assert "-[ RECORD 1 ]------\none    | 1\nletter | a\n" in out
    assert out.endswith("b\n6\nfoveal.seed\n9\n")
    assert other.read_text() == "a\n5\n"
    assert "never" not in out
    assert b'invalid command "\\nonesuch"' in done.stderr
    assert done.returncode == 0


def test_control_characters_are_shown_not_sent(foveal: Run) -> None:
    done = foveal("-c", "SELECT chr(27) || '[31m' || chr(10) AS a")
    assert b"\x1b" not in done.stdout
    assert b"\\x1b[31m\\n" in done.stdout


def test_a_table_wider_than_its_first_rows_still_has_all_rows(foveal: Run) -> None:
    done = foveal("-c", "SELECT repeat('x', (range // 1500)::INT * 9 + 1) AS a FROM range(3000)")
    lines = done.stdout.decode().splitlines()
    assert lines[-2] == "(3000 rows)"
    assert lines[-3].strip() == "x" * 10


def test_a_reader_that_leaves_is_no_traceback() -> None:
    command = [sys.executable, "-m", "foveal", "-c", "SELECT range FROM range(1000000)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_ctrl_c_cancels_a_script_and_is_2() -> None:
    command = [sys.executable, "-m", "foveal", "--format", "csv", "-c", "SELECT 'up' AS a"]
    command += ["-c", ENDLESS, "-c", "SELECT 'never'"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"a\n"
        assert process.stdout.readline() == b"up\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()  # else leaving the block would wait for a child that hangs
    assert (out, err) == (b"", b"canceled\n")
    assert process.returncode == 2


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_load_nothing_heavy(option: str) -> None:
    code = (
        "import sys\nfrom foveal.__main__ import main\n"
        f"try: main([{option!r}])\n"
        "except SystemExit as end: assert not end.code\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "cv2", "av", "llvmlite", "onnxruntime", "mlflow", "duckdb", "pyarrow"}
    heavy |= {"numpy", "prompt_toolkit", "pygments"}
    assert not heavy & set(done.stderr.split())
    assert "foveal" in done.stdout
    assert option != "--help" or "foveal demo" in done.stdout


def test_a_missing_clip_hides_no_table(foveal: Run, clip: Path, tmp_path: Path) -> None:
    copy, database = tmp_path / "a.mp4", str(tmp_path / "city.db")
    copy.write_bytes(clip.read_bytes())
    made = foveal(
        *(database, "-c", f"CREATE VIDEO TABLE street FROM '{copy}' WITH (detector = 'demo')"),
        *("-c", "CREATE TABLE cameras (id INTEGER)"),
        *("-c", "CREATE VIEW cars AS SELECT frame FROM street WHERE class = 'car'"),
    )
    assert made.stderr == b""
    copy.unlink()
    done = foveal(database, "--format", "csv", "-c", "\\dt")
    assert done.stdout.decode().splitlines() == [
        "schema,name,type",
        "main,cameras,base table",
        "main,cars,view or macro over video",
        "main,street,video table",
    ]
