"""The range of an aggregated expression: as declared, or from types and geometry by intervals."""

from __future__ import annotations

import math

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from foveal.errors import DataError, Span
from foveal.planner.protocols import VideoTable

Range = tuple[float, float]

_TRUTH: Range = (0.0, 1.0)
_TRUTHS = (
    exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.In, exp.Like, exp.ILike, exp.Is,
    exp.Between, exp.And, exp.Or, exp.Not, exp.Boolean, exp.NullSafeEQ, exp.NullSafeNEQ,
)  # fmt: skip
_KEEP_TRUTH = frozenset({"BOOLEAN", "INT", "BIGINT", "SMALLINT", "TINYINT", "DOUBLE", "FLOAT"})


def bounds_of(
    expression: str, low: float | None, high: float | None, table: VideoTable, span: Span
) -> Range:
    """Return the least and the largest value that the expression takes for one object.

    `low` and `high` are the user's BOUNDS and win. Else boxes lie in the table's pictures,
    `confidence` in 0..1, a condition is 0 or 1, and arithmetic follows from its operands.

    Raises:
        DataError: 22023, nothing bounds it.
    """
    if low is not None and high is not None:
        return low, high
    try:
        found = _range(sqlglot.parse_one(expression, dialect="duckdb"), table)
    except SqlglotError:
        found = None
    if found is None:
        raise DataError(
            f"the range of {expression} is not known, so no error bound holds for it",
            sqlstate="22023",
            span=span,
            hint="add BOUNDS (lowest, highest) after ERROR WITHIN",
        )
    return found


def _range(node: exp.Expr, table: VideoTable) -> Range | None:
    if isinstance(node, exp.Paren | exp.Alias):
        return _range(node.this, table)
    if isinstance(node, _TRUTHS):
        return _TRUTH
    if isinstance(node, exp.Literal) and not node.is_string:
        value = float(node.name)
        return (value, value) if math.isfinite(value) else None
    if isinstance(node, exp.Column):
        return _column(node.name.lower(), table)
    if isinstance(node, exp.Cast):
        inner = _range(node.this, table)
        return inner if inner == _TRUTH and node.to.sql().upper() in _KEEP_TRUTH else None
    if isinstance(node, exp.Neg):
        inner = _range(node.this, table)
        return None if inner is None else (-inner[1], -inner[0])
    if isinstance(node, exp.Abs):
        inner = _range(node.this, table)
        if inner is None:
            return None
        low = 0.0 if inner[0] <= 0 <= inner[1] else min(abs(inner[0]), abs(inner[1]))
        return low, max(abs(inner[0]), abs(inner[1]))
    if isinstance(node, exp.Add | exp.Sub | exp.Mul | exp.Div):
        return _arithmetic(node, _range(node.left, table), _range(node.right, table))
    return None


def _column(name: str, table: VideoTable) -> Range | None:
    if name in ("xmin", "xmax"):
        return 0.0, float(max((v.width for v in table.videos), default=0))
    if name in ("ymin", "ymax"):
        return 0.0, float(max((v.height for v in table.videos), default=0))
    if name == "confidence":
        return 0.0, 1.0
    if name == "ts":
        return 0.0, max((v.duration for v in table.videos), default=0.0)
    if name == "frame":
        return 0.0, float(max((v.frames for v in table.videos), default=0))
    return None


def _arithmetic(node: exp.Expr, left: Range | None, right: Range | None) -> Range | None:
    if left is None or right is None:
        return None
    if isinstance(node, exp.Add):
        ends = [left[0] + right[0], left[1] + right[1]]
    elif isinstance(node, exp.Sub):
        ends = [left[0] - right[1], left[1] - right[0]]
    elif isinstance(node, exp.Div):
        if right[0] <= 0 <= right[1]:
            return None
        ends = [a / b for a in left for b in right]
    else:
        ends = [a * b for a in left for b in right]
    return (min(ends), max(ends)) if all(math.isfinite(e) for e in ends) else None
