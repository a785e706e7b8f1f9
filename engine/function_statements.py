"""CREATE FUNCTION and DROP FUNCTION: definitions checked, kept as text, and translated to tell."""

from __future__ import annotations

from foveal.engine.catalog.definitions import Definitions
from foveal.engine.context import QueryContext
from foveal.engine.functions import Functions, definition_of, function_of
from foveal.engine.trusted_functions import trust
from foveal.errors import (
    DataError,
    FovealError,
    NotSupportedError,
    ProgrammingError,
    Span,
    did_you_mean,
)
from foveal.planner.parse.lexer import tokenize
from foveal.planner.parse.parts import is_op, word_at
from foveal.planner.parse.statement import CreateFunction, DropFunction
from foveal.udfs.functions.function import UserFunction
from foveal.udfs.functions.source import SourceError
from foveal.udfs.functions.sqltypes import sql_type

_MAKERS = ("CREATE", "DROP", "ALTER")


class FunctionStatements:
    """The statements about functions, of one session. Each returns the command's tag."""

    def __init__(self, definitions: Definitions, functions: Functions) -> None:
        """Take where functions are kept."""
        self._definitions = definitions
        self._functions = functions

    def create(self, statement: CreateFunction, context: QueryContext) -> str:
        """CREATE FUNCTION: its text is read, not run; a notice says what will run as Python.

        Raises:
            ProgrammingError: 42723, the name is taken; 42P13, the definition does not fit; 42601,
                the text is no Python.
            DataError: 42704, a type is unknown.
            NotSupportedError: 0A000, a combination that there is not.
        """
        tag = "CREATE FUNCTION"
        name, span = statement.name, statement.name_span
        known = name.lower() in self._definitions.functions
        if known and statement.if_not_exists:
            context.notice(f'function "{name}" already exists, skipped')
            return tag
        if not known or not statement.or_replace:
            self._free(name, span, known)
        self._check(statement)
        definition = definition_of(
            [(n, sql_type(t).text) for n, t, _ in statement.parameters],
            sql_type(statement.returns).text,
            statement.language, statement.batch, statement.null_handling, statement.volatile,
            statement.cost, statement.body,
        )  # fmt: skip
        function = _read(statement, definition)
        self._definitions.save_function(name, definition)
        if statement.language == "python" and not trust(definition):
            context.notice(
                f"that you made {name}() could not be noted: later sessions run it after "
                "SET foveal.python_functions = 'on'",
                severity="WARNING",
            )
        self._definitions.refresh()
        self._functions.sync()
        self._functions.allow(name)
        why = function.untranslated
        if why is not None and statement.batch == "scalar" and not statement.volatile:
            how = "once per distinct value" if function.over_text else "over batches"
            context.notice(f"function {name}() runs as Python {how}: line {why.line}, {why.reason}")
        return tag

    def drop(self, statement: DropFunction, context: QueryContext) -> str | None:
        """DROP FUNCTION; None: it is no function of ours, so DuckDB may have a macro of the name.

        Raises:
            ProgrammingError: 42P13, it was given by Python.
        """
        name = statement.name
        if name.lower() not in self._definitions.functions:
            if name in self._functions:
                raise ProgrammingError(
                    f"function {name}() was given to this connection by Python",
                    sqlstate="42809", span=statement.name_span,
                    hint="it goes with the connection",
                )  # fmt: skip
            return None
        self._definitions.drop_function(name)
        self._definitions.refresh()
        self._functions.sync()
        return "DROP FUNCTION"

    def missing(self, statement: DropFunction, context: QueryContext) -> str:
        """DROP FUNCTION of what nobody has.

        Raises:
            ProgrammingError: 42883.
        """
        if statement.if_exists:
            context.notice(f'function "{statement.name}" does not exist, skipped')
            return "DROP FUNCTION"
        raise ProgrammingError(
            f"function {statement.name}() does not exist", sqlstate="42883",
            span=statement.name_span,
            hint=did_you_mean(statement.name, self._definitions.functions)
            or "SELECT name FROM foveal.functions lists them",
        )  # fmt: skip

    def check_plain(self, sql: str) -> None:
        """Refuse a CREATE or DROP MACRO of DuckDB's whose name is a function of ours.

        Raises:
            ProgrammingError: 42723, the name is taken; 42809, it is no macro.
        """
        if not self._definitions.functions:
            return
        tokens = tokenize(sql[:2000])[:12] if sql[:12].lstrip()[:1].upper() in "CDA" else ()
        if word_at(tokens, 0) not in _MAKERS:
            return
        at = next((i for i in range(1, 4) if word_at(tokens, i) in ("MACRO", "FUNCTION")), None)
        if at is None:
            return
        at += 1
        while word_at(tokens, at) in ("TABLE", "IF", "NOT", "EXISTS"):
            at += 1
        named = tokens[at] if at < len(tokens) else None
        behind = tokens[at + 1] if at + 1 < len(tokens) else None
        if named is None or is_op(behind, ".") or named.name not in self._functions:
            return
        span = Span(named.start, named.end)
        if word_at(tokens, 0) == "CREATE":
            self._free(named.name, span, True)
        raise ProgrammingError(
            f'"{named.name}" is a function', sqlstate="42809", span=span,
            hint=f"use DROP FUNCTION {named.name}",
        )  # fmt: skip

    def _free(self, name: str, span: Span, known: bool) -> None:
        if known:
            raise ProgrammingError(
                f"function {name}() already exists", sqlstate="42723", span=span,
                hint="CREATE OR REPLACE FUNCTION replaces it",
            )  # fmt: skip
        try:
            if name in self._functions:
                raise ProgrammingError(
                    f"function {name}() was given to this connection by Python",
                    sqlstate="42723", hint="give yours another name",
                )  # fmt: skip
            self._functions.refuse_taken(name)
        except FovealError as error:
            error.span = span
            raise

    def _check(self, statement: CreateFunction) -> None:
        """Check what the parts say together."""
        if statement.temporary:
            raise NotSupportedError(
                "functions are kept in the database", span=statement.name_span,
                hint="leave TEMP out, or give the connection one: connection.create_function(..)",
            )  # fmt: skip
        if statement.language == "ir" and statement.batch != "scalar":
            raise NotSupportedError(
                f"LANGUAGE ir has no TYPE {statement.batch}", span=statement.name_span,
                hint="an expression is over one row",
            )  # fmt: skip
        seen: set[str] = set()
        for name, text, span in statement.parameters:
            if name.lower() in seen:
                raise ProgrammingError(
                    f'the parameter "{name}" is there twice', sqlstate="42P13", span=span
                )
            seen.add(name.lower())
            _typed(text, span)
        _typed(statement.returns, statement.returns_span)


