"""A block's clause runs → its `Clauses`: every number read, and checked against its range."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal.errors import DataError, ProgrammingError, Span
from foveal.planner.parse.blocks import ClauseRun
from foveal.planner.parse.grammar import branches, leaves, read
from foveal.planner.parse.lexer import number_value, string_value, tokenize
from foveal.planner.parse.openers import FORMS
from foveal.planner.parse.statement import (
    Bounds,
    Budget,
    Clauses,
    Confidence,
    ErrorBound,
    Gap,
    Number,
    Parameter,
    RateBound,
    Token,
)

if TYPE_CHECKING:
    from foveal.planner.parse.grammar import Node


_BEFORE = "; tables, aliases and conditions come before it"
_SECONDS = {"MILLISECOND": 0.001, "SECOND": 1.0, "MINUTE": 60.0, "HOUR": 3600.0, "DAY": 86400.0}


def blank(text: str, spans: Sequence[Span]) -> str:
    r"""Return `text` with the spans overwritten by spaces; its length and line breaks stay.

    >>> blank("a ERROR\nWITHIN 1 b", [Span(2, 16)])
    'a      \n         b'
    """
    out = list(text)
    for span in spans:
        for i in range(span.start, span.end):
            if out[i] not in "\r\n":
                out[i] = " "
    return "".join(out)


def parameter_keys(tokens: Sequence[Token]) -> dict[int, str]:
    """Return each bind parameter's key by the place where it starts: `?` count from 1.

    Raises:
        ProgrammingError: 42601, the statement mixes `?`, `$1` and `$name`.
    """
    keys: dict[int, str] = {}
    style = ""
    for token in tokens:
        if token.kind != "param":
            continue
        rest = token.text[1:]
        mine = "?" if not rest else "$1" if rest[0].isdigit() else "$name"
        if style and mine != style:
            raise ProgrammingError(
                f"parameters of the kinds {style} and {mine} are mixed",
                span=Span(token.start, token.end),
                hint="use one kind of parameter throughout the statement",
            )
        style = mine
        keys[token.start] = rest or str(len(keys) + 1)
    return keys


def parse_clauses(
    tokens: Sequence[Token], runs: Sequence[ClauseRun], limited: bool, keys: Mapping[int, str]
) -> Clauses:
    """Return the clauses of one block. `limited`: the block has a LIMIT; `keys`: see above.

    Raises:
        ProgrammingError: 42601, a clause is malformed, given twice or alone where it needs
            another.
        DataError: 22023, a number is out of its range.
    """
    found: dict[str, tuple[Span, _Reader]] = {}
    for key, start, end in runs:
        node = read(key.lower(), tokens, start, end, FORMS[key], _BEFORE)
        span = Span(tokens[start].start, tokens[end - 1].end)
        if key in found:
            raise ProgrammingError(
                f"{_words(key)} is given twice in one SELECT",
                span=span,
                hint="a SELECT takes each clause once; sub-queries have their own",
            )
        found[key] = span, _Reader(node, span, keys)
    _require(found, "CONFIDENCE", ("ERROR", "FNR", "FPR"), "ERROR, FNR or FPR WITHIN")
    _require(found, "BOUNDS", ("ERROR",), "ERROR WITHIN")
    if "GAP" in found and not limited:
        span = found["GAP"][0]
        raise ProgrammingError(
            "GAP needs a LIMIT in the same SELECT", span=span, hint="write LIMIT 10 GAP 300"
        )
    return Clauses(
        error=_error(found["ERROR"][1]) if "ERROR" in found else None,
        fnr=_rate("fnr", found["FNR"][1]) if "FNR" in found else None,
        fpr=_rate("fpr", found["FPR"][1]) if "FPR" in found else None,
        confidence=_confidence(found["CONFIDENCE"][1]) if "CONFIDENCE" in found else None,
        gap=_gap(found["GAP"][1]) if "GAP" in found else None,
        budget=_budget(found["BUDGET"][1]) if "BUDGET" in found else None,
        bounds=_bounds(found["BOUNDS"][1]) if "BOUNDS" in found else None,
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """One clause's tree, and where it stands."""

    node: Node
    span: Span
    keys: Mapping[int, str]

    def number(self, index: int = 0, node: Node | None = None) -> tuple[Number, Span]:
        """Return the number at `index` below the node, with its place."""
        parts = leaves(branches(node or self.node, "number")[index])
        start, last = parts[0].start_pos or 0, parts[-1]
        place = Span(self.span.start + start, self.span.start + (last.end_pos or 0))
        if last.type == "PARAM":
            return Parameter(self.keys[place.start]), place
        value = number_value(str(last))
        value = -value if parts[0] == "-" else value
        if not math.isfinite(value):
            raise _refused("the number is too large", place, "give a finite number")
        return value, place

    def percent(self) -> bool:
        return any(leaf.type == "PERCENT" for leaf in leaves(self.node))

    def leaf(self, kind: str, node: Node | None = None) -> str | None:
        return next((str(x) for x in leaves(node or self.node) if x.type == kind), None)


