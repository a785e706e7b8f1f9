"""docs/criteria.md names tests and benches that exist, several for every statement."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "criteria.md"
CODE = re.compile(r"`((?:tests|benches)/[^`]*)`")
ROOMS = ("foveal", "engine", "planner", "udfs", "connectors", "server")


def criteria() -> list[list[str]]:
    """Return the table's rows: number, statement, what holds it, what holds in part."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return [row for row in rows if row[0].isdigit()]


@cache
def defined(path: Path) -> frozenset[str]:
    """Return the functions and classes that a file defines at its top."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds))


def test_every_statement_is_there_once() -> None:
    rows = criteria()
    assert [int(row[0]) for row in rows] == list(range(1, 23))
    assert {len(row) for row in rows} == {4}
    assert all(row[1] for row in rows)


@pytest.mark.parametrize("row", criteria(), ids=lambda row: row[0])
def test_what_holds_it_exists(row: list[str]) -> None:
    named = CODE.findall(row[2])
    assert row[2] == ", ".join(f"`{name}`" for name in named), "nothing but names stands here"
    assert any(name.startswith("tests/") for name in named)
    for name in named:
        path, _, function = name.partition("::")
        assert (ROOT / path).is_file(), name
        assert function in defined(ROOT / path), name
        assert path.startswith("benches/") or function.startswith("test_"), name


def test_no_frame_is_sought_by_opencv() -> None:
    """Its seek goes by guessed times: frames are found by the index alone."""
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            assert "VideoCapture" not in text, file
            assert "CAP_PROP_POS" not in text, file
