"""`import foveal` is light, and every public name is there."""

import subprocess
import sys

import pytest

import foveal

HEAVY = {"torch", "cv2", "av", "llvmlite", "onnxruntime", "mlflow", "duckdb", "pyarrow", "numpy"}


@pytest.mark.parametrize(
    "code",
    ["import foveal", "import foveal; foveal.connect; foveal.NUMBER; foveal.QueryCanceled"],
)
def test_a_fresh_interpreter_loads_nothing_heavy(code: str) -> None:
    code += "; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_every_public_name_resolves() -> None:
    for name in foveal.__all__:
        assert getattr(foveal, name) is not None
    assert set(foveal.__all__) <= set(dir(foveal))
    with pytest.raises(AttributeError, match="conect"):
        _ = foveal.conect  # type: ignore[attr-defined]  # pyright: ignore
