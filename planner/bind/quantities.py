"""Predicates over a frame's objects → the `Quantity` that a specialised model can learn.

Two queries that ask for the same thing in other words must find the same model, so conditions are
brought to one form: columns unqualified and in lower case, literals on the right, conjuncts sorted.
That form serves to match and to label; a query's own answer is always computed from its own text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from foveal.planner.bind.predicates import flatten_and
from foveal.planner.logical import Conjunct
from foveal.planner.protocols import Quantity

LEARNABLE = frozenset({"class", "confidence", "xmin", "ymin", "xmax", "ymax"})
"""Columns of an object that follow from its frame's detections alone. None of them is ever NULL."""

_MIRRORED: dict[type[exp.Expr], type[exp.Expr]] = {
    exp.EQ: exp.EQ, exp.NEQ: exp.NEQ, exp.LT: exp.GT, exp.GT: exp.LT, exp.LTE: exp.GTE,
    exp.GTE: exp.LTE,
}  # fmt: skip
_NEGATED: dict[type[exp.Expr], type[exp.Expr]] = {
    exp.EQ: exp.NEQ, exp.NEQ: exp.EQ, exp.LT: exp.GTE, exp.GTE: exp.LT, exp.GT: exp.LTE,
    exp.LTE: exp.GT,
}  # fmt: skip
_PLAIN = (
    exp.Column, exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.And, exp.Or, exp.Not,
    exp.Paren, exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.In, exp.Between, exp.Is,
    exp.Like, exp.ILike, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg,
    exp.Case, exp.If, exp.Cast, exp.DataType, exp.Abs, exp.Greatest, exp.Least, exp.Coalesce,
    exp.Floor, exp.Ceil, exp.Sqrt, exp.Lower, exp.Upper,
)  # fmt: skip
"""What sqlglot writes as DuckDB means it, and what is the same wherever it is computed."""

Condition = str | exp.Expr | Conjunct
Head = tuple[Quantity, float]
"""A quantity that must be at least so much. For a count the bound is a whole number from 1 up."""


def quantity_of(
    conjuncts: Iterable[Condition],
    alias: str = "",
    value: str | exp.Expr = "1",
    *,
    user_functions: frozenset[str] = frozenset(),
) -> Quantity | None:
    """Return what objects under all `conjuncts` add up to, or None where no model may learn it.

    `alias` qualifies the relation's columns in texts and trees; a `Conjunct` brings its own.
    `value` is what is summed over the objects: "1" counts them. None for sub-queries, parameters,
    calls of functions outside of a short list (or in `user_functions`, folded), and columns other
    than LEARNABLE. Predicates on frames (video, frame, ts) are the caller's to take off first.
    """
    found: set[str] = set()
    for conjunct in conjuncts:
        texts = _conditions(conjunct, alias, user_functions)
        if texts is None:
            return None
        found |= texts
    summed = _tree(value)
    if summed is None or not _learnable(summed, alias, user_functions):
        return None
    summed = _canonical(summed)
    if isinstance(summed, exp.Literal) and not summed.is_string:
        text = "1" if float(summed.name) == 1 else summed.name
        return Quantity(tuple(sorted(found)), text)
    counted = _indicator(summed)
    if counted is not None:
        return quantity_of([*found, counted])
    if summed.find(exp.Column) is None:
        return None
    return Quantity(tuple(sorted(found)), _text(summed))


def quantity_heads(
    having: str | exp.Expr,
    conjuncts: Iterable[Condition] = (),
    alias: str = "",
    *,
    user_functions: frozenset[str] = frozenset(),
) -> list[Head] | None:
    """Return the HAVING of a block with one group per frame as bounds from below, or None.

    Every ANDed part compares COUNT, COUNT_IF or SUM with a number, as `>=`, `>`, or `<> 0` for a
    count. The block's WHERE, its `conjuncts` without those on frames, is ANDed into each head.

    >>> for quantity, least in quantity_heads("SUM(class='bus') >= 1 AND COUNT(*) > 4") or ():
    ...     print(quantity.text, least)
    COUNT(class = 'bus') 1.0
    COUNT(*) 5.0
    """
    tree = _tree(having)
    if tree is None:
        return None
    given = tuple(conjuncts)
    heads: dict[Quantity, float] = {}
    for part in flatten_and(tree.unnest()):
        head = _head(part.unnest(), given, alias, user_functions)
        if head is None:
            return None
        heads[head[0]] = max(head[1], heads.get(head[0], -math.inf))
    return list(heads.items())