def _typed(text: str, span: Span) -> None:
    try:
        sql_type(text)
    except DataError as error:
        error.span = span
        raise


def _read(statement: CreateFunction, definition: str) -> UserFunction:
    """Return the function; what its text does wrong is shown where it stands."""
    try:
        return function_of(statement.name, definition)
    except SourceError as error:
        raise ProgrammingError(
            f"function {statement.name}(): line {error.line}: {error.message}",
            sqlstate="42P13" if "argument" in error.message else "42601",
            span=_place(statement, error.line, error.column),
            hint="the text is an expression, statements with return, or one def",
        ) from error
    except (TypeError, ValueError) as error:
        raise ProgrammingError(
            f"function {statement.name}(): {error}", sqlstate="42P13", span=statement.body_span
        ) from error


def _place(statement: CreateFunction, line: int, column: int) -> Span:
    """Return where a line and column of the body stand in the statement."""
    raw = statement.text[statement.body_span.start : statement.body_span.end]
    start = raw.find(statement.body)
    if start < 0:  # it was written with escapes
        return statement.body_span
    lines = statement.body.split("\n")
    line = min(max(line, 1), len(lines))
    first = lines[line - 1]
    indent = len(first) - len(first.lstrip())
    offset = sum(len(each) + 1 for each in lines[: line - 1]) + min(indent + column, len(first))
    at = min(statement.body_span.start + start + offset, statement.body_span.end - 1)
    return Span(at, at + 1)
