"""Facts of whole expressions: over a program's loop, or over what is known of columns.

Facts hold for every row of the source, whether or not a filter lets it pass, so that code which
computes masked-out rows may rely on them. Bounds say nothing of what stands under a NULL (zero, by
the rule of `engine.compile.data`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from foveal.planner.ir import intervals, program
from foveal.planner.ir.facts import (
    Facts,
    joined,
    of_binary,
    of_cast,
    of_literal,
    of_unary,
    ranged,
    settled,
)
from foveal.planner.ir.nodes import (
    Binary,
    Cast,
    Check,
    Coalesce,
    Column,
    Expr,
    Iterate,
    Literal,
    Lookup,
    Parameter,
    Predict,
    Select,
    Unary,
    Variable,
)
from foveal.planner.ir.types import BOOL, Float, Type

_ROUNDS = 4
"""How often a loop variable's bounds may grow before its type's are taken."""


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What holds of the entries of a table; `size` None: known only when it runs."""

    entry: Facts
    size: int | None


class Inference:
    """Facts of expressions over one source, by what is known of columns, parameters and tables."""

    def __init__(
        self,
        columns: Mapping[str, Facts],
        parameters: Mapping[str, Facts] | None = None,
        tables: Mapping[str, TableFacts] | None = None,
        variables: Mapping[str, Facts] | None = None,
    ) -> None:
        """Keep what is known; whatever is missing has the bounds of its type and may be NULL."""
        self._columns = columns
        self._parameters = parameters or {}
        self._tables = tables or {}
        self._variables = variables or {}
        self._known: dict[Expr, Facts] = {}

    def facts(self, node: Expr) -> Facts:
        """Return what holds of an expression; each is inferred once."""
        known = self._known.get(node)
        if known is None:
            known = self._inferred(node)
            self._known[node] = known
        return known

    def _inferred(self, node: Expr) -> Facts:
        unknown = ranged(node.type, nullable=True)
        match node:
            case Column():
                return self._columns.get(node.name, unknown)
            case Parameter():
                return self._parameters.get(node.name, unknown)
            case Variable():
                return self._variables.get(node.name, unknown)
            case Literal():
                return of_literal(node)
            case Unary():
                return of_unary(node, self.facts(node.operand))
            case Binary():
                return of_binary(node, self.facts(node.left), self.facts(node.right))
            case Cast():
                return of_cast(self.facts(node.operand), node.operand.type, node.type)
            case Select():
                return self._select(node)
            case Coalesce():
                return self._coalesce(node)
            case Lookup():
                return self._lookup(node)
            case Check():
                held, value = self.facts(node.condition), self.facts(node.value)
                below = held.can_raise or value.can_raise
                return replace(value, checked=not held.always, can_raise=below or not held.always)
            case Iterate():
                return self._iterate(node)
            case Predict():
                arguments = [self.facts(argument) for argument in node.arguments]
                nullable = any(a.nullable for a in arguments)
                below = any(a.can_raise for a in arguments)
                return replace(ranged(node.type, nullable=nullable), can_raise=below, constant=None)

    def _select(self, node: Select) -> Facts:
        condition = self.facts(node.condition)
        if condition.always:
            chosen = [self.facts(node.yes)]
        elif condition.never:
            chosen = [self.facts(node.no)]
        else:
            chosen = [self.facts(node.yes), self.facts(node.no)]
        out = joined(node.type, *chosen)
        return replace(out, can_raise=out.can_raise or condition.can_raise)

    def _coalesce(self, node: Coalesce) -> Facts:
        parts: list[Facts] = []
        for operand in node.operands:
            parts.append(self.facts(operand))
            if not parts[-1].nullable:
                break
        out = joined(node.type, *parts)
        nullable = all(p.nullable for p in parts)
        if out.constant is not None and out.constant.value is None:
            return out
        if out.low is None:
            single = out.constant if len(parts) == 1 else None
            return replace(out, nullable=nullable, constant=single)
        return settled(node.type, out.interval, nullable, below=out.can_raise)

    def _lookup(self, node: Lookup) -> Facts:
        index, table = self.facts(node.index), self._tables.get(node.table)
        if table is None:
            return replace(ranged(node.type, nullable=True), can_raise=index.can_raise)
        inside = table.size is not None and intervals.within(
            index.interval, (node.base, node.base + table.size - 1)
        )
        entry, nullable = table.entry, index.nullable or table.entry.nullable or not inside
        if entry.low is None:
            return Facts(None, None, nullable, False, index.can_raise)
        return settled(node.type, entry.interval, nullable, below=index.can_raise)

    def _iterate(self, node: Iterate) -> Facts:
        initial = [self.facts(x) for x in node.initial]
        names = [v.name for v in node.variables]
        # Within the loop no variable is NULL: a row with one has left it.
        bounds = [_as_variable(v.type, f) for v, f in zip(node.variables, initial, strict=True)]
        for round_ in range(_ROUNDS):
            inner = self._inside(dict(zip(names, bounds, strict=True)))
            steps = [inner.facts(x) for x in node.step]
            grown = [
                _as_variable(v.type, joined(v.type, b, s))
                for v, b, s in zip(node.variables, bounds, steps, strict=True)
            ]
            if grown == bounds:
                break
            last = round_ >= _ROUNDS - 2
            bounds = [ranged(v.type) for v in node.variables] if last else grown
        inner = self._inside(dict(zip(names, bounds, strict=True)))
        steps = [inner.facts(x) for x in node.step]
        condition, result = inner.facts(node.condition), inner.facts(node.result)
        every = [*initial, *steps, condition, result]
        nullable = result.nullable or any(f.nullable for f in (*initial, *steps))
        below = any(f.can_raise for f in every)
        if result.low is None:
            return Facts(None, None, nullable, False, below)
        return settled(node.type, result.interval, nullable, below=below)

    def _inside(self, variables: Mapping[str, Facts]) -> Inference:
        """Return the inference of a loop's body."""
        return Inference(
            self._columns, self._parameters, self._tables, {**self._variables, **variables}
        )