def _head(
    part: exp.Expr, given: tuple[Condition, ...], alias: str, user_functions: frozenset[str]
) -> Head | None:
    if type(part) not in _MIRRORED:
        return None
    left, right, kind = part.this.unnest(), part.expression.unnest(), type(part)
    if _number(left) is not None:
        left, right, kind = right, left, _MIRRORED[kind]
    bound = _number(right)
    if bound is None:
        return None
    conditions: list[Condition] = list(given)
    if isinstance(left, exp.Filter):
        conditions += flatten_and(left.expression.this)
        left = left.this
    if isinstance(left, exp.Func) and left.sql_name().lower() in user_functions:
        return None
    value: str | exp.Expr = "1"
    if isinstance(left, exp.CountIf):
        conditions.append(left.this)
    elif isinstance(left, exp.Count) and not left.args.get("distinct"):
        counted = left.this
        if isinstance(counted, exp.Case) and _else(counted) is None and len(_ifs(counted)) == 1:
            conditions.append(_ifs(counted)[0].this)
        elif not (
            counted is None
            or isinstance(counted, exp.Star | exp.Literal)
            or (isinstance(counted, exp.Column) and _learnable(counted, alias, user_functions))
        ):
            return None
    elif isinstance(left, exp.Sum):
        value = left.this
    else:
        return None
    quantity = quantity_of(conditions, alias, value, user_functions=user_functions)
    if quantity is None:
        return None
    if quantity.value != "1":
        return (quantity, bound) if kind in (exp.GTE, exp.GT) else None
    if kind is exp.NEQ and bound == 0:
        return quantity, 1.0
    if kind not in (exp.GTE, exp.GT):
        return None
    least = math.floor(bound) + 1 if kind is exp.GT else math.ceil(bound)
    return (quantity, float(least)) if least >= 1 else None


def _number(node: exp.Expr) -> float | None:
    """Return a signed number that stands in the text."""
    sign = 1.0
    while isinstance(node, exp.Neg | exp.Paren):
        sign = -sign if isinstance(node, exp.Neg) else sign
        node = node.this
    if not isinstance(node, exp.Literal) or node.is_string:
        return None
    try:
        return sign * float(node.name)
    except ValueError:
        return None


def _tree(condition: str | exp.Expr) -> exp.Expr | None:
    """Return the expression's tree, one of our own to change, or None if it is no expression."""
    if isinstance(condition, exp.Expr):
        return condition.copy()
    try:
        tree = sqlglot.parse_one(f"SELECT 1 WHERE {condition}", dialect="duckdb")
    except (SqlglotError, RecursionError, ValueError, TypeError, KeyError, IndexError):
        return None  # sqlglot stumbles over some texts with errors that are not its own
    where = tree.args.get("where")
    extra = [key for key, held in tree.args.items() if held and key not in ("expressions", "where")]
    return None if where is None or extra else where.this


def _conditions(
    condition: Condition, alias: str, user_functions: frozenset[str]
) -> set[str] | None:
    """Return the canonical conjuncts that one condition stands for."""
    if isinstance(condition, Conjunct):
        condition, alias = condition.text, condition.alias
    tree = _tree(condition)
    if tree is None or not _learnable(tree, alias, user_functions):
        return None
    found: set[str] = set()
    for part in flatten_and(_canonical(tree).unnest()):
        part = part.unnest()
        if isinstance(part, exp.Boolean) and part.this:
            continue
        if part.find(exp.Column) is None:
            return None
        found.add(_text(part))
    return found


def _learnable(tree: exp.Expr, alias: str, user_functions: frozenset[str]) -> bool:
    """Whether the tree reads LEARNABLE columns only, and computes what we know the meaning of."""
    for node in tree.walk():
        if type(node) not in _PLAIN:
            return False
        if isinstance(node, exp.Func) and node.sql_name().lower() in user_functions:
            return False
        if isinstance(node, exp.Column) and (
            node.name.lower() not in LEARNABLE
            or node.args.get("db")
            or node.table.lower() not in ("", alias.lower())
        ):
            return False
        if isinstance(node, exp.In) and (node.args.get("query") or node.args.get("unnest")):
            return False
    return True


