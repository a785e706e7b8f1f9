"""A device at work: columns that stay, memory that runs short, errors, choice by cost.

The device is libcuda's functions over this process's memory; the last test needs a real one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import foveal
from foveal.engine.compile.arrow import column_data
from foveal.engine.compile.data import ColumnData, Inputs, KernelError, SourceData
from foveal.engine.compile.interpreter import interpret
from foveal.engine.compile.llvm.cells import Unsupported
from foveal.engine.compile.ptx import libcuda, runner
from foveal.engine.compile.ptx.emission import architecture_of
from foveal.engine.compile.ptx.emulated_library import EmulatedLibrary
from foveal.engine.compile.ptx.libcuda import OUT_OF_MEMORY, Device, DeviceError
from foveal.engine.compile.ptx.residency import Residency
from foveal.engine.compile.ptx.runner import CudaRunner, available
from foveal.planner.compiled.cost import Machine
from foveal.planner.compiled.cost_device import DeviceFigures, device_seconds, place
from foveal.planner.ir import nodes, program, typing
from foveal.planner.ir.types import F32, physical

_array: Any = pa.array
ROWS = 3000


def nothing() -> None:
    """Check nothing."""


def inputs_of(**arrays: Any) -> tuple[Inputs, program.Source, dict[str, nodes.Column]]:
    columns: dict[str, ColumnData] = {}
    for name, values in arrays.items():
        array: Any = _array(values)
        columns[name] = column_data(array)
    declared = tuple(
        program.Column(n, c.type, physical(c.type), c.validity is not None, c.low, c.high)
        for n, c in columns.items()
    )
    rows = next(iter(columns.values())).rows
    refs = {n: nodes.Column(n, c.type) for n, c in columns.items()}
    return Inputs({"t": SourceData(rows, columns)}), program.Source("t", declared), refs


def total(source: program.Source, *xs: nodes.Expr) -> program.Program:
    folds = tuple((f"total{k}", typing.fold("sum", x)) for k, x in enumerate(xs))
    return program.Program("q", (source,), (program.Loop("r", "t", program.Struct(folds)),), ("r",))


def opened(
    *programs: program.Program, memory: int | None = None, **options: Any
) -> tuple[EmulatedLibrary, CudaRunner]:
    library = EmulatedLibrary(**options)
    for whole in programs:
        library.learn(whole)
    return library, CudaRunner(Device(library), memory)


# --- columns that stay ----------------------------------------------------------------------------


def test_columns_are_copied_once() -> None:
    inputs, source, c = inputs_of(a=np.arange(ROWS), b=[1, None] * (ROWS // 2))
    whole = total(source, c["a"], c["b"])
    library, run = opened(whole)
    columns = inputs.sources["t"].columns
    nbytes = sum(
        d.values.nbytes + (0 if d.validity is None else d.validity.nbytes) for d in columns.values()
    )
    assert run.missing(whole, inputs) == nbytes
    wanted = interpret(whole, inputs, nothing)["r"].to_pylist()
    for _ in range(3):
        assert run(whole, inputs, nothing)["r"].to_pylist() == wanted
        assert run.missing(whole, inputs) == 0
    assert run.columns.uploaded == nbytes
    assert library.calls["cuMemcpyHtoD_v2"] == 3
    assert library.calls["cuModuleLoadData"] == 1
    # Nothing but the columns is left behind.
    assert library.allocated == nbytes
    run.close()
    assert library.allocated == 0


def test_columns_that_nobody_has_leave() -> None:
    inputs, source, c = inputs_of(a=np.arange(ROWS))
    whole = total(source, c["a"])
    library, run = opened(whole)
    run(whole, inputs, nothing)
    assert library.allocated == ROWS * 8
    del inputs
    run(whole, inputs_of(a=np.arange(ROWS))[0], nothing)
    run.columns.trim()
    assert library.allocated == 0


def test_the_column_used_longest_ago_makes_room() -> None:
    inputs, source, c = inputs_of(a=np.arange(ROWS), b=np.arange(ROWS), d=np.arange(ROWS))
    programs = {name: total(source, c[name]) for name in c}
    each = ROWS * 8
    library, run = opened(*programs.values(), memory=2 * each)
    for name in ("a", "b", "a", "d", "a"):
        run(programs[name], inputs, nothing)
        assert run.columns.nbytes <= 2 * each
    # b made room for d; a was always there.
    assert run.columns.uploaded == 3 * each
    assert run.missing(programs["b"], inputs) == each
    # A program that reads more than the bound runs, and leaves the bound kept.
    both = total(source, c["a"], c["b"], c["d"])
    library.learn(both)
    wanted = interpret(both, inputs, nothing)["r"].to_pylist()
    assert run(both, inputs, nothing)["r"].to_pylist() == wanted
    assert run.columns.nbytes <= 2 * each


def test_memory_that_runs_short_is_taken_from_columns() -> None:
    inputs, source, c = inputs_of(a=np.arange(ROWS), b=np.arange(ROWS))
    programs = [total(source, c["a"]), total(source, c["b"])]
    # Room for a column and what a run needs, not for two: the bound alone would allow them.
    library, run = opened(*programs, memory=1 << 30)
    records = -(-ROWS // 256) * 256 * 24
    library.memory = records + 8 + ROWS * 8 * 3 // 2
    for whole in (*programs, *programs):
        wanted = interpret(whole, inputs, nothing)["r"].to_pylist()
        assert run(whole, inputs, nothing)["r"].to_pylist() == wanted
    assert run.columns.uploaded == 4 * ROWS * 8


def test_a_device_that_is_full_runs_nothing() -> None:
    inputs, source, c = inputs_of(a=np.arange(ROWS))
    whole = total(source, c["a"])
    library, run = opened(whole)
    library.memory = 1000
    with pytest.raises(Unsupported, match="CUDA_ERROR_OUT_OF_MEMORY: out of memory"):
        run(whole, inputs, nothing)
    assert library.allocated == 0
    library.memory = 1 << 30
    assert run(whole, inputs, nothing)["r"].to_pylist() == [{"total0": ROWS * (ROWS - 1) // 2}]


def test_a_failed_copy_leaves_nothing_behind() -> None:
    library = EmulatedLibrary()
    device = Device(library)
    device.enter()
    columns = Residency(device, 1 << 20)
    library.fail["cuMemcpyHtoD_v2"] = 700
    array = np.arange(100)
    with pytest.raises(DeviceError, match=r"cuMemcpyHtoD_v2: CUDA_ERROR_ILLEGAL_ADDRESS"):
        columns.address(array)
    assert library.allocated == 0
    assert array not in columns


# --- runs -----------------------------------------------------------------------------------------


def test_arguments_of_every_width_arrive() -> None:
    """FLOAT parameters are 4 bytes of their word, DOUBLE and integers 8, HUGEINT two words."""
    inputs, source, c = inputs_of(a=np.arange(ROWS), y=np.arange(ROWS, dtype=np.float32))
    factor, big = (
        nodes.Parameter("factor", F32),
        nodes.Parameter("big", typing.fold("sum", c["a"]).type),
    )
    folds = (
        ("y", typing.fold("max", typing.binary("mul", c["y"], factor))),
        ("big", typing.fold("max", typing.cast(big, c["a"].type))),
    )
    whole = program.Program(
        "q", (source,), (program.Loop("r", "t", program.Struct(folds)),), ("r",),
        scalars=(program.Scalar("factor", F32), program.Scalar("big", big.type, False, -9, 2**40)),
    )  # fmt: skip
    given = Inputs(inputs.sources, {"factor": 0.25, "big": -7})
    library, run = opened(whole)
    wanted = interpret(whole, given, nothing)["r"].to_pylist()
    assert run(whole, given, nothing)["r"].to_pylist() == wanted
    assert library.calls["cuLaunchKernel"] > 2


def test_sums_of_floats_depend_on_the_grid_alone() -> None:
    values = np.random.default_rng(0).standard_normal(20_000) * 1e9
    inputs, source, c = inputs_of(x=values)
    whole = total(source, c["x"])
    totals: set[float] = set()
    for workers in (1, 4, 4, 4):
        _, run = opened(whole, workers=workers)
        totals.add(run(whole, inputs, nothing)["r"].to_pylist()[0]["total0"])
    assert len(totals) == 1


def test_cancelled_between_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foveal.engine.compile.ptx.execution.SLICE_ROWS", 1000)
    inputs, source, c = inputs_of(a=np.arange(ROWS))
    whole = total(source, c["a"])
    library, run = opened(whole)
    calls = 0

    class Stop(Exception):
        pass

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Stop

    with pytest.raises(Stop):
        run(whole, inputs, check)
    assert library.calls["cuLaunchKernel"] == 2  # records cleared, one slice
    assert library.allocated == ROWS * 8
    assert run(whole, inputs, nothing)["r"].to_pylist() == [{"total0": ROWS * (ROWS - 1) // 2}]


def test_a_row_that_raises_leaves_the_device_usable() -> None:
    inputs, source, c = inputs_of(a=np.array([1, 2**62, 3]))
    whole = total(source, typing.arithmetic("mul", c["a"], c["a"]))
    library, run = opened(whole)
    for _ in range(2):
        with pytest.raises(KernelError):
            run(whole, inputs, nothing)
    run.close()
    assert library.allocated == 0


def test_many_threads_share_a_runner() -> None:
    inputs, source, c = inputs_of(a=np.arange(ROWS), b=np.arange(ROWS))
    programs = [total(source, c["a"]), total(source, c["b"], c["a"])]
    _, run = opened(*programs)
    failures: list[object] = []

    def work(whole: program.Program) -> None:
        for _ in range(5):
            made = run(whole, inputs, nothing)["r"].to_pylist()
            if made != interpret(whole, inputs, nothing)["r"].to_pylist():
                failures.append(made)

    threads = [threading.Thread(target=work, args=(p,)) for p in programs * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_column_that_is_not_as_declared() -> None:
    inputs, source, c = inputs_of(a=np.arange(ROWS))
    whole = total(source, c["a"])
    _, run = opened(whole)
    with_nulls, _, _ = inputs_of(a=[1, None, 3])
    with pytest.raises(ValueError, match="has NULLs"):
        run(whole, with_nulls, nothing)
    short = Inputs({"t": SourceData(ROWS + 1, inputs.sources["t"].columns)})
    with pytest.raises(ValueError, match="not a buffer"):
        run(whole, short, nothing)


# --- drivers and devices --------------------------------------------------------------------------


def test_why_there_is_no_device() -> None:
    assert available(EmulatedLibrary()) == runner.Available(True, "Emulated GPU")
    none = available(EmulatedLibrary(devices=0))
    assert not none
    assert none.reason == "the driver knows 0 devices, none of number 0"
    broken = EmulatedLibrary(fail={"cuInit": 201})
    assert "CUDA_ERROR_INVALID_CONTEXT: invalid device context" in available(broken).reason
    unknown = EmulatedLibrary(fail={"cuInit": 12345})
    assert available(unknown).reason == "cuInit: error 12345"


def test_devices_older_than_ampere_run_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    library = EmulatedLibrary()
    monkeypatch.setattr(library, "architecture", "sm_75")
    assert "compute capability 7.5" in available(library).reason
    with pytest.raises(DeviceError, match="older"):
        CudaRunner(Device(library))


def test_every_device_runs_the_newest_ptx_that_it_knows() -> None:
    devices = [(7, 5), (8, 0), (8, 9), (9, 0), (10, 0), (12, 1)]
    wanted = [None, "sm_80", "sm_80", "sm_90", "sm_100", "sm_100"]
    assert [architecture_of(device) for device in devices] == wanted


def test_a_machine_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libcuda, "_NAMES", ("no-such-library.so",))
    libcuda.library.cache_clear()
    try:
        assert "libcuda is not installed" in available().reason
        with foveal.connect() as connection, connection.cursor() as cursor:
            with pytest.raises(
                foveal.OperationalError, match="no GPU to run on: libcuda"
            ) as caught:
                cursor.execute("SET foveal.device = 'cuda'")
            assert caught.value.sqlstate == "58000"
            assert caught.value.hint is not None
            assert "foveal.device = 'cpu'" in caught.value.hint
            cursor.execute("SHOW foveal.device")
            assert cursor.fetchall() == [("cpu",)]
    finally:
        libcuda.library.cache_clear()


def test_modules_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MODULES", 1)
    inputs, source, c = inputs_of(a=np.arange(ROWS), b=np.arange(ROWS))
    programs = [total(source, c["a"]), total(source, c["b"])]
    library, run = opened(*programs)
    for whole in (*programs, programs[0]):
        run(whole, inputs, nothing)
    assert library.calls["cuModuleLoadData"] == 3
    assert library.calls["cuModuleUnload"] == 2


# --- statements -----------------------------------------------------------------------------------


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> EmulatedLibrary:
    """Put an emulated device in the place of this machine's; it learns programs as they come."""
    library = EmulatedLibrary()
    made = CudaRunner(Device(library))
    call: Callable[..., Any] = CudaRunner.__call__

    def learning(self: CudaRunner, whole: program.Program, *rest: Any) -> Any:
        library.learn(whole)
        return call(self, whole, *rest)

    monkeypatch.setattr(CudaRunner, "__call__", learning)
    monkeypatch.setattr(runner, "shared", lambda: made)
    monkeypatch.setattr(libcuda, "library", lambda: library)
    return library


