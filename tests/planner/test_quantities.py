"""Quantities: one form for every way to write a condition, and nothing that no model may learn."""

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.planner.bind.quantities import quantity_heads, quantity_of
from foveal.planner.protocols import Quantity

CAR = Quantity(("class = 'car'",))

ROWS = duckdb.connect()
ROWS.execute(
    "CREATE TABLE rows AS SELECT 'v' AS video, (i // 4)::BIGINT AS frame, "
    "['car', 'bus', 'van', 'it''s'][i % 4 + 1] AS class, ((i * 7) % 10 / 10)::FLOAT AS confidence, "
    "((i * 13) % 50)::FLOAT AS xmin, ((i * 13) % 50 + i % 9)::FLOAT AS xmax, "
    "((i * 5) % 30)::FLOAT AS ymin, ((i * 5) % 30 + 4)::FLOAT AS ymax FROM range(200) t(i)"
)


@pytest.mark.parametrize(
    "text",
    [
        "class = 'car'",
        "'car' = class",
        "c.class == 'car'",
        "\"CLASS\" = 'car'",
        "((class = 'car'))",
        "class IN ('car')",
        "NOT class <> 'car'",
        "NOT (NOT (class = 'car'))",
        "true AND class='car'",
        "class = 'car' -- a remark",
        "class='car' AND (c.class = 'car')",
    ],
)
def test_one_condition_has_one_form(text: str) -> None:
    assert quantity_of([text], "c") == CAR


@pytest.mark.parametrize(
    "text",
    [
        "class = $1",
        "class = ?",
        "ts > 3",
        "frame < 10",
        "video = 'a'",
        "trackid = 1",
        "area(mask) > 3",
        "redness(content) > 1",
        "features IS NULL",
        "class IN (SELECT 'car')",
        "other.class = 'car'",
        "my_function(class)",
        "random() < 0.5",
        "1 = 1",
        "class = 'car') OR (1 = 1",
        "count(*) > 3",
        "row_number() OVER () = 1",
        "speed > 3",
        "",
        "class = ",
        "EXISTS (FROM t)",
        "class = 'car' LIMIT 3",
    ],
)
def test_what_no_model_may_learn(text: str) -> None:
    assert quantity_of([text], "c") is None


def test_a_users_function_is_never_learnt() -> None:
    assert quantity_of(["lower(class) = 'car'"]) is not None
    assert quantity_of(["lower(class) = 'car'"], user_functions=frozenset({"lower"})) is None


def test_sums() -> None:
    assert quantity_of(["class='car'"], "", "c.xmax - c.xmin") is None
    assert quantity_of([], "c", "c.xmax - c.XMIN") == Quantity((), "xmax - xmin")
    assert quantity_of([], "", "CASE WHEN class = 'car' THEN 1 ELSE 0 END") == CAR
    assert quantity_of([], "", "CASE WHEN class = 'car' THEN 2 END") != CAR
    assert quantity_of([], "", "1.0") == Quantity()


@pytest.mark.parametrize(
    ("having", "heads"),
    [
        (
            "SUM(class='bus') >= 1 AND SUM(class='car') >= 5",
            [("class = 'bus'", 1), ("class = 'car'", 5)],
        ),
        ("COUNT(*) >= 5", [("", 5)]),
        ("5 <= COUNT(*)", [("", 5)]),
        ("count() > 3", [("", 4)]),
        ("COUNT(class) >= 2.5", [("", 3)]),
        ("COUNT(*) <> 0", [("", 1)]),
        ("COUNT(*) FILTER (WHERE class = 'car') > 3", [("class = 'car'", 4)]),
        ("SUM(CASE WHEN class = 'car' THEN 1 ELSE 0 END) >= 2", [("class = 'car'", 2)]),
        ("SUM(if(class = 'car', 1, 0)) >= 2", [("class = 'car'", 2)]),
        ("SUM((class = 'car')::INT) >= 2", [("class = 'car'", 2)]),
        ("COUNT_IF(t.class = 'car') >= 2", [("class = 'car'", 2)]),
        ("COUNT(CASE WHEN class = 'car' THEN 1 END) >= 2", [("class = 'car'", 2)]),
        ("(COUNT(*) > 1) AND COUNT(*) >= 4", [("", 4)]),
    ],
)
def test_having_decomposes(having: str, heads: list[tuple[str, int]]) -> None:
    found = quantity_heads(having, (), "t")
    assert found == [(Quantity((c,) if c else ()), float(k)) for c, k in heads]


