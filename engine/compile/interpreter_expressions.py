"""Expressions of the interpreter: frames of rows, in which every row given is computed.

A filter, CASE, COALESCE, AND and OR compute their parts over the rows that need them only, in a
frame of fewer rows: so an error is raised exactly where SQL raises it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.engine.compile.data import Inputs, KernelError
from foveal.engine.compile.interpreter_operators import binary, cast, unary
from foveal.engine.compile.interpreter_values import (
    Mask,
    Value,
    constant,
    decode,
    empty_values,
    encode,
)
from foveal.planner.ir.nodes import (
    LOGIC,
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
from foveal.planner.protocols import CancelCheck

Rows = npt.NDArray[np.int64]


@dataclass(slots=True, eq=False)
class World:
    """What is the same for all rows: inputs, tables (parameters and results of loops), models."""

    inputs: Inputs
    tables: dict[str, Value]
    check: CancelCheck


@dataclass(slots=True, eq=False)
class Frame:
    """Some rows: their columns and variables, and what has been computed of them.

    `parent` and `within`: the frame of more rows that these are taken from, and which; None: these
    are all rows of a source. `variables`: those bound here. `shares`: nothing is bound here, so
    what the parent knows holds here too.
    """

    world: World
    rows: int
    columns: Mapping[str, Value]
    parent: Frame | None = None
    within: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    variables: Mapping[str, Value] = field(default_factory=dict[str, Value])
    shares: bool = True
    known: dict[Expr, Value] = field(default_factory=dict[Expr, Value])

    def part(self, mask: Mask) -> Frame:
        """Return a frame of the rows where the mask is true."""
        if bool(mask.all()):
            return self
        return Frame(self.world, int(mask.sum()), {}, self, np.flatnonzero(mask))

    def bound(self, rows: Rows, variables: Mapping[str, Value]) -> Frame:
        """Return a frame of some rows with variables of their own."""
        return Frame(self.world, len(rows), {}, self, rows, variables, shares=False)

    def column(self, name: str) -> Value:
        """Return a column of these rows."""
        if self.parent is None:
            return self.columns[name]
        return self.parent.column(name).take(self.within)

    def variable(self, name: str) -> Value:
        """Return a variable of these rows, the innermost of its name."""
        if name in self.variables:
            return self.variables[name]
        assert self.parent is not None, name
        return self.parent.variable(name).take(self.within)

    def remembered(self, node: Expr) -> Value | None:
        """Return the value of a node that this frame, or one around it, has computed."""
        if node in self.known:
            return self.known[node]
        if self.parent is None or not self.shares:
            return None
        outer = self.parent.remembered(node)
        return None if outer is None else outer.take(self.within)


def evaluate(node: Expr, frame: Frame) -> Value:
    """Return an expression's value for every row of the frame.

    Raises:
        KernelError: a row raises.
        QueryCanceled: the check of the frame's world raised it.
    """
    value = frame.remembered(node)
    if value is None:
        if frame.rows:
            frame.world.check()
            value = _computed(node, frame)
        else:
            value = Value(empty_values(0, node.type), np.zeros(0, np.bool_))
        frame.known[node] = value
    return value


def _computed(node: Expr, frame: Frame) -> Value:
    """Return an expression's value that is not known yet."""
    match node:
        case Column():
            return frame.column(node.name)
        case Variable():
            return frame.variable(node.name)
        case Parameter():
            return constant(frame.world.inputs.scalars[node.name], node.type, frame.rows)
        case Literal():
            return constant(node.value, node.type, frame.rows)
        case Unary():
            return unary(node.op, evaluate(node.operand, frame), node.operand.type, node.type)
        case Binary(op=op) if op in LOGIC:
            return _logic(node, frame)
        case Binary():
            left, right = evaluate(node.left, frame), evaluate(node.right, frame)
            return binary(node.op, left, right, node.left.type, node.right.type, node.type)
        case Cast():
            return cast(evaluate(node.operand, frame), node.operand.type, node.type)
        case Select():
            chosen = evaluate(node.condition, frame)
            yes = chosen.valid & chosen.values.astype(np.bool_)
            return _scattered(node, frame, [(yes, node.yes), (~yes, node.no)])
        case Coalesce():
            return _coalesce(node, frame)
        case Lookup():
            return _lookup(node, frame)
        case Check():
            held = evaluate(node.condition, frame)
            if not bool((held.valid & held.values).all()):
                raise KernelError(node.message)
            return evaluate(node.value, frame)
        case Iterate():
            return _iterate(node, frame)
        case Predict():
            return _predict(node, frame)


