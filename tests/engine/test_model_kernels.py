"""Kernels of models give what NumPy gives; loops with models give what the interpreter gives."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from foveal.engine.compile.arrow import column_data
from foveal.engine.compile.data import ColumnData, Inputs, SourceData
from foveal.engine.compile.interpreter import interpret
from foveal.engine.compile.llvm import machine
from foveal.engine.compile.llvm.cells import Unsupported
from foveal.engine.compile.llvm.kernel import cache_key, compile_program
from foveal.engine.compile.llvm.models import BLOCK, array_count, emit_model_block
from foveal.engine.compile.model_facts import specialised
from foveal.engine.compile.runtime import run_kernel
from foveal.planner.ir import nodes, program, typing
from foveal.planner.ir.types import F32, F64, physical
from foveal.udfs.scoring.forest import AT_MOST, EQUAL, MEMBER, Forest, TreeNodes, assembled
from foveal.udfs.scoring.kinds import parse_kind
from foveal.udfs.scoring.linear import linear
from foveal.udfs.scoring.model import Feature, ScoringModel, Shift
from foveal.udfs.scoring.network import Layer, Network

FEATURES = 4


def tree(
    random: np.random.Generator, leaves: int, tests: Sequence[int], width: int = 0
) -> TreeNodes:
    """Return a random tree; categories are asked of the last feature only."""
    made = TreeNodes(
        [], [], [], [], [], random.standard_normal((leaves, width) if width else leaves)
    )
    lists: Any = [made.feature, made.threshold, made.left, made.right, made.missing_right]
    test: list[int] = []
    places: dict[tuple[int, int], int] = {}
    parts = [(0, leaves)]
    spans: list[tuple[int, int, int]] = []
    for low, high in parts:
        if high - low >= 2:
            middle = int(random.integers(low + 1, high))
            places[(low, high)] = len(spans)
            spans.append((low, middle, high))
            parts += [(low, middle), (middle, high)]

    def place(low: int, high: int) -> int:
        return ~low if high - low == 1 else places[(low, high)]

    for k, (low, middle, high) in enumerate(spans):
        which = int(random.choice(tests))
        test.append(which)
        feature = FEATURES - 1 if which == MEMBER else int(random.integers(0, FEATURES - 1))
        limit = round(float(random.standard_normal()), 1)
        entries = (
            feature,
            limit,
            place(low, middle),
            place(middle, high),
            bool(random.random() < 0.5),
        )
        for each, value in zip(lists, entries, strict=True):
            each.append(value)
        if which == MEMBER:
            made.members[k] = random.choice(60, int(random.integers(0, 9)), replace=False).tolist()
    made.test = test
    return made


def forest(
    leaves: Sequence[int] = (20, 1, 31), tests: Sequence[int] = (AT_MOST,), raw: int = 1,
    wide: bool = False, **changes: Any,
) -> Forest:  # fmt: skip
    """Return a random forest."""
    random = np.random.default_rng(sum(leaves) + raw)
    trees = [tree(random, count, tests, raw if wide else 0) for count in leaves]
    for k, each in enumerate(trees):
        each.output = 0 if wide else k % raw
    parts = assembled(trees, FEATURES, raw)
    if wide:
        parts["tree_output"] = None
    given: dict[str, Any] = {
        "features": tuple(Feature(f"f{k}") for k in range(FEATURES)),
        "output_names": (),
        "shift": Shift.none(FEATURES),
        "inputs": 64,
        "missing": True,
        "base": np.linspace(0.5, 1, raw),
        "sums": 64,
        **parts,
    }
    return Forest(**{**given, **changes})


def scored(model: ScoringModel, x: Any, level: machine.Level = "O0") -> Any:
    """Return outputs [rows, outputs] from the compiled kernel, block by block."""
    functions = emit_model_block(model.kind, x.shape[1], "score")
    functions[0].head = functions[0].head.replace(" internal ", " ")
    declared = sorted(set[str]().union(*(f.declarations for f in functions)))
    code = machine.compile_ir("\n".join([*declared, *(f.text() for f in functions)]), level)
    loaded, arrays = machine.Loaded(code), model.arrays
    assert len(arrays) == array_count(model.kind)
    pointers = [ctypes.c_void_p] * (len(arrays) + 1)
    score = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, *pointers)(
        loaded.address("score")
    )
    kind = parse_kind(model.kind)
    in_type = np.float32 if kind.inputs == 32 else np.float64
    out_type = np.float32 if kind.sum_bits == 32 else np.float64
    parts: list[Any] = []
    for first in range(0, len(x), BLOCK):
        rows = x[first : first + BLOCK]
        block, out = (
            np.zeros((x.shape[1], BLOCK), in_type),
            np.zeros((kind.outputs, BLOCK), out_type),
        )
        block[:, : len(rows)] = rows.T
        score(block.ctypes.data, len(rows), *(a.ctypes.data for a in arrays), out.ctypes.data)
        parts.append(out[:, : len(rows)].T.copy())
    return np.concatenate(parts)


def edge_rows(rows: int = BLOCK + 37) -> Any:
    """Return rows with thresholds met exactly, missing, extreme and fractional values."""
    random = np.random.default_rng(3)
    x = np.round(random.standard_normal((rows, FEATURES)), 1).astype(np.float32).astype(np.float64)
    x[:, -1] = random.integers(-3, 70, rows)
    x[random.random(x.shape) < 0.1] = np.nan
    odd = [math.inf, -math.inf, 0.0, -0.0, 1e-36, -1e-36, 3e38, -3e38, -0.5, 3.7, 1e20, -1e20]
    x[: len(odd), 0] = odd
    x[: len(odd), -1] = odd
    return x


def reference(model: ScoringModel, x: Any) -> Any:
    columns = model.predict(list(x.T), [None] * x.shape[1])
    return np.stack([np.asarray(column) for column in columns], axis=1)


NEAR_ZERO = replace(Shift.none(FEATURES), zero=np.full(FEATURES, 0.15))
FORESTS = {
    "masks of 32 bits": forest(),
    "masks of 64 bits": forest((60, 33, 2)),
    "walked": forest((200, 70)),
    "categories": forest(tests=(AT_MOST, MEMBER)),
    "categories in 64 bits": forest((64, 40), tests=(AT_MOST, MEMBER)),
    "categories walked": forest((150,), tests=(AT_MOST, MEMBER, EQUAL)),
    "equal": forest(tests=(AT_MOST, EQUAL)),
    "categories above -1 only": forest(tests=(MEMBER,), lowest_category=-1e-45),
    "classes": forest((9, 8, 7, 6), raw=2),
    "vectors of classes": forest(raw=3, wide=True),
    "vectors of classes walked": forest((90, 3), raw=3, wide=True),
    "averaged, base last": forest(divisor=3.0, base_last=True),
    "floats": forest(sums=32).over_floats(),
    "zeros missing": forest(shift=NEAR_ZERO),
}  # fmt: skip


@pytest.mark.parametrize("name", FORESTS)
def test_forests_are_exact(name: str) -> None:
    model, x = FORESTS[name], edge_rows()
    wanted = reference(model, x)
    for each in (model, model.over_floats()):
        np.testing.assert_array_equal(scored(each, x), wanted)


def test_optimised_code_gives_the_same() -> None:
    x = edge_rows(70)
    for model in (FORESTS["categories"].over_floats(), FORESTS["categories walked"]):
        np.testing.assert_array_equal(scored(model, x, "O3"), reference(model, x))


@pytest.mark.parametrize("inputs", [32, 64])
@pytest.mark.parametrize(
    "link", ["logistic", "exp", "softmax", "softplus", "square", "step", "argmax"]
)
def test_links_are_within_units_of_the_last_place(link: Any, inputs: int) -> None:
    random = np.random.default_rng(1)
    raw = 3 if link in ("softmax", "argmax") else 1
    model = linear(random.standard_normal((raw, 3)), np.zeros(raw), link=link, inputs=inputs,
                   pair=link == "logistic")  # fmt: skip
    x = random.standard_normal((300, 3)) * 10 ** random.uniform(-3, 2.4, (300, 1))
    x[0] = np.nan
    got, wanted = scored(model, x), reference(model, x)
    tolerance = 4e-16 * 2 if inputs == 64 else 1.3e-7
    if link == "argmax":
        got, wanted = got[1:], wanted[1:]
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=5e-324 if inputs == 64 else 1e-7)


def test_exponentials_over_the_whole_range() -> None:
    x = np.concatenate([np.linspace(-750, 715, 3000), [np.inf, -np.inf, np.nan, 0.0, -0.0]])
    got = scored(linear(np.ones((1, 1)), np.zeros(1), link="exp"), x[:, None])[:, 0]
    with np.errstate(over="ignore"):
        wanted = np.exp(x)
    np.testing.assert_allclose(got, wanted, rtol=5e-16, atol=5e-324)


@pytest.mark.parametrize("inputs", [32, 64])
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "leaky_relu", "identity"])
def test_networks_are_within_their_bound(activation: Any, inputs: int) -> None:
    random = np.random.default_rng(2)
    layers = (
        Layer(random.standard_normal((13, 5)) / 3, random.standard_normal(13), activation),
        Layer(random.standard_normal((6, 13)) / 4, random.standard_normal(6), activation),
        Layer(random.standard_normal((2, 6)) / 3, random.standard_normal(2)),
    )
    features = tuple(Feature(f"f{k}") for k in range(5))
    model = Network(features=features, output_names=("a", "b"), shift=Shift.none(5), inputs=inputs,
                    layers=layers)  # fmt: skip
    x = random.standard_normal((41, 5))
    np.testing.assert_allclose(
        scored(model, x), reference(model, x), atol=2e-6 if inputs == 32 else 1e-14
    )


def test_what_no_kernel_runs_is_said() -> None:
    for word in (
        "forest",
        "svm inputs=32",
        "linear inputs=32 raw=1 shift=0 missing=0 link=odd pair=0",
    ):
        with pytest.raises(Unsupported):
            array_count(word)
    with pytest.raises(Unsupported):
        emit_model_block(forest(raw=3).kind.replace("raw=3", "raw=100"), FEATURES, "score")


# --- loops --------------------------------------------------------------------------------------

ROWS = 9001


def table() -> dict[str, ColumnData]:
    random = np.random.default_rng(0)

    def column(values: Any, nulls: float = 0.0) -> ColumnData:
        arrow: Any = pa
        return column_data(arrow.array(values, mask=random.random(ROWS) < nulls if nulls else None))

    return {
        **{
            f"f{k}": column(np.round(random.standard_normal(ROWS), 1).astype("f4"), 0.1 * (k % 2))
            for k in range(FEATURES)
        },
        "d": column(random.standard_normal(ROWS), 0.1),
        "i": column(random.integers(0, 10, ROWS).astype("i4")),
        "g": column(random.integers(0, 4, ROWS).astype("i1")),
    }


COLUMNS = table()
SOURCE = program.Source(
    "t",
    tuple(
        program.Column(n, c.type, physical(c.type), c.validity is not None, c.low, c.high)
        for n, c in COLUMNS.items()
    ),
)
REFS = {n: nodes.Column(n, c.type) for n, c in COLUMNS.items()}
TREES = forest(tests=(AT_MOST, MEMBER)).over_floats()
LINE = linear(np.array([[0.5, -1.0]]), np.array([0.1]), link="logistic", pair=True)
MODELS = {"trees": TREES, "line": LINE}
PARAMETERS = (TREES.parameter("trees"), LINE.parameter("line"))
P = typing.predict(PARAMETERS[0], [REFS[f"f{k}"] for k in range(FEATURES)])
Q = typing.predict(PARAMETERS[1], [REFS["d"], nodes.Cast(REFS["i"], F64)], 1)
INPUTS = Inputs({"t": SourceData(ROWS, COLUMNS)}, models=MODELS)
FOLDS = (
    ("total", typing.fold("sum", P)),
    ("rows", typing.fold("count")),
    ("most", typing.fold("max", Q)),
    ("some", typing.fold("count", Q)),
)
BUILDERS: dict[str, program.Builder] = {
    "struct": program.Struct(FOLDS),
    "dense": program.Group((program.Key("g", REFS["g"], False, 0, 3),), FOLDS, "dense"),
    "hash": program.Group((program.Key("i", REFS["i"]),), FOLDS, "hash"),
    "append": program.Append((("g", REFS["g"]), ("p", P), ("q", Q), ("f1", REFS["f1"]))),
    "top": program.TopK(
        5, (program.Order(P, True), program.Order(Q), program.Order(REFS["i"])), (("p", P),)
    ),
}
EARLY = typing.binary("gt", REFS["f0"], typing.literal(-0.25, F32))
LATE = typing.both(
    typing.binary("gt", P, typing.literal(0.5, F64)),
    typing.binary("lt", Q, typing.literal(0.7, F64)),
)
FILTERS = {"all": None, "early": EARLY, "late": LATE, "both": typing.both(EARLY, LATE)}


def program_of(builder: program.Builder, where: nodes.Expr | None) -> program.Program:
    loop = program.Loop("r", "t", builder, where, "compact")
    return program.Program("q", (SOURCE,), (loop,), ("r",), models=PARAMETERS)


def rows_of(made: Any, *, ordered: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = made["r"].to_pylist()
    return rows if ordered else sorted(rows, key=lambda row: next(iter(row.values())))


def same(mine: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Say whether rows are the same, floats but for the order of sums and the last places."""
    return mine.keys() == theirs.keys() and all(
        math.isclose(mine[key], value, rel_tol=1e-9)
        if isinstance(value, float)
        else mine[key] == value
        for key, value in theirs.items()
    )


