"""Generated statements over a table of every type: with programs and without, the same answers.

`foveal.compile = on` must give DuckDB's rows, names, types and errors. Sums and averages of floats
may differ in the order of summation, nothing else.
"""

import math
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest

from foveal.engine.compile.interpreter import interpret
from foveal.engine.session import Session
from foveal.errors import FovealError

ROWS = 600
STATEMENTS = 150

TABLE = f"""
CREATE TABLE t AS SELECT
    CASE WHEN i % 11 <> 0 THEN (i * 7 % 120 - 40)::TINYINT END AS ti,
    CASE WHEN i % 13 <> 0 THEN (i * 31 % 2000 - 1000)::SMALLINT END AS si,
    (i * 7919 % 100000)::INTEGER AS i,
    CASE WHEN i % 5 <> 0 THEN (i * 104729)::BIGINT END AS b,
    (i % 50)::UINTEGER AS u,
    CASE WHEN i % 17 <> 0 THEN (i / 8.0)::FLOAT END AS f,
    CASE i % 23 WHEN 0 THEN 'nan'::DOUBLE WHEN 1 THEN 'inf'::DOUBLE WHEN 2 THEN -0.0 WHEN 3 THEN
        NULL ELSE (i - 300) / 4.0 END AS d,
    CASE WHEN i % 7 <> 0 THEN (i * 13 % 10000 / 100 - 20)::DECIMAL(15,2) END AS m,
    (i % 90 / 10)::DECIMAL(4,1) AS m4,
    CASE WHEN i % 19 <> 0 THEN DATE '1994-01-01' + (i * 3 % 900)::INTEGER END AS dt,
    TIMESTAMP '1995-03-01 10:20:30' + to_seconds(i * 5000) AS ts,
    CASE WHEN i % 6 <> 0 THEN i % 4 = 1 END AS bo,
    CASE WHEN i % 9 <> 0 THEN ['MAIL', 'SHIP', 'AIR', '', 'Föö', 'a''b', 'REG AIR'][i % 7 + 1] END
        AS s,
    CASE WHEN i % 8 <> 0 THEN ['low', 'mid', 'high'][i % 3 + 1] END::ENUM('low', 'mid', 'high')
        AS e,
    (i * 37 % {ROWS})::INTEGER AS k
FROM range({ROWS}) r(i)
"""
DIMENSION = """
CREATE TABLE p AS SELECT i::INTEGER AS pk, (i % 5)::INTEGER AS grp,
    CASE WHEN i % 4 <> 0 THEN (i / 3)::DECIMAL(8,2) END AS price, ['x', 'y', 'z'][i % 3 + 1] AS name
FROM range(0, 500) r(i)
"""

NUMBERS = ("ti", "si", "i", "b", "u", "f", "d", "m", "m4")
WHOLE = ("ti", "si", "i", "b", "u")


