"""Programs with models, for the data and parameters at hand: what ranges decide is left out.

Ranges of features come from the columns' bounds and from the filter's own comparisons. Branches of
trees that no row within them takes are cut (the model's arrays change, the code does not); a
comparison with a prediction that is always true or never is decided (the code gets shorter).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace

from foveal.engine.compile.data import Inputs, ModelData
from foveal.planner.ir import nodes
from foveal.planner.ir.nodes import FALSE, TRUE, Expr, Predict, children
from foveal.planner.ir.program import Loop, Program
from foveal.planner.ir.types import Float, Int
from foveal.udfs.scoring.model import ScoringModel
from foveal.udfs.scoring.pruning import ANY, Bounds, Range, bounds, prune

PAYS_ROWS = 1 << 15
"""Rows from which on looking for less work costs less than it can save."""
_MIRRORED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq", "ne": "ne"}
_COMPARED = {"lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge}


def specialised(
    program: Program, inputs: Inputs, least_rows: int = PAYS_ROWS
) -> tuple[Program, Inputs]:
    """Return a program and inputs that give the same, with less to compute where that is known."""
    if not program.models:
        return program, inputs
    models: dict[str, ModelData] = dict(inputs.models)
    uses = _uses(program)
    loops: list[Loop] = []
    for loop in program.loops:
        source = inputs.sources.get(loop.source)
        if loop.where is None or source is None or source.rows < least_rows:
            loops.append(loop)
            continue
        known = _Known(program, inputs, loop)
        terms = [known.decided(term) for term in _terms(loop.where)]
        where: Expr | None = None
        for term in terms:
            if term != TRUE:
                where = term if where is None else nodes.Binary("and", where, term, TRUE.type)
        if FALSE in terms:
            where = FALSE
        loops.append(replace(loop, where=where) if terms != list(_terms(loop.where)) else loop)
        for name, applied in uses.items():
            # One list of arguments in one loop: its ranges are the model's.
            model = inputs.models[name]
            if isinstance(model, ScoringModel) and applied == {(loop.into, _arguments(loop, name))}:
                ranges = known.ranges(_arguments(loop, name) or ())
                models[name] = prune(model, ranges)
    return replace(program, loops=tuple(loops)), replace(inputs, models=models)


def _terms(x: Expr) -> Iterator[Expr]:
    """Yield the terms of a conjunction."""
    if isinstance(x, nodes.Binary) and x.op == "and":
        yield from _terms(x.left)
        yield from _terms(x.right)
    else:
        yield x


def _applied(loop: Loop) -> Iterator[Predict]:
    """Yield the models that a loop applies."""
    from foveal.engine.compile.llvm.layout import expressions

    pending = expressions(loop)
    while pending:
        x = pending.pop()
        if isinstance(x, Predict):
            yield x
        pending += children(x)


def _uses(program: Program) -> dict[str, set[tuple[str, tuple[Expr, ...] | None]]]:
    """Return in which loops and over which arguments each model is applied."""
    out: dict[str, set[tuple[str, tuple[Expr, ...] | None]]] = {}
    for loop in program.loops:
        for x in _applied(loop):
            out.setdefault(x.model, set()).add((loop.into, x.arguments))
    return out


def _arguments(loop: Loop, model: str) -> tuple[Expr, ...] | None:
    """Return the arguments of a model in a loop; None: it is not applied there."""
    return next((x.arguments for x in _applied(loop) if x.model == model), None)


@dataclass(slots=True)
class _Limits:
    """What is known of a column: Range, and whether it can be NULL."""

    range: Range
    null: bool


class _Known:
    """Ranges of one loop's columns, for the rows that pass its filter."""

    def __init__(self, program: Program, inputs: Inputs, loop: Loop) -> None:
        """Read bounds of columns, then comparisons of the filter."""
        self.inputs = inputs
        self.columns: dict[str, _Limits] = {}
        source = next((s for s in program.sources if s.name == loop.source), None)
        for column in () if source is None else source.columns:
            null = column.nullable
            limits = ANY
            if isinstance(column.type, Int):
                low, high = column.low, column.high
                limits = Range(
                    -math.inf if low is None else low, math.inf if high is None else high, null
                )
            self.columns[column.name] = _Limits(limits, null)
        if loop.where is not None:
            for term in _terms(loop.where):
                self._narrow(term)

    def _constant(self, x: Expr) -> float | None:
        """Return a number that is the same for all rows."""
        value = None
        if isinstance(x, nodes.Literal):
            value = x.value
        elif isinstance(x, nodes.Parameter):
            value = self.inputs.scalars.get(x.name)
        if isinstance(x.type, Int | Float) and value is not None and value == value:
            return float(value)
        return None

    def _narrow(self, term: Expr) -> None:
        """Take a comparison of a column with a constant into account."""
        if not isinstance(term, nodes.Binary) or term.op not in _MIRRORED:
            return
        left, op, right = term.left, term.op, term.right
        if not isinstance(left, nodes.Column):
            left, op, right = right, _MIRRORED[op], left
        constant = self._constant(right)
        if not isinstance(left, nodes.Column) or constant is None or left.name not in self.columns:
            return
        if not isinstance(left.type, Int | Float) or op == "ne":
            return
        before = self.columns[left.name].range
        # NULL passes no comparison; NaN is greater than every number.
        nan = isinstance(left.type, Float) and op in ("gt", "ge") and before.missing
        low, high = before.low, before.high
        if op in ("gt", "ge", "eq"):
            low = max(low, constant)
        if op in ("lt", "le", "eq"):
            high = min(high, constant)
        self.columns[left.name] = _Limits(Range(low, high, nan), null=False)

    def _limits(self, x: Expr) -> _Limits | None:
        """Return what is known of an argument: a column, or an integer column as floats."""
        if isinstance(x, nodes.Cast) and isinstance(x.operand.type, Int):
            x = x.operand
        if isinstance(x, nodes.Column):
            return self.columns.get(x.name)
        constant = self._constant(x)
        return None if constant is None else _Limits(Range(constant, constant, False), False)

    def ranges(self, arguments: tuple[Expr, ...]) -> dict[int, Range]:
        """Return the ranges of a model's arguments, where something is known."""
        limits = {k: self._limits(x) for k, x in enumerate(arguments)}
        return {k: each.range for k, each in limits.items() if each and each.range != ANY}

    def decided(self, term: Expr) -> Expr:
        """Return TRUE or FALSE for a comparison of a prediction that is always or never true."""
        if not isinstance(term, nodes.Binary) or term.op not in _MIRRORED:
            return term
        left, op, right = term.left, term.op, term.right
        if not isinstance(left, Predict):
            left, op, right = right, _MIRRORED[op], left
        constant = self._constant(right)
        if not isinstance(left, Predict) or constant is None or op not in _COMPARED:
            return term
        model = self.inputs.models[left.model]
        limits = [self._limits(x) for x in left.arguments]
        # What is not a plain column could raise: it is not left out.
        if not isinstance(model, ScoringModel) or any(each is None for each in limits):
            return term
        found: Bounds = bounds(model, self.ranges(left.arguments))[left.output]
        compare = _COMPARED[op]
        ends = [compare(found.low, constant), compare(found.high, constant)]
        if found.nan:
            ends.append(op in ("gt", "ge"))
        null = not model.missing and any(each is None or each.null for each in limits)
        if all(ends) and not null:
            return TRUE
        return term if any(ends) else FALSE
