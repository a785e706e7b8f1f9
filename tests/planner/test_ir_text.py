"""The written form of programs and functions: read back the same; errors have places."""

import pytest

from foveal.errors import InternalError, ProgrammingError
from foveal.planner.ir import program, typing
from foveal.planner.ir.function import IrFunction
from foveal.planner.ir.nodes import Column, Expr, Iterate, Literal, Lookup, Parameter, Variable
from foveal.planner.ir.text import function_text, parse_function, parse_program, program_text
from foveal.planner.ir.types import BOOL, DATE, F32, F64, I16, I32, I64, Code, Decimal
from foveal.planner.ir.verify import verify

Q6 = '''pipeline q6 {
  source lineitem(
    l_shipdate: date as i16 in 8036..10561 not null,
    l_discount: decimal(15,2) as i8 in 0..10 not null,
    l_price: decimal(15,2) as i32 in 90091..10494950 null,
    "odd ""name""": code(flags) as i8 in 0..2 null,
  )
  scalar "first": date in 8766..8766 not null
  table like: bool[3] not null
  table rates: f64[] null
  model m: trees(f32, code(flags)) -> (f64, f64)
  message 'not '' so'
  loop revenue over lineitem by mask {
    let @t1 = l_price * l_discount;
    where l_shipdate >= $"first" and lookup(like, "odd ""name""")
    struct {
      total = sum(@t1),
      max = max(@t1),
      n = count()
    }
  }
  loop flags over lineitem {
    group dense by (f: "odd ""name""" in 0..2 null, "by": l_discount in 0..10 not null) {
      n = count(l_price),
      p = avg(predict(m, l_price as f32, "odd ""name"""; 1))
    }
  }
  loop days over lineitem {
    bitmap l_shipdate in 8036..10561
  }
  loop best over lineitem by compact {
    where not is_null(l_price) and lookup(days, l_shipdate; 8036)
    top 3 by (l_price desc nulls first, least(1:i32, -2:i32)) {
      a = check(l_discount != 0:decimal(15,2), -l_price; 0),
      b = (-5) as f64 * (2.0 + inf) - (nan - -0.0),
      c = null:date,
      d = flt(1.5:f32, 2.0:f32) == false
    }
  }
  return revenue, flags, best
}
'''


def test_programs_are_canonical() -> None:
    """What is read is written the same."""
    whole = parse_program(Q6)
    verify(whole)
    assert program_text(whole) == Q6
    assert parse_program(program_text(whole)) == whole
    first = program.Column("l_shipdate", DATE, I16, False, 8036, 10561)
    assert whole.sources[0].columns[0] == first
    assert whole.scalars[0].type == DATE
    assert whole.tables[1].size is None


def test_functions() -> None:
    """Plain names are parameters; bare numbers take the other side's type; lets may be nested."""
    text = (
        "(x: f64, n: i32) -> f64 = -- a comment\n let @s = x * 2; "
        "iterate { #i: i64 = 0, #a: f64 = 1.0; let @q = #a * @s; while #i < 10; "
        "next #i + 1, @q + @q; give #a } + check(n > 0, x; 'too small')"
    )
    function = parse_function(text, "f")
    assert function.parameters == (("x", F64), ("n", I32))
    assert function.messages == ("too small",)
    assert parse_function(function_text(function), "f") == function


def test_shared_parts_are_written_once() -> None:
    """A tree of 2^60 leaves is 60 lines."""
    x = typing.literal(1.5, F64)
    node = typing.binary("add", Parameter("x", F64), x)
    for _ in range(60):
        node = typing.binary("mul", node, node)
    function = IrFunction("", (("x", F64),), node, F64)
    text = function_text(function)
    assert len(text) < 4000
    # Not compared as trees: equality walks every path.
    assert function_text(parse_function(text)) == text


def test_loops_within_loops_keep_their_variables() -> None:
    """The same name means another variable inside; what is shared stays in its scope."""
    v = Variable("v", I64)
    one = typing.literal(1, I64)
    step = typing.binary("add", v, one)
    small = typing.binary("lt", step, typing.literal(9, I64))
    inner = typing.iterate([v], [step], small, [step], typing.binary("mul", step, step))
    outer = typing.iterate([v], [one], small, [inner], typing.binary("sub", step, inner))
    assert isinstance(outer, Iterate)
    function = IrFunction("", (), outer, I64)
    assert parse_function(function_text(function)) == function