class Maker:
    """Makes statements from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def pick(self, *choices: str) -> str:
        return self.random.choice(choices)

    def filled(self, template: str, depth: int) -> str:
        """Return a template with $x, $y numbers, $c a condition, $n, $w columns of numbers."""
        makers = {
            "$x": lambda: self.number(depth - 1), "$y": lambda: self.number(depth - 1),
            "$c": lambda: self.condition(0), "$n": lambda: self.pick(*NUMBERS),
            "$w": lambda: self.pick(*WHOLE),
        }  # fmt: skip
        return re.sub(r"\$[xycnw]", lambda found: makers[found.group()](), template)

    def number(self, depth: int = 2) -> str:
        if depth <= 0 or self.random.random() < 0.3:
            return self.pick(*NUMBERS, "1", "-2", "0.5", "100", "2.25", "1e2", "3000000000")
        template = self.pick(
            "($x + $y)", "($x - $y)", "$x * $y", "($x / $y)", "-$n", "abs($x)",
            "CASE WHEN $c THEN $x ELSE $y END", "CASE WHEN $c THEN $x END", "coalesce($x, $y)",
            "least($x, $y)", "greatest($x, 3)", "nullif($x, 0)", "CAST($x AS DOUBLE)",
            "$w // nullif($w, 0)", "$w % 7", "year(dt)", "year(ts)", "extract(month FROM dt)",
            "length(s)", "date_part('hour', ts)", "sqrt(abs($x))", "(dt - DATE '1994-06-01')",
            "m::INTEGER", "floor(d)", "ceil(d)", "round(d)", "sign($x)", "ts::DATE - dt",
            "CAST(bo AS INTEGER)", "if($c, 1, 2)", "ln(abs($x) + 1)", "$x::DECIMAL(18,3)",
        )  # fmt: skip
        return self.filled(template, depth)

    def condition(self, depth: int = 1) -> str:
        if depth > 0 and self.random.random() < 0.5:
            x, y = self.condition(depth - 1), self.condition(depth - 1)
            return self.pick(f"({x} AND {y})", f"({x} OR {y})", f"NOT ({x})", f"({x}) IS NOT TRUE")
        template = self.pick(
            "$n < $x", "$n <= $x", "$n > $x", "$n >= $x", "$n = $x", "$n <> $x",
            "$n BETWEEN $x AND 50", "$n IS NULL", "bo", "NOT bo",
            "$n IN (1, 2, 3.5)", "$n NOT IN (1, 10)", "s LIKE '%A%'", "s = 'MAIL'",
            "s IN ('AIR', 'SHIP', 'nothing')", "s NOT LIKE '_A%'", "s ILIKE 'm%'", "s < 'M'",
            "e = 'mid'", "e IN ('low', 'high')", "e IS NULL", "dt >= DATE '1995-01-01'",
            "dt < '1995-06-01'", "dt <= DATE '1998-12-01' - INTERVAL '1000' DAY",
            "ts > TIMESTAMP '1995-03-10'", "ts < '1995-03-20 12:00:00'", "dt = ts::DATE",
            "m IS DISTINCT FROM 5", "d IS NOT DISTINCT FROM 'nan'::DOUBLE", "d > 1e300",
            "starts_with(s, 'A')", "contains(s, 'I')", "regexp_matches(s, '^[A-M]+$')",
            "substring(s, 1, 1) IN ('M', 'S')", "s || 'x' = 'AIRx'", "upper(s) = 'FÖÖ'",
            "isnan(d)", "bo IS TRUE", "bo IS NOT FALSE", "ti = si", "m4 = 3.5", "d = -0.0",
            "i % 2 = 1", "dt + 3 > ts", "dt + INTERVAL '2' DAY < ts",
        )  # fmt: skip
        return self.filled(template, depth)

    def aggregate(self) -> str:
        x = self.number(1)
        found = self.pick(
            f"sum({x})", f"avg({x})", f"min({x})", f"max({x})", f"count({x})", "count(*)",
            "min(dt)", "max(ts)", "min(s)", "max(e)", "count(s)", "sum(m * (1 - m4))", "avg(m)",
            "avg(b)", f"sum(CASE WHEN {self.condition(0)} THEN 1 ELSE 0 END)", "min(bo)",
            "sum(i)", "sum(m)", "count(e)", "sum(u)", "max(m4)", "min(d)", "max(d)", "max(f)",
        )  # fmt: skip
        if self.random.random() < 0.2:
            return f"{found} FILTER (WHERE {self.condition()})"
        if self.random.random() < 0.15:
            return f"{found} / nullif(count(*), 3)" if "min(" not in found else found
        return found

    def key(self) -> str:
        return self.pick(
            "ti", "bo", "s", "e", "m4", "dt", "u % 5", "year(dt)", "substring(s, 1, 1)", "i % 10",
            "ti > 5", "d", "extract(month FROM ts)", "upper(s)", "si // 100", "coalesce(ti, 0)",
            "length(s)", "CASE WHEN m > 10 THEN 1 WHEN m > 0 THEN 2 END", "s = 'AIR'",
        )  # fmt: skip

    def statement(self) -> str:
        keys = [self.key() for _ in range(self.random.choice((0, 0, 1, 1, 2)))]
        keys = list(dict.fromkeys(keys))
        aggregates = [self.aggregate() for _ in range(self.random.randint(1, 4))]
        items = [*keys, *aggregates]
        if self.random.random() < 0.4:
            items = [f"{x} AS c{n}" for n, x in enumerate(items)]
        where = f" WHERE {self.condition(2)}" if self.random.random() < 0.7 else ""
        group = ""
        if keys:
            group = self.pick(
                " GROUP BY " + ", ".join(keys), " GROUP BY ALL",
                " GROUP BY " + ", ".join(str(n + 1) for n in range(len(keys))),
            )  # fmt: skip
        having = " HAVING count(*) > 3" if self.random.random() < 0.2 else ""
        order = " ORDER BY ALL" if self.random.random() < 0.3 else ""
        return f"SELECT {', '.join(items)} FROM t{where}{group}{having}{order}"

    def joined(self) -> str:
        where = self.pick("", " AND grp < 3", " AND name <> 'x'", " AND price > 20 AND m > 0",
                          " AND (name = 'x' AND u > 5 OR name = 'y' AND u < 9)")  # fmt: skip
        items = self.pick("count(*), sum(price)", "name, sum(m * price), max(grp)",
                          "grp, name, avg(price), min(s)", "grp, sum(b)")  # fmt: skip
        group = "" if items.startswith("count") else " GROUP BY ALL"
        source = self.pick("t, p WHERE k = pk", "t JOIN p ON t.k = p.pk WHERE i >= 0",
                           "p JOIN t ON p.pk = k WHERE ti IS NOT NULL")  # fmt: skip
        return f"SELECT {items} FROM {source}{where}{group}"


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    found = Session()
    found.execute(TABLE).close()
    found.execute(DIMENSION).close()
    yield found
    found.close()


def answer(session: Session, sql: str, mode: str, parameters: Any = None) -> Any:
    """Return columns and sorted rows, or the error's words."""
    session.execute(f"SET foveal.compile = '{mode}'").close()
    try:
        result = session.execute(sql, parameters)
        return result.columns, sorted(result.fetchall(), key=repr)
    except FovealError as error:
        return type(error).__name__, error.sqlstate, error.message