def _error(clause: _Reader) -> ErrorBound:
    value, place = clause.number()
    if not isinstance(value, Parameter) and value < 0:
        raise _refused(
            "ERROR WITHIN needs a number from 0 up", place, "0 asks for the exact answer"
        )
    return ErrorBound(value, clause.percent(), clause.span)


def _rate(kind: str, clause: _Reader) -> RateBound:
    value, place = clause.number()
    percent = clause.percent()
    if not isinstance(value, Parameter) and not 0 < value < (100 if percent else 1):
        word = kind.upper()
        raise _refused(
            f"{word} WITHIN needs a rate between 0 and 1",
            place,
            f"write {word} WITHIN 0.05 or {word} WITHIN 5%",
        )
    return RateBound(kind, value, percent, clause.span)


def _confidence(clause: _Reader) -> Confidence:
    value, place = clause.number()
    percent = clause.percent()
    # A bare 1 could mean 1% or certainty, and neither is a level that anyone wants.
    if not isinstance(value, Parameter) and not (0 < value < 100 and (percent or value != 1)):
        raise _refused(
            "AT CONFIDENCE needs a level between 0% and 100%", place, "write AT CONFIDENCE 95%"
        )
    return Confidence(value, percent, clause.span)


def _gap(clause: _Reader) -> Gap:
    intervals = branches(clause.node, "interval")
    if intervals:
        return _interval_gap(clause, intervals[0])
    value, place = clause.number()
    if not isinstance(value, Parameter) and (value <= 0 or value != int(value)):
        raise _refused("GAP needs a whole number of frames above 0", place, f"write {FORMS['GAP']}")
    return Gap(value, "frames", clause.span)


def _interval_gap(clause: _Reader, interval: Node) -> Gap:
    unit = clause.leaf("UNIT", interval)
    text = clause.leaf("STRING", interval)
    value: Number
    if text is None:
        value, place = clause.number(node=interval)
        unit = unit or "SECOND"
    else:
        leaf = next(x for x in leaves(interval) if x.type == "STRING")
        start = clause.span.start + (leaf.start_pos or 0)
        place = Span(start, start + len(text))
        words = string_value(tokenize(text)[0]).split()
        if unit is not None:
            words.append(unit)
        unit = words[1] if len(words) == 2 else ""
        try:
            value = float(words[0])
        except (ValueError, IndexError):
            unit, value = "", 0.0
    scale = _SECONDS.get(unit.upper().removesuffix("S"))
    if scale is None:
        raise _refused("the interval is not understood", place, "write GAP INTERVAL 10 SECONDS")
    if isinstance(value, Parameter):
        if scale != 1.0:
            raise _refused("a parameter counts seconds here", place, "write GAP INTERVAL ? SECONDS")
        return Gap(value, "seconds", clause.span)
    if not 0 < value < math.inf:
        raise _refused("GAP needs an interval above 0", place, "write GAP INTERVAL 10 SECONDS")
    return Gap(value * scale, "seconds", clause.span)


def _budget(clause: _Reader) -> Budget:
    value, place = clause.number()
    unit = "calls"
    seconds = next((leaf for leaf in leaves(clause.node) if leaf.type == "UNIT"), None)
    if seconds is not None:
        unit = "seconds"
        if seconds.upper().removesuffix("S") != "SECOND":
            start = clause.span.start + (seconds.start_pos or 0)
            raise ProgrammingError(
                f'syntax error at or near "{seconds}"',
                span=Span(start, start + len(seconds)),
                hint=f"write {FORMS['BUDGET']}",
            )
    if not isinstance(value, Parameter):
        if value <= 0:
            raise _refused("BUDGET needs a number above 0", place, f"write {FORMS['BUDGET']}")
        if unit == "calls" and value != int(value):
            raise _refused(
                "BUDGET needs a whole number of calls", place, f"write {FORMS['BUDGET']}"
            )
    return Budget(value, unit, clause.span)


def _bounds(clause: _Reader) -> Bounds:
    low, _ = clause.number(0)
    high, place = clause.number(1)
    if not isinstance(low, Parameter) and not isinstance(high, Parameter) and low >= high:
        raise _refused(
            "BOUNDS needs its low end below its high end", place, "write BOUNDS (low, high)"
        )
    return Bounds(low, high, clause.span)


def _require(
    found: Mapping[str, tuple[Span, _Reader]], key: str, partners: Sequence[str], words: str
) -> None:
    if key in found and not any(partner in found for partner in partners):
        raise ProgrammingError(
            f"{_words(key)} needs {words} in the same SELECT",
            span=found[key][0],
            hint=f"write {partners[0]} WITHIN 0.1 {FORMS[key]}",
        )


def _words(key: str) -> str:
    if key in ("ERROR", "FNR", "FPR"):
        return f"{key} WITHIN"
    return "AT CONFIDENCE" if key == "CONFIDENCE" else key


def _refused(message: str, place: Span, hint: str) -> DataError:
    return DataError(message, sqlstate="22023", span=place, hint=hint)