def test_statements_run_on_the_device(emulated: EmulatedLibrary) -> None:
    query = "SELECT k, sum(v) AS s, count(*) FROM t WHERE v < 900 GROUP BY k ORDER BY k"
    with foveal.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t AS SELECT i % 3 AS k, i AS v FROM range(2000) r(i)")
        wanted = cursor.execute(query).fetchall()
        cursor.execute("SET foveal.device = 'cuda'")
        cursor.execute("SET foveal.compile = 'on'")
        assert cursor.execute(query).fetchall() == wanted
        launched = emulated.calls["cuLaunchKernel"]
        assert launched >= 3
        copied = emulated.calls["cuMemcpyHtoD_v2"]
        assert cursor.execute(query).fetchall() == wanted
        assert emulated.calls["cuLaunchKernel"] > launched
        assert emulated.calls["cuMemcpyHtoD_v2"] == copied
        # What a GPU does not run, the processor does.
        hashed = "SELECT sum(n) FROM (SELECT v * 1000003 AS w, count(*) AS n FROM t GROUP BY 1)"
        assert cursor.execute(hashed).fetchall() == [(2000,)]
        cursor.execute("SET foveal.device = 'cpu'")
        launched = emulated.calls["cuLaunchKernel"]
        assert cursor.execute(query).fetchall() == wanted
        assert emulated.calls["cuLaunchKernel"] == launched
        plan = cursor.execute(f"EXPLAIN (COMPILED PTX) {query}").fetchall()
        assert any(".visible .entry loop_0(" in row[0] for row in plan)


