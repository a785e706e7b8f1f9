"""A Python function as source: its statements, and what the names in it mean.

Reading never runs the function's code: text is parsed, and of the text around it only imports of
`math`, `numpy` and `datetime`, constants and other functions are understood.
"""

from __future__ import annotations

import ast
import builtins
import datetime
import inspect
import linecache
import math
import operator
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any, cast

import numpy as np

MODULES = {"math": math, "numpy": np, "datetime": datetime}
KNOWN: dict[str, object] = {
    "math": math, "np": np, "date": datetime.date, "datetime": datetime.datetime,
    "timedelta": datetime.timedelta,
}  # fmt: skip
"""What the text of a function may use without importing it."""
_ONE: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg, ast.UAdd: operator.pos,
}  # fmt: skip
_TWO: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv,
}  # fmt: skip


class Untranslatable(Exception):
    """A part of a function that the loop language cannot say. `line`: in the function's text."""

    def __init__(self, line: int, reason: str) -> None:
        """Keep where and why."""
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


class SourceError(Exception):
    """The text is no function of Python. `line` from 1, `column` from 0."""

    def __init__(self, message: str, line: int, column: int) -> None:
        """Keep where and why."""
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


@dataclass(frozen=True, slots=True)
class Opaque:
    """What a name means where only running the text could tell."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class PythonSource:
    """A function: parameters' names, statements, and `lookup` of every other name.

    Lines count from the first of the text that the user wrote. `lookup` raises KeyError for a name
    that means nothing. `make` returns the function itself, which runs the text around it.
    """

    name: str
    parameters: tuple[str, ...]
    defaults: tuple[ast.expr, ...]
    body: tuple[ast.stmt, ...]
    lookup: Callable[[str], object]
    make: Callable[[], Callable[..., Any]]


def from_text(name: str, parameters: Sequence[str], text: str) -> PythonSource:
    """Return the function that the text of CREATE FUNCTION means.

    The text is an expression, the statements of a body, or a module with a function of this name
    (or with just one function).

    Raises:
        SourceError: it is none of these, or takes another number of arguments.
    """
    lines = text.split("\n")
    blank = next((i for i, line in enumerate(lines) if line.strip()), 0)
    text = "\n" * blank + textwrap.dedent("\n".join(lines[blank:]))
    if not text.strip():
        raise SourceError("the function has no text", 1, 0)
    module = _parsed(text, parameters)
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    named = [node for node in functions if node.name.lower() == name.lower()]
    only_definitions = all(
        isinstance(node, ast.FunctionDef | ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign
                   | ast.ClassDef)
        or _is_text(node) for node in module.body
    )  # fmt: skip
    if only_definitions and (named or functions):
        chosen = named[0] if named else functions[-1]
        if not named and len(functions) > 1:
            raise SourceError(f"it defines several functions and none is called {name}", 1, 0)
    else:
        chosen = _wrapped(name, parameters, module)
        module = ast.Module([chosen], [])
    _check_arguments(chosen, len(parameters))
    return _of_module(name, chosen, module, text)


def from_callable(function: Callable[..., Any]) -> PythonSource:
    """Return the source of a function that exists.

    Raises:
        Untranslatable: there is no source to read: a builtin, a console's, a class's.
    """
    function = inspect.unwrap(function)
    if not isinstance(function, FunctionType):
        raise Untranslatable(1, f"{function!r} is no function written in Python")
    try:
        text = textwrap.dedent(inspect.getsource(function))
        tree = ast.parse(text)
    except (OSError, TypeError, SyntaxError) as error:
        raise Untranslatable(1, f"the source of {function.__name__} is not at hand") from error
    found = [
        node for node in ast.walk(tree)
        if (isinstance(node, ast.FunctionDef) and node.name == function.__name__)
        or (isinstance(node, ast.Lambda) and function.__name__ == "<lambda>")
    ]  # fmt: skip
    if len(found) != 1:
        raise Untranslatable(1, f"the source of {function.__name__} is not one function")
    node = found[0]
    held: dict[str, object] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            held[name] = cell.cell_contents
        except ValueError:
            held[name] = Opaque(f"{name} has no value yet")
    space = cast("dict[str, object]", function.__globals__)

    def lookup(name: str) -> object:
        if name in held:
            return held[name]
        return space[name] if name in space else vars(builtins)[name]

    kept = function
    return _source(function.__name__, node, lookup, lambda: kept)


def _parsed(text: str, parameters: Sequence[str]) -> ast.Module:
    """Return the tree of a text that may `return` outside of a function."""
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise SourceError(
            error.msg, error.lineno or 1, max((error.offset or 1) - 1, 0)
        ) from error  # a `return` is refused when compiled only, not here


def _wrapped(name: str, parameters: Sequence[str], module: ast.Module) -> ast.FunctionDef:
    """Return the statements as the body of a function; a lone expression is what it returns."""
    body: list[ast.stmt] = list(module.body)
    if len(body) == 1 and isinstance(body[0], ast.Expr):
        body = [ast.copy_location(ast.Return(body[0].value), body[0])]
    for parameter in parameters:
        if not parameter.isidentifier():
            raise SourceError(f'"{parameter}" is no name of Python', 1, 0)
    arguments = ast.arguments([], [ast.arg(p) for p in parameters], None, [], [], None, [])
    made = ast.FunctionDef(name if name.isidentifier() else "function", arguments, body, [])
    return ast.fix_missing_locations(ast.copy_location(made, body[0]))


def _check_arguments(node: ast.FunctionDef, wanted: int) -> None:
    arguments = node.args
    if arguments.vararg or arguments.kwarg or arguments.kwonlyargs:
        raise SourceError(
            f"{node.name}() may have plain parameters only", node.lineno, node.col_offset
        )
    count = len(arguments.posonlyargs) + len(arguments.args)
    if count != wanted:
        raise SourceError(
            f"{node.name}() takes {count} argument(s), and {wanted} are declared",
            node.lineno,
            node.col_offset,
        )


def _of_module(name: str, chosen: ast.FunctionDef, module: ast.Module, text: str) -> PythonSource:
    """Return a function of a text; its neighbours in the text are what its names mean."""
    file = f"<function {name}>"
    made: list[Callable[..., Any]] = []

    def make() -> Callable[..., Any]:
        if not made:
            linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
            space: dict[str, Any] = {"__name__": file, "numpy": np, **KNOWN}
            try:
                code = compile(ast.fix_missing_locations(module), file, "exec")
            except SyntaxError as error:
                raise SourceError(error.msg, error.lineno or 1, error.offset or 0) from error
            exec(code, space)
            made.append(space[chosen.name])
        return made[0]

    def lookup(wanted: str) -> object:
        found: object = None
        for node in module.body:
            value = _meaning(node, wanted, lookup, name, module, text)
            found = value if value is not None else found
        if found is not None:
            return found
        return KNOWN[wanted] if wanted in KNOWN else vars(builtins)[wanted]

    return _source(name, chosen, lookup, make)


def _meaning(
    node: ast.stmt, wanted: str, lookup: Callable[[str], object], name: str,
    module: ast.Module, text: str,
) -> object:  # fmt: skip
    """Return what a statement of a module makes of a name, None if nothing."""
    match node:
        case ast.FunctionDef() if node.name == wanted:
            return _of_module(wanted, node, module, text)
        case ast.ClassDef() if node.name == wanted:
            return Opaque(f"{wanted} is a class")
        case ast.Import():
            for alias in node.names:
                if (alias.asname or alias.name) == wanted:
                    found = MODULES.get(alias.name)
                    return found or Opaque(f"{alias.name} is no module that is understood")
        case ast.ImportFrom():
            for alias in node.names:
                if (alias.asname or alias.name) == wanted:
                    home = MODULES.get(node.module or "")
                    found = getattr(home, alias.name, None)
                    return found or Opaque(f"{node.module} is no module that is understood")
        case ast.Assign():
            if any(isinstance(t, ast.Name) and t.id == wanted for t in node.targets):
                return _constant(node.value, lookup)
        case ast.AnnAssign() if isinstance(node.target, ast.Name) and node.target.id == wanted:
            return None if node.value is None else _constant(node.value, lookup)
        case _:
            return None
    return None


def _constant(node: ast.expr, lookup: Callable[[str], object]) -> object:
    """Return the number, text or tuple that an expression over constants means."""
    try:
        match node:
            case ast.Constant():
                return node.value
            case ast.Tuple():
                return tuple(_constant(part, lookup) for part in node.elts)
            case ast.UnaryOp() if (one := _ONE.get(type(node.op))) is not None:
                return one(_constant(node.operand, lookup))
            case ast.BinOp() if (two := _TWO.get(type(node.op))) is not None:
                return two(_constant(node.left, lookup), _constant(node.right, lookup))
            case ast.Attribute():
                home = _constant(node.value, lookup)
                if isinstance(home, ModuleType):
                    return getattr(home, node.attr)
            case ast.Name():
                return lookup(node.id)
            case _:
                pass
    except (TypeError, ArithmeticError, AttributeError, KeyError, RecursionError):
        pass
    return Opaque("only running the text tells its value")


def _source(
    name: str,
    node: ast.FunctionDef | ast.Lambda,
    lookup: Callable[[str], object],
    make: Callable[[], Callable[..., Any]],
) -> PythonSource:
    arguments = node.args
    if arguments.vararg or arguments.kwarg or arguments.kwonlyargs:
        raise Untranslatable(node.lineno, "parameters other than plain ones")
    listed = [*arguments.posonlyargs, *arguments.args]
    if isinstance(node, ast.Lambda):
        body: tuple[ast.stmt, ...] = (ast.copy_location(ast.Return(node.body), node.body),)
    else:
        body = tuple(node.body)
    return PythonSource(
        name, tuple(a.arg for a in listed), tuple(arguments.defaults), body, lookup, make
    )


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
