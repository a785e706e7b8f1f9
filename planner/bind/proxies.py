"""CREATE PROXY → the quantity that it asks a specialised model to learn."""

from __future__ import annotations

from sqlglot import exp

from foveal.errors import NotSupportedError, ProgrammingError, did_you_mean
from foveal.planner.bind.classes import refuse_unknown
from foveal.planner.bind.quantities import LEARNABLE, quantity_of
from foveal.planner.bind.references import identifier_span
from foveal.planner.logical import OBJECT_COLUMNS
from foveal.planner.parse.statement import CreateProxy
from foveal.planner.protocols import DetectorInfo, Quantity

_LEARNT = "it learns from " + ", ".join(c for c in OBJECT_COLUMNS if c in LEARNABLE)


def bind_proxy(
    statement: CreateProxy, detector: DetectorInfo, user_functions: frozenset[str] = frozenset()
) -> Quantity:
    """Return the quantity of a CREATE PROXY over a table with this detector.

    Raises:
        DataError: 22023, the detector has no such class.
        ProgrammingError: 42703, there is no such column; 42804, COUNT is given no condition.
        NotSupportedError: 0A000, no model may learn the quantity.
    """
    conditions: list[str | exp.Expr] = []
    value: str | exp.Expr = "1"
    for tree, is_argument in ((statement.argument, True), (statement.where, False)):
        if tree is None:
            continue
        refuse_unknown(
            tree, {"", statement.table.lower()}, detector, statement.table, statement.tokens
        )
        held = tree.args["where"].this
        _check(statement, held, is_argument=is_argument)
        if is_argument and statement.kind == "sum":
            value = held
        elif not _is_condition(held):
            raise ProgrammingError(
                "COUNT takes a condition here" if is_argument else "WHERE takes a condition",
                sqlstate="42804",
                span=statement.quantity,
                hint="write COUNT(class = 'car'), COUNT(*) for all objects, or SUM(expression)",
            )
        else:
            conditions.append(held)
    quantity = quantity_of(conditions, statement.table, value, user_functions=user_functions)
    if quantity is None:
        raise NotSupportedError(
            "no proxy can learn this", span=statement.quantity,
            hint=f"{_LEARNT}, by comparisons, AND, OR, NOT, IN, BETWEEN, LIKE, CASE, arithmetic",
        )  # fmt: skip
    return quantity


def _check(statement: CreateProxy, held: exp.Expr, *, is_argument: bool) -> None:
    """Refuse columns that are not there or that no model sees."""
    base = _base(statement, is_argument=is_argument)
    if held.find(exp.Select, exp.SetOperation) is not None:
        raise NotSupportedError(
            "no proxy can learn what a sub-query says", span=statement.quantity, hint=_LEARNT
        )
    for column in held.find_all(exp.Column):
        name = column.name.lower()
        span = identifier_span(column.this, base)
        table = column.table.lower()
        if table and table != statement.table.lower():
            raise ProgrammingError(
                f'there is no table "{column.table}" here', sqlstate="42P01", span=span,
                hint=f'the columns are those of "{statement.table}"',
            )  # fmt: skip
        if name in LEARNABLE:
            continue
        if name not in OBJECT_COLUMNS:
            raise ProgrammingError(
                f'"{statement.table}" has no column "{column.name}"', sqlstate="42703", span=span,
                hint=did_you_mean(name, OBJECT_COLUMNS) or _LEARNT,
            )  # fmt: skip
        raise NotSupportedError(
            f'a proxy cannot learn from "{name}"', span=span,
            hint=f"{_LEARNT}; a query may still ask for it beside them",
        )  # fmt: skip


def _base(statement: CreateProxy, *, is_argument: bool) -> int:
    """Return where the condition that the places count from begins."""
    tokens = [t for t in statement.tokens if t.start >= statement.quantity.start]
    if is_argument:
        return tokens[2].start
    depth = 0
    for i, token in enumerate(tokens):
        depth += token.text == "("
        depth -= token.text == ")"
        if depth == 0 and token.kind == "word" and token.text.upper() == "WHERE":
            return tokens[i + 1].start
    return statement.quantity.start


def _is_condition(node: exp.Expr) -> bool:
    return isinstance(node.unnest(), exp.Predicate | exp.Connector | exp.Not | exp.Boolean)
