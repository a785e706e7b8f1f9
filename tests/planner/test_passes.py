"""Each pass does what it is for, and nothing where it may not."""

from __future__ import annotations

import math

import pytest

from foveal.planner.ir import nodes, program, typing
from foveal.planner.ir.inference import of_loop
from foveal.planner.ir.nodes import FALSE, TRUE, Column, Expr, Literal, Parameter
from foveal.planner.ir.passes import NAMES, parametrized, rewrite, traced
from foveal.planner.ir.passes.estimates import share as share_of
from foveal.planner.ir.passes.fold import fold
from foveal.planner.ir.passes.fuse import fuse
from foveal.planner.ir.passes.inline import inline
from foveal.planner.ir.passes.narrow import narrow
from foveal.planner.ir.passes.ordering import order
from foveal.planner.ir.passes.parameters import parametrize, value_class
from foveal.planner.ir.passes.predication import predicate
from foveal.planner.ir.passes.sharing import share
from foveal.planner.ir.passes.strategy import group_strategy
from foveal.planner.ir.passes.sums import simplify_sums
from foveal.planner.ir.program import Append, Group, Key, Loop, Part, Program, Source, Struct
from foveal.planner.ir.text import program_text
from foveal.planner.ir.types import (
    BOOL,
    DATE,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    TIMESTAMP,
    Decimal,
    Type,
    physical,
)
from foveal.planner.ir.verify import verify

PRICE = Decimal(15, 2)


def column(name: str, type_: Type, low: int | None, high: int | None, null: bool = False):
    return program.Column(name, type_, physical(type_), null, low, high)


SOURCE = Source(
    "t",
    (
        column("a", I32, 0, 100),
        column("b", I32, -5, 5, null=True),
        column("c", I64, None, None),
        column("one", I8, 7, 7),
        column("x", F64, None, None),
        column("y", F64, None, None, null=True),
        column("f", F32, None, None),
        column("p", PRICE, 0, 10**7),
        column("d", DATE, 8000, 10000),
        column("flag", BOOL, None, None, null=True),
    ),
)
A, B, C, ONE, X, Y, F, P, D, FLAG = (Column(c.name, c.type) for c in SOURCE.columns)


def i32(value: int) -> Literal:
    return typing.literal(value, I32)


def compared(op: str, x: Expr, y: Expr) -> Expr:
    return typing.binary(op, x, y)


def whole(*loops: Loop, results: tuple[str, ...] | None = None) -> Program:
    made = Program("q", (SOURCE,), loops, results or tuple(x.into for x in loops))
    verify(made)
    return made


def appended(x: Expr, where: Expr | None = None) -> Program:
    return whole(Loop("r", "t", Append((("v", x),)), where))


def value_of(made: Program) -> Expr:
    verify(made)
    builder = made.loops[0].builder
    assert isinstance(builder, Append)
    return builder.fields[0][1]


ZERO, ONE_32 = i32(0), i32(1)
FOLDED = [
    (typing.binary("add", i32(2), i32(3)), i32(5)),
    (typing.binary("add", A, ZERO), A),
    (typing.binary("sub", A, ZERO), A),
    (typing.binary("mul", ONE_32, A), A),
    (typing.binary("mul", A, ZERO), ZERO),
    (typing.binary("idiv", A, ONE_32), A),
    (ONE, typing.literal(7, I8)),
    (compared("lt", A, i32(1000)), TRUE),
    (compared("gt", A, i32(100)), FALSE),
    (typing.unary("is_null", A), FALSE),
    (typing.unary("not", typing.unary("not", FLAG)), FLAG),
    (typing.unary("neg", typing.unary("neg", A)), A),
    (typing.unary("not", compared("lt", X, Y)), compared("ge", X, Y)),
    (typing.binary("and", TRUE, FLAG), FLAG),
    (typing.binary("or", FLAG, TRUE), TRUE),
    (typing.binary("and", FLAG, FLAG), FLAG),
    (typing.select(TRUE, A, B), A),
    (typing.select(FLAG, A, A), A),
    (typing.coalesce(A, B), A),
    (typing.coalesce(Literal(None, I32), B), B),
    (typing.cast(typing.cast(A, I64), I16), typing.cast(A, I16)),
    (typing.cast(typing.cast(F, F64), F32), F),
    (typing.cast(typing.cast(D, TIMESTAMP), DATE), D),
    (typing.cast(typing.literal(5, Decimal(2, 1)), F64), typing.literal(0.5, F64)),
    (typing.check(compared("ge", A, ZERO), A, 0), A),
]
KEPT = [
    typing.binary("add", X, typing.literal(0.0, F64)),
    typing.binary("mul", X, typing.literal(0.0, F64)),
    typing.binary("sub", X, X),
    compared("eq", X, X),
    compared("lt", B, i32(1000)),
    typing.binary("mul", B, ZERO),
    typing.unary("neg", typing.unary("neg", C)),
    typing.binary("and", compared("gt", typing.binary("add", C, C), C), FALSE),
    typing.cast(typing.cast(C, I16), I64),
    typing.cast(typing.cast(X, I64), F64),
]


