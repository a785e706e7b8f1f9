"""Translated functions say what Python says: values, NULLs, and where they raise."""

import math
import random
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from foveal.engine.compile.data import KernelError
from foveal.engine.compile.interpreter import interpret
from foveal.engine.function_kernels import program_of, run_kernel
from foveal.planner.ir.function import IrFunction, apply
from foveal.planner.ir.nodes import Iterate, Literal, Variable, children
from foveal.planner.ir.types import F64
from foveal.udfs.functions.source import SourceError, Untranslatable, from_callable, from_text
from foveal.udfs.functions.sqltypes import sql_type, unboxed
from foveal.udfs.functions.translate import translate
from foveal.udfs.functions.udf import udf

RAISED = object()
INF, NAN = math.inf, math.nan


def outcomes(function: IrFunction, types: list[str], rows: list[tuple[Any, ...]]) -> list[Any]:
    """Return each row's value, RAISED where the expression raises."""
    program = program_of(function)

    def some(part: list[tuple[Any, ...]]) -> list[Any]:
        columns = [
            pa.array([row[i] for row in part], sql_type(t).arrow) for i, t in enumerate(types)
        ]
        try:
            return run_kernel(program, columns, interpret, lambda: None).to_pylist()
        except KernelError:
            if len(part) == 1:
                return [RAISED]
            half = len(part) // 2
            return some(part[:half]) + some(part[half:])

    return some(rows)


def python(call: Any, rows: list[tuple[Any, ...]]) -> list[Any]:
    out: list[Any] = []
    for row in rows:
        try:
            with np.errstate(all="ignore"):
                value: Any = unboxed(call(*row)) if None not in row else None
            out.append(RAISED if isinstance(value, complex) else value)
        except (ArithmeticError, ValueError, AssertionError, TypeError):
            out.append(RAISED)
    return out


def same(ours: Any, theirs: Any) -> bool:
    if ours is None or theirs is None or ours is RAISED or theirs is RAISED:
        return ours is theirs
    if isinstance(theirs, float) or isinstance(ours, float):
        if math.isnan(theirs):
            return math.isnan(ours)
        signs = math.copysign(1, ours) == math.copysign(1, theirs) or ours != 0
        return signs and math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=1e-300)
    return bool(ours == theirs)


def check(
    text: str, types: list[str], returns: str, rows: list[tuple[Any, ...]], careful: bool = False
) -> None:
    """Compare; `careful`: the expression may raise where Python, asked then, has a value."""
    names = ["a", "b", "c", "d"][: len(types)]
    source = from_text("f", names, text)
    function = translate(source, [sql_type(t) for t in types], sql_type(returns))
    ours, theirs = outcomes(function, types, rows), python(source.make(), rows)
    for row, mine, wanted in zip(rows, ours, theirs, strict=True):
        if careful and mine is RAISED:
            continue
        if isinstance(wanted, int) and not -(2**63) <= wanted < 2**63:
            wanted = RAISED  # no BIGINT
        assert same(mine, wanted), (text, row, mine, wanted)


FLOATS = [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -2.5, 3.7, -7.25, 1e300, -1e300, 1e-300, INF, -INF, NAN]
INTS = [0, 1, -1, 2, -2, 3, 7, -7, 10, 63, 1000, -999, 2**31, -(2**62), 2**63 - 1, -(2**63)]
PAIRS = [(a, b) for a in FLOATS for b in FLOATS]
WHOLE = [(a, b) for a in INTS for b in INTS]


@pytest.mark.parametrize("op", ["+", "-", "*", "/", "//", "%"])
def test_floats_behave_as_pythons(op: str) -> None:
    check(f"a {op} b", ["DOUBLE", "DOUBLE"], "DOUBLE", PAIRS)


@pytest.mark.parametrize("op", ["+", "-", "*", "//", "%", "&", "|", "^"])
def test_integers_behave_as_pythons(op: str) -> None:
    check(f"a {op} b", ["BIGINT", "BIGINT"], "BIGINT", WHOLE, careful=op in ("//", "%"))