@pytest.mark.parametrize(
    "having",
    [
        "COUNT(*) = 3",
        "COUNT(*) < 3",
        "COUNT(*) >= 0",
        "COUNT(DISTINCT class) > 1",
        "AVG(xmin) > 2",
        "COUNT(*) > 1 OR COUNT(*) > 2",
        "COUNT(*) > COUNT(class)",
        "COUNT(trackid) > 1",
        "COUNT(*) > $1",
        "SUM(xmax) < 3",
        "true",
        "MAX(xmin) > 3",
        "SUM(DISTINCT xmin) > 3",
    ],
)
def test_other_havings_do_not(having: str) -> None:
    assert quantity_heads(having) is None


def test_where_is_anded_into_every_head() -> None:
    found = quantity_heads("SUM(class='bus') >= 1 AND SUM(xmax) > 9.5", ["xmin > 3"], "t")
    assert found == [
        (Quantity(("class = 'bus'", "xmin > 3")), 1.0),
        (Quantity(("xmin > 3",), "xmax"), 9.5),
    ]


_columns = st.sampled_from(["confidence", "xmin", "xmax", "ymin", "t.ymax", "T.XMIN"])
_numbers = st.sampled_from(["3", "0.5", "-2", "1e1", "(7)"])
_names = st.sampled_from(["'car'", "'bus'", "'it''s'", "'plane'"])
_terms = st.one_of(
    _columns, st.builds("({} {} {})".format, _columns, st.sampled_from("+-*/"), _numbers)
)
_orders = st.sampled_from(["<", "<=", ">", ">=", "=", "<>", "!="])
_atoms = st.one_of(
    st.builds("{} {} {}".format, _terms, _orders, _numbers),
    st.builds("{} {} {}".format, _numbers, _orders, _terms),
    st.builds("class {} {}".format, st.sampled_from(["=", "<>", "=="]), _names),
    st.builds("{} = class".format, _names),
    st.builds("class IN ({}, {})".format, _names, _names),
    st.builds("class NOT IN ({})".format, _names),
    st.builds("{} BETWEEN {} AND {}".format, _terms, _numbers, _numbers),
    st.builds("{} NOT BETWEEN {} AND {}".format, _terms, _numbers, _numbers),
    st.builds("class LIKE {}".format, _names),
    st.just("CASE WHEN class = 'car' THEN xmin > 3 ELSE ymin > 4 END"),
    st.just("greatest(xmin, ymin) > abs(-ymax + 20)"),
)
_conditions = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
        st.builds("NOT ({})".format, inner),
        st.builds("({})".format, inner),
    ),
    max_leaves=6,
)


def frames(where: str) -> list[tuple[object, ...]]:
    return ROWS.execute(
        f"SELECT video, frame, count(*)::DOUBLE FROM rows t WHERE {where} GROUP BY ALL ORDER BY ALL"
    ).fetchall()


@settings(max_examples=150, deadline=None)
@given(st.lists(_conditions, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_the_canonical_form_means_the_same(conditions: list[str], random: object) -> None:
    quantity = quantity_of(conditions, "t")
    assert quantity is not None
    assert ROWS.execute(quantity.sql("rows") + " ORDER BY ALL").fetchall() == frames(
        " AND ".join(f"({c})" for c in conditions)
    )
    assert quantity_of(quantity.conditions) == quantity  # its own form is canonical
    random.shuffle(conditions)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    assert quantity_of([" AND ".join(f"({c})" for c in conditions)], "t") == quantity