@pytest.mark.parametrize("where", FILTERS)
@pytest.mark.parametrize("builder", BUILDERS)
def test_loops_with_models_give_what_the_interpreter_gives(builder: str, where: str) -> None:
    whole = program_of(BUILDERS[builder], FILTERS[where])
    ordered = not isinstance(BUILDERS[builder], program.Group)
    wanted = rows_of(interpret(whole, INPUTS, lambda: None), ordered=ordered)
    got = rows_of(
        run_kernel(compile_program(whole, "O0"), INPUTS, lambda: None, 2), ordered=ordered
    )
    assert len(got) == len(wanted)
    for mine, theirs in zip(got, wanted, strict=True):
        assert same(mine, theirs), (mine, theirs)


def test_one_object_serves_all_models_of_a_kind() -> None:
    whole = program_of(BUILDERS["struct"], None)
    kernel = compile_program(whole, "O0")
    other = forest((25, 2, 3), tests=(AT_MOST, MEMBER)).over_floats()
    assert other.kind == TREES.kind
    assert cache_key(program_of(BUILDERS["struct"], None), "O0") == cache_key(whole, "O0")
    inputs = Inputs(INPUTS.sources, models={**MODELS, "trees": other})
    wanted = rows_of(interpret(whole, inputs, lambda: None), ordered=True)
    got = rows_of(run_kernel(kernel, inputs, lambda: None, 1), ordered=True)
    assert same(got[0], wanted[0])