def test_integers_divide_exactly_or_are_left_to_python() -> None:
    check("a / b", ["BIGINT", "BIGINT"], "DOUBLE", WHOLE, careful=True)
    check("a / b", ["BIGINT", "BIGINT"], "DOUBLE", [w for w in WHOLE if max(map(abs, w)) < 2**53])


@pytest.mark.parametrize("op", ["<", "<=", ">", ">=", "==", "!="])
def test_comparisons_are_ieee(op: str) -> None:
    check(f"a {op} b", ["DOUBLE", "DOUBLE"], "BOOLEAN", PAIRS)
    check(f"a {op} b", ["BIGINT", "BIGINT"], "BOOLEAN", WHOLE)
    mixed = [(i, f) for i in INTS for f in FLOATS]
    check(f"a {op} b", ["BIGINT", "DOUBLE"], "BOOLEAN", mixed, careful=True)


@pytest.mark.parametrize(
    "call",
    ["sqrt", "exp", "log", "log2", "log10", "log1p", "expm1", "sin", "cos", "tan", "asin", "acos",
     "atan", "sinh", "cosh", "tanh", "erf", "erfc", "cbrt", "exp2", "fabs", "degrees", "radians"],
)  # fmt: skip
def test_math_raises_where_python_does(call: str) -> None:
    check(f"math.{call}(a)", ["DOUBLE"], "DOUBLE", [(a,) for a in [*FLOATS, 0.25, 710.0, -745.0]])


@pytest.mark.parametrize(
    "call",
    ["sqrt", "exp", "log", "log1p", "sin", "arcsin", "arccos", "arctan", "floor", "ceil", "rint",
     "abs", "sign", "square", "isnan", "isfinite", "trunc", "cbrt"],
)  # fmt: skip
def test_numpy_gives_nan_and_inf(call: str) -> None:
    kind = "BOOLEAN" if call.startswith("is") else "DOUBLE"
    check(f"np.{call}(a)", ["DOUBLE"], kind, [(a,) for a in [*FLOATS, 0.25, 710.0, 1.5]])


@pytest.mark.parametrize(
    "text",
    ["1 / np.sqrt(a)", "np.sqrt(a) ** 2", "np.log(a) / 0", "np.exp(a) // 3", "np.maximum(a, b)",
     "np.minimum(a, b)", "np.where(a > b, a, b)", "np.hypot(a, b)", "np.clip(a, -1.0, 1.0)"],
)  # fmt: skip
def test_numpy_scalars_divide_without_raising(text: str) -> None:
    check(text, ["DOUBLE", "DOUBLE"], "DOUBLE", PAIRS, careful="//" in text)


@pytest.mark.parametrize("how", ["int(a)", "round(a)", "math.floor(a)", "math.ceil(a)",
                                 "math.trunc(a)"])  # fmt: skip
def test_floats_become_integers(how: str) -> None:
    rows = [(a,) for a in [*FLOATS, 0.5, 1.5, 2.5, -0.5, -1.5, 4503599627370497.5]]
    check(how, ["DOUBLE"], "BIGINT", rows)


@pytest.mark.parametrize("power", ["a ** 2", "a ** b", "a ** 0.5", "a ** -1", "a ** 3.0"])
def test_powers(power: str) -> None:
    check(power, ["DOUBLE", "DOUBLE"], "DOUBLE", PAIRS, careful="2" in power)


@pytest.mark.parametrize(
    "text",
    ["min(a, b)", "max(a, b, 0.0)", "abs(a) - abs(b)", "a and b", "a or b", "not a",
     "a if b else 1.5",
     "0.0 < a <= b", "a < b < 1 or a == 2.5", "(a > 0) + (b > 0)", "-a + +b", "bool(a) == (b != 0)",
     "a in (1.0, 2.5, -1)", "a not in (0.5, 0.0)", "math.atan2(a, b)", "math.copysign(a, b)",
     "math.fmod(a, b)", "math.pow(a, b)", "math.hypot(a, b)", "a.is_integer()", "float(a > b)"],
)  # fmt: skip
def test_expressions(text: str) -> None:
    words = ("not ", "<", "==", " in ", "integer")
    kind = "BOOLEAN" if any(w in text for w in words) and "+" not in text else "DOUBLE"
    kind = "BIGINT" if text.startswith("(a") else kind
    check(
        text,
        ["DOUBLE", "DOUBLE"],
        kind,
        PAIRS,
        careful="float" in text or "pow" in text or "hypot" in text,
    )


