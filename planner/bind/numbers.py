"""The numbers of our clauses: parameters filled in, percents undone, ranges checked."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from foveal.errors import DataError, NotSupportedError, Span
from foveal.planner.logical import Tolerance
from foveal.planner.parse.statement import Block, Confidence, Number, Parameter, RateBound
from foveal.settings import Value


class Numbers:
    """Reads numbers under a statement's parameters and settings. All raise DataError 22023."""

    def __init__(self, parameters: Mapping[str, object], settings: Mapping[str, Value]) -> None:
        """Take the values bound to the statement, and the session's settings."""
        self._parameters = parameters
        self._settings = settings

    def tolerance(self, block: Block) -> Tolerance:
        """Return what the block's ERROR, CONFIDENCE, BUDGET and BOUNDS ask for."""
        clauses = block.clauses
        epsilon = relative = seconds = calls = low = high = None
        if clauses.error is not None:
            epsilon = self.number(clauses.error.value, clauses.error.span)
            relative = clauses.error.relative
            if relative:
                epsilon /= 100
        if clauses.budget is not None:
            amount = self.number(clauses.budget.value, clauses.budget.span)
            if clauses.budget.unit == "seconds":
                seconds = amount
            else:
                calls = int(amount)
        if clauses.bounds is not None:
            low = self.number(clauses.bounds.low, clauses.bounds.span, signed=True)
            high = self.number(clauses.bounds.high, clauses.bounds.span, signed=True)
            if low > high:
                raise DataError(
                    "BOUNDS are the wrong way round",
                    sqlstate="22023",
                    span=clauses.bounds.span,
                    hint="write BOUNDS (lowest, highest)",
                )
        return Tolerance(
            epsilon, bool(relative), self.confidence(clauses.confidence), seconds, calls, low, high
        )

    def confidence(self, clause: Confidence | None) -> float:
        """Return AT CONFIDENCE as a fraction, or the setting's."""
        if clause is None:
            return float(self._settings["confidence"])
        value = self.number(clause.value, clause.span)
        if clause.percent or value > 1:
            value /= 100
        if not 0 < value < 1:
            raise DataError(
                "a confidence lies between 0% and 100%, both excluded",
                sqlstate="22023",
                span=clause.span,
                hint="write AT CONFIDENCE 95%; for certainty leave out ERROR WITHIN",
            )
        return value

    def rate(self, bound: RateBound) -> float:
        """Return an FNR or FPR bound as a fraction."""
        number = self.number(bound.value, bound.span)
        number = number / 100 if bound.percent else number
        if not 0 <= number < 1:
            raise DataError(
                "a rate lies from 0 to below 1", sqlstate="22023", span=bound.span,
                hint="write FNR WITHIN 0.05 or FNR WITHIN 5%",
            )  # fmt: skip
        return number

    def number(self, value: Number, span: Span, *, signed: bool = False) -> float:
        """Return a clause's number, from its parameter if it is one."""
        if isinstance(value, Parameter):
            given = self._parameters.get(value.key)
            if not isinstance(given, int | float | Decimal) or isinstance(given, bool):
                raise DataError(
                    f"parameter ${value.key} of a clause must be a number, not {given!r}",
                    sqlstate="22023",
                    span=span,
                )
            value = float(given)
        if value != value or (value < 0 and not signed):
            raise DataError("the number must not be negative", sqlstate="22023", span=span)
        return float(value)

    def whole(self, text: str, span: Span, what: str) -> int:
        """Return a whole number that stands as `text`, or as a parameter, before GAP."""
        text = text.strip()
        if text.startswith("$"):
            given = self._parameters.get(text[1:])
            text = str(given)
        if not text.isdigit():
            raise NotSupportedError(
                f"{what} before GAP must be a whole number",
                span=span,
                hint="write LIMIT 10 GAP 300",
            )
        return int(text)