def test_a_model_over_another_is_left_to_the_interpreter() -> None:
    outer = typing.predict(PARAMETERS[1], [P, REFS["d"]])
    whole = program_of(program.Struct((("s", typing.fold("sum", outer)),)), None)
    with pytest.raises(Unsupported):
        compile_program(whole, "O0")


def test_a_model_of_another_kind_is_refused() -> None:
    kernel = compile_program(program_of(BUILDERS["struct"], None), "O0")
    with pytest.raises(ValueError, match="not of the kind"):
        run_kernel(
            kernel, Inputs(INPUTS.sources, models={**MODELS, "trees": forest()}), lambda: None
        )


# --- what ranges decide --------------------------------------------------------------------------


def test_a_filter_prunes_trees() -> None:
    tight = typing.both(
        typing.binary("lt", REFS["f0"], typing.literal(-1.0, F32)),
        typing.binary("eq", REFS["f2"], typing.literal(0.5, F32)),
    )
    whole = program_of(BUILDERS["dense"], tight)
    fewer, inputs = specialised(whole, INPUTS, 0)
    assert fewer == whole
    pruned = inputs.models["trees"]
    assert isinstance(pruned, Forest)
    assert len(pruned.nodes.feature) < len(TREES.nodes.feature)
    before = rows_of(interpret(whole, INPUTS, lambda: None), ordered=False)
    after = rows_of(interpret(fewer, inputs, lambda: None), ordered=False)
    assert before == after