@pytest.mark.parametrize(("before", "after"), FOLDED, ids=range(len(FOLDED)))
def test_what_folds(before: Expr, after: Expr) -> None:
    made = Program(
        "q", (SOURCE,), (Loop("r", "t", Append((("v", before),))),), ("r",), messages=("no",)
    )
    assert value_of(fold(made)) == after


@pytest.mark.parametrize("x", KEPT, ids=range(len(KEPT)))
def test_what_must_not_fold(x: Expr) -> None:
    """Zeros have signs, NaN is not itself, NULL is not true, and errors are results."""
    assert value_of(fold(appended(x))) == x


def test_a_filter_may_take_null_for_false() -> None:
    made = fold(appended(A, typing.both(compared("lt", B, i32(9)), compared("ge", A, ZERO))))
    assert made.loops[0].where == typing.unary("not", typing.unary("is_null", B))
    assert fold(appended(A, compared("ge", A, ZERO))).loops[0].where is None
    assert fold(appended(A, compared("gt", B, i32(9)))).loops[0].where == FALSE


def test_a_side_that_keeps_errors_away_stays() -> None:
    """NULL AND x computes x, FALSE AND x does not: the left side keeps its NULLs."""
    raises = compared("gt", typing.binary("add", C, C), C)
    where = typing.binary("and", compared("lt", B, i32(9)), raises)
    assert fold(appended(A, where)).loops[0].where == where


def test_comparisons_take_the_columns_type() -> None:
    wide = Decimal(18, 4)

    def narrowed(op: str, value: int) -> Expr:
        where = compared(op, typing.cast(P, wide), typing.literal(value, wide))
        found = narrow(appended(A, where)).loops[0].where
        assert found is not None
        return found

    def price(value: int) -> Expr:
        return typing.literal(value, PRICE)

    assert narrowed("ge", 50000) == compared("ge", P, price(500))
    assert narrowed("lt", 50001) == compared("le", P, price(500))
    assert narrowed("ge", 50001) == compared("gt", P, price(500))
    assert narrowed("gt", -1) == compared("gt", P, price(-1))
    assert narrowed("eq", 50000) == compared("eq", P, price(500))
    assert isinstance(narrowed("eq", 50001), nodes.Binary)
    day = 86_400_000_000
    where = compared("lt", typing.cast(D, TIMESTAMP), typing.literal(9000 * day + 1, TIMESTAMP))
    assert narrow(appended(A, where)).loops[0].where == compared(
        "le", D, typing.literal(9000, DATE)
    )
    both = compared("lt", typing.cast(A, I64), typing.cast(B, I64))
    assert narrow(appended(A, both)).loops[0].where == compared("lt", A, B)


def test_equal_expressions_become_one_object() -> None:
    fields = (("v", typing.binary("add", A, B)), ("w", typing.binary("add", B, A)))
    made = share(whole(Loop("r", "t", Append(fields))))
    builder = made.loops[0].builder
    assert isinstance(builder, Append)
    assert builder.fields[0][1] is builder.fields[1][1]
    flipped = appended(compared("gt", ZERO, A))
    assert value_of(share(flipped)) == compared("lt", A, ZERO)
    kept = (typing.binary("least", X, Y), typing.binary("least", Y, X))
    for x in kept:
        assert value_of(share(appended(x))) == x


def test_aggregates_in_their_plainest_form() -> None:
    folds = (
        ("n", typing.fold("count", A)),
        ("m", typing.fold("count", typing.binary("mul", typing.cast(B, I64), typing.cast(A, I64)))),
        ("s", typing.fold("sum", typing.cast(A, I64))),
        ("e", typing.fold("count", typing.binary("add", C, C))),
    )
    made = simplify_sums(whole(Loop("r", "t", Struct(folds)))).loops[0].builder
    assert isinstance(made, Struct)
    plain = dict(made.fields)
    assert plain["n"] == typing.fold("count")
    assert plain["m"] == typing.fold("count", B)
    assert plain["s"].operand == A
    assert plain["e"] == folds[3][1]


def test_terms_of_a_filter_by_rank_but_not_past_one_that_raises() -> None:
    loose, tight = compared("ge", A, i32(1)), compared("lt", A, i32(3))
    raises = compared("gt", typing.binary("add", C, C), C)
    made = order(appended(A, typing.both(loose, tight, raises, loose, tight)))
    assert made.loops[0].where == typing.both(tight, loose, raises)
    alone = typing.both(raises, loose)
    assert order(appended(A, alone)).loops[0].where == alone


def test_two_bounds_of_one_column_are_one_interval() -> None:
    loop = appended(A, typing.both(compared("ge", A, i32(40)), compared("lt", A, i32(50)))).loops[0]
    assert math.isclose(share_of(loop.where, of_loop(appended(A), loop)), 10 / 101)