@pytest.mark.parametrize(
    ("text", "sqlstate", "message"),
    [
        ("(x: f64) -> f64 = x +", "42601", "at the end (line 1, column 22)"),
        ("(x: f64) -> f64 = x + z", "42601", "no name z (line 1, column 23)"),
        ("(x: i32) -> i32 =\n x + 2.5", "42804", "(line 2, column 2)"),
        ("(x: foo) -> i32 = x", "42601", "no type foo (line 1, column 5)"),
        ("(x: decimal(40,2)) -> i32 = 1", "42601", "no type decimal"),
        ("(x: i32) -> f64 = x", "42804", "the body is i32"),
        ("(x: i32) -> i32 = x ! 1", "42601", 'at "!"'),
        ("(x: i32) -> i32 = frob(x)", "42804", "no operator frob"),
        ("(x: i32) -> i32 = frob(x, x, x)", "42601", "no operator frob of 3 operands"),
        ("(x: i32) -> i32 = #y", "42601", "no variable y"),
        ("(x: i32, x: i32) -> i32 = x", "42601", "parameter x comes twice"),
        ("(x: i32) -> i32 = check(true, x)", "42601", "without message"),
        ("(x: i32) -> i32 = 3000000000:i32", "42804", "3000000000 is no i32"),
        ("(x: i32) -> i32 = lookup(t, x)", "42601", "no table t"),
    ],
)
def test_errors_have_places(text: str, sqlstate: str, message: str) -> None:
    """An SQLSTATE, a line and a column, a span."""
    with pytest.raises(ProgrammingError) as error:
        parse_function(text)
    assert error.value.sqlstate == sqlstate
    assert message in str(error.value)
    assert error.value.span is not None


X = Column("x", I32)
SOURCE = program.Source("t", (program.Column("x", I32, I32),))
THOUSAND = program.Column("x", Decimal(3, 1), I16, True, 0, 1000)
BITMAP = program.Loop("b", "t", program.Bitmap(X, 1, 5))


def made(
    *loops: program.Loop,
    results: tuple[str, ...] = ("r",),
    source: program.Source = SOURCE,
    messages: tuple[str, ...] = (),
) -> program.Program:
    """Return a program of loops."""
    return program.Program("p", (source,), loops, results, messages=messages)


def append(*fields: tuple[str, Expr], where: Expr | None = None, how: str = "") -> program.Loop:
    """Return a loop that appends."""
    return program.Loop("r", "t", program.Append(fields), where, how)


@pytest.mark.parametrize(
    ("whole", "message"),
    [
        (made(append(("y", Column("z", I32)))), "loop r: y > z: no column z"),
        (made(append(("y", Column("x", I64)))), "is i32, not i64"),
        (made(append(("y", X), ("y", X))), "y comes twice"),
        (made(append(("y", X), where=X)), "where is i32"),
        (made(append(("y", X)), results=("q",)), "q is no result"),
        (made(BITMAP, results=("b",)), "b is no result"),
        (made(append(("y", Lookup("b", X, BOOL, 1))), BITMAP), "no table b yet"),
        (made(BITMAP, append(("y", Lookup("b", X, BOOL)))), "b begins at 1, not 0"),
        (made(append(("y", Parameter("s", I32)))), "no scalar s"),
        (made(append(("y", Variable("v", I32)))), "no variable v"),
        (made(append(("y", typing.check(Literal(True, BOOL), X, 0)))), "no message 0"),
        (made(append(("y", Literal(2**31, I32)))), "is no i32"),
        (made(append(("y", X), how="fast")), "no way fast"),
        (
            made(program.Loop("r", "t", program.Struct((("s", program.Fold("sum", X, I64)),)))),
            "sum is i128, not i64",
        ),
        (
            made(program.Loop("r", "t", program.Group((program.Key("k", X),), (), "dense"))),
            "dense by k, which has no bounds",
        ),
        (
            made(source=program.Source("t", (program.Column("x", I32, I64),)), results=()),
            "i32 stored in i64",
        ),
        (
            made(source=program.Source("t", (program.Column("x", F32, F64),)), results=()),
            "f32 stored in f64",
        ),
        (
            made(source=program.Source("t", (THOUSAND,)), results=()),
            "0..1000 of decimal(3,1)",
        ),
    ],
)
def test_what_is_not_well_formed_is_named(whole: program.Program, message: str) -> None:
    """Each rule, with the place."""
    with pytest.raises(InternalError) as error:
        verify(whole)
    assert message in str(error.value)


def test_wide_types_are_written() -> None:
    """Names of dictionaries are quoted where they must be."""
    function = parse_function('(x: code("a b")) -> bool = x == 3:code("a b")')
    assert function.parameters[0][1] == Code("a b")
    assert parse_function(function_text(function)) == function