# --- cost -----------------------------------------------------------------------------------------


def priced(grouped: bool) -> program.Program:
    _, source, c = inputs_of(a=np.arange(4), b=np.arange(4))
    folds = (("total", typing.fold("sum", c["a"])),)
    builder = program.Group((program.Key("b", c["b"], False, 0, 3),), folds) if grouped else None
    loop = program.Loop("r", "t", builder or program.Struct(folds))
    return program.Program("q", (source,), (loop,), ("r",))


def test_the_device_is_chosen_where_columns_are_there() -> None:
    here, there = Machine(bandwidth=20e9, operation=0.0), DeviceFigures(12e9, 800e9, 30e-6)
    whole, rows = priced(False), {"t": 1e8}
    resident = place(whole, rows, 0, here, there)
    assert resident.device
    assert resident.processor_seconds == pytest.approx(1e8 * 8 / 20e9)
    assert resident.device_seconds == pytest.approx(90e-6 + 1e8 * 8 / 800e9)
    # Copying them costs more than scanning them in place.
    assert not place(whole, rows, 8 * 10**8, here, there).device
    # As long as a slow link loses, a fast one wins.
    assert place(whole, rows, 8 * 10**8, here, DeviceFigures(1e12, 800e9)).device
    # Few rows are not worth a launch.
    assert not place(whole, {"t": 1e3}, 0, here, there).device


