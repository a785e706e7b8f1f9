"""Benches time real detectors, put every cost on the bill, and say on what machine they ran."""

import ast
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

BENCHES = Path(__file__).resolve().parents[1] / "benches"
END_TO_END = ("blazeit.py", "noscope.py", "video.py")
STAGES = ("decode", "detect", "train", "proxy")


def parsed(name: str) -> ast.Module:
    return ast.parse((BENCHES / name).read_text(encoding="utf-8"), name)


def imports(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def strings(tree: ast.Module) -> list[str]:
    return [
        n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    ]


ALL = sorted(path.name for path in BENCHES.glob("*.py"))


@pytest.mark.parametrize("name", ALL)
def test_no_bench_brings_a_detector_of_its_own(name: str) -> None:
    classes = [n for n in ast.walk(parsed(name)) if isinstance(n, ast.ClassDef)]
    methods = {
        f"{c.name}.{m.name}" for c in classes for m in c.body if isinstance(m, ast.FunctionDef)
    }
    assert not {m for m in methods if m.endswith(".detect")}


@pytest.mark.parametrize("name", ALL)
def test_a_recorded_series_in_the_detectors_place_is_called_that(name: str) -> None:
    """Such a bench counts looks, which need no pixels; its text and its rows say `trace`."""
    tree = parsed(name)
    texts = [t.replace("trace(", "") for t in strings(tree)]
    reads = "populations" in imports(tree) or any(".csv" in text for text in texts)
    runs = any(isinstance(n, ast.FunctionDef) and n.name == "main" for n in tree.body)
    if reads and runs:
        assert "trace" in (ast.get_docstring(tree) or "")
        assert any("trace" in text for text in texts[1:])


@pytest.mark.parametrize("name", END_TO_END)
def test_every_stage_has_a_column(name: str) -> None:
    text = (BENCHES / name).read_text(encoding="utf-8")
    for stage in STAGES:
        assert f'"{stage} s"' in text or (f'"{stage}"' in text and '{stage} s"' in text), stage
    assert '"calls"' in text


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCHES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_result_says_where_it_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    report = load("report")
    row = dict.fromkeys(report.RESULT_KEYS, 1)
    report.report("nothing", [row], quiet=True)
    result = json.loads(capsys.readouterr().out.removeprefix("RESULT "))
    assert result["rows"] == [row]
    assert result["cores"] >= 1
    assert result["commit"]
    assert {"load", "machine"} <= result.keys()
    with pytest.raises(ValueError, match="spread"):
        report.report("nothing", [{k: v for k, v in row.items() if k != "spread"}])
