"""The example queries of the FrameQL paper parse to the right blocks and clauses."""

import pytest
from sqlglot import exp

from foveal.errors import Span
from foveal.planner.parse.parser import parse
from foveal.planner.parse.statement import Block, Query

NAMES = frozenset({"taipei"})


def query(text: str) -> Query:
    statement = parse(text, NAMES)
    assert isinstance(statement, Query)
    assert len(statement.blanked) == len(text)
    return statement


def only(text: str) -> Block:
    blocks = query(text).blocks
    assert len(blocks) == 1
    return blocks[0]


def cut(text: str, span: Span | None) -> str | None:
    return None if span is None else text[span.start : span.end]


def test_aggregate() -> None:
    text = "SELECT FCOUNT(*) FROM taipei WHERE class='car' ERROR WITHIN 0.1 AT CONFIDENCE 95%;"
    parsed = query(text)
    (block,) = parsed.blocks
    assert block.clauses.error is not None
    assert block.clauses.error.value == pytest.approx(0.1)
    assert not block.clauses.error.relative
    assert block.clauses.confidence is not None
    assert (block.clauses.confidence.value, block.clauses.confidence.percent) == (95, True)
    assert [cut(text, span) for span in block.conjuncts] == ["class='car'"]
    assert [cut(text, span) for span in parsed.fcounts] == ["FCOUNT(*)"]
    assert isinstance(parsed.tree, exp.Select)
    assert parsed.blanked == text[:46] + " " * 35 + ";"


def test_scrubbing() -> None:
    text = (
        "SELECT ts FROM taipei GROUP BY ts "
        "HAVING SUM(class='bus')>=1 AND SUM(class='car')>=5 LIMIT 10 GAP 300"
    )
    block = only(text)
    assert block.clauses.gap is not None
    assert (block.clauses.gap.value, block.clauses.gap.unit) == (300, "frames")
    assert cut(text, block.limit) == "10"
    assert cut(text, block.having) == "SUM(class='bus')>=1 AND SUM(class='car')>=5"
    assert [cut(text, span) for span in block.group_keys] == ["ts"]


def test_selection() -> None:
    text = (
        "SELECT * FROM taipei WHERE class='bus' AND redness(content)>=17.5 "
        "AND area(mask)>100000 GROUP BY trackid HAVING COUNT(*)>15"
    )
    block = only(text)
    assert [cut(text, span) for span in block.conjuncts] == [
        "class='bus'",
        "redness(content)>=17.5",
        "area(mask)>100000",
    ]
    assert cut(text, block.having) == "COUNT(*)>15"


def test_distinct_objects() -> None:
    text = "SELECT COUNT(DISTINCT trackid) FROM taipei WHERE class='car'"
    block = only(text)
    assert not block.distinct
    assert [cut(text, span) for span in block.items] == ["COUNT(DISTINCT trackid)"]


def test_noscope_as_one_query() -> None:
    clauses = only("SELECT ts FROM taipei WHERE class='car' FNR WITHIN 0.01 FPR WITHIN 1%").clauses
    assert clauses.fnr is not None
    assert clauses.fpr is not None
    assert (clauses.fnr.value, clauses.fnr.percent) == (pytest.approx(0.01), False)
    assert (clauses.fpr.value, clauses.fpr.percent) == (1, True)
    assert clauses.spans == (clauses.fnr.span, clauses.fpr.span)


@pytest.mark.parametrize(
    ("where", "conjuncts"),
    [
        ("class='car' AND classify(content)='sedan'", 2),
        ("class='bus' AND xmax(mask)<720", 2),
        ("class='bus' AND ts BETWEEN 100 AND 200", 2),
    ],
)
def test_plain_selections(where: str, conjuncts: int) -> None:
    assert len(only(f"SELECT * FROM taipei WHERE {where}").conjuncts) == conjuncts