def test_half_of_the_columns_may_be_enough() -> None:
    here, there = Machine(bandwidth=20e9), DeviceFigures(25e9, 800e9)
    whole, rows, nbytes = priced(False), {"t": 1e8}, 8 * 10**8
    found = [place(whole, rows, n, here, there).device for n in (0, nbytes // 2, 2 * nbytes)]
    assert found == [True, True, False]


def test_groups_cost_additions() -> None:
    figures = DeviceFigures()
    plain = device_seconds(priced(False), {"t": 1e8}, 0, figures)
    grouped = device_seconds(priced(True), {"t": 1e8}, 0, figures)
    assert grouped - plain == pytest.approx(1e8 * 8 / figures.bandwidth + 3e8 * figures.add)


def test_a_device_is_measured_once() -> None:
    library, run = opened()
    first = run.figures()
    copies = library.calls["cuMemcpyHtoD_v2"]
    assert first.transfer > 0
    assert first.bandwidth > 0
    assert run.figures() is first
    assert library.calls["cuMemcpyHtoD_v2"] == copies
    assert library.allocated == 0


# --- a real device --------------------------------------------------------------------------------


@pytest.mark.gpu
def test_a_real_device_gives_what_the_interpreter_gives() -> None:
    found = available()
    if not found:
        pytest.skip(found.reason)
    rng = np.random.default_rng(0)
    rows = 1_000_003
    inputs, source, c = inputs_of(
        a=rng.integers(-(2**62), 2**62, rows),
        b=rng.integers(0, 7, rows).astype(np.int8),
        x=rng.standard_normal(rows),
    )
    folds = (
        ("rows", typing.fold("count")),
        ("a", typing.fold("sum", c["a"])),
        ("least", typing.fold("min", c["x"])),
        ("greatest", typing.fold("max", c["a"])),
        ("x", typing.fold("sum", c["x"])),
    )
    group = program.Group((program.Key("b", c["b"], False, 0, 6),), folds, "dense")
    for builder in (program.Struct(folds), group):
        whole = program.Program("q", (source,), (program.Loop("r", "t", builder),), ("r",))
        run = CudaRunner()
        got = run(whole, inputs, nothing)["r"].to_pylist()
        wanted = interpret(whole, inputs, nothing)["r"].to_pylist()
        run.close()
        got.sort(key=lambda row: row.get("b", 0))
        wanted.sort(key=lambda row: row.get("b", 0))
        for mine, reference in zip(got, wanted, strict=True):
            assert mine.pop("x") == pytest.approx(reference.pop("x"), rel=1e-9, abs=1e-6)
            assert mine == reference


def test_out_of_memory_is_the_drivers_number() -> None:
    library = EmulatedLibrary(memory=10)
    device = Device(library)
    device.enter()
    with pytest.raises(DeviceError) as caught:
        device.allocate(11)
    assert caught.value.code == OUT_OF_MEMORY
    with pytest.raises(DeviceError, match="invalid argument"):
        device.free(12345)