STATEMENTS = {
    "early returns": "if a > b:\n    return a\nif a == b:\n    return 0.0\nreturn b / a",
    "elif and else": "if a > 1:\n  c = a\nelif a > 0:\n  c = a * 2\nelse:\n  c = -a\nreturn c + b",
    "an unused division raises": "c = 1 / a\nreturn b",
    "an unused conversion raises": "c = math.floor(a)\nreturn b",
    "a division in the arm not taken": "return b / a if a else b",
    "raise": "if a < 0:\n    raise ValueError('negative')\nreturn a",
    "assert": "assert a >= b, 'order'\nreturn a - b",
    "swap": "a, b = b, a\nreturn a - b",
    "None": "if a > b:\n    return a",
    "a name in one branch": "c = 0.0\nif a > 0:\n    d = a * 2\n    c = d + 1\nreturn c",
    "augmented": "c = a\nc += b\nc *= 2\nc -= 1\nreturn c",
    "unrolled": "c = 0.0\nfor i in range(5):\n    c = c * a + i\nreturn c",
    "unrolled with break": "c = 0\nfor i in range(6):\n  if i > b:\n    break\n  c += i\nreturn c",
    "unrolled with return": "for i in range(4):\n    if a < i:\n        return i\nreturn -1.0",
    "continue": "c = 0.0\nfor i in range(8):\n  if i % 2 == 0:\n    continue\n  c += a\nreturn c",
}


@pytest.mark.parametrize("name", list(STATEMENTS))
def test_statements(name: str) -> None:
    careful = name.startswith("unrolled with break")
    check(STATEMENTS[name], ["DOUBLE", "DOUBLE"], "DOUBLE", PAIRS, careful)


LOOPS = {
    "for": "c = 0\nfor i in range(a):\n    c += i * b\nreturn c",
    "for from to": "c = 1\nfor i in range(b, a, 2):\n    c = c + i\nreturn c",
    "downward": "c = 0\nfor i in range(a, b, -3):\n    c = c * 2 + i\nreturn c % 1000",
    "while": "c = 0\nwhile a > 0:\n    a = a // 2\n    c += 1\nreturn c",
    "gcd": "a = abs(a)\nb = abs(b)\nwhile b:\n    a, b = b, a % b\nreturn a",
    "break": "c = 0\nfor i in range(a):\n    c += i\n    if c > b:\n        break\nreturn c",
    "return inside": "for i in range(a):\n    if i * i > b:\n        return i\nreturn -1",
    "continue": "c = 0\nfor i in range(a):\n  if i % 3 == 0:\n    continue\n  c += i\nreturn c",
    "nested": "c = 0\nfor i in range(a):\n    for j in range(i):\n        c += j\nreturn c + b",
    "raises inside": "c = 0\nfor i in range(a):\n    c += 10 // (i - b)\nreturn c",
    "nobody reads it": "for i in range(a):\n    c = 10 // (i - b)\nreturn a",
    "two results": "c = 0\nd = 1\nfor i in range(a):\n    c += d\n    d += i\nreturn c * 7 + d",
}


@pytest.mark.parametrize("name", list(LOOPS))
def test_loops_of_unknown_length(name: str) -> None:
    rows = [(a, b) for a in (0, 1, 2, 5, 17, 30, -4) for b in (-3, 0, 1, 4, 20)]
    check(LOOPS[name], ["BIGINT", "BIGINT"], "BIGINT", rows)


def test_a_loop_that_makes_a_float_of_an_integer() -> None:
    check("c = 0\nfor i in range(a):\n    c += i * 0.5\nreturn c", ["BIGINT"], "DOUBLE",
          [(0,), (3,), (40,)])  # fmt: skip


