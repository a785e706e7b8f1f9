"""Every case of tests/errors/*.err renders exactly as written there.

The format of an `.err` file, a list of cases:

    @stage parse                 optional, first line: which of STAGES runs the file's cases
    # what the case shows        a case begins with a line that starts with "# "
    SELECT ..                    its statement, one line or several
    ----                         then a line of four dashes
    ERROR 42601: ..              and the exact text of `foveal.errors.render`, then a blank line

Other stages add a function to STAGES. `FOVEAL_REWRITE=1 pytest ..` writes what came out into the
files, to be read before it is committed.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from foveal.errors import FovealError, render
from foveal.planner.parse.parser import parse

FOLDER = Path(__file__).resolve().parents[1] / "errors"
NAMES = frozenset({"street", "cars"})
PREPARED = frozenset({"kept"})

STAGES: dict[str, Callable[[str], object]] = {"parse": lambda sql: parse(sql, NAMES, PREPARED)}
"""Stage name to a function that takes a statement and should raise."""


@dataclass(frozen=True)
class Case:
    path: Path
    stage: str
    title: str
    sql: str
    expected: str


def read_cases(path: Path) -> list[Case]:
    stage, text = "parse", path.read_text(encoding="utf-8")
    if text.startswith("@stage "):
        head, text = text.split("\n", 1)
        stage = head.removeprefix("@stage ").strip()
    cases: list[Case] = []
    for chunk in ("\n" + text.strip() + "\n").split("\n# ")[1:]:
        title, _, rest = chunk.partition("\n")
        sql, _, expected = rest.partition("\n----\n")
        cases.append(Case(path, stage, title, sql, expected.strip("\n")))
    return cases


def outcome(case: Case) -> str:
    try:
        STAGES[case.stage](case.sql)
    except FovealError as error:
        return render(error, case.sql)
    return "no error"


CASES = [case for path in sorted(FOLDER.glob("*.err")) for case in read_cases(path)]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.path.name}: {c.title}")
def test_error_text(case: Case) -> None:
    if os.environ.get("FOVEAL_REWRITE"):
        rewrite(case.path)
        return
    assert outcome(case) == case.expected


def rewrite(path: Path) -> None:
    cases = read_cases(path)
    stage = "" if cases[0].stage == "parse" else f"@stage {cases[0].stage}\n"
    chunks = [f"# {case.title}\n{case.sql}\n----\n{outcome(case)}\n" for case in cases]
    path.write_text(stage + "\n".join(chunks), encoding="utf-8")


def test_there_are_cases() -> None:
    assert len(CASES) > 50