def _canonical(tree: exp.Expr) -> exp.Expr:
    """Return the tree (ours to change) in its one form, the innermost parts first."""
    for key, held in list(tree.args.items()):
        if isinstance(held, exp.Expr):
            tree.set(key, _canonical(held))
        elif isinstance(held, list):
            parts = cast("list[object]", held)
            tree.set(key, [_canonical(p) if isinstance(p, exp.Expr) else p for p in parts])
    tree.comments = None
    return _canonical_node(tree)


def _canonical_node(node: exp.Expr) -> exp.Expr:
    """Return a node, whose parts are canonical, in its one form."""
    kind = type(node)
    if isinstance(node, exp.Column):
        return exp.column(exp.to_identifier(node.name.lower()))
    if isinstance(node, exp.Paren) and isinstance(
        node.this, exp.Column | exp.Literal | exp.Func | exp.Paren
    ):
        return node.this
    if isinstance(node, exp.Not):
        inner = node.this.unnest()
        if type(inner) in _NEGATED:
            return _NEGATED[type(inner)](this=inner.this, expression=inner.expression)
        return inner.this.unnest() if isinstance(inner, exp.Not) else exp.Not(this=_inside(inner))
    if isinstance(node, exp.Between) and not node.args.get("symmetric"):
        low = exp.GTE(this=node.this.copy(), expression=node.args["low"])
        high = exp.LTE(this=node.this, expression=node.args["high"])
        return exp.paren(_joined(exp.And, [low, high]))
    if isinstance(node, exp.In):
        if len(node.expressions) == 1:
            return exp.EQ(this=node.this, expression=node.expressions[0])
        node.set("expressions", sorted(node.expressions, key=_text))
        return node
    if isinstance(node, exp.And | exp.Or):
        return _joined(kind, _operands(node, kind))
    if kind in _MIRRORED and _is_constant(node.this) and not _is_constant(node.expression):
        return _MIRRORED[kind](this=node.expression, expression=node.this)
    return node


def _operands(node: exp.Expr, kind: type[exp.Expr]) -> list[exp.Expr]:
    node = node.unnest()
    if not isinstance(node, kind):
        return [node]
    return [*_operands(node.this, kind), *_operands(node.expression, kind)]


def _joined(kind: type[exp.Expr], operands: list[exp.Expr]) -> exp.Expr:
    """Return the operands under AND or OR, in the order of their texts, each once."""
    by_text = {_text(operand): operand for operand in map(_inside, operands)}
    first, *rest = [by_text[text] for text in sorted(by_text)]
    for operand in rest:
        first = kind(this=first, expression=operand)
    return first


def _inside(operand: exp.Expr) -> exp.Expr:
    """Return an operand of AND, OR or NOT with the parentheses that it needs."""
    return exp.paren(operand) if isinstance(operand, exp.And | exp.Or | exp.Not) else operand


def _is_constant(node: exp.Expr) -> bool:
    return node.find(exp.Column) is None


def _indicator(node: exp.Expr) -> exp.Expr | None:
    """Return the condition c of a summed `c`, `CASE WHEN c THEN 1 [ELSE 0] END` or `c::INT`."""
    node = node.unnest()
    if isinstance(node, exp.Cast) and node.to.is_type(*exp.DataType.NUMERIC_TYPES):
        node = node.this.unnest()
        return node if isinstance(node, exp.Predicate | exp.Connector | exp.Not) else None
    if isinstance(node, exp.Predicate | exp.Connector | exp.Not):
        return node
    if isinstance(node, exp.If):
        branches, otherwise = [node], node.args.get("false")
    elif isinstance(node, exp.Case) and node.this is None:
        branches, otherwise = _ifs(node), _else(node)
    else:
        return None
    if len(branches) != 1 or _number(branches[0].args["true"]) != 1:
        return None
    if otherwise is not None and not isinstance(otherwise, exp.Null) and _number(otherwise) != 0:
        return None
    return branches[0].this


def _ifs(case: exp.Case) -> list[exp.If]:
    return list(case.args.get("ifs") or ())


def _else(case: exp.Case) -> exp.Expr | None:
    return case.args.get("default")


def _text(node: exp.Expr) -> str:
    return node.sql(dialect="duckdb", comments=False)
