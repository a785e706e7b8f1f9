"""`foveal show` and the console's \\show: frames with boxes, charts, files, terminals, errors."""

import base64
import io
import itertools
import os
import re
import select
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import foveal
from foveal.__main__ import main
from foveal.connectors.video.crops import decode_image
from foveal.server.show import terminal
from foveal.server.show.chart import lay_out, over_time, read_chart, ticks
from foveal.server.show.render import look, write
from foveal.server.show.shots import COLOURS

Connection = Any


@pytest.fixture(scope="module")
def street(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database with a table over the rendered street; its first frames are detected."""
    path = tmp_path_factory.mktemp("show") / "street.db"
    with foveal.connect(path) as con:
        con.execute(
            f"CREATE VIDEO TABLE street FROM '{clip}' WITH (detector = 'demo', max_count = 4)"
        )
        con.execute("SELECT count(*) FROM street WHERE frame < 60").fetchall()
    return path


@pytest.fixture
def con(street: Path) -> Iterator[Connection]:
    with foveal.connect(street) as connection:
        yield connection


class Tree(HTMLParser):
    """Every element of a page, in order, with its attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def pictures(tree: Tree) -> list[np.ndarray]:
    """Return the pictures that stand in the page itself."""
    found: list[np.ndarray] = []
    for image in tree.all("img"):
        source = image["src"] or ""
        assert source.startswith("data:image/jpeg;base64,")
        found.append(decode_image(base64.b64decode(source.partition(",")[2])))
    return found


FOUND = "SELECT video, frame, ts FROM street WHERE frame < 60 GROUP BY ALL LIMIT 3 GAP 15"


def test_a_page_holds_each_frame_once_and_needs_nothing_else(
    street: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.html"
    assert main(["show", str(street), FOUND, "-o", str(file)]) == 0
    out, err = capfd.readouterr()
    assert out == f"{file}: 3 frames\n"
    assert err == ""
    page = file.read_text(encoding="utf-8")
    tree = Tree(page)
    assert tree.open == []
    assert tree.elements[0][0] == "html"
    assert len(tree.all("figure")) == len(pictures(tree)) == 3
    assert {p.shape for p in pictures(tree)} == {(360, 640, 3)}
    assert not tree.all("script") + tree.all("link") + tree.all("iframe")
    assert not re.findall(r"https?:|url\(|@import| on\w+=", page)
    policy = {"http-equiv": "Content-Security-Policy"}.items()
    assert any(policy <= attributes.items() for attributes in tree.all("meta"))
    assert "prefers-color-scheme: dark" in page
    assert FOUND in tree.text
    assert "exact" in tree.text
    captions = re.findall(r"street\.mp4  (\d+:\d\d\.\d\d)  frame (\d+)", tree.text)
    assert len(captions) == 3
    for clock, frame in captions:
        assert clock == f"0:{int(frame) / 10:05.2f}"


def test_a_contact_sheet_decodes_with_a_cell_per_frame(con: Connection, tmp_path: Path) -> None:
    file = tmp_path / "sheet.png"
    view = look(con, FOUND, limit=24, kind=None, file=file)
    write(view, file)
    sheet = decode_image(file.read_bytes())
    assert sheet.shape[1] == 2 * (400 + 16) + 16
    assert (sheet == view.picture()).all()
    assert [plate.picture.shape for plate in view.plates] == [(225, 400, 3)] * 3
    assert (sheet[-1] == 255).all()
    assert not list(tmp_path.glob("*.part"))


def test_boxes_are_those_of_the_rows(con: Connection, tmp_path: Path) -> None:
    sql = """SELECT video, frame, 'thing' AS class, 100 AS xmin, 50 AS ymin, 220 AS xmax,
        300 AS ymax FROM street.frames WHERE frame IN (5, 190)"""
    view = look(con, sql, limit=24, kind=None, file=tmp_path / "a.html")
    assert len(view.plates) == 2
    for plate in view.plates:
        edge = plate.picture[120:280, 100].astype(int)
        assert abs(edge - COLOURS[0]).max() <= 1
        edge = plate.picture[120:280, 220].astype(int)
        assert abs(edge - COLOURS[0]).max() <= 1


def test_boxes_are_the_stored_ones_where_rows_have_none(con: Connection, tmp_path: Path) -> None:
    file = tmp_path / "a.html"
    (row,) = con.execute(
        "SELECT frame, xmin, ymin, xmax, ymax FROM street WHERE class = 'car' AND frame < 60 "
        "AND ymin > 30 ORDER BY xmax - xmin DESC LIMIT 1"
    ).fetchall()
    frame, xmin, _, xmax, ymax = row
    view = look(con, f"SELECT {frame} AS frame, 'car' AS class", limit=9, kind=None, file=file)
    bare = look(con, f"SELECT {frame} AS frame, 'no' AS class", limit=9, kind=None, file=file)
    marked, plain = (v.plates[0].picture.astype(int) for v in (view, bare))
    y, x = round(float(ymax)), round((float(xmin) + float(xmax)) / 2)
    assert abs(marked[y - 1 : y + 2, x] - COLOURS[0]).max(axis=1).min() <= 1
    assert abs(plain[y - 1 : y + 2, x] - COLOURS[0]).max(axis=1).min() > 20


def test_showing_never_runs_the_detector(con: Connection, tmp_path: Path) -> None:
    sql = "SELECT frame FROM street.frames WHERE frame = 199"
    view = look(con, sql, limit=9, kind=None, file=tmp_path / "a.html")
    assert "the detector has not looked at this frame" in view.plates[0].caption
    cached = con.execute("SELECT frames_cached FROM foveal.videos").fetchone()
    assert cached == (60,)


@pytest.mark.parametrize(
    ("sql", "frames"),
    [
        ("SELECT ts FROM street.frames WHERE frame IN (3, 7) ORDER BY ts", [3, 7]),
        ("SELECT ts + 0.04 AS ts FROM street.frames WHERE frame = 3", [3]),
        ("SELECT content FROM street WHERE frame = 4", [4]),
        ("SELECT image FROM street.frames WHERE frame = 8", [8]),
        ("SELECT first_frame, trackid FROM (SELECT 11 AS first_frame, 2 AS trackid)", [11]),
        ("SELECT frame FROM street WHERE frame < 9 ORDER BY frame", list(range(9))),
        ("SELECT frame, class FROM street WHERE frame IN (2, 1) ORDER BY frame DESC", [2, 1]),
        ("SELECT NULL::BIGINT AS frame UNION ALL SELECT 6", [6]),
    ],
)
def test_what_names_a_frame(con: Connection, tmp_path: Path, sql: str, frames: list[int]) -> None:
    view = look(con, sql, limit=24, kind=None, file=tmp_path / "a.png")
    named = [int(plate.caption[0].rpartition(" ")[2]) for plate in view.plates]
    assert sorted(named) == sorted(frames)


def test_the_limit_is_said_and_no_more_is_computed(con: Connection, tmp_path: Path) -> None:
    sql = "SELECT frame FROM street.frames ORDER BY frame"
    view = look(con, sql, limit=2, kind=None, file=tmp_path / "a.html")
    assert len(view.plates) == 2
    assert view.heading.remarks == ("the first 2 frames; there are more",)
    assert con.execute("SELECT 1").fetchone() == (1,)


def test_other_columns_are_in_the_caption(con: Connection, tmp_path: Path) -> None:
    sql = "SELECT frame, round(brightness(image)) AS light FROM street.frames WHERE frame < 2"
    view = look(con, sql, limit=9, kind=None, file=tmp_path / "a.html")
    assert all(re.fullmatch(r"light \d+", plate.caption[1]) for plate in view.plates)


COUNTS = """SELECT floor(ts / 2) * 2 AS second, FCOUNT(*) AS cars FROM street
WHERE class = 'car' AND frame < 60 GROUP BY second"""


def test_counts_over_time_are_a_chart(con: Connection, tmp_path: Path) -> None:
    file = tmp_path / "chart.html"
    view = look(con, COUNTS, limit=24, kind=None, file=file)
    write(view, file)
    assert view.summary == "a chart of 3 points"
    tree = Tree(file.read_text(encoding="utf-8"))
    (drawn,) = tree.all("svg")
    assert drawn["viewbox"] == "0 0 960 420"
    assert len(tree.all("circle")) == 3
    assert "exact" in tree.text
    assert {"cars", "second"} <= set(tree.text.split())


def test_an_estimate_has_a_band_and_its_guarantee(clip: Path, tmp_path: Path) -> None:
    sql = f"""CREATE VIDEO TABLE fresh FROM '{clip}' WITH (detector = 'demo', max_count = 4);
        SELECT floor(ts / 10) * 10 AS second, FCOUNT(*) AS cars FROM fresh
        WHERE class = 'car' GROUP BY second ORDER BY second DESC BUDGET 40 CALLS"""
    with foveal.connect() as con:
        view = look(con, sql, limit=24, kind=None, file=tmp_path / "a.png")
        report = con.last_query()
    assert report is not None
    assert report.intervals is not None
    assert view.chart is not None
    (series,) = view.chart.series
    assert [x for x, _ in series.points] == [0, 10]
    listed = [(row["low"], row["high"]) for row in report.intervals.to_pylist()]
    assert list(series.bands) == listed[::-1]  # the rows descend, the axis does not
    assert "95 % confidence (finite)" in view.heading.answer
    assert "with intervals" in view.summary
    shapes = lay_out(view.chart)
    (band,) = [shape for shape in shapes if shape.kind == "area"]
    dots = [shape.points[0] for shape in shapes if shape.kind == "dot"]
    for x, y in dots:
        inside = [by for bx, by in band.points if bx == pytest.approx(x)]
        assert min(inside) <= y <= max(inside)
    picture = view.picture()
    assert picture.shape[1] == 960
    assert picture.std() > 0


def test_charts_of_other_results() -> None:
    with foveal.connect() as con:
        cursor = con.execute(
            "SELECT TIMESTAMP '2026-01-01 10:00:00' + INTERVAL (range * 10) MINUTE AS at, "
            "CASE range % 2 WHEN 0 THEN 'a' ELSE 'b' END AS k, range::DECIMAL(9, 1) AS n, "
            "NULL::DOUBLE AS nothing FROM range(12) ORDER BY range DESC"
        )
        description = cursor.description or []
        assert over_time(description)
        chart = read_chart(description, cursor.fetchall(), None)
    assert chart.calendar
    assert {one.name for one in chart.series} == {"a n", "b n"}
    assert [y for _, y in chart.series[0].points] == [0, 2, 4, 6, 8, 10]
    texts = [shape.text for shape in lay_out(chart) if shape.kind == "text"]
    assert "10:30" in texts
    assert "a n" in texts


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 7.7), (0, 1e-6), (12345, 12346), (0, 9e9)])
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    found = ticks(low, high, 6)
    assert 2 <= len(found) <= 7
    slack = (high - low) * 1e-6
    assert all(low - slack <= tick <= high + slack for tick in found)
    assert len({round((b - a) / (high - low), 6) for a, b in itertools.pairwise(found)}) == 1