DATES = [date(1, 1, 1), date(1969, 12, 31), date(1970, 1, 1), date(2020, 2, 29), date(9999, 12, 31)]


@pytest.mark.parametrize(
    ("text", "kind"),
    [("a.year * 10000 + a.month * 100 + a.day", "BIGINT"), ("a.weekday()", "BIGINT"),
     ("a.isoweekday()", "BIGINT"), ("(a - b).days", "BIGINT"), ("a < b", "BOOLEAN"),
     ("a + timedelta(days=30)", "DATE"), ("a - timedelta(weeks=1)", "DATE"),
     ("a.toordinal()", "BIGINT"), ("a >= date(1970, 1, 1)", "BOOLEAN"),
     ("(a - b).total_seconds()", "DOUBLE"), ("a if a > b else b", "DATE"),
     ("a == b + timedelta(days=1)", "BOOLEAN")],
)  # fmt: skip
def test_dates(text: str, kind: str) -> None:
    check(text, ["DATE", "DATE"], kind, [(a, b) for a in DATES for b in DATES])


def test_timestamps() -> None:
    rows = [(datetime(2020, 2, 29, 13, 14, 15, 16),), (datetime(1969, 12, 31, 23, 59, 59),)]
    for text in ("a.hour * 3600 + a.minute * 60 + a.second", "a.year + a.weekday()"):
        check(text, ["TIMESTAMP"], "BIGINT", rows)
    check("a.date() + timedelta(days=1)", ["TIMESTAMP"], "DATE", rows)
    check("a + timedelta(hours=5)", ["TIMESTAMP"], "TIMESTAMP", rows)


def test_null_goes_in_and_out_and_is_not_looked_at() -> None:
    check("1.0 if a > 0 else 0.0", ["DOUBLE"], "DOUBLE", [(None,), (1.0,), (-1.0,)])
    check("1 // a", ["BIGINT"], "BIGINT", [(None,), (1,)])


def test_special_functions_see_none() -> None:
    source = from_text("f", ["a", "b"], "if a is None:\n    return 0.0\nreturn a + b")
    kinds = [sql_type("DOUBLE")] * 2
    function = translate(source, kinds, kinds[0], null_handling="special")
    rows = [(None, 1.0), (2.0, 3.0), (2.0, None)]
    assert outcomes(function, ["DOUBLE", "DOUBLE"], rows) == [0.0, 5.0, RAISED]


RATE = 1.19


@udf
def gross(net: float) -> float:
    return net * RATE


def test_closures_constants_and_other_functions_are_taken_in() -> None:
    factor = 3

    @udf
    def total(net: float, count: int) -> float:
        return gross(net) * count + factor - math.pi

    function = total.made.compiled
    assert function is not None
    rows = [(1.5, 2), (0.0, 0), (-3.0, 7)]
    assert all(
        same(ours, total(*row))
        for ours, row in zip(outcomes(function, ["DOUBLE", "BIGINT"], rows), rows, strict=True)
    )


UNTRANSLATABLE = [
    ("x = [a]\nreturn a", 1, "a list"),
    ("return a if a else 'x'", 1, "two kinds"),
    ("b = a\nreturn open(b)", 2, "not known"),
    ("try:\n    return a\nexcept ValueError:\n    return 0.0", 1, "statement try"),
    ("b = 1\nfor x in [1, 2]:\n    b += x\nreturn b", 2, "anything but range"),
    ("if a > 0:\n    b = 1\nreturn b", 3, "may have no value"),
    ("return unknown(a)", 1, "not known"),
    ("\n\nreturn round(a, 2)", 3, "digits"),
    ("return sum(x for x in (a,))", 1, "not known"),
    ("import os\nreturn a", 1, "import"),
    ("return int(a)", 1, "declared BOOLEAN"),
    ("with a:\n    pass", 1, "statement with"),
    ("return str(a)", 1, "not known"),
    ("return lambda: a", 1, "a function within"),
    ("while a > 0:\n    a -= 1\nelse:\n    a = 0\nreturn a", 1, "else of a loop"),
]


