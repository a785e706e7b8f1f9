"""Approximate columns go where an interval survives, and are refused wherever they would decide.

In the statements `{n}` stands for a query with the approximate column n, `{v}` for one with the
exact column video besides.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from foveal.errors import NotSupportedError
from foveal.planner.bind import Bound

BindSql = Callable[..., Bound]

N = "(SELECT FCOUNT(*) AS n FROM street ERROR WITHIN 0.1)"
V = "(SELECT video, FCOUNT(*) AS n FROM street GROUP BY video ERROR WITHIN 0.1)"

CALL = "a function, an aggregate or a comparison"
CUT = "ORDER BY .. LIMIT"
ORDER = "ORDER BY of a sub-query"
NAMES = "a list of column names over a star"
STARS = "UNION ALL with a star over unknown columns"
TEXT = "an expression that names it by its text"
LATERAL = "an expression by an alias of the same list"
VOLATILE = "an expression that is not the same each time"
PLACE = "a place other than a select list"
ROWS = "the rows that a statement changes"
NESTED = "a correlated sub-query"
TURNED = "PIVOT or UNPIVOT"


def filled(sql: str) -> str:
    return sql.replace("{n}", N).replace("{v}", V)


@pytest.mark.parametrize(
    "sql",
    [
        "{n}",
        "SELECT * FROM {v}",
        "SELECT q.* FROM {v} q, cams",
        "SELECT *, 1 FROM {v} WHERE video = 'a.mp4'",
        "SELECT n / 2, -n, (n), n * 3, 2 * n, n + n, n - zone FROM {n}, cams",
        "SELECT n::DOUBLE * 2 - 1 FROM {n}",
        "SELECT (SELECT n FROM {n}) * 2",
        "SELECT (SELECT FCOUNT(*) FROM street ERROR WITHIN 0.1) + 1",
        "SELECT (SELECT n FROM {n}) + FCOUNT(*) FROM street ERROR WITHIN 1",
        "SELECT FCOUNT(*) FILTER (WHERE class = 'car') + 1 FROM street ERROR WITHIN 0.1",
        "SELECT n FROM {n} UNION ALL SELECT 1 ORDER BY n",
        "SELECT 1 AS m UNION ALL SELECT n FROM {n}",
        "SELECT a FROM (SELECT video AS a, n FROM {v} UNION ALL SELECT 'x', 1) WHERE a = 'x'",
        "SELECT b FROM (SELECT 1 AS a, 2 AS b UNION ALL SELECT n, 3 FROM {n}) WHERE b = 2",
        "SELECT video FROM (SELECT * FROM {v} UNION ALL SELECT * FROM {v}) WHERE video = 'x'",
        "SELECT a FROM {v} q(a, b) WHERE a = 'x'",
        "WITH c(a) AS {n} SELECT a + 1 FROM c",
        "WITH c AS {v} SELECT n FROM c WHERE video = 'x' ORDER BY video LIMIT 1",
        "SELECT * FROM cams JOIN {v} q USING (video)",
        "SELECT q.n FROM {v} q JOIN cams ON cams.video = q.video",
        "SELECT n FROM ({v} q JOIN cams ON cams.video = q.video)",
        "SELECT n FROM (({v}))",
        "SELECT x FROM cams, LATERAL (SELECT n AS x FROM {n}) l",
        "SELECT video, n FROM {v} ORDER BY 1 LIMIT 2",
        "SELECT video, n AS m FROM {v} ORDER BY m",
        "SELECT video, count(*) FROM {v} GROUP BY 1",
        "SELECT video, count(*) FROM {v} GROUP BY ALL ORDER BY ALL LIMIT 2",
        "SELECT video, FCOUNT(*) AS n FROM street GROUP BY video ORDER BY 1 LIMIT 1 ERROR WITHIN 1",
        "SELECT video, FCOUNT(*) FROM street GROUP BY ALL ORDER BY video LIMIT 1 ERROR WITHIN 1",
        "SELECT 1 FROM cams ORDER BY (SELECT FCOUNT(*) FROM street ERROR WITHIN 0.1)",
        "CREATE TABLE t AS SELECT COLUMNS(*) + 1 FROM {n}",
        "SELECT * EXCLUDE (n) FROM {v} WHERE video = 'a'",
        "SELECT * FROM (SELECT * EXCLUDE (n), 1 AS n FROM {v}) WHERE n > 1",
        "SELECT * FROM (SELECT * REPLACE (1 AS n) FROM {v}) WHERE n > 1",
        "CREATE TABLE t AS SELECT * REPLACE (n * 2 AS n) FROM {v}",
        "SELECT * FROM (SELECT * RENAME (video AS w) FROM {v}) WHERE w = 'x'",
        "SELECT video FROM (SELECT video, n + 1 FROM {v}) WHERE video = 'x'",
        "SELECT n, (SELECT max(zone) FROM cams) FROM {n}",
        "SELECT n, (SELECT max(q.n) FROM other q) FROM {n} q",
        "SELECT n, (SELECT max(n) FROM (SELECT 1 AS n)) FROM {n}",
        "WITH o AS (SELECT 1 AS n) SELECT n, (SELECT max(n) FROM o) FROM {n}",
        "SELECT a.n FROM {n} a, (SELECT n FROM other WHERE n > 1) b",
        "SELECT n FROM {n} LIMIT 1 OFFSET 2",
        "INSERT INTO t SELECT n FROM {n}",
        "CREATE TABLE t AS SELECT n FROM {n}",
        "COPY (SELECT n FROM {n}) TO 'x.csv'",
        "VALUES ((SELECT FCOUNT(*) FROM street ERROR WITHIN 0.1))",
        "UPDATE cams SET zone = (SELECT FCOUNT(*) FROM street ERROR WITHIN 0.1) + 1, place = 'x'",
        "SELECT * FROM (SELECT video, n FROM {v} ORDER BY n)",
        "(SELECT video, n FROM {v} ORDER BY n)",
        "(SELECT video, n FROM {v}) ORDER BY n",
        "(SELECT video, n FROM {v}) ORDER BY video LIMIT 1",
        "WITH c AS {n} (SELECT n FROM c)",
        "SELECT video FROM (SELECT * FROM (SELECT video, n FROM {v} ORDER BY n) WHERE video > 'a')",
        "SELECT * FROM (SELECT video, n FROM {v} ORDER BY video) LIMIT 1",
        "CREATE TABLE t AS SELECT video, n FROM {v} ORDER BY n",
    ],
)
def test_allowed(bind_sql: BindSql, sql: str) -> None:
    assert bind_sql(filled(sql)).approximate


@pytest.mark.parametrize(
    ("sql", "what", "at"),
    [
        # names that reach WHERE by another way than their own
        ("SELECT m FROM (SELECT 1 AS m UNION ALL SELECT n FROM {n}) WHERE m > 2", "WHERE", "m"),
        ("SELECT m FROM (SELECT 1 AS m UNION ALL SELECT * FROM {n}) WHERE m > 2", "WHERE", "m"),
        ("SELECT m FROM (SELECT * FROM a UNION ALL SELECT n FROM {n}) WHERE m > 2", "WHERE", "m"),
        (
            "SELECT n FROM (SELECT 2 AS m, 1 AS n UNION ALL BY NAME SELECT n FROM {n}) WHERE n > 1",
            "WHERE",
            "n",
        ),
        ("SELECT a FROM {n} q(a) WHERE a > 1", "WHERE", "a"),
        ("SELECT a FROM {v} q(a, b) WHERE b > 1", "WHERE", "b"),
        ("SELECT a FROM {v} q(a) WHERE n > 1", "WHERE", "n"),
        ("SELECT a FROM (SELECT * FROM {v}) q(a) WHERE a > 'x'", "WHERE", "a"),
        ("WITH c(a) AS {n} SELECT a FROM c WHERE a > 1", "WHERE", "a"),
        ("WITH c AS {n} SELECT 1 FROM c AS d(a) WHERE d.a > 1", "WHERE", "a"),
        ("SELECT * FROM (FROM {v}) WHERE n > 1", "WHERE", "n"),
        ("SELECT * FROM (SELECT q.* FROM {v} q) z WHERE z.n > 1", "WHERE", "n"),
        ("SELECT * FROM (SELECT * RENAME (n AS m) FROM {v}) WHERE m > 1", "WHERE", "m"),
        (
            "SELECT * FROM (SELECT * REPLACE (n AS video) FROM {v}) WHERE video > 1",
            "WHERE",
            "video",
        ),
        ("SELECT * FROM (SELECT COLUMNS(*) FROM {v}) WHERE n > 1", "WHERE", "n"),
        ('SELECT * FROM (SELECT n + 1 FROM {n}) WHERE "(n + 1)" > 2', "WHERE", '"(n + 1)"'),
        ("SELECT * FROM (SELECT (n) FROM {n}) WHERE n > 2", "WHERE", "n"),
        ("SELECT x FROM cams, LATERAL (SELECT n AS x FROM {n}) l WHERE x > 1", "WHERE", "x"),
        ("SELECT x FROM cams CROSS JOIN LATERAL {n} l(x) WHERE l.x > 1", "WHERE", "x"),
        ("SELECT n AS m FROM {n} WHERE m > 1", "WHERE", "m"),
        ("SELECT 1 FROM ({n} q JOIN cams ON true) WHERE q.n > 1", "WHERE", "n"),
        ("SELECT 1 FROM {n} q WHERE q IS NULL", "WHERE", "q"),
        ("SELECT 1 FROM {v} WHERE #2 > 1", "WHERE", None),
        ("SELECT 1 FROM cams WHERE zone > (SELECT n FROM {n})", "WHERE", "n"),
        (
            "WITH RECURSIVE t(a) AS (SELECT n FROM {n} UNION ALL SELECT a + 1 FROM t WHERE a < 9) "
            "SELECT a FROM t",
            "WHERE",
            "a",
        ),
        # other clauses that choose
        ("SELECT 1 FROM ({n} q JOIN cams ON zone = q.n)", "a join condition", "n"),
        (
            "SELECT 1 FROM cams JOIN cams d ON d.zone > (SELECT n FROM {n})",
            "a join condition",
            "n",
        ),
        ("SELECT 1 FROM cams JOIN {n} q USING (n)", "a join condition", "n"),
        ("SELECT n, count(*) FROM {n} GROUP BY 1", "GROUP BY", "n"),
        ("SELECT n FROM {n} GROUP BY ALL", "GROUP BY", "n"),
        ("SELECT n AS m FROM {n} GROUP BY m", "GROUP BY", "m"),
        ("SELECT 1 FROM {n} WINDOW w AS (ORDER BY n)", "WINDOW", "n"),
        ("SELECT video, n FROM {v} ORDER BY 2 LIMIT 2", CUT, "n"),
        ("SELECT * FROM {v} ORDER BY 2 LIMIT 2", CUT, None),
        ("SELECT video, n FROM {v} ORDER BY ALL LIMIT 2", CUT, "n"),
        ("SELECT video, n FROM {v} ORDER BY n OFFSET 1", CUT, "n"),
        ("SELECT 1 FROM cams ORDER BY (SELECT n FROM {n}) LIMIT 1", CUT, "n"),
        ("SELECT n FROM {n} UNION ALL SELECT n FROM {n} ORDER BY n LIMIT 1", CUT, "n"),
        (
            "SELECT video, FCOUNT(*) FROM street GROUP BY video ORDER BY 2 LIMIT 1 ERROR WITHIN 1",
            CUT,
            "FCOUNT",
        ),
        (
            "SELECT video FROM street GROUP BY 1 ORDER BY FCOUNT(*) LIMIT 1 ERROR WITHIN 1",
            CUT,
            "FCOUNT",
        ),
        ("(SELECT video, n FROM {v}) ORDER BY n LIMIT 1", CUT, "n"),
        ("(SELECT video, n FROM {v}) ORDER BY 2 LIMIT 1", CUT, None),
        ("SELECT * FROM ((SELECT video, n FROM {v}) ORDER BY n) LIMIT 1", ORDER, "n"),
        ("WITH c AS {n} (SELECT n FROM c WHERE n > 1)", "WHERE", "n"),
        ("(SELECT 1) LIMIT (SELECT n FROM {n})", PLACE, "n"),
        # an order that lives on in the query around
        ("SELECT * FROM (SELECT video, n FROM {v} ORDER BY n) LIMIT 1", ORDER, "n"),
        ("SELECT * FROM (SELECT video, n FROM {v} ORDER BY n DESC) OFFSET 1", ORDER, "n"),
        ("SELECT * FROM (SELECT video, n FROM {v} ORDER BY ALL) LIMIT 1", ORDER, "n"),
        ("SELECT * FROM (SELECT * FROM (SELECT video, n FROM {v} ORDER BY n)) LIMIT 1", ORDER, "n"),
        ("SELECT * FROM ((SELECT video, n FROM {v} ORDER BY n)) LIMIT 1", ORDER, "n"),
        ("SELECT first(video) FROM (SELECT video, n FROM {v} ORDER BY n)", ORDER, "n"),
        ("SELECT list(video) FROM (SELECT video, n FROM {v} ORDER BY n)", ORDER, "n"),
        ("SELECT row_number() OVER () FROM (SELECT video, n FROM {v} ORDER BY n)", ORDER, "n"),
        ("SELECT (SELECT video FROM {v} ORDER BY n)", ORDER, "n"),
        ("SELECT video IN (SELECT video FROM {v} ORDER BY n) FROM cams", ORDER, "n"),
        ("SELECT ARRAY(SELECT video FROM {v} ORDER BY n)", ORDER, "n"),
        ("WITH c AS (SELECT * FROM {v} ORDER BY n) SELECT video FROM c LIMIT 1", ORDER, "n"),
        ("(SELECT video, n FROM {v} ORDER BY n) UNION ALL SELECT 'x', 1 LIMIT 1", ORDER, "n"),
        ("SELECT DISTINCT ON (a) a FROM (SELECT 1 AS a, n FROM {v} ORDER BY n)", ORDER, "n"),
        (
            "SELECT * FROM (SELECT n FROM {n} UNION ALL SELECT n FROM {n} ORDER BY n) LIMIT 1",
            ORDER,
            "n",
        ),
        (
            "SELECT * FROM (SELECT video, FCOUNT(*) FROM street GROUP BY 1 ORDER BY 2 "
            "ERROR WITHIN 1) LIMIT 1",
            ORDER,
            "FCOUNT",
        ),
        ("SELECT n::FLOAT FROM {n}", CALL, "n"),
        # what would leave open which column of the result has which interval
        ("SELECT COLUMNS(*) FROM {v}", "COLUMNS(..)", None),
        ("SELECT COLUMNS(*) + 1 FROM {n}", "COLUMNS(..)", None),
        ("SELECT * REPLACE (n * 2 AS n) FROM {v}", "REPLACE", "n"),
        ("SELECT a FROM (SELECT *, 1 FROM other, {v}) q(a)", NAMES, "q"),
        ("SELECT * FROM other UNION ALL SELECT n FROM {n}", STARS, "n"),
        ("SELECT * FROM {v}, cams UNION ALL SELECT 'x', 1, 2", STARS, "cams"),
        ('SELECT "(n + 1)" FROM (SELECT n + 1 FROM {n})', TEXT, '"(n + 1)"'),
        ("SELECT n + 1 AS m, m * 2 FROM {n}, cams", LATERAL, "m"),
        ("SELECT n * random() FROM {n}", VOLATILE, "n"),
        ("SELECT (SELECT n FROM {n} UNION ALL SELECT 1)", "a set operation in an expression", "n"),
        (
            "SELECT frame, (SELECT n FROM {n}) FROM street LIMIT 2 GAP 3",
            "a block with GAP",
            "n",
        ),
        (
            "WITH RECURSIVE t(a) AS (SELECT n FROM {n} UNION ALL SELECT a + 1 FROM t) "
            "SELECT a FROM t",
            "a recursive query",
            "t",
        ),
        ("SELECT video FROM cams LIMIT (SELECT n FROM {n})", PLACE, "n"),
        ("SELECT n FROM {n} UNION ALL SELECT 1 LIMIT (SELECT n FROM {n})", PLACE, "n"),
        ("SELECT * FROM range((SELECT n FROM {n}))", PLACE, "n"),
        ("WITH c AS {n} SELECT * FROM cams LIMIT (SELECT n FROM c)", PLACE, "c"),
        ("SELECT 1 FROM cams WHERE zone > ALL {n}", "IN or EXISTS", "FCOUNT"),
        # what loses the interval
        ("SELECT q FROM {n} q", CALL, "q"),
        ("SELECT max(COLUMNS(*)) FROM {n}", CALL, None),
        ("SELECT hash(*) FROM {n}", CALL, None),
        ("SELECT n AS m, m > 1 AS busy FROM {n}", CALL, "m"),
        ("SELECT n * (n + 1) FROM {n}", CALL, "n"),
        ("SELECT 1 / n FROM {n}", CALL, "n"),
        ("SELECT n::INT FROM {n}", CALL, "n"),
        ("SELECT * REPLACE (n > 1 AS n) FROM {v}", CALL, "n"),
        ("SELECT round(FCOUNT(*)) FROM street ERROR WITHIN 0.1", CALL, "FCOUNT"),
        ("SELECT * FROM {v} q PIVOT (sum(n) FOR video IN ('a'))", TURNED, "sum"),
        ("WITH c AS {v} SELECT * FROM c PIVOT (sum(n) FOR video IN ('a'))", TURNED, "c"),
        ("PIVOT {v} ON video USING sum(n)", TURNED, "video"),
        # from inside of nested queries
        ("SELECT (SELECT count(*) FROM cams WHERE zone < q.n) FROM {n} q", NESTED, "n"),
        ("SELECT (SELECT count(*) FROM cams WHERE zone < n) FROM {n}", NESTED, "n"),
        ("SELECT (SELECT n > 1) FROM {n}", NESTED, "n"),
        ("SELECT x FROM {n} q, LATERAL (SELECT q.n > 1 AS x) l", NESTED, "n"),
        # writes
        ("DELETE FROM cams WHERE zone > (SELECT n FROM {n})", ROWS, "n"),
        ("DELETE FROM cams USING {n} q WHERE zone > q.n", ROWS, "FCOUNT"),
        ("UPDATE cams SET zone = 1 FROM {n} q WHERE q.n > 2", ROWS, "FCOUNT"),
        ("UPDATE cams SET zone = 1 WHERE zone > (SELECT n FROM {n})", ROWS, "n"),
        ("UPDATE cams SET zone = round((SELECT n FROM {n}))", CALL, "n"),
        ("MERGE INTO cams USING {n} q ON zone = q.n WHEN MATCHED THEN DELETE", ROWS, "FCOUNT"),
        ("WITH c AS {n} DELETE FROM cams WHERE zone > (SELECT n FROM c)", ROWS, "c"),
    ],
)
def test_refused(bind_sql: BindSql, sql: str, what: str, at: str | None) -> None:
    text = filled(sql)
    with pytest.raises(NotSupportedError) as caught:
        bind_sql(text)
    assert caught.value.message == f"an approximate value cannot be used in {what}"
    span = caught.value.span
    assert (text[span.start : span.end] if span else None) == at
    composes = what in (NAMES, STARS, TEXT, LATERAL, VOLATILE, "COLUMNS(..)", "REPLACE",
                        "a set operation in an expression", "a block with GAP")  # fmt: skip
    assert caught.value.hint
    assert composes or "leave out ERROR WITHIN" in caught.value.hint


def test_exact_answers_go_anywhere(bind_sql: BindSql) -> None:
    exact = "SELECT n FROM (SELECT FCOUNT(*) AS n FROM street) WHERE n > 1 ORDER BY n LIMIT 1"
    assert not bind_sql(exact).approximate
    beside = (
        f"SELECT n FROM {N} a, (SELECT 1 AS z WHERE z IN (SELECT DISTINCT frame FROM street)) b"
    )
    assert bind_sql(beside).approximate
