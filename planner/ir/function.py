"""Scalar functions as expressions: what a call of a user's function is replaced by.

An `IrFunction` is known as an expression over its parameters and is put in place of each call. A
`DictionaryFunction` is known only by its values: over a column held as codes it is evaluated once
per entry of the dictionary, and the call becomes a `Lookup` of that table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, TypeAlias

from foveal.planner.ir.nodes import (
    Check,
    Expr,
    Iterate,
    Parameter,
    Variable,
    children,
    rebuilt,
)
from foveal.planner.ir.types import Type


@dataclass(frozen=True, slots=True)
class IrFunction:
    """A function whose body is an expression over `Parameter`s of the parameters' names and types.

    The body already says what NULL arguments give; it uses no columns and no tables. `messages`:
    what its `Check`s say, by number.
    """

    name: str
    parameters: tuple[tuple[str, Type], ...]
    body: Expr
    returns: Type
    messages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class DictionaryFunction:
    """A function with strings among its arguments or as its result, evaluated over their entries.

    `parameters`, `returns`: SQL types as written. `evaluate`: one Arrow array per parameter, all of
    one length, to an array of as many results; raises what a call in SQL would raise.
    """

    name: str
    parameters: tuple[tuple[str, str], ...]
    returns: str
    evaluate: Callable[[Sequence[Any]], Any]


ScalarFunction: TypeAlias = IrFunction | DictionaryFunction
Functions: TypeAlias = Mapping[str, ScalarFunction]
"""Functions by name in lower case: whom the planner asks to put bodies in place of calls."""


def apply(function: IrFunction, arguments: Sequence[Expr], first_message: int = 0) -> Expr:
    """Return the function's body over these arguments, each of its parameter's type.

    `first_message`: the number that the program gives to the function's first message (the
    program's messages then hold the function's from there on). Loop variables of the body that the
    arguments already use get other names.

    Raises:
        TypeError: another number of arguments, or another type.
    """
    if len(arguments) != len(function.parameters):
        raise TypeError(
            f"{function.name} takes {len(function.parameters)} arguments, not {len(arguments)}"
        )
    for (name, type_), argument in zip(function.parameters, arguments, strict=True):
        if argument.type != type_:
            raise TypeError(f"{function.name}: {name} is {type_}, not {argument.type}")
    taken = {v.name for a in arguments for v in _variables(a)}
    fresh = (f"v{i}" for i in count() if f"v{i}" not in taken)
    values = {
        name: argument for (name, _), argument in zip(function.parameters, arguments, strict=True)
    }
    return _Substitution(values, taken, fresh, first_message).over(function.body, {})


def substitute(body: Expr, values: Mapping[str, Expr]) -> Expr:
    """Return an expression with `Parameter`s of these names replaced."""
    taken = {v.name for a in values.values() for v in _variables(a)}
    fresh = (f"v{i}" for i in count() if f"v{i}" not in taken)
    return _Substitution(values, taken, fresh, 0).over(body, {})


def _variables(root: Expr) -> set[Variable]:
    """Return the loop variables that occur in an expression, bound or free."""
    seen: set[Expr] = set()
    stack, found = [root], set[Variable]()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if isinstance(node, Variable):
            found.add(node)
        elif isinstance(node, Iterate):
            found.update(node.variables)
        stack.extend(children(node))
    return found


class _Substitution:
    """One replacement of parameters; parts that occur many times are rewritten once."""

    def __init__(
        self,
        values: Mapping[str, Expr],
        taken: set[str],
        fresh: Iterator[str],
        first_message: int,
    ) -> None:
        self._values, self._taken = values, taken
        self._fresh, self._first = fresh, first_message
        self._done: dict[tuple[Expr, tuple[tuple[str, str], ...]], Expr] = {}

    def over(self, node: Expr, names: Mapping[str, str]) -> Expr:
        """Return the node rewritten; `names`: the loop variables that were renamed around it."""
        key = (node, tuple(sorted(names.items())))
        done = self._done.get(key)
        if done is None:
            done = self._done[key] = self._rewritten(node, names)
        return done

    def _rewritten(self, node: Expr, names: Mapping[str, str]) -> Expr:
        if isinstance(node, Parameter):
            return self._values.get(node.name, node)
        if isinstance(node, Variable):
            return Variable(names.get(node.name, node.name), node.type)
        if isinstance(node, Iterate):
            return self._iterate(node, names)
        made = rebuilt(node, tuple(self.over(child, names) for child in children(node)))
        if isinstance(made, Check) and self._first:
            made = replace(made, message=made.message + self._first)
        return made

    def _iterate(self, node: Iterate, names: Mapping[str, str]) -> Iterate:
        """Rename its variables where an argument put inside would be captured by them."""
        inner = dict(names)
        for variable in node.variables:
            if variable.name in self._taken:
                inner[variable.name] = next(self._fresh)
            else:
                inner.pop(variable.name, None)
        return Iterate(
            tuple(Variable(inner.get(v.name, v.name), v.type) for v in node.variables),
            tuple(self.over(part, names) for part in node.initial),
            self.over(node.condition, inner),
            tuple(self.over(part, inner) for part in node.step),
            self.over(node.result, inner),
            node.type,
        )