def _scattered(node: Expr, frame: Frame, parts: list[tuple[Mask, Expr]]) -> Value:
    """Return a value put together of parts, each computed over its rows only."""
    values, valid = empty_values(frame.rows, node.type), np.zeros(frame.rows, np.bool_)
    for mask, part in parts:
        if bool(mask.any()):
            value = evaluate(part, frame.part(mask))
            values[mask], valid[mask] = value.values, value.valid
    return Value(values, valid)


def _logic(node: Binary, frame: Frame) -> Value:
    """Return three-valued AND or OR; the right side is computed where the left is not enough."""
    left = evaluate(node.left, frame)
    decides = left.valid & (left.values if node.op == "or" else ~left.values)
    rest = ~decides
    values, valid = left.values & decides, left.valid.copy()
    if bool(rest.any()):
        right = evaluate(node.right, frame.part(rest))
        wins = right.valid & (right.values if node.op == "or" else ~right.values)
        valid[rest] = wins | (right.valid & left.valid[rest])
        # Where neither side decides, AND of valid sides is true, OR false.
        values[rest] = valid[rest] & (wins if node.op == "or" else ~wins)
    return Value(values, valid)


def _coalesce(node: Coalesce, frame: Frame) -> Value:
    """Return the first valid operand; each is computed where those before it are NULL."""
    values, valid = empty_values(frame.rows, node.type), np.zeros(frame.rows, np.bool_)
    for operand in node.operands:
        missing = ~valid
        if not bool(missing.any()):
            break
        part = evaluate(operand, frame.part(missing))
        values[missing], valid[missing] = part.values, part.valid
    return Value(values, valid)


def _lookup(node: Lookup, frame: Frame) -> Value:
    """Return entries of a table; outside of it, NULL."""
    index, table = evaluate(node.index, frame), frame.world.tables[node.table]
    place = index.values.astype(object) - node.base
    inside = index.valid & (place >= 0) & (place < len(table.values))
    inside = np.asarray(inside, np.bool_)
    values, valid = empty_values(frame.rows, node.type), np.zeros(frame.rows, np.bool_)
    found = table.take(place[inside].astype(np.int64))
    values[inside], valid[inside] = found.values, found.valid
    return Value(values, valid)


def _iterate(node: Iterate, frame: Frame) -> Value:
    """Return the result of a loop within rows: rows leave it as their condition ends."""
    names = [variable.name for variable in node.variables]
    state = {name: evaluate(start, frame) for name, start in zip(names, node.initial, strict=True)}
    state = {name: Value(value.values.copy(), value.valid.copy()) for name, value in state.items()}
    active = np.arange(frame.rows)
    while True:
        active = active[_all_valid(state, active)]
        inner = frame.bound(active, {name: value.take(active) for name, value in state.items()})
        held = evaluate(node.condition, inner)
        goes_on = held.valid & held.values.astype(np.bool_)
        active = active[goes_on]
        if not len(active):
            break
        inner = inner.part(goes_on)
        stepped = [evaluate(step, inner) for step in node.step]
        for name, value in zip(names, stepped, strict=True):
            state[name].values[active], state[name].valid[active] = value.values, value.valid
    done = np.flatnonzero(_all_valid(state, np.arange(frame.rows)))
    result = evaluate(
        node.result, frame.bound(done, {name: value.take(done) for name, value in state.items()})
    )
    values, valid = empty_values(frame.rows, node.type), np.zeros(frame.rows, np.bool_)
    values[done], valid[done] = result.values, result.valid
    return Value(values, valid)


def _all_valid(state: Mapping[str, Value], rows: Rows) -> Mask:
    """Say of which rows all variables are valid."""
    return np.logical_and.reduce([value.valid[rows] for value in state.values()])


def _predict(node: Predict, frame: Frame) -> Value:
    """Return a model's output, NULL where the model masks it."""
    model = frame.world.inputs.models[node.model]
    arguments = [evaluate(argument, frame) for argument in node.arguments]
    features = [
        encode(value, argument.type)
        for value, argument in zip(arguments, node.arguments, strict=True)
    ]
    valid = [None if bool(value.valid.all()) else value.valid for value in arguments]
    output: Any = model.predict(features, valid)[node.output]
    masked: Any = np.ma.getmaskarray(output)
    return decode(np.asarray(output), ~masked, node.type)