@pytest.mark.parametrize(
    ("sql", "state", "hint"),
    [
        ("SELECT class FROM street LIMIT 1", "42703", "select video and frame"),
        ("SELECT 1 AS a", "42703", "select video and frame"),
        ("CREATE TABLE t (a INTEGER)", "42703", "select video and frame"),
        ("SELECT frame FROM street.frames WHERE false", "02000", "find anything"),
        ("SELECT 1 AS a, 2 AS b WHERE false", "02000", "find anything"),
        ("SELECT 777 AS frame", "42703", "columns called frame"),
        ("SELECT 'other.mp4' AS video, 1 AS frame", "42P01", "there are street.mp4"),
        ("SELECT frame FROM nonesuch", "42P01", ""),
    ],
)
def test_errors_say_what_to_do(
    con: Connection, tmp_path: Path, sql: str, state: str, hint: str
) -> None:
    with pytest.raises(foveal.DatabaseError) as caught:
        look(con, sql, limit=24, kind=None, file=tmp_path / "a.html")
    assert caught.value.sqlstate == state
    assert hint in (caught.value.hint or "")


def test_frames_of_two_videos_need_the_video(clip: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(clip.read_bytes())
    file = tmp_path / "x.png"
    with foveal.connect() as con:
        con.execute(f"CREATE VIDEO TABLE two FROM '{tmp_path}/*.mp4' WITH (detector = 'demo')")
        with pytest.raises(foveal.ProgrammingError, match="which video") as caught:
            look(con, "SELECT frame FROM two.frames LIMIT 1", limit=9, kind=None, file=file)
        assert "select the column video" in (caught.value.hint or "")
        view = look(con, "SELECT 'b.mp4' AS video, 3 AS frame", limit=9, kind=None, file=file)
        assert view.plates[0].caption[0].startswith("b.mp4  0:00.30")


def test_the_ending_and_the_folder_are_checked(
    street: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(street), FOUND, "-o", "a.gif"]) == 1
    assert ".png, .jpg" in capfd.readouterr().err
    assert main(["show", str(street), FOUND, "-o", str(tmp_path / "no" / "a.png")]) == 1
    assert "58030" in capfd.readouterr().err
    jpeg = tmp_path / "a.jpg"
    assert main(["show", str(street), FOUND, "-o", str(jpeg), "--limit", "1"]) == 0
    assert jpeg.read_bytes()[:3] == b"\xff\xd8\xff"
    with pytest.raises(SystemExit):
        main(["show", str(street), FOUND, "--limit", "0"])


