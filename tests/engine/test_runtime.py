"""Compiled programs at work: tiers, caches, cancellation, errors of rows that do not count."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from foveal.engine.compile.arrow import column_data
from foveal.engine.compile.data import ColumnData, Inputs, KernelError, SourceData
from foveal.engine.compile.llvm.cells import Unsupported
from foveal.engine.compile.llvm.kernel import DumpKind, dump
from foveal.engine.compile.object_cache import ObjectFiles
from foveal.engine.compile.runtime import CompiledRunner
from foveal.planner.ir import nodes, program, typing
from foveal.planner.ir.types import F64, I32, I64, Type, physical

_array: Any = pa.array


def inputs_of(**arrays: Any) -> tuple[Inputs, program.Source, dict[str, nodes.Column]]:
    columns: dict[str, ColumnData] = {}
    for name, values in arrays.items():
        array: Any = _array(values)
        columns[name] = column_data(array)
    source = program.Source(
        "t",
        tuple(
            program.Column(n, c.type, physical(c.type), c.validity is not None)
            for n, c in columns.items()
        ),
    )
    rows = next(iter(columns.values())).rows
    refs = {n: nodes.Column(n, c.type) for n, c in columns.items()}
    return Inputs({"t": SourceData(rows, columns)}), source, refs


def total(
    source: program.Source, x: nodes.Expr, where: nodes.Expr | None = None
) -> program.Program:
    folds = program.Struct((("total", typing.fold("sum", x)),))
    return program.Program("q", (source,), (program.Loop("r", "t", folds, where),), ("r",))


@pytest.fixture
def files(tmp_path: Path) -> ObjectFiles:
    return ObjectFiles(tmp_path / "objects")


def nothing() -> None:
    """Check nothing."""


def test_quick_code_first_then_optimised_code_then_the_cache(files: ObjectFiles) -> None:
    inputs, source, c = inputs_of(a=np.arange(100_000))
    whole = total(source, c["a"])
    runner = CompiledRunner(2, files=files)
    assert runner.kernel(whole).level == "O0"
    assert not runner.cached(whole)
    wanted = runner(whole, inputs, nothing)["r"].to_pylist()
    runner.settle()
    assert runner.kernel(whole).level == "O3"
    assert runner(whole, inputs, nothing)["r"].to_pylist() == wanted
    again = CompiledRunner(2, files=files)
    assert again.cached(whole)
    assert again(whole, inputs, nothing)["r"].to_pylist() == wanted


@pytest.mark.parametrize("damage", [b"", b"foveal object 1\nnonsense"])
def test_a_broken_cache_file_is_compiled_anew(files: ObjectFiles, damage: bytes) -> None:
    inputs, source, c = inputs_of(a=np.arange(10))
    whole = total(source, c["a"])
    CompiledRunner(1, "O3", files)(whole, inputs, nothing)
    (path,) = files.folder.glob("*.o")
    path.write_bytes(damage)
    made = CompiledRunner(1, "O3", files)(whole, inputs, nothing)
    assert made["r"].to_pylist() == [{"total": 45}]
    assert CompiledRunner(1, files=files).cached(whole)


def test_overflow_counts_only_in_rows_that_pass(files: ObjectFiles) -> None:
    values = np.array([1, 2**63 - 1, 3], np.int64)
    inputs, source, c = inputs_of(a=values)
    doubled = typing.arithmetic("add", c["a"], c["a"])
    small = typing.binary("lt", c["a"], typing.literal(100, I64))
    for tier in ("O0", "O3"):
        runner = CompiledRunner(1, tier, files)
        made = runner(total(source, doubled, small), inputs, nothing)
        assert made["r"].to_pylist() == [{"total": 8}]
        with pytest.raises(KernelError):
            runner(total(source, doubled), inputs, nothing)


def test_a_message_of_the_program_says_which(files: ObjectFiles) -> None:
    inputs, source, c = inputs_of(a=np.arange(5))
    positive = typing.binary("gt", c["a"], typing.literal(0, I64))
    whole = total(source, typing.check(positive, c["a"], 7))
    with pytest.raises(KernelError) as caught:
        CompiledRunner(1, "O3", files)(whole, inputs, nothing)
    assert caught.value.message == 7


@pytest.mark.parametrize("threads", [1, 2])
def test_cancel_stops_a_loop_within_rows(files: ObjectFiles, threads: int) -> None:
    inputs, source, c = inputs_of(a=np.arange(200_000))
    turn = nodes.Variable("n", I64)
    forever = typing.iterate(
        [turn],
        [c["a"]],
        typing.binary("ge", turn, typing.literal(-1, I64)),
        [typing.binary("bitxor", turn, typing.literal(1, I64))],
        turn,
    )
    whole = total(source, forever)
    runner = CompiledRunner(threads, "O0", files)
    runner.kernel(whole)
    stopped = threading.Event()

    class Stop(Exception):
        pass

    def check() -> None:
        if stopped.is_set():
            raise Stop

    timer = threading.Timer(0.1, stopped.set)
    timer.start()
    with pytest.raises(Stop):
        runner(whole, inputs, check)


def test_cancel_between_morsels(files: ObjectFiles) -> None:
    inputs, source, c = inputs_of(a=np.arange(3_000_000))
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CompiledRunner(2, "O3", files)(total(source, c["a"]), inputs, check)
    assert calls == 1


def test_a_column_with_nulls_that_the_program_excludes_is_refused(files: ObjectFiles) -> None:
    inputs, _, _ = inputs_of(a=[1, None, 3])
    _, source, c = inputs_of(a=[1, 2, 3])
    with pytest.raises(ValueError, match="NULL"):
        CompiledRunner(1, "O3", files)(total(source, c["a"]), inputs, nothing)


def test_a_product_of_wide_decimals_has_no_code(files: ObjectFiles) -> None:
    wide: Any = pa.decimal128(38, 0)
    columns = {"a": column_data(_array([1, 2], wide))}
    source = program.Source(
        "t", (program.Column("a", columns["a"].type, physical(columns["a"].type), False),)
    )
    a = nodes.Column("a", columns["a"].type)
    inputs = Inputs({"t": SourceData(2, columns)})
    with pytest.raises(Unsupported):
        CompiledRunner(1, "O3", files)(
            total(source, typing.arithmetic("mul", a, a)), inputs, nothing
        )


@pytest.mark.parametrize(
    ("kind", "word"), [("ir", "define"), ("llvm", "define"), ("assembly", "loop_0")]
)
def test_code_can_be_shown(kind: DumpKind, word: str) -> None:
    _, source, c = inputs_of(a=np.arange(5))
    assert word in dump(total(source, c["a"]), kind)


def test_scalars_and_their_nulls_come_in(files: ObjectFiles) -> None:
    _, source, c = inputs_of(a=np.arange(10, dtype=np.int32), x=np.arange(10) / 2)
    kinds: dict[str, Type] = {"n": I32, "f": F64}
    scalars = tuple(program.Scalar(n, t, nullable=True) for n, t in kinds.items())
    n, f = (nodes.Parameter(name, t) for name, t in kinds.items())
    where = typing.both(typing.binary("lt", c["a"], n), typing.binary("ge", c["x"], f))
    whole = total(source, c["a"], where)
    whole = program.Program("q", (source,), whole.loops, ("r",), scalars)
    inputs, _, _ = inputs_of(a=np.arange(10, dtype=np.int32), x=np.arange(10) / 2)
    runner = CompiledRunner(1, "O3", files)
    for given, wanted in (({"n": 6, "f": 1.5}, 12), ({"n": None, "f": 1.5}, None)):
        run = Inputs(inputs.sources, given)
        assert runner(whole, run, nothing)["r"].to_pylist() == [{"total": wanted}]


def test_importing_the_package_loads_no_llvm() -> None:
    code = "import foveal, foveal.engine.session, sys; sys.exit('llvmlite' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
