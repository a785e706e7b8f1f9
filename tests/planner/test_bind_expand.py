"""Views and macros are written out where a name means one, and nowhere else."""

from __future__ import annotations

import pytest

from foveal.errors import ProgrammingError
from foveal.planner.bind.expand import expand, substitute
from foveal.planner.parse.parser import parse
from foveal.planner.parse.statement import Query
from foveal.planner.protocols import StoredText

STORED = {
    "cars": StoredText("cars", "view", "SELECT * FROM street WHERE class = 'car'"),
    "named": StoredText("named", "view", "SELECT video FROM street", columns=("v",)),
    "seen": StoredText("seen", "table_macro", "SELECT * FROM street WHERE class = k", ("k",)),
    "twice": StoredText("twice", "scalar_macro", "x * 2 + s.x", ("x",)),
    "both": StoredText("both", "scalar_macro", "a + b", ("a", "b")),
    "none": StoredText("none", "scalar_macro", "1", ()),
}
FUNCTIONS = {"area": StoredText("area", "scalar_macro", "(w) * 2", ("w",))}
CARS = "(SELECT * FROM street WHERE class = 'car')"


def expanded(sql: str) -> str | None:
    query = parse(sql, frozenset({"street", "area", *STORED}))
    assert isinstance(query, Query)
    made = expand(query, STORED, FUNCTIONS)
    return None if made is None else made.text


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT * FROM cars", f'SELECT * FROM {CARS} AS "cars"'),
        ("SELECT * FROM Cars c", f"SELECT * FROM {CARS} c"),
        ("SELECT * FROM cars AS c", f"SELECT * FROM {CARS} AS c"),
        ('SELECT * FROM cars "c d"', f'SELECT * FROM {CARS} "c d"'),
        ("SELECT * FROM cars WHERE true", f'SELECT * FROM {CARS} AS "cars" WHERE true'),
        ("SELECT 1 FROM cams, cars", f'SELECT 1 FROM cams, {CARS} AS "cars"'),
        ("SELECT 1 FROM f((1), 2) x, cars", f'SELECT 1 FROM f((1), 2) x, {CARS} AS "cars"'),
        (
            "SELECT 1 FROM a JOIN b ON true, cars",
            f'SELECT 1 FROM a JOIN b ON true, {CARS} AS "cars"',
        ),
        ("FROM cams NATURAL JOIN cars", f'FROM cams NATURAL JOIN {CARS} AS "cars"'),
        ("FROM named", 'FROM (SELECT video FROM street) AS "named"("v")'),
        ("FROM named n", 'FROM (SELECT * FROM (SELECT video FROM street) AS "named"("v")) n'),
        ("DESCRIBE cars", f'DESCRIBE {CARS} AS "cars"'),
        ("FROM seen('car')", "FROM (SELECT * FROM street WHERE class = ('car')) AS \"seen\""),
        ("FROM seen('car') s", "FROM (SELECT * FROM street WHERE class = ('car')) s"),
        (
            "SELECT twice(frame) FROM street s",
            'SELECT ((frame) * 2 + s.x) AS "twice(frame)" FROM street s',
        ),
        (
            "SELECT both([1, 2], f(3, 4)) AS n FROM street",
            "SELECT (([1, 2]) + (f(3, 4))) AS n FROM street",
        ),
        ("SELECT n: none() FROM street", "SELECT n: (1) FROM street"),
        ("SELECT none() n FROM street", "SELECT (1) n FROM street"),
        ("SELECT area(xmin) FROM street", 'SELECT (((xmin)) * 2) AS "area(xmin)" FROM street'),
        ("SELECT 1 FROM street WHERE area(3) > 1", "SELECT 1 FROM street WHERE (((3)) * 2) > 1"),
        (
            "SELECT twice(none()) AS n FROM street",  # the inner call waits for the next layer
            "SELECT ((none()) * 2 + s.x) AS n FROM street",
        ),
    ],
)
def test_written_out(sql: str, text: str) -> None:
    assert expanded(sql) == text


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM street",
        "WITH cars AS (SELECT 1) SELECT * FROM cars, street",  # hidden by the WITH clause
        "SELECT cars FROM street AS cars",
        "SELECT cars.frame FROM street AS x, y AS cars",
        "SELECT x.cars FROM street x",
        "SELECT frame, cars FROM street",
        "SELECT f(1, cars) FROM street",
        "SELECT frame FROM street ORDER BY frame, cars",
        "SELECT cars(1) FROM street",  # a view is not called
        "SELECT twice FROM street",  # nor is a macro read
        "SELECT * FROM other.cars, street",
    ],
)
def test_left_alone(sql: str) -> None:
    assert expanded(sql) is None


@pytest.mark.parametrize(
    ("call", "given", "hint"),
    [
        ("twice()", 0, "twice(x)"),
        ("twice(1, 2)", 2, "twice(x)"),
        ("both(1)", 1, "both(a, b)"),
        ("none(1)", 1, "none()"),
    ],
)
def test_the_number_of_arguments_must_fit(call: str, given: int, hint: str) -> None:
    sql = f"SELECT {call} FROM street"
    with pytest.raises(ProgrammingError, match=f"{given} given") as caught:
        expanded(sql)
    assert caught.value.sqlstate == "42883"
    assert caught.value.hint == f"call it as {hint}"
    assert caught.value.span is not None
    assert sql[caught.value.span.start : caught.value.span.end] == call


def test_parameters_are_replaced_only_where_they_are_names() -> None:
    values = {"a": "1 + 1"}
    assert substitute("a + t.a + a(2) + f(a := a) + 'a'", values) == (
        "(1 + 1) + t.a + a(2) + f(a := (1 + 1)) + 'a'"
    )
    assert substitute('"A" * 2', values) == "(1 + 1) * 2"
