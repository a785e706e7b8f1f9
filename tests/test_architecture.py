"""Who may import whom: the rooms' directions, the third-party fences, and a light front door."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("planner", "udfs", "connectors", "engine", "server")
BOTTOM = frozenset({"errors", "types", "settings", "reports"})

# Left: a folder (or `bottom` and `top`, the two halves of foveal/). Right: what its files may
# import beside themselves, as prefixes of module names without `foveal.`.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "bottom": (),
    "planner": ("bottom",),
    "udfs": ("bottom", "planner.protocols", "planner.ir"),
    "connectors": ("bottom", "planner.protocols"),
    "engine": ("bottom", "planner", "udfs", "connectors"),
    "server": ("bottom", "top", "engine"),
    "top": ("bottom", *ROOMS),
}

# What one file may import beyond its room: the demonstration renders its scene and finds clips;
# what is shown is drawn with the canvas, behind whose fence OpenCV stays.
BESIDES: dict[str, tuple[str, ...]] = {
    "server/demo.py": ("connectors.video.scene", "connectors.assets"),
    **{
        f"server/show/{file}.py": ("connectors.video.drawing",)
        for file in ("page", "render", "sheet", "shots", "terminal")
    },
}

# A third-party module and the only files and folders that may import it.
FENCES: dict[str, tuple[str, ...]] = {
    "av": ("connectors/video", "udfs/pixels.py"),
    "cv2": ("connectors/video", "udfs/pixels.py", "udfs/detectors"),
    "duckdb": ("engine",),
    "lark": ("planner/parse", "planner/ir"),
    "llvmlite": ("engine/compile",),
    "mlflow": ("connectors/mlflow",),
    "onnx": ("udfs/detectors", "udfs/models", "udfs/scoring"),
    "onnxruntime": ("udfs/detectors", "udfs/models"),
    "prompt_toolkit": ("server",),
    "pygments": ("server",),
    "rich": ("server",),
    "sqlglot": ("planner",),
    "torch": ("udfs/models",),
    "torchvision": ("udfs/models",),
}

# The planner is pure: beside the standard library it sees these, and of that library not those.
PLANNER_LIBRARIES = frozenset({"numpy", "scipy", "pyarrow", "sqlglot", "lark"})
# fmt: off
IMPURE = frozenset(
    {"asyncio", "concurrent", "ctypes", "glob", "http", "io", "mmap", "multiprocessing",
     "os", "queue", "random", "secrets", "select", "shutil", "signal", "socket", "sqlite3",
     "ssl", "subprocess", "tempfile", "threading", "time", "urllib"}
)
# fmt: on

HEAVY = ("torch", "cv2", "av", "llvmlite", "onnxruntime", "mlflow", "duckdb", "sqlglot")
VAGUE = ("manager", "helper", "util", "handler", "misc", "common")


def sources() -> Iterator[Path]:
    """Yield every Python file that is installed."""
    for folder in ("foveal", *ROOMS):
        yield from sorted((ROOT / folder).rglob("*.py"))


def room_of(file: Path) -> str:
    """Return the row of MAY_IMPORT that a file belongs to."""
    top = file.relative_to(ROOT).parts[0]
    if top != "foveal":
        return top
    return "bottom" if file.stem in BOTTOM else "top"


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of every import, also of those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def place(name: str) -> str:
    """Return an imported `foveal...` name as a place of MAY_IMPORT.

    >>> place("foveal.planner.protocols.Video"), place("foveal.errors.Span"), place("foveal.dbapi")
    ('planner.protocols.Video', 'bottom.errors.Span', 'top.dbapi')
    """
    rest = name.removeprefix("foveal").removeprefix(".")
    first = rest.partition(".")[0]
    if first in ROOMS:
        return rest
    return f"{'bottom' if first in BOTTOM else 'top'}.{rest}"


def under(name: str, prefix: str) -> bool:
    """Say whether a dotted name is `prefix` or lies below it."""
    return name == prefix or name.startswith(prefix + ".")


def parse(file: Path) -> ast.Module:
    """Return the file's syntax tree."""
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def test_rooms_import_in_one_direction() -> None:
    wrong: list[str] = []
    for file in sources():
        room, path = room_of(file), file.relative_to(ROOT)
        allowed = (room, *MAY_IMPORT[room], *BESIDES.get(path.as_posix(), ()))
        for line, name in imports(parse(file)):
            if under(name, "foveal") and not any(under(place(name), a) for a in allowed):
                wrong.append(f"{path}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_third_party_libraries_stay_behind_their_fences() -> None:
    wrong: list[str] = []
    for file in sources():
        path = file.relative_to(ROOT)
        for line, name in imports(parse(file)):
            allowed = FENCES.get(name.partition(".")[0])
            if allowed is not None and not any(path.is_relative_to(a) for a in allowed):
                wrong.append(f"{path}:{line} imports {name}; only {', '.join(allowed)} may")
    assert not wrong, "\n".join(wrong)


def test_the_planner_is_pure() -> None:
    wrong: list[str] = []
    known = PLANNER_LIBRARIES | {"foveal"} | (sys.stdlib_module_names - IMPURE)
    for file in sorted((ROOT / "planner").rglob("*.py")):
        for line, name in imports(parse(file)):
            if name.partition(".")[0] not in known:
                wrong.append(f"{file.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_nothing_derives_from_sqlglot() -> None:
    """With the compiled sqlglotc installed, making such an object raises TypeError."""
    wrong: list[str] = []
    for file in sources():
        tree = parse(file)
        names = {n.rpartition(".")[2] for _, n in imports(tree) if under(n, "sqlglot")}
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef):
                continue
            roots = [ast.unparse(base).partition(".")[0] for base in node.bases]
            if names & set(roots) - {"Tokenizer", "Dialect"}:
                wrong.append(f"{file.relative_to(ROOT)}:{node.lineno} class {node.name}")
    assert not wrong, "\n".join(wrong)


def test_files_are_named_for_what_they_do() -> None:
    vague = [str(f.relative_to(ROOT)) for f in sources() if any(word in f.stem for word in VAGUE)]
    assert not vague


def loaded_after(statement: str) -> list[str]:
    """Return the modules that a fresh interpreter has loaded after running `statement`."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


def test_importing_foveal_loads_nothing_heavy() -> None:
    loaded = set(loaded_after("import foveal"))
    assert "foveal" in loaded
    assert not loaded & set(HEAVY)


def test_the_shared_words_do_not_load_a_room() -> None:
    words = ", ".join(f"foveal.{name}" for name in sorted(BOTTOM))
    loaded = loaded_after(f"import {words}")
    assert not [m for m in loaded if any(under(m, f"foveal.{room}") for room in ROOMS)]
