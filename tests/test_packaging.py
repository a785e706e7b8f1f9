"""The wheel holds every package on disk; the links mirror the front door; the pins are whole."""

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS: dict[str, Any] = PROJECT["tool"]["setuptools"]
FOLDERS: dict[str, str] = SETUPTOOLS["package-dir"]
DATA_GLOBS: list[str] = SETUPTOOLS["package-data"]["*"]


def distribution(requirement: str) -> str:
    """Return a requirement's normalised distribution name (PEP 503)."""
    name = re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_package_on_disk_is_listed() -> None:
    on_disk: set[str] = set()
    for package, folder in FOLDERS.items():
        for file in (ROOT / folder).rglob("*.py"):
            assert (file.parent / "__init__.py").exists(), f"{file.parent} has no __init__.py"
            on_disk.add(".".join((package, *file.parent.relative_to(ROOT / folder).parts)))
    assert on_disk == set(SETUPTOOLS["packages"])


def test_every_data_file_is_taken_along() -> None:
    left_out = [
        str(file.relative_to(ROOT))
        for folder in FOLDERS.values()
        for file in (ROOT / folder).rglob("*")
        if file.is_file()
        and "__pycache__" not in file.parts
        and file.suffix != ".py"
        and not any(file.match(pattern) for pattern in DATA_GLOBS)
    ]
    assert not left_out, "add their suffix to [tool.setuptools.package-data]"


def test_links_mirror_the_front_door() -> None:
    front = {f.name for f in (ROOT / "foveal").iterdir() if f.is_file()}
    rooms = {folder for folder in FOLDERS.values() if folder != "foveal"}
    links = ROOT / ".links" / "foveal"
    assert {f.name for f in links.iterdir()} == front | rooms
    broken = [f.name for f in links.iterdir() if not f.exists()]
    assert not broken


def test_every_requirement_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*", pin) for pin in pins)
    pinned = {distribution(pin) for pin in pins}
    wanted = {distribution(text) for text in PROJECT["project"]["dependencies"]}
    for extra in PROJECT["project"]["optional-dependencies"].values():
        wanted |= {distribution(text) for text in extra}
    assert wanted <= pinned
