"""Every case of tests/errors/session/*.err, run in a session, renders exactly as written there.

The format is that of tests/errors/*.err; `${toy}` stands for the folder of the clips and the
detector, which is the working directory. The session has the video table `street` and the table
`cams`. A case leaves no trace:
it runs in a transaction that is rolled back. FOVEAL_REWRITE=1 writes what came out.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foveal.engine.session import Session
from foveal.errors import FovealError, render

FOLDER = Path(__file__).resolve().parents[1] / "errors" / "session"


def cases(path: Path) -> list[tuple[str, str, str]]:
    """Return (title, statement, expected) of each case."""
    found: list[tuple[str, str, str]] = []
    for chunk in ("\n" + path.read_text(encoding="utf-8")).split("\n# ")[1:]:
        title, _, rest = chunk.partition("\n")
        sql, _, expected = rest.partition("\n----\n")
        found.append((title, sql, expected.strip("\n")))
    return found


@pytest.fixture(scope="module")
def session(toy: Any) -> Iterator[Session]:
    opened = Session(settings={"isolate_decode": False, "verify_plans": True, "threads": 1})
    opened.execute(toy.create())
    opened.execute("CREATE TABLE cams AS SELECT 'a.mp4' AS video, 'bridge' AS place, 1 AS zone")
    opened.execute("CREATE VIEW cars AS SELECT * FROM street WHERE class = 'car'")
    yield opened
    opened.close()


def outcome(session: Session, toy: Any, sql: str) -> str:
    session.begin()
    try:
        session.execute(sql).fetchall()
    except FovealError as error:
        return render(error, sql).replace(str(toy.folder), "${toy}")
    finally:
        session.rollback()
    return "no error"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.err")), ids=lambda p: p.stem)
def test_errors(session: Session, toy: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toy.folder)
    monkeypatch.delenv("FOVEAL_ASSETS", raising=False)  # hints name the folders searched
    listed = cases(path)
    assert listed
    came_out = [(title, sql, outcome(session, toy, sql)) for title, sql, _ in listed]
    if os.environ.get("FOVEAL_REWRITE"):
        text = "\n\n".join(f"# {title}\n{sql}\n----\n{said}" for title, sql, said in came_out)
        path.write_text(text + "\n", encoding="utf-8")
    wrong = [
        f"{title}\n{sql}\nexpected:\n{expected}\ngot:\n{said}\n"
        for (title, sql, expected), (_, _, said) in zip(listed, came_out, strict=True)
        if expected != said
    ]
    assert not wrong or os.environ.get("FOVEAL_REWRITE"), "\n".join(wrong)
