"""Classes that a query asks for must be ones that the detector can see."""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp

from foveal.errors import DataError, Span, did_you_mean
from foveal.planner.bind.references import Reference, enclosing_select
from foveal.planner.bind.source import has_joins
from foveal.planner.parse.statement import Query, Token
from foveal.planner.protocols import DetectorInfo, Snapshot


def check_classes(
    query: Query,
    ref: Reference,
    readers: Iterable[tuple[exp.Select, str]],
    snapshot: Snapshot,
) -> None:
    """Refuse a comparison of `class` with a name that the table's detector does not have.

    `readers`: the SELECTs that read the relation's rows, with the name that they know them by.

    Raises:
        DataError: 22023, at the name, with the nearest one as hint.
    """
    if ref.relation not in ("objects", "tracks"):
        return
    detector = snapshot.video_tables[ref.table].detector
    if not detector.classes:
        return
    for select, alias in readers:
        qualifiers = {alias.lower()} if has_joins(select) else {alias.lower(), ""}
        refuse_unknown(select, qualifiers, detector, ref.table, query.tokens)


def refuse_unknown(
    select: exp.Select,
    qualifiers: set[str],
    detector: DetectorInfo,
    table: str,
    tokens: Iterable[Token],
) -> None:
    """Refuse a comparison of the SELECT's `class` with a name that the detector does not have.

    `qualifiers`: the names, "" among them, that may stand before the column. `tokens`: the
    statement's, to find the place.

    Raises:
        DataError: 22023.
    """
    for value in _compared(select, qualifiers):
        if detector.classes and value.name not in detector.classes:
            raise DataError(
                f'detector "{detector.name}" of "{table}" has no class "{value.name}"',
                sqlstate="22023",
                span=_place(tokens, value.name),
                hint=did_you_mean(value.name, detector.classes)
                or "foveal.detectors lists every detector's classes",
            )


def _compared(select: exp.Select, qualifiers: set[str]) -> list[exp.Literal]:
    """Return the string literals that the SELECT's own `class` is compared with."""
    found: list[exp.Literal] = []
    for node in select.find_all(exp.EQ, exp.NEQ, exp.In):
        column = node.this
        others = [node.expression] if isinstance(node, exp.Binary) else node.expressions
        if isinstance(column, exp.Literal) and isinstance(node, exp.Binary):
            column, others = node.expression, [column]
        if (
            isinstance(column, exp.Column)
            and column.name.lower() == "class"
            and column.table.lower() in qualifiers
            and enclosing_select(column) is select
        ):
            found += [o for o in others if isinstance(o, exp.Literal) and o.is_string]
    return found


def _place(tokens: Iterable[Token], value: str) -> Span | None:
    for token in tokens:
        if token.kind == "string" and token.text[1:-1].replace("''", "'") == value:
            return Span(token.start, token.end)
    return None