@pytest.mark.parametrize(
    ("op", "cut", "decided"),
    [("gt", 99.0, False), ("lt", 99.0, True), ("ge", -99.0, True), ("gt", 0.5, None)],
)
def test_comparisons_that_no_row_decides_are_decided(
    op: str, cut: float, decided: bool | None
) -> None:
    where = typing.both(EARLY, typing.binary(op, P, typing.literal(cut, F64)))
    whole = program_of(program.Struct((("n", typing.fold("count")),)), where)
    fewer, inputs = specialised(whole, INPUTS, 0)
    wanted = {True: EARLY, False: nodes.FALSE, None: where}[decided]
    assert fewer.loops[0].where == wanted
    before = rows_of(interpret(whole, INPUTS, lambda: None), ordered=True)
    assert before == rows_of(interpret(fewer, inputs, lambda: None), ordered=True)
    assert before == rows_of(
        run_kernel(compile_program(fewer, "O0"), inputs, lambda: None), ordered=True
    )


def test_null_is_not_decided_to_be_true() -> None:
    """A linear model of a column with NULLs: every probability is below 2, but NULL is not."""
    where = typing.binary("lt", Q, typing.literal(2.0, F64))
    whole = program_of(program.Struct((("n", typing.fold("count")),)), where)
    assert specialised(whole, INPUTS, 0)[0] == whole