def _as_variable(type_: Type, x: Facts) -> Facts:
    """Return the facts of a loop variable: bounds only."""
    if isinstance(type_, Float):
        return Facts(None, None)
    return settled(type_, x.interval, nullable=False)


def of_loop(whole: program.Program, loop: program.Loop) -> Inference:
    """Return the inference of a loop's expressions: bounds of columns, scalars, earlier tables."""
    tables = {
        t.name: TableFacts(ranged(t.type, t.low, t.high, nullable=t.nullable), t.size)
        for t in whole.tables
    }
    parameters = {s.name: ranged(s.type, s.low, s.high, nullable=s.nullable) for s in whole.scalars}
    for earlier in whole.loops:
        if earlier is loop or earlier == loop:
            break
        match earlier.builder:
            case program.Bitmap(low=low, high=high):
                tables[earlier.into] = TableFacts(ranged(BOOL), max(high - low + 1, 0))
            case program.Scatter(value=value, low=low, high=high):
                entry = of_loop(whole, earlier).facts(value)
                entry = ranged(value.type, entry.low, entry.high, nullable=True)
                tables[earlier.into] = TableFacts(entry, max(high - low + 1, 0))
            case _:
                pass
    return Inference(_columns(whole, loop.source), parameters, tables)


def _columns(whole: program.Program, name: str) -> dict[str, Facts]:
    """Return what holds of the columns that a loop runs over: a source's, or an earlier loop's."""
    for source in whole.sources:
        if source.name == name:
            return {
                c.name: ranged(c.type, c.low, c.high, nullable=c.nullable) for c in source.columns
            }
    earlier = next(x for x in whole.loops if x.into == name)
    assert isinstance(earlier.builder, program.Append)
    inference = of_loop(whole, earlier)
    found = {field: inference.facts(x) for field, x in earlier.builder.fields}
    return {field: replace(f, checked=False, can_raise=False) for field, f in found.items()}