@pytest.mark.parametrize(("text", "line", "reason"), UNTRANSLATABLE)
def test_what_cannot_be_said_names_its_line(text: str, line: int, reason: str) -> None:
    returns = "BOOLEAN" if "BOOLEAN" in reason else "DOUBLE"
    with pytest.raises(Untranslatable) as caught:
        translate(from_text("f", ["a"], text), [sql_type("DOUBLE")], sql_type(returns))
    assert caught.value.line == line, str(caught.value)
    assert reason in caught.value.reason


def test_a_function_that_calls_itself_is_python() -> None:
    text = "def f(a):\n    return 1.0 if a < 1 else a * f(a - 1)"
    with pytest.raises(Untranslatable, match="calls itself"):
        translate(from_text("f", ["a"], text), [sql_type("DOUBLE")], sql_type("DOUBLE"))


def test_a_function_that_doubles_with_each_line_is_refused_quickly() -> None:
    text = "\n".join(["a = a * a + a"] * 40) + "\nreturn a"
    with pytest.raises(Untranslatable, match="too large"):
        translate(from_text("f", ["a"], text), [sql_type("DOUBLE")], sql_type("DOUBLE"))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [("", 1, "no text"), ("return (a", 1, "never closed"), ("def f(a, b): return a", 1, "takes 2"),
     ("def g(a):\n  return a\ndef h(a):\n  return a", 1, "none is called"),
     ("def f(*a):\n  return a", 1, "plain parameters")],
)  # fmt: skip
def test_text_that_is_no_function(text: str, line: int, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        from_text("f", ["a"], text)
    assert caught.value.line == line


def test_reading_a_text_does_not_run_it() -> None:
    source = from_text("f", ["a"], "import os\nK = os.environ['NO_SUCH']\ndef f(a): return a + K")
    with pytest.raises(Untranslatable, match='"K"'):
        translate(source, [sql_type("DOUBLE")], sql_type("DOUBLE"))


def test_builtins_have_no_source() -> None:
    with pytest.raises(Untranslatable, match="no function written in Python"):
        from_callable(math.sqrt)


def test_inlining_keeps_loop_variables_apart() -> None:
    source = from_text("f", ["a"], LOOPS["while"])
    inner = translate(source, [sql_type("BIGINT")], sql_type("BIGINT"))
    iterates = [inner.body]
    found: list[Iterate] = []
    while iterates:
        node = iterates.pop()
        if isinstance(node, Iterate):
            found.append(node)
        iterates.extend(children(node))
    captured = found[0].variables[0]
    applied = apply(inner, [Variable(captured.name, captured.type)])
    inside = [applied]
    names: set[str] = set()
    while inside:
        node = inside.pop()
        if isinstance(node, Iterate):
            names |= {v.name for v in node.variables}
        inside.extend(children(node))
    assert captured.name not in names


def test_arguments_must_fit() -> None:
    function = gross.made.compiled
    assert function is not None
    with pytest.raises(TypeError, match="takes 1"):
        apply(function, [])
    with pytest.raises(TypeError, match="net is f64"):
        apply(function, [Literal(True, Literal(True, sql_type("BOOLEAN").ir).type)])  # pyright: ignore
    assert apply(function, [Literal(1.0, F64)]).type == F64


# --- many functions ------------------------------------------------------------------------------


class Maker:
    """Makes random functions of two floats and an integer."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names = ["a", "b"]

    def expression(self, depth: int) -> str:
        pick = self.random.random
        if depth == 0 or pick() < 0.15:
            return self.random.choice(
                [*self.names, *self.names, "1.5", "0.0", "-2", "3", "float(c)"]
            )
        kind = self.random.randrange(9)
        x, y = self.expression(depth - 1), self.expression(depth - 1)
        if kind < 4:
            return f"({x} {self.random.choice('+-*/%')} {y})"
        if kind == 4:
            return f"math.{self.random.choice(['sqrt', 'exp', 'log', 'sin', 'floor'])}({x})"
        if kind == 5:
            return f"np.{self.random.choice(['sqrt', 'exp', 'log', 'abs', 'square'])}({x})"
        if kind == 6:
            return f"({x} if {self.condition(depth - 1)} else {y})"
        return f"{self.random.choice(['min', 'max'])}({x}, {y})" if kind == 7 else f"({x} // {y})"

    def condition(self, depth: int) -> str:
        x, y = self.expression(depth), self.expression(depth)
        test = f"{x} {self.random.choice(['<', '<=', '==', '!=', '>'])} {y}"
        if self.random.random() < 0.3:
            return f"({test}) {self.random.choice(['and', 'or'])} not ({y} > {x})"
        return f"({test})"

    def block(self, depth: int, indent: str, in_loop: bool) -> list[str]:
        lines: list[str] = []
        for _ in range(self.random.randint(1, 3)):
            kind = self.random.randrange(7 if depth else 3)
            name = self.random.choice(["a", "b"])
            if kind < 3:
                lines.append(f"{indent}{name} = {self.expression(2)}")
            elif kind == 3:
                lines.append(f"{indent}if {self.condition(1)}:")
                lines += self.block(depth - 1, indent + "    ", in_loop)
                if self.random.random() < 0.5:
                    lines.append(f"{indent}else:")
                    lines += self.block(depth - 1, indent + "    ", in_loop)
            elif kind == 4:
                lines.append(f"{indent}for i in range({self.random.choice(['3', 'c', 'c + 1'])}):")
                lines.append(f"{indent}    a = a * 0.5 + i")
                lines += self.block(depth - 1, indent + "    ", True)
            elif kind == 5 and in_loop:
                lines += [f"{indent}if {self.condition(1)}:",
                          f"{indent}    {self.random.choice(['break', 'continue'])}"]  # fmt: skip
            else:
                lines += [f"{indent}if {self.condition(1)}:",
                          f"{indent}    return {self.expression(1)}"]  # fmt: skip
        return lines

    def text(self) -> str:
        return "\n".join([*self.block(2, "", False), f"return {self.expression(2)}"])


def test_random_functions_agree_with_python() -> None:
    values = [0.0, 1.0, -1.0, 2.5, -3.75, 100.0, 1e-9]
    rows = [(a, b, c) for a in values for b in values[:5] for c in (0, 1, 3)]
    kinds = ["DOUBLE", "DOUBLE", "BIGINT"]
    translated, compared = 0, 0
    for seed in range(120):
        text = Maker(seed).text()
        source = from_text("f", ["a", "b", "c"], text)
        try:
            function = translate(source, [sql_type(k) for k in kinds], sql_type("DOUBLE"))
        except Untranslatable:
            continue
        translated += 1
        ours, theirs = outcomes(function, kinds, rows), python(source.make(), rows)
        for row, mine, wanted in zip(rows, ours, theirs, strict=True):
            if wanted is RAISED:
                assert mine is RAISED, (text, row, mine)
            elif mine is not RAISED:
                if isinstance(wanted, int):
                    wanted = float(wanted)
                compared += 1
                close = same(mine, wanted) or math.isclose(mine, wanted, rel_tol=1e-9, abs_tol=1e-9)
                assert close, (text, row, mine, wanted)
    assert translated >= 60
    assert compared >= 1500


def test_names_that_begin_behind_a_return_or_a_continue() -> None:
    early = "if a < 0:\n    return 0.0\nd = a * 2\nif d > b:\n    d = b\nreturn d"
    check(early, ["DOUBLE", "DOUBLE"], "DOUBLE", PAIRS)
    text = (
        "t = 0\nfor i in range(a):\n    if i % 2:\n        t += 1\n        continue\n"
        "    d = i * b\n"
        "    if d > 20:\n        t = d\n        break\n    t += d\nreturn t"
    )
    whole = [(a, b) for a in (0, 1, 4, 9, 40) for b in (-2, 0, 1, 5)]
    check(text, ["BIGINT", "BIGINT"], "BIGINT", whole)
    check(text.replace("range(a)", "range(9)"), ["BIGINT", "BIGINT"], "BIGINT", whole)