def test_the_console_shows_a_query_and_the_last_one(
    street: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    script = f"""\\show -o one.png SELECT frame FROM street WHERE class = 'car' AND frame < 3
{FOUND};
\\show
\\show -o 'a b.html'
\\show SELECT 1 AS a
"""
    monkeypatch.setattr(sys, "stdin", io.StringIO(script))
    assert main([str(street), "--format", "csv"]) == 0
    out, err = capfd.readouterr()
    assert "foveal-show.html: 3 frames\n" in out
    assert "a b.html: 3 frames\n" in out
    assert decode_image((tmp_path / "one.png").read_bytes()).shape[2] == 3
    assert err.count("ERROR") == 1
    assert "nothing in the columns (a)" in err


# --- terminals ----------------------------------------------------------------------------------


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "how"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm"),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/x"}, None),
        ({"TERM": "screen-256color", "LC_TERMINAL": "iTerm2"}, None),
        ({"TERM": "dumb", "KITTY_WINDOW_ID": "1"}, None),
        ({}, None),
    ],
)
def test_terminals_that_name_themselves(environment: dict[str, str], how: str | None) -> None:
    assert terminal.protocol(Tty(), environment) == how
    assert terminal.protocol(io.StringIO(), environment) is None


@pytest.mark.parametrize(("answer", "how"), [(b"\x1b[?62;4;22c", "sixel"), (b"\x1b[?62;22c", None)])
def test_other_terminals_are_asked(answer: bytes, how: str | None, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    pid, control = pty.fork()
    if pid == 0:  # pragma: no cover
        sys.stdin = os.fdopen(0)
        found = terminal.protocol(os.fdopen(1, "w"), {"TERM": "xterm"})
        (tmp_path / "found").write_text(str(found))
        os._exit(0)
    shown, deadline = b"", time.monotonic() + 30
    while b"\x1b[c" not in shown and time.monotonic() < deadline:
        if select.select([control], [], [], 0.1)[0]:
            shown += os.read(control, 1024)
    os.write(control, answer)
    os.waitpid(pid, 0)
    os.close(control)
    assert (tmp_path / "found").read_text() == str(how)


def test_what_terminals_are_sent() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    kitty = terminal.inline(picture, "kitty")
    parts = re.findall(rb"\x1b_G([^;]*);([A-Za-z0-9+/=]*)\x1b\\", kitty)
    assert b"a=T,f=100" in parts[0][0]
    assert [part[0][-3:] for part in parts] == [b"m=1"] * (len(parts) - 1) + [b"m=0"]
    assert (decode_image(base64.b64decode(b"".join(p[1] for p in parts))) == picture).all()
    iterm = terminal.inline(picture, "iterm")
    found = re.fullmatch(rb"\x1b\]1337;File=inline=1;size=\d+;width=70px:(.*)\x07\n", iterm)
    assert found is not None
    assert (decode_image(base64.b64decode(found[1])) == picture).all()


def test_sixel_gives_the_picture_back() -> None:
    rng = np.random.default_rng(2)
    picture = np.repeat(rng.integers(0, 6, (13, 20, 3)) * 51, 1, axis=0).astype(np.uint8)
    picture[:, 5:15] = (255, 0, 51)
    assert (unsixel(terminal.sixel(picture)) == picture).all()


def unsixel(data: bytes) -> np.ndarray:
    """Return the picture that a sixel terminal would show."""
    head = re.match(rb'\x1bPq"1;1;(\d+);(\d+)', data)
    assert head is not None
    assert data.endswith(b"\x1b\\")
    width, height = int(head[1]), int(head[2])
    picture = np.zeros((height + 6, width, 3), np.uint8)
    palette: dict[int, tuple[int, ...]] = {}
    x = y = colour = 0
    body = data[head.end() : -2]
    for match in re.finditer(rb"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)(.)|([$\-?-~])", body):
        number, r, g, b, run, repeated, char = match.groups()
        if r is not None:
            palette[int(number)] = tuple(round(int(v) * 2.55) for v in (r, g, b))
        elif number is not None:
            colour = int(number)
        elif char == b"$":
            x = 0
        elif char == b"-":
            x, y = 0, y + 6
        else:
            bits = (repeated or char)[0] - 63
            for _ in range(int(run or 1)):
                for row in range(6):
                    if bits >> row & 1:
                        picture[y + row, x] = palette[colour]
                x += 1  # noqa: SIM113
    return picture[:height]