def alike(a: Any, b: Any) -> bool:
    """Say whether two values are equal, floats but for the order of summation."""
    if isinstance(a, float) and isinstance(b, float):
        return repr(a) == repr(b) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
    return type(a) is type(b) and a == b


def same(ours: Any, theirs: Any) -> bool:
    """Say whether two answers are the same."""
    if isinstance(ours[0], str) or isinstance(theirs[0], str):
        return bool(ours == theirs)
    if ours[0] != theirs[0] or len(ours[1]) != len(theirs[1]):
        return False
    rest = list(theirs[1])
    for row in ours[1]:  # close floats may sort differently
        at = next((n for n, other in enumerate(rest) if all(map(alike, row, other))), None)
        if at is None:
            return False
        rest.pop(at)
    return True


def told(session: Session, sql: str) -> str:
    """Return what EXPLAIN (COMPILED) says."""
    return "\n".join(row[0] for row in session.execute(f"EXPLAIN (COMPILED) {sql}").fetchall())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("runner", ["interpreter", "machine"])
def test_generated(session: Session, seed: int, runner: str) -> None:
    session.compiled.programs.instead = interpret if runner == "interpreter" else None
    maker = Maker(seed if runner == "interpreter" else 100 + seed)
    compiled = 0
    count = STATEMENTS if runner == "interpreter" else STATEMENTS // 5
    for n in range(count):
        sql = maker.joined() if n % 10 == 9 else maker.statement()
        theirs = answer(session, sql, "off")
        ours = answer(session, sql, "on")
        assert same(ours, theirs), f"{sql}\n{ours}\n{theirs}"
        compiled += session.report.plan_kind == "compiled"
    # What is refused is what DuckDB computes in ways that programs do not have, or errors.
    assert compiled > count * (0.5 if runner == "interpreter" else 0.2), f"{compiled} of {count}"
