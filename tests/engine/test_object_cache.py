"""Compiled objects on disk: whole, ours, bounded; broken ones are compiled anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from foveal.engine.compile.object_cache import ObjectFiles


@pytest.fixture
def files(tmp_path: Path) -> ObjectFiles:
    return ObjectFiles(tmp_path / "objects")


def test_an_object_comes_back(files: ObjectFiles) -> None:
    assert files.load("a") is None
    assert files.store("a", b"code")
    assert files.load("a") == b"code"
    assert os.stat(files.folder).st_mode & 0o777 == 0o700
    assert os.stat(files.folder / "a.o").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_a_damaged_object_is_none_and_goes(files: ObjectFiles, damage: str) -> None:
    files.store("a", b"code" * 100)
    path = files.folder / "a.o"
    data = bytearray(path.read_bytes())
    match damage:
        case "cut":
            data = data[:-1]
        case "flip":
            data[-7] ^= 1
        case "empty":
            data = bytearray()
        case _:
            data = bytearray(b"hello")
    path.write_bytes(data)
    assert files.load("a") is None
    assert not path.exists()


@pytest.mark.parametrize("what", ["file", "folder"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_what_others_may_write_is_not_loaded(files: ObjectFiles, what: str, mode: int) -> None:
    files.store("a", b"code")
    path = files.folder / "a.o" if what == "file" else files.folder
    path.chmod(path.stat().st_mode | mode)
    assert files.load("a") is None
    if what == "folder":
        assert not files.store("b", b"code")


def test_what_belongs_to_others_is_not_loaded(
    files: ObjectFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.store("a", b"code")
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    assert files.load("a") is None


def test_a_link_is_not_followed(files: ObjectFiles, tmp_path: Path) -> None:
    files.store("a", b"code")
    (files.folder / "a.o").rename(tmp_path / "elsewhere.o")
    (files.folder / "a.o").symlink_to(tmp_path / "elsewhere.o")
    assert files.load("a") is None


def test_the_longest_unused_go_first(tmp_path: Path) -> None:
    files = ObjectFiles(tmp_path / "objects", disk_bytes=3000)
    for position, key in enumerate("abc"):
        files.store(key, b"x" * 800)
        os.utime(files.folder / f"{key}.o", (position, position))
    assert files.load("a") is not None  # used now
    files.store("d", b"x" * 800)
    assert [files.load(key) is not None for key in "abcd"] == [True, False, True, True]


def test_a_folder_that_cannot_be_made_costs_no_statement(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("a file")
    files = ObjectFiles(tmp_path / "plain" / "objects")
    assert not files.store("a", b"code")
    assert files.load("a") is None


def test_what_a_killed_writer_leaves_is_no_object(files: ObjectFiles) -> None:
    files.store("a", b"code")
    (files.folder / ".part-killed").write_bytes(b"foveal object 1\nhalf")
    assert files.load("a") == b"code"
    assert sorted(p.name for p in files.folder.iterdir()) == [".part-killed", "a.o"]