def test_groups_by_place_where_keys_are_few() -> None:
    def strategy(*keys: Expr) -> Group:
        named = tuple(Key(f"k{n}", x) for n, x in enumerate(keys))
        made = group_strategy(whole(Loop("r", "t", Group(named, (("n", typing.fold("count")),)))))
        verify(made)
        builder = made.loops[0].builder
        assert isinstance(builder, Group)
        return builder

    few = strategy(A, B)
    assert few.strategy == "dense"
    assert (few.keys[0].low, few.keys[0].high, few.keys[0].nullable) == (0, 100, False)
    assert few.keys[1].nullable
    assert strategy(C).strategy == "hash"
    assert strategy(X).strategy == "hash"


def test_rare_rows_and_costly_bodies_are_branched_to() -> None:
    def way(where: Expr, x: Expr) -> str:
        made = whole(Loop("r", "t", Struct((("s", typing.fold("sum", x)),)), where))
        return predicate(made).loops[0].how

    dear: Expr = X
    for _ in range(4):
        dear = typing.unary("exp", dear)
    assert way(compared("lt", A, i32(60)), P) == "mask"
    assert way(compared("lt", A, i32(1)), dear) == "branch"
    kept = whole(Loop("r", "t", Struct(()), compared("lt", A, i32(1)), "mask"))
    assert predicate(kept).loops[0].how == "mask"


def test_loops_over_appended_rows_run_over_the_source() -> None:
    first = Loop("s", "t", Append((("u", typing.binary("mul", A, B)), ("k", A))), FLAG)
    u, k = Column("u", I32), Column("k", I32)
    second = Loop("r", "s", Struct((("v", typing.fold("sum", u)),)), compared("gt", k, ONE_32))
    made = inline(whole(first, second, results=("r",)))
    verify(made)
    (loop,) = made.loops
    assert loop.source == "t"
    assert loop.where == typing.binary(
        "and", typing.coalesce(FLAG, FALSE), compared("gt", A, ONE_32)
    )
    assert loop.builder == Struct((("v", typing.fold("sum", typing.binary("mul", A, B))),))
    kept = inline(whole(first, second))
    assert [x.into for x in kept.loops] == ["s", "r"]
    assert kept.loops[1].source == "t"
    raising = Loop("s", "t", Append((("u", typing.binary("add", C, C)),)))
    reads = Loop("r", "s", Struct((("v", typing.fold("sum", Column("u", I64))),)))
    assert inline(whole(raising, reads)) == whole(raising, reads)


def test_sibling_loops_share_their_scan() -> None:
    total, count = typing.fold("sum", A), typing.fold("count")
    where = compared("gt", A, ONE_32)
    one = Loop("r", "t", Struct((("s", total), ("n", count))), where)
    two = Loop("q", "t", Struct((("s", total),)))
    made = fuse(whole(one, two))
    verify(made)
    (loop,) = made.loops
    assert loop.where is None
    assert isinstance(loop.builder, Struct)
    assert len(loop.builder.fields) == 3
    assert [part.name for part in made.parts] == ["r", "q"]
    same = fuse(whole(one, Loop("q", "t", Struct((("m", total),)), where)))
    assert same.loops[0].where == where
    assert same.parts[1] == Part("q", same.loops[0].into, (("m", "f0"),))
    three = fuse(whole(one, two, Loop("z", "t", Struct((("n", count),)))))
    assert len(three.loops) == 1
    assert {part.name for part in three.parts} == {"r", "q", "z"}
    verify(three)


def test_constants_become_scalars_of_a_class() -> None:
    def made(bound: int, factor: float):
        return parametrize(
            appended(
                typing.binary("mul", X, typing.literal(factor, F64)),
                compared("lt", A, i32(bound)),
            )
        )

    (first, values), (second, others) = made(50, 0.5), made(90, 2.5)
    verify(first)
    assert first == second
    assert values != others
    assert sorted(map(str, values.values())) == ["0.5", "50"]
    assert first.loops[0].where == compared("lt", A, Parameter("p0", I32))
    assert [(s.low, s.high) for s in first.scalars] == [(-128, 127), (None, None)]
    assert made(900, 0.5)[0] != first
    assert value_class(5, Decimal(1, 0)) == (-9, 9)


def test_constants_of_proofs_and_divisions_stay() -> None:
    x = typing.binary("idiv", typing.binary("mul", A, i32(3)), i32(10))
    assert parametrize(appended(x)) == (appended(x), {})


def test_all_passes_and_each_off() -> None:
    where = typing.both(compared("ge", A, i32(20)), compared("lt", A, i32(1000)))
    query = whole(
        Loop("r", "t", Struct((("s", typing.fold("avg", A)),)), where),
        Loop("g", "t", Group((Key("k", B),), (("n", typing.fold("count", A)),)), where),
    )
    made, values = parametrized(query)
    assert len(values) == 1
    assert made.loops[1].how in ("mask", "branch")
    assert "in -128..127" in program_text(made)
    for name in NAMES:
        verify(parametrized(query, {name})[0])
    assert parametrized(query, NAMES) == (query, {})
    assert rewrite(made) == made
    text = traced(query)
    assert text.startswith("-- as written")
    assert "-- fold" in text
    assert "-- parameters" in text
