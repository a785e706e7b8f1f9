"""`@foveal.udf`: a Python function that SQL can call, with the types that SQL needs to know."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, overload

from foveal.errors import DataError, ProgrammingError
from foveal.udfs.functions.function import UserFunction
from foveal.udfs.functions.source import PythonSource, Untranslatable, from_callable
from foveal.udfs.functions.sqltypes import SqlType, from_annotation, sql_type

P = ParamSpec("P")
R = TypeVar("R")


class Udf(Generic[P, R]):
    """A function and its SQL types. Calling it calls the function."""

    def __init__(self, function: Callable[P, R], made: UserFunction) -> None:
        """Keep both; `made` is what a connection registers."""
        self.function = function
        self.made = made
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        return self.function(*args, **kwargs)

    @property
    def source(self) -> PythonSource | None:
        """The source, so that other functions can be translated with it inside."""
        return self.made.source


@overload
def udf(function: Callable[P, R], /) -> Udf[P, R]: ...
@overload
def udf(
    *,
    parameters: Sequence[str] | None = None,
    returns: str | None = None,
    name: str | None = None,
    type: str = "scalar",
    null_handling: str = "strict",
    volatile: bool = False,
    cost: float | None = None,
) -> Callable[[Callable[P, R]], Udf[P, R]]: ...
def udf(
    function: Callable[..., Any] | None = None,
    /,
    *,
    parameters: Sequence[str] | None = None,
    returns: str | None = None,
    name: str | None = None,
    type: str = "scalar",
    null_handling: str = "strict",
    volatile: bool = False,
    cost: float | None = None,
) -> Any:
    """Make a Python function one that SQL can call, once `connection.create_function` took it.

    `parameters`, `returns`: SQL types; without them the annotations say them (float is DOUBLE, int
    BIGINT, bool, str, date, datetime; or a text such as "DECIMAL(15, 2)"). `type`: "scalar", or
    "numpy", "pandas", "arrow" for a function over whole columns. `null_handling` "strict": NULL
    in, NULL out; "special": the function sees None. `volatile`: equal arguments may give other
    results. `cost`: seconds a row.

    A function of numbers and dates is translated, so that it runs in compiled loops; what cannot
    be translated runs as Python over batches, and a notice says which line is why.

    Raises:
        ProgrammingError: 42P13, a type is missing. DataError: 42704, there is no such type.
    """

    def wrap(given: Callable[..., Any]) -> Udf[..., Any]:
        return Udf(
            given,
            user_function(
                given, parameters=parameters, returns=returns, name=name, batch=type,
                null_handling=null_handling, volatile=volatile, cost=cost,
            ),
        )  # fmt: skip

    return wrap if function is None else wrap(function)


def user_function(
    given: Callable[..., Any],
    *,
    parameters: Sequence[str] | None,
    returns: str | None,
    name: str | None,
    batch: str,
    null_handling: str,
    volatile: bool,
    cost: float | None,
) -> UserFunction:
    """Return a callable as a function of SQL: see `udf`."""
    name = name or given.__name__
    if batch not in ("scalar", "numpy", "pandas", "arrow"):
        raise DataError(
            f'"{batch}" is no type of functions', sqlstate="22023",
            hint="choose one of scalar, numpy, pandas, arrow",
        )  # fmt: skip
    if null_handling not in ("strict", "special"):
        raise DataError(
            f'null_handling is not "{null_handling}"', sqlstate="22023",
            hint="choose strict or special",
        )  # fmt: skip
    listed = _parameters(given, name)
    if parameters is not None and len(parameters) != len(listed):
        raise ProgrammingError(
            f"{name}() takes {len(listed)} argument(s), and {len(parameters)} types are given",
            sqlstate="42P13",
        )
    kinds: list[tuple[str, SqlType]] = []
    for i, (each, annotation) in enumerate(listed):
        text = parameters[i] if parameters is not None else from_annotation(annotation)
        if text is None:
            raise _untyped(name, f'the parameter "{each}"')
        kinds.append((each, sql_type(text)))
    said = returns or from_annotation(inspect.signature(given).return_annotation)
    if said is None:
        raise _untyped(name, "the result")
    source: PythonSource | None = None
    if batch == "scalar":
        try:
            source = from_callable(given)
        except Untranslatable:
            source = None  # then it runs as Python, and foveal.functions says why
    return UserFunction(
        name, tuple(kinds), sql_type(said), lambda: given, source, "python", batch,
        null_handling, volatile, cost,
    )  # fmt: skip


def _parameters(given: Callable[..., Any], name: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for parameter in inspect.signature(given).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD,
                              parameter.KEYWORD_ONLY):  # fmt: skip
            raise ProgrammingError(
                f"{name}() may have plain parameters only", sqlstate="42P13",
                hint="SQL passes arguments by their places",
            )  # fmt: skip
        found.append((parameter.name, parameter.annotation))
    return found


def _untyped(name: str, what: str) -> ProgrammingError:
    return ProgrammingError(
        f"{name}(): the SQL type of {what} is not known", sqlstate="42P13",
        hint="annotate it (x: float) or say parameters=['DOUBLE', ..], returns='DOUBLE'",
    )  # fmt: skip
