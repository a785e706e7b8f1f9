"""Which relation a block reads, through sub-queries, WITH clauses and renamed columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from foveal.errors import DataError, NotSupportedError, ProgrammingError
from foveal.planner.bind import Bound
from foveal.planner.logical import (
    Filter,
    Fragment,
    FrameAggregate,
    Frames,
    GapLimit,
    Project,
    Selection,
)
from foveal.planner.protocols import Snapshot
from foveal.planner.tree import walk

BindSql = Callable[..., Bound]


def aggregate(bound: Bound) -> FrameAggregate:
    (found,) = [n for n in walk(bound.plan) if isinstance(n, FrameAggregate)]
    return found


def spaced(bound: Bound) -> GapLimit:
    (found,) = [n for n in walk(bound.plan) if isinstance(n, GapLimit)]
    return found


def projected(bound: Bound) -> tuple[str, ...]:
    return next(n.columns for n in walk(bound.plan) if isinstance(n, Project))


@pytest.mark.parametrize(
    ("from_", "source", "pruned"),
    [
        ("street", '{rows} AS "street"', ()),
        ("street AS s WHERE ts > 1", '{rows} AS "s"', ("ts > 1",)),
        (
            "(SELECT * FROM street WHERE frame < 9) q WHERE class = 'car'",
            '(SELECT * FROM {rows} AS "street" WHERE (frame < 9)) AS "q"',
            ("frame < 9",),
        ),
        (
            "(SELECT * FROM (SELECT * FROM street) WHERE ts > 1) WHERE frame < 9",
            '(SELECT * FROM (SELECT * FROM {rows} AS "street") AS "__rows" WHERE (ts > 1))'
            ' AS "__rows"',
            ("ts > 1", "frame < 9"),
        ),
        (
            "(SELECT video, frame, class FROM street) q",
            '(SELECT "video", "frame", "class" FROM {rows} AS "street") AS "q"',
            (),
        ),
        ("(SELECT q.* FROM street q)", '(SELECT * FROM {rows} AS "q") AS "__rows"', ()),
        ("(FROM street)", '(SELECT * FROM {rows} AS "street") AS "__rows"', ()),
    ],
)
def test_sub_queries_that_only_choose_are_followed(
    bind_sql: BindSql, from_: str, source: str, pruned: tuple[str, ...]
) -> None:
    node = aggregate(bind_sql(f"SELECT FCOUNT(*) FROM {from_}"))
    assert node.source.sql == source
    assert isinstance(node.frames, Frames)
    assert tuple(c.source for c in node.frames.conjuncts) == pruned


def test_a_common_table_expression_is_followed(bind_sql: BindSql) -> None:
    held = "WITH c AS (SELECT * FROM street WHERE ts > 1)"
    sql = f"{held} SELECT FCOUNT(*) FROM c AS d WHERE frame < 9"
    node = aggregate(bind_sql(sql))
    assert node.source.sql == '(SELECT * FROM {rows} AS "street" WHERE (ts > 1)) AS "d"'
    assert [alias for alias, _ in node.source.levels] == ["street", "d"]


@pytest.mark.parametrize(
    "from_",
    [
        "(SELECT frame FROM street)",  # video and frame must come along
        "(SELECT *, 1 AS one FROM street)",
        "(SELECT * EXCLUDE (class) FROM street)",
        "(SELECT * REPLACE (1 AS frame) FROM street)",
        "(SELECT DISTINCT * FROM street)",
        "(SELECT * FROM street LIMIT 3)",
        "(SELECT * FROM street) q(a, b)",
        "(SELECT * FROM street) PIVOT (count(*) FOR class IN ('car'))",
        "(SELECT * FROM street) TABLESAMPLE 10%",
        "(SELECT * FROM street UNION ALL SELECT * FROM street)",
        "(SELECT * FROM cams JOIN street USING (video))",
        "(SELECT * FROM foveal.videos)",
        "(VALUES (1)) v, street",
        "street q(a, b)",
        "street TABLESAMPLE 10%",
        "street USING SAMPLE 3",
        "street.tracks",
        "foveal.videos",
        "other.street, street",
        "range(3)",
    ],
)
def test_what_changes_rows_is_not_followed(bind_sql: BindSql, from_: str) -> None:
    with pytest.raises(NotSupportedError, match=r"FCOUNT over a join|FCOUNT needs one video table"):
        bind_sql(f"SELECT FCOUNT(*) FROM {from_}")


@pytest.mark.parametrize(
    "sql",
    [
        "WITH c(a, b) AS (SELECT * FROM street) SELECT FCOUNT(*) FROM c",
        "WITH RECURSIVE c AS (SELECT * FROM street) SELECT FCOUNT(*) FROM c",
        "WITH c AS (SELECT 1 AS one) SELECT FCOUNT(*) FROM c WHERE one IN (FROM street)",
    ],
)
def test_with_clauses_that_are_not_followed(bind_sql: BindSql, sql: str) -> None:
    with pytest.raises(NotSupportedError, match="FCOUNT needs one video table"):
        bind_sql(sql)


def test_an_exact_answer_by_duckdb_keeps_the_budget(bind_sql: BindSql) -> None:
    bound = bind_sql("SELECT count(*) FROM street.tracks ERROR WITHIN 0.1 BUDGET 3 CALLS")
    assert (bound.approximate, bound.budget) == (False, (None, 3))


@pytest.mark.parametrize(
    ("sql", "prefix"),
    [
        (
            "WITH c AS (SELECT 1 AS x) SELECT FCOUNT(*) FROM street "
            "WHERE frame IN (SELECT x FROM c)",
            "WITH c AS (SELECT 1 AS x) ",
        ),
        (
            "WITH RECURSIVE c AS (SELECT 1 AS x), d AS MATERIALIZED (SELECT (2) AS y) "
            "SELECT FCOUNT(*) FROM street WHERE frame IN (SELECT y FROM d)",
            "WITH RECURSIVE c AS (SELECT 1 AS x), d AS MATERIALIZED (SELECT (2) AS y) ",
        ),
        (
            "WITH c AS (SELECT 1 AS x) SELECT (SELECT FCOUNT(*) FROM street "
            "WHERE frame IN (SELECT x FROM c))",
            "WITH c AS (SELECT 1 AS x) ",
        ),
        ("WITH c AS (SELECT 1 AS x) SELECT FCOUNT(*) FROM street", ""),
        ("WITH c AS (SELECT 1 AS x), d AS (SELECT FCOUNT(*) FROM street) SELECT * FROM c, d", ""),
        (
            "WITH c AS (WITH e AS (SELECT 1 AS x) SELECT FCOUNT(*) FROM street "
            "WHERE frame IN (SELECT x FROM e)) SELECT * FROM c",
            "WITH e AS (SELECT 1 AS x) ",
        ),
    ],
)
def test_a_block_takes_the_with_clause_along_that_it_mentions(
    bind_sql: BindSql, sql: str, prefix: str
) -> None:
    assert aggregate(bind_sql(sql)).prefix == prefix


def test_renamed_columns_are_all_read_and_not_pushed(bind_sql: BindSql) -> None:
    bound = bind_sql("SELECT * FROM street AS q(frame, video) WHERE video < 10")
    assert {"video", "frame", "class"} <= set(projected(bound))
    assert "trackid" not in projected(bound)
    assert not [n for n in walk(bound.plan) if isinstance(n, Filter)]
    named = bind_sql("SELECT k FROM street q(a, b, c, d, e, f, g, h, i, j, k)")
    assert "trackid" in projected(named)


# --- GAP ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        (
            "FROM street LIMIT 3 GAP 5",
            'SELECT *, "street".video AS __video, "street".frame AS __place FROM __fv0 AS "street"'
            " ORDER BY __video, __place",
        ),
        (
            "SELECT * FROM (SELECT * FROM street) LIMIT 3 GAP 5",
            'SELECT *, video AS __video, frame AS __place FROM (SELECT * FROM __fv0 AS "street")'
            " ORDER BY __video, __place",
        ),
        (
            "SELECT frame FROM street s GROUP BY frame ORDER BY frame DESC LIMIT 3 GAP 5",
            'SELECT frame, any_value("s".video) AS __video, min("s".frame) AS __place '
            "FROM __fv0 s GROUP BY frame ORDER BY frame DESC, __video, __place",
        ),
        (
            "SELECT frame FROM street JOIN cams USING (video) LIMIT 3 GAP INTERVAL 2 SECOND",
            'SELECT frame, "street".video AS __video, "street".ts AS __place FROM __fv0 AS "street"'
            " JOIN cams USING (video) ORDER BY __video, __place",
        ),
    ],
)
def test_gap_spaces_the_frames_of_its_relation(bind_sql: BindSql, sql: str, text: str) -> None:
    child = spaced(bind_sql(sql)).child
    assert isinstance(child, Fragment)
    assert child.text == text


@pytest.mark.parametrize(
    ("sql", "stops", "calls"),
    [
        ("SELECT frame FROM street LIMIT 3 GAP 5 BUDGET 7 CALLS", True, None),
        ("SELECT frame FROM street WHERE class = 'car' LIMIT 3 GAP 5 BUDGET 7 CALLS", True, None),
        ("SELECT frame FROM street ORDER BY confidence LIMIT 3 GAP 5 BUDGET 7 CALLS", False, 7),
        (
            "SELECT video, frame FROM street GROUP BY video, frame LIMIT 3 GAP 5 BUDGET 7 CALLS",
            True,
            None,
        ),
        ("SELECT frame FROM street GROUP BY frame LIMIT 3 GAP 5 BUDGET 7 CALLS", False, 7),
        ("SELECT max(frame) FROM street LIMIT 3 GAP 5 BUDGET 7 CALLS", False, 7),
        ("SELECT row_number() OVER () FROM street LIMIT 3 GAP 5 BUDGET 7 CALLS", False, 7),
        ("SELECT * FROM (SELECT * FROM street) LIMIT 3 GAP 5 BUDGET 7 CALLS", True, None),
        (
            "SELECT * FROM (SELECT * FROM street WHERE frame > (SELECT 3)) LIMIT 3 GAP 5 "
            "BUDGET 7 CALLS",
            False,
            7,
        ),
        ("SELECT frame FROM street JOIN cams USING (video) LIMIT 3 GAP 5 BUDGET 7 CALLS", False, 7),
    ],
)
def test_gap_stops_early_where_rows_follow_from_one_frame(
    bind_sql: BindSql, sql: str, stops: bool, calls: int | None
) -> None:
    bound = bind_sql(sql)
    assert spaced(bound).by_frame is stops
    assert bound.budget == (None, calls)


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("SELECT 1 LIMIT 3 GAP 5", "over one video table"),
        ("SELECT 1 FROM street a, street b LIMIT 3 GAP 5", "over one video table"),
        ("SELECT 1 FROM street.tracks LIMIT 3 GAP 5", "over one video table"),
        ("SELECT DISTINCT frame FROM street LIMIT 3 GAP 5", "cannot follow SELECT DISTINCT"),
        ("SELECT FCOUNT(*) FROM street LIMIT 3 GAP 5", "cannot space aggregates"),
        ("SELECT frame FROM street LIMIT 1 + 1 GAP 5", "LIMIT before GAP must be a whole number"),
        ("SELECT frame FROM street LIMIT $1 GAP 5", "LIMIT before GAP must be a whole number"),
        ("SELECT frame FROM street LIMIT 3 OFFSET $2 GAP 5", "OFFSET before GAP must be a whole"),
    ],
)
def test_gap_is_refused(bind_sql: BindSql, sql: str, problem: str) -> None:
    with pytest.raises(NotSupportedError, match=problem):
        bind_sql(sql)


def test_limit_and_offset_before_gap_may_be_parameters(bind_sql: BindSql) -> None:
    node = spaced(bind_sql("SELECT frame FROM street LIMIT $3 OFFSET $3 GAP $3"))
    assert (node.limit, node.offset, node.gap) == (5, 5, 5)


# --- the numbers of clauses --------------------------------------------------------------------


def test_numbers_come_from_parameters(bind_sql: BindSql) -> None:
    sql = (
        "SELECT SUM(xmin) FROM street ERROR WITHIN $3 % AT CONFIDENCE $1 BUDGET $3 CALLS "
        "BOUNDS ($1, $3)"
    )
    tolerance = aggregate(bind_sql(sql)).tolerance
    assert (tolerance.epsilon, tolerance.relative, tolerance.confidence) == (0.05, True, 0.25)
    assert (tolerance.calls, tolerance.seconds) == (5, None)
    assert (tolerance.low, tolerance.high) == (0.25, 5)
    timed = aggregate(bind_sql("SELECT FCOUNT(*) FROM street BUDGET $1 SECONDS")).tolerance
    assert (timed.seconds, timed.calls, timed.confidence) == (0.25, None, 0.95)


@pytest.mark.parametrize(
    ("clauses", "problem", "at"),
    [
        ("ERROR WITHIN $2", r"parameter \$2 of a clause must be a number, not 'car'", "$2"),
        ("ERROR WITHIN $9", r"parameter \$9 of a clause must be a number, not None", "$9"),
        ("ERROR WITHIN $4", "must not be negative", "$4"),
        ("ERROR WITHIN $5", "must not be negative", "$5"),
        ("ERROR WITHIN $6", "must be a number, not True", "$6"),
        ("ERROR WITHIN 1 AT CONFIDENCE $7", "between 0% and 100%", "AT CONFIDENCE $7"),
        ("ERROR WITHIN 1 AT CONFIDENCE $8", "between 0% and 100%", "AT CONFIDENCE $8"),
        ("ERROR WITHIN 1 BOUNDS ($3, $4)", "wrong way round", "BOUNDS ($3, $4)"),
    ],
)
def test_wrong_numbers_are_named(
    bind_sql: BindSql, bound_snapshot: Snapshot, clauses: str, problem: str, at: str
) -> None:
    given = {"2": "car", "3": 5, "4": -1, "5": float("nan"), "6": True, "7": 100, "8": 0}
    sql = f"SELECT SUM(xmin) FROM street {clauses}"
    with pytest.raises(DataError, match=problem) as caught:
        bind_sql(sql, replace(bound_snapshot, parameters=given))
    assert caught.value.sqlstate == "22023"
    assert caught.value.span is not None
    assert sql[caught.value.span.start : caught.value.span.end].endswith(at)


def test_rates(bind_sql: BindSql) -> None:
    plan = bind_sql("SELECT frame FROM street FNR WITHIN $1 FPR WITHIN 5% AT CONFIDENCE 90%").plan
    assert isinstance(plan, Selection)
    assert (plan.fnr, plan.fpr, plan.confidence) == (0.25, 0.05, 0.9)
    with pytest.raises(DataError, match="a rate lies from 0 to below 1"):
        bind_sql("SELECT frame FROM street FNR WITHIN $3")
    with pytest.raises(ProgrammingError, match="not of an aggregate"):
        bind_sql("SELECT FCOUNT(*) FROM street FPR WITHIN 5%")


# --- classes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "condition", ["class = 'it''s'", "'it''s' <> class", "class IN ('car', 'it''s')"]
)
def test_an_unknown_class_is_refused(bind_sql: BindSql, condition: str) -> None:
    sql = f"SELECT frame FROM street WHERE {condition}"
    with pytest.raises(DataError, match="has no class") as caught:
        bind_sql(sql)
    assert caught.value.span is not None
    assert sql[caught.value.span.start : caught.value.span.end] == "'it''s'"


def test_a_detector_that_lists_no_classes_may_see_any(
    bind_sql: BindSql, bound_snapshot: Snapshot
) -> None:
    table = bound_snapshot.video_tables["street"]
    silent = replace(table, detector=replace(table.detector, classes=()))
    under = replace(bound_snapshot, video_tables={"street": silent})
    assert not bind_sql("SELECT frame FROM street WHERE class = 'bike'", under).approximate


# --- keys and items of an aggregate block ------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "text", "keys"),
    [
        (
            "SELECT v: video, FCOUNT(*) FROM street GROUP BY v",
            'SELECT v: __k0, __a0 AS "fcount(*)" FROM __fv1',
            ("video",),
        ),
        (
            "SELECT video v, FCOUNT(*) n FROM street GROUP BY ALL HAVING n > 1 "
            "ORDER BY street.video",
            "SELECT __k0 v, __a0 n FROM __fv1 WHERE n > 1 ORDER BY __k0",
            ("video",),
        ),
        (
            "SELECT street.video, FCOUNT(*) FROM street GROUP BY 1 LIMIT 1 OFFSET 1",
            'SELECT __k0 AS "video", __a0 AS "fcount(*)" FROM __fv1 LIMIT 1 OFFSET 1',
            ("street.video",),
        ),
        (
            "SELECT DISTINCT count(DISTINCT class), mean(xmin), FCOUNT(*) FROM street",
            'SELECT DISTINCT __a0 AS "count(DISTINCT class)", __a1 AS "mean(xmin)", '
            '__a2 AS "fcount(*)" FROM __fv1',
            (),
        ),
        (
            "SELECT frame // 10 AS video, FCOUNT(*) AS n FROM street GROUP BY frame // 10",
            "SELECT __k0 AS video, __a0 AS n FROM __fv1",
            ("frame // 10",),
        ),
    ],
)
def test_a_block_is_written_over_its_aggregates(
    bind_sql: BindSql, sql: str, text: str, keys: tuple[str, ...]
) -> None:
    bound = bind_sql(sql)
    assert isinstance(bound.plan, Fragment)
    assert bound.plan.text == text
    assert tuple(k.source for k in aggregate(bound).keys) == keys
